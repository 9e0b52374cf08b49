"""Arguments that several commands share, and how bookings are printed.

What must stay true: each line that is printed is JSON by itself, with times as ISO in UTC.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import click
import msgspec

from walnut.booking.model import Booking, Leg, moment
from walnut.store.cli import arguments

directory = arguments.directory
resource = click.argument("resource")
who = click.option("--by", "principal", default="", metavar="NAME", help="Who does this.")
why = click.option(
    "--why", "reason", default="", metavar="TEXT", help="Why; both are kept in the log."
)


class TimeParameter(click.ParamType[dt.datetime]):
    """A time in ISO."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.datetime:
        """See click."""
        if isinstance(value, dt.datetime):
            return value
        try:
            return dt.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: write as 2030-05-01T09:00.", param, ctx)


TIME = TimeParameter()
begin = click.option("--from", "start", type=TIME, required=True, help="From this time on.")
finish = click.option("--to", "end", type=TIME, required=True, help="Up to this time.")


def say(row: object, *, err: bool = False) -> None:
    """A line of JSON; on stderr, if `err`."""
    click.echo(msgspec.json.encode(row).decode(), err=err)


def shown(booking: Booking) -> dict[str, Any]:
    """A booking as people read it."""
    return {
        "id": booking.id,
        "state": booking.state.name.lower(),
        "version": booking.version,
        "customer": booking.customer,
        "legs": [_leg(leg) for leg in booking.legs],
        "expires": booking.expires,
        "price": booking.price,
        "fee": booking.fee,
        "currency": booking.currency,
        "made": moment(booking.made),
        "changed": moment(booking.changed),
        "lsn": booking.lsn,
        "note": booking.note,
    }


def _leg(leg: Leg) -> dict[str, Any]:
    return {
        "resource": leg.resource,
        "start": moment(leg.start),
        "end": moment(leg.end),
        "wall": leg.wall,
        "zone": leg.zone,
        "units": leg.units,
        "seats": leg.seats,
        "rate": leg.rate,
    }
