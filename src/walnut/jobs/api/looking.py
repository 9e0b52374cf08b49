"""Routes that look at jobs.

What must stay true: each looks at a bounded number of jobs, but the depths of queues, which are counted
once for all who ask in the same second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.types import ControllerRouterHandler

from walnut.jobs.cli import views
from walnut.jobs.errors import UnknownJob
from walnut.jobs.history import Event, history
from walnut.jobs.jobs import Jobs
from walnut.jobs.ledger import DEAD
from walnut.jobs.model import Job, Pause, State
from walnut.jobs.overview import (
    Depth,
    JobTables,
    Which,
    depths,
    find,
    id_of,
    pauses,
    schedules,
    signals_of,
    steps_of,
    upcoming,
)
from walnut.jobs.tasks import FLOW
from walnut.log.log import Log
from walnut.log.readable import Readable
from walnut.store.api.asking import page_size, reached
from walnut.store.keyring import Keyring
from walnut.store.snapshot import Snapshot
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.errors import InvalidRequest
from walnut.web.openapi import takes
from walnut.web.paging import LIMIT, Page
from walnut.web.positions import position

TAGS: Final = ["jobs"]
LOOKED_AT: Final = 10_000
"""Jobs looked at for a page of those that are as asked for."""
COUNTED_SECONDS: Final = 1.0
"""For which the depths of queues are good: counting them reads every job."""
STATES: Final = {state.name.lower(): state for state in State}


class Paused(msgspec.Struct, frozen=True):
    """Since when (ns since the Unix epoch) a queue is paused, and by whom."""

    since: int
    by: str


class QueueShown(msgspec.Struct, frozen=True, omit_defaults=True):
    """A queue.

    Attributes:
        jobs: how many are in each state. live: how many have not ended.
        oldest: when the READY job was enqueued that was enqueued first, ns; 0 for none.
        failures: attempts that raised, of jobs that have not ended.
    """

    queue: str
    jobs: dict[str, int]
    live: int
    oldest: int
    failures: int
    paused: Paused | None = None


class Sighting:
    """A snapshot and the log that led to it: see `history.Sight`."""

    def __init__(self, snapshot: Snapshot, log: Log) -> None:
        self.snapshot = snapshot
        self.log: Readable = log
        self.lsn = snapshot.lsn
        self.keyring: Keyring = snapshot.keyring

    def read(self, key: bytes) -> bytes | None:
        """See `Reader.read`."""
        return self.snapshot.read(key)


class Counting:
    """The depths of queues, counted by one at a time and now and then."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._lock = asyncio.Lock()
        self._at = -COUNTED_SECONDS
        self._found: dict[str, Depth] = {}

    async def queues(self) -> list[QueueShown]:
        """All queues, by name. Which are paused is as of now."""
        tables = self._jobs.tables
        async with self._lock:
            if time.monotonic() - self._at >= COUNTED_SECONDS:
                with self._jobs.store.snapshot() as snapshot:
                    self._found = await asyncio.to_thread(
                        depths, tables, snapshot, lambda job: job.queue
                    )
                self._at = time.monotonic()
            return _queues(self._found, pauses(tables, self._jobs.store))


def _queues(counted: Mapping[str, Depth], paused: Mapping[str, Pause]) -> list[QueueShown]:
    found = []
    for name in sorted(counted.keys() | paused.keys()):
        depth = counted.get(name) or Depth()
        pause = paused.get(name)
        found.append(
            QueueShown(
                name,
                {state.name.lower(): number for state, number in depth.jobs.items() if number},
                depth.live,
                depth.oldest,
                depth.failures,
                None if pause is None else Paused(pause.since, pause.by),
            )
        )
    return found


def id_in(text: str) -> str:
    """The id, or its beginning, that a path gives. Raises UnknownJob."""
    given = id_of(text) if len(text) <= 64 else None
    if given is None:
        raise UnknownJob(f"{text[:64]!r} is no id of a job: give at least 8 of its 32 hex digits")
    return given


def which_of(state: str | None, queue: str | None, task: str | None, tenant: str | None) -> Which:
    """Which jobs are meant. Raises InvalidRequest."""
    names = [] if state is None else state.split(",")
    if unknown := [name for name in names if name not in STATES]:
        what = f"{unknown[0][:40]!r} is no state: there are {', '.join(STATES)}"
        raise InvalidRequest(what, {"at": "query.state", "message": what})
    return Which(states=[STATES[name] for name in names], queue=queue, task=task, tenant=tenant)


def routes(jobs: Jobs) -> Iterator[ControllerRouterHandler]:
    """The routes that look at these jobs."""
    yield from _many(jobs)
    yield from _one(jobs)


