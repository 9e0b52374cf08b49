"""Bookings of another system: `import`.

What must stay true: an import is one transaction: all of it, or what can be had of it and a line for each
of the rest; never a part that nobody is told of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import click

from walnut.booking.bookings import Bookings
from walnut.booking.cli import arguments
from walnut.booking.cli.by_hand import run
from walnut.booking.errors import BookingError
from walnut.booking.importing import MOST_BYTES, Imported, book_all, read
from walnut.log.cli.arguments import examples
from walnut.store.record import Meta


@click.command(
    "import",
    epilog=examples(
        r"printf 'resource,start,end\nroom,2030-05-06T09,2030-05-06T10\n' | tee new",
        "walnut booking import office new --by ann",
    ),
)
@arguments.directory
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--resource", default="", metavar="ID", help="What the events of a calendar are of.")
@click.option("--customer", default="", metavar="ID", help="Whose the events of a calendar are.")
@click.option(
    "--as-far-as-can-be", "far", is_flag=True, help="Book what can be had, and list what can't."
)
@arguments.who
@arguments.why
def import_(
    directory: str,
    file: BinaryIO,
    resource: str,
    customer: str,
    far: bool,  # noqa: FBT001  click gives it by name
    principal: str,
    reason: str,
) -> None:
    """Book the rows of a CSV, or the events of an iCalendar, in FILE or on standard input.

    A CSV names its columns in the first line: resource, start and end, and perhaps units, customer
    and note. Two dates are nights, times are on the wall of the resource. An iCalendar is of one
    resource, which --resource names. Up to 1,000 bookings, all or none.

    With --as-far-as-can-be each that is refused is a line on stderr, and the exit code is 1 if there
    is one.
    """
    rows = read(file.read(MOST_BYTES + 1), resource, customer=customer)

    def imported(bookings: Bookings) -> Callable[..., Any]:
        return lambda tx: book_all(tx, bookings, rows, as_far_as_can_be=far)

    try:
        done: Imported = run(directory, Meta(principal, reason), imported)
    except BookingError as error:
        where = " ".join(getattr(error, "__notes__", ()))
        raise click.ClickException(f"{where}: {error}; nothing was imported") from error
    for booking in done.booked:
        arguments.say(arguments.shown(booking))
    for refused in done.refused:
        arguments.say(refused, err=True)
    if done.refused:
        raise click.exceptions.Exit(1)
