"""What can't work is refused by name, when it is declared or enqueued and not when it is too late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.helpers import SMALL
from walnut.jobs import Context, Job, JobFailed, Jobs, JobsOptions, QueueLimits, Retry
from walnut.jobs.errors import (
    InvalidArguments,
    InvalidTask,
    NotPossible,
    UnknownJob,
    UnknownQueue,
    UnknownTask,
)
from walnut.jobs.tasks import task
from walnut.log.errors import LogError
from walnut.store import Store, Transaction
from walnut.store.errors import AlreadyDefined, ValueTooLarge


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store)


async def double(ctx: Context, number: int) -> int:
    return 2 * number


def refused(jobs: Jobs, error: type[Exception], match: str, *args: Any, **options: Any) -> None:
    """Enqueueing is refused, and leaves nothing behind even if that is ignored."""
    known = jobs._registry.task("double") or jobs.task(name="double")(double)

    def attempt(tx: Transaction) -> None:
        with pytest.raises(error, match=match):
            jobs.enqueue(tx, known, *args, **options)

    before = jobs.store.fingerprint()
    jobs.store.call(attempt)
    assert jobs.store.fingerprint() == before


def test_arguments_that_are_not_what_the_function_takes(jobs: Jobs) -> None:
    refused(jobs, InvalidArguments, "Expected `int`, got `str`", "x")
    refused(jobs, InvalidArguments, "takes 1 arguments and was given 2", 1, 2)
    refused(jobs, InvalidArguments, "takes 1 arguments and was given 0")
    refused(jobs, InvalidArguments, "can't be stored", object())
    refused(jobs, InvalidArguments, "can't be stored", 1 << 70)


@pytest.mark.parametrize("option", ["queue", "tenant", "key", "lane"])
def test_options_that_could_be_stored_and_not_be_read_again(jobs: Jobs, option: str) -> None:
    refused(jobs, InvalidArguments, "texts, and 42 is not", 1, **{option: 42})


@pytest.mark.parametrize("priority", [1.5, True, 10**9, "high"])
def test_priorities_that_are_none(jobs: Jobs, priority: Any) -> None:
    refused(jobs, InvalidArguments, "the priority is", 1, priority=priority)


def test_jobs_that_are_not_there_or_will_not_be_done(jobs: Jobs, store: Store) -> None:
    refused(jobs, UnknownJob, "there is no job nonsense", 1, after=["nonsense"])
    known = jobs._registry.need("double")
    with store.transaction() as tx:
        good = jobs.enqueue(tx, known, 1)
        gone = jobs.enqueue(tx, known, 1)
        jobs.cancel(tx, gone)
    refused(jobs, NotPossible, "is CANCELLED", 1, after=[good, gone])
    refused(jobs, UnknownJob, "there is no job", 1, after=[good, "nonsense"])
    for call in (jobs.cancel, jobs.retry, jobs.drop):
        with pytest.raises(UnknownJob, match="there is no job"), store.transaction() as tx:
            call(tx, "nonsense")
    for call in (jobs.retry, jobs.drop):
        with pytest.raises(NotPossible), store.transaction() as tx:
            call(tx, good)


def test_a_retry_whose_key_is_taken(jobs: Jobs, store: Store) -> None:
    known = jobs.task(name="double")(double)
    with store.transaction() as tx:
        first = jobs.enqueue(tx, known, 1, key="k", lane="l")
        jobs.cancel(tx, first)
        second = jobs.enqueue(tx, known, 2, key="k", lane="l")
    with pytest.raises(NotPossible, match=f"which job {second.id} has now"):
        store.call(jobs.retry, first)


def test_tasks_that_are_not_declared(jobs: Jobs, store: Store) -> None:
    stranger = task(name="stranger")(double)
    with pytest.raises(UnknownTask, match="import its module"), store.transaction() as tx:
        jobs.enqueue(tx, stranger, 1)


def test_rows_that_are_too_large(jobs: Jobs, store: Store) -> None:
    @jobs.task
    async def length(ctx: Context, data: bytes) -> int:
        return len(data)

    with pytest.raises(ValueTooLarge), store.transaction() as tx:
        jobs.enqueue(tx, length, bytes(2 << 20))


def plain(ctx: Context) -> None: ...


async def keywords(ctx: Context, *, number: int) -> None: ...


@pytest.mark.parametrize(
    ("declare", "error", "match"),
    [
        (lambda jobs: jobs.task(runs="loop")(plain), InvalidTask, "coroutine functions run on"),
        (lambda jobs: jobs.task(runs="process")(double), InvalidTask, "coroutine functions run on"),
        (lambda jobs: jobs.task(runs="dask")(plain), UnknownQueue, "none of loop, thread"),
        (lambda jobs: jobs.task(timeout=0)(double), InvalidTask, "timeout is 0"),
        (lambda jobs: jobs.task(resources={"gpu": 1})(double), UnknownQueue, "takes 1 of gpu"),
        (lambda jobs: jobs.task(resources={"gpu": -1})(double), InvalidTask, "takes -1 of gpu"),
        (lambda jobs: jobs.task(keywords), InvalidTask, "by keyword only"),
        (lambda jobs: jobs.task(lambda ctx: None), InvalidTask, "declared inside a function"),
        (lambda jobs: jobs.task(5), InvalidTask, "decorate a function"),
        (lambda _: Retry(attempts=0), InvalidTask, "at least one attempt"),
        (lambda _: Retry(first=9.0, most=1.0), InvalidTask, "waits that do not shrink"),
        (lambda _: QueueLimits(rate=0), InvalidTask, "rate is 0"),
        (lambda _: QueueLimits(shares={"a": 0}), InvalidTask, "shares are positive"),
        (lambda _: JobsOptions(window=0), InvalidTask, "window is 0"),
        (lambda _: JobsOptions(ageing=-1), InvalidTask, "ageing is -1"),
    ],
)
def test_declarations_that_can_not_work(
    jobs: Jobs, declare: Callable[[Jobs], object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        declare(jobs)


def test_two_tasks_of_one_name_and_two_jobs_on_one_store(jobs: Jobs, store: Store) -> None:
    jobs.task(name="double")(double)
    with pytest.raises(InvalidTask, match="there is a task double already"):
        jobs.task(name="double")(double)
    with pytest.raises(AlreadyDefined):
        Jobs(store)


@pytest.mark.parametrize("result", ["large", "odd", "deep"])
def test_results_that_can_not_be_stored(store: Store, result: str) -> None:
    jobs = Jobs(store, JobsOptions(result_bytes=100))

    @jobs.task
    async def give(ctx: Context) -> Any:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        return {"large": bytes(101), "odd": object(), "deep": deep}[result]

    with jobs:
        with store.transaction() as tx:
            job = jobs.enqueue(tx, give)
        with pytest.raises(JobFailed, match="ResultTooLarge"):
            jobs.wait(job, 20)


async def main_waits(jobs: Jobs, job: Job) -> None:
    jobs.wait(job)


def test_waiting_on_an_event_loop_would_stop_it(jobs: Jobs, store: Store) -> None:
    known = jobs.task(name="double")(double)
    with store.transaction() as tx:
        job = jobs.enqueue(tx, known, 1)
    with pytest.raises(LogError, match=r"await jobs\.result"):
        asyncio.run(main_waits(jobs, job))
