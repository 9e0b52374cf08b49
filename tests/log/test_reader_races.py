"""Readers against a writer that truncates, rolls and recycles under them: the right bytes, or
LsnTruncated; never others, never LogCorrupt."""

import random
import threading
from pathlib import Path

from tests.log.children import payload
from tests.log.churn import QUIET, churn
from tests.log.processes import child
from walnut.log import Log, LogOptions, LogReader, Record
from walnut.log.errors import LogError, LsnTruncated
from walnut.log.verify import verify

OPTIONS = LogOptions(segment_bytes=16 * 1024, record_bytes=16 * 1024, buffer_bytes=64 * 1024)


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
        rng = random.Random(5)
        try:
            churn(log, 500, rng)
            while not all(reading.read or reading.wrong for reading in readings):
                churn(log, 10, rng)
        finally:
            ended.set()
            for thread in threads:
                thread.join(60)
        for reading in readings:
            reading.check_kept()
        assert [reading.wrong[:3] for reading in readings] == [[], [], [], []]
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
        rng = random.Random(9)
        try:
            churn(log, 500, rng)
            while rounds <= 3 and not problems:  # it came to its turn late
                churn(log, 10, rng)
        finally:
            ended.set()
            thread.join(60)
        assert problems[:3] == []
