"""What is used of every resource, as pages of its line in a table.

    line of a resource    ──┬─────────────┬─────────────┬──     page = a day, a night, or a row of seats
    booking.pages           │ steps       │ steps       │       used units on it (`steps`)
    booking.allocations     ──[ann]────[bob]────────[cy]──       whose they are, by where they begin

A page is read with one look-up and holds a day's steps, so that taking and giving back cost the same
whether a resource has ten bookings or ten million, and a month's free times are some thirty look-ups.
Allocations are what tells who is in the way, and what calendars show; nothing is decided by them.

What must stay true: the level of each page, at each place, is the sum of the units of the allocations
that are there. Both change in one transaction, and only by a `Draft`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from walnut.booking.model import (
    DAY,
    SEATS_IN_ROW,
    Allocation,
    Booking,
    Leg,
    Page,
    Resource,
    SeatMap,
)
from walnut.booking.steps import Steps
from walnut.store.store import Store
from walnut.store.transaction import Reader, Transaction

LOOKED_AT: Final = 256
"""Allocations looked at to find those in the way of something: of a large pool most are. Overdue holds
beyond these are ended by their timers."""

Span = tuple[int, int]
Most = Callable[[int], int]
"""So many units may be used on a page."""


class Full(Exception):
    """There is not enough of a resource on a span of its line. Inside of this package only: whoever
    asked is told by `errors.Taken`."""

    def __init__(self, resource: str, span: Span) -> None:
        super().__init__(resource, span)
        self.resource = resource
        self.span = span


def width_of(resource: Resource) -> int:
    """How much of its line is a page."""
    return SEATS_IN_ROW if isinstance(resource.kind, SeatMap) else DAY


def pieces(span: Span, width: int) -> Iterator[tuple[int, int, int]]:
    """A span page by page: the page's number, and from where to where on it."""
    at, stop = span
    while at < stop:
        number = at // width
        end = min(stop, (number + 1) * width)
        yield number, at - number * width, end - number * width
        at = end


class Calendar:
    """The tables."""

    def __init__(self, store: Store) -> None:
        self.pages = store.table("booking.pages", Page, key=lambda row: (row.resource, row.number))
        self.allocations = store.table(
            "booking.allocations",
            Allocation,
            key=lambda row: (row.resource, row.start, row.booking, row.leg),
        )

    def steps(self, reader: Reader, resource: str, numbers: range) -> Iterator[tuple[int, Steps]]:
        """The pages with these numbers that are not empty."""
        pages = self.pages.get_many(reader, [(resource, number) for number in numbers])
        for number, page in zip(numbers, pages, strict=True):
            if page is not None:
                yield number, Steps(page.times, page.levels)

    def gaps(
        self,
        reader: Reader,
        resource: str,
        width: int,
        span: Span,
        most: int,
        least: int = 1,
    ) -> Iterator[Span]:
        """The parts of a span in which at most so many units are used, as long as they can be, if
        they are at least so long.

        Some 0.1 us for each step on the pages: bench, booking-search."""
        start, stop = span
        opened: int | None = start
        numbers = range(start // width, -(-stop // width))
        for number, steps in self.steps(reader, resource, numbers):
            base = number * width
            for time, level in zip(steps.times, steps.levels, strict=True):
                if level > most:
                    if opened is not None:
                        end = min(base + time, stop)
                        if end - opened >= least:
                            yield opened, end
                        opened = None
                elif opened is None:
                    opened = max(base + time, start)
        if opened is not None and stop - opened >= least:
            yield opened, stop

    def within(self, reader: Reader, resource: str, span: Span, limit: int) -> Iterator[Allocation]:
        """Allocations in the way of a span, the latest first, among the last `LOOKED_AT` that begin
        before it ends."""
        start, stop = span
        rows = self.allocations.scan(reader, resource, stop=(stop,), reverse=True, limit=LOOKED_AT)
        for row in rows:
            if row.end > start:
                yield row
                limit -= 1
                if not limit:
                    return


class Draft:
    """Changes of the calendar that are worked out, and written at the end or not at all."""

    def __init__(self, calendar: Calendar, tx: Transaction) -> None:
        self.calendar = calendar
        self.tx = tx
        self._pages: dict[tuple[str, int], Steps] = {}
        self._changed: set[tuple[str, int]] = set()

    def page(self, resource: str, number: int) -> Steps:
        """A page as it would be."""
        key = resource, number
        steps = self._pages.get(key)
        if steps is None:
            row = self.calendar.pages.get(self.tx, key)
            steps = self._pages[key] = Steps() if row is None else Steps(row.times, row.levels)
        return steps

    def take(
        self, resource: str, width: int, spans: list[Span], units: int, most: int | Most
    ) -> None:
        """Use so many units more on all these spans. Raises Full, and then nothing is changed."""
        found: list[tuple[tuple[str, int], Steps, int, int]] = []
        for span in spans:
            for number, start, stop in pieces(span, width):
                steps = self.page(resource, number)
                limit = most if isinstance(most, int) else most(number)
                if steps.peak(start, stop) + units > limit:
                    raise Full(resource, (number * width + start, number * width + stop))
                found.append(((resource, number), steps, start, stop))
        for key, steps, start, stop in found:
            steps.add(start, stop, units)
            self._changed.add(key)

    def give(self, leg: Leg, width: int) -> None:
        """Use what a leg has no longer."""
        for span in leg.spans:
            for number, start, stop in pieces(span, width):
                self.page(leg.resource, number).add(start, stop, -leg.units)
                self._changed.add((leg.resource, number))

    def write(self) -> None:
        """Write the pages that changed, in a fixed order; one that is empty goes."""
        pages = self.calendar.pages
        for key in sorted(self._changed):
            steps = self._pages[key]
            if steps.times:
                pages.put(self.tx, Page(*key, *steps.pack()))
            else:
                pages.delete(self.tx, key)
        self._changed.clear()

    # -- allocations ----------------------------------------------------------------------------

    def allocate(self, booking: Booking) -> None:
        """A booking has what its legs say."""
        put, tx = self.calendar.allocations.put, self.tx
        for number, leg in enumerate(booking.legs):
            for start, stop in leg.spans:
                row = Allocation(leg.resource, start, booking.id, number, stop, leg.units)
                put(tx, row)

    def void(self, booking: Booking) -> None:
        """A booking has none of it any more."""
        delete, tx = self.calendar.allocations.delete, self.tx
        for number, leg in enumerate(booking.legs):
            for start, _ in leg.spans:
                gone = delete(tx, (leg.resource, start, booking.id, number))
                assert gone, "an allocation is voided once"
