"""A store with jobs in every state, as commands meet them; and a program that runs jobs."""

from __future__ import annotations

import datetime as dt
import sys
import time
from typing import Any

from tests.store.helpers import SMALL
from walnut.jobs.context import Context, Note
from walnut.jobs.jobs import Jobs
from walnut.jobs.ledger import Ended
from walnut.jobs.model import Job
from walnut.jobs.outcome import Failure, failure, success
from walnut.jobs.recurrence import Cron
from walnut.jobs.workflow import Flow
from walnut.store import Store
from walnut.store.record import Meta
from walnut.store.transaction import Transaction

DAY = dt.timedelta(days=1)


async def send(context: Context, to: str, copies: int = 1) -> str:
    """Runs only in the program below."""
    if to == "nobody":
        raise ValueError(f"there is no {to}\n\x1b[2J")
    return to


async def render(context: Context, page: int) -> None:
    """Never runs."""


async def anything(context: Context, one: Any, other: Any) -> None:
    """Takes whatever it is given; never runs."""


async def welcome(flow: Flow, guest: str) -> str:
    """A workflow that asks for a signal."""
    await flow.run(_greet, guest)
    return str(await flow.signal("answer", timeout=3600))


def _greet(guest: str) -> str:
    return f"hello {guest}"


def remind(tx: Transaction, whom: str) -> None:
    """What a timer calls."""


def jobs_of(store: Store) -> Jobs:
    """The jobs, and what they know."""
    jobs = Jobs(store)
    jobs.task(name="app.send", queue="mail")(send)
    jobs.task(name="app.render", queue="pages")(render)
    jobs.task(name="app.anything")(anything)
    jobs.workflow(name="app.welcome")(welcome)
    jobs.action(remind, name="remind")
    return jobs


def put(jobs: Jobs, task: str, *args: Any, by: str = "ann", **options: Any) -> Job:
    """Enqueue one, in a transaction of its own."""
    with jobs.store.by(Meta(by)).transaction() as tx:
        return jobs.enqueue(tx, jobs._registry.need(task), *args, **options)


def try_(jobs: Jobs, job: Job, outcome: object) -> Job:
    """An attempt with this outcome, as if it had been made: an exception, or what it returned."""
    with jobs.store.transaction() as tx:
        (claimed,) = jobs._ledger.claim(tx, [job.id])
    made = (
        failed(outcome) if isinstance(outcome, Exception) else success(outcome, job.task, 1 << 20)
    )
    with jobs.store.transaction() as tx:
        settled = jobs._ledger.settle(tx, Ended(job.id, claimed.attempt, made))
    assert settled is not None
    return settled


def failed(error: Exception) -> Failure:
    """With a traceback."""
    try:
        _raise(error)
    except Exception as raised:
        return failure(raised)
    raise AssertionError("it was raised")


def _raise(error: Exception) -> None:
    raise error


def fill(store: Store) -> dict[str, str]:
    """Jobs in every state, by state; timers, a schedule, a paused queue."""
    jobs = jobs_of(store)
    ids = {}
    ids["dead"] = try_(jobs, put(jobs, "app.send", "nobody"), TypeError("there is no nobody")).id
    ids["waiting"] = try_(jobs, put(jobs, "app.send", "bo"), OSError("connection refused")).id
    ids["done"] = try_(jobs, put(jobs, "app.send", "ann", 2, tenant="acme"), "ann").id
    ids["ready"] = put(jobs, "app.render", 7, priority=2, key="page 7").id
    ids["blocked"] = put(jobs, "app.send", "cy", after=[ids["ready"]], lane="cy").id
    gone = put(jobs, "app.send", "dee")
    with store.by(Meta("bo", "a mistake")).transaction() as tx:
        jobs.cancel(tx, gone, "a mistake")
    ids["cancelled"] = gone.id
    running = put(jobs, "app.render", 8)
    with store.transaction() as tx:
        jobs._ledger.claim(tx, [running.id])
        jobs._ledger.note(tx, [Note(running.id, 1, 0.4, "page 40 of 100")])
    ids["running"] = running.id
    with store.transaction() as tx:
        jobs.at(tx, tx.now + DAY, remind, "ann", key="remind ann", late="skip")
        jobs.every(tx, "digest", Cron("30 2 * * 1-5", "Europe/Berlin"), remind, "bo", missed="each")
    with store.by(Meta("ann", "too slow")).transaction() as tx:
        jobs.pause(tx, "pages")
    return ids


def main(path: str) -> None:
    """Run jobs until killed: a workflow that comes to wait, and mail all the time."""
    with Store(path, SMALL) as store:
        jobs = jobs_of(store)
        put(jobs, "app.welcome", "ann")
        with jobs:
            print("running", flush=True)
            while True:
                put(jobs, "app.send", "ann")
                time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1])
