"""The types of booking: resources of four kinds, what is wanted of them, and bookings. No I/O.

    Resource ── kind: Exclusive | Pool | Nightly | SeatMap
    Want     ── Time | Nights | Seats                      what a caller asks for
    Booking  ── legs ── spans on the line of a resource     what a caller got

Every resource is a line, and what is booked of it are spans on that line: microseconds since 1970 in
UTC for what is booked by time, the same without a zone for nights (a night is the day of its date), and
a place in the house for seats.

What must stay true: intervals are half open; a moment is microseconds since 1970 in UTC; money is whole
cents of one currency.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, TypeAlias

import msgspec

from walnut.booking.states import State

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
DAY: Final = 86_400 * SECOND
"""Microseconds."""

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
EPOCH_DAY: Final = EPOCH.toordinal()
_MICROSECOND: Final = dt.timedelta(microseconds=1)

SEATS_IN_ROW: Final = 1024
"""Seats a row may have, and one more to keep rows apart; the width of a page of a seat map."""


def micros(when: dt.datetime) -> int:
    """An aware moment as a number."""
    return (when - EPOCH) // _MICROSECOND


def moment(at: int) -> dt.datetime:
    """A number as a moment in UTC."""
    return EPOCH + at * _MICROSECOND


# -- resources ----------------------------------------------------------------------------------


class Exclusive(msgspec.Struct, frozen=True, tag="exclusive"):
    """One at a time: a room, a doctor, a car. `before` and `after` are seconds around each booking in
    which nobody else can have it either; those of two neighbours do not overlap."""

    before: int = 0
    after: int = 0


class Pool(msgspec.Struct, frozen=True, tag="pool"):
    """So many at a time: a class with 20 places, 12 cars of one sort. `overbook`: percent more that are
    sold, as some never come. `before` and `after` as of `Exclusive`."""

    capacity: int
    overbook: int = 0
    before: int = 0
    after: int = 0


class Nightly(msgspec.Struct, frozen=True, tag="nightly"):
    """A room type of a hotel: so many rooms each night. `overbook`: percent more that are sold, and
    `walk_cents` what it costs to find a guest a room elsewhere."""

    rooms: int
    overbook: int = 0
    walk_cents: int = 0
    check_in: str = "15:00"
    check_out: str = "11:00"


class SeatRow(msgspec.Struct, frozen=True):
    """A row of seats that are next to one another, by their names."""

    name: str
    zone: str
    seats: list[str]


class SeatMap(msgspec.Struct, frozen=True, tag="seats"):
    """The seats of one event, rows from the best to the worst. `prices`: cents by zone."""

    start: dt.datetime
    end: dt.datetime
    rows: list[SeatRow]
    prices: dict[str, int] = {}


Kind: TypeAlias = Exclusive | Pool | Nightly | SeatMap


class Fee(msgspec.Struct, frozen=True):
    """A cancellation less than `hours` before the start costs `percent` of the price."""

    hours: int
    percent: int


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a booking costs if it does not happen; frozen into it when it is made.

    Attributes:
        fees: the one with the fewest hours that still applies counts; cancelling is free before all.
        no_show: percent of the price.
        deposit: percent of the price that is to be captured on confirming; the rest comes later.
    """

    fees: list[Fee] = []
    no_show: int = 100
    deposit: int = 100


class Quota(msgspec.Struct, frozen=True):
    """What one customer may have of resources that say so: holds at a time, and bookings ahead that
    are confirmed. 0 is no limit."""

    holds: int = 0
    bookings: int = 0


class Opening(msgspec.Struct, frozen=True):
    """Open from each occurrence of a rule of RFC 5545, on the wall of the resource, for `minutes`."""

    rule: str
    start: dt.datetime
    minutes: int


class Resource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that can be booked.

    Attributes:
        id: of your choosing. kind: how it is booked.
        zone: an IANA name; local times and dates are in it.
        hours: when it is open, such as "Mo-Fr 09:00-12:00,13:00-17:00; Sa 10:00-14:00"; empty: always.
        special: the hours of single dates, "09:00-12:00" or "closed", by ISO date.
        openings: further times, by rules.
        lead, horizon: seconds from now to the earliest and the latest start.
        shortest, longest, grid: seconds that a booking may take; starts and ends are on the grid,
            which begins at midnight on the wall. For nights: `shortest` and `longest` are nights.
        hold, hold_most: seconds until a hold expires, and until which it can be extended.
        price, per_hour: cents a unit, for each booking and for each hour of it.
        currency, terms, quota: see there.
        single_seats: whether a booking may leave a single seat free between others.
        offer: seconds for which something that became free is held for whoever waits for it.
        version: counts its changes.
    """

    id: str
    kind: Kind
    zone: str = "UTC"
    hours: str = ""
    special: dict[str, str] = {}
    openings: list[Opening] = []
    lead: int = 0
    horizon: int = 2 * 366 * 86_400
    shortest: int = 1
    longest: int = 31 * 86_400
    grid: int = 60
    hold: int = 600
    hold_most: int = 3600
    price: int = 0
    per_hour: int = 0
    currency: str = "EUR"
    terms: Terms = msgspec.field(default_factory=Terms)
    quota: Quota = Quota()
    single_seats: bool = True
    offer: int = 900
    version: int = 1


class Page(msgspec.Struct, array_like=True, gc=False):
    """What is used on one page of a resource's line: see `steps`."""

    resource: str
    number: int
    times: bytes
    levels: bytes


