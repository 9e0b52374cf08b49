"""Booking in the console: resources, the calendar or the nights or the seats of one, one booking.

booking                          all resources, and sales
booking?resource=room            a week of it: drag to book and to move (`pages/calendar.py`)
booking?resource=double          its nights; ?resource=hamlet: its seats (`pages/inventory.py`)
booking?booking=ID               one booking, and its history (`pages/one.py`)
"""

from __future__ import annotations

from html import escape
from typing import Final

from walnut.booking.bookings import Bookings
from walnut.booking.model import Nightly, Resource, SeatMap, moment
from walnut.booking.pages.calendar import calendar
from walnut.booking.pages.inventory import nights, seats
from walnut.booking.pages.one import one
from walnut.booking.queue import Queue
from walnut.console.parts.elements import heading, tag
from walnut.console.parts.empty import empty
from walnut.console.parts.grid import Batch, Column, Grid, Line
from walnut.console.reading import reading
from walnut.console.visit import Visit, link
from walnut.console.words import number
from walnut.subsystem.model import Page

RESOURCES: Final = 100
"""Of one fetch."""
SALES: Final = 20
"""That are shown."""


async def booking_page(visit: Visit) -> None:
    """Draw the page that the address asks for."""
    bookings = visit.resources.find(Bookings)
    if id_ := visit.query.get("booking", ""):
        await one(visit, bookings, id_)
    elif name := visit.query.get("resource", ""):
        visit.require("booking:read", name)
        resource = await reading(bookings.resources.need, bookings.store, name)
        if isinstance(resource.kind, Nightly):
            await nights(visit, bookings, resource)
        elif isinstance(resource.kind, SeatMap):
            await seats(visit, bookings, resource)
        else:
            await calendar(visit, bookings, resource)
    else:
        await _all(visit, bookings)


PAGES: Final = (Page("booking", "Booking", "event", booking_page, "booking:read"),)


async def _all(visit: Visit, bookings: Bookings) -> None:
    async def fetch(cursor: str | None) -> Batch:
        rows = await reading(_resources, bookings, cursor or "")
        lines = [_line(row) for row in rows if visit.may("booking:read", row.id)]
        return Batch(lines, rows[-1].id if len(rows) == RESOURCES else None)

    heading("Booking", "What can be booked. Open one for its calendar, its nights or its seats.")
    first = await fetch(None)
    with tag("section", "w-panel flush"):
        if not first.lines:
            empty(
                "event",
                "Nothing to book yet",
                "Add a resource over HTTP:",
                'curl -X PUT .../v1/booking/resources/room -d \'{"id": "room", "kind": {"type": '
                '"exclusive"}}\'',
            )
            return
        grid = Grid(
            "Resources",
            [
                Column("Resource", "minmax(160px, 1.4fr)"),
                Column("Kind", "120px"),
                Column("Zone", "minmax(120px, .8fr)"),
                Column("Hours", "minmax(160px, 1.4fr)"),
            ],
            fetch,
            least=620,
        )
        await grid.load()
    await _sales(visit)


def _resources(bookings: Bookings, after: str) -> list[Resource]:
    start = (after + "\0",) if after else ()
    return list(bookings.resources.table.scan(bookings.store, start=start, limit=RESOURCES))


def _line(resource: Resource) -> Line:
    return Line(
        (
            f"<b>{escape(resource.id)}</b>",
            type(resource.kind).__name__.lower(),
            escape(resource.zone),
            escape(resource.hours or "always"),
        ),
        link("booking", resource=resource.id),
    )


async def _sales(visit: Visit) -> None:
    queue = visit.resources.find(Queue)
    store = visit.resources.find(Bookings).store
    sales = await reading(lambda: list(queue.sales.scan(store, limit=SALES)))
    if not sales:
        return
    now = store.log.options.clock() // 1000
    with tag("section", "w-panel flush"):
        with tag("div", "w-panel-head"):
            tag("h2", "", "Queues")
        grid = Grid(
            "Queues",
            [
                Column("Sale", "minmax(140px, 1fr)"),
                Column("Opens", "200px"),
                Column("Have come", "110px", right=True),
                Column("Let in", "110px", right=True),
            ],
            least=520,
        )
        grid.add(
            [
                Line(
                    (
                        escape(sale.id),
                        f"{moment(sale.opens):%Y-%m-%d %H:%M} UTC",
                        number(sale.entered),
                        number(min(sale.entered, sale.admitted(now))),
                    )
                )
                for sale in sales
            ]
        )
