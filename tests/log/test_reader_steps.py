"""The same races, each made to happen: the writer meddles between two given steps of a reader."""

import contextlib
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.children import payload
from tests.log.churn import QUIET, churn
from tests.log.helpers import contents
from walnut.log import Log, LogReader
from walnut.log.control import SPARE
from walnut.log.disk import RealDirectory, RealFile
from walnut.log.errors import LsnTruncated, LsnUnknown
from walnut.log.verify import verify


@pytest.mark.parametrize("elsewhere", [True, False])
@pytest.mark.parametrize("when", ["open", "lock", "map"])
def test_a_segment_recycled_at_each_step_of_opening_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, *, elsewhere: bool
) -> None:
    """Between any two steps of a reader the writer truncates, recycles and begins anew."""
    with Log(tmp_path, QUIET) as log, contextlib.ExitStack() as stack:
        churn(log, 60, random.Random(1), keep=10_000)
        source = stack.enter_context(LogReader(tmp_path)) if elsewhere else log
        meddled: list[int] = []

        def meddle() -> None:
            if not meddled:
                meddled.append(1)
                log.truncate_before(log.durable_lsn)
                for _ in range(120):
                    log.append(payload(0, log.next_lsn))
                    log.truncate_before(log.durable_lsn)

        meddle_at(monkeypatch, when, meddle)
        with pytest.raises(LsnTruncated):
            for record in source.read(1):
                assert record.data == payload(0, record.lsn)
        assert meddled
        assert log.metrics.recycled


def meddle_at(monkeypatch: pytest.MonkeyPatch, when: str, meddle: Callable[[], None]) -> None:
    """Call `meddle` before readers take this step."""
    open_, lock, map_ = RealDirectory.open, RealFile.lock, RealFile.map

    def opening(self: RealDirectory, name: str, *, write: bool = False) -> object:
        if when == "open" and name.endswith(".wal") and not write:
            meddle()
        return open_(self, name, write=write)

    def locking(self: RealFile, *, exclusive: bool) -> bool:
        if when == "lock" and not exclusive:
            meddle()
        return lock(self, exclusive=exclusive)

    def mapping(self: RealFile) -> memoryview:
        if when == "map":
            meddle()
        return map_(self)

    monkeypatch.setattr(RealDirectory, "open", opening)
    monkeypatch.setattr(RealFile, "lock", locking)
    monkeypatch.setattr(RealFile, "map", mapping)


def test_a_segment_that_is_just_being_recycled_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader saw the log as it was before; the file is locked and blank, and still listed."""
    recycling, read = threading.Event(), threading.Event()
    rename = RealDirectory.rename
    helpers: list[threading.Thread] = []
    with Log(tmp_path, QUIET) as log, LogReader(tmp_path) as reader:
        churn(log, 60, random.Random(1), keep=10_000)

        def late(self: RealDirectory, old: str, new: str) -> None:
            if new == SPARE:
                recycling.set()
                assert read.wait(60)
            rename(self, old, new)

        def meddle() -> None:
            if not helpers:
                truncate = threading.Thread(target=log.truncate_before, args=(log.durable_lsn,))
                helpers.append(truncate)
                truncate.start()
                assert recycling.wait(60)

        monkeypatch.setattr(RealDirectory, "rename", late)
        meddle_at(monkeypatch, "open", meddle)
        last = max(s.first_lsn for s in log.segments() if s.first_lsn < log.durable_lsn)
        before = max(s.first_lsn for s in log.segments() if s.first_lsn < last)
        try:
            with pytest.raises(LsnTruncated):
                list(reader.read(before))
        finally:
            read.set()
            for helper in helpers:
                helper.join(60)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_reader_crosses_a_roll_that_happens_under_it(tmp_path: Path, *, elsewhere: bool) -> None:
    """Whatever the fill of the segment it has mapped, and wherever the seal went."""
    for filler in range(0, 200, 9):
        path = tmp_path / str(filler)
        with Log(path, QUIET) as log, contextlib.ExitStack() as stack:
            source = stack.enter_context(LogReader(path)) if elsewhere else log
            log.append(bytes(500 + filler))
            tail = source.tail(1)
            assert next(tail).lsn == 1
            for lsn in range(2, 60):
                log.append(bytes(500))
                assert next(tail).lsn == lsn
            assert log.metrics.rolls >= 2


def test_a_spare_is_never_replaced_while_it_becomes_a_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The housekeeper looks in just as a roll renames the spare: records went to a lost file."""
    rename = RealDirectory.rename
    expected: dict[int, bytes] = {}
    with Log(tmp_path, QUIET) as log:
        helpers: list[threading.Thread] = []

        def keep(self: RealDirectory, old: str, new: str) -> None:
            if old == SPARE:

                def recycle() -> None:
                    log.truncate_before(log.durable_lsn)
                    log._writer.prepare_spare()

                helpers.append(threading.Thread(target=recycle))
                helpers[-1].start()
                helpers[-1].join(0.05)  # it runs through, or waits as it should
            rename(self, old, new)

        monkeypatch.setattr(RealDirectory, "rename", keep)
        for n in range(300):
            data = b"%d" % n * 100
            expected[log.append(data)] = data
        for helper in helpers:
            helper.join(60)
        assert len(helpers) > 2
        first = log.first_lsn
        assert contents(log) == {lsn: d for lsn, d in expected.items() if lsn >= first}
    assert not verify(tmp_path).damages
    with Log(tmp_path, QUIET) as log:
        assert contents(log) == {lsn: d for lsn, d in expected.items() if lsn >= first}


def test_a_torn_read_of_the_mark_never_moves_a_reader_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Log(tmp_path) as log, LogReader(tmp_path) as reader:
        log.append_many([b"a", b"b"])
        assert reader.durable_lsn == 2
        tail = reader.tail(1)
        assert [next(tail).lsn, next(tail).lsn] == [1, 2]
        read = RealFile.read

        def torn(self: RealFile, size: int, offset: int) -> bytes:
            data = read(self, size, offset)
            return data[:-1] + b"\xff" if data.startswith(b"WLND") else data

        with monkeypatch.context() as patch:
            patch.setattr(RealFile, "read", torn)
            assert reader.durable_lsn == 2
            assert [r.lsn for r in reader.tail(3, timeout=0.01)] == []
        log.append(b"c")
        assert next(tail).lsn == 3


def test_a_reader_past_a_cut_is_told(tmp_path: Path) -> None:
    with Log(tmp_path, QUIET) as log, LogReader(tmp_path) as reader:
        churn(log, 60, random.Random(3), keep=10_000)
        tails = [log.tail(1), reader.tail(1)]
        for tail in tails:
            for _ in range(100):
                next(tail)
        log.truncate_after(50)
        for n in range(20):
            log.append(b"another past %d" % n)
        for source in (log, reader):
            with pytest.raises(LsnUnknown):
                source.read(101)
            found = contents(source)
            assert len(found) == 70
            assert found[51] == b"another past 0"
