"""Routes of resources: what there is, when it is open, what is special about single nights.

What must stay true: each change is one transaction, and never makes a resource smaller than what is
booked of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
from litestar import get, patch, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.booking.api.asking import ADMIN, READ, TAGS, Desk, tagged, version_of
from walnut.booking.errors import StaleVersion
from walnut.booking.hours import CLOSED
from walnut.booking.model import Night, Nightly, Resource
from walnut.store.api.asking import page_size, reached, write
from walnut.store.transaction import Transaction
from walnut.web.access import needs, permit
from walnut.web.answer import Answer
from walnut.web.errors import Forbidden, InvalidRequest
from walnut.web.openapi import takes
from walnut.web.paging import LIMIT, Page, from_cursor, to_cursor

MOST_NIGHTS = 1000
"""Nights that one request sets, and dates that it blacks out."""


class Dates(msgspec.Struct, forbid_unknown_fields=True):
    """Dates on which nothing is sold, or, `open`, on which it is again."""

    dates: list[dt.date]
    open: bool = False


def routes(desk: Desk) -> Iterator[ControllerRouterHandler]:
    """The routes of the resources of these bookings."""
    yield from _reading(desk)
    yield from _writing(desk)


def _reading(desk: Desk) -> Iterator[ControllerRouterHandler]:
    store, resources = desk.store, desk.bookings.resources

    @get("/v1/booking/resources", tags=TAGS, summary="List resources", opt=needs(READ, each=True))
    async def list_resources(
        scope: Scope, limit: FromQuery[int] = LIMIT, cursor: FromQuery[str | None] = None
    ) -> Page[Resource]:
        """The resources that the caller may read, by id. A page may have fewer than `limit` and yet a
        `next`."""
        after = from_cursor(cursor, str) + "\0" if cursor else ""
        rows = list(resources.table.scan(store, start=(after,), limit=page_size(limit)))
        next_ = to_cursor(rows[-1].id) if len(rows) == limit else ""
        return Page([row for row in rows if _may_read(scope, row.id)], next_)

    @get(
        "/v1/booking/resources/{resource:str}",
        tags=TAGS,
        summary="Describe a resource",
        opt={**needs(READ, name="resource"), **takes("at_least")},
    )
    async def describe(resource: FromPath[str], at_least: FromQuery[int] = 0) -> Answer[Resource]:
        """What it is, its hours, prices and rules. The `ETag` is its version."""
        lsn = await reached(store, at_least)
        found = resources.need(store, resource)
        return Answer(found, headers=tagged(found.version, lsn))

    yield from (list_resources, describe)


def _writing(desk: Desk) -> Iterator[ControllerRouterHandler]:
    store = desk.store

    @put(
        "/v1/booking/resources/{resource:str}",
        tags=TAGS,
        summary="Add or alter a resource",
        opt={**needs(ADMIN, name="resource"), **takes("If-Match")},
    )
    async def put_resource(
        resource: FromPath[str], data: JSONBody[Resource], scope: Scope
    ) -> Answer[Resource]:
        """Add a resource, or put this in place of the one with its id. `kind` is {"type":
        "exclusive"}, {"type": "pool", "capacity": 20}, {"type": "nightly", "rooms": 10} or {"type":
        "seats", ...}. 409 if more is booked than would be left."""
        if data.id != resource:
            what = f"id is {data.id!r} and the address says {resource!r}"
            raise InvalidRequest(what, {"at": "body.id", "message": what})
        change = partial(_put, desk, data, version_of(scope))
        done = await write(store, scope, msgspec.json.encode(data), Resource, change)
        return Answer(done.result, headers=tagged(done.result.version, done.lsn) | done.headers)

    @patch(
        "/v1/booking/resources/{resource:str}",
        tags=TAGS,
        summary="Alter parts of a resource",
        opt={**needs(ADMIN, name="resource"), **takes("If-Match")},
    )
    async def patch_resource(
        resource: FromPath[str], data: JSONBody[dict[str, Any]], scope: Scope
    ) -> Answer[Resource]:
        """Alter what is named, as {"hours": "Mo-Fr 09:00-17:00"}; the rest stays as it is."""
        change = partial(_patch, desk, resource, data, version_of(scope))
        done = await write(store, scope, msgspec.json.encode(data), Resource, change)
        return Answer(done.result, headers=tagged(done.result.version, done.lsn) | done.headers)

    @put(
        "/v1/booking/resources/{resource:str}/nights",
        tags=TAGS,
        summary="Set nights",
        opt=needs(ADMIN, name="resource"),
    )
    async def put_nights(
        resource: FromPath[str], data: JSONBody[list[Night]], scope: Scope
    ) -> Answer[list[Night]]:
        """Say what is special about nights of a room type, or of a rate of it: all of them, or none."""
        _check_many(len(data))
        nights = [msgspec.structs.replace(night, resource=resource) for night in data]
        done = await write(
            store, scope, msgspec.json.encode(data), list[Night], partial(_nights, desk, nights)
        )
        return Answer(done.result, headers=done.headers)

    @post(
        "/v1/booking/resources/{resource:str}/blackouts",
        tags=TAGS,
        summary="Black dates out",
        status_code=200,
        opt=needs(ADMIN, name="resource"),
    )
    async def black_out(
        resource: FromPath[str], data: JSONBody[Dates], scope: Scope
    ) -> Answer[Dates]:
        """Sell nothing on these dates, or (`open`) go on as usual. What is booked stays booked."""
        _check_many(len(data.dates))
        change = partial(_black_out, desk, resource, data)
        done = await write(store, scope, msgspec.json.encode(data), Dates, change)
        return Answer(done.result, headers=done.headers)

    yield from (put_resource, patch_resource, put_nights, black_out)


def _put(desk: Desk, resource: Resource, version: int | None, tx: Transaction) -> Resource:
    if version is not None:
        _check_version(desk.bookings.resources.need(tx, resource.id), version)
    return desk.bookings.add(tx, resource)


def _patch(
    desk: Desk, id_: str, changes: dict[str, Any], version: int | None, tx: Transaction
) -> Resource:
    known = desk.bookings.resources.need(tx, id_)
    _check_version(known, version)
    parts = {**msgspec.to_builtins(known), **changes, "id": id_}
    try:
        changed = msgspec.convert(parts, Resource, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error), {"at": "body", "message": str(error)}) from error
    return desk.bookings.add(tx, changed)


def _nights(desk: Desk, nights: list[Night], tx: Transaction) -> list[Night]:
    return [desk.bookings.set_night(tx, night) for night in nights]


def _black_out(desk: Desk, id_: str, asked: Dates, tx: Transaction) -> Dates:
    bookings = desk.bookings
    resource = bookings.resources.need(tx, id_)
    if isinstance(resource.kind, Nightly):
        table = bookings.resources.inventory.table
        for date in asked.dates:
            night = table.get(tx, (id_, "", date)) or Night(resource=id_, date=date)
            bookings.set_night(tx, msgspec.structs.replace(night, stop=not asked.open))
        return asked
    special = dict(resource.special)
    for date in asked.dates:
        if asked.open:
            special.pop(date.isoformat(), None)
        else:
            special[date.isoformat()] = CLOSED
    bookings.add(tx, msgspec.structs.replace(resource, special=special))
    return asked


def _check_version(resource: Resource, version: int | None) -> None:
    if version is not None and version != resource.version:
        raise StaleVersion(
            f"resource {resource.id} is at version {resource.version} and not {version}: look at it "
            "again",
            resource.version,
        )


def _check_many(count: int) -> None:
    if count > MOST_NIGHTS:
        what = f"{count} dates at once: send up to {MOST_NIGHTS}"
        raise InvalidRequest(what, {"at": "body", "message": what})


def _may_read(scope: Scope, resource: str) -> bool:
    try:
        permit(scope, READ, resource)
    except Forbidden:
        return False
    return True
