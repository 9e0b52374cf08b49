"""Routes of those who wait: in a waitlist for what others have, in the queue of a sale.

What must stay true: an offer is a hold, taken by confirming it; a place in a queue is signed, and a hold
that names it is only made when it is its turn.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import partial
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.booking.api.asking import (
    ADMIN,
    READ,
    TAGS,
    WRITE,
    Desk,
    Wants,
    permit_all,
    permit_wants,
)
from walnut.booking.model import Want, moment
from walnut.booking.queue import Position, Queue, Sale
from walnut.booking.waitlist import Entry, Waitlist
from walnut.store.api.asking import reached, write
from walnut.store.transaction import Reader, Transaction
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.openapi import takes
from walnut.web.positions import position


class JoinAsked(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody waits for. `weight`: heavier ones go first."""

    want: Wants
    customer: str = ""
    weight: int = 0


class EntryShown(msgspec.Struct, omit_defaults=True):
    """Somebody who waits.

    Attributes:
        ahead: how many who want the same are ahead.
        offer: the booking that is held for them; confirm or release it as any hold.
    """

    id: str
    wants: list[Want]
    customer: str = ""
    weight: int = 0
    ahead: int = 0
    offer: str = ""


class SaleAsked(msgspec.Struct, forbid_unknown_fields=True):
    """A sale that many will come to: so many are let in each minute, after the first `at_once`, and
    may stay so many seconds."""

    id: str
    opens: dt.datetime
    per_minute: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    at_once: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    stay: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 600


class SaleShown(msgspec.Struct, omit_defaults=True):
    """A sale. `commitment`: SHA-256 of the draw's seed, in hex; `seed`: in hex, once it has opened."""

    id: str
    opens: dt.datetime
    per_minute: int
    at_once: int
    stay: int
    entered: int
    admitted: int
    commitment: str
    seed: str = ""


class Who(msgspec.Struct, forbid_unknown_fields=True):
    """Who stands in line: an id that people can't choose, such as that of an account."""

    who: str


class Left(msgspec.Struct):
    """The entry that waits no longer."""

    id: str


def routes(desk: Desk, waitlist: Waitlist, queue: Queue) -> Iterator[ControllerRouterHandler]:
    """The routes of this waitlist and this queue."""
    yield from _waitlist(desk, waitlist)
    yield from _queue(desk, queue)


def _waitlist(desk: Desk, waitlist: Waitlist) -> Iterator[ControllerRouterHandler]:
    store = desk.store

    @post(
        "/v1/booking/waitlist", tags=TAGS, summary="Wait for something", opt=needs(WRITE, each=True)
    )
    async def join(data: JSONBody[JoinAsked], scope: Scope) -> Answer[EntryShown]:
        """Wait for what others have. What becomes free is held for the first in line, in the commit
        that frees it, until a deadline; then for the next. If it is free now, it is offered at once."""
        permit_wants(scope, WRITE, data.want)
        change = partial(_join, waitlist, data)
        done = await write(store, scope, msgspec.json.encode(data), EntryShown, change)
        return Answer(done.result, headers=done.headers)

    @get(
        "/v1/booking/waitlist/{entry:str}",
        tags=TAGS,
        summary="Where somebody waits",
        opt={**needs(READ, each=True), **takes("at_least")},
    )
    async def place(
        entry: FromPath[str], scope: Scope, at_least: FromQuery[int] = 0
    ) -> Answer[EntryShown]:
        """How many are ahead, or the offer. 404 once it was taken, or let pass."""
        await reached(store, at_least)
        with store.snapshot() as seen:
            found = _entry(waitlist, seen, waitlist.get(seen, entry))
            permit_wants(scope, READ, found.wants)
            return Answer(found, headers=position(seen.lsn))

    @delete(
        "/v1/booking/waitlist/{entry:str}",
        tags=TAGS,
        summary="Wait no longer",
        status_code=200,
        opt=needs(WRITE, each=True),
    )
    async def leave(
        entry: FromPath[str], scope: Scope, customer: FromQuery[str | None] = None
    ) -> Answer[Left]:
        """What is offered is given back, and offered to the next. `customer`: whose it has to be."""
        permit_wants(scope, WRITE, waitlist.get(store, entry).wants)
        done = await write(store, scope, b"", Left, partial(_leave, waitlist, entry, customer))
        return Answer(done.result, headers=done.headers)

    yield from (join, place, leave)


