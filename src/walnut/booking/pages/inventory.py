"""Nights of a room type as a grid, and the seats of an event as a map to click.

What must stay true: both show one moment; what is clicked is decided by the store.
"""

from __future__ import annotations

import datetime as dt
from html import escape
from typing import Final

from nicegui import ui

from walnut.booking.bookings import Bookings
from walnut.booking.model import Resource, SeatMap, Seats, moment
from walnut.booking.walls import zone_of
from walnut.console.errors import InvalidInput
from walnut.console.parts.elements import actions, button, heading, html, tag
from walnut.console.reading import reading
from walnut.console.shell import acting
from walnut.console.visit import Visit, link
from walnut.store.record import Meta

NIGHTS: Final = 28
"""Of one page."""


async def nights(visit: Visit, bookings: Bookings, resource: Resource) -> None:
    """Draw four weeks of nights from `?from=`."""
    today = moment(bookings.store.log.options.clock() // 1000).astimezone(zone_of(resource.zone))
    try:
        first = dt.date.fromisoformat(visit.query.get("from", ""))
    except ValueError:
        first = today.date()
    last = first + dt.timedelta(days=NIGHTS)
    found = await reading(bookings.search.nights, bookings.store, resource.id, first, last)
    with heading(resource.id, f"nights, in {resource.zone}", [("Booking", link("booking"))]):
        for text, days in (("Before", -NIGHTS), ("After", NIGHTS)):
            other = (first + dt.timedelta(days=days)).isoformat()
            tag(
                "a", "w-button", text, href=link("booking", resource=resource.id, **{"from": other})
            )
    cells = "".join(
        f'<div style="border:1px solid var(--line);border-radius:6px;padding:8px">'
        f'<div class="small muted">{night.date:%a %d %b}</div>'
        f"<b>{'stopped' if night.stop else f'{night.left} left'}</b>"
        f'<div class="small">{night.price / 100:,.2f} {escape(resource.currency)}'
        f"{' · no arrival' if night.no_arrival else ''}</div></div>"
        for night in found.items
    )
    with tag("section", "w-panel"):
        html(
            '<div style="display:grid;gap:8px;grid-template-columns:repeat(auto-fill,minmax(120px,1fr))">'
            f"{cells}</div>"
        )


async def seats(visit: Visit, bookings: Bookings, resource: Resource) -> None:
    """Draw the seats; those that are clicked are booked together."""
    kind = resource.kind
    assert isinstance(kind, SeatMap)
    found = await reading(bookings.search.seats, bookings.store, resource.id)
    free = {name for row in found.items for name in row.seats}
    chosen: list[str] = []
    may = visit.may("booking:write", resource.id)
    told = f"{len(free)} seats are free, {kind.start:%Y-%m-%d %H:%M %Z}"
    heading(resource.id, told, [("Booking", link("booking"))])

    def toggle(name: str, seat: ui.button) -> None:
        if name in chosen:
            chosen.remove(name)
        else:
            chosen.append(name)
        seat.props["aria-pressed"] = "true" if name in chosen else "false"
        seat.style("outline:2px solid var(--accent)" if name in chosen else "outline:none")

    async def book() -> None:
        if not chosen:
            raise InvalidInput("no seat is chosen: click some")
        caller = visit.require("booking:write", resource.id)
        meta = Meta(caller.principal, "console: booked seats", caller.request_id)
        want = Seats(resource.id, list(chosen))
        customer = str(field.value or "").strip()
        await bookings.store.by(meta).run(bookings.book, want, customer=customer)
        ui.navigate.reload()

    with tag("section", "w-panel").style("overflow:auto"):
        for row in kind.rows:
            with tag("div").style("display:flex;gap:4px;align-items:center;margin-bottom:4px"):
                tag("b", "small", row.name).style("min-width:40px")
                for seat in row.seats:
                    name = f"{row.name}/{seat}"
                    made = button(seat, None).style("min-width:40px;padding:2px 6px")
                    made.props["aria-label"] = name
                    made.set_enabled(may and name in free)
                    made.on_click(lambda name=name, made=made: toggle(name, made))
        if may:
            with actions():
                field = ui.input("Customer").props("outlined dense")
                button("Book these", acting(visit, book), "main")
