"""The same again and again: bookings by a rule of RFC 5545.

    "FREQ=WEEKLY;COUNT=10" from Monday 9:00 ─▶ 9:00 on the wall of the resource, on ten Mondays

The rule is kept with the series; each occurrence is a booking of its own, which can be changed or
cancelled like any other. Where a clock shows no such time, or shows it twice, an occurrence is where
RFC 5545 has it: as late after the gap as it lies in it, and the first time of the two.

What must stay true: a series is booked as a whole or not at all; or, if whoever asks says so, as far as
can be, with the name of each refusal. Never in part and in silence.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from walnut.booking.bookings import Bookings
from walnut.booking.errors import InvalidWant, Unavailable, UnknownSeries
from walnut.booking.model import Booking, Time, micros, moment
from walnut.booking.planning import MOST_WANTS, Plan
from walnut.booking.states import State
from walnut.booking.walls import on_wall, resolve, zone_of
from walnut.jobs.errors import JobsError
from walnut.jobs.recurrence import Rule, following
from walnut.store.transaction import Reader, Transaction

MOST_OCCURRENCES: Final = MOST_WANTS
"""Of a series: all are decided in one transaction. Somebody who wants more makes another series."""


class Series(msgspec.Struct):
    """A rule, and what was booked by it.

    Attributes:
        rule: as it was given. start: of the first occurrence, on the wall in `zone`.
        bookings: ids, by when they begin.
    """

    id: str
    resource: str
    rule: str
    start: dt.datetime
    zone: str
    customer: str
    bookings: list[str]


class Refusal(msgspec.Struct, frozen=True):
    """An occurrence that could not be had: when, which error (`BookingError.kind`), and its words."""

    start: dt.datetime
    kind: str
    text: str


class Booked(msgspec.Struct, frozen=True):
    """A series that was booked, and what of it could not be."""

    series: Series
    refused: list[Refusal]


class SeriesBook:
    """Series of bookings."""

    def __init__(self, bookings: Bookings) -> None:
        self._bookings = bookings
        self.table = bookings.store.table("booking.series", Series, key=lambda row: row.id)

    def book(
        self,
        tx: Transaction,
        want: Time,
        rule: str,
        *,
        customer: str = "",
        as_far_as_can_be: bool = False,
    ) -> Booked:
        """Book what is wanted at each occurrence of a rule, which begins at its start.

        Raises InvalidWant for a rule that makes no sense, has no occurrence, or more than
        `MOST_OCCURRENCES`; and as `Bookings.book`, of the first occurrence that can't be had, unless
        the others are wanted nonetheless."""
        if not isinstance(want.resource, str):
            raise InvalidWant("a series is of one resource: make one of each")
        wants = list(self.occurrences(tx, want, rule))
        plans, refused = self._plans(tx, wants, as_far_as_can_be=as_far_as_can_be)
        zone = self._bookings.resources.need(tx, want.resource).zone
        first = moment(resolve(want.start, zone_of(zone))).astimezone(zone_of(zone))
        id_ = tx.new_id().hex
        made = [
            self._bookings.begin(tx, plan, State.CONFIRMED, customer, 0, series=id_)
            for plan in plans
        ]
        series = Series(
            id_,
            want.resource,
            rule,
            first.replace(tzinfo=None),
            zone,
            customer,
            [booking.id for booking in made],
        )
        return Booked(self.table.put(tx, series), refused)

    def occurrences(self, reader: Reader, want: Time, rule: str) -> Iterator[Time]:
        """What is wanted, at each occurrence. Raises InvalidWant, UnknownResource."""
        assert isinstance(want.resource, str)
        zone = zone_of(self._bookings.resources.need(reader, want.resource).zone)
        start, length = (
            resolve(want.start, zone),
            resolve(want.end, zone) - resolve(want.start, zone),
        )
        step = dt.timedelta(microseconds=length)
        wall = dt.datetime.fromisoformat(on_wall(start, zone))
        at = moment(start) - dt.timedelta(seconds=1)
        number = 0
        try:
            recurrence = Rule(rule, wall, zone.key)
            while (found := following(recurrence, at)) is not None:
                number += 1
                if number > MOST_OCCURRENCES:
                    raise InvalidWant(
                        f"{rule!r} has more than {MOST_OCCURRENCES} occurrences: say COUNT or UNTIL"
                    )
                at = found
                yield msgspec.structs.replace(want, start=at, end=at + step)
        except JobsError as error:
            raise InvalidWant(str(error)) from error
        if not number:
            raise InvalidWant(f"{rule!r} has no occurrence from {wall.isoformat()} on")

    def _plans(
        self, tx: Transaction, wants: Sequence[Time], *, as_far_as_can_be: bool
    ) -> tuple[list[Plan], list[Refusal]]:
        """A plan for each occurrence, all on one draft."""
        planner = self._bookings.planner
        refused: list[Refusal] = []
        if as_far_as_can_be:
            possible: list[Time] = []
            for want in wants:
                try:
                    planner.plan(tx, [*possible, want])
                except Unavailable as error:
                    refused.append(Refusal(want.start, error.kind, str(error)))
                else:
                    possible.append(want)
            if not possible:
                raise Unavailable(f"none of {len(wants)} occurrences can be had: {refused[0].text}")
            wants = possible
        whole = planner.plan(tx, wants)
        return [
            Plan(whole.draft, [leg], [resource])
            for leg, resource in zip(whole.legs, whole.resources, strict=True)
        ], refused

    def cancel(self, tx: Transaction, id_: str, *, customer: str | None = None) -> list[Booking]:
        """Cancel what is confirmed of a series and has not begun; returns it.

        Raises UnknownSeries, NotYours."""
        series = self.get(tx, id_)
        ended: list[Booking] = []
        for booking_id in series.bookings:
            booking = self._bookings.get(tx, booking_id)
            if booking.state is State.CONFIRMED and booking.start > tx.now:
                ended.append(self._bookings.cancel(tx, booking_id, customer=customer))
        return ended

    def get(self, reader: Reader, id_: str) -> Series:
        """A series. Raises UnknownSeries."""
        series = self.table.get(reader, id_)
        if series is None:
            raise UnknownSeries(f"there is no series {id_!r}")
        return series


class Drift(msgspec.Struct, frozen=True):
    """A booking whose time on the wall is another moment by today's time zone database."""

    booking: str
    wall: str
    zone: str
    was: dt.datetime
    would_be: dt.datetime
    tzdata: str


def drifted(bookings: Bookings, reader: Reader, now: dt.datetime) -> Iterator[Drift]:
    """Bookings ahead that would be at another moment if they were read from the wall today: what to
    look through after an update of the time zone database. Reads all bookings."""
    for booking in bookings.table.scan(reader):
        if not booking.state.consumes or booking.start <= now:
            continue
        for leg in booking.legs:
            zone = zone_of(leg.zone)
            wall = dt.datetime.fromisoformat(leg.wall)
            # On the clocks twice, or in a gap: both readings are what was said.
            readings = [micros(wall.replace(tzinfo=zone, fold=fold)) for fold in (0, 1)]
            if leg.start not in readings:
                would_be = moment(readings[0])
                yield Drift(
                    booking.id, leg.wall, leg.zone, moment(leg.start), would_be, booking.tzdata
                )
