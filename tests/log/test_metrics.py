"""What the log counts about itself."""

import threading
import time
from pathlib import Path

import pytest

from walnut.log import Log
from walnut.log.disk import RealFile
from walnut.log.metrics import Flush, Histogram, Metrics


def test_appends_and_flushes_are_counted_as_they_were(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append(b"four")
        log.append_many([b"a", b"", b"bcd"])
        metrics = log.metrics
        assert (metrics.records, metrics.bytes, metrics.frames) == (4, 8, 2)
        assert metrics.frame_bytes > 8
        assert metrics.syncs == 2
        assert (metrics.batch.count, metrics.batch.total, metrics.batch.maximum) == (2, 4, 3)
        for times in (metrics.write, metrics.sync, metrics.flush, metrics.wait):
            assert times.count == 2
            assert 0 < times.mean <= times.maximum
        assert metrics.flush.total == pytest.approx(metrics.write.total + metrics.sync.total)
        assert metrics.wait.total >= metrics.flush.total


def test_who_waits_behind_a_slow_flush_waits_longer_than_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = threading.Event()
    sync = RealFile.sync

    def slow_once(self: RealFile) -> None:
        if not entered.is_set():
            entered.set()
            while log.next_lsn < 3:
                time.sleep(0.001)
            time.sleep(0.2)  # the second one waits for all of it
        sync(self)

    with Log(tmp_path) as log:
        monkeypatch.setattr(RealFile, "sync", slow_once)
        first = threading.Thread(target=log.append, args=(b"first",))
        first.start()
        assert entered.wait(30)
        log.append(b"second")
        first.join(30)
        assert log.metrics.flush.count == 2
        assert log.metrics.wait.total - log.metrics.flush.total > 0.1 * 1e6


def test_a_quantile_is_an_upper_bound_within_a_factor_of_two() -> None:
    histogram = Histogram()
    assert (histogram.mean, histogram.quantile(0.5)) == (0, 0)
    for value in range(1000):
        histogram.observe(value)
    assert histogram.mean == pytest.approx(499.5)
    for q in (0.01, 0.5, 0.9, 0.99):
        assert 1000 * q <= histogram.quantile(q) <= max(2, 2000 * q)
    assert histogram.quantile(1) == 999


def test_many_flushes_take_no_memory() -> None:
    metrics = Metrics()
    for n in range(10_000):
        metrics.observe(Flush(n, 1.0, 2.0, 3.0, 4.0))
    assert len(metrics._unsorted) < 2000
    assert metrics.batch.count == metrics.wait.count == 10_000
