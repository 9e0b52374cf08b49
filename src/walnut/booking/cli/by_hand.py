"""Resources and bookings by hand: `add`, `book`, `cancel`.

What must stay true: each is one transaction, with who did it and why.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, BinaryIO

import click
import msgspec

from walnut.booking.bookings import Bookings
from walnut.booking.cli import arguments
from walnut.booking.errors import InvalidResource
from walnut.booking.model import Resource, Time
from walnut.booking.waitlist import Waitlist
from walnut.jobs.jobs import Jobs
from walnut.log.cli.arguments import examples
from walnut.store.cli.arguments import open_to_write
from walnut.store.record import Meta


def run(
    directory: str, meta: Meta, function: Callable[[Bookings], Callable[..., Any]], *args: Any
) -> Any:
    """A function of bookings, as a transaction, with those who wait in line served."""
    with open_to_write(directory) as store:
        bookings = Bookings(store, Jobs(store))
        Waitlist(bookings)
        return store.by(meta).call(function(bookings), *args)


@click.command(
    epilog=examples("walnut booking resources office | head -1 | walnut booking add office")
)
@arguments.directory
@click.argument("file", type=click.File("rb"), default="-")
@arguments.who
@arguments.why
def add(directory: str, file: BinaryIO, principal: str, reason: str) -> None:
    """Add a resource, or change the one with its id, from JSON in FILE or on standard input.

    Its kind is exclusive, pool, nightly or seats; docs/booking.md says what it may have.
    """
    try:
        resource = msgspec.json.decode(file.read(), type=Resource)
    except msgspec.MsgspecError as error:
        raise InvalidResource(f"{file.name}: {error}; see docs/booking.md") from error
    arguments.say(run(directory, Meta(principal, reason), lambda b: b.add, resource))


@click.command(
    epilog=examples("walnut booking book office room 2030-05-03T09:00 2030-05-03T10:00 --by ann")
)
@arguments.directory
@arguments.resource
@click.argument("start", type=arguments.TIME)
@click.argument("end", type=arguments.TIME)
@click.option("--customer", default="", metavar="ID", help="Whose it is.")
@click.option("--units", type=click.IntRange(min=1), default=1, show_default=True)
@arguments.who
@arguments.why
def book(
    directory: str,
    resource: str,
    start: dt.datetime,
    end: dt.datetime,
    customer: str,
    units: int,
    principal: str,
    reason: str,
) -> None:
    """Book RESOURCE from START to END, confirmed at once."""
    want = Time(resource, start, end, units)

    def booked(bookings: Bookings) -> Callable[..., Any]:
        return lambda tx: bookings.book(tx, want, customer=customer)

    made = run(directory, Meta(principal, reason), booked)
    arguments.say(arguments.shown(made))


@click.command(
    epilog=examples("walnut booking list office room --ids | xargs walnut booking cancel office")
)
@arguments.directory
@click.argument("bookings", metavar="BOOKING...", nargs=-1, required=True)
@click.option("--version", type=int, help="Only if this is the version of each.")
@arguments.who
@arguments.why
def cancel(
    directory: str, bookings: tuple[str, ...], version: int | None, principal: str, reason: str
) -> None:
    """Give back what each BOOKING has, all of them or none; the fee of its terms is due."""

    def cancelled(opened: Bookings) -> Callable[..., Any]:
        return lambda tx: [opened.cancel(tx, id_, version=version) for id_ in bookings]

    for ended in run(directory, Meta(principal, reason), cancelled):
        arguments.say(arguments.shown(ended))
