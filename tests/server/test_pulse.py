"""The pulse: what happened in a second, and not since the start."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from walnut.server.pulse import KEPT, Depth, Look, Pulse, beat, look, quantile
from walnut.store.store import Store


def test_quantiles_are_found_in_their_bucket() -> None:
    counts = [0, 0, 0, 10, 0, 10]  # ten of 4 to 8, ten of 16 to 32
    assert quantile(counts, 0.25) == pytest.approx(6.0)
    assert quantile(counts, 0.5) == pytest.approx(8.0)
    assert quantile(counts, 0.75) == pytest.approx(24.0)
    assert quantile(counts, 1.0) == pytest.approx(32.0)
    assert quantile([0, 0], 0.5) == 0.0


def test_a_beat_is_the_difference_of_two_looks() -> None:
    before = Look(100.0, 10, 20, 5, (0, 0, 4), (0, 8, 0), 20, 20, 20, 15)
    after = Look(102.0, 30, 60, 15, (0, 0, 4), (0, 8, 6), 64, 60, 58, 15)
    found = beat(before, after, Depth(oldest=52 * 10**9, log_bytes=7))
    assert (found.commits, found.records, found.group) == (10.0, 20.0, 4.0)
    assert (found.undurable, found.unapplied, found.unflushed) == (4, 2, 43)
    assert found.p50 is None  # no transaction was timed in these two seconds
    assert found.sync == pytest.approx(0.003)
    assert (found.window, found.log_bytes) == (50.0, 7)


def test_a_quiet_second_has_no_latency_rather_than_none_at_all() -> None:
    quiet = Look(1.0, 1, 1, 1, (5,), (5,), 1, 1, 1, 1)
    found = beat(quiet, msgspec.structs.replace(quiet, at=2.0), Depth())
    assert (found.group, found.p50, found.p99, found.sync) == (None, None, None, None)
    assert found.commits == 0.0


def test_a_store_is_looked_at_and_only_the_last_minutes_are_kept(tmp_path: Path) -> None:
    seconds = iter(range(10_000))
    with Store(tmp_path / "data") as store:
        hits = store.counter("hits")
        pulse = Pulse(store, tmp_path, clock=lambda: float(next(seconds)))
        for _ in range(7):
            store.call(hits.add)
        assert pulse.step().commits == 7.0
        assert pulse.step().commits == 0.0
        for _ in range(KEPT + 5):
            pulse.step()
        assert len(pulse.beats) == KEPT
        assert look(store, 0.0).durable == store.log.durable_lsn
