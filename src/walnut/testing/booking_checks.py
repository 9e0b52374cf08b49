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
    Time,
)
from walnut.booking.states import State
from walnut.booking.waitlist import Entry, Waitlist
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
        self._waiting: dict[str, Entry] = {}
        self._now = 0

    def follow(self, changes: Iterable[Change]) -> None:
        """Take in what happened."""
        touched: set[str] = set()
        lsn = 0
        for change in changes:
            if change.lsn != lsn:
                self._check(touched, lsn)
                touched, lsn = set(), change.lsn
            self._now = int(change.time.timestamp() * 1e6)
            row = change.after
            if isinstance(row, Booking):
                self._booking(row, change)
                touched.add(row.id)
            elif isinstance(row, Resource):
                self.resources[row.id] = row
            elif isinstance(row, Night) and not row.rate and row.rooms is not None:
                self._nights[row.resource, (row.date.toordinal() - 719_163)] = row.rooms
            elif change.table == "booking.waiting":
                self._entry(str(change.key), row, change.lsn)
        self._check(touched, lsn)

    def _booking(self, row: Booking, change: Change) -> None:
        promise, old = self._promise, self.bookings.get(row.id)
        name = f"booking {row.id} at LSN {change.lsn}"
        was = None if old is None else old.state
        promise(row.state in STATES[was], f"{name} went from {was} to {row.state!r}")
        promise(row.lsn == change.lsn, f"{name} says it is of LSN {row.lsn}")
        version = 0 if old is None else old.version
        promise(row.version > version, f"{name} is version {row.version}, after {version}")
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

    def _entry(self, id_: str, row: object, lsn: int) -> None:
        """An entry of a waitlist came, was offered something, or went."""
        old = self._waiting.pop(id_, None)
        if not isinstance(row, Entry):
            return
        self._promise(
            old is None or not old.offer, f"entry {id_} was offered something twice, at LSN {lsn}"
        )
        if row.offer:
            ahead = [
                other.id
                for other in self._waiting.values()
                if not other.offer
                and other.wants == row.wants
                and (-other.weight, other.rank) < (-row.weight, row.rank)
            ]
            self._promise(
                not ahead, f"entry {id_} was offered what {ahead} want, ahead of it, at LSN {lsn}"
            )
        self._waiting[id_] = row

    def check_lines(self, waitlist: Waitlist, reader: Reader) -> None:
        """The tables of a waitlist are what the log says."""
        rows = {row.id: row for row in waitlist.entries.scan(reader)}
        self._promise(rows == self._waiting, "the table of who waits is not what the log says")
        for row in rows.values():
            if row.offer:
                held = self.bookings[row.offer].state is H
                self._promise(held, f"entry {row.id} has an offer that is no hold")
        lines = {
            (one.entry, one.resource, one.page, one.start, one.stop)
            for one in waitlist.lines.scan(reader)
        }
        wanted = {
            (row.id, line.resource, line.page, line.start, line.stop)
            for row in rows.values()
            if not row.offer
            for line in row.lines
        }
        self._promise(lines == wanted, f"lines {lines} are not those of who waits: {wanted}")

    def _check(self, touched: set[str], lsn: int) -> None:
        """No more than there is, wherever the bookings that changed have something."""
        for resource, having in self._having.items():
            for booking in touched & having.keys():
                for span in having[booking]:
                    most = self._free(resource, span, having)
                    self._promise(
                        most >= 0, f"{-most} units too many of {resource} at {span}, LSN {lsn}"
                    )
        if self._waiting and touched:
            self._check_waiting(lsn)

    def _free(self, resource: str, span: Span, having: dict[str, list[Span]]) -> int:
        """The units that are left wherever there are the fewest on a span."""
        near = [
            other
            for spans in having.values()
            for other in spans
            if other.start < span.stop and span.start < other.stop
        ]
        edges = {max(other.start, span.start) for other in near} | {span.start}
        return min(
            self.capacity(resource, at)
            - sum(other.units for other in near if other.start <= at < other.stop)
            for at in edges
        )

    def _check_waiting(self, lsn: int) -> None:
        """Nobody waits for a time that is free, after a transaction that changed bookings."""
        for entry in self._waiting.values():
            want = entry.wants[0]
            if entry.offer or len(entry.wants) > 1 or not isinstance(want, Time):
                continue
            start, stop = (int(when.timestamp() * 1e6) for when in (want.start, want.end))
            names = [want.resource] if isinstance(want.resource, str) else want.resource
            for name in names if start > self._now + 2 else []:
                kind = self.resources[name].kind
                assert isinstance(kind, Exclusive | Pool)
                span = Span("", start - kind.before * 10**6, stop + kind.after * 10**6, 0)
                left = self._free(name, span, self._having.get(name, {}))
                self._promise(
                    left < want.units,
                    f"entry {entry.id} waits for {want}, which is free at LSN {lsn}",
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
