"""Deliberate bugs around bookings: payments, series, queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from unittest.mock import patch

from walnut.booking.model import Booking
from walnut.booking.payments import Ask, Payment, Payments
from walnut.booking.queue import Drawn, Queue, Sale
from walnut.booking.series import SeriesBook
from walnut.store.transaction import Transaction

Patches = list[Any]


def _without(forgotten: Ask) -> Patches:
    honest = Payments._ask

    def ask(self: Payments, tx: Transaction, booking: Booking, ask: Ask, cents: int) -> None:
        if ask is not forgotten:
            honest(self, tx, booking, ask, cents)

    return [patch.object(Payments, "_ask", ask)]


def _booking_gives_nothing_back() -> Patches:
    """What was captured beyond the fee is kept."""
    return _without(Ask.REFUND)


def _booking_leaves_money_blocked() -> Patches:
    """What was authorised and is not needed is never voided."""
    return _without(Ask.VOID)


def _booking_forgets_deposits() -> Patches:
    """Nothing is ever captured."""
    return _without(Ask.CAPTURE)


def _booking_asks_again_for_what_changed() -> Patches:
    """Each payment of a booking has the same number, and replaces the one before."""

    def ask(self: Payments, tx: Transaction, booking: Booking, ask: Ask, cents: int) -> None:
        self.table.put(tx, Payment(booking.id, 1, ask, cents, booking.currency))

    return [patch.object(Payments, "_ask", ask)]


def _booking_series_are_as_far_as_they_go() -> Patches:
    """A series that was wanted whole is booked in part."""
    honest = SeriesBook._plans

    def plans(self: Any, tx: Transaction, wants: Any, *, as_far_as_can_be: bool) -> Any:
        del as_far_as_can_be
        return honest(self, tx, wants, as_far_as_can_be=True)

    return [patch.object(SeriesBook, "_plans", plans)]


def _booking_series_forget_the_last() -> Patches:
    """The last booking of a series is not in it."""
    honest = SeriesBook.book

    def book(self: SeriesBook, tx: Transaction, *args: Any, **options: Any) -> Any:
        booked = honest(self, tx, *args, **options)
        booked.series.bookings.pop()
        self.table.put(tx, booked.series)
        return booked

    return [patch.object(SeriesBook, "book", book)]


def _booking_lets_everybody_in() -> Patches:
    """A sale that has opened admits all."""

    def admitted(self: Sale, now: int) -> int:
        return self.entered if now >= self.opens else 0

    return [patch.object(Sale, "admitted", admitted)]


def _booking_draws_by_name() -> Patches:
    """Before a sale opens people are put in order by what they are called."""
    honest = Queue.enter

    def enter(self: Queue, tx: Transaction, sale: str, who: str) -> Any:
        position = honest(self, tx, sale, who)
        for row in list(self.drawn.scan(tx, sale)):
            self.drawn.delete(tx, (sale, row.drawn, row.who))
            self.drawn.put(tx, Drawn(sale, row.who.encode(), row.who))
        return position

    return [patch.object(Queue, "enter", enter)]


def _booking_sends_people_to_the_end() -> Patches:
    """Whoever asks again where they stand has a new number."""
    honest = Queue.enter

    def enter(self: Queue, tx: Transaction, sale: str, who: str) -> Any:
        self.people.delete(tx, (sale, who))
        return honest(self, tx, sale, who)

    return [patch.object(Queue, "enter", enter)]


AROUND_BUGS: Final[dict[str, Callable[[], Patches]]] = {
    name.removeprefix("_").replace("_", "-"): bug
    for name, bug in list(globals().items())
    if name.startswith("_booking")
}
"""As `booking_bugs.BOOKING_BUGS`, which these are among."""
