"""`Bookings`: reservations on a store, put together.

    Bookings ── Resources, Calendar        what there is, and what is used of it
       ├─────── Search                     what is free
       ├─────── Planner                    what can be had
       └─────── Deadlines ── Jobs          what expires

Everything that changes something is a function of a transaction, so that it can be one with whatever
else the caller writes, and runs once under an idempotency key: `store.by(Meta(key=...)).call(...)`.

What must stay true: a booking is in the calendar if and only if its state consumes; both change in one
transaction, which checks first and writes then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from walnut.booking import lines, terms
from walnut.booking.calendar import Calendar, Draft, width_of
from walnut.booking.errors import (
    HoldExpired,
    HoldLimit,
    InvalidWant,
    NotPossible,
    NotYours,
    QuotaExceeded,
    StaleVersion,
    UnknownBooking,
)
from walnut.booking.expiry import Deadlines
from walnut.booking.lines import Stretch
from walnut.booking.model import (
    SECOND,
    Booking,
    Leg,
    Night,
    Owned,
    Resource,
    Want,
    moment,
)
from walnut.booking.nightly import number_of
from walnut.booking.planning import Plan, Planner
from walnut.booking.resources import Resources
from walnut.booking.search import Search
from walnut.booking.states import MOVES, Move, State
from walnut.booking.together import Callers
from walnut.booking.walls import tzdata_version
from walnut.jobs.jobs import Jobs
from walnut.store.store import Store
from walnut.store.transaction import Reader, Transaction

QUOTE_SECONDS: Final = 24 * 3600
"""How long a quote is good for, if nothing else is said."""
MOST_TEXT: Final = 200
"""Characters in a customer's id; ten times that in a note."""
QUOTA_LOOKED_AT: Final = 1000
"""Bookings of a customer that are counted."""

Listener = Callable[[Transaction, str, Booking], object]
"""Told, within the transaction, what was done ("hold", "confirm", "change", ...) to which booking."""
Freed = Callable[[Transaction, str, list[Stretch] | None], object]
"""Told of which resource something became free: which parts of its line, or None for any."""


