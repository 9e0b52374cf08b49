"""Routes that tell what is free, and what is busy. Each answer says at which LSN it was so.

What must stay true: nothing here says whose a booking is.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.booking.api.asking import READ, TAGS, Desk, permit_all, read_date, read_time
from walnut.booking.errors import BookingError
from walnut.booking.search import MOST_SLOTS, Busy, FreeNight, FreeSeats, Slot
from walnut.store.api.asking import checked, reached
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.errors import InvalidRequest
from walnut.web.openapi import takes
from walnut.web.positions import position

LARGEST_LENGTH: Final = 366 * 86_400
"""Seconds of a slot."""
MOST_CALENDARS: Final = 50
"""Of one question for free/busy, as with others who answer such."""
SLOTS: Final = 1000
"""Told, if the request does not say."""


class Slots(msgspec.Struct):
    """Times that are free, by resource and then by time."""

    lsn: int
    items: list[Slot]


class FreeNights(msgspec.Struct):
    """Nights, in order."""

    lsn: int
    items: list[FreeNight]


class SeatsLeft(msgspec.Struct):
    """Free seats, row by row."""

    lsn: int
    items: list[FreeSeats]


class Item(msgspec.Struct):
    """A resource that is asked about."""

    id: str


class FreeBusyAsked(msgspec.Struct, rename="camel"):
    """When, and which. The names are those of Google's calendar API."""

    time_min: dt.datetime
    time_max: dt.datetime
    items: list[Item]


class Reason(msgspec.Struct):
    """Why a resource is not told of."""

    domain: str
    reason: str


class BusyShown(msgspec.Struct, omit_defaults=True):
    """When nothing is left of a resource."""

    busy: list[Busy] = []
    errors: list[Reason] = []


class FreeBusy(msgspec.Struct, rename="camel"):
    """Busy times by resource."""

    time_min: dt.datetime
    time_max: dt.datetime
    calendars: dict[str, BusyShown]


def routes(desk: Desk) -> Iterator[ControllerRouterHandler]:
    """The routes of what is free of these bookings' resources."""
    store, search = desk.store, desk.bookings.search

    @get(
        "/v1/booking/availability",
        tags=TAGS,
        summary="Free times",
        opt={**needs(READ, each=True), **takes("at_least")},
    )
    async def free(
        scope: Scope,
        resource: FromQuery[list[str]],
        start: FromQuery[str],
        end: FromQuery[str],
        length: FromQuery[int],
        step: FromQuery[int | None] = None,
        units: FromQuery[int] = 1,
        limit: FromQuery[int] = SLOTS,
        at_least: FromQuery[int] = 0,
    ) -> Answer[Slots]:
        """Times of `length` seconds between `start` and `end` that can be held, of each `resource` that
        is named (once or several times), with starts every `step` seconds. Times without an offset are
        on the wall of the resource. Give `lsn` as `seen` of a hold."""
        permit_all(scope, READ, resource)
        await reached(store, at_least)
        found = search.slots(
            store,
            resource,
            read_time("start", start),
            read_time("end", end),
            dt.timedelta(seconds=checked("length", length, 1, LARGEST_LENGTH)),
            now=desk.now(),
            step=None if step is None else dt.timedelta(seconds=checked("step", step, 1, 86_400)),
            units=checked("units", units, 1, 1_000_000),
            limit=checked("limit", limit, 1, MOST_SLOTS),
        )
        return Answer(Slots(found.lsn, found.items), headers=position(found.lsn))

    @get(
        "/v1/booking/resources/{resource:str}/nights",
        tags=TAGS,
        summary="Nights with prices",
        opt={**needs(READ, name="resource"), **takes("at_least")},
    )
    async def nights(
        resource: FromPath[str],
        start: FromQuery[str],
        end: FromQuery[str],
        rate: FromQuery[str] = "",
        at_least: FromQuery[int] = 0,
    ) -> Answer[FreeNights]:
        """The nights from `start` up to, not with, `end`: rooms that are left, the price of one, and
        the rules of the date, of the type and the rate together."""
        await reached(store, at_least)
        first, last = read_date("start", start), read_date("end", end)
        found = search.nights(store, resource, first, last, rate=rate)
        return Answer(FreeNights(found.lsn, found.items), headers=position(found.lsn))

    @get(
        "/v1/booking/resources/{resource:str}/seats",
        tags=TAGS,
        summary="Free seats",
        opt={**needs(READ, name="resource"), **takes("at_least")},
    )
    async def seats(
        resource: FromPath[str], zone: FromQuery[str] = "", at_least: FromQuery[int] = 0
    ) -> Answer[SeatsLeft]:
        """The free seats of an event, row by row, with prices. The best ones next to one another are
        chosen by a quote or a hold: `{"type": "seats", "best": 4}`."""
        await reached(store, at_least)
        found = search.seats(store, resource, zone=zone)
        return Answer(SeatsLeft(found.lsn, found.items), headers=position(found.lsn))

    @post(
        "/v1/booking/free-busy",
        tags=TAGS,
        summary="Busy times",
        status_code=200,
        opt=needs(READ, each=True),
    )
    async def free_busy(data: JSONBody[FreeBusyAsked], scope: Scope) -> Answer[FreeBusy]:
        """When nothing is left of each of up to 50 resources, because of bookings and not of hours:
        `{"timeMin": ..., "timeMax": ..., "items": [{"id": "room"}]}`, as Google's calendars are asked."""
        if len(data.items) > MOST_CALENDARS:
            what = f"{len(data.items)} resources: ask for up to {MOST_CALENDARS} at once"
            raise InvalidRequest(what, {"at": "body.items", "message": what})
        permit_all(scope, READ, [item.id for item in data.items])
        calendars: dict[str, BusyShown] = {}
        with store.snapshot() as seen:
            for item in data.items:
                try:
                    found = search.busy(seen, item.id, data.time_min, data.time_max)
                    calendars[item.id] = BusyShown(found.items)
                except BookingError as error:
                    calendars[item.id] = BusyShown(errors=[Reason("booking", error.kind)])
            lsn = seen.lsn
        shown = FreeBusy(data.time_min, data.time_max, calendars)
        return Answer(shown, headers=position(lsn))

    yield from (free, nights, seats, free_busy)
