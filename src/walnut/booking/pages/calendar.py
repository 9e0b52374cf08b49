"""A week of a resource that is booked by time: drag over what is free to book, drag a booking to move it.

      Mo 5   Tu 6   We 7 ...       a column for each day, `HOUR` pixels for each hour on the wall
    ┌──────┬──────┬──────
  9 │ ann  │      │ ░░░░           dragged over ─▶ whose? ─▶ book
 10 │      │ bob ─┼─▶ bob          dropped ─▶ change, at the version that was seen

What must stay true: what is dragged is decided by the store like everything else: what was drawn may be
old, and then the visitor is told.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from nicegui import ui

from walnut.booking.bookings import Bookings
from walnut.booking.model import DAY, Booking, Resource, Time, micros, moment
from walnut.booking.states import State
from walnut.booking.walls import at_wall, zone_of
from walnut.console.parts.asking import dialog
from walnut.console.parts.elements import actions, button, heading, html, tag
from walnut.console.reading import reading
from walnut.console.shell import acting
from walnut.console.visit import Visit, link
from walnut.store.record import Meta

DAYS: Final = 7
HOUR: Final = 40
"""Pixels."""
STEP: Final = 15
"""Minutes that a drag snaps to, or the grid of the resource if that is coarser."""
SHOWN: Final = 1000
"""Bookings of a week."""
LONGEST: Final = 31 * DAY
"""A booking that began sooner before the week is not looked for."""
_TINT: Final = {State.HELD: "var(--warn)", State.CONFIRMED: "var(--accent)"}

# The rest of a drag is in the browser, as a round trip for each pixel would be seen.
_DOWN: Final = """(e) => {
  if (e.target !== e.currentTarget || e.button) return;
  const day = e.currentTarget, top = e.offsetY;
  const ghost = document.createElement("div");
  ghost.style.cssText = `position:absolute;left:2px;right:2px;top:${top}px;height:0;opacity:.4;background:var(--accent);pointer-events:none`;
  day.append(ghost);
  day.setPointerCapture(e.pointerId);
  const at = (m) => Math.max(0, Math.min(day.clientHeight, m.clientY - day.getBoundingClientRect().top));
  const move = (m) => { ghost.style.top = Math.min(top, at(m)) + "px"; ghost.style.height = Math.abs(at(m) - top) + "px"; };
  const up = (m) => {
    day.removeEventListener("pointermove", move);
    ghost.remove();
    emit(Math.min(top, at(m)), Math.max(top, at(m)));
  };
  day.addEventListener("pointermove", move);
  day.addEventListener("pointerup", up, {once: true});
}"""
_LIFT: Final = """(e) => {
  const box = e.currentTarget.getBoundingClientRect();
  e.dataTransfer.setData("text/plain", e.currentTarget.dataset.booking + " " + (e.clientY - box.top));
}"""
_DROP: Final = """(e) => {
  e.preventDefault();
  const [id, held] = e.dataTransfer.getData("text/plain").split(" ");
  emit(id, e.clientY - e.currentTarget.getBoundingClientRect().top - Number(held));
}"""


class Piece(msgspec.Struct, frozen=True):
    """A part of a booking on one day: minutes on the wall, and which of how many lanes."""

    booking: Booking
    date: dt.date
    first: int
    last: int


async def calendar(visit: Visit, bookings: Bookings, resource: Resource) -> None:
    """Draw the week that `?week=` lies in."""
    zone = zone_of(resource.zone)
    given = visit.query.get("week", "")
    today = moment(bookings.store.log.options.clock() // 1000).astimezone(zone).date()
    try:
        day = dt.date.fromisoformat(given) if given else today
    except ValueError:
        day = today
    monday = day - dt.timedelta(days=day.weekday())
    dates = [monday + dt.timedelta(days=number) for number in range(DAYS)]
    told = f"{type(resource.kind).__name__.lower()}, times in {resource.zone}"
    with heading(resource.id, told, [("Booking", link("booking"))]):
        for text, weeks in (("Week before", -1), ("Week after", 1)):
            other = (monday + dt.timedelta(weeks=weeks)).isoformat()
            tag("a", "w-button", text, href=link("booking", resource=resource.id, week=other))
    pieces = await reading(_pieces, bookings, resource, dates)
    Week(visit, bookings, resource, {piece.booking.id: piece.booking for piece in pieces}).draw(
        dates, pieces
    )


def _pieces(bookings: Bookings, resource: Resource, dates: list[dt.date]) -> list[Piece]:
    zone = zone_of(resource.zone)
    first = at_wall(dates[0], 0, zone)
    last = at_wall(dates[-1] + dt.timedelta(days=1), 0, zone)
    found: list[Piece] = []
    with bookings.store.snapshot() as seen:
        for booking in bookings.of_resource(seen, resource.id, first - LONGEST, last):
            for leg in booking.legs:
                if leg.resource != resource.id or len(found) >= SHOWN:
                    continue
                start, end = (moment(at).astimezone(zone) for at in (leg.start, leg.end))
                for date in dates:
                    if start.date() <= date and micros(end) > at_wall(date, 0, zone):
                        begins = start.hour * 60 + start.minute if start.date() == date else 0
                        ends = end.hour * 60 + end.minute if end.date() == date else 1440
                        found.append(Piece(booking, date, begins, ends))
    return found


class Week:
    """The columns, and what is done on them."""

    def __init__(
        self, visit: Visit, bookings: Bookings, resource: Resource, shown: dict[str, Booking]
    ) -> None:
        self._visit = visit
        self._bookings = bookings
        self._resource = resource
        self._shown = shown
        self._step = max(STEP, resource.grid // 60)

    def draw(self, dates: list[dt.date], pieces: list[Piece]) -> None:
        """Draw all columns."""
        may = self._visit.may("booking:write", self._resource.id)
        if may:
            html(
                "<p class='small muted'>Drag over a free time to book it, a booking to move it.</p>"
            )
        with (
            tag("section", "w-panel flush").style("overflow:auto"),
            tag("div").style(
                f"display:grid;grid-template-columns:44px repeat({DAYS},minmax(96px,1fr));min-width:740px"
            ),
        ):
            tag("div")
            for date in dates:
                tag("b", "small", f"{date:%a} {date.day} {date:%b}").style("padding:8px")
            self._hours()
            for date in dates:
                self._day(date, [one for one in pieces if one.date == date], may=may)

    def _hours(self) -> None:
        with tag("div").style(f"position:relative;height:{24 * HOUR}px"):
            for hour in range(1, 24):
                tag("span", "small muted", f"{hour:02}").style(
                    f"position:absolute;right:8px;top:{hour * HOUR - 9}px"
                )

    def _day(self, date: dt.date, pieces: list[Piece], *, may: bool) -> None:
        lines = f"repeating-linear-gradient(var(--line) 0 1px,transparent 1px {HOUR}px)"
        column = tag("div", "w-day", **{"data-date": date.isoformat()}).style(
            f"position:relative;height:{24 * HOUR}px;border-left:1px solid var(--line);"
            f"background:{lines};touch-action:pan-x"
        )
        if may:
            # With an argument that has a name, as NiceGUI gives an event to no other.
            async def create(event: Any) -> None:
                await acting(self._visit, self._dragged)(date, *event.args)

            async def move(event: Any) -> None:
                await acting(self._visit, self._dropped)(date, *event.args)

            column.on("pointerdown", create, js_handler=_DOWN)
            column.on("dragover", js_handler="(e) => e.preventDefault()")
            column.on("drop", move, js_handler=_DROP)
        with column:
            for piece, lane, lanes in in_lanes(pieces):
                self._block(piece, lane, lanes, may=may)

    def _block(self, piece: Piece, lane: int, lanes: int, *, may: bool) -> None:
        booking = piece.booking
        words = booking.customer or booking.state.name.lower()
        tint = _TINT.get(booking.state, "var(--good)")
        height = max(14, (piece.last - piece.first) * HOUR // 60 - 2)
        block = tag(
            "a", "w-booking small", words, href=link("booking", booking=booking.id),
            **{"data-booking": booking.id}, draggable="true" if may else "false",
            title=f"{words}, {booking.state.name.lower().replace('_', ' ')}",
        )  # fmt: skip
        block.style(
            f"position:absolute;top:{piece.first * HOUR // 60 + 1}px;height:{height}px;"
            f"left:calc({100 * lane / lanes}% + 2px);width:calc({100 / lanes}% - 4px);"
            f"background:color-mix(in srgb,{tint} 22%,transparent);border-left:3px solid {tint};"
            "border-radius:4px;padding:2px 6px;overflow:hidden;color:inherit;text-decoration:none;cursor:grab"
        )
        if may:
            block.on("dragstart", js_handler=_LIFT)

    def _minutes(self, pixels: float, *, up: bool = False) -> int:
        """Minutes on the wall at a height, on the step."""
        minutes = pixels * 60 / HOUR
        steps = -(-minutes // self._step) if up else round(minutes / self._step)
        return max(0, min(1440, int(steps) * self._step))

    async def _dragged(self, date: dt.date, top: float, bottom: float) -> None:
        """Ask whose it is."""
        first, last = self._minutes(top), self._minutes(bottom, up=True)
        last = max(last, first + self._step)
        start, end = _wall(date, first), _wall(date, last)

        async def book() -> None:
            want = Time(self._resource.id, start, end)
            customer = str(field.value or "").strip()
            await self._change(self._bookings.book, want, customer=customer, why="booked")

        with dialog(
            f"{start:%a %d %b}, {start:%H:%M} to {end:%H:%M}", "Whose booking is it?"
        ) as shown:
            field = ui.input("Customer").props("outlined dense autofocus")
            with actions():
                button("Cancel", shown.close)
                button("Book", acting(self._visit, book), "main")
        shown.open()

    async def _dropped(self, date: dt.date, id_: str, top: float) -> None:
        booking = self._shown.get(id_)
        if booking is None or len(booking.legs) > 1:
            ui.notify("This booking has several parts: change it by itself.", type="warning")
            return
        leg = booking.legs[0]
        start = _wall(date, self._minutes(top))
        end = start + (moment(leg.end) - moment(leg.start))
        want = Time(self._resource.id, start, end, leg.units)
        await self._change(
            self._bookings.change, id_, want, version=booking.version, why="moved a booking"
        )

    async def _change(self, function: Any, *args: Any, why: str, **options: Any) -> None:
        caller = self._visit.require("booking:write", self._resource.id)
        meta = Meta(caller.principal, f"console: {why}", caller.request_id)
        await self._bookings.store.by(meta).run(function, *args, **options)
        ui.navigate.reload()


def _wall(date: dt.date, minutes: int) -> dt.datetime:
    return dt.datetime.combine(date, dt.time()) + dt.timedelta(minutes=minutes)


def in_lanes(pieces: Iterable[Piece]) -> list[tuple[Piece, int, int]]:
    """Each piece with its lane, and how many lanes the day has, so that none covers another."""
    ends: list[int] = []
    placed: list[tuple[Piece, int]] = []
    for piece in sorted(pieces, key=lambda one: (one.first, one.last)):
        lane = next((number for number, end in enumerate(ends) if end <= piece.first), len(ends))
        if lane == len(ends):
            ends.append(0)
        ends[lane] = piece.last
        placed.append((piece, lane))
    return [(piece, lane, len(ends)) for piece, lane in placed]
