"""What must be true of bookings, found out by brute force: from the log alone, and of the tables.

    log ─▶ every version of every booking, in order ─▶ lists of who has what ─▶ compared, one by one

Nothing here uses the calendar, its pages or its steps: a list of spans is searched from end to end. Who
compares this with `walnut.booking` compares two programs.

What must stay true of the checker itself: it knows the rules (capacity, states, deadlines) from the
records and from `STATES` below, which was written down a second time on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from walnut.booking.bookings import Bookings
from walnut.booking.model import (
    DAY,
    Booking,
    Exclusive,
    Night,
    Nightly,
    Pool,
    Resource,
    SeatMap,
)
from walnut.booking.states import Standing, State
from walnut.store.changes import Change
from walnut.store.transaction import Reader

Q, H, C, I, N, X, E = State  # noqa: E741  quoted ... expired, in their order
STATES: Final = {
    None: {Q, H, C},
    Q: {H, X, E},
    H: {H, C, X, E},
    C: {C, I, N, X},
    I: set(),
    N: set(),
    X: set(),
    E: set(),
}
"""What may come after what; a hold and a confirmed booking may be changed and stay what they are."""
HAVING: Final = {H, C, I}
"""States in which a booking has what it is for."""

Promise = Callable[[bool, str], object]
"""Told whether something is so, and what is broken if it is not."""


class Span(msgspec.Struct, frozen=True):
    """What a booking has of a resource."""

    booking: str
    start: int
    stop: int
    units: int


class History:
    """Bookings as the log tells them, one change after another."""

    def __init__(self, promise: Promise) -> None:
        self._promise = promise
        self.bookings: dict[str, Booking] = {}
        self.resources: dict[str, Resource] = {}
        self._nights: dict[tuple[str, int], int] = {}
        self._having: dict[str, dict[str, list[Span]]] = {}
        self.ended: dict[str, int] = {}
        """How often each hold came to its end."""

    def follow(self, changes: Iterable[Change]) -> None:
        """Take in what happened."""
        touched: set[str] = set()
        lsn = 0
        for change in changes:
            if change.lsn != lsn:
                self._check(touched, lsn)
                touched, lsn = set(), change.lsn
            row = change.after
            if isinstance(row, Booking):
                self._booking(row, change)
                touched.add(row.id)
            elif isinstance(row, Resource):
                self.resources[row.id] = row
            elif isinstance(row, Night) and not row.rate and row.rooms is not None:
                self._nights[row.resource, (row.date.toordinal() - 719_163)] = row.rooms
        self._check(touched, lsn)

    def _booking(self, row: Booking, change: Change) -> None:
        promise, old = self._promise, self.bookings.get(row.id)
        name = f"booking {row.id} at LSN {change.lsn}"
        was = None if old is None else old.state
        promise(row.state in STATES[was], f"{name} went from {was} to {row.state!r}")
        promise(row.lsn == change.lsn, f"{name} says it is of LSN {row.lsn}")
        version = 1 if old is None else old.version + 1
        promise(row.version == version, f"{name} is version {row.version}, after {version - 1}")
        now = int(change.time.timestamp() * 1e6)
        if old is not None and was in {Q, H}:
            overdue = now >= old.deadline + 2  # of a float, the last digits
            promise(row.state is E or not overdue, f"{name}: {row.state!r} after its deadline")
            early = now < old.deadline - 2
            promise(row.state is not E or not early, f"{name} expired before its deadline")
        promise(
            bool(row.deadline) == (row.state in {Q, H}), f"{name}: {row.state!r} with a deadline"
        )
        if was is H and row.state is not H:
            self.ended[row.id] = self.ended.get(row.id, 0) + 1
            promise(self.ended[row.id] == 1, f"{name}: its hold ended twice")
        self.bookings[row.id] = row
        for spans in self._having.values():
            spans.pop(row.id, None)
        if row.state in HAVING:
            for leg in row.legs:
                mine = self._having.setdefault(leg.resource, {}).setdefault(row.id, [])
                mine += [Span(row.id, start, stop, leg.units) for start, stop in leg.spans]

    def _check(self, touched: set[str], lsn: int) -> None:
        """No more than there is, wherever the bookings that changed have something."""
        for resource, having in self._having.items():
            for booking in touched & having.keys():
                for span in having[booking]:
                    self._check_span(resource, span, having, lsn)

    def _check_span(
        self, resource: str, span: Span, having: dict[str, list[Span]], lsn: int
    ) -> None:
        near = [
            other
            for spans in having.values()
            for other in spans
            if other.start < span.stop and span.start < other.stop
        ]
        for at in {max(other.start, span.start) for other in near}:
            used = sum(other.units for other in near if other.start <= at < other.stop)
            most = self.capacity(resource, at)
            self._promise(
                used <= most, f"{used} of {most} units of {resource} at {at}, at LSN {lsn}"
            )

    def capacity(self, resource: str, at: int) -> int:
        """Units that there are at a place of a resource's line."""
        kind = self.resources[resource].kind
        if isinstance(kind, Exclusive | SeatMap):
            return 1
        if isinstance(kind, Pool):
            return kind.capacity + kind.capacity * kind.overbook // 100
        assert isinstance(kind, Nightly)
        rooms = self._nights.get((resource, at // DAY), kind.rooms)
        return rooms + rooms * kind.overbook // 100

    def spans(self) -> Iterator[tuple[str, Span]]:
        """All that is had of all resources."""
        for resource, having in self._having.items():
            for spans in having.values():
                for span in spans:
                    yield resource, span


def check_tables(history: History, bookings: Bookings, reader: Reader, promise: Promise) -> None:
    """The tables say what the log does: bookings, allocations, deadlines and each page."""
    rows = {row.id: row for row in bookings.table.scan(reader)}
    promise(rows == history.bookings, "the table of bookings is not what the log says")
    found = sorted(
        (row.resource, row.start, row.end, row.booking, row.units)
        for row in bookings.calendar.allocations.scan(reader)
    )
    wanted = sorted(
        (resource, span.start, span.stop, span.booking, span.units)
        for resource, span in history.spans()
    )
    promise(found == wanted, f"allocations {found} are not what bookings have: {wanted}")
    for row in bookings.calendar.allocations.scan(reader):
        posted = rows[row.booking].state is not H
        promise(
            row.standing is (Standing.POSTED if posted else Standing.PENDING),
            f"an allocation of {row.booking} is {row.standing!r}",
        )
    due = [(row.at, row.booking) for row in bookings.deadlines.table.scan(reader)]
    held = sorted((row.deadline, row.id) for row in rows.values() if row.deadline)
    promise(due == held, f"deadlines {due} are not those of bookings: {held}")
    _check_pages(history, bookings, reader, promise)


def _check_pages(history: History, bookings: Bookings, reader: Reader, promise: Promise) -> None:
    """Each page has, at each step and just before it, the sum of what lies there."""
    pages = {(page.resource, page.number): page for page in bookings.calendar.pages.scan(reader)}
    places: dict[tuple[str, int], list[Span]] = {}
    for resource, span in history.spans():
        width = 1024 if isinstance(history.resources[resource].kind, SeatMap) else DAY
        for number in range(span.start // width, (span.stop - 1) // width + 1):
            places.setdefault((resource, number), []).append(span)
    promise(pages.keys() == places.keys(), "pages that are empty, or missing")
    for key, page in pages.items():
        width = 1024 if isinstance(history.resources[key[0]].kind, SeatMap) else DAY
        base, spans = key[1] * width, places[key]
        times = [int.from_bytes(page.times[at : at + 8], "little", signed=True)
                 for at in range(0, len(page.times), 8)]  # fmt: skip
        levels = [int.from_bytes(page.levels[at : at + 4], "little", signed=True)
                  for at in range(0, len(page.levels), 4)]  # fmt: skip
        edges = {max(span.start - base, 0) for span in spans}
        edges |= {min(span.stop - base, width) for span in spans}
        for at in sorted(edges | set(times)):
            used = sum(
                span.units
                for span in spans
                if span.start <= base + at < min(span.stop, base + width)
            )
            before = [level for time, level in zip(times, levels, strict=True) if time <= at]
            promise(
                (before[-1] if before else 0) == used,
                f"page {key} says {before[-1:]} at {at}, and {used} are used",
            )
