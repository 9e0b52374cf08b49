"""Addresses of feeds for calendar programs, which send no credential but the address they were given.

    POST feeds ─▶ /calendars/ID.ics?secret=...     told once; kept: SHA-256 of the secret

Whoever has such an address reads that one feed and does nothing else, until it is revoked.

What must stay true: a secret is 256 random bits, kept by its digest alone, and compared in constant
time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final, Literal

import msgspec

from walnut.booking.errors import InvalidWant, UnknownFeed
from walnut.store.store import Store
from walnut.store.transaction import Reader, Transaction

SECRET_BYTES: Final = 32
MOST_NAME: Final = 200
"""Characters in the id of a resource or a customer."""

Of = Literal["resource", "customer"]


class Subscription(msgspec.Struct, frozen=True):
    """An address that was given out.

    Attributes:
        of, name: whose bookings it shows: a resource's or a customer's.
        made: moment. by: principal.
    """

    id: str
    of: Of
    name: str
    digest: bytes
    made: int
    by: str


class Subscriptions:
    """All addresses that were given out and not revoked."""

    def __init__(self, store: Store) -> None:
        self.table = store.table("booking.feeds", Subscription, key=lambda row: row.id)

    def add(self, tx: Transaction, of: Of, name: str) -> tuple[Subscription, str]:
        """A new address, and its secret, which nothing else will tell. Raises InvalidWant."""
        if not 0 < len(name) <= MOST_NAME:
            raise InvalidWant(f"a feed is of something with an id of up to {MOST_NAME} characters")
        secret = base64.urlsafe_b64encode(tx.keyring.entropy(SECRET_BYTES)).rstrip(b"=").decode()
        row = Subscription(
            tx.new_id().hex, of, name, _digest(secret), tx.time // 1000, tx.meta.principal
        )
        return self.table.put(tx, row), secret

    def revoke(self, tx: Transaction, id_: str) -> None:
        """The address is good no longer. Raises UnknownFeed."""
        if not self.table.delete(tx, id_):
            raise UnknownFeed(f"there is no feed {id_!r}")

    def check(self, reader: Reader, id_: str, secret: str) -> Subscription | None:
        """What an address shows; None if it is not one that was given out, or not any more."""
        row = self.table.get(reader, id_) if id_ else None
        good = hmac.compare_digest(_digest(secret), row.digest if row else bytes(SECRET_BYTES))
        return row if good else None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