class Bookings:
    """Resources and bookings in a store.

    Attributes:
        resources, search, calendar: see there.
        listeners: told of each change, in the order in which they were added.
        freed: told of what became free, in the transaction that freed it.
    """

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self.store = store
        self.jobs = jobs
        self.calendar = Calendar(store)
        self.resources = Resources(store, self.calendar)
        self.search = Search(self.calendar, self.resources)
        self.table = store.table("booking.bookings", Booking, key=lambda row: row.id)
        self.owned = store.table(
            "booking.owned", Owned, key=lambda row: (row.customer, row.start, row.booking)
        )
        self.deadlines = Deadlines(store, jobs, self.expire_due)
        self.planner = Planner(
            self.calendar, self.resources, self.search, self.table, self.deadlines, self._expire
        )
        self.by = Callers(store).by
        """For coroutines, in a name: `await bookings.by(Meta("ann", key="k1")).submit(...)`."""
        self.submit = self.by().submit
        """For coroutines: `await bookings.submit(bookings.hold, want)`. See `together`."""
        self.listeners: list[Listener] = []
        self.freed: list[Freed] = []

    # -- reading --------------------------------------------------------------------------------

    def get(self, reader: Reader, id_: str) -> Booking:
        """The booking with this id. Raises UnknownBooking."""
        booking = self.table.get(reader, id_)
        if booking is None:
            raise UnknownBooking(f"there is no booking {id_!r}")
        return booking

    def of_customer(self, reader: Reader, customer: str, start: int = 0) -> Iterator[Booking]:
        """A customer's bookings that begin at this moment or later, by when they begin; those that
        are over as well."""
        for row in self.owned.scan(reader, customer, start=(start,)):
            yield self.get(reader, row.booking)

    def of_resource(
        self, reader: Reader, resource: str, start: int, stop: int
    ) -> Iterator[Booking]:
        """The bookings that have something of a resource that begins, on its line, in [start, stop)."""
        rows = self.calendar.allocations.scan(reader, resource, start=(start,), stop=(stop,))
        last = ""
        for row in rows:
            if row.booking != last:
                yield self.get(reader, row.booking)
            last = row.booking

    # -- resources ------------------------------------------------------------------------------

    def add(self, tx: Transaction, resource: Resource) -> Resource:
        """Add a resource, or change the one with its id; who waits for more of it is served.

        Raises InvalidResource, UnknownZone, CapacityInUse."""
        added = self.resources.put(tx, resource)
        for freed in self.freed:
            freed(tx, resource.id, None)
        return added

    def set_night(self, tx: Transaction, night: Night) -> Night:
        """Say what is special about a night of a room type, or of a rate of it.

        Raises UnknownResource, InvalidResource, CapacityInUse."""
        said = self.resources.put_night(tx, night)
        for freed in self.freed:
            freed(tx, night.resource, [lines.night(night.resource, number_of(night.date))])
        return said

    # -- beginning ------------------------------------------------------------------------------

    def quote(
        self,
        tx: Transaction,
        want: Want | Sequence[Want],
        *,
        customer: str = "",
        seconds: int = QUOTE_SECONDS,
    ) -> Booking:
        """What it would cost now. Takes nothing; its price and terms are those of the hold that is
        made of it before it expires. Raises InvalidWant, Unavailable, UnknownResource."""
        plan = self.planner.plan(tx, _listed(want))
        return self.begin(tx, plan, State.QUOTED, customer, seconds)

    def hold(
        self,
        tx: Transaction,
        want: Want | Sequence[Want],
        *,
        customer: str = "",
        seconds: int | None = None,
        seen: int = 0,
        note: str = "",
        series: str = "",
    ) -> Booking:
        """Take what is wanted, all of it or nothing, until a deadline.

        Args:
            seconds: to the deadline; by default, and at most, what the resources say.
            seen: LSN at which the caller saw it free: a conflict then says what came since.

        Raises InvalidWant, Unavailable, UnknownResource, QuotaExceeded, HoldLimit."""
        plan = self.planner.plan(tx, _listed(want), seen=seen)
        self._check_quota(tx, plan, customer, State.HELD)
        if seconds is None:
            seconds = min([resource.hold for resource in plan.resources])
        else:
            most = min(resource.hold_most for resource in plan.resources)
            if not 1 <= seconds <= most:
                raise HoldLimit(f"a hold of {seconds} s: it may be 1 to {most} s here")
        return self.begin(tx, plan, State.HELD, customer, seconds, note, series)

    def book(
        self,
        tx: Transaction,
        want: Want | Sequence[Want],
        *,
        customer: str = "",
        seen: int = 0,
        note: str = "",
        series: str = "",
    ) -> Booking:
        """Hold and confirm at once. Raises as `hold`."""
        plan = self.planner.plan(tx, _listed(want), seen=seen)
        self._check_quota(tx, plan, customer, State.CONFIRMED)
        return self.begin(tx, plan, State.CONFIRMED, customer, 0, note, series)

    def hold_quoted(self, tx: Transaction, id_: str, want: Want | Sequence[Want]) -> Booking:
        """Take what was quoted, at the price and the terms of the quote. `want`: what it was for.

        Raises HoldExpired if the quote has; NotPossible; and as `hold`."""
        booking = self._open(tx, id_, Move.HOLD, None, None)
        plan = self.planner.plan(tx, _listed(want))
        if [(leg.resource, leg.spans) for leg in plan.legs] != [
            (leg.resource, leg.spans) for leg in booking.legs
        ]:
            raise InvalidWant(f"{id_} was a quote for something else: ask for a new one")
        self._check_quota(tx, plan, booking.customer, State.HELD)
        self.deadlines.clear(tx, booking)
        booking.state = State.HELD
        booking.quoted, booking.made = booking.made, tx.time // 1000
        booking.deadline = booking.made + SECOND * min(one.hold for one in plan.resources)
        plan.draft.write()
        plan.draft.allocate(booking)
        self.deadlines.set(tx, booking)
        return self._changed(tx, booking, Move.HOLD)

    def begin(
        self,
        tx: Transaction,
        plan: Plan,
        state: State,
        customer: str,
        seconds: int,
        note: str = "",
        series: str = "",
        waited: str = "",
    ) -> Booking:
        """A booking of what was planned, in its first state."""
        if len(customer) > MOST_TEXT or len(note) > 10 * MOST_TEXT:
            raise InvalidWant(
                f"a customer has an id of up to {MOST_TEXT} characters, a note ten times as many"
            )
        now = tx.time // 1000
        booking = Booking(
            tx.new_id().hex,
            state,
            plan.legs,
            now,
            now,
            tx.lsn,
            customer,
            deadline=now + seconds * SECOND if seconds else 0,
            price=plan.price,
            currency=plan.resources[0].currency,
            terms=plan.terms,
            tzdata=tzdata_version(),
            waited=waited,
            series=series,
            note=note,
        )
        if state.consumes:
            plan.draft.write()
            plan.draft.allocate(booking)
        if booking.deadline:
            self.deadlines.set(tx, booking)
        if customer:
            self.owned.put(tx, Owned(customer, _start(booking), booking.id))
        self.table.put(tx, booking)
        self._tell(tx, "quote" if state is State.QUOTED else Move.HOLD, booking)
        if state is State.CONFIRMED:
            self._tell(tx, Move.CONFIRM, booking)
        return booking

    # -- going on -------------------------------------------------------------------------------

    def confirm(
        self, tx: Transaction, id_: str, *, customer: str | None = None, version: int | None = None
    ) -> Booking:
        """What is held is booked. `customer`, `version`: refuse unless it is theirs, or this one.

        Raises HoldExpired, at the deadline or after it; UnknownBooking, NotPossible, NotYours,
        StaleVersion, QuotaExceeded."""
        booking = self._open(tx, id_, Move.CONFIRM, customer, version)
        self.deadlines.clear(tx, booking)
        booking.deadline = 0
        booking.state = State.CONFIRMED
        return self._changed(tx, booking, Move.CONFIRM)

    def extend(
        self,
        tx: Transaction,
        id_: str,
        seconds: int,
        *,
        customer: str | None = None,
        version: int | None = None,
    ) -> Booking:
        """A hold expires so many seconds from now. Raises HoldLimit beyond what its resources allow
        since it was made; and as `confirm`."""
        booking = self._open(tx, id_, Move.CONFIRM, customer, version)
        most = min(self.resources.need(tx, leg.resource).hold_most for leg in booking.legs)
        deadline = tx.time // 1000 + seconds * SECOND
        if seconds < 1 or deadline > booking.made + most * SECOND:
            latest = moment(booking.made + most * SECOND).isoformat(timespec="seconds")
            raise HoldLimit(f"booking {id_} can be held until {latest} at most")
        self.deadlines.clear(tx, booking)
        booking.deadline = deadline
        self.deadlines.set(tx, booking)
        return self._changed(tx, booking, "extend")

    def change(
        self,
        tx: Transaction,
        id_: str,
        want: Want | Sequence[Want],
        *,
        customer: str | None = None,
        version: int | None = None,
    ) -> Booking:
        """Have this instead of what a booking has: the new is taken and the old given back, or nothing
        happens. Its price becomes today's; its terms stay.

        Raises as `hold` and `confirm`."""
        booking = self.get(tx, id_)
        if booking.state not in {State.HELD, State.CONFIRMED}:
            raise NotPossible(f"booking {id_} is {_named(booking.state)}: it can't be changed")
        self._check(tx, booking, customer, version)
        plan = self.planner.plan(tx, _listed(want), old=booking)
        plan.draft.void(booking)
        if booking.customer:
            self.owned.delete(tx, (booking.customer, _start(booking), booking.id))
        freed, booking.legs, booking.price = booking.legs, plan.legs, plan.price
        booking.tzdata = tzdata_version()
        plan.draft.write()
        plan.draft.allocate(booking)
        if booking.customer:
            self.owned.put(tx, Owned(booking.customer, _start(booking), booking.id))
        self._changed(tx, booking, "change")
        self._free(tx, freed)
        return booking

    def check_in(
        self, tx: Transaction, id_: str, *, customer: str | None = None, version: int | None = None
    ) -> Booking:
        """Somebody came. Raises NotPossible, also once it is over; UnknownBooking, NotYours,
        StaleVersion."""
        booking = self._open(tx, id_, Move.CHECK_IN, customer, version)
        if tx.now >= booking.end:
            raise NotPossible(f"booking {id_} ended at {booking.end.isoformat()}")
        booking.state = State.CHECKED_IN
        return self._changed(tx, booking, Move.CHECK_IN)

    def no_show(self, tx: Transaction, id_: str, *, version: int | None = None) -> Booking:
        """Nobody came: others may have what is left, and the fee of its terms is due.

        Raises NotPossible, also before it begins; UnknownBooking, StaleVersion."""
        booking = self._open(tx, id_, Move.NO_SHOW, None, version)
        if tx.now < booking.start:
            raise NotPossible(f"booking {id_} begins only at {booking.start.isoformat()}")
        booking.fee = terms.no_show_fee(booking)
        return self._end(tx, booking, Move.NO_SHOW)

    def cancel(
        self, tx: Transaction, id_: str, *, customer: str | None = None, version: int | None = None
    ) -> Booking:
        """Give back what a booking has. For one that was confirmed, the fee of its terms is due.

        Raises UnknownBooking, NotPossible, NotYours, StaleVersion; HoldExpired."""
        booking = self._open(tx, id_, Move.CANCEL, customer, version)
        if booking.state is State.CONFIRMED:
            booking.fee = terms.cancellation_fee(booking, tx.time // 1000)
        return self._end(tx, booking, Move.CANCEL)

    # -- ending ---------------------------------------------------------------------------------

    def expire_due(self, tx: Transaction, limit: int) -> int:
        """End quotes and holds whose deadline has come, up to a number of them; returns how many.

        A timer does this within a second of each deadline while jobs are run."""
        due = self.deadlines.due(tx, limit)
        for row in due:
            self._expire(tx, self.get(tx, row.booking))
        return len(due)

    def _expire(self, tx: Transaction, booking: Booking) -> None:
        self._end(tx, booking, Move.EXPIRE)

    def _end(self, tx: Transaction, booking: Booking, move: Move) -> Booking:
        """It consumes nothing from now on."""
        consumed = booking.state.consumes
        booking.state = MOVES[booking.state, move]
        assert not booking.state.consumes
        if booking.deadline:
            self.deadlines.clear(tx, booking)
            booking.deadline = 0
        if consumed:
            draft = Draft(self.calendar, tx)
            for leg in booking.legs:
                draft.give(leg, width_of(self.resources.need(tx, leg.resource)))
            draft.write()
            draft.void(booking)
        self._changed(tx, booking, move)
        if consumed:
            self._free(tx, booking.legs)
        return booking

    # -- what is checked, and who is told -------------------------------------------------------

    def _open(
        self, tx: Transaction, id_: str, move: Move, customer: str | None, version: int | None
    ) -> Booking:
        """A booking to which this can be done."""
        booking = self.get(tx, id_)
        if (booking.state, move) not in MOVES:
            if booking.state is State.EXPIRED and move in {Move.CONFIRM, Move.HOLD}:
                raise HoldExpired(
                    f"booking {id_} expired at {moment(booking.changed).isoformat()}",
                    still_free=self.planner.fits(tx, booking.legs),
                )
            raise NotPossible(f"booking {id_} is {_named(booking.state)}: {move} is not possible")
        self._check(tx, booking, customer, version)
        return booking

    def _check(
        self, tx: Transaction, booking: Booking, customer: str | None, version: int | None
    ) -> None:
        if customer is not None and customer != booking.customer:
            raise NotYours(f"booking {booking.id} is somebody else's")
        if version is not None and version != booking.version:
            raise StaleVersion(
                f"booking {booking.id} is at version {booking.version} and not {version}: look at it "
                "again",
                booking.version,
            )
        if booking.deadline and tx.time // 1000 >= booking.deadline:
            raise HoldExpired(
                f"booking {booking.id} expired at {moment(booking.deadline).isoformat()}",
                still_free=booking.state is State.HELD,  # nobody has taken it meanwhile
            )

    def _check_quota(self, tx: Transaction, plan: Plan, customer: str, becomes: State) -> None:
        if not customer:
            return
        quotas = [resource.quota for resource in plan.resources]
        holds = min((quota.holds for quota in quotas if quota.holds), default=0)
        bookings = min((quota.bookings for quota in quotas if quota.bookings), default=0)
        if not (holds or bookings):
            return
        rows = self.owned.scan(tx, customer, start=(tx.time // 1000,), limit=QUOTA_LOOKED_AT)
        states = [self.get(tx, row.booking).state for row in rows]
        held, booked = states.count(State.HELD), states.count(State.CONFIRMED)
        if becomes is State.HELD and holds and held >= holds:
            raise QuotaExceeded(
                f"{customer} holds {held} and may hold {holds} at a time: confirm or cancel one first"
            )
        if bookings and booked + (held if becomes is State.HELD else 0) >= bookings:
            raise QuotaExceeded(
                f"{customer} has {booked + held} bookings ahead and may have {bookings}"
            )

    def _changed(self, tx: Transaction, booking: Booking, what: str) -> Booking:
        booking.version += 1
        booking.changed = tx.time // 1000
        booking.lsn = tx.lsn
        self.table.put(tx, booking)
        self._tell(tx, what, booking)
        return booking

    def _tell(self, tx: Transaction, what: str, booking: Booking) -> None:
        for listener in self.listeners:
            listener(tx, what, booking)

    def _free(self, tx: Transaction, legs: Sequence[Leg]) -> None:
        for leg in legs:
            parts = lines.freed(self.resources.need(tx, leg.resource), leg)
            for freed in self.freed:
                freed(tx, leg.resource, parts)


def _listed(want: Want | Sequence[Want]) -> Sequence[Want]:
    return want if isinstance(want, Sequence) else [want]


def _start(booking: Booking) -> int:
    return min(leg.start for leg in booking.legs)


def _named(state: State) -> str:
    return state.name.lower().replace("_", " ")
