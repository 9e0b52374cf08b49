"""Deadlines of holds and quotes, and the timers that keep them.

    booking.deadlines   (at, booking) ──▶ whatever is due is read from the front
    booking.ticks       one timer of walnut.jobs for each second in which something is due

A deadline that was met leaves its row behind for nobody: it is deleted by what meets it. The timer of a
second is set once, however many holds end in it, and one that finds nothing does nothing.

A hold is over at its deadline, not when the timer gets to it: confirming looks at the time of its own
transaction, and whoever is in need of what is held ends it first (`planning`).

What must stay true: a booking with a deadline has one row here, and a timer is set for its second, or is
about to have been; both go with the transaction that ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from walnut.booking.model import SECOND, Booking, Deadline, Tick, micros, moment
from walnut.jobs.jobs import Jobs
from walnut.store.store import Store
from walnut.store.transaction import Transaction

BATCH: Final = 16
"""Bookings that expire in one transaction: others wait meanwhile, and what is freed may be offered to as
many who wait, all in one record."""


class Deadlines:
    """Who expires when.

    Args:
        expire: ends those that are due; returns how many there were, up to a limit.
    """

    def __init__(self, store: Store, jobs: Jobs, expire: Callable[[Transaction, int], int]) -> None:
        self.table = store.table(
            "booking.deadlines", Deadline, key=lambda row: (row.at, row.booking)
        )
        self.ticks = store.table("booking.ticks", Tick, key=lambda row: row.second)
        self._jobs = jobs
        self._expire = expire
        self._action = jobs.action(self._ring, "booking.expire")

    def set(self, tx: Transaction, booking: Booking) -> None:
        """The booking expires at its deadline."""
        self.table.put(tx, Deadline(booking.deadline, booking.id))
        self._tick(tx, -(-booking.deadline // SECOND))

    def clear(self, tx: Transaction, booking: Booking) -> None:
        """It does not any more."""
        gone = self.table.delete(tx, (booking.deadline, booking.id))
        assert gone, "a booking with a deadline has a row here"

    def due(self, tx: Transaction, limit: int) -> list[Deadline]:
        """Those whose deadline has come, the earliest first."""
        return list(self.table.scan(tx, stop=(tx.time // 1000 + 1,), limit=limit))

    def _tick(self, tx: Transaction, second: int) -> None:
        if self.ticks.get(tx, second) is None:
            self.ticks.put(tx, Tick(second))
            self._jobs.at(tx, moment(second * SECOND), self._action, second)

    def _ring(self, tx: Transaction, second: int) -> None:
        """The action of the timers."""
        self.ticks.delete(tx, second)
        if self._expire(tx, BATCH) == BATCH:  # perhaps more; after others had their turn
            self._tick(tx, micros(tx.now) // SECOND)
