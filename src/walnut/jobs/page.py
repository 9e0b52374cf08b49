"""Jobs: queues, dead letters, what comes next; one job.

    jobs                 queues, dead letters, schedules
    jobs?state=all       jobs, newest first
    jobs?job=ID          one: why it failed, its history, retry, cancel, drop

What must stay true: queues are counted up to a limit and no further, so that a million waiting jobs cost a
visitor no more than a thousand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from html import escape
from typing import Any, Final

import msgspec
from nicegui import ui

from walnut.console.parts.asking import confirm
from walnut.console.parts.elements import badge, button, heading, html, pairs, tag
from walnut.console.parts.empty import empty
from walnut.console.parts.grid import Batch, Column, Grid, Line
from walnut.console.parts.jsonview import json_view
from walnut.console.parts.tiles import Tile, tiles
from walnut.console.reading import reading
from walnut.console.shell import acting, go
from walnut.console.visit import Visit, link
from walnut.console.words import DASH, ago, moment, number
from walnut.jobs.history import told
from walnut.jobs.jobs import Jobs
from walnut.jobs.ledger import DEAD, LIVE
from walnut.jobs.model import Job, State
from walnut.jobs.overview import JobTables, pauses, schedules, upcoming
from walnut.store.browse import readable
from walnut.store.record import Meta
from walnut.store.transaction import Reader
from walnut.subsystem.model import Page

COUNTED: Final = 1000
"""Jobs of a queue that are counted; a queue with more has "1,000+"."""
QUEUES: Final = 100
"""Queues that are shown."""
JOBS: Final = 100
"""Of one fetch."""
LOOK_SECONDS: Final = 1.0
"""Between two looks at a job that is open."""
SOON: Final = 10
"""Schedules and timers that are shown."""
COLOURS: Final = {
    State.DONE: "good", State.DEAD: "bad", State.RUNNING: "accent", State.CANCELLED: "warn",
}  # fmt: skip


class Queue(msgspec.Struct):
    """A queue: how many of its jobs are ready or run, counted up to COUNTED; and the oldest."""

    name: str
    ready: int = 0
    running: int = 0
    oldest: int = 0
    more: bool = False


def queues(tables: JobTables, reader: Reader) -> list[Queue]:
    """The queues that have jobs, by name; each is counted up to COUNTED. Queues are skipped through by
    their index, so that its length does not matter."""
    found: list[Queue] = []
    after: tuple[str, ...] = ()
    while len(found) < QUEUES:
        first = next(tables.line.scan(reader, LIVE, start=after, limit=1), None)
        if first is None:
            break
        queue = Queue(first.queue)
        for job in tables.line.scan(reader, (LIVE, first.queue), limit=COUNTED + 1):
            if queue.ready + queue.running == COUNTED:
                queue.more = True
                break
            if job.state is State.RUNNING:
                queue.running += 1
            else:
                queue.ready += 1
                queue.oldest = min(queue.oldest or job.created, job.created)
        found.append(queue)
        after = (first.queue + "\0",)
    return found


async def jobs_page(visit: Visit) -> None:
    """Draw the page that the address asks for."""
    jobs = visit.resources.find(Jobs)
    if "job" in visit.query:
        await _job(visit, jobs, visit.query["job"])
    elif "state" in visit.query:
        await _all(jobs)
    else:
        await _overview(visit, jobs)


PAGES: Final = (Page("jobs", "Jobs", "bolt", jobs_page, "jobs:read"),)


# -- the overview -------------------------------------------------------------------------------


async def _overview(visit: Visit, jobs: Jobs) -> None:
    with heading(
        "Jobs",
        "Work that is done to its end, whatever happens: enqueued by a transaction, tried again when it "
        "fails, and laid aside as a dead letter when that does not help.",
    ):
        tag("a", "w-button", "All jobs", href=link("jobs", state="all"))
    metrics = jobs.metrics
    with tiles():
        ended = metrics.done + metrics.failed + metrics.handed_back + metrics.fenced
        Tile("Running now", number(max(0, metrics.started - ended)), "attempts")
        Tile("Done", number(metrics.done), "attempts since the start")
        Tile("Failed", number(metrics.failed), "attempts since the start")
        Tile("Timers fired", number(metrics.fired), "since the start")
    tables, store = jobs.tables, jobs.store
    found = await reading(queues, tables, store)
    paused = await reading(pauses, tables, store)
    with tag("section", "w-panel flush"):
        with tag("div", "w-panel-head"):
            tag("h2", "", "Queues")
        if not found and not paused and metrics.started:
            tag("p", "muted", "Nothing waits and nothing runs.").style("padding:14px 20px")
        elif not found and not paused:
            empty(
                "bolt",
                "Nothing waits",
                "Jobs show up here as programs enqueue them:",
                "@jobs.task\nasync def send(context, order): ...\n\nstore.call(jobs.enqueue, send, 42)",
            )
        else:
            _queues(visit, jobs, found, set(paused))
    with tag("section", "w-panel flush"):
        with tag("div", "w-panel-head"):
            tag("h2", "", "Dead letters")
            tag(
                "span",
                "muted small",
                "Failed for good. They stay until somebody retries or drops them.",
            )
        if not await _letters(jobs):
            tag("p", "muted", "None. That is how it should be.").style("padding:14px 20px")
    await _soon(jobs)


def _queues(visit: Visit, jobs: Jobs, found: list[Queue], paused: set[str]) -> None:
    grid = Grid(
        "Queues",
        [
            Column("Queue", "minmax(140px, 1.3fr)"),
            Column("Ready", "100px", right=True),
            Column("Running", "100px", right=True),
            Column("Oldest waits since", "170px"),
            Column("", "minmax(90px, .6fr)"),
        ],
        least=600,
    )
    now = jobs.store.log.options.clock()
    names = {queue.name for queue in found}
    found = [*found, *(Queue(name) for name in sorted(paused - names))]
    grid.add(
        [
            Line(
                (
                    f"<b>{escape(queue.name)}</b>",
                    number(queue.ready) + ("+" if queue.more else ""),
                    number(queue.running),
                    ago(queue.oldest, now),
                    badge("paused", "warn") if queue.name in paused else "",
                )
            )
            for queue in found
        ]
    )
    if not visit.may("jobs:write", any_=True):
        return
    with tag("div", "w-panel-head").style("border:0"):
        for queue in found:
            is_paused = queue.name in paused
            act = functools.partial(_pause, visit, jobs, queue.name, is_paused=is_paused)
            button(f"{'Resume' if is_paused else 'Pause'} {queue.name}", acting(visit, act))


async def _pause(visit: Visit, jobs: Jobs, queue: str, *, is_paused: bool) -> None:
    meta = _meta(visit, queue, "resumed a queue" if is_paused else "paused a queue")
    if is_paused:
        await jobs.store.by(meta).run(jobs.resume, queue)
    else:
        await jobs.store.by(meta).run(jobs.pause, queue)
    ui.navigate.reload()


def _meta(visit: Visit, queue: str, reason: str) -> Meta:
    caller = visit.require("jobs:write", queue)
    return Meta(caller.principal, f"console: {reason}", caller.request_id)


async def _letters(jobs: Jobs) -> int:
    tables, store = jobs.tables, jobs.store

    async def fetch(cursor: str | None) -> Batch:
        page = await reading(tables.line.page, store, DEAD, reverse=True, limit=JOBS, cursor=cursor)
        now = store.log.options.clock()
        return Batch([_dead_line(job, now) for job in page.rows], page.cursor)

    if not (await fetch(None)).lines:
        return 0
    grid = Grid(
        "Dead letters",
        [
            Column("Task", "minmax(140px, 1fr)"),
            Column("Why", "minmax(200px, 2fr)"),
            Column("Attempts", "90px", right=True),
            Column("Died", "130px"),
            Column("Queue", "110px"),
        ],
        fetch,
        least=720,
    )
    return await grid.load()


def _task(name: str) -> str:
    """A task: its function, then where that is."""
    place, _, function = name.rpartition(".")
    return f'<b>{escape(function)}</b> <span class="muted small">{escape(place)}</span>'


def _dead_line(job: Job, now: int) -> Line:
    error = "" if job.error is None else told(job.error.error, job.error.message)
    return Line(
        (
            _task(job.task),
            f'<span class="bad">{escape(error)}</span>',
            number(job.attempt),
            ago(job.ended, now),
            escape(job.queue),
        ),
        link("jobs", job=job.id),
        f"Dead letter {job.task}",
    )


async def _soon(jobs: Jobs) -> None:
    tables, store = jobs.tables, jobs.store
    now = store.log.options.clock()
    planned = await reading(lambda: schedules(tables, store)[:SOON])
    timers = await reading(upcoming, tables, store, SOON)
    if not planned and not timers:
        return
    with tag("section", "w-panel flush"):
        with tag("div", "w-panel-head"):
            tag("h2", "", "What comes next")
        grid = Grid(
            "Schedules and timers",
            [Column("When", "150px"), Column("What", "minmax(160px, 1fr)"), Column("", "140px")],
            least=440,
        )
        grid.add(
            [
                Line(
                    (ago(one.due, now), f"<b>{escape(one.name)}</b> {escape(one.what)}", "schedule")
                )
                for one in planned
            ]
            + [
                Line(
                    (
                        ago(timer.due, now),
                        escape(job.task if job is not None else timer.name),
                        timer.target.name.lower(),
                    ),
                    "" if job is None else link("jobs", job=job.id),
                )
                for timer, job in timers
            ]
        )


# -- all jobs -----------------------------------------------------------------------------------


async def _all(jobs: Jobs) -> None:
    tables, store = jobs.tables, jobs.store

    async def fetch(cursor: str | None) -> Batch:
        page = await reading(tables.jobs.page, store, reverse=True, limit=JOBS, cursor=cursor)
        now = store.log.options.clock()
        return Batch([_line(job, now) for job in page.rows], page.cursor)

    heading("All jobs", "Those on record, the newest first.", [("Jobs", link("jobs"))])
    with tag("section", "w-panel flush"):
        grid = Grid(
            "Jobs",
            [
                Column("Task", "minmax(160px, 1.4fr)"),
                Column("State", "110px"),
                Column("Queue", "110px"),
                Column("Enqueued", "130px"),
                Column("Attempts", "90px", right=True),
                Column("By", "minmax(90px, .6fr)"),
            ],
            fetch,
            least=720,
        )
        if not await grid.load():
            empty("bolt", "No jobs on record", "Those that are done are kept for a day.")


def _line(job: Job, now: int) -> Line:
    return Line(
        (
            _task(job.task),
            badge(job.state.name.lower(), COLOURS.get(job.state, "")),
            escape(job.queue),
            ago(job.created, now),
            number(job.attempt),
            escape(job.by) or DASH,
        ),
        link("jobs", job=job.id),
        f"Job {job.task}",
    )


# -- one job ------------------------------------------------------------------------------------


async def _job(visit: Visit, jobs: Jobs, id_: str) -> None:
    job = await reading(jobs.get, jobs.store, id_)
    crumbs = [("Jobs", link("jobs")), ("All jobs", link("jobs", state="all"))]
    if job is None:
        heading("Job", "", crumbs)
        with tag("section", "w-panel"):
            empty(
                "search_off",
                "Not on record",
                "It never was, or it ended longer ago than jobs are kept.",
            )
        return
    place = tag("div", "w-page w-inside")
    shown: list[Job] = []

    async def draw() -> None:
        """Draw it as it is now, if that is not what is shown."""
        now = await reading(jobs.get, jobs.store, id_)
        if now is None or shown == [now]:
            return
        shown[:] = [now]
        place.clear()
        with place:
            _shown(visit, jobs, now, crumbs)

    await draw()
    ui.timer(LOOK_SECONDS, draw)


def _shown(visit: Visit, jobs: Jobs, job: Job, crumbs: list[tuple[str, str]]) -> None:
    with heading(job.task, "", crumbs):
        if visit.may("jobs:write", job.queue):
            _acts(visit, jobs, job)
    now = jobs.store.log.options.clock()
    state = badge(job.state.name.lower(), COLOURS.get(job.state, ""))
    facts = [
        ("State", state + (" " + badge("may have had its effect", "warn") if job.doubtful else "")),
        ("Id", f'<span class="mono">{job.id}</span>'),
        ("Queue", escape(job.queue)),
        (
            "Enqueued",
            f"{moment(job.created)} UTC ({ago(job.created, now)}), by {escape(job.by) or 'nobody named'}",
        ),
        ("Started", f"{moment(job.started)} ({ago(job.started, now)})" if job.started else DASH),
        ("Ended", f"{moment(job.ended)} ({ago(job.ended, now)})" if job.ended else DASH),
        ("Attempts", f"{job.attempt}, of which {job.failures} failed and {job.losses} were lost"),
    ]
    facts += [
        (name, escape(text))
        for name, text in (("Key", job.key), ("Lane", job.lane), ("Tenant", job.tenant))
        if text
    ]
    with tag("section", "w-panel"):
        pairs(facts)
    if job.error is not None:
        with tag("section", "w-panel"):
            html(f'<h2 class="bad">{escape(told(job.error.error, job.error.message))}</h2>')
            if job.error.trace:
                tag("pre", "mono small", job.error.trace).style("overflow:auto;margin-top:10px")
    with tag("div", "w-two"):
        _packed("Arguments", job.arguments)
        if job.result:
            _packed("Result", job.result)


def _packed(title: str, data: bytes) -> None:
    with tag("section", "w-panel"):
        tag("h2", "", title)
        json_view(readable(msgspec.msgpack.decode(data)))


def _acts(visit: Visit, jobs: Jobs, job: Job) -> None:
    def act(function: Callable[..., Any], reason: str, said: str) -> Callable[[], Any]:
        async def acted() -> None:
            meta = _meta(visit, job.queue, reason)
            await jobs.store.by(meta).run(function, job.id)
            ui.notify(said, type="positive")
            go(link("jobs") if function == jobs.drop else link("jobs", job=job.id))

        return acting(visit, acted)

    if job.state in {State.DEAD, State.CANCELLED}:
        button("Retry", act(jobs.retry, "retried a job", "It begins anew."), "main")
    if job.state.ended:
        drop = act(jobs.drop, "dropped a job", "Forgotten.")
        told_ = "What is on record of it goes. What it did stays done."
        button("Drop", functools.partial(confirm, "Drop this job?", told_, "Drop", drop), "danger")
    else:
        cancel = act(jobs.cancel, "cancelled a job", "Cancelled.")
        told_ = "An attempt that runs is asked to stop, and what it brings is refused."
        button(
            "Cancel",
            functools.partial(confirm, "Cancel this job?", told_, "Cancel it", cancel),
            "danger",
        )
