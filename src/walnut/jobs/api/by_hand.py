"""Routes that put jobs and queues right by hand.

What must stay true: each is a transaction of its own, in its sender's name, once for each idempotency
key.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
from litestar import delete, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler, Scope

from walnut.jobs.api.looking import TAGS, id_in
from walnut.jobs.errors import NotPossible
from walnut.jobs.jobs import Jobs
from walnut.jobs.overview import find
from walnut.store.api.asking import write
from walnut.store.transaction import Transaction
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.caller import caller_of


class JobState(msgspec.Struct):
    """A job, and how it stands now."""

    id: str
    task: str
    state: str


class QueueState(msgspec.Struct):
    """A queue, and whether it is paused now."""

    queue: str
    paused: bool


def routes(jobs: Jobs) -> Iterator[ControllerRouterHandler]:
    """The routes that change these jobs."""
    yield from _jobs(jobs)
    yield from _queues(jobs)


def _jobs(jobs: Jobs) -> Iterator[ControllerRouterHandler]:
    store = jobs.store

    async def change(scope: Scope, function: Any, job: str, *given: Any) -> Answer[JobState]:
        id_ = find(jobs.tables, store, id_in(job)).id
        done = await write(store, scope, b"", JobState, partial(function, jobs, id_, *given))
        return Answer(done.result, headers=done.headers)

    @post(
        "/v1/jobs/{job:str}/retry",
        tags=TAGS,
        summary="Retry a job",
        status_code=200,
        opt=needs("jobs:write"),
    )
    async def retry(job: FromPath[str], scope: Scope) -> Answer[JobState]:
        """Give a job that is dead or was cancelled a new beginning, with all its tries; one that waits
        for its next try has it at once."""
        return await change(scope, _retry, job)

    @post(
        "/v1/jobs/{job:str}/cancel",
        tags=TAGS,
        summary="Cancel a job",
        status_code=200,
        opt=needs("jobs:write"),
    )
    async def cancel(job: FromPath[str], scope: Scope) -> Answer[JobState]:
        """End a job that has not ended, and with it those that come after it. `Walnut-Reason` becomes its
        error."""
        return await change(scope, _cancel, job, caller_of(scope).reason)

    @delete(
        "/v1/jobs/{job:str}",
        tags=TAGS,
        summary="Forget a job",
        status_code=200,
        opt=needs("jobs:write"),
    )
    async def drop(job: FromPath[str], scope: Scope) -> Answer[JobState]:
        """Forget a job that has ended; a dead letter too. There is no way back."""
        return await change(scope, _drop, job)

    yield from (retry, cancel, drop)


def _queues(jobs: Jobs) -> Iterator[ControllerRouterHandler]:
    store = jobs.store

    @post(
        "/v1/jobs/queues/{queue:str}/pause",
        tags=TAGS,
        summary="Pause a queue",
        status_code=200,
        opt=needs("jobs:write", name="queue"),
    )
    async def pause(queue: FromPath[str], scope: Scope) -> Answer[QueueState]:
        """Start no more jobs of a queue, until it is resumed. What runs goes on."""
        done = await write(store, scope, b"", QueueState, partial(_pause, jobs, queue))
        return Answer(done.result, headers=done.headers)

    @post(
        "/v1/jobs/queues/{queue:str}/resume",
        tags=TAGS,
        summary="Resume a queue",
        status_code=200,
        opt=needs("jobs:write", name="queue"),
    )
    async def resume(queue: FromPath[str], scope: Scope) -> Answer[QueueState]:
        """Go on with a queue. 409 if it is not paused."""
        done = await write(store, scope, b"", QueueState, partial(_resume, jobs, queue))
        return Answer(done.result, headers=done.headers)

    yield from (pause, resume)


# What transactions do, by name: it is what the store's metrics and idempotency keys know them by.


def _retry(jobs: Jobs, job: str, tx: Transaction) -> JobState:
    jobs.retry(tx, job)
    return _state(jobs, job, tx)


def _cancel(jobs: Jobs, job: str, why: str, tx: Transaction) -> JobState:
    jobs.cancel(tx, job, why)
    return _state(jobs, job, tx)


def _drop(jobs: Jobs, job: str, tx: Transaction) -> JobState:
    was = _state(jobs, job, tx)
    jobs.drop(tx, job)
    was.state = "forgotten"
    return was


def _state(jobs: Jobs, job: str, tx: Transaction) -> JobState:
    row = jobs.get(tx, job)
    if row is None:
        return JobState(job, "", "forgotten")
    return JobState(row.id, row.task, row.state.name.lower())


def _pause(jobs: Jobs, queue: str, tx: Transaction) -> QueueState:
    jobs.pause(tx, queue)
    return QueueState(queue, paused=True)


def _resume(jobs: Jobs, queue: str, tx: Transaction) -> QueueState:
    if not jobs.resume(tx, queue):
        raise NotPossible(f"{queue} is not paused: GET /v1/jobs/queues says which are")
    return QueueState(queue, paused=False)
