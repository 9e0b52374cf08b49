"""Ctrl-C between any two calls of a thread that uses the log: it may end the log, as a failed flush
does, but nobody is left waiting, and what was acknowledged is there."""

import contextlib
import itertools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

from tests.log.helpers import contents
from walnut.log import Log, LogError, LogOptions, commit

OPTIONS = LogOptions(segment_bytes=16 * 1024, record_bytes=4096, buffer_bytes=8192)


class Strike:
    """Raises KeyboardInterrupt in this thread at one of the places in `commit` where Python looks
    for signals: where a function begins, and where a call of a built-in one has returned."""

    def __init__(self, place: int) -> None:
        self.left = place
        self.struck = False

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event not in {"call", "c_return"} or frame.f_code.co_filename != commit.__file__:
            return
        self.left -= 1
        if self.left < 0 and not self.struck:
            self.struck = True
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        sys.setprofile(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


def append(log: Log) -> dict[int, bytes]:
    return {log.append(b"append"): b"append"}


def append_group(log: Log) -> dict[int, bytes]:
    lsn = log.append_many([b"one", b"two"], producer=("p", 2))
    return {lsn: b"one", lsn + 1: b"two"}


def submit_and_sync(log: Log) -> dict[int, bytes]:
    ticket = log.submit(b"submit")
    log.sync()
    return {ticket.lsn: b"submit"}


def fill_the_buffer(log: Log) -> dict[int, bytes]:
    tickets = [log.submit(bytes([n]) * 4000) for n in range(4)]
    return {ticket.wait(): bytes([n]) * 4000 for n, ticket in enumerate(tickets)}


@pytest.mark.parametrize("act", [append, append_group, submit_and_sync, fill_the_buffer])
def test_ctrl_c_leaves_nobody_waiting_and_nothing_promised_is_lost(
    tmp_path: Path, act: Callable[[Log], dict[int, bytes]]
) -> None:
    problems: list[Any] = []

    def live(place: int) -> None:
        try:
            struck.append(interrupted(tmp_path / str(place), act, place))
        except BaseException as error:
            problems.append((place, error))

    for place in itertools.count():
        struck: list[bool] = []
        thread = threading.Thread(target=live, args=(place,), daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive(), f"place {place}: hangs"
        assert not problems
        if not struck[0]:
            assert place > 10
            return


def interrupted(path: Path, act: Callable[[Log], dict[int, bytes]], place: int) -> bool:
    """Live through one interrupt; whether it struck."""
    log = Log(path, OPTIONS)
    promised = {log.append(b"before"): b"before"}
    others: list[tuple[int, bytes]] = []

    def beside() -> None:
        with contextlib.suppress(LogError):
            others.extend((log.append(b"beside"), b"beside") for _ in range(3))

    other = threading.Thread(target=beside)
    other.start()
    strike = Strike(place)
    with contextlib.suppress(KeyboardInterrupt), strike:
        promised |= act(log)
    with contextlib.suppress(LogError):
        promised |= {log.append(b"after"): b"after"}
    with contextlib.suppress(LogError):
        log.close()
    other.join(20)
    assert not other.is_alive(), "another thread waits for ever"
    promised |= dict(others)
    with Log(path, OPTIONS) as log:
        found = contents(log)
        assert {lsn: found.get(lsn) for lsn in promised} == promised
    return strike.struck
