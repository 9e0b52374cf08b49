"""Routes of the life of a booking: quote, hold, confirm, change, check in, cancel.

    POST holds ──▶ 201, its deadline, its price and terms ──▶ POST holds/ID/confirm ──▶ bookings/ID
                                                        ├──▶ POST holds/ID/extend
                                                        └──▶ POST holds/ID/release

What must stay true: no logic of booking is here; what a route does could be done by `Bookings`' own
methods, in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from litestar import post, put
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.booking.api.asking import (
    TAGS,
    WRITE,
    BookingShown,
    Desk,
    Wants,
    answered,
    permit_wants,
    version_of,
)
from walnut.booking.bookings import QUOTE_SECONDS
from walnut.booking.model import Booking
from walnut.booking.queue import Queue
from walnut.store.transaction import Transaction
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.express import express
from walnut.web.openapi import takes

_TOUCHES = needs(WRITE, each=True)


class QuoteAsked(msgspec.Struct, forbid_unknown_fields=True):
    """What a price is asked for. `seconds`: how long it stands."""

    want: Wants
    customer: str = ""
    seconds: int = QUOTE_SECONDS


class HoldAsked(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be held, all of it or nothing.

    Attributes:
        want: one thing or several: {"type": "time", "resource": "room", "start": ..., "end": ...},
            {"type": "nights", "resource": ..., "arrive": ..., "depart": ..., "rate": ...} or
            {"type": "seats", "resource": ..., "seats": ["A/1"]} or {..., "best": 4}. A list of
            resources: the first of them that can be had.
        seconds: to the deadline; by default, and at most, what the resources say.
        seen: the LSN at which it was free: a conflict then says what came since.
        quote: id of a quote for the same: at its price and terms.
        position: a signed place in a queue, whose turn it has to be; the customer is who stands there.
        confirm: at once.
    """

    want: Wants
    customer: str = ""
    seconds: int | None = None
    seen: int = 0
    note: str = ""
    quote: str = ""
    position: str = ""
    confirm: bool = False


class Confirmed(msgspec.Struct, forbid_unknown_fields=True):
    """Whose it has to be; None: whoever's."""

    customer: str | None = None


class Extended(msgspec.Struct, forbid_unknown_fields=True):
    """How many seconds from now a hold is to expire."""

    seconds: int
    customer: str | None = None


class ChangeAsked(msgspec.Struct, forbid_unknown_fields=True):
    """What to have instead."""

    want: Wants
    customer: str | None = None


def routes(desk: Desk, queue: Queue) -> Iterator[ControllerRouterHandler]:
    """The routes of these bookings."""
    yield from _beginning(desk, queue)
    yield from _holding(desk)
    yield from _going_on(desk)


def _beginning(desk: Desk, queue: Queue) -> Iterator[ControllerRouterHandler]:
    bookings = desk.bookings

    @post("/v1/booking/quotes", tags=TAGS, summary="Ask for a price", opt=_TOUCHES)
    async def quote(data: JSONBody[QuoteAsked], scope: Scope) -> Answer[BookingShown]:
        """What it would cost now. Takes nothing; its price and terms are those of the hold that names
        it before it expires."""
        permit_wants(scope, WRITE, data.want)
        body = msgspec.json.encode(data)
        options = {"customer": data.customer, "seconds": data.seconds}
        return answered(await desk.decide(scope, body, bookings.quote, data.want, **options))

    def begin(tx: Transaction, asked: HoldAsked) -> Booking:
        customer = queue.check(tx, asked.position, tx.now) if asked.position else asked.customer
        if asked.quote:
            booking = bookings.hold_quoted(tx, asked.quote, asked.want)
            return bookings.confirm(tx, booking.id) if asked.confirm else booking
        if asked.confirm:
            return bookings.book(
                tx, asked.want, customer=customer, seen=asked.seen, note=asked.note
            )
        return bookings.hold(
            tx, asked.want,
            customer=customer, seconds=asked.seconds, seen=asked.seen, note=asked.note,
        )  # fmt: skip

    @express
    @post("/v1/booking/holds", tags=TAGS, summary="Hold", opt=_TOUCHES)
    async def hold(data: JSONBody[HoldAsked], scope: Scope) -> Answer[BookingShown]:
        """Take what is wanted until a deadline, `expires`: all of it, or nothing (409, with what is in
        the way and what is free instead). Price and terms are frozen. Concurrent holds of one caller
        share a transaction, so the audit trail has who and why of each and not its request id; with an
        `Idempotency-Key` it has a transaction of its own."""
        permit_wants(scope, WRITE, data.want)
        return answered(await desk.decide(scope, msgspec.json.encode(data), begin, data))

    yield from (quote, hold)