def _many(jobs: Jobs) -> Iterator[ControllerRouterHandler]:
    store, tables = jobs.store, jobs.tables
    counting = Counting(jobs)

    async def page(which: Which, limit: int, cursor: str | None, *, dead: bool) -> Page[Any]:
        size = page_size(limit)
        with store.snapshot() as snapshot:
            return await asyncio.to_thread(
                _page, tables, snapshot, which, size, cursor or None, dead=dead
            )

    @get("/v1/jobs/queues", tags=TAGS, summary="List queues", opt=needs("jobs:read"))
    async def list_queues() -> Page[QueueShown]:
        """The queues, how many jobs each has in which state, and which are paused. Depths are as of a
        second ago."""
        return Page(await counting.queues())

    @get("/v1/jobs", tags=TAGS, summary="List jobs", opt=needs("jobs:read"))
    async def list_jobs(
        # Litestar has a `state` of its own.
        states: Annotated[str | None, QueryParameter(name="state")] = None,
        queue: FromQuery[str | None] = None,
        task: FromQuery[str | None] = None,
        tenant: FromQuery[str | None] = None,
        limit: FromQuery[int] = LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> Page[Any]:
        """Jobs, the newest first: those in one of the states (`state=waiting,running`) and of the queue,
        task and tenant that are given. A page may have fewer than `limit` and yet a `next`."""
        return await page(which_of(states, queue, task, tenant), limit, cursor, dead=False)

    @get("/v1/jobs/dead", tags=TAGS, summary="List dead letters", opt=needs("jobs:read"))
    async def list_dead(
        queue: FromQuery[str | None] = None,
        task: FromQuery[str | None] = None,
        tenant: FromQuery[str | None] = None,
        limit: FromQuery[int] = LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> Page[Any]:
        """Jobs that failed for good, with their last error; those first that died last."""
        return await page(which_of(None, queue, task, tenant), limit, cursor, dead=True)

    @get("/v1/jobs/timers", tags=TAGS, summary="List what is due", opt=needs("jobs:read"))
    async def list_timers(limit: FromQuery[int] = LIMIT) -> Page[Any]:
        """The timers that are due next."""
        return Page(
            [views.timer_object(timer) for timer, _ in upcoming(tables, store, page_size(limit))]
        )

    @get("/v1/jobs/schedules", tags=TAGS, summary="List schedules", opt=needs("jobs:read"))
    async def list_schedules() -> Page[Any]:
        """The schedules, the one first that is due next."""
        return Page([views.schedule_object(row) for row in schedules(tables, store)])

    yield from (list_queues, list_jobs, list_dead, list_timers, list_schedules)


def _one(jobs: Jobs) -> Iterator[ControllerRouterHandler]:
    store, tables = jobs.store, jobs.tables
    one_at_a_time = asyncio.Semaphore(1)  # reading the log for a job may take a while

    @get(
        "/v1/jobs/{job:str}",
        tags=TAGS,
        summary="Read a job",
        opt={**needs("jobs:read"), **takes("at_least")},
    )
    async def read_job(
        job: FromPath[str], *, past: FromQuery[bool] = False, at_least: FromQuery[int] = 0
    ) -> Answer[Any]:
        """All about a job, by its id or at least 8 digits of that: how it stands, what it was given, what
        it returned or raised, the steps of a workflow. With `past=true` also its history, which is read
        from the log and may take a while."""
        await reached(store, at_least)
        with store.snapshot() as snapshot:
            row = find(tables, snapshot, id_in(job))
            found = _whole(tables, snapshot, row)
            if past:
                sight = Sighting(snapshot, store.log)
                async with one_at_a_time:
                    told = await asyncio.to_thread(history, tables, sight, row)
                found["history"] = [_event(event) for event in told.events]
                found["history_left_out"] = told.left_out
                found["history_whole"] = told.whole
            return Answer(found, headers=position(snapshot.lsn))

    yield read_job


def _event(event: Event) -> dict[str, Any]:
    return views.event_object(event)


def _whole(tables: JobTables, snapshot: Snapshot, row: Job) -> dict[str, Any]:
    flow = row.runs == FLOW
    return {
        **views.job_object(row, trace=True),
        "arguments": views.unpacked(row.arguments),
        "result": views.unpacked(row.result),
        "lease": views.time(row.lease),
        "followers": row.followers,
        "steps": [views.step_object(step) for step in steps_of(tables, snapshot, row.id)]
        if flow
        else [],
        "signals": [views.signal_object(one) for one in signals_of(tables, snapshot, row.id)]
        if flow
        else [],
    }


def _page(
    tables: JobTables,
    snapshot: Snapshot,
    which: Which,
    limit: int,
    cursor: str | None,
    *,
    dead: bool,
) -> Page[Any]:
    """Jobs of a bounded number of those there are. Raises InvalidKey for another list's cursor."""
    found: list[Any] = []
    ordered, prefix = (tables.line, DEAD) if dead else (tables.jobs, ())
    looked_at = 0
    while True:
        some = ordered.page(snapshot, prefix, reverse=True, limit=limit - len(found), cursor=cursor)
        looked_at += len(some.rows)
        cursor = some.cursor
        found += [views.job_object(job, trace=dead) for job in some.rows if which.takes(job)]
        if cursor is None or len(found) == limit or looked_at >= LOOKED_AT:
            return Page(found, cursor or "")
