"""What is free: times, nights, seats; and what is busy.

    open    ├────────────┤      ├───────────────────┤        of the hours
    free  ───────┤  ├─────────────────┤    ├─────────────    gaps of the calendar, buffers taken off
    slots   ├──┤     ├──┤       ├──┤       ├──┤├──┤          so long, on the grid

Whatever is read is of one moment, and says of which: its LSN goes with the answer, and a hold may name
it, so that a conflict can say what came since.

What must stay true: what is said to be free can be held at that LSN. (A hold that is overdue and not
ended yet counts as held here, and no longer for whoever asks for its place.)
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Final, Generic, TypeVar

import msgspec

from walnut.booking import nightly, timed
from walnut.booking.calendar import Calendar
from walnut.booking.errors import Alternative, InvalidWant
from walnut.booking.hours import always_open, open_between
from walnut.booking.model import (
    DAY,
    SEATS_IN_ROW,
    SECOND,
    Exclusive,
    Nightly,
    Nights,
    Pool,
    Resource,
    SeatMap,
    Seats,
    Time,
    Want,
    micros,
    moment,
)
from walnut.booking.resources import Resources
from walnut.booking.seating import name_of
from walnut.booking.steps import Steps
from walnut.booking.walls import at_wall, date_at, resolve, zone_of
from walnut.store.remote import StoreReader
from walnut.store.snapshot import Snapshot
from walnut.store.store import Store
from walnut.store.transaction import Reader, Transaction

Item = TypeVar("Item")

MOST_DAYS: Final = 366
"""Looked at in one search."""
MOST_SLOTS: Final = 10_000
"""Told by one search."""
NEAR_DAYS: Final = 7
NEAR_TOLD: Final = 3
"""So many alternatives, so many days on, are told with a conflict."""


class Slot(msgspec.Struct, frozen=True):
    """A time that is free."""

    resource: str
    start: dt.datetime
    end: dt.datetime


class FreeNight(msgspec.Struct, frozen=True):
    """A night of a room type: rooms that are left, cents for one, and the rules of this date, of the
    type and the rate together."""

    date: dt.date
    left: int
    price: int
    stop: bool
    no_arrival: bool
    no_departure: bool
    shortest: int
    longest: int


class FreeSeats(msgspec.Struct, frozen=True):
    """The seats of a row that are free, by name, and cents for each."""

    row: str
    zone: str
    price: int
    seats: list[str]


class Busy(msgspec.Struct, frozen=True):
    """A time at which nothing is left."""

    start: dt.datetime
    end: dt.datetime


class Found(msgspec.Struct, Generic[Item], frozen=True):
    """What was found, and the LSN at which it was so."""

    lsn: int
    items: list[Item]


class Search:
    """Reads the calendar. Every method takes what it reads through: a transaction, a snapshot, or the
    store, of which it then takes a snapshot."""

    def __init__(self, calendar: Calendar, resources: Resources) -> None:
        self._calendar = calendar
        self._resources = resources

    def slots(
        self,
        reader: Reader,
        resource: str | Sequence[str],
        start: dt.datetime,
        end: dt.datetime,
        length: dt.timedelta,
        *,
        now: dt.datetime,
        step: dt.timedelta | None = None,
        units: int = 1,
        limit: int = MOST_SLOTS,
    ) -> Found[Slot]:
        """Free times of this length that begin and end between `start` and `end`, of a resource or of
        several, by resource and then by time. `step`: between their starts, from midnight on the wall;
        by default the grid of the resource. `now`: for lead time and horizon.

        Raises UnknownResource, InvalidWant, NonexistentTime, AmbiguousTime."""
        found: list[Slot] = []
        with self._moment(reader) as (seen, lsn):
            for id_ in [resource] if isinstance(resource, str) else resource:
                one = self._resources.need(seen, id_)
                zone = zone_of(one.zone)
                span = resolve(start, zone), resolve(end, zone)
                _check_window(*span)
                grid = one.grid if step is None else int(step.total_seconds())
                seconds = int(length.total_seconds())
                if min(grid, seconds) < 1 or grid % one.grid or seconds % one.grid:
                    raise InvalidWant(
                        f"{id_} is booked in steps of {one.grid} s: a length and a step are multiples of "
                        "that"
                    )
                if not one.shortest <= seconds <= one.longest:
                    continue
                starts = self.starts(seen, one, span, seconds * SECOND, grid, units, now)
                found += [
                    Slot(id_, begin, begin + length)
                    for begin in map(moment, islice(starts, limit - len(found)))
                ]
            return Found(lsn, found)

    def starts(
        self,
        reader: Reader,
        resource: Resource,
        span: tuple[int, int],
        length: int,
        grid: int,
        units: int,
        now: dt.datetime,
    ) -> Iterator[int]:
        """The moments in a span at which something so long could begin."""
        kind = resource.kind
        if not isinstance(kind, Exclusive | Pool):
            raise InvalidWant(f"{resource.id} is not booked by time")
        before, after = kind.before * SECOND, kind.after * SECOND
        current = micros(now)
        first = max(span[0], current + resource.lead * SECOND)
        last = min(span[1], current + resource.horizon * SECOND + length)
        if last - first < length or units > timed.most_of(kind):
            return
        least = length + before + after
        opened = [(first, last)] if always_open(resource) else open_between(resource, first, last)
        at = 0
        gaps = self._calendar.gaps(
            reader,
            resource.id,
            DAY,
            (first - before, last + after),
            timed.most_of(kind) - units,
            least,
        )
        for begin, end in gaps:
            begin, end = begin + before, end - after  # noqa: PLW2901  the part that can be booked
            while at < len(opened) and opened[at][1] <= begin:
                at += 1
            for opens, closes in islice(opened, at, None):
                if opens >= end:
                    break
                yield from _on_grid(
                    resource, max(begin, opens), min(end, closes) - length, length, grid
                )

    def nights(
        self,
        reader: Reader,
        resource: str,
        first: dt.date,
        last: dt.date,
        *,
        rate: str = "",
    ) -> Found[FreeNight]:
        """The nights from `first` up to, not with, `last`. Raises UnknownResource, InvalidWant."""
        with self._moment(reader) as (seen, lsn):
            one = self._resources.need(seen, resource)
            kind = one.kind
            numbers = range(nightly.number_of(first), nightly.number_of(last))
            if not isinstance(kind, Nightly) or not 0 < len(numbers) <= MOST_DAYS:
                raise InvalidWant(f"{resource}: ask a room type for 1 to {MOST_DAYS} nights")
            inventory = self._resources.inventory
            of_type = inventory.nights(seen, resource, "", numbers)
            of_rate = inventory.nights(seen, resource, rate, numbers) if rate else of_type
            used = {
                number: steps.peak(0, DAY)
                for number, steps in self._calendar.steps(seen, resource, numbers)
            }
            return Found(
                lsn,
                [
                    FreeNight(
                        night.date,
                        max(0, nightly.most_of(kind, night) - used.get(number, 0)),
                        nightly.price_of(one, [night, night], [priced, priced]),
                        night.stop or priced.stop,
                        night.no_arrival or priced.no_arrival,
                        night.no_departure or priced.no_departure,
                        max(night.shortest, priced.shortest, one.shortest),
                        min(night.longest, priced.longest, one.longest),
                    )
                    for number, night, priced in zip(numbers, of_type, of_rate, strict=True)
                ],
            )

    def seats(self, reader: Reader, resource: str, *, zone: str = "") -> Found[FreeSeats]:
        """The free seats of an event, row by row. Raises UnknownResource, InvalidWant."""
        with self._moment(reader) as (seen, lsn):
            one = self._resources.need(seen, resource)
            kind = one.kind
            if not isinstance(kind, SeatMap):
                raise InvalidWant(f"{resource} has no seats")
            pages = dict(self._calendar.steps(seen, resource, range(len(kind.rows))))
            found: list[FreeSeats] = []
            for number, row in enumerate(kind.rows):
                if zone in {"", row.zone}:
                    gaps = pages.get(number, Steps()).gaps(0, len(row.seats), 0)
                    base = number * SEATS_IN_ROW
                    names = [
                        name_of(kind, base + at) for begin, end in gaps for at in range(begin, end)
                    ]
                    price = kind.prices.get(row.zone, one.price)
                    found.append(FreeSeats(row.name, row.zone, price, names))
            return Found(lsn, found)

    def busy(
        self, reader: Reader, resource: str, start: dt.datetime, end: dt.datetime
    ) -> Found[Busy]:
        """The times between `start` and `end` at which not one unit is left, because of bookings (and
        not of opening hours). Raises UnknownResource, InvalidWant."""
        with self._moment(reader) as (seen, lsn):
            one = self._resources.need(seen, resource)
            kind = one.kind
            if not isinstance(kind, Exclusive | Pool):
                raise InvalidWant(f"{resource} is not booked by time")
            zone = zone_of(one.zone)
            begin, stop = resolve(start, zone), resolve(end, zone)
            _check_window(begin, stop)
            found: list[Busy] = []
            most = timed.most_of(kind) - 1
            for opens, closes in self._calendar.gaps(seen, resource, DAY, (begin, stop), most):
                if opens > begin:
                    found.append(Busy(moment(begin), moment(opens)))
                begin = closes
            if begin < stop:
                found.append(Busy(moment(begin), moment(stop)))
            return Found(lsn, found)

    def near(self, tx: Transaction, resource: Resource, want: Want) -> list[Alternative]:
        """What is free instead of what can't be had: the next times as long, or nights as many."""
        if isinstance(want, Time):
            return self._near_in_time(tx, resource, want)
        if isinstance(want, Nights):
            return list(islice(self._near_nights(tx, resource, want), NEAR_TOLD))
        assert isinstance(want, Seats)
        return []  # the map shows them

    def _near_in_time(self, tx: Transaction, resource: Resource, want: Time) -> list[Alternative]:
        zone = zone_of(resource.zone)
        start, end = resolve(want.start, zone), resolve(want.end, zone)
        span = start, start + NEAR_DAYS * DAY
        length = end - start
        grid = max(resource.grid, length // SECOND)  # times that do not overlap one another
        starts = self.starts(
            tx, resource, span, length, _divisor(grid, resource.grid), want.units, tx.now
        )
        return [
            Alternative(
                resource.id,
                moment(at).isoformat(timespec="seconds"),
                moment(at + length).isoformat(timespec="seconds"),
            )
            for at in islice(starts, NEAR_TOLD)
        ]

    def _near_nights(
        self, tx: Transaction, resource: Resource, want: Nights
    ) -> Iterator[Alternative]:
        stay = want.depart - want.arrive
        first, last = want.arrive, want.depart + dt.timedelta(days=NEAR_DAYS)
        nights = self.nights(tx, resource.id, first, last, rate=want.rate).items
        for later in range(1, NEAR_DAYS):
            days = nights[later : later + stay.days]
            leaving = nights[later + stay.days]
            if (
                all(night.left >= want.units and not night.stop for night in days)
                and not days[0].no_arrival
                and not leaving.no_departure
                and days[0].shortest <= stay.days <= days[0].longest
            ):
                yield Alternative(resource.id, str(days[0].date), str(days[0].date + stay))

    def _moment(self, reader: Reader) -> AbstractContextManager[tuple[Reader, int]]:
        """One state to read, and its LSN."""
        if isinstance(reader, Store):
            snapshot = reader.snapshot()
            return nullcontext((snapshot, snapshot.lsn))
        if isinstance(reader, Transaction):
            return nullcontext((reader, reader.lsn - 1))
        if isinstance(reader, Snapshot | StoreReader):
            return nullcontext((reader, reader.lsn))
        raise TypeError(
            f"{reader!r} is not of one moment: give a transaction, a snapshot or the store"
        )


def _check_window(start: int, end: int) -> None:
    if not 0 < end - start <= MOST_DAYS * DAY:
        raise InvalidWant(
            f"a search goes from one moment to a later one, by up to {MOST_DAYS} days"
        )


def _divisor(wanted: int, grid: int) -> int:
    """The step at or after `wanted` that is a multiple of a grid and divides a day, or the grid."""
    fits = (step for step in range(wanted - wanted % -grid, 86_401, grid) if 86_400 % step == 0)
    return next(fits, grid)


def _on_grid(resource: Resource, first: int, last: int, length: int, grid: int) -> Iterator[int]:
    """Moments from `first` to, and with, `last` that are so many seconds from midnight on the wall."""
    if first > last:
        return
    step = grid * SECOND
    if timed.QUARTER % grid == 0:
        yield from range(first - first % -step, last + 1, step)
        return
    zone = zone_of(resource.zone)
    date, end = date_at(first, zone), date_at(last, zone)
    before = 0
    while date <= end:
        for seconds in range(0, 86_400, grid):
            at = at_wall(date, seconds, zone)
            if (
                max(first, before + 1) <= at <= last
                and timed.on_grid(resource, at)
                and timed.on_grid(resource, at + length)  # not if clocks change within it
            ):
                before = at
                yield at
        date += dt.timedelta(days=1)
