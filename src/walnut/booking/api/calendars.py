"""Routes of series, of calendars out (iCalendar), and of tables and calendars in.

What must stay true: a series and an import happen as a whole or not at all; or, if whoever asks says so,
as far as can be, with the name of each refusal.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, RawBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.booking.api.asking import (
    ADMIN,
    READ,
    TAGS,
    WRITE,
    BookingShown,
    Desk,
    permit_all,
    permit_wants,
    read_time,
    shown,
)
from walnut.booking.api.feed import calendar_of
from walnut.booking.feeds import free_busy
from walnut.booking.importing import Imported, Refused, Row, book_all, read
from walnut.booking.model import Time
from walnut.booking.series import Booked, Series, SeriesBook
from walnut.booking.subscriptions import Of, Subscriptions
from walnut.store.api.asking import write
from walnut.store.transaction import Transaction
from walnut.web.access import needs, permit
from walnut.web.answer import Answer
from walnut.web.conditions import etag_of, not_modified
from walnut.web.openapi import sends, takes

CALENDAR: Final = "text/calendar"


class SeriesAsked(msgspec.Struct, forbid_unknown_fields=True):
    """What to book at each occurrence of a rule of RFC 5545."""

    want: Time
    rule: str
    customer: str = ""
    as_far_as_can_be: bool = False


class SeriesEnded(msgspec.Struct):
    """What was cancelled of a series."""

    cancelled: list[BookingShown]


class ImportShown(msgspec.Struct):
    """What was booked, and which rows could not be."""

    booked: list[BookingShown]
    refused: list[Refused]


class FeedAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Whose bookings a feed shows: {"of": "resource" or "customer", "name": its id}."""

    of: Of
    name: str


class FeedShown(msgspec.Struct, omit_defaults=True):
    """An address that was given out. `path` with its secret is told once."""

    id: str
    of: Of
    name: str
    by: str
    path: str = ""


class FeedList(msgspec.Struct):
    """Addresses that are good."""

    items: list[FeedShown]


MOST_FEEDS: Final = 1000
"""That are listed."""


def routes(
    desk: Desk, series: SeriesBook, subscriptions: Subscriptions
) -> Iterator[ControllerRouterHandler]:
    """The routes of these."""
    yield from _series(desk, series)
    yield from _out(desk)
    yield from _feeds(desk, subscriptions)
    yield _in(desk)


def _series(desk: Desk, series: SeriesBook) -> Iterator[ControllerRouterHandler]:
    store = desk.store

    @post("/v1/booking/series", tags=TAGS, summary="Book a series", opt=needs(WRITE, each=True))
    async def book(data: JSONBody[SeriesAsked], scope: Scope) -> Answer[Booked]:
        """Book each occurrence, on the wall of the resource: all of them or none, unless
        `as_far_as_can_be`; then each refusal is named."""
        permit_wants(scope, WRITE, data.want)
        change = partial(_book_series, series, data)
        done = await write(store, scope, msgspec.json.encode(data), Booked, change)
        return Answer(done.result, headers=done.headers)

    @get(
        "/v1/booking/series/{series_id:str}",
        tags=TAGS,
        summary="Look at a series",
        opt=needs(READ, each=True),
    )
    async def look(series_id: FromPath[str], scope: Scope) -> Series:
        """Its rule, and the ids of its bookings."""
        found = series.get(store, series_id)
        permit_all(scope, READ, [found.resource])
        return found

    @post(
        "/v1/booking/series/{series_id:str}/cancel",
        tags=TAGS,
        summary="Cancel a series",
        status_code=200,
        opt=needs(WRITE, each=True),
    )
    async def cancel(series_id: FromPath[str], scope: Scope) -> Answer[SeriesEnded]:
        """Cancel what is confirmed of it and has not begun. No body."""
        permit_all(scope, WRITE, [series.get(store, series_id).resource])
        change = partial(_cancel_series, series, series_id)
        done = await write(store, scope, b"", SeriesEnded, change)
        return Answer(done.result, headers=done.headers)

    yield from (book, look, cancel)


def _book_series(series: SeriesBook, asked: SeriesAsked, tx: Transaction) -> Booked:
    return series.book(
        tx,
        asked.want,
        asked.rule,
        customer=asked.customer,
        as_far_as_can_be=asked.as_far_as_can_be,
    )


def _cancel_series(series: SeriesBook, id_: str, tx: Transaction) -> SeriesEnded:
    return SeriesEnded([shown(each) for each in series.cancel(tx, id_)])


