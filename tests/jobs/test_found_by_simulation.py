"""What the simulator found, each as the plain story of it."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from walnut.jobs.board import Board, Entry
from walnut.jobs.call import load
from walnut.jobs.context import Context
from walnut.jobs.dispatcher import Dispatcher
from walnut.jobs.errors import Fenced
from walnut.jobs.executors.threads import ThreadRunner
from walnut.jobs.jobs import Jobs
from walnut.jobs.ledger import Ended
from walnut.jobs.model import Job, QueueLimits, State
from walnut.jobs.outcome import Failure, Success
from walnut.jobs.tasks import Task, task
from walnut.jobs.workflow import Flow
from walnut.store import Store, Transaction

NEEDS: dict[str, dict[str, float]] = {"t": {}}
SLOTS = {"process": 9, "thread": 9}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store)


@pytest.fixture
def work(jobs: Jobs) -> Task[..., Any]:
    @jobs.task(name="work", runs="thread")
    def work(context: Context) -> None: ...

    return work


def entry(number: int, runs: str = "process", tenant: str = "") -> Entry:
    return Entry(number, f"j{number}", "t", "q", runs, tenant)


def end(jobs: Jobs, job: Job, error: str = "") -> None:
    """Run a job to its end, or have it fail for good."""
    [claimed] = jobs.store.call(jobs._ledger.claim, [job.id])
    outcome = Failure(error, "on purpose", [error]) if error else Success(b"\xc0")
    jobs.store.call(jobs._ledger.settle, Ended(job.id, claimed.attempt, outcome))


def enqueue(jobs: Jobs, task: Task[..., Any], *after: Job) -> Job:
    return jobs.store.call(lambda tx: jobs.enqueue(tx, task, after=after))


def look(jobs: Jobs, job: Job) -> Job:
    found = jobs.get(jobs.store, job)
    assert found is not None
    return found


# -- the board ------------------------------------------------------------------------------------


def test_a_tenant_that_has_nothing_ready_is_read_from_the_table_all_the_same() -> None:
    board = Board({}, {}, 10)
    board.refill("q", "process", "t1", [], more=False)
    board.offer(entry(1, tenant="t1"))
    assert board.pick(SLOTS, NEEDS, 0.0) == [entry(1, tenant="t1")]


def test_a_window_of_one_is_filled_again() -> None:
    board = Board({}, {}, 1)
    for number in range(4):
        board.offer(entry(number))
    while picked := board.pick(SLOTS, NEEDS, 0.0):
        for one in picked:
            board.ended(one.job)
    assert board.short() == [("q", "process", "")]


def test_a_tenant_is_counted_once_over_all_executors_of_a_queue() -> None:
    board = Board({"q": QueueLimits(tenant_concurrency=1)}, {}, 10)
    board.offer(entry(1, "process", "t1"))
    board.offer(entry(2, "thread", "t1"))
    [first] = board.pick(SLOTS, NEEDS, 0.0)
    board.ended(first.job)
    assert len(board.pick(SLOTS, NEEDS, 0.0)) == 1


# -- jobs after others ------------------------------------------------------------------------------


def test_a_job_that_waits_in_vain_waits_for_none_of_those_before_it(
    jobs: Jobs, work: Task[..., Any]
) -> None:
    first, second = enqueue(jobs, work), enqueue(jobs, work)
    last = enqueue(jobs, work, first, second)
    end(jobs, first, "ValueError")
    assert look(jobs, last).state is State.CANCELLED
    end(jobs, second)
    assert list(jobs._ledger.edges.scan(jobs.store)) == []
    assert look(jobs, second).followers == 1  # it may be retried, and needs the result then
    jobs.store.call(jobs.drop, last)
    assert look(jobs, second).followers == 0


def test_a_job_may_name_another_one_twice(jobs: Jobs, work: Task[..., Any]) -> None:
    first = enqueue(jobs, work)
    last = enqueue(jobs, work, first, first)
    end(jobs, first)
    assert look(jobs, last).state is State.READY
    end(jobs, last)
    assert look(jobs, first).followers == 0


def test_jobs_that_end_together_in_vain_leave_no_followers_behind(
    jobs: Jobs, work: Task[..., Any]
) -> None:
    for _ in range(20):  # ids of one millisecond come in any order, and so do those that end
        first = enqueue(jobs, work)

        def rest(tx: Transaction, before: Job = first) -> list[Job]:
            middle = jobs.enqueue(tx, work, after=[before])
            return [middle, jobs.enqueue(tx, work, after=[before, middle])]

        both = jobs.store.call(rest)
        jobs.store.call(jobs.cancel, first)
        assert list(jobs._ledger.edges.scan(jobs.store)) == []
        assert [look(jobs, job).followers for job in (first, *both)] == [2, 1, 0]
        for job in reversed(both):
            jobs.store.call(jobs.drop, job)
        assert look(jobs, first).followers == 0


# -- doubt ------------------------------------------------------------------------------------------


def test_a_job_whose_lost_attempt_could_not_be_asked_about_stays_in_doubt(
    jobs: Jobs, work: Task[..., Any]
) -> None:
    job = enqueue(jobs, work)
    for error in ("walnut.jobs.errors.WorkerDied", "ConnectionError"):
        end(jobs, job, error)
        assert look(jobs, job).doubtful
        jobs.store.call(jobs.retry, job)


def test_an_attempt_that_was_cancelled_leaves_a_doubt(jobs: Jobs, work: Task[..., Any]) -> None:
    job, waiting = enqueue(jobs, work), enqueue(jobs, work)
    jobs.store.call(jobs._ledger.claim, [job.id])
    assert jobs.store.call(jobs.cancel, job).doubtful
    assert not jobs.store.call(jobs.cancel, waiting).doubtful


# -- forgetting, stopping -----------------------------------------------------------------------------


def test_dropping_a_workflow_drops_its_steps(jobs: Jobs) -> None:
    @jobs.workflow(name="flow")
    async def flow(flow: Flow) -> None:
        await flow.sleep(0.0)

    with jobs:
        job = enqueue(jobs, flow)
        jobs.wait(job, 10)
    assert list(jobs._steps.steps.scan(jobs.store))
    jobs.store.call(jobs.drop, job)
    assert list(jobs._steps.steps.scan(jobs.store)) == []


def test_a_job_that_was_being_claimed_when_all_stopped_is_handed_back(
    jobs: Jobs, work: Task[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stops: list[asyncio.Task[int]] = []
    run = jobs.store.run

    async def slow_run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = await run(function, *args, **kwargs)
        if function.__name__ == "_settle_and_claim" and not stops:
            stops.append(asyncio.ensure_future(jobs.stop(5.0)))
            await asyncio.sleep(0.05)
        return result

    async def live() -> Job:
        monkeypatch.setattr(jobs.store, "run", slow_run)
        await jobs.start()
        job = await run(lambda tx: jobs.enqueue(tx, work))
        while not stops:
            await asyncio.sleep(0.01)
        await stops[0]
        return job

    job = asyncio.run(live())
    assert look(jobs, job).state is State.READY
    assert look(jobs, job).attempt == 1


# -- waiting ------------------------------------------------------------------------------------------


def test_a_queue_that_has_tokens_waits_for_none() -> None:
    board = Board({"q": QueueLimits(rate=1.0, burst=2)}, {}, 10)
    for number in range(3):
        board.offer(entry(number))
    assert len(board.pick({"process": 1}, NEEDS, 0.0)) == 1
    assert board.next_token() is None  # but for a slot
    assert len(board.pick({"process": 1}, NEEDS, 0.0)) == 1
    assert board.pick({"process": 1}, NEEDS, 0.0) == []
    assert board.next_token() == 1.0


def test_a_timer_that_is_due_does_not_spin_the_loop_of_who_is_stopping(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[float] = []
    turn = Dispatcher._turn

    async def counted(self: Dispatcher) -> bool:
        turns.append(0.0)
        return await turn(self)

    @jobs.task(name="slow")
    async def slow(context: Context) -> None:
        await asyncio.sleep(0.5)

    async def live() -> None:
        monkeypatch.setattr(Dispatcher, "_turn", counted)
        await jobs.start()
        await jobs.store.run(lambda tx: jobs.enqueue(tx, slow))
        await asyncio.sleep(0.1)
        stopping = asyncio.ensure_future(jobs.stop(5.0))
        await asyncio.sleep(0)
        await jobs.store.run(lambda tx: jobs.at(tx, tx.now, nothing))
        await stopping

    asyncio.run(live())
    assert len(turns) < 100


def nothing(tx: Transaction) -> None: ...


# -- workers outside ----------------------------------------------------------------------------------


def test_a_worker_outside_whose_job_was_forgotten_is_fenced(jobs: Jobs) -> None:
    @jobs.task(name="away", runs="outside", queue="away")
    def away(context: Context) -> None: ...

    enqueue(jobs, away)
    [taken] = jobs.store.call(jobs.lease, "away", 60.0)
    jobs.store.call(jobs.cancel, taken)
    jobs.store.call(jobs.drop, taken)
    with pytest.raises(Fenced):
        jobs.store.call(jobs.report, taken, Success(b"\xc0"))


# -- declaring ----------------------------------------------------------------------------------------


def test_a_task_may_stall_on_a_runner_that_stands_in_for_child_processes(store: Store) -> None:
    jobs = Jobs(store, executors={"process": ThreadRunner(1, 1000, load)})

    @task(name="child", stall=1.0)
    def child(context: Context) -> None: ...

    child.function.__qualname__ = "child"  # as if it were at the top of a module
    assert jobs.add(child).options.stall == 1.0
