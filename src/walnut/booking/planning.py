"""From what is wanted to what can be had: all of it or nothing.

    wants ─▶ legs on a draft ─▶ Plan          nothing is written yet
                └─ not enough ─▶ end what is in the way and overdue, try again
                                   └─ nothing is ─▶ Taken, with what is free instead

What must stay true: planning writes nothing but the ends of holds that are overdue, which would come
anyway; so who catches what it raises, and goes on with the transaction, has not taken a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from walnut.booking import nightly, seating, terms, timed
from walnut.booking.calendar import LOOKED_AT, Calendar, Draft, Full, Most, width_of
from walnut.booking.errors import Blocker, InvalidWant, Taken, Unavailable
from walnut.booking.expiry import Deadlines
from walnut.booking.model import (
    DAY,
    Allocation,
    Booking,
    Leg,
    Nightly,
    Resource,
    SeatMap,
    Seats,
    Terms,
    Time,
    Want,
    moment,
)
from walnut.booking.nightly import date_of
from walnut.booking.resources import Resources
from walnut.booking.search import Search
from walnut.booking.states import State
from walnut.store.table import Table
from walnut.store.transaction import Transaction

MOST_WANTS: Final = 100
"""In one booking: its transaction is one record of the log."""
MOST_CHOICES: Final = 100
"""Resources of which any will do."""
BLOCKERS_TOLD: Final = 5
OVERDUE_AT_ONCE: Final = 16
"""Overdue holds that are ended by somebody in need of their places, before a timer did it."""


class Plan(msgspec.Struct):
    """What a booking would have, and the draft that takes it."""

    draft: Draft
    legs: list[Leg]
    resources: list[Resource]

    @property
    def price(self) -> int:
        """Cents."""
        return sum(leg.price for leg in self.legs)

    @property
    def terms(self) -> Terms:
        """Of all of it."""
        return terms.strictest([resource.terms for resource in self.resources])


class Planner:
    """Makes plans.

    Args:
        bookings: to tell who is in the way.
        deadlines: to tell whether anything is overdue. expire: ends an overdue hold.
    """

    def __init__(
        self,
        calendar: Calendar,
        resources: Resources,
        search: Search,
        bookings: Table[Booking],
        deadlines: Deadlines,
        expire: Callable[[Transaction, Booking], object],
    ) -> None:
        self._calendar = calendar
        self._resources = resources
        self._search = search
        self._bookings = bookings
        self._deadlines = deadlines
        self._expire = expire

    def plan(
        self, tx: Transaction, wants: Sequence[Want], old: Booking | None = None, seen: int = 0
    ) -> Plan:
        """All that is wanted; in place of what `old` has, if that is given.

        Raises InvalidWant, Unavailable, UnknownResource."""
        if not 1 <= len(wants) <= MOST_WANTS:
            raise InvalidWant(f"{len(wants)} things in one booking: it has 1 to {MOST_WANTS}")
        ended = 0
        while True:
            try:
                return self.attempt(tx, wants, old)
            except Full as full:
                overdue = self._overdue(tx, full) if ended < OVERDUE_AT_ONCE else []
                if not overdue:
                    raise self._taken(tx, wants, old, full, seen) from None
            for booking in overdue:
                self._expire(tx, booking)
            ended += len(overdue)

    def _overdue(self, tx: Transaction, full: Full) -> list[Booking]:
        """Holds that are in the way and past their deadline."""
        if not self._deadlines.due(tx, 1):  # nearly always: then nobody's booking need be read
            return []
        found: dict[str, Booking] = {}
        for row in self._calendar.within(tx, full.resource, full.span, LOOKED_AT):
            if row.booking not in found:
                booking = self._bookings.get(tx, row.booking)
                if booking is not None and 0 < booking.deadline <= tx.time // 1000:
                    found[row.booking] = booking
            if len(found) == OVERDUE_AT_ONCE:
                break
        return list(found.values())

    def attempt(self, tx: Transaction, wants: Sequence[Want], old: Booking | None = None) -> Plan:
        """`plan`, as things stand. Raises Full where that raises Taken."""
        draft = Draft(self._calendar, tx)
        if old is not None:
            for leg in old.legs:
                draft.give(leg, width_of(self._resources.need(tx, leg.resource)))
        plan = Plan(draft, [], [])
        for want in wants:
            self._place(plan, want)
        if len({resource.currency for resource in plan.resources}) > 1:
            raise InvalidWant("prices in several currencies: make a booking of each")
        return plan

    def _place(self, plan: Plan, want: Want) -> None:
        if isinstance(want.resource, str):
            self._place_one(plan, want.resource, want)
            return
        if not 1 <= len(want.resource) <= MOST_CHOICES:
            raise InvalidWant(f"any of {len(want.resource)} resources: give 1 to {MOST_CHOICES}")
        refused: Unavailable | Full | None = None
        for choice in want.resource:
            try:
                self._place_one(plan, choice, want)
            except (Unavailable, Full) as error:
                refused = error if refused is None or isinstance(error, Full) else refused
            else:
                return
        assert refused is not None
        raise refused

    def _place_one(self, plan: Plan, id_: str, want: Want) -> None:
        draft = plan.draft
        resource = self._resources.need(draft.tx, id_)
        now = draft.tx.time // 1000
        if isinstance(want, Time):
            leg = timed.place(draft, resource, want, now)
        elif isinstance(want, Seats):
            leg = seating.place(draft, resource, want, now)
        else:
            leg = nightly.place(draft, self._resources.inventory, resource, want, now)
        plan.legs.append(leg)
        plan.resources.append(resource)

    def fits(self, tx: Transaction, legs: Sequence[Leg]) -> bool:
        """Whether all these legs could be taken now."""
        draft = Draft(self._calendar, tx)
        try:
            for leg in legs:
                resource = self._resources.need(tx, leg.resource)
                most = self._most(tx, resource)
                draft.take(leg.resource, width_of(resource), leg.spans, leg.units, most)
        except Full:
            return False
        return True

    def _most(self, tx: Transaction, resource: Resource) -> int | Most:
        kind = resource.kind
        if isinstance(kind, SeatMap):
            return 1
        if not isinstance(kind, Nightly):
            return timed.most_of(kind)
        inventory = self._resources.inventory

        def most(number: int) -> int:
            nights = inventory.nights(tx, resource.id, "", range(number, number + 1))
            return nightly.most_of(kind, nights[0])

        return most

    # -- what is in the way ---------------------------------------------------------------------

    def _taken(
        self, tx: Transaction, wants: Sequence[Want], old: Booking | None, full: Full, seen: int
    ) -> Taken:
        resource = self._resources.need(tx, full.resource)
        mine = "" if old is None else old.id
        rows = self._calendar.within(tx, full.resource, full.span, BLOCKERS_TOLD + 1)
        blockers = [self._blocker(tx, resource, row, seen) for row in rows if row.booking != mine][
            :BLOCKERS_TOLD
        ]
        want = next(one for one in wants if full.resource in _choices(one))
        instead = self._search.near(tx, resource, want)
        shown = (
            ", ".join(_shown(blocker) for blocker in blockers) or "another part of the same request"
        )
        text = f"{full.resource} is taken: {shown}"
        if instead:
            text += f"; free instead: {instead[0].start} to {instead[0].end}"
        return Taken(text, full.resource, blockers, instead)

    def _blocker(self, tx: Transaction, resource: Resource, row: Allocation, seen: int) -> Blocker:
        booking = self._bookings.get(tx, row.booking)
        assert booking is not None, "an allocation is a booking's"
        start, end = shown_span(resource, row)
        held = booking.state is State.HELD
        return Blocker(
            booking.id,
            start,
            end,
            booking.expires if held else None,
            booking.lsn,
            since=bool(seen) and booking.lsn > seen,
        )


def _choices(want: Want) -> list[str]:
    return [want.resource] if isinstance(want.resource, str) else want.resource


def shown_span(resource: Resource, row: Allocation) -> tuple[str, str]:
    """An allocation as people call it: times, dates or seats."""
    kind = resource.kind
    if isinstance(kind, Nightly):
        return str(date_of(row.start // DAY)), str(date_of(row.end // DAY))
    if isinstance(kind, SeatMap):
        return seating.name_of(kind, row.start), seating.name_of(kind, row.end - 1)
    return (
        moment(row.start).isoformat(timespec="minutes"),
        moment(row.end).isoformat(timespec="minutes"),
    )


def _shown(blocker: Blocker) -> str:
    held = blocker.held_until
    until = f" (held until {held.isoformat(timespec='seconds')})" if held else ""
    return f"{blocker.start} to {blocker.end}{until}"
