"""Bookings do what a list of bookings would do, whatever the order of things."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.booking.office import START, Clock, Office
from walnut.booking import Exclusive, Pool, Resource, State, Time
from walnut.booking.errors import BookingError, HoldExpired, Taken
from walnut.booking.steps import Steps
from walnut.log.model import LogOptions
from walnut.store import Store
from walnut.store.model import StoreOptions
from walnut.testing.disk import SimDisk
from walnut.testing.engine import OpenModel

BUFFER = 10
"""Minutes before and after bookings of the room."""
ROOM = Resource(id="room", kind=Exclusive(before=60 * BUFFER, after=60 * BUFFER), hold=600)
CARS = Resource(id="cars", kind=Pool(3), hold=600)
BASE = START + dt.timedelta(days=1, hours=-2)
"""So that bookings lie across midnight in UTC, where pages meet."""
spans = st.tuples(st.integers(0, 1500), st.integers(1, 400)).map(lambda s: (s[0], s[0] + s[1]))


class Entry(msgspec.Struct):
    """A booking in the list; times in minutes."""

    id: str
    resource: str
    start: int
    stop: int
    units: int
    held: bool
    deadline: dt.datetime


class Machine(RuleBasedStateMachine):
    """The same is done to both."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        log = LogOptions(
            background=False, disk=SimDisk(1), clock=self.clock, segment_bytes=1 << 20
        )  # small, as a life leaves its disk behind
        options = StoreOptions(log=log, engine=OpenModel(1, 0.0), window_seconds=None)
        self.office = Office(Store("sim/booking", options), self.clock)
        self.office.add(ROOM, CARS)
        self.list: list[Entry] = []

    def teardown(self) -> None:
        if hasattr(self, "office"):
            self.office.check()
            self.office.store.close()

    # -- the list -------------------------------------------------------------------------------

    def living(self, but: str = "") -> list[Entry]:
        now = self.clock.now
        return [
            one for one in self.list if one.id != but and not (one.held and one.deadline <= now)
        ]

    def fits(self, resource: str, start: int, stop: int, units: int, but: str = "") -> bool:
        around = BUFFER if resource == "room" else 0
        others = [
            one
            for one in self.living(but)
            if one.resource == resource
            and one.start - around < stop + around
            and start - around < one.stop + around
        ]
        most = 1 if resource == "room" else 3
        return all(
            units
            + sum(
                one.units
                for one in others
                if one.start - around <= at < one.stop + around
            )
            <= most
            for at in range(start - around, stop + around)
        )  # fmt: skip

    def want(self, resource: str, span: tuple[int, int], units: int) -> Time:
        start, stop = (BASE + dt.timedelta(minutes=at) for at in span)
        return Time(resource, start, stop, units)

    # -- what is done ---------------------------------------------------------------------------

    @rule(room=st.booleans(), span=spans, units=st.integers(1, 3), book=st.booleans())
    def take(self, *, room: bool, span: tuple[int, int], units: int, book: bool) -> None:
        resource, units = ("room", 1) if room else ("cars", units)
        bookings = self.office.bookings
        function = bookings.book if book else bookings.hold
        fits = self.fits(resource, *span, units)
        try:
            made = self.office.store.call(function, self.want(resource, span, units))
        except Taken as taken:
            assert not fits
            for one in taken.instead:
                start, stop = (
                    int((dt.datetime.fromisoformat(text) - BASE).total_seconds() // 60)
                    for text in (one.start, one.end)
                )
                assert self.fits(resource, start, stop, units), "what is offered instead is free"
        else:
            assert fits
            deadline = self.clock.now + dt.timedelta(minutes=10)
            self.list.append(Entry(made.id, resource, *span, units, not book, deadline))

    @precondition(lambda self: self.list)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.list))
        alive = one.held and one.deadline > self.clock.now
        try:
            self.office.call(self.office.bookings.confirm, one.id)
        except HoldExpired:
            assert one.held
            assert not alive
        except BookingError:
            assert not one.held
        else:
            assert alive
            one.held = False

    @precondition(lambda self: self.list)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.list))
        with suppress(BookingError):
            self.office.call(self.office.bookings.cancel, one.id)
            self.list.remove(one)

    @precondition(lambda self: self.list)
    @rule(data=st.data(), span=spans)
    def change(self, data: st.DataObject, span: tuple[int, int]) -> None:
        one = data.draw(st.sampled_from(self.list))
        fits = self.fits(one.resource, *span, one.units, one.id)
        try:
            self.office.call(
                self.office.bookings.change, one.id, self.want(one.resource, span, one.units)
            )
        except Taken:
            assert not fits
        except BookingError:
            assert one.held
            assert one.deadline <= self.clock.now
        else:
            assert fits
            one.start, one.stop = span

    @rule(seconds=st.sampled_from([0, 1, 59, 60, 300, 599, 600]), fire=st.booleans())
    def wait(self, *, seconds: int, fire: bool) -> None:
        self.clock.forward(seconds=seconds)
        if fire:
            self.office.fire()
            states = {row.state for row in self.office.bookings.table.scan(self.office.store)
                      if row.deadline and row.expires and row.expires <= self.clock.now}  # fmt: skip
            assert not states
            self.list = self.living()

    @rule(span=spans, length=st.integers(1, 200), units=st.integers(1, 3))
    def search(self, span: tuple[int, int], length: int, units: int) -> None:
        self.office.fire()  # what is overdue counts until then
        self.list = self.living()
        for resource, wanted in (("room", 1), ("cars", units)):
            begin, end = (BASE + dt.timedelta(minutes=at) for at in span)
            found = self.office.bookings.search.slots(
                self.office.store,
                resource,
                begin,
                end,
                dt.timedelta(minutes=length),
                now=self.clock.now,
                step=dt.timedelta(minutes=5),
                units=wanted,
            )
            starts = [int((one.start - BASE).total_seconds() // 60) for one in found.items]
            fitting = range(span[0] + -span[0] % 5, span[1] - length + 1, 5)
            assert starts == [at for at in fitting if self.fits(resource, at, at + length, wanted)]

    @invariant()
    def bookings_are_those_of_the_list(self) -> None:
        if not hasattr(self, "office"):
            return
        rows = self.office.bookings.table.scan(self.office.store)
        having = {row.id: row.state for row in rows if row.state.consumes}
        for one in self.living():
            assert having[one.id] is (State.HELD if one.held else State.CONFIRMED)


def test_bookings_do_what_a_list_would_do() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(1, 3)), max_size=30),
    st.tuples(st.integers(0, 60), st.integers(1, 40)),
    st.integers(0, 4),
)
def test_steps_are_the_sum_of_what_was_added(
    added: list[tuple[int, int, int]], window: tuple[int, int], most: int
) -> None:
    steps = Steps()
    levels = [0] * 200
    for start, length, units in added:
        steps.add(start, start + length, units)
        for at in range(start, start + length):
            levels[at] += units
    steps = Steps(*steps.pack())
    start, stop = window[0], window[0] + window[1]
    assert steps.peak(start, stop) == max(levels[start:stop])
    free = [at for begin, end in steps.gaps(start, stop, most) for at in range(begin, end)]
    assert free == [at for at in range(start, stop) if levels[at] <= most]
    pairs = list(steps.gaps(start, stop, most))
    assert all(one[1] < other[0] for one, other in pairwise(pairs))
    for begin, length, units in added:
        steps.add(begin, begin + length, -units)
    assert steps.pack() == (b"", b"")


def test_the_pages_of_a_stored_calendar_stay_readable(tmp_path: Path) -> None:
    """As bytes: eight for each time and four for each level, the least first."""
    steps = Steps()
    steps.add(1, 258, 2)
    times, levels = steps.pack()
    assert times == bytes([1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0])
    assert levels == bytes([2, 0, 0, 0, 0, 0, 0, 0])
