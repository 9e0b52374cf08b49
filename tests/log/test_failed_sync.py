"""An fdatasync that fails: everyone who waits is told, nothing goes on, and reopening recovers."""

import asyncio
import contextlib
import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.log.helpers import contents
from walnut.log import Log, LogOptions, disk
from walnut.log.errors import LogClosed, LogError, LogFailed, LogFull

WAITERS = 8


class Failing:
    """Fails the one next fdatasync, once it is let; every later one would succeed."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let = threading.Event()
        self.calls = 0

    def __call__(self, fd: int) -> None:
        self.calls += 1
        if self.calls == 1:
            self.entered.set()
            assert self.let.wait(60)
            raise OSError(errno.EIO, "Input/output error")


@contextlib.contextmanager
def failing() -> Iterator[Failing]:
    """`walnut.log.disk` with a sync that fails once."""
    fault = Failing()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "_datasync", fault)
        yield fault


def is_the_failure(error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(error, LogFailed) and isinstance(cause, OSError) and cause.errno == errno.EIO


def test_every_waiting_thread_and_coroutine_is_told(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    acknowledged: list[int] = []
    log = Log(tmp_path, LogOptions(frame_bytes=512))
    kept = {log.append(b"kept %d" % n): b"kept %d" % n for n in range(5)}

    def append(number: int) -> None:
        try:
            acknowledged.append(log.append(b"thread %d" % number * 30))
        except LogError as error:
            errors.append(error)

    def wait(number: int) -> None:
        ticket = log.submit(b"ticket %d" % number * 30)
        try:
            acknowledged.append(ticket.wait(60))
        except LogError as error:
            errors.append(error)

    async def submit(number: int) -> None:
        try:
            acknowledged.append(await log.submit(b"coroutine %d" % number * 30))
        except LogError as error:
            errors.append(error)

    async def loop() -> None:
        await asyncio.gather(*map(submit, range(WAITERS)))

    with failing() as fault:
        first = threading.Thread(target=append, args=(-1,))
        first.start()
        assert fault.entered.wait(60)  # in flight
        queued = [threading.Thread(target=append, args=(n,)) for n in range(WAITERS)]
        queued += [threading.Thread(target=wait, args=(n,)) for n in range(WAITERS)]
        queued.append(threading.Thread(target=asyncio.run, args=(loop(),)))
        expected = log.next_lsn + 3 * WAITERS
        for thread in queued:
            thread.start()
        while log.next_lsn < expected:
            threading.Event().wait(0.001)
        fault.let.set()
        for thread in [first, *queued]:
            thread.join(60)
            assert not thread.is_alive()
        assert not acknowledged
        assert len(errors) == 3 * WAITERS + 1
        assert all(map(is_the_failure, errors))
        assert log.durable_lsn == 5
        assert contents(log) == kept
        for call in (
            lambda: log.append(b"x"),
            lambda: log.append_many([b"x"]),
            lambda: log.submit(b"x"),
            lambda: log.truncate_after(1),
            lambda: log.truncate_before(2),
            log.sync,
            log.housekeep,
        ):
            with pytest.raises(LogFailed):
                call()
        with pytest.raises(LogFailed):
            next(iter(log.tail(6)))
        log.close()
        assert fault.calls == 1, "what failed once is not tried again"
    with pytest.raises(LogClosed):
        log.append(b"x")
    with Log(tmp_path) as log:
        assert not log.recovery.clean
        found = contents(log)
        assert {lsn: found[lsn] for lsn in kept} == kept
        rest = set(found.values()) - set(kept.values())
        assert rest <= {b"thread -1" * 30}, "only the frame that was in flight may have made it"
        assert log.append(b"again") == len(found) + 1


def test_a_failure_wakes_who_waits_for_room(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    options = LogOptions(record_bytes=1000, buffer_bytes=1000)
    log = Log(tmp_path, options)

    def append() -> None:
        try:
            log.append(bytes(900))
        except LogError as error:
            errors.append(error)

    with failing() as fault:
        threads = [threading.Thread(target=append) for _ in range(WAITERS)]
        for thread in threads:
            thread.start()
        assert fault.entered.wait(60)
        fault.let.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert len(errors) == WAITERS
        assert all(map(is_the_failure, errors))
        log.close()


def test_a_failure_ends_tails_with_its_name(tmp_path: Path) -> None:
    caught: list[BaseException] = []
    log = Log(tmp_path)
    log.append(b"kept")

    def follow() -> None:
        try:
            list(log.tail(1))
        except LogError as error:
            caught.append(error)

    async def afollow() -> None:
        try:
            async for _ in log.atail(1):
                pass
        except LogError as error:
            caught.append(error)

    with failing() as fault:
        threads = [
            threading.Thread(target=follow),
            threading.Thread(target=lambda: asyncio.run(afollow())),
        ]
        for thread in threads:
            thread.start()
        fault.let.set()
        with pytest.raises(LogFailed):
            log.append(b"lost")
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a tail sleeps on although the log failed"
        assert len(caught) == 2
        assert all(map(is_the_failure, caught))
        log.close()


@pytest.mark.parametrize("sync", ["interval", "os"])
def test_a_failure_under_a_lazy_policy_is_told_to_the_next(tmp_path: Path, sync: str) -> None:
    options = LogOptions(sync=sync, background=False)  # type: ignore[arg-type]
    log = Log(tmp_path, options)
    log.append(b"accepted")
    with failing() as fault:
        fault.let.set()
        with pytest.raises(LogFailed):
            log.sync()
        assert log.durable_lsn == 0
        for _ in range(2):
            with pytest.raises(LogFailed):
                log.append(b"more")
        log.close()
        assert fault.calls == 1
    with Log(tmp_path) as log:
        assert not log.recovery.clean
        assert contents(log) == {1: b"accepted"}  # the kernel still had it here


def test_nothing_is_acknowledged_when_the_sync_before_a_roll_fails(tmp_path: Path) -> None:
    """Each fdatasync that an append may need, failed in turn: before, within and after a roll."""
    for which in range(12):
        path = tmp_path / str(which)
        options = LogOptions(segment_bytes=16 * 1024, background=False)
        kept: dict[int, bytes] = {}
        calls = 0

        def fail_at(fd: int, which: int = which) -> None:
            nonlocal calls
            calls += 1
            if calls == which + 1:
                raise OSError(errno.EIO, "Input/output error")

        log = Log(path, options)
        while log._writer.end.offset < 11_000:
            data = b"%d" % log.next_lsn * 200
            kept[log.append(data)] = data
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, "_datasync", fail_at)
            with pytest.raises(LogFailed):
                for n in range(1000):
                    data = b"%d" % n * 700
                    kept[log.append(data)] = data
            log.close()
            assert calls == which + 1
        with Log(path, options) as log:
            found = contents(log)
            assert {lsn: found.get(lsn) for lsn in kept} == kept
            assert len(found) <= len(kept) + 1


def test_a_sync_that_says_the_disk_is_full_is_a_failed_sync(tmp_path: Path) -> None:
    """Thin volumes and quotas say so only in fdatasync. Each sync of a lazy log, failed in turn."""
    failed = 0
    for which in range(12):
        path = tmp_path / str(which)
        calls = 0

        def fail_at(fd: int, which: int = which) -> None:
            nonlocal calls
            calls += 1
            if calls == which + 1:
                raise OSError(errno.ENOSPC, "No space left on device")

        log = Log(path, LogOptions(sync="os", segment_bytes=16 * 1024, background=False))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, "_datasync", fail_at)
            durable = 0
            try:
                while log.metrics.rolls < 3:
                    durable = log.durable_lsn
                    log.append(b"%d" % log.next_lsn * 200)
            except LogFull:  # only where the file that failed is thrown away
                assert not (path / "SPARE").exists()
                assert log.append(b"goes on") == log.next_lsn - 1
            except LogFailed:
                failed += 1
                with pytest.raises(LogFailed):
                    log.append(b"more")
                assert log.durable_lsn == durable
            log.close()
    assert failed > 4