def _holding(desk: Desk) -> Iterator[ControllerRouterHandler]:
    bookings = desk.bookings

    @express
    @post(
        "/v1/booking/holds/{booking:str}/confirm",
        tags=TAGS,
        summary="Confirm a hold",
        status_code=200,
        opt={**_TOUCHES, **takes("If-Match")},
    )
    async def confirm(
        booking: FromPath[str], data: JSONBody[Confirmed], scope: Scope
    ) -> Answer[BookingShown]:
        """What is held is booked. 410 at its deadline or after it, with whether the same is still free.
        The body may be `{}`."""
        desk.booking(scope, WRITE, booking)
        body = msgspec.json.encode(data)
        options = {"customer": data.customer, "version": version_of(scope)}
        return answered(await desk.decide(scope, body, bookings.confirm, booking, **options))

    @express
    @post(
        "/v1/booking/holds/{booking:str}/extend",
        tags=TAGS,
        summary="Extend a hold",
        status_code=200,
        opt={**_TOUCHES, **takes("If-Match")},
    )
    async def extend(
        booking: FromPath[str], data: JSONBody[Extended], scope: Scope
    ) -> Answer[BookingShown]:
        """It expires so many seconds from now, within what its resources allow since it was made."""
        desk.booking(scope, WRITE, booking)
        body = msgspec.json.encode(data)
        options = {"customer": data.customer, "version": version_of(scope)}
        return answered(
            await desk.decide(scope, body, bookings.extend, booking, data.seconds, **options)
        )

    for path, summary in (
        ("/v1/booking/holds/{booking:str}/release", "Release a hold"),
        ("/v1/booking/bookings/{booking:str}/cancel", "Cancel a booking"),
    ):

        @express
        @post(
            path,
            tags=TAGS,
            summary=summary,
            status_code=200,
            opt={**_TOUCHES, **takes("If-Match")},
        )
        async def cancel(
            booking: FromPath[str], data: JSONBody[Confirmed], scope: Scope
        ) -> Answer[BookingShown]:
            """Give back what it has; whoever waits for it is offered it in the same commit. `fee`: what
            the terms say is due. The body may be `{}`."""
            desk.booking(scope, WRITE, booking)
            body = msgspec.json.encode(data)
            options = {"customer": data.customer, "version": version_of(scope)}
            return answered(await desk.decide(scope, body, bookings.cancel, booking, **options))

        yield cancel
    yield from (confirm, extend)


def _going_on(desk: Desk) -> Iterator[ControllerRouterHandler]:
    bookings = desk.bookings

    @put(
        "/v1/booking/bookings/{booking:str}",
        tags=TAGS,
        summary="Change a booking",
        opt={**_TOUCHES, **takes("If-Match")},
    )
    async def change(
        booking: FromPath[str], data: JSONBody[ChangeAsked], scope: Scope
    ) -> Answer[BookingShown]:
        """Have this instead: the new is taken and the old given back, or nothing happens. Its price
        becomes today's; its terms stay."""
        desk.booking(scope, WRITE, booking)
        permit_wants(scope, WRITE, data.want)
        body = msgspec.json.encode(data)
        options = {"customer": data.customer, "version": version_of(scope)}
        return answered(
            await desk.decide(scope, body, bookings.change, booking, data.want, **options)
        )

    yield change
    yield _moving(desk, "check-in", bookings.check_in, "Somebody came")
    yield _moving(desk, "no-show", bookings.no_show, "Nobody came")


def _moving(
    desk: Desk, name: str, function: Callable[..., Booking], summary: str
) -> ControllerRouterHandler:
    @post(
        f"/v1/booking/bookings/{{booking:str}}/{name}",
        tags=TAGS,
        summary=summary,
        status_code=200,
        opt={**_TOUCHES, **takes("If-Match")},
    )
    async def move(booking: FromPath[str], scope: Scope) -> Answer[BookingShown]:
        """A booking goes on in its life, if its state allows it. No body."""
        desk.booking(scope, WRITE, booking)
        version = version_of(scope)
        return answered(await desk.decide(scope, b"", function, booking, version=version))

    return move
