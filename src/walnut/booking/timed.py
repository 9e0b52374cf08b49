"""What is booked by time: one at a time, or so many at a time.

    wanted      10:00 ├──────┤ 10:45
    taken    9:55 ├──────────────┤ 11:00        buffers: 5 minutes before, 15 after

What must stay true: the booking itself lies within opening hours, and what is taken, buffers included,
never exceeds the capacity at any instant.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from walnut.booking.calendar import Draft
from walnut.booking.errors import (
    Alternative,
    Closed,
    InvalidWant,
    Restricted,
    TooFar,
    TooSoon,
)
from walnut.booking.hours import is_open, next_open
from walnut.booking.model import DAY, SECOND, Exclusive, Leg, Pool, Resource, Time, moment
from walnut.booking.walls import on_wall, resolve, zone_of

QUARTER: Final = 900
"""Offsets from UTC are multiples of this many seconds wherever people live today; a grid that divides it
is the same on the wall and in UTC."""


def most_of(kind: Exclusive | Pool) -> int:
    """Units that may be used at once."""
    if isinstance(kind, Exclusive):
        return 1
    return kind.capacity * (100 + kind.overbook) // 100


def place(draft: Draft, resource: Resource, want: Time, now: int) -> Leg:
    """Take what is wanted. Raises InvalidWant, Unavailable; Full."""
    kind = resource.kind
    if not isinstance(kind, Exclusive | Pool):
        raise InvalidWant(f"{resource.id} is not booked by time: ask for nights, or seats")
    zone = zone_of(resource.zone)
    start, end = resolve(want.start, zone), resolve(want.end, zone)
    check(resource, start, end, want.units, now)
    span = start - kind.before * SECOND, end + kind.after * SECOND
    draft.take(resource.id, DAY, [span], want.units, most_of(kind))
    return Leg(
        resource.id,
        start,
        end,
        [span],
        on_wall(start, zone),
        resource.zone,
        want.units,
        price_of(resource, start, end, want.units),
    )


def price_of(resource: Resource, start: int, end: int, units: int) -> int:
    """Cents; a part of an hour costs its part, rounded up."""
    by_time = -(-resource.per_hour * (end - start) // (3600 * SECOND)) if resource.per_hour else 0
    return units * (resource.price + by_time)


def check(resource: Resource, start: int, end: int, units: int, now: int) -> None:
    """Raise InvalidWant or Unavailable, if nobody could have this, whatever is booked."""
    if end <= start:
        raise InvalidWant(
            f"from {moment(start).isoformat()} to {moment(end).isoformat()} is no time: the end comes "
            "after the start"
        )
    kind = resource.kind
    largest = most_of(kind) if isinstance(kind, Exclusive | Pool) else 0
    if not 1 <= units <= largest:
        raise InvalidWant(f"{units} units of {resource.id}: it has {largest}")
    length = end - start
    if not resource.shortest * SECOND <= length <= resource.longest * SECOND:
        fitting = min(max(length, resource.shortest * SECOND), resource.longest * SECOND)
        raise Restricted(
            f"{resource.id} is booked for {_length(resource.shortest)} to "
            f"{_length(resource.longest)}, and this is {_length(length // SECOND)}",
            _from(resource, start, fitting),
        )
    check_when(resource, start, now)
    if not (on_grid(resource, start) and on_grid(resource, end)):
        raise Restricted(
            f"{resource.id} is booked in steps of {_length(resource.grid)} from midnight"
        )
    if not is_open(resource, start, end):
        later = next_open(resource, start, length)
        raise Closed(
            f"{resource.id} is not open from {moment(start).isoformat()} to {moment(end).isoformat()}",
            [] if later is None else _from(resource, later[0], length),
        )


def check_when(resource: Resource, start: int, now: int) -> None:
    """Raise TooSoon or TooFar."""
    if start < now + resource.lead * SECOND:
        earliest = moment(now + resource.lead * SECOND).isoformat(timespec="seconds")
        raise TooSoon(f"{resource.id} can be booked from {earliest} on")
    if start > now + resource.horizon * SECOND:
        latest = moment(now + resource.horizon * SECOND).isoformat(timespec="seconds")
        raise TooFar(f"{resource.id} can be booked up to {latest}")


def on_grid(resource: Resource, at: int) -> bool:
    """Whether a booking may start or end then."""
    grid = resource.grid
    if QUARTER % grid == 0:
        return at % (grid * SECOND) == 0
    wall = moment(at).astimezone(zone_of(resource.zone))
    return not wall.microsecond and (60 * (60 * wall.hour + wall.minute) + wall.second) % grid == 0


def _from(resource: Resource, start: int, length: int) -> list[Alternative]:
    return [
        Alternative(
            resource.id,
            moment(start).isoformat(timespec="minutes"),
            moment(start + length).isoformat(timespec="minutes"),
        )
    ]


def _length(seconds: int) -> str:
    return str(dt.timedelta(seconds=seconds))
