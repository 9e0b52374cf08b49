"""The garbage collector around a start."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from walnut.server import collecting


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    gc.enable()


def test_it_waits_while_a_server_starts_and_is_on_while_it_serves() -> None:
    collecting.hold()
    assert not gc.isenabled()
    collecting.settle()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0, "what there was is left alone"


def test_cycles_that_requests_make_are_still_collected() -> None:
    collecting.settle()
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1
