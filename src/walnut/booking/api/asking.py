"""From a request to a decision: may the caller, in whose name, once only; and what is answered.

    without an Idempotency-Key    requests of one turn, of one caller, share a transaction (`together`)
    with one                      a transaction of its own, remembered under the key

What must stay true: whoever may not do it to every resource that is touched does nothing at all; an
answer is sent when what it says is durable.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from walnut.booking.bookings import Bookings
from walnut.booking.model import Booking, Want
from walnut.booking.together import Together
from walnut.store.api.asking import Done, write
from walnut.store.record import Meta, utc
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.web.access import permit
from walnut.web.answer import Answer
from walnut.web.caller import caller_of, header
from walnut.web.errors import Forbidden, InvalidRequest, PreconditionFailed
from walnut.web.positions import position

T = TypeVar("T")
READ: Final = "booking:read"
WRITE: Final = "booking:write"
ADMIN: Final = "booking:admin"
TAGS: Final = ["booking"]
CALLERS: Final = 1024
"""Callers whose requests are gathered; more of them begin anew, which costs a few microseconds."""

Wants = Want | list[Want]


class Desk:
    """Takes requests for some bookings."""

    def __init__(self, bookings: Bookings) -> None:
        self.bookings = bookings
        self.store: Store = bookings.store
        self._together: dict[Meta, Together] = {}

    def now(self) -> dt.datetime:
        """The time, as the store has it."""
        return utc(self.store.log.options.clock())

    async def decide(
        self,
        scope: Mapping[str, Any],
        body: bytes,
        function: Callable[..., Booking],
        *args: Any,
        **options: Any,
    ) -> Done[Booking]:
        """The booking that `function(tx, *args, **options)` returns, once it is durable. Without an
        idempotency key the audit trail has who and why, and not the request's id."""
        caller = caller_of(scope)
        if caller.idempotency_key:

            def decided(tx: Transaction) -> Booking:
                return function(tx, *args, **options)

            decided.__qualname__ = function.__qualname__
            return await write(self.store, scope, body, Booking, decided)
        meta = Meta(caller.principal, caller.reason)
        together = self._together.get(meta)
        if together is None:
            if len(self._together) >= CALLERS:
                self._together.clear()
            together = self._together[meta] = Together(self.store.by(meta))
        booking: Booking = await together.submit(function, *args, **options)
        return Done(booking, booking.lsn, repeated=False)

    def booking(self, scope: Mapping[str, Any], need: str, id_: str) -> Booking:
        """A booking, for whoever may. Raises UnknownBooking, Forbidden."""
        booking = self.bookings.get(self.store, id_)
        permit_all(scope, need, (leg.resource for leg in booking.legs))
        return booking


def permit_all(scope: Mapping[str, Any], need: str, resources: Iterable[str]) -> None:
    """Let pass whoever may do it to all of these. Raises Forbidden."""
    try:
        permit(scope, need, "")
    except Forbidden:
        for resource in resources:
            permit(scope, need, resource)


def permit_wants(scope: Mapping[str, Any], need: str, wants: Wants) -> None:
    """Let pass whoever may do it to all that is wanted. Raises Forbidden."""
    for want in wants if isinstance(wants, list) else [wants]:
        names = want.resource
        permit_all(scope, need, [names] if isinstance(names, str) else names)


# -- what is answered ---------------------------------------------------------------------------


class LegShown(msgspec.Struct, omit_defaults=True):
    """A part of a booking. `wall`: its start on the wall of the resource, in `zone`."""

    resource: str
    start: dt.datetime
    end: dt.datetime
    wall: str
    zone: str
    price: int
    units: int = 1
    seats: list[str] = []
    rate: str = ""


class FeeShown(msgspec.Struct):
    """Cancelling less than so many hours before costs so many percent."""

    hours: int
    percent: int


class TermsShown(msgspec.Struct):
    """What it costs if it does not happen, as it was agreed; percent of the price."""

    fees: list[FeeShown]
    no_show: int
    deposit: int


class BookingShown(msgspec.Struct, omit_defaults=True):
    """A booking.

    Attributes:
        state: "quoted", "held", "confirmed", "checked in", "no show", "cancelled" or "expired".
        version: what `If-Match` names, in quotes. lsn: of its last change.
        expires: deadline of a quote or a hold.
        price, fee: cents. fee: due although it was cancelled, or nobody came.
        waited: id of the entry in the waitlist that it is offered to. series: that it belongs to.
        tzdata: version of the time zone database its times were read with.
    """

    id: str
    state: str
    version: int
    lsn: int
    start: dt.datetime
    end: dt.datetime
    price: int
    currency: str
    terms: TermsShown
    legs: list[LegShown]
    made: dt.datetime
    changed: dt.datetime
    customer: str = ""
    expires: dt.datetime | None = None
    fee: int = 0
    note: str = ""
    series: str = ""
    waited: str = ""
    tzdata: str = ""


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _moment(at: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=at)


def shown(booking: Booking) -> BookingShown:
    """A booking, as it is told."""
    terms = booking.terms
    return BookingShown(
        booking.id,
        booking.state.name.lower().replace("_", " "),
        booking.version,
        booking.lsn,
        booking.start,
        booking.end,
        booking.price,
        booking.currency,
        TermsShown(
            [FeeShown(fee.hours, fee.percent) for fee in terms.fees], terms.no_show, terms.deposit
        ),
        [
            LegShown(
                leg.resource,
                _moment(leg.start),
                _moment(leg.end),
                leg.wall,
                leg.zone,
                leg.price,
                leg.units,
                leg.seats,
                leg.rate,
            )
            for leg in booking.legs
        ],
        _moment(booking.made),
        _moment(booking.changed),
        booking.customer,
        booking.expires,
        booking.fee,
        booking.note,
        booking.series,
        booking.waited,
        booking.tzdata,
    )


def answered(done: Done[Booking], status: int | None = None) -> Answer[BookingShown]:
    """The answer that tells what became of a booking."""
    headers = done.headers
    headers["etag"] = f'"{done.result.version}"'
    return Answer(shown(done.result), status=status, headers=headers)


def tagged(version: int, lsn: int) -> dict[str, str]:
    """The headers of something that was read: its version as an entity tag, and the LSN."""
    return {**position(lsn), "etag": f'"{version}"'}


def version_of(scope: Mapping[str, Any]) -> int | None:
    """The version that `If-Match` asks for; None for any. Raises PreconditionFailed."""
    given = header(scope, b"if-match")
    if given is None or given.strip() == "*":
        return None
    text = given.strip().strip('"')
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise PreconditionFailed(
            f'If-Match asks for {given[:100]}, and the tag of a booking is its version, as "3": read it '
            "again, and decide anew"
        )
    return int(text)


def read_time(name: str, text: str) -> dt.datetime:
    """A time in a query: with an offset a moment, without one on the wall. Raises InvalidRequest."""
    try:
        # A plus sign that was not escaped arrives as a space.
        return dt.datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        what = f"{name} is {text[:40]!r}: write 2030-05-01T09:00, with Z or an offset if it is no wall time"
        raise InvalidRequest(what, {"at": f"query.{name}", "message": what}) from None


def read_date(name: str, text: str) -> dt.date:
    """A date in a query. Raises InvalidRequest."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        what = f"{name} is {text[:40]!r}: write 2030-05-01"
        raise InvalidRequest(what, {"at": f"query.{name}", "message": what}) from None
