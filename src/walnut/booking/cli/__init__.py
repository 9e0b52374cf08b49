"""`walnut booking`: reservations from a shell.

    look.py      resources, list, show, free: read, beside a running program
    by_hand.py   add, book, cancel: write, while no program has the store open
    bring.py     import: write as well

Every example in these commands' help is run by `tests/test_help.py`.
"""

from __future__ import annotations

import click

from walnut.booking.cli.bring import import_
from walnut.booking.cli.by_hand import add, book, cancel
from walnut.booking.cli.look import free, list_, resources, show
from walnut.log.cli.arguments import examples


@click.group(
    epilog=examples(
        "walnut booking resources office",
        "walnut booking list office room --from 2030-05-01",
    )
)
def booking() -> None:
    """The resources and bookings in the store at DIR: what is free, what is booked, by whom.

    resources, list, show and free only read: use them while a program has the store open. add,
    book, cancel and import write, so they need the store while no program has it open.

    Times are ISO, as 2030-05-01T09:00, on the wall of the resource unless they say their offset.
    What is printed is a line of JSON each, with times in UTC.

    Exit codes: as those of `walnut log`.
    """


for _command in (resources, list_, show, free, add, book, cancel, import_):
    booking.add_command(_command)
