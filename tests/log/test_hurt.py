"""Where others were hurt: one test for each failure that another log once had in the field."""

import asyncio
import errno
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.log.helpers import SMALL, abandon, contents, damage, segment_files
from walnut.log import Log, LogOptions, LogReader
from walnut.log.disk import Buffer, RealFile
from walnut.log.errors import LogCorrupt, LogFailed, LogFull
from walnut.log.frame import HEADER_BYTES as FRAME_HEADER_BYTES
from walnut.log.segment import HEADER_BYTES


def test_a_refused_record_never_appears_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """prometheus/prometheus#13027: the bytes of a failed write went out with the next one."""
    options = LogOptions(segment_bytes=16 * 1024, background=False)
    with Log(tmp_path, options) as log:
        expected = {}
        with pytest.MonkeyPatch.context() as full:

            def no_space(self: RealFile, size: int) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            full.setattr(RealFile, "allocate", no_space)
            with pytest.raises(LogFull, match="nothing was written"):
                for n in range(1000):
                    expected[log.append(b"good %d" % n * 5)] = b"good %d" % n * 5
            for n in range(3):
                with pytest.raises(LogFull):
                    log.append(b"refused %d" % n * 5)
            assert contents(log) == expected
        lsn = log.append(b"after")
        assert lsn == len(expected) + 1
        expected[lsn] = b"after"
        assert contents(log) == expected
        abandon(log)
    with Log(tmp_path, options) as log:
        assert contents(log) == expected


def test_new_records_after_a_torn_tail_survive_the_next_recovery(tmp_path: Path) -> None:
    """amelielabs/amelie#17: the tail was never cut, and the next recovery stopped at it."""
    log = Log(tmp_path)
    log.append(b"one")
    end = log._writer.end.offset
    abandon(log)
    file = segment_files(tmp_path)[0]
    data = bytearray(file.read_bytes())
    torn = bytes(range(1, 200))
    data[end : end + len(torn)] = torn
    file.write_bytes(data)
    for n in range(3):
        log = Log(tmp_path)
        assert log.recovery.cut_bytes == (len(torn) if n == 0 else 0)
        assert not n or not log.recovery.cut_reason
        log.append(b"more %d" % n)
        abandon(log)
    with Log(tmp_path) as log:
        assert list(contents(log).values()) == [b"one", b"more 0", b"more 1", b"more 2"]


def test_a_damaged_first_record_is_damage_and_not_an_empty_log(tmp_path: Path) -> None:
    """VelesDB#1393: the whole file was taken for foreign or empty, and skipped without a word."""
    log = Log(tmp_path)
    for n in range(3):
        log.append(b"%d" % n)
    abandon(log)
    damage(segment_files(tmp_path)[0], HEADER_BYTES + 10)
    with pytest.raises(LogCorrupt) as caught:
        Log(tmp_path)
    error = caught.value
    assert (error.offset, error.first_lsn, error.last_lsn) == (HEADER_BYTES, 1, 3)
    assert segment_files(tmp_path)[0].name in str(error)


