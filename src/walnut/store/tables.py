"""The tables as they are applied: two engines behind one view, and how effects get in.

    effects ──▶ keyring (erasures) ──▶ public engine, private engine       each with its applied LSN

Whatever is derived from the contents of rows about subjects (their index entries) lives in the private
engine, which no backup copies: it can be made anew from the rows, and only from those whose keys still
exist. The first bit of a full key tells the two apart.

What must stay true: effects are applied in the order of their LSNs, each once per engine, and reading
is never between the two engines of one effect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from walnut.log.disk import Disk
from walnut.store.engine import Batch, OpenEngine, View, applied_lsn
from walnut.store.keyring import Keyring
from walnut.store.record import Commit, Writes, hidden_bound, unpack_writes

PRIVATE: Final = 0x80
"""Set in the first byte of full keys in private tables."""
ID_BYTES: Final = 4

OF_SUBJECT: Final = b"\x80\0\0\0"
"""Private: after this and a subject's number come the full keys of all entries about the subject."""

OWNER_BYTES: Final = 5
"""The value of a private index entry begins with the number of the subject it is about."""
_BUILT: Final = b"\x80\0\0\1"
_ORIGIN: Final = b"\x80\0\0\2"


class Effect(msgspec.Struct):
    """What a transaction does to the tables: its commit with the hidden part in clear; and what is
    called then (`Transaction.after`). `began` is when its function did, by a clock for measuring; 0
    if it was read from the log."""

    lsn: int
    writes: Writes
    hidden: Writes = {}
    ranges: list[tuple[bytes, bytes]] = []
    erased: list[int] = []
    then: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
    began: float = 0.0


def effect_of(commit: Commit, lsn: int, keyring: Keyring) -> Effect:
    """The effect of a commit that was read from the log. Hidden writes about those who were erased
    meanwhile can't be read, and need not be: entries about them go when the erasure is applied.

    An entry that passed from one subject to another is deleted by the one and written by the other,
    whatever order they are in. Raises KeysMissing."""
    hidden: Writes = {}
    for part in commit.hidden:
        if keyring.knows(part.subject):
            body = keyring.open(part.subject, part.sealed, hidden_bound(lsn))
            for key, value in unpack_writes(body).items():
                if value is not None or key not in hidden:
                    hidden[key] = value
    return Effect(lsn, commit.writes, hidden, commit.ranges, commit.erased)


def built_mark(index: int) -> bytes:
    """The full key that holds the LSN which the building of this private index began after."""
    return _BUILT + index.to_bytes(ID_BYTES, "big")


def is_built(read: Callable[[bytes], bytes | None], index: int) -> bool:
    """Whether a private index holds everything it should: it was built to its end, and the private
    tables have all there was since its beginning."""
    began, origin = read(built_mark(index)), read(_ORIGIN)
    return began is not None and (origin is None or origin <= began)


def subject_prefix(number: int) -> bytes:
    """Before the full keys of the private entries about subject `number`."""
    return OF_SUBJECT + number.to_bytes(8, "big")


def after(prefix: bytes) -> bytes:
    """The end of the range of everything that begins with `prefix`."""
    return prefix + b"\xff" * 8


class TwoViews:
    """Public and private tables as one `View`."""

    def __init__(self, public: View, private: View) -> None:
        self._public = public
        self._private = private

    def get(self, key: bytes) -> bytes | None:
        """See `View.get`."""
        return self._private.get(key) if key[0] & PRIVATE else self._public.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `View.get_many`. All keys are of one table."""
        private = bool(keys) and keys[0][0] & PRIVATE
        return (self._private if private else self._public).get_many(keys)

    def walk(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `View.walk`."""
        view = self._private if start[0] & PRIVATE else self._public
        return view.walk(start, stop, reverse=reverse)


class Tables(TwoViews):
    """The durable tables of a store, as far as the log was applied to them."""

    def __init__(
        self, disk: Disk, path: str, opener: OpenEngine, keyring: Keyring, *, read_only: bool
    ) -> None:
        self.public = opener(disk, f"{path}/public", read_only=read_only)
        self.private = opener(disk, f"{path}/private", read_only=read_only)
        super().__init__(self.public, self.private)
        self._keyring = keyring
        self._lock = threading.Lock()
        self._applied = applied_lsn(self.public)
        self._private_applied = applied_lsn(self.private)
        if not self._private_applied and self._applied and not read_only:
            # New beside tables that are not: what it should hold is made again from the rows.
            self._private_applied = self._applied
            origin = self._applied.to_bytes(8, "big")
            self.private.write(Batch({_ORIGIN: origin}, []), self._applied)

    @property
    def applied(self) -> int:
        """The LSN up to which everything is in both engines."""
        return min(self._applied, self._private_applied)

    @property
    def newest(self) -> int:
        """The highest LSN that one of the engines has applied."""
        return max(self._applied, self._private_applied)

    def apply(self, effects: Iterable[Effect], lsn: int) -> None:
        """Apply effects, in order; the tables are then the state after `lsn`."""
        with self._lock:
            public, private, done = Batch({}, []), Batch({}, []), 0
            for effect in effects:
                if effect.erased:
                    self._write(public, private, done)
                    public, private = Batch({}, []), Batch({}, [])
                    self._erase(effect, private)
                public.writes.update(effect.writes)
                if effect.hidden:
                    private.writes.update(effect.hidden)
                for begin, end in effect.ranges:
                    (private if begin[0] & PRIVATE else public).ranges.append((begin, end))
                done = effect.lsn
            self._write(public, private, lsn)

    def _write(self, public: Batch, private: Batch, lsn: int) -> None:
        marks = [key for key in public.writes if key[0] & PRIVATE]
        for key in marks:
            private.writes[key] = public.writes.pop(key)
        if lsn > self._applied:
            self.public.write(public, lsn)
            self._applied = lsn
        if lsn > self._private_applied:
            if private.writes or private.ranges:
                self.private.write(private, lsn)
            self._private_applied = lsn

    def _erase(self, effect: Effect, private: Batch) -> None:
        self._keyring.destroy(effect.erased)
        for number in effect.erased:
            prefix = subject_prefix(number)
            owner = prefix[-OWNER_BYTES:]
            for key, _ in self.private.walk(prefix, after(prefix)):
                private.writes[key] = None
                entry = key[len(prefix) :]
                # It may be about somebody else by now, if how it passed on can't be read any more.
                if (self.private.get(entry) or b"").startswith(owner):
                    private.writes[entry] = None

    def snapshot(self) -> tuple[View, int]:
        """The tables as they are now, and the LSN they are the state after."""
        with self._lock:
            return TwoViews(self.public.snapshot(), self.private.snapshot()), self._applied

    def flush(self) -> int:
        """Make durable what was applied; returns the LSN up to which it is."""
        with self._lock:
            lsn = self.applied
            self.private.write(Batch(), self._private_applied)
        self.public.flush()
        self.private.flush()
        return lsn

    def compact_private(self) -> None:
        """Drop from the disk what was deleted from private tables."""
        self.private.compact(bytes((PRIVATE,)), b"\xff" * ID_BYTES)
        # One change more, so that its list of files is written anew, without keys of those dropped.
        with self._lock:
            self.private.write(Batch(), self._private_applied)
        self.private.flush()

    def memory_bytes(self) -> int:
        """What the engines hold in memory."""
        return self.public.memory_bytes() + self.private.memory_bytes()

    def close(self) -> None:
        """Let go of the files. Raises TablesFailed."""
        try:
            self.public.close()
        finally:
            self.private.close()