def _out(desk: Desk) -> Iterator[ControllerRouterHandler]:
    def routed(path: str, of: Of, summary: str) -> ControllerRouterHandler:
        @get(
            path,
            tags=TAGS,
            summary=summary,
            media_type=CALENDAR,
            opt={**needs(READ, each=True), **takes("If-None-Match")},
        )
        async def calendar(name: FromPath[str], scope: Scope) -> Answer[bytes]:
            """iCalendar: UIDs that stay, sequence numbers that rise, nobody's name. For a calendar
            program that sends no token, make a feed."""
            permit(scope, READ, name if of == "resource" else "")
            data = calendar_of(desk, of, name)
            tag = etag_of(data)
            if not_modified(scope, tag):
                return Answer(b"", status=304, headers={"etag": tag}, media_type=CALENDAR)
            return Answer(data, headers={"etag": tag}, media_type=CALENDAR)

        return calendar

    yield routed("/v1/booking/resources/{name:str}/calendar", "resource", "Calendar of a resource")
    yield routed("/v1/booking/customers/{name:str}/calendar", "customer", "Calendar of a customer")

    @get(
        "/v1/booking/resources/{resource:str}/free-busy",
        tags=TAGS,
        summary="Busy times as iCalendar",
        media_type=CALENDAR,
        opt=needs(READ, name="resource"),
    )
    async def busy(
        resource: FromPath[str], start: FromQuery[str], end: FromQuery[str]
    ) -> Answer[bytes]:
        """A VFREEBUSY. `start` and `end` say their offsets, or are UTC."""
        first, last = read_time("start", start), read_time("end", end)
        first, last = (one if one.tzinfo else one.replace(tzinfo=dt.UTC) for one in (first, last))
        data = free_busy(desk.bookings, desk.store, resource, first, last)
        return Answer(data, media_type=CALENDAR)

    yield busy


def _feeds(desk: Desk, subscriptions: Subscriptions) -> Iterator[ControllerRouterHandler]:
    store = desk.store

    @post("/v1/booking/feeds", tags=TAGS, summary="Make a feed", opt=needs(ADMIN, each=True))
    async def make(data: JSONBody[FeedAsked], scope: Scope) -> Answer[FeedShown]:
        """An address with a secret in it, for a calendar program that sends no token: it reads this
        one calendar. The secret is kept by its digest and told once; a repeat under the same
        Idempotency-Key tells no `path`."""
        permit(scope, ADMIN, data.name if data.of == "resource" else "")
        told: list[str] = []

        def add(tx: Transaction) -> FeedShown:
            row, secret = subscriptions.add(tx, data.of, data.name)
            told[:] = [f"/calendars/{row.id}.ics?secret={secret}"]
            return FeedShown(row.id, row.of, row.name, row.by)

        done = await write(store, scope, msgspec.json.encode(data), FeedShown, add)
        path = "" if done.repeated or not told else told[0]
        return Answer(msgspec.structs.replace(done.result, path=path), headers=done.headers)

    @get("/v1/booking/feeds", tags=TAGS, summary="List feeds", opt=needs(ADMIN))
    async def list_feeds() -> FeedList:
        """The first 1,000, without their secrets."""
        rows = subscriptions.table.scan(store, limit=MOST_FEEDS)
        return FeedList([FeedShown(row.id, row.of, row.name, row.by) for row in rows])

    @delete(
        "/v1/booking/feeds/{feed:str}",
        tags=TAGS,
        summary="Revoke a feed",
        status_code=200,
        opt=needs(ADMIN),
    )
    async def revoke(feed: FromPath[str], scope: Scope) -> Answer[dict[str, str]]:
        """Its address is good no longer."""
        done = await write(store, scope, b"", dict[str, str], partial(_revoke, subscriptions, feed))
        return Answer(done.result, headers=done.headers)

    yield from (make, list_feeds, revoke)


def _revoke(subscriptions: Subscriptions, feed: str, tx: Transaction) -> dict[str, str]:
    subscriptions.revoke(tx, feed)
    return {"id": feed}


def _in(desk: Desk) -> ControllerRouterHandler:
    @post(
        "/v1/booking/import",
        tags=TAGS,
        summary="Import bookings",
        status_code=200,
        opt={
            **needs(WRITE, each=True),
            **sends(bytes, "text/csv"),
            **sends(bytes, "text/calendar"),
        },
    )
    async def import_(
        body: RawBody,
        scope: Scope,
        resource: FromQuery[str] = "",
        customer: FromQuery[str] = "",
        as_far_as_can_be: FromQuery[bool] = False,  # noqa: FBT002  a query has defaults
    ) -> Answer[ImportShown]:
        """Book the rows of a CSV (columns resource, start, end, units, customer, note), or the events
        of an iCalendar, which are all of `?resource=`: up to 1,000, all or none, unless
        `as_far_as_can_be`."""
        rows = read(body, resource, customer=customer)
        for row in rows:
            permit_wants(scope, WRITE, row.want)
        change = partial(_book_all, desk, rows, as_far_as_can_be)
        done = await write(desk.store, scope, body, Imported, change)
        booked = [shown(each) for each in done.result.booked]
        return Answer(ImportShown(booked, done.result.refused), headers=done.headers)

    return import_


def _book_all(desk: Desk, rows: list[Row], far: bool, tx: Transaction) -> Imported:  # noqa: FBT001
    return book_all(tx, desk.bookings, rows, as_far_as_can_be=far)
