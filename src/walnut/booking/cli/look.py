"""What there is, what is booked and what is free: `resources`, `list`, `show`, `free`."""

from __future__ import annotations

import datetime as dt
from typing import Final

import click

from walnut.booking.cli import arguments
from walnut.booking.history import history
from walnut.booking.overview import need, overview_of
from walnut.booking.walls import resolve, zone_of
from walnut.log.cli.arguments import examples
from walnut.store.remote import StoreReader

LONGEST: Final = dt.timedelta(days=367)
"""A booking that is under way began at most so long ago."""


@click.command(epilog=examples("walnut booking resources office"))
@arguments.directory
def resources(directory: str) -> None:
    """Print all resources, as `add` takes them."""
    with StoreReader(directory) as reader:
        for resource in overview_of(reader).resources.table.scan(reader):
            arguments.say(resource)


@click.command(
    "list",
    epilog=examples("walnut booking list office room --from 2030-05-01 --to 2030-05-08"),
)
@arguments.directory
@arguments.resource
@click.option("--from", "start", type=arguments.TIME, help="What ends after this time.")
@click.option("--to", "end", type=arguments.TIME, help="What begins before this time.")
@click.option("--ids", is_flag=True, help="Print ids alone.")
def list_(
    directory: str,
    resource: str,
    start: dt.datetime | None,
    end: dt.datetime | None,
    *,
    ids: bool,
) -> None:
    """Print what is held and booked of RESOURCE, by when it begins."""
    with StoreReader(directory) as reader:
        overview = overview_of(reader)
        zone = zone_of(overview.resources.need(reader, resource).zone)
        begin = None if start is None else resolve(start, zone)
        stop = None if end is None else resolve(end, zone)
        rows = overview.calendar.allocations.scan(
            reader,
            resource,
            start=() if begin is None else (begin - micros_of(LONGEST),),
            stop=() if stop is None else (stop,),
        )
        for id_ in dict.fromkeys(row.booking for row in rows if row.end > (begin or row.start)):
            if ids:
                click.echo(id_)
            else:
                arguments.say(arguments.shown(need(overview, reader, id_)))


def micros_of(length: dt.timedelta) -> int:
    """A length of time as the line of a resource has it."""
    return length // dt.timedelta(microseconds=1)


@click.command(
    epilog=examples("walnut booking list office room --ids | xargs walnut booking show office")
)
@arguments.directory
@click.argument("bookings", metavar="BOOKING...", nargs=-1, required=True)
def show(directory: str, bookings: tuple[str, ...]) -> None:
    """Print each BOOKING, and then what happened to it: what, by whom and why."""
    with StoreReader(directory) as reader:
        overview = overview_of(reader)
        for booking in bookings:
            row = need(overview, reader, booking)
            arguments.say(arguments.shown(row))
            for event in history(overview.bookings, reader.log, reader.keyring, row).events:
                told = {"lsn": event.lsn, "time": event.time, "what": event.what}
                arguments.say(told | {"by": event.by, "why": event.why})


@click.command(
    epilog=examples("walnut booking free office room 60 --from 2030-05-02 --to 2030-05-03")
)
@arguments.directory
@arguments.resource
@click.argument("minutes", type=click.IntRange(min=1))
@arguments.begin
@arguments.finish
@click.option("--step", type=click.IntRange(min=1), help="Minutes from one start to the next.")
@click.option("--units", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--now", type=arguments.TIME, help="As if it were then; by default it is now.")
def free(
    directory: str,
    resource: str,
    start: dt.datetime,
    end: dt.datetime,
    minutes: int,
    step: int | None,
    units: int,
    now: dt.datetime | None,
) -> None:
    """Print times of so many MINUTES that are free of RESOURCE, which is booked by time."""
    with StoreReader(directory) as reader:
        found = overview_of(reader).search.slots(
            reader,
            resource,
            start,
            end,
            dt.timedelta(minutes=minutes),
            now=(now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC),
            step=None if step is None else dt.timedelta(minutes=step),
            units=units,
        )
        for slot in found.items:
            arguments.say(slot)
