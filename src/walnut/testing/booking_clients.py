"""The clients of booking's simulator: all that anybody may ask, at random, and what they are told.

What must stay true: a client knows only what it was told. Who was not answered asks again under the same
key, perhaps of the next process.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from walnut.booking.bookings import Bookings
from walnut.booking.errors import BookingError, HoldExpired, Taken
from walnut.booking.model import (
    Booking,
    Exclusive,
    Fee,
    Nightly,
    Nights,
    Pool,
    Resource,
    SeatMap,
    SeatRow,
    Seats,
    Terms,
    Time,
    Want,
    moment,
)
from walnut.booking.queue import Position, Queue
from walnut.booking.series import SeriesBook
from walnut.booking.states import State
from walnut.booking.waitlist import Waitlist
from walnut.jobs.jobs import Jobs
from walnut.log.errors import LogClosed, LogFailed, LogFull
from walnut.store.errors import StoreClosed, TablesFailed
from walnut.store.record import Meta
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.testing.booking_around import RULE, WHOLE
from walnut.testing.disk import SimClock
from walnut.testing.loop import SimLoop
from walnut.testing.simulator import BrokenPromise

STEPS: Final = 25
"""Of a client in a round, at most."""
BEGIN: Final = dt.datetime(2001, 9, 10, tzinfo=dt.UTC)
"""A day after the simulated clock begins."""
HOLD: Final = 4
TERMS: Final = Terms(fees=[Fee(hours=22, percent=50), Fee(hours=28, percent=10)], deposit=30)
"""Of the cars, which cost something: those who cancel pay nothing, a part of the deposit, or more."""
SALES: Final = 3
ROWS: Final = [SeatRow(name, name, [str(seat) for seat in range(6)]) for name in "AB"]
RESOURCES: Final = [
    Resource(id="room", kind=Exclusive(before=300, after=600), hold=HOLD, hold_most=12, offer=3),
    Resource(id="desk", kind=Exclusive(), hold=HOLD, hold_most=12, offer=3),
    Resource(
        id="cars",
        kind=Pool(3, overbook=34),
        hold=HOLD,
        hold_most=12,
        offer=3,
        price=500,
        per_hour=300,
        terms=TERMS,
    ),
    Resource(id="double", kind=Nightly(rooms=2), hold=HOLD, hold_most=12, offer=3),
    Resource(
        id="show",
        kind=SeatMap(BEGIN + dt.timedelta(days=30), BEGIN + dt.timedelta(days=31), ROWS),
        hold=HOLD,
        hold_most=12,
        offer=3,
        single_seats=False,
    ),
]
"""Few, and small, so that clients are in one another's way."""


