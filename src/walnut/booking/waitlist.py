"""Waiting for what others have: when something is given back, whoever waits first is offered it.

    cancel, expire, change ──frees──▶ the lines of those days ──▶ first who fits ──▶ a hold, till a deadline
                                          by weight, then by arrival          │
                                          ◀── passed on, if it is not taken ──┘

An offer is a hold like any other, made in the transaction that freed its place, so that nobody can come
between; confirming it is taking it. Who lets it pass, or cancels it, has left the line.

Those who want exactly the same stand in one queue. What is freed is looked for by the heads of the
queues it overlaps with: if the head does not fit, nobody behind it would. So serving costs as much as
there are different wishes, however many people wait.

What must stay true: an entry is offered something at most once; of two that want the same, the one that
is ahead is offered it first; and nobody waits for what is free.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from walnut.booking.bookings import Bookings
from walnut.booking.calendar import Full
from walnut.booking.errors import BookingError, InvalidWant, NotYours, TooSoon, UnknownEntry
from walnut.booking.lines import Stretch, wanted
from walnut.booking.model import Booking, Want
from walnut.booking.planning import MOST_WANTS
from walnut.booking.states import State
from walnut.store.transaction import Reader, Transaction

MOST_LINES: Final = 400
"""Days and resources that one entry may wait for: a row for each."""
MOST_WEIGHT: Final = 1_000_000


class Entry(msgspec.Struct, omit_defaults=True):
    """Somebody who waits.

    Attributes:
        weight: heavier ones go first. rank: among those of one weight, in the order they came.
        lines: where they wait.
        offer: the booking that is held for them; then they are in no line any more.
    """

    id: str
    wants: list[Want]
    customer: str
    rank: int
    lines: list[Stretch]
    weight: int = 0
    offer: str = ""


class Place(msgspec.Struct, array_like=True, gc=False):
    """An entry in the line of a page of a resource, and what it wants of that page; `wish`: a digest of
    all that it wants."""

    resource: str
    page: int
    start: int
    wish: bytes
    lightness: int
    rank: int
    entry: str
    stop: int


class Waitlist:
    """Lines on the resources of some bookings."""

    def __init__(self, bookings: Bookings) -> None:
        self._bookings = bookings
        store = bookings.store
        self.entries = store.table("booking.waiting", Entry, key=lambda row: row.id)
        self.lines = store.table("booking.lines", Place, key=_key)
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
        """Wait for it. If it is free, it is offered at once.

        Raises InvalidWant, Unavailable for what nobody could have, UnknownResource."""
        wants = list(want) if isinstance(want, Sequence) else [want]
        if not 1 <= len(wants) <= MOST_WANTS:
            raise InvalidWant(f"{len(wants)} things are waited for at once: name 1 to {MOST_WANTS}")
        if not -MOST_WEIGHT <= weight <= MOST_WEIGHT:
            raise InvalidWant(f"a weight is at most {MOST_WEIGHT} either way")
        with suppress(Full):  # it can be had, some day
            self._bookings.planner.attempt(tx, wants)
        lines = self._lines_for(tx, wants)
        if len(lines) > MOST_LINES:
            raise InvalidWant(
                f"waiting for {len(lines)} days of resources: {MOST_LINES} are the most"
            )
        entry = Entry(tx.new_id().hex, wants, customer, self._ranks.next(tx), lines, weight)
        self.entries.put(tx, entry)
        places = _places(entry)
        for place in places:
            self.lines.put(tx, place)
        self._offer(tx, places[:1])
        return self.get(tx, entry.id)

    def leave(self, tx: Transaction, id_: str, *, customer: str | None = None) -> None:
        """Wait no longer; what is offered is given back. Raises UnknownEntry, NotYours."""
        entry = self.get(tx, id_)
        if customer is not None and customer != entry.customer:
            raise NotYours(f"entry {id_} of the waitlist is somebody else's")
        if entry.offer:
            self._bookings.cancel(tx, entry.offer)
        else:
            self._leave_lines(tx, entry)
            self.entries.delete(tx, entry.id)

    def get(self, reader: Reader, id_: str) -> Entry:
        """Who waits. Raises UnknownEntry, also once they have what they waited for, or let it pass."""
        entry = self.entries.get(reader, id_)
        if entry is None:
            raise UnknownEntry(f"there is no entry {id_!r} in the waitlist")
        return entry

    def ahead(self, reader: Reader, id_: str) -> int:
        """How many who want the same are ahead. Raises UnknownEntry."""
        entry = self.get(reader, id_)
        if entry.offer:
            return 0
        place = _places(entry)[0]
        ahead = self.lines.scan(reader, _queue(place), stop=(place.lightness, place.rank))
        return sum(1 for _ in ahead)

    # -- what happens to bookings ---------------------------------------------------------------

    def _serve(self, tx: Transaction, resource: str, freed: list[Stretch] | None) -> None:
        """Something became free: these parts of a resource, or any."""
        if freed is None:
            self._offer(tx, list(self._heads(tx, resource, (), ())))
            return
        heads: list[Place] = []
        for part in freed:
            found = self._heads(tx, resource, (part.page,), (part.page, part.stop))
            heads += [head for head in found if head.stop > part.start]
        self._offer(tx, heads)

    def _heads(
        self,
        tx: Transaction,
        resource: str,
        start: tuple[int | bytes, ...],
        stop: tuple[int, ...],
    ) -> Iterator[Place]:
        """The first of each queue in a part of the lines of a resource."""
        while head := next(self.lines.scan(tx, resource, start=start, stop=stop, limit=1), None):
            yield head
            start = head.page, head.start, head.wish + b"\0"  # behind all of this wish

    def _offer(self, tx: Transaction, heads: list[Place]) -> None:
        """Offer what is free to the heads of queues and those behind them, in the order in which all
        of them stand."""
        waiting = [(head.lightness, head.rank, _key(head), head) for head in heads]
        heapq.heapify(waiting)
        lost: set[bytes] = set()
        while waiting:
            head = heapq.heappop(waiting)[-1]
            if head.wish in lost:
                continue
            entry = self.entries.get(tx, head.entry)
            if entry is not None and not entry.offer and not self._try(tx, entry):
                lost.add(head.wish)
                continue
            after = head.lightness, head.rank + 1
            behind = next(self.lines.scan(tx, _queue(head), start=after, limit=1), None)
            if behind is not None:
                item = behind.lightness, behind.rank, _key(behind), behind
                heapq.heappush(waiting, item)

    def _try(self, tx: Transaction, entry: Entry) -> bool:
        """Hold for an entry what it wants; False if that is not to be had."""
        try:
            plan = self._bookings.planner.attempt(tx, entry.wants)
        except TooSoon:  # its time has come and gone
            self._leave_lines(tx, entry)
            self.entries.delete(tx, entry.id)
            return True
        except (Full, BookingError):
            return False
        self._leave_lines(tx, entry)
        seconds = min(resource.offer for resource in plan.resources)
        offered = self._bookings.begin(
            tx, plan, State.HELD, entry.customer, seconds, waited=entry.id
        )
        entry.offer = offered.id
        self.entries.put(tx, entry)
        return True

    def _heard(self, tx: Transaction, what: str, booking: Booking) -> None:
        """An offer was taken, or not."""
        del what
        if booking.waited and booking.state not in {State.HELD, State.QUOTED}:
            self.entries.delete(tx, booking.waited)

    def _leave_lines(self, tx: Transaction, entry: Entry) -> None:
        for place in _places(entry):
            self.lines.delete(tx, _key(place))

    def _lines_for(self, tx: Transaction, wants: list[Want]) -> list[Stretch]:
        found: dict[tuple[str, int, int], Stretch] = {}
        for want in wants:
            for name in [want.resource] if isinstance(want.resource, str) else want.resource:
                for line in wanted(self._bookings.resources.need(tx, name), want):
                    key = line.resource, line.page, line.start
                    found[key] = max(line, found.get(key, line))  # of the same start the longest
        return sorted(found.values())


def _places(entry: Entry) -> list[Place]:
    """Where an entry stands in line."""
    wish = hashlib.blake2b(msgspec.msgpack.encode(entry.wants), digest_size=8).digest()
    return [
        Place(
            line.resource,
            line.page,
            line.start,
            wish,
            -entry.weight,
            entry.rank,
            entry.id,
            line.stop,
        )
        for line in entry.lines
    ]


def _queue(place: Place) -> tuple[str, int, int, bytes]:
    return place.resource, place.page, place.start, place.wish


def _key(place: Place) -> tuple[str, int, int, bytes, int, int, str]:
    return (*_queue(place), place.lightness, place.rank, place.entry)
