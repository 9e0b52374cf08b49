"""Stopping finishes or hands back what runs, within its budget; a store that fails stops it all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.jobs.helpers import AT_ONCE, SMALL, until, wait_until
from walnut.jobs import Context, Flow, Job, Jobs, JobsOptions, Retry, State
from walnut.jobs.errors import NotPossible
from walnut.log import LogOptions
from walnut.log.errors import LogClosed, LogFailed, LogFull
from walnut.store import Store, StoreOptions, Transaction
from walnut.testing.disk import SimDisk
from walnut.testing.engine import OpenModel


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


def simulated(disk: SimDisk) -> Store:
    log = LogOptions(disk=disk, segment_bytes=16 * 1024, record_bytes=8 * 1024)
    return Store("sim/a", StoreOptions(log=log, engine=OpenModel(0, 0.0), window_seconds=None))


def get(jobs: Jobs, job: Job) -> Job:
    row = jobs.get(jobs.store, job)
    assert row is not None
    return row


def test_what_runs_ends_within_the_budget_or_is_handed_back_and_run_again(store: Store) -> None:
    jobs, ran = Jobs(store), list[tuple[str, int]]()

    @jobs.task
    async def work(ctx: Context, name: str, seconds: float) -> str:
        ran.append((name, ctx.attempt))
        if ctx.attempt == 1:
            await asyncio.sleep(seconds)
        return name

    async def main() -> tuple[Job, Job]:
        await jobs.start()
        short = await store.run(jobs.enqueue, work, "short", 0.1)
        long = await store.run(jobs.enqueue, work, "long", 60.0)
        await until(lambda: len(ran) == 2)
        waiting = await store.run(jobs.enqueue, work, "waiting", 60.0)
        assert 1 <= await jobs.stop(0.5) <= 2
        assert get(jobs, waiting).state is State.READY, "whether it had begun or not"
        return short, long

    short, long = asyncio.run(main())
    assert [get(jobs, job).state for job in (short, long)] == [State.DONE, State.READY]
    assert get(jobs, long).failures == 0
    with jobs:
        assert jobs.wait(long, 20) == "long"
    assert ("long", 2) in ran


def test_one_that_was_asked_before_it_began_is_handed_back_at_once(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task
    async def work(ctx: Context) -> int:
        return 1

    async def main() -> Job:
        await jobs.start()
        assert jobs._dispatcher is not None
        attempts = jobs._dispatcher.attempts
        usual = attempts.start

        def start(job: Job, *args: object) -> None:
            usual(job, *args)  # type: ignore[arg-type]
            attempts.stop(attempts.running[job.id], None, 0.0)

        attempts.start = start  # type: ignore[assignment, method-assign]
        made: Job = await store.run(jobs.enqueue, work)
        await until(lambda: jobs.metrics.handed_back > 0)
        attempts.start = usual  # type: ignore[method-assign]
        assert await jobs.result(made) == 1
        await jobs.stop()
        return made

    job = asyncio.run(main())
    assert get(jobs, job).attempt > 1


def test_a_thread_that_is_deaf_holds_stopping_up_for_the_grace_only(store: Store) -> None:
    jobs, let_go, begun = Jobs(store, JobsOptions(cancel_grace=0.2)), threading.Event(), list[int]()

    @jobs.task(runs="thread")
    def deaf(ctx: Context) -> None:
        begun.append(ctx.attempt)
        let_go.wait(30)

    async def main() -> Job:
        await jobs.start()
        job: Job = await store.run(jobs.enqueue, deaf)
        await until(lambda: begun)
        started = time.monotonic()
        assert await jobs.stop(0.1) == 1
        assert time.monotonic() - started < 10
        return job

    try:
        assert get(jobs, asyncio.run(main())).state is State.READY
    finally:
        let_go.set()


def test_a_workflow_that_waits_does_not_hold_stopping_up(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.workflow
    async def patient(flow: Flow) -> None:
        await flow.sleep(3600)

    with store.transaction() as tx:
        job = jobs.enqueue(tx, patient)
    with jobs:
        wait_until(lambda: jobs._ledger.timers.count(store) == 1)
        started = time.monotonic()
    assert time.monotonic() - started < 8, "and the budget is 10"
    assert get(jobs, job).state is State.SLEEPING


def test_what_was_running_when_the_process_died_is_run_again_and_asked_about(
    tmp_path: Path,
) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)

        @jobs.task(name="work", retry=Retry(attempts=1))
        async def work(ctx: Context) -> int:
            return ctx.attempt

        with store.transaction() as tx:
            made = [jobs.enqueue(tx, work) for _ in range(700)]
        for begin in range(0, 700, 100):
            store.call(jobs._ledger.claim, [job.id for job in made[begin : begin + 100]])
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)
        jobs.add(work)
        with jobs:
            assert {jobs.wait(job, 30) for job in made} == {2}
            assert jobs.metrics.recovered == 700
        row = get(jobs, made[0])
        assert (row.losses, row.failures) == (1, 0), "being lost is no failure of its own"


def test_what_is_lost_again_and_again_is_dead(store: Store) -> None:
    jobs = Jobs(store, JobsOptions(losses=2))

    @jobs.task
    async def killer(ctx: Context) -> None:
        await asyncio.sleep(60)

    with store.transaction() as tx:
        job = jobs.enqueue(tx, killer)
    for _ in range(2):
        store.call(jobs._ledger.claim, [job.id])

        async def main() -> None:
            await jobs.start()
            await until(lambda: get(jobs, job).losses > 0 and not jobs._dispatcher._over)  # type: ignore[union-attr]
            await jobs.stop(0.0)

        asyncio.run(main())
        if get(jobs, job).state.ended:
            break
    assert get(jobs, job).losses == 2
    assert get(jobs, job).state is State.DEAD


def test_jobs_are_run_once_at_a_time_and_can_be_started_again(store: Store) -> None:
    jobs, opened = Jobs(store), list[str]()

    @asynccontextmanager
    async def pool() -> AsyncIterator[None]:
        opened.append("open")
        if opened.count("open") == 2:
            raise OSError("not this time")
        yield
        opened.append("closed")

    jobs.alongside(pool)
    with jobs:
        with pytest.raises(NotPossible, match="run already"):
            asyncio.run(jobs.start())
        with pytest.raises(NotPossible, match="run already"):
            jobs.alongside(pool)
    assert opened == ["open", "closed"]
    with pytest.raises(OSError, match="not this time"), jobs:
        pass
    with jobs:
        pass
    assert opened == ["open", "closed", "open", "open", "closed"]
    assert asyncio.run(jobs.stop()) == 0


def test_when_the_store_fails_nobody_waits_for_ever() -> None:
    disk = SimDisk()
    store = simulated(disk)
    jobs = Jobs(store, JobsOptions(cancel_grace=0.2))
    ended, failures, let_go = threading.Event(), list[BaseException](), threading.Event()

    begun = set[str]()

    @jobs.task
    async def slow(ctx: Context) -> None:
        try:
            begun.add("slow")
            await asyncio.sleep(60)
        finally:
            ended.set()

    @jobs.task(runs="thread")
    def deaf(ctx: Context) -> None:
        begun.add("deaf")
        let_go.wait(30)

    def wait(job: Job) -> None:
        try:
            jobs.wait(job, 30)
        except BaseException as error:
            failures.append(error)

    with store.transaction() as tx:
        made = [jobs.enqueue(tx, slow), jobs.enqueue(tx, deaf)]
    with pytest.raises(LogFailed), jobs:
        wait_until(lambda: len(begun) == 2)
        threads = [threading.Thread(target=wait, args=(job,)) for job in made]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(jobs._waiters) == 2)
        disk.faults.fail_sync_after = 0
        with pytest.raises(LogFailed):
            store.call(jobs.enqueue, slow)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert ended.wait(20), "what ran was ended"
        assert isinstance(jobs.failure, LogFailed)
        with pytest.raises(LogFailed):
            jobs.wait(made[0], 10)
        begun.add("the end")
    let_go.set()
    assert "the end" in begun, "what stopping raises hides what was found before"
    assert [type(error) for error in failures] == [LogFailed, LogFailed]
    store.close()


def test_a_store_that_was_closed_first_does_not_hang_stopping(tmp_path: Path) -> None:
    store = Store(tmp_path, SMALL)
    jobs = Jobs(store, JobsOptions(cancel_grace=0.1))

    @jobs.task
    async def slow(ctx: Context) -> None:
        await asyncio.sleep(60)

    with pytest.raises(LogClosed), jobs:
        with store.transaction() as tx:
            job = jobs.enqueue(tx, slow)
        wait_until(lambda: get(jobs, job).state is State.RUNNING)
        store.close()
    assert store.log.failure is not None


def test_a_full_disk_delays_and_loses_nothing() -> None:
    disk = SimDisk()
    store = simulated(disk)
    jobs, ran = Jobs(store), list[int]()
    fired = store.counter("fired")

    @jobs.task(retry=AT_ONCE)
    async def work(ctx: Context, number: int) -> int:
        ran.append(number)
        return number

    @work.then
    def done(tx: Transaction, job: Job, result: int) -> None:
        fired.add(tx)

    @jobs.workflow
    async def flow_(flow: Flow) -> list[int]:
        return [await flow.run(work, 100), await flow.call(fired.add, 0) * 0]

    action = jobs.action(fired.add, "fire")
    made = []
    with store, jobs:
        for number in range(30):
            with store.transaction() as tx:
                made.append(jobs.enqueue(tx, work, number, tenant="t" * 100))
                jobs.at(tx, tx.now, action)
        with store.transaction() as tx:
            flow_job = jobs.enqueue(tx, flow_)
            disk.faults.capacity = disk.used()
        wait_until(lambda: jobs.metrics.full > 0)
        disk.faults.capacity = None
        assert [jobs.wait(job, 60) for job in made] == list(range(30))
        assert jobs.wait(flow_job, 30) == [100, 0]
        wait_until(lambda: fired.value(store) == 61)


def test_stopping_on_a_full_disk_gives_up_after_its_budget() -> None:
    disk = SimDisk()
    store = simulated(disk)
    jobs, go_on = Jobs(store), threading.Event()

    @jobs.task
    async def work(ctx: Context) -> int:
        await until(go_on.is_set)
        return ctx.attempt

    async def main() -> Job:
        await jobs.start()
        job: Job = await store.run(jobs.enqueue, work)
        await until(lambda: get(jobs, job).state is State.RUNNING)
        disk.faults.capacity = disk.used()
        with pytest.raises(LogFull):
            while True:  # what there is of the segment is used up
                await store.run(jobs.enqueue, work, tenant="t" * 1000, queue="other", lane="x")
        go_on.set()
        with pytest.raises(LogFull):
            await jobs.stop(0.1)
        disk.faults.capacity = None
        return job

    job = asyncio.run(main())
    with jobs:
        assert jobs.wait(job, 30) == 2, "it was lost with its result, and run again"
    store.close()