class Clients:
    """What clients do, and what they were told.

    Attributes:
        turns: who was let in to which sale, and when.
        told: of bookings, the newest version and state that somebody was told.
        answers: what was answered to those who asked under a key.
        open_keys: keys of those who were not answered, and what they want.
    """

    def __init__(self, rng: random.Random, clock: SimClock) -> None:
        self.rng = rng
        self.clock = clock
        self.counts: Counter[str] = Counter()
        self.trace: list[str] | None = None
        self.broken: list[str] = []
        self.told: dict[str, tuple[int, State]] = {}
        self.answers: dict[str, str] = {}
        self.open_keys: dict[str, list[Want]] = {}
        self.known: list[Booking] = []
        self._keys = 0
        self.store: Store
        self.jobs: Jobs
        self.bookings: Bookings
        self.waitlist: Waitlist
        self.series: SeriesBook
        self.queue: Queue
        self.turns: list[tuple[str, str, int]] = []
        self.loop: SimLoop

    def promise(self, holds: bool, broken: str) -> None:  # noqa: FBT001  reads as a sentence
        """Raise BrokenPromise unless it holds, and remember it, whoever catches that."""
        if not holds:
            self.broken.append(broken)
            raise BrokenPromise(broken)

    def note(self, text: str) -> None:
        """A line for the trace."""
        if self.trace is not None:
            self.trace.append(text)

    async def client(self) -> None:
        """Take a few steps at random, some time apart; end if the store does."""
        rng = self.rng
        for _ in range(rng.randrange(STEPS)):
            await asyncio.sleep(rng.random() ** 3 * 2)
            step = rng.choices(STEP_NAMES, STEP_WEIGHTS)[0]
            self.counts["steps"] += 1
            self.note(f"   {step}")
            try:
                await getattr(self, "_" + step)()
            except LogFull:
                self.counts["full"] += 1
            except (LogFailed, LogClosed, StoreClosed, TablesFailed):
                self.counts["failed"] += 1
                return
            except BookingError as error:
                self.counts[f"refused: {error.kind}"] += 1
            if self.broken:
                return

    # -- asking ---------------------------------------------------------------------------------

    async def _ask(self, function: Callable[..., Booking], *args: Any, **options: Any) -> Booking:
        """Ask, alone or together with others, and remember what was told."""
        if self.rng.random() < 0.5:
            booking = await self.store.run(function, *args, **options)
        else:
            booking = await self.bookings.submit(function, *args, **options)
        self._learn(booking)
        return booking

    def _learn(self, booking: Booking) -> None:
        version, _ = self.told.get(booking.id, (0, None))
        if booking.version > version:
            self.told[booking.id] = booking.version, booking.state
        self.known.append(booking)
        self.counts[f"told: {booking.state.name.lower()}"] += 1

    def _some(self) -> Booking:
        """A booking that is known, rather a recent one that may still be going on."""
        recent = self.known[-12:]
        living = [one for one in recent if self.told[one.id][1] in {State.HELD, State.CONFIRMED}]
        if not recent:
            raise BookingError("there is none yet")
        return self.rng.choice(living if living and self.rng.random() < 0.9 else recent)

    def _want(self) -> Want:
        rng = self.rng
        kind = rng.choice(["room", "desk", "any", "cars", "double", "show"])
        if kind == "double":
            arrive = BEGIN.date() + dt.timedelta(days=rng.randrange(4))
            return Nights(kind, arrive, arrive + dt.timedelta(days=rng.randrange(1, 4)))
        if kind == "show":
            if rng.random() < 0.5:
                return Seats(kind, best=rng.randrange(1, 4), singles=rng.choice([None, True]))
            row = rng.choice("AB")
            seats = [f"{row}/{seat}" for seat in rng.sample(range(6), rng.randrange(1, 3))]
            return Seats(kind, seats, singles=True)
        start = BEGIN + dt.timedelta(hours=rng.randrange(20, 28))  # around midnight
        end = start + dt.timedelta(hours=rng.choice([1, 1, 2, 30]))
        units = rng.randrange(1, 3) if kind == "cars" else 1
        return Time(["room", "desk"] if kind == "any" else kind, start, end, units)

    def _wants(self) -> list[Want]:
        return [self._want() for _ in range(self.rng.choice([1, 1, 1, 2]))]

    # -- what clients do ------------------------------------------------------------------------

    async def _hold(self) -> None:
        await self._ask(self.bookings.hold, self._wants(), customer=self.rng.choice("abc"))

    async def _book(self) -> None:
        await self._ask(self.bookings.book, self._wants())

    async def _hold_once(self) -> None:
        """Under a key: one that was asked before and not answered, or a new one; perhaps twice."""
        rng = self.rng
        if self.open_keys and rng.random() < 0.7:
            key = rng.choice(sorted(self.open_keys))
            self.counts["asked again"] += 1
        else:
            self._keys += 1
            key = f"key {self._keys}"
            self.open_keys[key] = self._wants()
        wants = self.open_keys[key]
        caller = self.store.by(Meta("client", key=key))
        asked = [
            caller.run(self.bookings.hold, wants, note=key) for _ in range(rng.choice([1, 1, 2]))
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        held = [answer for answer in answers if isinstance(answer, Booking)]
        for booking in held:
            self.promise(
                self.answers.setdefault(key, booking.id) == booking.id,
                f"key {key} was answered with {booking.id} and with {self.answers[key]}",
            )
            self._learn(booking)
        if held:
            self.open_keys.pop(key, None)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _confirm(self) -> None:
        booking = self._some()
        try:
            await self._ask(self.bookings.confirm, booking.id)
        except HoldExpired as expired:
            self.counts["expired, and still free" if expired.still_free else "expired"] += 1

    async def _confirm_at_the_deadline(self) -> None:
        """As the timer fires, or a moment before or after."""
        booking = self._some()
        if booking.deadline:
            now = self.clock.now / 1e3
            wait = (booking.deadline - now) / 1e6 + self.rng.choice([-1e-5, 0, 0, 1e-6, 0.3])
            await asyncio.sleep(max(0.0, wait))
            self.counts["at the deadline"] += 1
        await self._confirm()

    async def _extend(self) -> None:
        await self._ask(self.bookings.extend, self._some().id, self.rng.randrange(1, 8))

    async def _change(self) -> None:
        booking = self._some()
        version = self.rng.choice([None, booking.version])
        changed = await self._ask(self.bookings.change, booking.id, self._wants(), version=version)
        self.promise(
            version in {None, changed.version - 1},
            f"{booking.id} was changed from version {version} to {changed.version}",
        )

    async def _cancel(self) -> None:
        await self._ask(self.bookings.cancel, self._some().id)

    async def _check_in(self) -> None:
        await self._ask(self.bookings.check_in, self._some().id)

    async def _quote(self) -> None:
        wants = self._wants()
        quoted = await self._ask(self.bookings.quote, wants, seconds=3)
        await asyncio.sleep(self.rng.random() * 4)
        await self._ask(self.bookings.hold_quoted, quoted.id, wants)

    async def _search_and_hold(self) -> None:
        """What is said to be free can be had, unless something came since."""
        start = BEGIN + dt.timedelta(hours=20)
        found = self.bookings.search.slots(
            self.store, ["room", "desk"], start, start + dt.timedelta(hours=12),
            dt.timedelta(hours=1), now=moment(self.clock.now // 1000), step=dt.timedelta(minutes=10),
        )  # fmt: skip
        if found.items:
            slot = self.rng.choice(found.items)
            want = Time(slot.resource, slot.start, slot.end)
            try:
                await self._ask(self.bookings.hold, want, seen=found.lsn)
            except Taken as taken:
                since = any(one.since for one in taken.blockers)
                self.promise(since, f"{slot} was free at LSN {found.lsn}, and is not: {taken}")

    async def _wait_in_line(self) -> None:
        await self.store.run(self.waitlist.join, self._wants(), weight=self.rng.choice([0, 0, 5]))
        self.counts["waiting"] += 1

    async def _take_offer(self) -> None:
        """Whoever looks finds what is offered."""
        rows = list(self.waitlist.entries.scan(self.store))
        offered = [row.offer for row in rows if row.offer]
        if offered:
            function = self.rng.choice([self.bookings.confirm, self.bookings.cancel])
            await self._ask(function, self.rng.choice(offered))
            self.counts["offers taken or refused"] += 1

    async def _book_series(self) -> None:
        """Whole, or as far as can be; cancel what there is of it, now and then."""
        rng = self.rng
        start = BEGIN + dt.timedelta(hours=rng.randrange(20, 28))
        want = Time(rng.choice(["desk", "cars"]), start, start + dt.timedelta(hours=1))
        customer = rng.choice([WHOLE, "anything"])
        booked = await self.store.run(
            self.series.book, want, RULE, customer=customer, as_far_as_can_be=customer != WHOLE
        )
        self.counts["series"] += 1
        self.counts["series, with refusals"] += bool(booked.refused)
        if rng.random() < 0.5:
            await self.store.run(self.series.cancel, booked.series.id)

    async def _come_to_a_sale(self) -> None:
        """Announce one, or stand in line and go in when it is one's turn."""
        rng = self.rng
        sale, who = f"sale {rng.randrange(SALES)}", f"fan {rng.randrange(8)}"
        if self.queue.sales.get(self.store, sale) is None:
            opens = moment(self.clock.now // 1000 + rng.randrange(4_000_000))
            await self.store.run(self.queue.add, sale, opens, per_minute=60, at_once=1, stay=3)
            return
        position: Position = await self.store.run(self.queue.enter, sale, who)
        self.counts["stood in line"] += 1
        if not position.token:
            await asyncio.sleep(rng.random() * 4)
            position = self.queue.position(self.store, sale, who, moment(self.clock.now // 1000))

        def go_in(tx: Transaction) -> int:
            self.queue.check(tx, position.token, tx.now)
            return tx.time

        if position.token:
            time = await self.store.run(go_in)
            self.turns.append((sale, who, time))
            self.counts["let in"] += 1

    async def _jump(self) -> None:
        """The clock is set."""
        self.clock.now += int(self.rng.choice([-5.0, 0.5, 4.0, 60.0]) * 1e9)
        self.counts["clock jumps"] += 1


STEPS_AND_WEIGHTS: Final = {
    "hold": 10, "book": 3, "hold_once": 6, "confirm": 6, "confirm_at_the_deadline": 5, "extend": 2,
    "change": 4, "cancel": 4, "check_in": 1, "quote": 1, "search_and_hold": 3, "wait_in_line": 5,
    "take_offer": 3, "book_series": 2, "come_to_a_sale": 4, "jump": 1,
}  # fmt: skip
STEP_NAMES: Final = list(STEPS_AND_WEIGHTS)
STEP_WEIGHTS: Final = list(STEPS_AND_WEIGHTS.values())
