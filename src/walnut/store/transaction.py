"""A transaction: what its function reads, and what it wrote so far.

    read:   own writes ─▶ overlay (not yet durable) ─▶ tables

What must stay true: a transaction runs alone, sees everything that was decided before it, durable or
not, and leaves nothing behind unless it is committed. Time and chance are decided once, here, and go
into the record.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from walnut.store.engine import View
from walnut.store.errors import TransactionFinished
from walnut.store.keyring import Keyring
from walnut.store.overlay import Missing, Overlay, merge
from walnut.store.record import Meta, Writes, utc
from walnut.store.schema import seal
from walnut.store.tables import PRIVATE


class Reader(Protocol):
    """Whatever tables are read through: a transaction, a snapshot, or the store itself."""

    @property
    def keyring(self) -> Keyring:
        """Opens what is sealed."""

    def read(self, key: bytes) -> bytes | None:
        """The value of a full key."""

    def read_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of full keys of one table."""

    def walk(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Full keys and values from `start` up to, not with, `stop`; or the same backwards."""


class Transaction:
    """What a transaction function is given. For tables to read and write through; of its own it has
    the time, ids and chance.

    Attributes:
        time: when it was decided, ns since the Unix epoch; never decreases between transactions.
        meta: who and why.
        writes, hidden, before, sealed, ranges, erased: what it will do; see `record.Commit`. `hidden`
            is by subject, `private` the same in one; `sealed` names the subject of each row that is
            to be sealed.
        then: what was asked for with `after`.
    """

    __slots__ = (
        "_ids", "_overlay", "_random", "_seen", "_view", "before", "erased", "finished", "hidden",
        "keyring", "lsn", "meta", "private", "ranges", "sealed", "seed", "then", "time", "writes",
    )  # fmt: skip

    def __init__(
        self, view: View, overlay: Overlay, keyring: Keyring, lsn: int, time: int, meta: Meta
    ) -> None:
        self.keyring = keyring
        self.lsn = lsn
        self.time = time
        self.meta = meta
        self.writes: Writes = {}
        self.hidden: dict[int, Writes] = {}
        self.private: Writes = {}
        self.before: Writes = {}
        self.sealed: dict[bytes, int] = {}
        self.ranges: list[tuple[bytes, bytes]] = []
        self.erased: list[int] = []
        self.then: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.seed = b""
        self.finished = False
        self._view = view
        self._overlay = overlay
        self._ids = 0
        self._seen: Writes = {}
        self._random: random.Random | None = None

    # -- time and chance ------------------------------------------------------------------------

    @property
    def now(self) -> dt.datetime:
        """When this transaction was decided, in UTC. The only clock a function may look at."""
        return utc(self.time)

    def new_id(self) -> uuid.UUID:
        """A new id, unique and roughly ascending (UUID version 7, RFC 9562)."""
        self._ids += 1
        salt = hashlib.blake2b(
            self._ids.to_bytes(4, "big"), key=self._seed(), digest_size=10
        ).digest()
        high = (self.time // 1_000_000) << 80 | int.from_bytes(salt, "big")
        return uuid.UUID(int=high & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)

    @property
    def random(self) -> random.Random:
        """Chance: the same numbers whenever this transaction's seed is given again."""
        if self._random is None:
            self._random = random.Random(self._seed())  # noqa: S311  chance, not secrets
        return self._random

    def _seed(self) -> bytes:
        if not self.seed:
            self.seed = self.keyring.entropy(16)
        return self.seed

    def after(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function(*args)` once what this transaction wrote is durable and can be read; not at
        all if it never is, or wrote nothing. For waking whoever is to act on it: it is called on the
        thread that all commits wait for, so it is quick. If it raises, that is counted
        (`Metrics.after_raised`) and logged to the logger `walnut.store`, and changes nothing else. After
        a crash it is not called again: whoever needs to know then reads the tables."""
        self.then.append((function, args))

    # -- for tables -----------------------------------------------------------------------------

    def check(self) -> None:
        """Raise TransactionFinished if it has ended."""
        if self.finished:
            raise TransactionFinished(
                "this transaction has ended: use it only inside its block or function"
            )

    def read(self, key: bytes) -> bytes | None:
        """See `Reader.read`."""
        if self.finished:
            self.check()
        if key in self.writes:
            return self.writes[key]
        if key in self.private:
            return self.private[key]
        if key in self._seen:  # nobody else writes meanwhile; who reads a row often puts it then
            return self._seen[key]
        value = self._overlay.get(key)
        found = self._seen[key] = self._view.get(key) if isinstance(value, Missing) else value
        return found

    def read_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Reader.read_many`."""
        return [self.read(key) for key in keys]

    def walk(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Reader.walk`: everything as it is now, whatever the transaction writes on the way."""
        self.check()
        changes = self._overlay.between(start, stop)
        own = self.private if start[0] & PRIVATE else self.writes
        mine = {key: value for key, value in own.items() if start <= key < stop}
        changes = changes | mine
        # Only now: what leaves the overlay is in the tables before it does.
        base = self._view.walk(start, stop, reverse=reverse)
        if not changes:
            return base
        if mine or reverse:
            changes = dict(sorted(changes.items(), reverse=reverse))
        return merge(base, changes, reverse=reverse)

    def write(self, key: bytes, value: bytes | None) -> None:
        """Set a full key to a value, or delete it."""
        self.check()
        self.writes[key] = value

    def write_private(self, key: bytes, value: bytes | None, subject: int) -> None:
        """The same in a private table, about this subject."""
        self.hidden.setdefault(subject, {})[key] = value
        self.private[key] = value

    def erase(self, subject: int) -> None:
        """Have the key of a subject destroyed. What this transaction wrote about it before goes too."""
        for key, number in list(self.sealed.items()):
            row = self.writes[key]
            if number == subject and row is not None:
                self.writes[key] = seal(key, row, number, self.lsn, self.keyring)
                del self.sealed[key]
        # Applied after the erasure, its entries would stay in clear. One that was another's is gone.
        for key in self.hidden.pop(subject, ()):
            del self.private[key]
            if any(key in writes for writes in self.hidden.values()):
                self.private[key] = None
        self.erased.append(subject)
        self.keyring = self.keyring.without([subject])
