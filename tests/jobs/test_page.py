"""The page of jobs: queues are told apart by their index, and counted no further than people read."""

from __future__ import annotations

from pathlib import Path

import pytest

from walnut.jobs import Context, Jobs
from walnut.jobs import page as jobs_page
from walnut.jobs.model import State
from walnut.jobs.page import queues
from walnut.store.store import Store


def work(context: Context, number: int) -> None:
    """Nothing."""


def test_queues_are_found_with_what_is_ready_and_runs(tmp_path: Path) -> None:
    with Store(tmp_path / "data") as store:
        jobs = Jobs(store)
        one = jobs.task(name="one", queue="a")(work)
        two = jobs.task(name="two", queue="ab", runs="outside")(work)
        for number in range(5):
            store.call(jobs.enqueue, one, number)
        for number in range(3):
            store.call(jobs.enqueue, two, number)
        (leased,) = store.call(jobs.lease, "ab", 60.0)
        assert leased.state is State.RUNNING
        found = queues(jobs.tables, store)
        assert [(q.name, q.ready, q.running, q.more) for q in found] == [
            ("a", 5, 0, False),
            ("ab", 2, 1, False),
        ]
        assert found[0].oldest == min(job.created for job in jobs.tables.jobs.scan(store))


def test_a_long_queue_is_counted_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_page, "COUNTED", 4)
    with Store(tmp_path / "data") as store:
        jobs = Jobs(store)
        one = jobs.task(name="one", queue="a")(work)
        other = jobs.task(name="other", queue="b")(work)
        for number in range(6):
            store.call(jobs.enqueue, one, number)
        for number in range(4):
            store.call(jobs.enqueue, other, number)
        assert [(q.name, q.ready, q.more) for q in queues(jobs.tables, store)] == [
            ("a", 4, True),
            ("b", 4, False),
        ]
