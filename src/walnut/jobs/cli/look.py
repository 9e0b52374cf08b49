"""Jobs to look at: `list`, `show`, `dead`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from walnut.client.address import is_url, parse
from walnut.client.place import client_of
from walnut.jobs.cli import arguments, views
from walnut.jobs.history import History, history, told
from walnut.jobs.model import Job
from walnut.jobs.overview import (
    SHOWN_DIGITS,
    Which,
    check_names,
    find,
    listing,
    shown_id,
    signals_of,
    steps_of,
)
from walnut.jobs.overview import (
    dead as dead_jobs,
)
from walnut.jobs.steps import Signal, Step
from walnut.jobs.tasks import FLOW
from walnut.log.cli.arguments import examples
from walnut.log.cli.records import write_out
from walnut.log.show import console, count, facts_table, moment, printable, progress
from walnut.store.cli import values

in_format = click.option(
    "--format", "format_", type=click.Choice(["table", "json", "ids"]), default="table",
    show_default=True,
    help="table: for people. json: a line each, with times in UTC. ids: for other commands.",
)  # fmt: skip


# -- list, dead ---------------------------------------------------------------------------------


@click.command(
    "list",
    epilog=examples(
        "walnut jobs list work",
        "walnut jobs list work --state waiting --state running --queue mail",
        "walnut jobs list work --task app.send --limit 1 --format json",
    ),
)
@arguments.place
@click.option(
    "--state", "states", multiple=True, metavar="STATE",
    type=click.Choice(arguments.STATES, case_sensitive=False),
    help=f"In this state: {', '.join(arguments.STATES[:-1])} or {arguments.STATES[-1]}. "
    "May be given several times.",
)  # fmt: skip
@arguments.queue
@arguments.task
@arguments.tenant
@arguments.limit(50)
@in_format
def list_(
    directory: str,
    states: tuple[str, ...],
    queue: str | None,
    task: str | None,
    tenant: str | None,
    limit: int,
    format_: str,
) -> None:
    """List the jobs in the store at DIR, the newest first.

    waiting: for its time, or its next try. blocked: for other jobs. ready: for an executor.
    sleeping: a workflow that waits. dead: failed for good, or lost too often; `retry` gives it
    another chance. Jobs that are done or cancelled are kept for a day, if the program says nothing
    else.
    """
    if is_url(directory):
        with client_of(parse(directory)) as client:
            named = tuple(state.lower() for state in states)
            rows = client.jobs.list(states=named, queue=queue, task=task, tenant=tenant)
            _print_served(islice(rows, limit), format_, dead=False)
        return
    which = arguments.which(queue, task, tenant, states)
    with arguments.open_to_read(directory) as opened:
        jobs = islice(listing(opened.tables, opened.reader, which), limit)
        _print(opened, jobs, which, format_, dead=False)


@click.command(
    epilog=examples(
        "walnut jobs dead work",
        "walnut jobs dead work --queue mail --format json",
        "walnut jobs dead work --format ids | xargs -r walnut jobs retry work",
    )
)
@arguments.place
@arguments.queue
@arguments.task
@arguments.tenant
@arguments.limit(50)
@in_format
def dead(
    directory: str,
    queue: str | None,
    task: str | None,
    tenant: str | None,
    limit: int,
    format_: str,
) -> None:
    """List the dead letters in the store at DIR: jobs that failed for good, with their last error.

    Those come first that died last. They stay until somebody retries or drops them. JSON has the
    traceback as well.
    """
    if is_url(directory):
        with client_of(parse(directory)) as client:
            rows = client.jobs.dead(queue=queue, task=task, tenant=tenant)
            _print_served(islice(rows, limit), format_, dead=True)
        return
    which = arguments.which(queue, task, tenant)
    with arguments.open_to_read(directory) as opened:
        jobs = islice(dead_jobs(opened.tables, opened.reader, which), limit)
        _print(opened, jobs, which, format_, dead=True)


def _print(
    opened: arguments.Opened, jobs: Iterable[Job], which: Which, format_: str, *, dead: bool
) -> None:
    """Raises UnknownQueue if there are none, as no job has what is asked for."""
    reader, tables = opened
    now = time.time_ns()
    rows = []
    found = False
    for job in jobs:
        found = True
        if format_ == "ids":
            click.echo(job.id)
        elif format_ == "json":
            write_out(values.jsonl(views.job_object(job, trace=dead)))
        else:
            row = views.dead_row if dead else views.job_row
            rows.append(row(job, shown_id(tables, reader, job.id), now))
    if not found:
        check_names(tables, reader, which)
    if format_ == "table":
        _print_rows(rows, dead=dead)


def _print_served(jobs: Iterable[dict[str, Any]], format_: str, *, dead: bool) -> None:
    """Jobs as a server told them."""
    now = time.time_ns()
    rows = []
    for job in jobs:
        if format_ == "ids":
            click.echo(job["id"])
        elif format_ == "json":
            write_out(values.jsonl(job))
        else:
            row = views.dead_row if dead else views.job_row
            rows.append(row(views.job_of(job), job["id"][:SHOWN_DIGITS], now))
    if format_ == "table":
        _print_rows(rows, dead=dead)


def _print_rows(rows: list[dict[str, str]], *, dead: bool) -> None:
    if rows:
        out = console()
        layout = views.DEAD_ROWS if dead else views.JOB_ROWS
        out.print(layout.table(rows, out.width))
    else:
        click.echo("no dead letters" if dead else "no jobs")


# -- show ---------------------------------------------------------------------------------------


@click.command(
    epilog=examples(
        "walnut jobs show work $(walnut jobs list work --limit 1 --format ids)",
        "walnut jobs show work $(walnut jobs dead work --format ids) --format json",
    )
)
@arguments.place
@click.argument("job", type=arguments.JOB)
@arguments.format_
def show(directory: str, job: str, format_: str) -> None:
    """Show all about one JOB: how it stands, what it was given, what it returned or raised.

    For a workflow, its steps. Its history is read from the log: when it came into which state, and
    for what was done by hand by whom and why.
    """
    if is_url(directory):
        if format_ != "json":
            raise click.UsageError(
                "a job of a server that is elsewhere is shown with --format json"
            )
        with client_of(parse(directory)) as client:
            write_out(values.jsonl(client.jobs.get(job, past=True)))
        return
    with arguments.open_to_read(directory) as (reader, tables):
        row = find(tables, reader, job)
        before = tables.jobs.get_many(reader, row.after)
        steps = steps_of(tables, reader, row.id) if row.runs == FLOW else []
        signals = signals_of(tables, reader, row.id) if row.runs == FLOW else []
        with progress("reading the log") as shown:
            past = history(tables, reader, row, shown)
    if format_ == "json":
        found: dict[str, Any] = views.job_object(row, trace=True)
        found["arguments"] = views.unpacked(row.arguments)
        found["result"] = views.unpacked(row.result)
        found["lease"] = views.time(row.lease)
        found["followers"] = row.followers
        found["steps"] = [views.step_object(step) for step in steps]
        found["signals"] = [views.signal_object(signal) for signal in signals]
        found["history"] = [views.event_object(event) for event in past.events]
        found["history_left_out"] = past.left_out
        found["history_whole"] = past.whole
        write_out(values.jsonl(found))
        return
    out = console()
    _print_job(out, row, before)
    _print_steps(out, steps, signals)
    _print_history(out, past)


def _print_job(out: Console, job: Job, before: list[Job | None]) -> None:
    now = time.time_ns()
    out.print(Text(f"{job.id}  {printable(job.task.encode())}", "bold"), soft_wrap=True)
    facts = facts_table()

    def fact(name: str, *parts: str) -> None:
        said = ", ".join(filter(None, parts))
        if said:
            facts.add_row(name, Text(printable(said.encode(errors="backslashreplace"))))

    fact("state", job.state.name.lower(), "" if job.state.ended else views.note(job, now))
    fact(
        "queue",
        f"{job.queue}, runs on {job.runs}",
        f"priority {job.priority}" if job.priority else "",
        f"tenant {job.tenant}" if job.tenant else "",
        f"key {job.key}" if job.key else "",
        f"lane {job.lane}, turn {job.turn}" if job.lane else "",
    )
    fact(
        "enqueued",
        f"{moment(job.created)} ({views.ago(now, job.created)} ago)",
        f"by {job.by}" if job.by else "",
    )
    fact("due", moment(job.due) if job.due else "")
    fact("started", moment(job.started) if job.started else "")
    if job.ended:
        fact("ended", f"{moment(job.ended)} ({views.ago(now, job.ended)} ago)")
    fact(
        "tries",
        str(job.attempt),
        f"{job.failures} failed" if job.failures else "",
        f"{job.losses} lost" if job.losses else "",
        "the last may have had its effect" if job.doubtful and not job.state.ended else "",
    )
    fact("progress", views.progress(job), job.text)
    fact("arguments", views.shortened(views.unpacked(job.arguments)))
    fact("result", views.shortened(views.unpacked(job.result)) if job.result else "")
    for id_, row in zip(job.after, before, strict=True):
        fact("after", f"{id_} {row.task}, {row.state.name.lower()}" if row else f"{id_}, forgotten")
    fact("before", f"{count(job.followers, 'job')} not done yet" if job.followers else "")
    fact("part of", f"workflow {job.parent}, step {job.step}" if job.parent else "")
    if job.error is not None:
        fact("error", told(job.error.error, job.error.message))
    out.print(facts)
    if job.error is not None and job.error.trace:
        out.print()
        for line in job.error.trace.rstrip().splitlines():
            out.print(Text(f"  {printable(line.encode(errors='backslashreplace'))}", "dim"))


def _print_steps(out: Console, steps: list[Step], signals: list[Signal]) -> None:
    if steps:
        now = time.time_ns()
        out.print()
        rows = [views.step_row(step, now) for step in steps]
        out.print(views.STEP_ROWS.table(rows, out.width))
    for signal in signals:
        out.print(Text(f"signal {signal.name!r} has come, and no step has taken it"))


def _print_history(out: Console, past: History) -> None:
    out.print()
    if not past.whole:
        out.print("the log begins later than this job", style="dim")
    if past.left_out:
        out.print(f"{count(past.left_out, 'change')} before these", style="dim")
    rows = [views.event_row(event) for event in past.events]
    if rows:
        out.print(views.EVENT_ROWS.table(rows, out.width))