def test_even_a_damaged_only_record_is_damage(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append(b"the only one")
    abandon(log)
    damage(segment_files(tmp_path)[0], HEADER_BYTES + 70)
    with pytest.raises(LogCorrupt):
        Log(tmp_path)


def test_a_damaged_segment_header_is_damage(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append(b"x")
    damage(segment_files(tmp_path)[0], 0, 8)
    with pytest.raises(LogCorrupt, match="not one of Walnut's"):
        Log(tmp_path)


def test_recovery_cuts_exactly_what_was_never_acknowledged(tmp_path: Path) -> None:
    """frostdb#313: repair deleted the last file whole."""
    log = Log(tmp_path)
    for n in range(10):
        log.append(b"%d" % n)
    end = log._writer.end.offset
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RealFile, "sync", lambda self: (_ for _ in ()).throw(OSError(5, "EIO")))
        with pytest.raises(LogFailed):
            log.append(b"never acknowledged")
    abandon(log)
    damage(segment_files(tmp_path)[0], end + FRAME_HEADER_BYTES + 3)
    with Log(tmp_path) as log:
        assert log.recovery.cut_offset == end
        assert log.recovery.cut_bytes == FRAME_HEADER_BYTES + len(b"never acknowledged")
        assert "never acknowledged" in log.recovery.cut_reason
        assert log.next_lsn == 11


def test_readers_never_see_what_is_written_but_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """reyn#1765: a reader acted on a record that the crash took back."""
    release = threading.Event()
    entered = threading.Event()
    sync = RealFile.sync

    with Log(tmp_path) as log, LogReader(tmp_path) as reader:
        log.append(b"durable")

        def slow(self: RealFile) -> None:
            entered.set()
            release.wait(30)
            sync(self)

        monkeypatch.setattr(RealFile, "sync", slow)
        ticket = log.submit(b"in the page cache")
        assert entered.wait(30)
        try:
            assert b"in the page cache" in segment_files(tmp_path)[0].read_bytes()
            for source in (log, reader):
                assert contents(source) == {1: b"durable"}
                assert source.durable_lsn == 1
                assert [r.lsn for r in source.tail(1, timeout=0.01)] == [1]
        finally:
            release.set()
        ticket.wait()
        assert contents(reader)[2] == b"in the page cache"


def test_no_sync_ever_runs_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """reyn#1753, hermes-webui#2096: fsync on the event loop froze every other task."""
    where: set[int] = set()
    sync, write = RealFile.sync, RealFile.write

    def sync_seen(self: RealFile) -> None:
        where.add(threading.get_ident())
        sync(self)

    def write_seen(self: RealFile, buffers: Sequence[Buffer], offset: int) -> int:
        where.add(threading.get_ident())
        return write(self, buffers, offset)

    async def main(log: Log) -> None:
        for _ in range(20):
            await asyncio.gather(*[wait(log) for _ in range(20)])

    async def wait(log: Log) -> None:
        await log.submit(b"x" * 100)

    with Log(tmp_path, SMALL) as log:
        monkeypatch.setattr(RealFile, "sync", sync_seen)
        monkeypatch.setattr(RealFile, "write", write_seen)
        asyncio.run(main(log))
        assert log.metrics.rolls
        assert where
        assert threading.get_ident() not in where


def test_a_close_after_a_failed_sync_keeps_everything_and_says_nothing_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """arcadedb#5052: a clean close deleted the log although the last data sync had failed."""
    log = Log(tmp_path)
    log.append(b"kept")
    with monkeypatch.context() as patch:
        patch.setattr(RealFile, "sync", lambda self: (_ for _ in ()).throw(OSError(5, "EIO")))
        with pytest.raises(LogFailed, match="open it again"):
            log.append(b"unknown")
        log.close()
    with Log(tmp_path) as log:
        assert not log.recovery.clean
        assert contents(log)[1] == b"kept"


def test_a_sync_that_fails_in_close_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path, LogOptions(sync="os"))
    log.append(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(RealFile, "sync", lambda self: (_ for _ in ()).throw(OSError(5, "EIO")))
        with pytest.raises(LogFailed):
            log.close()
    with Log(tmp_path) as log:
        assert not log.recovery.clean
        assert log.recovery.rewritten_bytes > 0


def test_every_acknowledged_append_was_preceded_by_a_sync_of_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """persist-queue#56: files were unreadable after a power cut, as nothing was synced at all."""
    unsynced: dict[int, int] = {}
    sync, write = RealFile.sync, RealFile.write

    def sync_seen(self: RealFile) -> None:
        sync(self)
        unsynced.pop(id(self), None)

    def write_seen(self: RealFile, buffers: Sequence[Buffer], offset: int) -> int:
        if offset >= HEADER_BYTES:  # else: the mark, the lock, which need none
            unsynced[id(self)] = offset
        return write(self, buffers, offset)

    with Log(tmp_path, SMALL) as log:
        monkeypatch.setattr(RealFile, "sync", sync_seen)
        monkeypatch.setattr(RealFile, "write", write_seen)
        for n in range(200):
            log.append(b"%d" % n * 50)
            assert id(log._writer.end.file) not in unsynced


def test_a_failed_sync_is_never_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path)
    calls: list[int] = []

    def failing(self: RealFile) -> None:
        calls.append(1)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(RealFile, "sync", failing)
    waiting = [log.submit(b"%d" % n) for n in range(10)]
    for ticket in waiting:
        with pytest.raises(LogFailed) as caught:
            ticket.wait()
        assert isinstance(caught.value.__cause__, OSError)
    for call in (log.append, log.submit):
        with pytest.raises(LogFailed):
            call(b"x")
    with pytest.raises(LogFailed):
        log.sync()
    assert log.durable_lsn == 0
    assert len(calls) == 1
    assert log.metrics.failures == 1
    log.close()
    assert len(calls) == 1
