"""A queue for sudden demand: everybody who comes at ten o'clock has a place, and is let in in order.

    before it opens    arrivals ─▶ drawn: by SHA-256 of a seed and who they are
    as it opens        ─▶ numbers 1, 2, 3, ... in the order of the draw, a thousand in a transaction
    afterwards         arrivals ─▶ the next number
    let in             all numbers up to  at_once + rate * time since it opened

Coming early gives no advantage over others who do, and being fast none before the opening. The digest of
the seed is told when the sale is made, and the seed once it has opened: whoever wants can draw again.
(Who runs the sale can read the seed before: the digest shows that it was not changed afterwards. Let
people be known by ids they can't choose.)

What must stay true: one place for one person; numbers are dense, and once given never change; nobody is
let in before all those ahead of them.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
from typing import Final

import msgspec

from walnut.booking.errors import InvalidWant, NotYourTurn, UnknownSale
from walnut.booking.model import SECOND, micros, moment
from walnut.jobs.jobs import Jobs
from walnut.store.store import Store
from walnut.store.transaction import Reader, Transaction

NUMBERED_AT_ONCE: Final = 1000
"""People who are given their numbers in one transaction: others wait meanwhile."""
MOST_DAYS_AHEAD: Final = 3660
"""From when a sale is announced to when it opens."""
MOST_NAME: Final = 200
"""Characters in the id of a sale or a person."""


class Sale(msgspec.Struct):
    """A sale that many come to.

    Attributes:
        opens: moment. per_minute: so many are let in each minute, after the first `at_once`.
        stay: seconds for which whoever was let in may stay.
        seed: of the draw. key: positions are signed with it.
        entered: people. numbered: those of them who have a number.
    """

    id: str
    opens: int
    per_minute: int
    at_once: int
    stay: int
    seed: bytes
    key: bytes
    entered: int = 0
    numbered: int = 0

    @property
    def commitment(self) -> str:
        """What is told of the seed before it opens."""
        return hashlib.sha256(self.seed).hexdigest()

    def admitted(self, now: int) -> int:
        """The last number that is let in by a moment; 0 before it opens."""
        if now < self.opens:
            return 0
        return self.at_once + (now - self.opens) * self.per_minute // (60 * SECOND)


class Person(msgspec.Struct, array_like=True, gc=False):
    """Somebody in the queue of a sale; number 0 until it has opened."""

    sale: str
    who: str
    number: int
    drawn: bytes


class Drawn(msgspec.Struct, array_like=True, gc=False):
    """Somebody who came before it opened, by the order of the draw."""

    sale: str
    drawn: bytes
    who: str


class Position(msgspec.Struct, frozen=True):
    """Where somebody stands. `number` 0: not drawn yet. `admitted`: may go in now, until `until`.

    `token` says so, signed; it can be shown wherever the sale is known."""

    sale: str
    who: str
    number: int
    ahead: int
    admitted: bool
    until: dt.datetime | None
    token: str


class _Claim(msgspec.Struct, array_like=True, frozen=True):
    sale: str
    who: str
    number: int


class Queue:
    """Sales, and who stands in line for them."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self.sales = store.table("booking.sales", Sale, key=lambda row: row.id)
        self.people = store.table("booking.people", Person, key=lambda row: (row.sale, row.who))
        self.drawn = store.table(
            "booking.drawn", Drawn, key=lambda row: (row.sale, row.drawn, row.who)
        )
        self._jobs = jobs
        self._open = jobs.action(self._number, "booking.queue")

    def add(
        self,
        tx: Transaction,
        id_: str,
        opens: dt.datetime,
        *,
        per_minute: int,
        at_once: int = 0,
        stay: int = 600,
    ) -> Sale:
        """A sale that opens then. Raises InvalidWant, also if there is one with this id."""
        if not 0 < len(id_) <= MOST_NAME or self.sales.get(tx, id_) is not None:
            raise InvalidWant(f"there is a sale {id_!r} already, or its id is too long")
        if opens.tzinfo is None or per_minute < 1 or at_once < 0 or stay < 1:
            raise InvalidWant("a sale opens at a moment with a zone, and lets people in")
        if opens > tx.now + dt.timedelta(days=MOST_DAYS_AHEAD):
            raise InvalidWant(f"a sale opens within {MOST_DAYS_AHEAD} days")
        seed, key = tx.keyring.entropy(32), tx.keyring.entropy(32)
        sale = Sale(id_, max(micros(opens), tx.time // 1000), per_minute, at_once, stay, seed, key)
        self._jobs.at(tx, moment(sale.opens), self._open, id_)
        return self.sales.put(tx, sale)

    def enter(self, tx: Transaction, sale: str, who: str) -> Position:
        """Stand in line; whoever does already keeps their place. Raises UnknownSale, InvalidWant."""
        row = self.need(tx, sale)
        if not 0 < len(who) <= MOST_NAME:
            raise InvalidWant(f"who stands in line has an id of up to {MOST_NAME} characters")
        if self.people.get(tx, (sale, who)) is None:
            row.entered += 1
            drawn = hashlib.sha256(row.seed + who.encode()).digest()
            open_ = tx.time // 1000 >= row.opens
            # Whoever comes later stands behind all who came before it opened, numbered or not.
            self.people.put(tx, Person(sale, who, row.entered if open_ else 0, drawn))
            if not open_:
                self.drawn.put(tx, Drawn(sale, drawn, who))
            self.sales.put(tx, row)
        return self.position(tx, sale, who, tx.now)

    def position(self, reader: Reader, sale: str, who: str, now: dt.datetime) -> Position:
        """Where somebody stands. Raises UnknownSale, NotYourTurn if they don't."""
        row, person = self.need(reader, sale), self.people.get(reader, (sale, who))
        if person is None:
            raise NotYourTurn(f"{who} does not stand in line for {sale}: enter first")
        at = micros(now)
        admitted = row.admitted(at)
        number = person.number
        until = self._until(row, number) if number else None
        return Position(
            sale,
            who,
            number,
            max(0, number - admitted - 1) if number else row.entered - 1,
            bool(number) and number <= admitted and until is not None and at < micros(until),
            until,
            _signed(row.key, _Claim(sale, who, number)) if number else "",
        )

    def check(self, reader: Reader, token: str, now: dt.datetime) -> str:
        """Who shows this position, if it is their turn: call it in the transaction that holds what
        they came for. Raises NotYourTurn, UnknownSale."""
        claim, signature = _read(token)
        row = self.need(reader, claim.sale)
        if not hmac.compare_digest(signature, _signature(row.key, claim)):
            raise NotYourTurn("the position is not one that was given")
        if claim.number > row.admitted(micros(now)):
            ahead = claim.number - row.admitted(micros(now)) - 1
            raise NotYourTurn(f"it is not number {claim.number}'s turn yet: {ahead} are ahead")
        if now >= self._until(row, claim.number):
            raise NotYourTurn(f"number {claim.number}'s turn is over")
        return claim.who

    def need(self, reader: Reader, id_: str) -> Sale:
        """A sale. Raises UnknownSale."""
        sale = self.sales.get(reader, id_)
        if sale is None:
            raise UnknownSale(f"there is no sale {id_!r}")
        return sale

    @staticmethod
    def _until(sale: Sale, number: int) -> dt.datetime:
        """When the turn of a number is over."""
        wait = max(0, number - sale.at_once) * 60 * SECOND
        return moment(sale.opens + -(-wait // sale.per_minute) + sale.stay * SECOND)

    def _number(self, tx: Transaction, id_: str) -> None:
        """The action of the timer: give numbers in the order of the draw, some at a time."""
        sale = self.need(tx, id_)
        some = list(self.drawn.scan(tx, id_, limit=NUMBERED_AT_ONCE))
        for row in some:
            sale.numbered += 1
            self.people.put(tx, Person(id_, row.who, sale.numbered, row.drawn))
            self.drawn.delete(tx, (id_, row.drawn, row.who))
        self.sales.put(tx, sale)
        if len(some) == NUMBERED_AT_ONCE:
            self._jobs.at(tx, tx.now, self._open, id_)


def _signature(key: bytes, claim: _Claim) -> bytes:
    return hmac.new(key, msgspec.msgpack.encode(claim), hashlib.sha256).digest()


def _signed(key: bytes, claim: _Claim) -> str:
    return base64.urlsafe_b64encode(
        msgspec.msgpack.encode((claim, _signature(key, claim)))
    ).decode()


def _read(token: str) -> tuple[_Claim, bytes]:
    try:
        data = base64.urlsafe_b64decode(token.encode())
        return msgspec.msgpack.decode(data, type=tuple[_Claim, bytes])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise NotYourTurn("this is no position in a queue") from error
