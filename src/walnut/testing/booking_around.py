"""What must be true around bookings (payments, series, queues), found out by brute force from the log.

    log ─▶ payments by booking ─▶ after each transaction: is as much authorised, captured, given back as is due?
           series ─▶ whole, or as far as could be            sales ─▶ numbers in the order of the draw

What must stay true of the checker itself: what is due, who is in a series and who comes first is worked out
here from bookings and arrivals; no rule is taken from the modules that are checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from walnut.booking.model import Booking
from walnut.booking.payments import Ask, Payment
from walnut.booking.queue import Person, Sale
from walnut.booking.series import Series
from walnut.booking.states import State
from walnut.store.changes import Change
from walnut.testing.booking_checks import HAVING, Promise

OCCURRENCES: Final = 3
"""Of each series that clients of the simulator ask for."""
RULE: Final = f"FREQ=DAILY;COUNT={OCCURRENCES}"
WHOLE: Final = "whole"
"""The customer who wants a series whole; others take what can be had of it."""
OVER: Final = {State.NO_SHOW, State.CANCELLED, State.EXPIRED}


class Around:
    """Payments, series and sales as the log tells them."""

    def __init__(self, promise: Promise) -> None:
        self._promise = promise
        self._bookings: dict[str, Booking] = {}
        self._payments: dict[str, dict[int, Payment]] = {}
        self._members: dict[str, set[str]] = {}
        self.sales: dict[str, Sale] = {}
        self.people: dict[str, dict[str, Person]] = {}
        self._early: dict[str, set[str]] = {}

    def follow(self, changes: Iterable[Change]) -> None:
        """Take in what happened."""
        touched: set[str] = set()
        made: list[Series] = []
        lsn = 0
        for change in changes:
            if change.lsn != lsn:
                self._check(touched, made, lsn)
                touched, made, lsn = set(), [], change.lsn
            row = change.after
            if isinstance(row, Booking):
                self._bookings[row.id] = row
                touched.add(row.id)
                if row.series:
                    self._members.setdefault(row.series, set()).add(row.id)
            elif isinstance(row, Payment):
                self._payment(row, lsn)
                touched.add(row.booking)
            elif isinstance(row, Series):
                made.append(row)
            elif isinstance(row, Sale):
                self.sales[row.id] = row
            elif isinstance(row, Person):
                self._person(row, change)
        self._check(touched, made, lsn)

    def _check(self, touched: set[str], made: list[Series], lsn: int) -> None:
        for id_ in touched:
            self._settled(id_, lsn)
        for series in made:
            members = self._members.get(series.id, set())
            said = set(series.bookings)
            self._promise(
                members == said, f"series {series.id} has {members} and says {said}, LSN {lsn}"
            )
            whole = len(said) == OCCURRENCES
            self._promise(
                whole or (bool(said) and series.customer != WHOLE),
                f"of series {series.id} there are {len(said)}, LSN {lsn}",
            )

    # -- payments -------------------------------------------------------------------------------

    def _payment(self, row: Payment, lsn: int) -> None:
        mine = self._payments.setdefault(row.booking, {})
        old = mine.get(row.number)
        same = old is not None and (old.ask, old.cents) == (row.ask, row.cents)
        self._promise(
            same or row.number == len(mine) + 1,
            f"payment {row.key} became {row.ask} of {row.cents}, LSN {lsn}",
        )
        mine[row.number] = row

    def _settled(self, id_: str, lsn: int) -> None:
        """What is asked of the payment service is what the booking comes to, as it stands."""
        asked = self._payments.get(id_, {}).values()
        cents = {ask: sum(one.cents for one in asked if one.ask is ask) for ask in Ask}
        voids = sum(one.ask is Ask.VOID for one in asked)
        taken = cents[Ask.CAPTURE] - cents[Ask.REFUND]
        name = f"of booking {id_} at LSN {lsn}"
        booking = self._bookings.get(id_)
        self._promise(booking is not None, f"there are payments {name}, and no such booking")
        assert booking is not None
        promise, state = self._promise, booking.state
        promise(0 <= taken <= cents[Ask.AUTHORISE], f"{taken} cents {name} were never authorised")
        if state is State.QUOTED:
            promise(not asked, f"something is asked for a quote: {name}")
        elif state in HAVING:
            promise(cents[Ask.AUTHORISE] >= booking.price, f"too little is authorised {name}")
            least = 0 if state is State.HELD else booking.price * booking.terms.deposit // 100
            promise(taken >= least, f"the deposit {name} is not captured")
            promise(state is not State.HELD or not taken, f"captured, and only held: {name}")
            promise(not voids, f"void, and still there: {name}")
        elif asked:
            assert state in OVER
            promise(taken == booking.fee, f"{taken} cents {name} are kept, {booking.fee} are due")
            left = cents[Ask.AUTHORISE] > cents[Ask.CAPTURE]
            promise(voids == left, f"{voids} voids {name}, and {left} that something is left")

    # -- queues ---------------------------------------------------------------------------------

    def _person(self, row: Person, change: Change) -> None:
        sale = self.sales.get(row.sale)
        assert sale is not None, "a sale is there before those who come to it"
        people = self.people.setdefault(row.sale, {})
        old = people.get(row.who)
        promise, name = self._promise, f"{row.who} at sale {row.sale}, LSN {change.lsn}"
        opened = int(change.time.timestamp() * 1e6) >= sale.opens - 2  # of a float, the last digits
        if old is None and not row.number:
            self._early.setdefault(row.sale, set()).add(row.who)
        promise(opened or not row.number, f"{name} has number {row.number} before it opened")
        promise(
            old is None or not old.number or old.number == row.number,
            f"{name} had a number, and has {row.number}",
        )
        others = [one.number for one in people.values() if one.who != row.who]
        promise(not row.number or row.number not in others, f"{name} has another one's number")
        people[row.who] = row
        if old is None and row.number:
            promise(row.number == len(people), f"{name} came as {len(people)} and is {row.number}")

    def check_sales(self) -> None:
        """At the end: all who came early have their numbers, in the order of the draw."""
        for id_, early in self._early.items():
            seed = self.sales[id_].seed
            drawn = sorted(early, key=lambda who: hashlib.sha256(seed + who.encode()).digest())
            numbers = [self.people[id_][who].number for who in drawn]
            wanted = list(range(1, len(drawn) + 1))
            self._promise(numbers == wanted, f"sale {id_} drew {drawn} and numbered them {numbers}")

    def check_turn(self, sale: str, who: str, time: int) -> None:
        """Somebody was let in, at a time in ns."""
        row, number = self.sales[sale], self.people[sale][who].number
        first = row.opens * 1000 + max(0, number - row.at_once) * 60 * 10**9 // row.per_minute
        self._promise(
            bool(number) and first - 2000 <= time <= first + row.stay * 10**9 + 2000,
            f"{who}, number {number} at sale {sale}, was let in {(time - first) / 1e9} s after their turn",
        )