# -- what is wanted -----------------------------------------------------------------------------


class Time(msgspec.Struct, frozen=True, tag="time"):
    """A resource from `start` up to `end`. Without a zone they are on the wall of the resource.

    `resource`: or a list of them, of which the first that can be had is taken."""

    resource: str | list[str]
    start: dt.datetime
    end: dt.datetime
    units: int = 1


class Nights(msgspec.Struct, frozen=True, tag="nights"):
    """Rooms for the nights from `arrive` to `depart`, at a rate; an empty one is the resource's own
    price."""

    resource: str | list[str]
    arrive: dt.date
    depart: dt.date
    units: int = 1
    rate: str = ""


class Seats(msgspec.Struct, frozen=True, tag="seats"):
    """Seats of an event: those named ("A/12"), or the `best` so many next to one another, in a zone or
    in any. `singles`: whether a single seat may be left free; None is as the resource has it."""

    resource: str | list[str]
    seats: list[str] = []
    best: int = 0
    zone: str = ""
    singles: bool | None = None


Want: TypeAlias = Time | Nights | Seats


# -- bookings -----------------------------------------------------------------------------------


class Leg(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a booking: what it has of one resource.

    Attributes:
        start, end: moments. spans: on the resource's line, buffers included.
        wall, zone: the start on the wall, and which wall.
        price: cents. seats: their names. rate: of nights.
    """

    resource: str
    start: int
    end: int
    spans: list[tuple[int, int]]
    wall: str
    zone: str
    units: int = 1
    price: int = 0
    seats: list[str] = []
    rate: str = ""


class Booking(msgspec.Struct, omit_defaults=True):
    """Somebody's claim to something.

    Attributes:
        version: counts its changes: the ETag of who changes it.
        deadline: moment at which it expires, of a quote or a hold.
        made: moment at which it was held, booked or quoted. quoted: moment of the quote that became it.
        changed: moment of the last change. lsn: of that, too.
        price, currency, terms: as they were when it was made.
        fee: cents that are due although it was cancelled, or nobody came.
        tzdata: version of the time zone database that its local times were read with.
        waited: id of the entry in a waitlist that it is offered to.
        series: id of the series it belongs to.
    """

    id: str
    state: State
    legs: list[Leg]
    made: int
    changed: int
    lsn: int
    customer: str = ""
    version: int = 1
    deadline: int = 0
    price: int = 0
    currency: str = "EUR"
    terms: Terms = msgspec.field(default_factory=Terms)
    fee: int = 0
    quoted: int = 0
    tzdata: str = ""
    waited: str = ""
    series: str = ""
    note: str = ""

    @property
    def start(self) -> dt.datetime:
        """When its first leg begins, in UTC."""
        return moment(min(leg.start for leg in self.legs))

    @property
    def end(self) -> dt.datetime:
        """When its last leg ends, in UTC."""
        return moment(max(leg.end for leg in self.legs))

    @property
    def expires(self) -> dt.datetime | None:
        """When a quote or a hold does."""
        return moment(self.deadline) if self.deadline else None


class Allocation(msgspec.Struct, array_like=True, gc=False):
    """A span of a resource's line that a leg of a booking has. Its row is there while the booking
    consumes: pending while that is held, posted once it is confirmed, voided when it goes. As the
    booking's state tells which, nothing is written here when it is confirmed."""

    resource: str
    start: int
    booking: str
    leg: int
    end: int
    units: int


class Deadline(msgspec.Struct, array_like=True, gc=False):
    """A quote or a hold that expires then."""

    at: int
    booking: str


class Tick(msgspec.Struct, array_like=True, gc=False):
    """A timer is set for this second since 1970."""

    second: int


class Owned(msgspec.Struct, array_like=True, gc=False):
    """A booking of a customer, by when it begins."""

    customer: str
    start: int
    booking: str


class Night(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is special about one night of a room type: of the type itself (rate ""), or of one rate.

    Attributes:
        rooms: there are so many of them; of the type alone.
        price: cents a room; of a rate, or of the type's own price.
        stop: nothing is sold. no_arrival, no_departure: nobody may arrive or depart on this date.
        shortest, longest: nights of a stay that arrives on this date.
    """

    resource: str
    rate: str = ""
    date: dt.date
    rooms: int | None = None
    price: int | None = None
    stop: bool = False
    no_arrival: bool = False
    no_departure: bool = False
    shortest: int = 1
    longest: int = 366
