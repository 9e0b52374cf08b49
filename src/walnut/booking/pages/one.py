"""One booking: what it is, what can be done to it, and what happened, from the log.

What must stay true: whoever may not read all its resources sees nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from nicegui import ui

from walnut.booking.bookings import Bookings
from walnut.booking.history import History, history
from walnut.booking.model import Booking, Leg, moment
from walnut.booking.states import MOVES, Move
from walnut.console.parts.elements import badge, button, heading, pairs, tag
from walnut.console.parts.grid import Column, Grid, Line
from walnut.console.reading import reading
from walnut.console.shell import acting
from walnut.console.visit import Visit, link
from walnut.store.record import Meta


async def one(visit: Visit, bookings: Bookings, id_: str) -> None:
    """Draw a booking."""
    booking = await reading(bookings.get, bookings.store, id_)
    for leg in booking.legs:
        visit.require("booking:read", leg.resource)
    store = bookings.store
    told = await reading(history, bookings.table, store.log, store.keyring, booking)
    first = booking.legs[0].resource
    crumbs = [("Booking", link("booking")), (first, link("booking", resource=first))]
    with heading(f"{booking.customer or 'Somebody'} at {booking.legs[0].wall}", "", crumbs):
        if all(visit.may("booking:write", leg.resource) for leg in booking.legs):
            _moves(visit, bookings, booking)
    facts = [
        ("State", badge(booking.state.name.lower().replace("_", " "))),
        ("Price", f"{booking.price / 100:,.2f} {escape(booking.currency)}"),
        *((leg.resource, _told(leg)) for leg in booking.legs),
        ("Until", escape(f"{moment(max(leg.end for leg in booking.legs)):%Y-%m-%d %H:%M} UTC")),
        ("Id", f'<span class="mono">{escape(booking.id)}</span>'),
    ]
    if booking.expires is not None:
        facts.insert(1, ("Expires", f"{booking.expires:%Y-%m-%d %H:%M:%S} UTC"))
    if booking.fee:
        facts.append(("Fee", f"{booking.fee / 100:,.2f} {escape(booking.currency)}"))
    if booking.note:
        facts.append(("Note", escape(booking.note)))
    with tag("section", "w-panel"):
        pairs(facts)
    _history(told)


def _told(leg: Leg) -> str:
    seats = ", ".join(leg.seats)
    return escape(f"{leg.wall} {leg.zone}, {leg.units} {seats}")


def _moves(visit: Visit, bookings: Bookings, booking: Booking) -> None:
    def moving(function: Callable[..., Booking], why: str) -> Callable[..., Any]:
        async def move() -> None:
            for leg in booking.legs:
                visit.require("booking:write", leg.resource)
            caller = visit.still()
            meta = Meta(caller.principal, f"console: {why}", caller.request_id)
            await bookings.store.by(meta).run(function, booking.id, version=booking.version)
            ui.navigate.reload()

        return acting(visit, move)

    for move, text, function, kind in (
        (Move.CONFIRM, "Confirm", bookings.confirm, "main"),
        (Move.CHECK_IN, "Check in", bookings.check_in, ""),
        (Move.NO_SHOW, "No show", bookings.no_show, ""),
        (Move.CANCEL, "Cancel booking", bookings.cancel, "danger"),
    ):
        if (booking.state, move) in MOVES:
            button(text, moving(function, str(move)), kind)


def _history(told: History) -> None:
    with tag("section", "w-panel flush"):
        with tag("div", "w-panel-head"):
            tag("h2", "", "What happened")
            if not told.whole:
                tag("p", "small muted", "The log no longer reaches back to its beginning.")
        grid = Grid(
            "What happened",
            [
                Column("Time (UTC)", "200px"),
                Column("What", "130px"),
                Column("By", "minmax(120px, 1fr)"),
                Column("Why", "minmax(120px, 1fr)"),
                Column("LSN", "100px", right=True),
            ],
            least=680,
        )
        grid.add(
            [
                Line(
                    (
                        f"{event.time:%Y-%m-%d %H:%M:%S}",
                        escape(event.what),
                        escape(event.by),
                        escape(event.why),
                        f"{event.lsn:,}",
                    ),
                    link("log", lsn=event.lsn),
                )
                for event in reversed(told.events)
            ]
        )
