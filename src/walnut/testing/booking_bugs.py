"""Deliberate bugs of booking, to prove that its simulator can fail."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest.mock import patch

import msgspec

from walnut.booking import calendar as calendars
from walnut.booking import nightly, timed
from walnut.booking.bookings import Bookings
from walnut.booking.calendar import Draft, Full
from walnut.booking.expiry import Deadlines
from walnut.booking.model import DAY, SECOND, Booking, Deadline, Leg, Pool, Want
from walnut.booking.planning import Planner
from walnut.booking.search import Search
from walnut.booking.states import Move, State
from walnut.booking.steps import Steps
from walnut.booking.waitlist import Entry, Waitlist
from walnut.store.remember import Memory
from walnut.store.transaction import Transaction

Patches = list[Any]


def _booking_confirms_after_the_deadline() -> Patches:
    """A hold can be confirmed until a timer has ended it."""
    honest = Bookings._check

    def check(self: Bookings, tx: Transaction, booking: Booking, *args: Any) -> None:
        deadline, booking.deadline = booking.deadline, 0
        honest(self, tx, booking, *args)
        booking.deadline = deadline

    return [patch.object(Bookings, "_check", check)]


def _booking_confirms_at_the_deadline() -> Patches:
    """Whoever confirms in the very microsecond of the deadline is still in time."""
    honest = Bookings._check

    def check(self: Bookings, tx: Transaction, booking: Booking, *args: Any) -> None:
        deadline = booking.deadline
        booking.deadline += 4000 * bool(deadline)
        honest(self, tx, booking, *args)
        booking.deadline = deadline

    return [patch.object(Bookings, "_check", check)]


def _booking_expires_what_was_confirmed() -> Patches:
    """Confirming leaves the deadline where it is, and whatever it finds is ended."""

    def clear(self: Deadlines, tx: Transaction, booking: Booking) -> None:
        if booking.state is not State.HELD:
            self.table.delete(tx, (booking.deadline, booking.id))

    def end(self: Bookings, tx: Transaction, booking: Booking, move: Move) -> Booking:
        if booking.state is State.CONFIRMED and move is Move.EXPIRE:
            booking.state = State.HELD
        return honest(self, tx, booking, move)

    honest = Bookings._end
    return [patch.object(Deadlines, "clear", clear), patch.object(Bookings, "_end", end)]


def _booking_expires_early() -> Patches:
    """A second is rounded down."""

    def due(self: Deadlines, tx: Transaction, limit: int) -> list[Deadline]:
        stop = tx.time // 1000 + SECOND
        return list(self.table.scan(tx, stop=(stop,), limit=limit))

    return [patch.object(Deadlines, "due", due)]


def _booking_rings_too_early() -> Patches:
    """The timer of a deadline is set for the second in which it lies, and finds nothing."""
    honest = Deadlines._tick

    def tick(self: Deadlines, tx: Transaction, second: int) -> None:
        honest(self, tx, second - 1)

    return [patch.object(Deadlines, "_tick", tick)]


def _booking_extends_without_moving_the_deadline() -> Patches:
    """A hold that was extended has two deadlines."""
    honest = Deadlines.clear

    def clear(self: Deadlines, tx: Transaction, booking: Booking) -> None:
        if booking.state is not State.HELD or booking.version % 2:
            honest(self, tx, booking)

    return [patch.object(Deadlines, "clear", clear)]


def _booking_holds_are_hints() -> Patches:
    """A hold takes nothing that others would see."""

    def allocate(self: Draft, booking: Booking) -> None:
        honest(self, booking)
        if booking.state is State.HELD:
            for key in self._pages:
                self.calendar.pages.delete(self.tx, key)

    honest = Draft.allocate
    return [patch.object(Draft, "allocate", allocate)]


def _booking_forgets_the_step_before() -> Patches:
    """Only what begins inside a span is seen to be in it."""

    def peak(self: Steps, start: int, stop: int) -> int:
        inside = slice(bisect_left(self.times, start), bisect_left(self.times, stop))
        return max(self.levels[inside], default=0)

    return [patch.object(Steps, "peak", peak)]


def _booking_checks_the_first_page_alone() -> Patches:
    """What goes over midnight is checked until midnight."""
    honest = Draft.take

    def take(self: Draft, resource: str, width: int, spans: Any, units: int, most: Any) -> None:
        if width != DAY:
            honest(self, resource, width, spans, units, most)
            return
        for start, stop in spans:
            first = (start // width + 1) * width
            honest(self, resource, width, [(start, min(stop, first))], units, most)
            if stop > first:
                honest(self, resource, width, [(first, stop)], units, 1000)

    return [patch.object(Draft, "take", take)]


def _booking_gives_back_half() -> Patches:
    """Of a booking of several things, the first is given back."""

    def give(self: Draft, leg: Leg, width: int) -> None:
        spans = leg.spans[:1]
        for span in spans:
            for number, start, stop in calendars.pieces((span[0], span[1] - 1), width):
                self.page(leg.resource, number).add(start, stop, -leg.units)
                self._changed.add((leg.resource, number))

    return [patch.object(Draft, "give", give)]


def _booking_takes_what_it_can() -> Patches:
    """Of several things wanted together, those that can be had are taken."""
    honest = Planner._place

    def place(self: Planner, plan: Any, want: Want) -> None:
        try:
            honest(self, plan, want)
        except Full:
            if not plan.legs:
                raise

    def add_up(self: Bookings, tx: Transaction, what: str, booking: Booking) -> None:
        told(self, tx, what, booking)
        if what == Move.HOLD:
            booking.legs = booking.legs[:1]
            self.table.put(tx, booking)

    told = Bookings._tell
    return [patch.object(Planner, "_place", place), patch.object(Bookings, "_tell", add_up)]


def _booking_changes_leave_the_old() -> Patches:
    """A change takes the new, and the old stays allocated."""

    def void(self: Draft, booking: Booking) -> None:
        if booking.state is not State.CONFIRMED:
            honest(self, booking)

    honest = Draft.void
    return [patch.object(Draft, "void", void)]


def _booking_ignores_versions() -> Patches:
    """Whoever has an old version changes the new one."""
    honest = Bookings._check

    def check(
        self: Bookings, tx: Transaction, booking: Booking, customer: Any, version: Any
    ) -> None:
        del version
        honest(self, tx, booking, customer, None)

    return [patch.object(Bookings, "_check", check)]


def _booking_doubles_pools() -> Patches:
    """Overbooking is counted twice."""
    honest = timed.most_of

    def most_of(kind: Any) -> int:
        return honest(kind) + isinstance(kind, Pool)

    return [patch.object(timed, "most_of", most_of)]


def _booking_sells_the_first_night() -> Patches:
    """Only the first night of a stay has to be free."""
    honest = nightly.place

    def place(draft: Any, inventory: Any, resource: Any, want: Any, now: int) -> Leg:
        take = draft.take

        def first(resource: str, width: int, spans: Any, units: int, most: Any) -> None:
            start = spans[0][0]
            take(resource, width, [(start, start + DAY)], units, most)
            if spans[0][1] > start + DAY:
                take(resource, width, [(start + DAY, spans[0][1])], units, 1000)

        with patch.object(draft, "take", first):
            return honest(draft, inventory, resource, want, now)

    return [patch.object(nightly, "place", place)]


def _booking_repeats_what_has_a_key() -> Patches:
    """An idempotency key is not looked up."""
    return [patch.object(Memory, "recall", lambda *_: None)]


def _booking_says_free_what_is_between_buffers() -> Patches:
    """A search forgets the buffers."""
    honest = Search.starts

    def starts(self: Search, reader: Any, resource: Any, *args: Any) -> Iterator[int]:
        kind = resource.kind
        if resource.id == "room":
            resource = msgspec.structs.replace(
                resource, kind=msgspec.structs.replace(kind, before=0, after=0)
            )
        return honest(self, reader, resource, *args)

    return [patch.object(Search, "starts", starts)]


def _booking_lets_the_line_wait() -> Patches:
    """What is freed is offered to nobody; whoever comes gets it."""
    return [patch.object(Waitlist, "_serve", lambda *_: None)]


def _booking_serves_the_last_first() -> Patches:
    """Who came last goes first."""
    honest = Waitlist.join

    def join(self: Waitlist, tx: Transaction, *args: Any, **options: Any) -> Entry:
        ranks = self._ranks

        class Downwards:
            def next(self, tx: Transaction) -> int:
                return 10**6 - ranks.next(tx)

        with patch.object(self, "_ranks", Downwards()):
            entry = honest(self, tx, *args, **options)
        entry.rank = 10**6 - entry.rank
        return self.entries.put(tx, entry)

    return [patch.object(Waitlist, "join", join)]


def _booking_offers_twice() -> Patches:
    """Who was offered something stays in line, and it is forgotten that they were."""
    honest = Waitlist._try

    def attempt(self: Waitlist, tx: Transaction, entry: Entry) -> bool:
        before = list(self.lines.scan(tx))
        done = honest(self, tx, entry)
        for place in before:
            self.lines.put(tx, place)
        if entry.offer:
            entry.offer = ""
            self.entries.put(tx, entry)
        return done

    return [patch.object(Waitlist, "_try", attempt)]


def _booking_keeps_offers_that_passed() -> Patches:
    """An offer that was let pass leaves its entry behind."""
    honest = Waitlist._heard

    def heard(self: Waitlist, tx: Transaction, what: str, booking: Booking) -> None:
        if what != Move.EXPIRE:
            honest(self, tx, what, booking)

    return [patch.object(Waitlist, "_heard", heard)]


BOOKING_BUGS: Final[dict[str, Callable[[], Patches]]] = {
    name.removeprefix("_").replace("_", "-"): bug
    for name, bug in list(globals().items())
    if name.startswith("_booking")
}
"""Every deliberate bug by name; its docstring says what it is."""
