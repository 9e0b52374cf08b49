"""A store with bookings and a clock that tests set."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.store.helpers import SMALL
from walnut.booking import Booking, Bookings, Exclusive, Resource, Time
from walnut.jobs import Jobs
from walnut.store import Meta, Store
from walnut.testing.booking_checks import History, check_tables

START = dt.datetime(2030, 5, 1, 8, tzinfo=dt.UTC)
"""When the tests begin: a Wednesday."""


class Clock:
    """Set by hand."""

    def __init__(self, now: dt.datetime = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return int(self.now.timestamp()) * 10**9 + self.now.microsecond * 1000

    def forward(self, **amount: float) -> None:
        self.now += dt.timedelta(**amount)


class Office:
    """Bookings, as a test wants them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.jobs = Jobs(store)
        self.bookings = Bookings(store, self.jobs)
        self.call = store.call

    def add(self, *resources: Resource) -> None:
        for resource in resources:
            self.store.call(self.bookings.add, resource)

    def get(self, booking: Booking) -> Booking:
        return self.bookings.get(self.store, booking.id)

    def once(self, key: str) -> Store:
        return self.store.by(Meta("tester", key=key))  # type: ignore[return-value]

    def fire(self) -> None:
        """What is due by now happens, as jobs would do it."""
        timers = self.jobs._timers
        now = self.clock()
        while due := timers.due(self.store, 0, now, 256):
            self.store.call(timers.fire, due)

    def check(self) -> History:
        """Held against its own log."""
        history = History(promised)
        history.follow(self.store.changes())
        check_tables(history, self.bookings, self.store, promised)
        return history


def promised(holds: bool, broken: str) -> None:  # noqa: FBT001
    assert holds, broken


@contextmanager
def office(path: Path, now: dt.datetime = START) -> Iterator[Office]:
    clock = Clock(now)
    log = msgspec.structs.replace(SMALL.log, clock=clock)
    with Store(path / "data", msgspec.structs.replace(SMALL, log=log)) as store:
        opened = Office(store, clock)
        yield opened
        opened.check()


def at(text: str) -> dt.datetime:
    """A moment in UTC, on the first of May 2030 if only the time is given."""
    if len(text) <= 5:
        text = f"2030-05-01T{text}"
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def fill(store: Store) -> None:
    """A room that is booked twice in May 2030, as commands meet it: the clock of the store is real."""
    bookings = Bookings(store, Jobs(store))
    horizon = 10 * 366 * 86_400
    room = Resource(id="room", kind=Exclusive(), zone="Europe/Berlin", horizon=horizon)
    store.call(bookings.add, room)
    for day in (2, 4):
        start = dt.datetime(2030, 5, day, 10)  # noqa: DTZ001  on the wall
        want = Time("room", start, start + dt.timedelta(hours=1))
        store.by(Meta("ann", "by phone")).call(bookings.book, want)
