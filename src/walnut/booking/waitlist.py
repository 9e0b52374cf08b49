"""Waiting for what others have: when something is given back, whoever waits first is offered it.

    cancel, expire, change ──frees──▶ the line of each resource ──▶ first who fits ──▶ a hold, till a deadline
                                          by weight, then by arrival          │
                                          ◀── passed on, if it is not taken ──┘

An offer is a hold like any other, made in the transaction that freed its place, so that nobody can come
between; confirming it is taking it. Who lets it pass, or cancels it, has left the line. An entry is in
the line of each resource that would do for it.

What must stay true: an entry is offered something at most once; and of two that want the same, the one
that is ahead in line is offered it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from walnut.booking.bookings import Bookings
from walnut.booking.calendar import Full
from walnut.booking.errors import BookingError, InvalidWant, NotYours, TooSoon, UnknownEntry
from walnut.booking.model import Booking, Want
from walnut.booking.states import State
from walnut.store.transaction import Reader, Transaction

LOOKED_AT: Final = 200
"""Entries of a line looked at when something is freed: others wait for the next time."""
MOST_LINES: Final = 100
"""Resources that one entry may wait for."""
MOST_WEIGHT: Final = 1_000_000


class Entry(msgspec.Struct, omit_defaults=True):
    """Somebody who waits.

    Attributes:
        weight: heavier ones go first. rank: among those of one weight, in the order they came.
        offer: the booking that is held for them; then they are in no line any more.
    """

    id: str
    wants: list[Want]
    customer: str
    rank: int
    weight: int = 0
    offer: str = ""


class Place(msgspec.Struct, array_like=True, gc=False):
    """An entry in the line of a resource."""

    resource: str
    lightness: int
    rank: int
    entry: str


class Waitlist:
    """Lines on the resources of some bookings."""

    def __init__(self, bookings: Bookings) -> None:
        self._bookings = bookings
        store = bookings.store
        self.entries = store.table("booking.waiting", Entry, key=lambda row: row.id)
        self.lines = store.table(
            "booking.lines",
            Place,
            key=lambda row: (row.resource, row.lightness, row.rank, row.entry),
        )
        self._ranks = store.sequence("booking.waiting")
        bookings.freed.append(self._serve)
        bookings.listeners.append(self._heard)

    def join(
        self,
        tx: Transaction,
        want: Want | Sequence[Want],
        *,
        customer: str = "",
        weight: int = 0,
    ) -> Entry:
        """Wait for it. If it is free, and nobody ahead wants it, it is offered at once.

        Raises InvalidWant, Unavailable for what nobody could have, UnknownResource."""
        wants = list(want) if isinstance(want, Sequence) else [want]
        if abs(weight) > MOST_WEIGHT or len(_resources(wants)) > MOST_LINES:
            raise InvalidWant(
                f"a weight is at most {MOST_WEIGHT} either way, and an entry waits for at most "
                f"{MOST_LINES} resources"
            )
        with suppress(Full):  # it can be had, some day
            self._bookings.planner.attempt(tx, wants)
        entry = Entry(tx.new_id().hex, wants, customer, self._ranks.next(tx), weight)
        self.entries.put(tx, entry)
        for resource in _resources(wants):
            self.lines.put(tx, _place(entry, resource))
        self._serve(tx, _resources(wants))
        return self.get(tx, entry.id)

    def leave(self, tx: Transaction, id_: str, *, customer: str | None = None) -> None:
        """Wait no longer; what is offered is given back. Raises UnknownEntry, NotYours."""
        entry = self.get(tx, id_)
        if customer is not None and customer != entry.customer:
            raise NotYours(f"entry {id_} of the waitlist is somebody else's")
        if entry.offer:
            self._bookings.cancel(tx, entry.offer)
        else:
            self._remove(tx, entry)

    def get(self, reader: Reader, id_: str) -> Entry:
        """Who waits. Raises UnknownEntry, also once they have what they waited for, or let it pass."""
        entry = self.entries.get(reader, id_)
        if entry is None:
            raise UnknownEntry(f"there is no entry {id_!r} in the waitlist")
        return entry

    def ahead(self, reader: Reader, id_: str) -> int:
        """How many are ahead in line, where there are the fewest. Raises UnknownEntry."""
        entry = self.get(reader, id_)
        if entry.offer:
            return 0
        return min(
            sum(1 for _ in self.lines.scan(reader, resource, stop=(-entry.weight, entry.rank)))
            for resource in _resources(entry.wants)
        )

    # -- what happens to bookings ---------------------------------------------------------------

    def _serve(self, tx: Transaction, resources: Sequence[str]) -> None:
        """Offer what became free to those who wait for it."""
        for resource in resources:
            for place in list(self.lines.scan(tx, resource, limit=LOOKED_AT)):
                entry = self.entries.get(tx, place.entry)
                if entry is not None and not entry.offer:
                    self._try(tx, entry)

    def _try(self, tx: Transaction, entry: Entry) -> None:
        try:
            plan = self._bookings.planner.attempt(tx, entry.wants)
        except TooSoon:  # its time has come and gone
            self._remove(tx, entry)
            return
        except (Full, BookingError):
            return
        seconds = min(resource.offer for resource in plan.resources)
        for resource in _resources(entry.wants):
            self.lines.delete(tx, _key(entry, resource))
        offered = self._bookings.begin(
            tx, plan, State.HELD, entry.customer, seconds, waited=entry.id
        )
        entry.offer = offered.id
        self.entries.put(tx, entry)

    def _heard(self, tx: Transaction, what: str, booking: Booking) -> None:
        """An offer was taken, or not."""
        del what
        if booking.waited and booking.state not in {State.HELD, State.QUOTED}:
            self.entries.delete(tx, booking.waited)

    def _remove(self, tx: Transaction, entry: Entry) -> None:
        self.entries.delete(tx, entry.id)
        for resource in _resources(entry.wants):
            self.lines.delete(tx, _key(entry, resource))


def _resources(wants: Sequence[Want]) -> list[str]:
    """All that are named, each once, in a fixed order."""
    found: set[str] = set()
    for want in wants:
        found |= {want.resource} if isinstance(want.resource, str) else set(want.resource)
    return sorted(found)


def _place(entry: Entry, resource: str) -> Place:
    return Place(resource, -entry.weight, entry.rank, entry.id)


def _key(entry: Entry, resource: str) -> tuple[str, int, int, str]:
    return resource, -entry.weight, entry.rank, entry.id