def _join(waitlist: Waitlist, asked: JoinAsked, tx: Transaction) -> EntryShown:
    entry = waitlist.join(tx, asked.want, customer=asked.customer, weight=asked.weight)
    return _entry(waitlist, tx, entry)


def _leave(waitlist: Waitlist, entry: str, customer: str | None, tx: Transaction) -> Left:
    waitlist.leave(tx, entry, customer=customer)
    return Left(entry)


def _entry(waitlist: Waitlist, reader: Reader, entry: Entry) -> EntryShown:
    ahead = waitlist.ahead(reader, entry.id)
    return EntryShown(entry.id, entry.wants, entry.customer, entry.weight, ahead, entry.offer)


def _queue(desk: Desk, queue: Queue) -> Iterator[ControllerRouterHandler]:
    store = desk.store

    @post("/v1/booking/sales", tags=TAGS, summary="Announce a sale", opt=needs(ADMIN, each=True))
    async def announce(data: JSONBody[SaleAsked], scope: Scope) -> Answer[SaleShown]:
        """A queue that opens then. Whoever comes before gets a number by a draw, whose seed is told
        afterwards and whose digest, `commitment`, now; whoever comes later the next number."""
        permit_all(scope, ADMIN, [data.id])
        change = partial(_announce, queue, data)
        done = await write(store, scope, msgspec.json.encode(data), SaleShown, change)
        return Answer(done.result, headers=done.headers)

    @get(
        "/v1/booking/sales/{sale:str}",
        tags=TAGS,
        summary="Look at a sale",
        opt={**needs(READ, name="sale"), **takes("at_least")},
    )
    async def look(sale: FromPath[str], at_least: FromQuery[int] = 0) -> Answer[SaleShown]:
        """How many have come and were let in; the seed of the draw, once it has opened."""
        lsn = await reached(store, at_least)
        return Answer(_sale(queue.need(store, sale), desk.now()), headers=position(lsn))

    @post(
        "/v1/booking/sales/{sale:str}/queue",
        tags=TAGS,
        summary="Stand in line",
        opt=needs(WRITE, name="sale"),
    )
    async def enter(sale: FromPath[str], data: JSONBody[Who], scope: Scope) -> Answer[Position]:
        """A place; whoever has one keeps it. `token` is the place, signed: give it as `position` of a
        hold."""
        change = partial(_enter, queue, sale, data.who)
        done = await write(store, scope, msgspec.json.encode(data), Position, change)
        return Answer(done.result, headers=done.headers)

    @get(
        "/v1/booking/sales/{sale:str}/queue/{who:str}",
        tags=TAGS,
        summary="Where somebody stands",
        opt={**needs(READ, name="sale"), **takes("at_least")},
    )
    async def stands(
        sale: FromPath[str], who: FromPath[str], at_least: FromQuery[int] = 0
    ) -> Answer[Position]:
        """How many are ahead; whether it is their turn, and until when."""
        lsn = await reached(store, at_least)
        return Answer(queue.position(store, sale, who, desk.now()), headers=position(lsn))

    yield from (announce, look, enter, stands)


def _announce(queue: Queue, asked: SaleAsked, tx: Transaction) -> SaleShown:
    sale = queue.add(
        tx,
        asked.id,
        asked.opens,
        per_minute=asked.per_minute,
        at_once=asked.at_once,
        stay=asked.stay,
    )
    return _sale(sale, tx.now)


def _enter(queue: Queue, sale: str, who: str, tx: Transaction) -> Position:
    return queue.enter(tx, sale, who)


def _sale(sale: Sale, now: dt.datetime) -> SaleShown:
    opens = moment(sale.opens)
    admitted = sale.admitted((now - moment(0)) // dt.timedelta(microseconds=1))
    return SaleShown(
        sale.id, opens, sale.per_minute, sale.at_once, sale.stay, sale.entered,
        min(admitted, sale.entered), sale.commitment, sale.seed.hex() if now >= opens else "",
    )  # fmt: skip
