"""Tasks: run once, to their end, with what they returned or why they failed on record."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.jobs.helpers import AT_ONCE, SMALL, until, wait_until
from walnut.jobs import (
    Context,
    Job,
    JobFailed,
    Jobs,
    JobsOptions,
    Postponed,
    Retry,
    State,
)
from walnut.jobs.errors import NotPossible, UnknownJob
from walnut.jobs.outcome import Failure
from walnut.store import Store, Transaction


class Rung(msgspec.Struct):
    """An argument that is a struct."""

    height: int
    name: str = ""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


def get(jobs: Jobs, job: Job) -> Job:
    row = jobs.get(jobs.store, job)
    assert row is not None
    return row


def test_a_job_runs_if_and_only_if_its_transaction_commits(store: Store) -> None:
    jobs, ran = Jobs(store), list[int]()

    @jobs.task(runs="thread")
    def note(ctx: Context, number: int) -> int:
        ran.append(number)
        return number * 2

    with jobs:
        with contextlib.suppress(RuntimeError), store.transaction() as tx:
            jobs.enqueue(tx, note, 1)
            raise RuntimeError
        with store.transaction() as tx:
            job = jobs.enqueue(tx, note, 2)
        assert jobs.wait(job, 20) == 4
    assert ran == [2]
    assert get(jobs, job).state is State.DONE


def test_arguments_and_results_are_typed(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task(runs="thread")
    def lower(ctx: Context, rung: Rung, by: int = 1) -> Rung:
        return Rung(rung.height - by, rung.name)

    with jobs, store.transaction() as tx:
        job = jobs.enqueue(tx, lower, Rung(720, "hd"))
    with jobs:
        assert jobs.wait(job, 20) == Rung(719, "hd")


def test_coroutines_run_on_the_loop_and_are_awaited_from_any_other(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task
    async def double(ctx: Context, number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    async def main() -> list[int]:
        made = [await store.run(jobs.enqueue, double, number) for number in range(20)]
        results: list[int] = await asyncio.gather(*[jobs.result(job) for job in made])
        return results

    with jobs:  # on a loop of its own
        assert asyncio.run(main()) == [2 * number for number in range(20)]

    async def at_hand() -> list[int]:
        await jobs.start()
        try:
            return await main()
        finally:
            await jobs.stop()

    assert asyncio.run(at_hand()) == [2 * number for number in range(20)]


def test_what_is_waiting_when_jobs_are_first_run_is_run(tmp_path: Path) -> None:
    def declared(store: Store) -> tuple[Jobs, Any]:
        jobs = Jobs(store)

        @jobs.task(name="double")
        async def double(ctx: Context, number: int) -> int:
            return number * 2

        return jobs, double

    with Store(tmp_path, SMALL) as store:
        jobs, double = declared(store)
        with store.transaction() as tx:
            made = [jobs.enqueue(tx, double, n, tenant=f"t{n % 3}") for n in range(9)]
    with Store(tmp_path, SMALL) as store:
        jobs, _ = declared(store)
        with jobs:
            assert [jobs.wait(job, 20) for job in made] == [2 * n for n in range(9)]


def test_a_transaction_that_began_before_jobs_were_run_is_not_forgotten(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task
    async def double(ctx: Context, number: int) -> int:
        return number * 2

    begun, go_on, made = threading.Event(), threading.Event(), list[Job]()

    def slow() -> None:
        with store.transaction() as tx:
            made.append(jobs.enqueue(tx, double, 4))
            begun.set()
            assert go_on.wait(20)

    thread = threading.Thread(target=slow)
    thread.start()
    assert begun.wait(20)
    with jobs:
        # It has read the tables by now, and the job was not there.
        wait_until(lambda: jobs._dispatcher is not None and jobs._dispatcher._next_due)
        go_on.set()
        thread.join()
        assert jobs.wait(made[0], 20) == 8


def test_a_key_is_one_job_until_that_ends(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task
    async def double(ctx: Context, number: int) -> int:
        return number * 2

    with store.transaction() as tx:
        first = jobs.enqueue(tx, double, 1, key="k")
        assert jobs.enqueue(tx, double, 2, key="k").id == first.id
    assert (found := jobs.find(store, "k")) is not None
    assert found.id == first.id
    with jobs:
        assert jobs.wait(first, 20) == 2
        with store.transaction() as tx:
            other = jobs.enqueue(tx, double, 2, key="k")
        assert jobs.wait(other, 20) == 4


def test_failures_are_tried_again_as_the_task_says_and_then_dead(store: Store) -> None:
    jobs, tries = Jobs(store), list[int]()

    @jobs.task(retry=AT_ONCE)
    async def shaky(ctx: Context, good: int) -> int:
        tries.append(ctx.attempt)
        if ctx.attempt < good:
            raise OSError(f"try {ctx.attempt}")
        return ctx.attempt

    with jobs:
        with store.transaction() as tx:
            fine, bad = jobs.enqueue(tx, shaky, 3), jobs.enqueue(tx, shaky, 9)
        assert jobs.wait(fine, 20) == 3
        with pytest.raises(JobFailed, match="OSError: try 3"):
            jobs.wait(bad, 20)
    row = get(jobs, bad)
    assert (row.state, row.failures, row.losses) == (State.DEAD, 3, 0)
    assert row.error is not None
    assert 'raise OSError(f"try' in row.error.trace
    with store.transaction() as tx:
        again = jobs.retry(tx, bad)
    assert (again.state, again.failures, again.attempt) == (State.READY, 0, 3)
    with pytest.raises(NotPossible, match="DONE"), store.transaction() as tx:
        jobs.retry(tx, fine)


def test_mistakes_are_not_tried_again(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task(retry=AT_ONCE)
    async def wrong(ctx: Context) -> None:
        raise KeyError("k")

    with jobs:
        with store.transaction() as tx:
            job = jobs.enqueue(tx, wrong)
        with pytest.raises(JobFailed, match="KeyError"):
            jobs.wait(job, 20)
    assert get(jobs, job).attempt == 1


def test_a_job_that_is_postponed_has_not_failed(store: Store) -> None:
    jobs, tries = Jobs(store), list[int]()

    class Busy(Postponed):
        pass

    @jobs.task(retry=Retry(attempts=1))
    async def later(ctx: Context) -> int:
        tries.append(ctx.attempt)
        if ctx.attempt < 4:
            raise Busy(0.01)
        return 7

    with jobs:
        with store.transaction() as tx:
            job = jobs.enqueue(tx, later)
        assert jobs.wait(job, 20) == 7
    assert (tries, get(jobs, job).failures) == ([1, 2, 3, 4], 0)


@pytest.mark.parametrize(
    ("retry_after", "text"),
    [("120", "x"), (float("nan"), "x"), (float("inf"), "x"), (-1, "x"), (0.0, "\udcff.txt")],
)
def test_whatever_an_exception_holds_can_be_recorded(
    store: Store, retry_after: object, text: str
) -> None:
    jobs = Jobs(store)

    class Odd(Exception):
        def __init__(self) -> None:
            self.retry_after = retry_after

        def __str__(self) -> str:
            if text == "x":
                raise RuntimeError("no text")
            return text

    @jobs.task(retry=Retry(attempts=1))
    async def odd(ctx: Context) -> None:
        ctx.progress(0.5, text)
        raise Odd

    with jobs:
        with store.transaction() as tx:
            job = jobs.enqueue(tx, odd)
        with pytest.raises(JobFailed, match="Odd"):
            jobs.wait(job, 20)
    assert jobs.failure is None


def test_a_coroutine_that_exits_or_cancels_itself_has_failed(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task(retry=Retry(attempts=1))
    async def leave(ctx: Context, how: str) -> None:
        raise SystemExit(3) if how == "exit" else asyncio.CancelledError

    with jobs:
        with store.transaction() as tx:
            made = [jobs.enqueue(tx, leave, how) for how in ("exit", "cancel")]
        for job, what in zip(made, ("SystemExit", "CancelledError"), strict=True):
            with pytest.raises(JobFailed, match=what):
                jobs.wait(job, 20)


def test_then_and_otherwise_are_part_of_the_end(store: Store) -> None:
    jobs, done = Jobs(store), store.counter("done")
    dead = store.counter("dead")

    @jobs.task(retry=Retry(attempts=1))
    async def step(ctx: Context, good: int) -> Rung:
        if not good:
            raise OSError("no")
        return Rung(1)

    @step.then
    def count(tx: Transaction, job: Job, result: Rung) -> None:
        done.add(tx, result.height)

    @step.otherwise
    def count_dead(tx: Transaction, job: Job, failure: Failure) -> None:
        assert failure.error == "OSError"
        dead.add(tx, 1)

    with jobs:
        with store.transaction() as tx:
            made = [jobs.enqueue(tx, step, 1 - number % 2) for number in range(10)]
        for job in made:
            with contextlib.suppress(JobFailed):
                jobs.wait(job, 20)
        assert (done.value(store), dead.value(store)) == (5, 5)


def test_a_then_that_raises_makes_it_a_failure_and_hurts_no_other(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task(retry=Retry(attempts=1))
    async def step(ctx: Context, good: int) -> int:
        return good

    @step.then
    def check(tx: Transaction, job: Job, result: int) -> None:
        if not result:
            raise ValueError("not taken")

    with jobs:
        with store.transaction() as tx:
            made = [jobs.enqueue(tx, step, int(number != 5)) for number in range(10)]
        for number, job in enumerate(made):
            if number != 5:
                assert jobs.wait(job, 20) == 1
        with pytest.raises(JobFailed, match="ValueError: not taken"):
            jobs.wait(made[5], 20)
        assert jobs.metrics.hook_failures == 1
    assert get(jobs, made[5]).result == b"", "it was not done"


def test_a_then_may_enqueue_what_comes_after_its_job(store: Store) -> None:
    jobs, seen = Jobs(store), list[Any]()

    @jobs.task
    async def first(ctx: Context) -> int:
        return 5

    @jobs.task
    async def second(ctx: Context) -> None:
        seen.extend(ctx.results)

    @first.then
    def go_on(tx: Transaction, job: Job, result: int) -> None:
        jobs.enqueue(tx, second, after=[job], key="second")

    with jobs:
        with store.transaction() as tx:
            jobs.enqueue(tx, first)
        wait_until(lambda: seen)
    assert seen == [5]


def test_progress_is_recorded_now_and_then(store: Store) -> None:
    jobs = Jobs(store, JobsOptions(record_every=0.01))
    go_on = threading.Event()

    @jobs.task(runs="thread")
    def slow(ctx: Context) -> None:
        for number in range(1000):
            ctx.progress(number / 2000, f"at {number}")
        assert go_on.wait(20)

    with jobs:
        with store.transaction() as tx:
            job = jobs.enqueue(tx, slow)
        wait_until(lambda: get(jobs, job).text == "at 999")
        assert get(jobs, job).progress == pytest.approx(0.4995)
        go_on.set()
        jobs.wait(job, 20)
    assert get(jobs, job).progress == 1.0


@pytest.mark.parametrize("runs", ["loop", "thread"])
def test_an_attempt_that_takes_too_long_is_asked_to_stop(store: Store, runs: str) -> None:
    jobs = Jobs(store, JobsOptions(cancel_grace=0.2))

    async def on_loop(ctx: Context) -> None:
        await asyncio.sleep(60)

    def in_thread(ctx: Context) -> None:
        wait_until(lambda: ctx.cancelled)
        raise RuntimeError("stopped")

    task = jobs.task(name="slow", runs=runs, timeout=0.05, retry=Retry(attempts=1))(
        on_loop if runs == "loop" else in_thread
    )
    with jobs:
        with store.transaction() as tx:
            job = jobs.enqueue(tx, task)
        with pytest.raises(JobFailed, match="TimeoutError: it took longer"):
            jobs.wait(job, 20)
    assert get(jobs, job).doubtful


def test_an_attempt_that_gives_no_sign_of_life_has_stalled(store: Store) -> None:
    jobs = Jobs(store, JobsOptions(cancel_grace=0.1))

    @jobs.task(stall=0.1, retry=Retry(attempts=1))
    async def quiet(ctx: Context, beats: int) -> int:
        for _ in range(beats):
            await asyncio.sleep(0.02)
            ctx.heartbeat()
        if not beats:
            await asyncio.sleep(60)
        return beats

    with jobs:
        with store.transaction() as tx:
            lively, still = jobs.enqueue(tx, quiet, 20), jobs.enqueue(tx, quiet, 0)
        with pytest.raises(JobFailed, match="Stalled: no sign of life"):
            jobs.wait(still, 20)
        assert jobs.wait(lively, 20) == 20


def test_one_that_does_not_stop_is_left_behind_after_the_grace(store: Store) -> None:
    jobs = Jobs(store, JobsOptions(cancel_grace=0.1))
    let_go = threading.Event()

    @jobs.task(runs="thread", timeout=0.05, retry=Retry(attempts=1))
    def deaf(ctx: Context) -> str:
        assert let_go.wait(20)
        return "late"

    with jobs:
        with store.transaction() as tx:
            job = jobs.enqueue(tx, deaf)
        with pytest.raises(JobFailed, match="TimeoutError"):
            jobs.wait(job, 20)
        let_go.set()
    assert get(jobs, job).state is State.DEAD


def test_cancelling_ends_a_job_wherever_it_is(store: Store) -> None:
    jobs, cancelled = Jobs(store), threading.Event()

    @jobs.task
    async def slow(ctx: Context) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    with store.transaction() as tx:
        waiting = jobs.enqueue(tx, slow)
        jobs.cancel(tx, waiting, "not wanted")
    with jobs:
        with store.transaction() as tx:
            running = jobs.enqueue(tx, slow)
        wait_until(lambda: get(jobs, running).state is State.RUNNING)
        with store.transaction() as tx:
            jobs.cancel(tx, running)
        assert cancelled.wait(20)
        with pytest.raises(JobFailed, match="cancelled by hand"):
            jobs.wait(running, 20)
    with pytest.raises(JobFailed, match="not wanted"), jobs:
        jobs.wait(waiting, 20)
    with pytest.raises(NotPossible, match="ended already"), store.transaction() as tx:
        jobs.cancel(tx, waiting)


def test_a_job_that_was_cancelled_while_it_ran_can_be_retried_at_once(store: Store) -> None:
    jobs, runs = Jobs(store), list[int]()

    @jobs.task
    async def slow(ctx: Context) -> int:
        runs.append(ctx.attempt)
        if ctx.attempt == 1:
            await asyncio.sleep(60)
        return ctx.attempt

    with jobs:
        with store.transaction() as tx:
            job = jobs.enqueue(tx, slow)
        wait_until(lambda: runs)
        with store.transaction() as tx:
            jobs.cancel(tx, job)
            jobs.retry(tx, job)
        wait_until(lambda: get(jobs, job).state is State.DONE)
    assert runs == [1, 2]


def test_whoever_gives_up_waiting_leaves_nothing_behind(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task
    async def never(ctx: Context) -> None:
        await asyncio.sleep(60)

    with store.transaction() as tx:
        job = jobs.enqueue(tx, never)
    with pytest.raises(UnknownJob):
        jobs.wait("nonsense", 1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            jobs.wait(job, 0.01)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await jobs.result(job)

    asyncio.run(main())
    assert not jobs._waiters


def test_waiting_for_a_job_from_many_threads_while_it_ends(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task
    async def quick(ctx: Context) -> int:
        return 1

    with jobs:
        for _ in range(50):
            with store.transaction() as tx:
                job = jobs.enqueue(tx, quick)
            results = list[int]()

            def wait(job: Job, results: list[int]) -> None:
                results.append(jobs.wait(job, 20))

            threads = [threading.Thread(target=wait, args=(job, results)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert results == [1] * 4


def test_tasks_that_are_not_known_yet_wait_until_they_are(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)

        @jobs.task(name="late")
        async def late(ctx: Context, number: int) -> int:
            return number

        with store.transaction() as tx:
            made = [jobs.enqueue(tx, late, number) for number in range(5)]
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)

        @jobs.task(name="known")
        async def known(ctx: Context) -> int:
            return 1

        with jobs:
            with store.transaction() as tx:
                other = jobs.enqueue(tx, known)
            assert jobs.wait(other, 20) == 1
            jobs.add(late)
            assert [jobs.wait(job, 20) for job in made] == list(range(5))


def test_a_task_may_become_a_coroutine_while_jobs_of_it_wait(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)

        @jobs.task(name="task", runs="thread")
        def old(ctx: Context) -> int:
            return 1

        with store.transaction() as tx:
            job = jobs.enqueue(tx, old)
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)

        @jobs.task(name="task")
        async def new(ctx: Context) -> int:
            return 2

        with jobs:
            assert jobs.wait(job, 20) == 2


def test_arguments_too_large_for_one_record_together_are_claimed_in_several(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task
    async def size(ctx: Context, data: bytes) -> int:
        return len(data)

    made = []
    for _ in range(40):
        with store.transaction() as tx:
            made.append(jobs.enqueue(tx, size, bytes(900_000)))
    with jobs:
        assert [jobs.wait(job, 60) for job in made] == [900_000] * 40


def test_results_too_large_for_one_record_together_are_settled_in_several(store: Store) -> None:
    jobs = Jobs(store, JobsOptions(result_bytes=1 << 19))
    gate = threading.Event()

    @jobs.task
    async def large(ctx: Context) -> bytes:
        await until(gate.is_set)
        return bytes((1 << 19) - 8)

    with jobs:
        with store.transaction() as tx:
            made = [jobs.enqueue(tx, large) for _ in range(50)]
        wait_until(lambda: jobs.metrics.started == 50)
        gate.set()
        for job in made:
            assert len(jobs.wait(job, 60)) == (1 << 19) - 8


def test_jobs_that_ended_long_ago_are_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("walnut.jobs.dispatcher.KEEP_SECONDS", 0.0)
    jobs = Jobs(store, JobsOptions(keep_done=0.0))

    @jobs.task(retry=Retry(attempts=1))
    async def quick(ctx: Context, good: int) -> None:
        if not good:
            raise OSError

    with jobs:
        with store.transaction() as tx:
            for _ in range(600):
                jobs.enqueue(tx, quick, 1)
            dead = jobs.enqueue(tx, quick, 0)
        wait_until(lambda: jobs._ledger.jobs.count(store) == 1)
    assert get(jobs, dead).state is State.DEAD
    with store.transaction() as tx:
        jobs.drop(tx, dead)
    assert jobs.get(store, dead) is None
