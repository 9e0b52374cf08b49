"""Jobs that come after others, and lanes."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.helpers import SMALL, by_hand, wait_until
from walnut.jobs import Context, Job, JobFailed, Jobs, JobsOptions, Node, Retry, State
from walnut.jobs.errors import CycleInGraph, NotPossible, UnknownJob
from walnut.jobs.outcome import Failure
from walnut.store import Store, Transaction

BAD = Failure("ValueError", "no", ["ValueError"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


def get(jobs: Jobs, job: Job) -> Job:
    row = jobs.get(jobs.store, job)
    assert row is not None
    return row


def test_fan_out_and_fan_in_with_results_in_the_order_given(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task
    async def part(ctx: Context, number: int) -> int:
        return number

    @jobs.task
    async def gather(ctx: Context) -> list[int]:
        return list(ctx.results)

    with jobs:
        with store.transaction() as tx:
            parts = [jobs.enqueue(tx, part, number) for number in range(300)]
            whole = jobs.enqueue(tx, gather, after=[*reversed(parts), parts[7], parts[7]])
        assert jobs.wait(whole, 30) == [*range(299, -1, -1), 7, 7]
    assert get(jobs, parts[0]).followers == 0


def test_a_graph_is_enqueued_as_a_whole(store: Store) -> None:
    jobs, order = Jobs(store), list[str]()

    @jobs.task
    async def step(ctx: Context, name: str) -> str:
        order.append(name)
        return name

    nodes = {
        "mail": Node(step, ("mail",), after=["book", "charge"]),
        "book": Node(step, ("book",), after=["begin"]),
        "charge": Node(step, ("charge",), after=["begin"]),
        "begin": Node(step, ("begin",)),
    }
    with jobs:
        with store.transaction() as tx:
            made = jobs.graph(tx, nodes, priority=3)
        assert jobs.wait(made["mail"], 20) == "mail"
    assert (order[0], order[3]) == ("begin", "mail")
    circle = {"a": Node(step, ("a",), after=["b"]), "b": Node(step, ("b",), after=["a"])}
    with pytest.raises(CycleInGraph, match="wait for one another"), store.transaction() as tx:
        jobs.graph(tx, circle)
    with pytest.raises(UnknownJob, match="not in the graph"), store.transaction() as tx:
        jobs.graph(tx, {"a": Node(step, ("a",), after=["x"])})


def test_what_comes_after_a_failure_is_cancelled_and_can_be_retried_behind_it(
    store: Store,
) -> None:
    jobs, good = Jobs(store), threading.Event()

    @jobs.task(retry=Retry(attempts=1))
    async def step(ctx: Context, number: int) -> int:
        if number == 1 and not good.is_set():
            raise OSError("no")
        return number

    with store.transaction() as tx:
        first = jobs.enqueue(tx, step, 0)
        second = jobs.enqueue(tx, step, 1, after=[first])
        third = jobs.enqueue(tx, step, 2, after=[second, first])
        fourth = jobs.enqueue(tx, step, 3, after=[third, second, third])
    with jobs:
        with pytest.raises(JobFailed, match="which it comes after, was not done"):
            jobs.wait(fourth, 20)
        with pytest.raises(NotPossible, match="retry that one first"), store.transaction() as tx:
            jobs.retry(tx, fourth)
        assert jobs._ledger.edges.count(store) == 0
        good.set()
        with store.transaction() as tx:
            for job in (second, third, fourth):
                jobs.retry(tx, job)
        assert jobs.wait(fourth, 20) == 3


def test_inputs_are_kept_as_long_as_somebody_may_need_them(store: Store) -> None:
    jobs = Jobs(store, JobsOptions(keep_done=0.0))

    @jobs.task(runs="thread")
    def step(ctx: Context) -> None: ...

    with store.transaction() as tx:
        first = jobs.enqueue(tx, step)
        second = jobs.enqueue(tx, step, after=[first])
    by_hand(jobs, first)
    assert by_hand(jobs, second, BAD) is State.DEAD
    assert store.call(jobs._ledger.drop_ended, 10) == 0, "the dead one may be retried"
    with pytest.raises(NotPossible, match="may need its result"), store.transaction() as tx:
        jobs.drop(tx, first)
    with store.transaction() as tx:
        jobs.retry(tx, second)
    by_hand(jobs, second)
    wait_until(
        lambda: store.call(jobs._ledger.drop_ended, 10) or not jobs._ledger.jobs.count(store)
    )


@pytest.mark.parametrize("shape", ["chain", "fan"])
def test_ten_thousand_that_wait_in_vain_end_in_transactions_of_bearable_size(
    store: Store, shape: str
) -> None:
    jobs, count = Jobs(store), 10_000

    @jobs.task(retry=Retry(attempts=1), name="step")
    async def step(ctx: Context) -> None:
        raise OSError

    def make(tx: Transaction, first: Job, size: int) -> Job:
        last = first
        for _ in range(size):
            last = jobs.enqueue(tx, step, after=[last if shape == "chain" else first])
        return last

    with store.transaction() as tx:
        jobs.pause(tx, "default")
        first = last = jobs.enqueue(tx, step)
    for _ in range(count // 1000):
        last = store.call(make, last if shape == "chain" else first, 1000)
    with jobs:
        with store.transaction() as tx:
            jobs.resume(tx, "default")
        with pytest.raises(JobFailed, match="was not done"):
            jobs.wait(last, 120)
        wait_until(lambda: not jobs._ledger.edges.count(store), 120)
    states = [job.state for job in jobs._ledger.jobs.scan(store)]
    assert states.count(State.CANCELLED) == count
    assert jobs._ledger.timers.count(store) == 0


def test_jobs_of_a_lane_run_one_at_a_time_in_their_order(store: Store) -> None:
    jobs, seen, running = Jobs(store), list[int](), list[int]()

    @jobs.task(retry=Retry(attempts=2, first=0.01, most=0.01))
    async def step(ctx: Context, number: int) -> None:
        assert not running
        running.append(number)
        if number % 5 == 3 and ctx.attempt == 1:
            running.clear()
            raise OSError("once")
        seen.append(number)
        running.clear()

    made = []
    with jobs:
        for begin in range(0, 40, 8):
            with store.transaction() as tx:
                made = [
                    jobs.enqueue(tx, step, number, lane="l", priority=number)
                    for number in range(begin, begin + 8)
                ]
        jobs.wait(made[-1], 30)
        assert seen == list(range(40))
    assert jobs._ledger.lanes.count(store) == 0


def test_a_lane_goes_on_when_its_first_is_cancelled_or_dead(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task(runs="thread")
    def step(ctx: Context) -> None: ...

    with store.transaction() as tx:
        a, b, c, d = (jobs.enqueue(tx, step, lane="l") for _ in range(4))
        jobs.cancel(tx, b)
        jobs.cancel(tx, a)
    assert [get(jobs, job).state for job in (c, d)] == [State.READY, State.BLOCKED]
    by_hand(jobs, c, BAD)
    assert get(jobs, d).state is State.READY
    with store.transaction() as tx:
        jobs.retry(tx, a)
        late = jobs.enqueue(tx, step, lane="l")
    by_hand(jobs, d)
    assert [get(jobs, job).state for job in (a, late)] == [State.READY, State.BLOCKED]


def test_one_that_comes_back_to_an_emptied_lane_is_before_those_that_come_later(
    store: Store,
) -> None:
    """Otherwise what comes after it could be given its turn first, and both would wait for ever."""
    jobs = Jobs(store)

    @jobs.task(runs="thread")
    def step(ctx: Context) -> None: ...

    with store.transaction() as tx:
        *early, dead = (jobs.enqueue(tx, step, lane="l") for _ in range(5))
    for job in early:
        by_hand(jobs, job)
    by_hand(jobs, dead, BAD)
    with store.transaction() as tx:
        holder = jobs.enqueue(tx, step, lane="l")
        jobs.retry(tx, dead)
        last = jobs.enqueue(tx, step, lane="l", after=[dead])
    for job in (holder, dead, last):
        assert by_hand(jobs, job) is State.DONE


def test_a_lane_may_hold_a_job_that_is_not_due(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task
    async def step(ctx: Context) -> int:
        return ctx.attempt

    with jobs:
        with store.transaction() as tx:
            first = jobs.enqueue(tx, step, lane="l", at=tx.now + dt.timedelta(seconds=0.2))
            second = jobs.enqueue(tx, step, lane="l")
        with contextlib.suppress(TimeoutError):
            jobs.wait(second, 0.05)
            raise AssertionError("it did not wait for its turn")
        assert (jobs.wait(first, 20), jobs.wait(second, 20)) == (1, 1)
