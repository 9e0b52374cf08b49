"""Queues as they are run: limits, pauses, priorities, with the table behind the board."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.helpers import SMALL, until, wait_until
from walnut.jobs import Context, Job, Jobs, JobsOptions, QueueLimits, State
from walnut.store import Store, Transaction


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


class Gauge:
    """How many are at it at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def work(self, seconds: float = 0.003) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(seconds)
        self.now -= 1


def test_a_paused_queue_starts_nothing_and_others_go_on(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)

        @jobs.task(name="work")
        async def work(ctx: Context, number: int) -> int:
            return number

        with jobs:
            with store.transaction() as tx:
                jobs.pause(tx, "mail")
                mail = jobs.enqueue(tx, work, 1, queue="mail")
                other = jobs.enqueue(tx, work, 2)
            assert jobs.wait(other, 20) == 2
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)
        jobs.add(work)
        with jobs:
            with store.transaction() as tx:
                other = jobs.enqueue(tx, work, 3)
            assert jobs.wait(other, 20) == 3
            row = jobs.get(store, mail)
            assert row is not None
            assert row.state is State.READY, "it is paused on record"
            with store.transaction() as tx:
                assert jobs.resume(tx, "mail")
                assert not jobs.resume(tx, "mail")
            assert jobs.wait(mail, 20) == 1


def test_limits_hold_across_executors_and_tenants(store: Store) -> None:
    limits = QueueLimits(concurrency=5, tenant_concurrency=2)
    jobs, gauge = Jobs(store, JobsOptions(queues={"default": limits})), Gauge()

    @jobs.task
    async def work(ctx: Context) -> None:
        await gauge.work()

    with jobs:
        with store.transaction() as tx:
            made = [jobs.enqueue(tx, work, tenant=f"t{n % 7}") for n in range(100)]
        for job in made:
            jobs.wait(job, 30)
    assert gauge.most == 5


def test_a_rate_holds(store: Store) -> None:
    limits = QueueLimits(rate=50.0, burst=5)
    jobs = Jobs(store, JobsOptions(queues={"default": limits}))

    @jobs.task
    async def work(ctx: Context) -> None: ...

    with jobs:
        started = time.monotonic()
        with store.transaction() as tx:
            made = [jobs.enqueue(tx, work) for _ in range(30)]
        for job in made:
            jobs.wait(job, 30)
        took = time.monotonic() - started
    assert took > 25 / 50 * 0.95


@pytest.mark.parametrize("window", [1, 2, 1000])
def test_more_jobs_than_fit_into_memory_run_in_their_order(store: Store, window: int) -> None:
    jobs, seen = Jobs(store, JobsOptions(window=window, tasks=1)), list[int]()

    @jobs.task
    async def work(ctx: Context, number: int) -> None:
        seen.append(number)

    def make(tx: Transaction) -> list[Job]:
        return [jobs.enqueue(tx, work, number, priority=number % 3) for number in range(120)]

    made = store.call(make)
    with jobs:
        for job in made:
            jobs.wait(job, 30)
    assert seen == sorted(range(120), key=lambda number: (-(number % 3), number))


def test_waiting_outweighs_priority_in_the_end(store: Store) -> None:
    jobs, seen = Jobs(store, JobsOptions(ageing=0.001, tasks=1)), list[str]()

    @jobs.task
    async def work(ctx: Context, name: str) -> None:
        seen.append(name)

    with store.transaction() as tx:
        jobs.enqueue(tx, work, "old")
    made = store.call(jobs.enqueue, work, "urgent", priority=100_000)
    wait_until(lambda: time.time_ns() - made.created > 20e6)
    last = store.call(jobs.enqueue, work, "late", priority=10)
    with jobs:
        jobs.wait(last, 20)
    assert seen == ["urgent", "old", "late"]


def test_a_job_that_waits_for_a_resource_does_not_hold_up_others(store: Store) -> None:
    jobs = Jobs(store, JobsOptions(resources={"gpu": 1}))
    go_on = threading.Event()

    @jobs.task(resources={"gpu": 1})
    async def render(ctx: Context) -> None:
        await until(go_on.is_set)

    @jobs.task
    async def mail(ctx: Context) -> int:
        return 1

    with jobs:
        with store.transaction() as tx:
            renders = [jobs.enqueue(tx, render, priority=9) for _ in range(3)]
            other = jobs.enqueue(tx, mail)
        assert jobs.wait(other, 20) == 1
        go_on.set()
        for job in renders:
            jobs.wait(job, 20)


def test_many_threads_and_loops_enqueue_at_once(store: Store) -> None:
    jobs, seen, lock = Jobs(store), list[int](), threading.Lock()

    @jobs.task(runs="thread")
    def work(ctx: Context, number: int) -> None:
        with lock:
            seen.append(number)

    def by_thread(begin: int) -> None:
        for number in range(begin, begin + 50):
            with store.transaction() as tx:
                jobs.enqueue(tx, work, number)

    def by_loop(begin: int) -> None:
        async def main() -> None:
            made = [store.run(jobs.enqueue, work, number) for number in range(begin, begin + 50)]
            for job in await asyncio.gather(*made):
                await jobs.result(job)

        asyncio.run(main())

    with jobs:
        threads = [
            threading.Thread(target=by_loop if number % 2 else by_thread, args=(100 * number,))
            for number in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(seen) == 300)
    assert len(set(seen)) == 300
