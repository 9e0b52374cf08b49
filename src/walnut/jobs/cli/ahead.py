"""What happens when: `timers`."""

from __future__ import annotations

import time

import click

from walnut.jobs.cli import arguments, views
from walnut.jobs.overview import schedules, shown_id, upcoming
from walnut.log.cli.arguments import examples
from walnut.log.cli.records import write_out
from walnut.log.show import console
from walnut.store.cli import values


@click.command(
    epilog=examples("walnut jobs timers work", "walnut jobs timers work --limit 1 --format json")
)
@arguments.directory
@arguments.limit(20)
@arguments.format_
def timers(directory: str, limit: int, format_: str) -> None:
    """List what is due next in the store at DIR, and all schedules.

    A timer calls a function of a program, lets a job go on that waits for its time or its next try,
    is a step of a workflow, or is the next time of a schedule. "if late" is what becomes of one
    that could not fire in time as nothing was running; "if missed" is the same for schedules: one
    firing for all that were missed (coalesce), each of them, or none (skip).
    """
    with arguments.open_to_read(directory) as (reader, tables):
        found = upcoming(tables, reader, limit + 1)
        shown = [
            "" if job is None else shown_id(tables, reader, job.id) for _, job in found[:limit]
        ]
        repeated = schedules(tables, reader)
    more = len(found) > limit
    del found[limit:]
    if format_ == "json":
        for timer, _ in found:
            write_out(values.jsonl(views.timer_object(timer)))
        for row in repeated:
            write_out(values.jsonl(views.schedule_object(row)))
        return
    now = time.time_ns()
    out = console()
    rows = [
        views.timer_row(timer, job, id_, now)
        for (timer, job), id_ in zip(found, shown, strict=True)
    ]
    if rows:
        out.print(views.TIMER_ROWS.table(rows, out.width))
    else:
        click.echo("no timers")
    if more:
        out.print(f"and more: --limit {10 * limit} shows them", style="dim")
    if repeated:
        out.print()
        lines = [views.schedule_row(row, now) for row in repeated]
        out.print(views.SCHEDULE_ROWS.table(lines, out.width))
