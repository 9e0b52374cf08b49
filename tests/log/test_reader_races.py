"""Readers against a writer that truncates, rolls and recycles under them: the right bytes, or
LsnTruncated; never others, never LogCorrupt."""

import contextlib
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.children import payload
from tests.log.helpers import contents
from tests.log.processes import child
from walnut.log import Log, LogOptions, LogReader, Record
from walnut.log.control import SPARE
from walnut.log.disk import RealDirectory, RealFile
from walnut.log.errors import LogError, LsnTruncated, LsnUnknown
from walnut.log.verify import verify

OPTIONS = LogOptions(segment_bytes=16 * 1024, record_bytes=16 * 1024, buffer_bytes=64 * 1024)
QUIET = LogOptions(segment_bytes=16 * 1024, background=False)


def churn(log: Log, count: int, rng: random.Random, keep: int = 250) -> None:
    """Append, roll, truncate and so recycle. Each record can be told from its LSN."""
    for _ in range(count):
        first = log.next_lsn
        size = rng.randrange(1, 8)
        assert log.append_many([payload(0, first + n) for n in range(size)]) == first
        if rng.random() < 0.1:
            log.truncate_before(max(1, log.durable_lsn - rng.randrange(20, keep)))


class Reading:
    """A thread's reading from random LSNs; what it met."""

    def __init__(self, source: Log | LogReader, seed: int) -> None:
        self.read = self.gone = 0
        self.wrong: list[object] = []
        self._source = source
        self._rng = random.Random(seed)
        self._kept: list[Record] = []

    def once(self) -> None:
        source, rng = self._source, self._rng
        start = rng.randint(max(1, source.first_lsn - 20), max(1, source.durable_lsn))
        lsn = start
        try:
            for record in source.read(start, start + rng.randrange(1, 120)):
                if record.lsn != lsn or record.data != payload(0, lsn):
                    self.wrong.append((lsn, record.lsn, bytes(record.data[:40])))
                lsn += 1
                self.read += 1
                if rng.random() < 0.02:
                    self._kept.append(record)
        except LsnTruncated:
            self.gone += 1
        except (LogError, OSError) as error:
            self.wrong.append(error)
        if len(self._kept) > 60:
            self.check_kept()
            self._kept = self._kept[::2]

    def check_kept(self) -> None:
        """Views that were given out are what they were, whatever became of their files."""
        self.wrong += [r.lsn for r in self._kept if r.data != payload(0, r.lsn)]


def test_threads_reading_while_the_log_is_truncated_under_them(tmp_path: Path) -> None:
    ended = threading.Event()

    def run(reading: Reading) -> None:
        while not ended.is_set():
            reading.once()

    with Log(tmp_path, OPTIONS) as log, LogReader(tmp_path) as reader:
        log.append(payload(0, 1))
        readings = [Reading(log, 1), Reading(log, 2), Reading(reader, 3), Reading(reader, 4)]
        threads = [threading.Thread(target=run, args=(reading,)) for reading in readings]
        for thread in threads:
            thread.start()
        try:
            churn(log, 1200, random.Random(5))
        finally:
            ended.set()
            for thread in threads:
                thread.join(60)
        for reading in readings:
            reading.check_kept()
        assert [reading.wrong[:3] for reading in readings] == [[], [], [], []]
        assert all(reading.read for reading in readings)
        assert log.metrics.removed > 20


def test_a_process_reading_while_the_log_is_truncated_under_it(tmp_path: Path) -> None:
    with Log(tmp_path, OPTIONS) as log:
        log.append(payload(0, 1))
        with child("read_at_random", tmp_path) as one, child("read_at_random", tmp_path) as two:
            assert one.hear() == two.hear() == ["reading"]
            churn(log, 1500, random.Random(6))
            for reader in (one, two):
                reader.tell()
                lines = reader.hear_all()
                assert [line[0] for line in lines] == ["met"], lines[:5]
                assert int(lines[0][1]) > 0
        assert log.metrics.removed > 20


def test_views_stay_what_they_were(tmp_path: Path) -> None:
    """Through truncation, recycling, truncate_after, new records, close and reopen."""
    with Log(tmp_path, QUIET) as log:
        churn(log, 150, random.Random(8), keep=10_000)
        kept = list(log.read())
        with LogReader(tmp_path) as reader:
            kept += list(reader.read())
        log.truncate_after(log.first_lsn + len(kept) // 4)
        for n in range(300):
            log.append(b"%d" % n * 100)
            log.truncate_before(log.durable_lsn - n % 10)
            log.housekeep()
        late = list(log.read())
        expected = [bytes(record.data) for record in late]
        for n in range(600):
            log.append(b"later %d" % n * 60)
            log.truncate_before(log.durable_lsn)
        assert log.metrics.rolls > 20
    with Log(tmp_path, QUIET) as log:
        log.append(b"again")
    assert all(record.data == payload(0, record.lsn) for record in kept)
    assert [record.data for record in late] == expected


def test_segments_are_recycled_once_no_view_is_left(tmp_path: Path) -> None:
    with Log(tmp_path, QUIET) as log:
        record = None
        for n in range(200):
            log.append(b"%d" % n * 100)
            record = record or next(iter(log.read(1)))
        log.truncate_before(log.durable_lsn)
        recycled = log.metrics.recycled
        assert record is not None
        assert record.data == b"0" * 100
        record = None
        for n in range(400):
            log.append(b"%d" % n * 100)
            log.truncate_before(log.durable_lsn)
        assert log.metrics.recycled > recycled


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
        with pytest.raises(LsnTruncated):  # noqa: PT012
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
def test_a_reader_crosses_a_roll_that_happens_under_it(
    tmp_path: Path, *, elsewhere: bool
) -> None:
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


def test_stat_and_verify_of_a_log_that_is_being_truncated(tmp_path: Path) -> None:
    ended = threading.Event()
    problems: list[object] = []
    rounds = 0

    def look() -> None:
        nonlocal rounds
        while not ended.is_set():
            rounds += 1
            try:
                with LogReader(tmp_path) as reader:
                    stat = reader.stat()
                    assert stat.first_lsn <= stat.next_lsn
                problems.extend(verify(tmp_path).damages)
            except Exception as error:
                problems.append(error)

    with Log(tmp_path, OPTIONS) as log:
        log.append(payload(0, 1))
        thread = threading.Thread(target=look)
        thread.start()
        try:
            churn(log, 800, random.Random(9))
        finally:
            ended.set()
            thread.join(60)
        assert rounds > 3
        assert problems[:3] == []


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
