"""Workers outside lease jobs: who is silent loses them, who comes late is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.store.helpers import SMALL
from walnut.jobs import Context, Jobs, Retry, State
from walnut.jobs.errors import Fenced, InvalidArguments, InvalidTask
from walnut.jobs.outcome import Failure, Success
from walnut.jobs.tasks import Task
from walnut.store import Store


def declared(jobs: Jobs) -> Task[[int], int]:
    @jobs.task(name="render", runs="outside", queue="gpu", retry=Retry(attempts=2, first=0.0))
    def render(context: Context, number: int) -> int:
        raise AssertionError("it runs elsewhere")

    return render


def test_a_leased_job_is_done_when_its_worker_says_so(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)
        job = store.call(jobs.enqueue, declared(jobs), 7)
        (leased,) = store.call(jobs.lease, "gpu", 60.0)
        assert (leased.id, leased.attempt) == (job.id, 1)
        assert store.call(jobs.lease, "gpu", 60.0) == []
        leased = store.call(jobs.renew, leased, 60.0, 0.5, "half")
        assert (leased.progress, leased.text) == (0.5, "half")
        store.call(jobs.report, leased, Success(b"\x07"))
        assert jobs.wait(job) == 7
        with pytest.raises(Fenced):
            store.call(jobs.report, leased, Success(b"\x08"))
        assert list(jobs.timers_table.scan(store)) == []


def test_a_failed_one_is_tried_again_and_one_handed_back_has_not_failed(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)
        job = store.call(jobs.enqueue, declared(jobs), 7)
        for outcome in (None, Failure("OSError", "no GPU")):
            (leased,) = store.call(jobs.lease, "gpu", 60.0)
            store.call(jobs.report, leased, outcome)
        row = jobs.get(store, job)
        assert row is not None
        assert (row.state, row.attempt, row.failures) == (State.READY, 2, 1)
        (leased,) = store.call(jobs.lease, "gpu", 60.0)
        store.call(jobs.report, leased, Failure("OSError", "no GPU"))
        row = jobs.get(store, job)
        assert row is not None
        assert row.state is State.DEAD


def test_tenants_take_turns_and_a_paused_queue_gives_nothing(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)
        render = declared(jobs)
        with store.transaction() as tx:
            for tenant, count in (("a", 5), ("b", 1), ("c", 2)):
                for number in range(count):
                    jobs.enqueue(tx, render, number, tenant=tenant)
            jobs.pause(tx, "gpu")
        assert store.call(jobs.lease, "gpu", 60.0, 9) == []
        store.call(jobs.resume, "gpu")
        assert [job.tenant for job in store.call(jobs.lease, "gpu", 60.0, 6)] == list("abcaca")


def test_a_silent_worker_loses_its_lease_also_over_a_restart(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)
        job = store.call(jobs.enqueue, declared(jobs), 7)
        (lost,) = store.call(jobs.lease, "gpu", 0.3)

    async def later() -> None:
        async with Store(tmp_path, SMALL) as store:
            jobs = Jobs(store)
            declared(jobs)
            async with jobs:  # which does not take it for lost before its time
                row = jobs.get(store, job)
                assert row is not None
                assert (row.state, row.losses) == (State.RUNNING, 0)
                while jobs.metrics.fired == 0:
                    await asyncio.sleep(0.01)
                row = jobs.get(store, job)
                assert row is not None
                assert row.losses == 1
                (leased,) = await store.run(jobs.lease, "gpu", 60.0)
                assert (leased.id, leased.attempt) == (job.id, 2)
                with pytest.raises(Fenced, match="attempt 1"):
                    await store.run(jobs.report, lost, Success(b"\x07"))
                await store.run(jobs.report, leased, Success(b"\x09"))
                assert await jobs.result(job) == 9

    asyncio.run(later())


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)
        with pytest.raises(InvalidArguments):
            store.call(jobs.lease, "gpu", 0.0)
        with pytest.raises(InvalidTask, match="lease"):

            @jobs.task(runs="outside", timeout=3)
            def render(context: Context) -> None: ...
