"""`walnut top` on a terminal; and its parts, which need none."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from walnut.cli.screen import sparkline, status_screen
from walnut.cli.sight import Sight, SlotSeen, TopicSeen, warnings
from walnut.client import Client
from walnut.testing.serving import serving

DAY = 86_400 * 10**9
NOW = 1_800_000_000 * 10**9
GIB = 1 << 30


class Terminal:
    """A terminal of some size with a program in it."""

    def __init__(self, directory: Path, *command: str) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            [sys.executable, "-m", "walnut.cli", *command], cwd=directory, stdin=theirs,
            stdout=theirs, stderr=theirs, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""},
        )  # fmt: skip

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def reads(self, *wanted: str) -> str:
        """What it shows from now on until all of these words came."""
        seen = b""
        while not all(word.encode() in seen for word in wanted):
            ready, _, _ = select.select([self._ours], [], [], 60)
            assert ready, f"no {wanted} in {seen[-3000:]!r}"
            seen += os.read(self._ours, 65536)
        return seen.decode(errors="replace")

    def types(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@contextlib.contextmanager
def terminal(directory: Path, *command: str) -> Iterator[Terminal]:
    made = Terminal(directory, *command)
    try:
        yield made
    finally:
        made.close()


def test_top_goes_on_through_a_restart_and_another_size_until_q_is_pressed(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "data") as server,
        Client(server.data) as client,
        terminal(tmp_path, "top", "data", "--interval", "0.2") as screen,
    ):
        screen.reads("data", "running", "since", "q quits")
        client.create_topic("orders")
        client.topic("orders").append([b"x"] * 50)
        screen.reads("1, 50 messages")
        server.kill()
        screen.reads("open in a program, or not closed by its last writer")
        server.start()
        screen.reads("running")
        screen.resize(60, 10)
        os.kill(screen.process.pid, 28)  # SIGWINCH, as the kernel sends it to a foreground group
        screen.reads("q quits")
        screen.types("q")
        assert screen.process.wait(60) == 0
        assert termios.tcgetattr(screen._theirs) == screen.before


@pytest.mark.parametrize("command", ["top", "status"])
def test_what_is_not_there_is_told_in_one_line(tmp_path: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "walnut.cli", command], check=False, cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("walnut: there is no walnut-data here")
    assert done.stderr.count("\n") == 1


# -- what is shown --------------------------------------------------------------------------------


def shown(seen: Sight, width: int = 80) -> str:
    out = Console(file=io.StringIO(), width=width)
    out.print(status_screen(seen))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


WELL = Sight(
    place="walnut-data", state="running", time=NOW, version="1.0", pid=17, since=NOW - DAY,
    durable_lsn=1_234_567, applied_lsn=1_234_567, checkpoint_lsn=1_234_000, transactions=5,
    per_second=1234.5, group=8.25, p50=900.0, p99=3100.0, log_bytes=GIB, disk_free=80 * GIB,
    disk_total=100 * GIB, window=(1000, NOW - 7 * DAY), tables=12,
    jobs={"ready": 2, "done": 7}, topics=[TopicSeen("orders", 9, 9, 2048)],
)  # fmt: skip


def test_a_server_that_is_well_is_shown_on_one_screen_without_a_warning() -> None:
    assert list(warnings(WELL)) == []
    text = shown(WELL)
    assert len(text.splitlines()) <= 24
    for words in (
        "running since", "(1 d 0 h), Walnut 1.0, process 17", "LSN 1,234,567 durable",
        "1,234/s, 8.2 in a flush, durable in 900 µs (p50), 3.1 ms (p99)",
        "1 GiB of log; 80 GiB free of 100 GiB", "from LSN 1,000", "1, 9 messages, 2 KiB",
        "2 ready", "none holds back the log",
    ):  # fmt: skip
        assert words in text


def test_a_new_server_does_not_take_its_first_segment_for_growth() -> None:
    from msgspec.structs import replace

    fresh = replace(WELL, log_bytes=64 << 20, window=(1, NOW - 70 * 1_000_000_000))
    assert list(warnings(fresh)) == []
    assert "enough for" not in shown(fresh)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"failed": "a write failed"}, "a write failed: see the server's log"),
        ({"state": "starting"}, "it is starting"),
        ({"state": "draining"}, "it is stopping"),
        ({"disk_free": 5 * GIB}, "the disk has 5 GiB left of 100 GiB: make room"),
        ({"log_bytes": 700 * GIB}, "the disk is full in 19 h"),
        ({"slots": [SlotSeen("far", 1, 2_000_000)]}, "slot far is 2,000,000 records behind"),
        ({"jobs": {"dead": 3}}, "3 jobs failed for good: `walnut jobs dead walnut-data`"),
        ({"paused": ["mail"]}, "queue mail is paused: `walnut jobs resume walnut-data mail`"),
        ({"durable_lsn": 9_000_000}, "have to fold them"),
    ],
)
def test_what_needs_somebody_is_told_with_what_to_do(
    changed: dict[str, object], words: str
) -> None:
    from msgspec.structs import replace

    (warning,) = warnings(replace(WELL, **changed))
    assert words in warning.replace("a start has to fold them", "have to fold them")
    assert "! " in shown(replace(WELL, **changed))


def test_no_name_can_move_the_cursor() -> None:
    bad = Sight(
        place="\x1b[2J", state="closed", time=NOW, slots=[SlotSeen("\x1b[H\n", 1, 2_000_000)],
        paused=["\x07"], failed="\x1b]0;title\x07",
    )  # fmt: skip
    assert not {"\x1b", "\x07"} & set(shown(bad))


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([0.0, 0.0], "▁▁"), ([1.0, 4.0, 8.0], "▂▅█"), ([9.0, 1.0, 1.0, 1.0], "███")],
)
def test_a_sparkline_is_as_high_as_the_highest_that_is_shown(
    values: list[float], bars: str
) -> None:
    assert sparkline(values, 3) == bars


def test_without_unicode_a_sparkline_is_ascii() -> None:
    assert sparkline([0.0, 8.0], 9, unicode=False).isascii()
