"""Routes that read bookings: one, its history, those of a customer or a resource.

What must stay true: a page goes on by the key of the last booking, so that none is left out or told
twice because of what others book between two pages.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from itertools import islice

import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery
from litestar.types import ControllerRouterHandler, Scope

from walnut.booking.api.asking import (
    READ,
    TAGS,
    BookingShown,
    Desk,
    read_time,
    shown,
    tagged,
)
from walnut.booking.history import history
from walnut.booking.model import SeatMap
from walnut.booking.walls import resolve, zone_of
from walnut.store.api.asking import page_size, reached
from walnut.store.transaction import Reader
from walnut.web.access import needs, permit
from walnut.web.answer import Answer
from walnut.web.conditions import not_modified
from walnut.web.errors import InvalidRequest
from walnut.web.openapi import takes
from walnut.web.paging import LIMIT, Page, from_cursor, to_cursor

Place = tuple[int, str]
"""Where a page ends: when its last booking begins, and its id."""
EVER = 1 << 62


class EventShown(msgspec.Struct, omit_defaults=True):
    """A change of a booking: when, what, by whom, why; and the booking from then on."""

    lsn: int
    time: dt.datetime
    what: str
    after: BookingShown
    by: str = ""
    why: str = ""
    request: str = ""


class HistoryShown(msgspec.Struct):
    """What the log has of a booking. `whole`: it still reaches back to the beginning."""

    whole: bool
    items: list[EventShown]


def routes(desk: Desk) -> Iterator[ControllerRouterHandler]:
    """The routes that read these bookings."""
    store, bookings = desk.store, desk.bookings

    @get(
        "/v1/booking/bookings/{booking:str}",
        tags=TAGS,
        summary="Look at a booking",
        opt={**needs(READ, each=True), **takes("at_least", "If-None-Match")},
    )
    async def look(
        booking: FromPath[str], scope: Scope, at_least: FromQuery[int] = 0
    ) -> Answer[BookingShown]:
        """A booking, whatever its state. The `ETag` is its version."""
        lsn = await reached(store, at_least)
        found = desk.booking(scope, READ, booking)
        headers = tagged(found.version, lsn)
        if not_modified(scope, headers["etag"]):
            return Answer(None, status=304, headers=headers)  # type: ignore[arg-type]
        return Answer(shown(found), headers=headers)

    @get(
        "/v1/booking/bookings/{booking:str}/history",
        tags=TAGS,
        summary="What happened to a booking",
        opt=needs(READ, each=True),
    )
    async def look_back(booking: FromPath[str], scope: Scope) -> HistoryShown:
        """Each change of it with who and why, straight from the log."""
        found = desk.booking(scope, READ, booking)
        told = await asyncio.to_thread(history, bookings.table, store.log, store.keyring, found)
        return HistoryShown(
            told.whole,
            [
                EventShown(
                    one.lsn, one.time, one.what, shown(one.after), one.by, one.why, one.request
                )
                for one in told.events
            ],
        )

    @get(
        "/v1/booking/bookings",
        tags=TAGS,
        summary="List bookings",
        opt={**needs(READ, each=True), **takes("at_least")},
    )
    async def list_bookings(
        scope: Scope,
        resource: FromQuery[str] = "",
        customer: FromQuery[str] = "",
        start: FromQuery[str] = "",
        end: FromQuery[str] = "",
        limit: FromQuery[int] = LIMIT,
        cursor: FromQuery[str | None] = None,
        at_least: FromQuery[int] = 0,
    ) -> Page[BookingShown]:
        """What consumes something of a `resource`, or all bookings of a `customer`, that begin in
        [`start`, `end`), by when they begin. Those of a customer take the scope for all resources."""
        if bool(resource) == bool(customer):
            what = "name a resource, or a customer"
            raise InvalidRequest(what, {"at": "query.resource", "message": what})
        permit(scope, READ, resource)
        await reached(store, at_least)
        page_size(limit)
        after = from_cursor(cursor, Place) if cursor else None  # type: ignore[arg-type]
        with store.snapshot() as seen:
            zone = zone_of(bookings.resources.need(seen, resource).zone if resource else "UTC")
            first = resolve(read_time("start", start), zone) if start else -EVER
            last = resolve(read_time("end", end), zone) if end else EVER
            places = (
                _of_resource(desk, seen, resource, first, last, after)
                if resource
                else _of_customer(desk, seen, customer, first, last, after)
            )
            some = list(islice(places, limit))
            found = [bookings.get(seen, id_) for _, id_ in some]
        next_ = to_cursor(some[-1][0]) if len(some) == limit else ""
        return Page([shown(each) for each in found], next_)

    yield from (look, look_back, list_bookings)


def _of_resource(
    desk: Desk, reader: Reader, resource: str, first: int, last: int, after: Place | None
) -> Iterator[tuple[Place, str]]:
    if isinstance(desk.bookings.resources.need(reader, resource).kind, SeatMap):
        first, last = -EVER, EVER  # its line is one of seats
    begin = first if after is None else max(first, after[0])
    rows = desk.bookings.calendar.allocations.scan(reader, resource, start=(begin,), stop=(last,))
    told: Place | None = after
    for row in rows:
        place = row.start, row.booking
        if told is None or place > told:
            told = place
            yield place, row.booking


def _of_customer(
    desk: Desk, reader: Reader, customer: str, first: int, last: int, after: Place | None
) -> Iterator[tuple[Place, str]]:
    begin = first if after is None else max(first, after[0])
    for row in desk.bookings.owned.scan(reader, customer, start=(begin,), stop=(last,)):
        place = row.start, row.booking
        if after is None or place > after:
            yield place, row.booking
