"""Where on a resource's line something is, page by page: what is wanted, and what was had.

What must stay true: who wants what somebody else has overlaps with it on some page, buffers included, as
they are when the one joins the line; so whoever is told of the one can find the other.
"""

from __future__ import annotations

from typing import Final

import msgspec

from walnut.booking.calendar import pieces
from walnut.booking.model import (
    DAY,
    SECOND,
    Exclusive,
    Leg,
    Nights,
    Pool,
    Resource,
    SeatMap,
    Time,
    Want,
)
from walnut.booking.nightly import number_of
from walnut.booking.walls import resolve, zone_of


class Stretch(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A part of a resource's line that lies on one page."""

    resource: str
    page: int
    start: int
    stop: int


WHOLE_EVENT: Final = (0, 0, 1)
"""Seats are waited for as a whole: whoever wants the best wants any."""


def wanted(resource: Resource, want: Want) -> list[Stretch]:
    """Where somebody waits who wants this."""
    kind = resource.kind
    if isinstance(want, Time) and isinstance(kind, Exclusive | Pool):
        zone = zone_of(resource.zone)
        start = resolve(want.start, zone) - kind.before * SECOND
        return _stretches(resource, start, resolve(want.end, zone) + kind.after * SECOND)
    if isinstance(want, Nights):
        return _stretches(resource, number_of(want.arrive) * DAY, number_of(want.depart) * DAY)
    return [Stretch(resource.id, *WHOLE_EVENT)]


def freed(resource: Resource, leg: Leg) -> list[Stretch]:
    """Where those wait who might want what a leg had."""
    if isinstance(resource.kind, SeatMap):
        return [Stretch(resource.id, *WHOLE_EVENT)]
    return [found for span in leg.spans for found in _stretches(resource, *span)]


def night(resource: str, number: int) -> Stretch:
    """A single night."""
    return Stretch(resource, number, number * DAY, (number + 1) * DAY)


def _stretches(resource: Resource, start: int, stop: int) -> list[Stretch]:
    return [
        Stretch(resource.id, page, page * DAY + begin, page * DAY + end)
        for page, begin, end in pieces((start, stop), DAY)
    ]
