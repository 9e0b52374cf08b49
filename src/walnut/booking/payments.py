"""Payment, which is outside: what has to be asked of a payment service, on record with what it is for.

    hold ─▶ authorise      confirm ─▶ capture      expire, cancel ─▶ void, or refund but for the fee
      └───────── a row of booking.payments and an effect of walnut.jobs, in the same transaction ─────┘

The service is asked after the transaction is durable, at least once, in order for each booking, with a
key that is the same at every attempt: it does the thing once if it heeds that. A confirm that is refused
captures nothing, so a payment that comes too late is voided by the end of its hold.

What must stay true: a payment is on record if and only if the change of the booking that it is for is.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator

import msgspec

from walnut.booking import terms
from walnut.booking.bookings import Bookings
from walnut.booking.model import Booking
from walnut.booking.states import State
from walnut.jobs.context import Context
from walnut.jobs.model import Job
from walnut.jobs.outcome import Failure
from walnut.store.transaction import Reader, Transaction


class Ask(enum.StrEnum):
    """What is asked of the payment service."""

    AUTHORISE = "authorise"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class Payment(msgspec.Struct, omit_defaults=True):
    """Something that is asked of the payment service.

    Attributes:
        number: of this booking's, from 1. key: for the service, the same at every attempt.
        cents: to be authorised, captured or refunded. A void is of all that is authorised.
        done: the service has done it. failed: it gave up on it for good, and why.
    """

    booking: str
    number: int
    ask: Ask
    cents: int
    currency: str
    customer: str = ""
    done: bool = False
    failed: str = ""

    @property
    def key(self) -> str:
        """The idempotency key to give the service."""
        return f"{self.booking}-{self.number}"


Service = Callable[[Payment], object]
"""Does what is asked, or raises; called in a thread, again if it raised or nobody knows."""


class Payments:
    """Asks a payment service for what bookings need."""

    def __init__(self, bookings: Bookings, service: Service) -> None:
        self._jobs = bookings.jobs
        self._service = service
        self.table = bookings.store.table(
            "booking.payments", Payment, key=lambda row: (row.booking, row.number)
        )
        self._effect = self._jobs.effect(name="booking.payment", queue="payments")(self._act)
        self._effect.then(self._done)
        self._effect.otherwise(self._failed)
        bookings.listeners.append(self._heard)

    def of(self, reader: Reader, booking: str) -> Iterator[Payment]:
        """What was asked for a booking, in order."""
        return self.table.scan(reader, booking)

    def _heard(self, tx: Transaction, what: str, booking: Booking) -> None:
        """Ask for what this change needs."""
        del what
        asked = list(self.of(tx, booking.id))
        authorised = sum(one.cents for one in asked if one.ask is Ask.AUTHORISE)
        captured = sum(one.cents for one in asked if one.ask is Ask.CAPTURE)
        refunded = sum(one.cents for one in asked if one.ask is Ask.REFUND)
        voided = any(one.ask is Ask.VOID for one in asked)
        match booking.state:
            case State.HELD | State.CONFIRMED if booking.price > authorised:
                self._ask(tx, booking, Ask.AUTHORISE, booking.price - authorised)
        match booking.state:
            case State.CONFIRMED if terms.deposit(booking) > captured:
                self._ask(tx, booking, Ask.CAPTURE, terms.deposit(booking) - captured)
            case State.CANCELLED | State.EXPIRED | State.NO_SHOW if authorised and not voided:
                kept = captured - refunded
                if booking.fee > kept:
                    self._ask(tx, booking, Ask.CAPTURE, booking.fee - kept)
                elif kept > booking.fee:
                    self._ask(tx, booking, Ask.REFUND, kept - booking.fee)
                if authorised > max(captured, booking.fee):
                    self._ask(tx, booking, Ask.VOID, 0)

    def _ask(self, tx: Transaction, booking: Booking, ask: Ask, cents: int) -> None:
        number = 1 + sum(1 for _ in self.of(tx, booking.id))
        self.table.put(
            tx, Payment(booking.id, number, ask, cents, booking.currency, booking.customer)
        )
        self._jobs.call(tx, self._effect, booking.id, number, lane=f"payment {booking.id}")

    # -- the effect -----------------------------------------------------------------------------

    def _act(self, context: Context, booking: str, number: int) -> None:
        """An attempt."""
        del context
        payment = self.table.get(self._jobs.store, (booking, number))
        assert payment is not None, "it is on record with its effect"
        self._service(payment)

    def _done(self, tx: Transaction, job: Job, result: None) -> None:
        del result
        payment = self._of_job(tx, job)
        payment.done = True
        self.table.put(tx, payment)

    def _failed(self, tx: Transaction, job: Job, failure: Failure) -> None:
        payment = self._of_job(tx, job)
        payment.failed = f"{failure.error}: {failure.message}"
        self.table.put(tx, payment)

    def _of_job(self, tx: Transaction, job: Job) -> Payment:
        booking, number = msgspec.msgpack.decode(job.arguments, type=tuple[str, int])
        payment = self.table.get(tx, (booking, number))
        assert payment is not None, "it is on record with its effect"
        return payment
