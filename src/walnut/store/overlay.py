"""The overlay: what transactions wrote that is not durable yet, above the tables.

The next transaction reads through it, so that it need not wait for the disk; nobody outside does.

What must stay true: an entry is here from before its record is submitted until after it is in the
tables, so that a transaction finds it in one place or the other; and when records are refused, the
overlay is what it would be had they never been.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Final

from walnut.store.record import Writes
from walnut.store.tables import Effect


class Missing:
    """The type of `MISSING`."""


_STALE: Final = 64
"""Sorted keys that are gone are dropped when there are more of them than of the others, and this."""

MISSING: Final = Missing()
"""There is no entry, which is not the same as an entry that deletes."""


class Overlay:
    """Entered by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: deque[Effect] = deque()
        self._applying: list[Effect] = []
        self._entries: dict[bytes, tuple[int, bytes | None]] = {}
        self._sorted: list[bytes] = []  # keys, some of them gone already or there twice
        self._unsorted: list[Effect] = []  # entered since they were sorted
        self.erasing: frozenset[int] = frozenset()
        """Subjects whose keys are to be destroyed when what erased them is durable."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> bytes | Missing | None:
        """The newest value of a key; None if deleted, MISSING if nobody wrote it."""
        entry = self._entries.get(key)
        return MISSING if entry is None else entry[1]

    def between(self, start: bytes, stop: bytes) -> Writes:
        """The entries from `start` up to, not with, `stop`, sorted."""
        with self._lock:
            entries = self._entries
            if self._unsorted:
                for effect in self._unsorted:
                    self._sorted += effect.writes
                    self._sorted += effect.hidden
                self._unsorted = []
                if len(self._sorted) > 2 * len(entries) + _STALE:
                    self._sorted = list(entries)
                self._sorted.sort()
            keys = self._sorted[bisect_left(self._sorted, start) : bisect_left(self._sorted, stop)]
            return {key: entries[key][1] for key in keys if key in entries}

    def add(self, effect: Effect) -> None:
        """A transaction wrote this and its record is about to be submitted."""
        with self._lock:
            self._pending.append(effect)
            self._enter(effect)
            if effect.erased:
                self.erasing = self.erasing.union(effect.erased)

    def _enter(self, effect: Effect) -> None:
        lsn, entries = effect.lsn, self._entries
        for key, value in effect.writes.items():
            entries[key] = (lsn, value)
        for key, value in effect.hidden.items():
            entries[key] = (lsn, value)
        self._unsorted.append(effect)

    def durable(self, lsn: int) -> list[Effect]:
        """What is to be applied now that everything up to `lsn` is durable; it stays until
        `applied` is called."""
        with self._lock:
            pending, ripe = self._pending, list[Effect]()
            while pending and pending[0].lsn <= lsn:
                ripe.append(pending.popleft())
            self._applying = ripe
            return ripe

    def applied(self) -> None:
        """What `durable` returned last is in the tables now."""
        with self._lock:
            entries = self._entries
            effects, self._applying = self._applying, []
            if self.erasing:
                self._list_erasing()
            if not self._pending:
                entries.clear()
                self._sorted, self._unsorted = [], []
                return
            last = effects[-1].lsn
            self._unsorted = [effect for effect in self._unsorted if effect.lsn > last]
            for effect in effects:
                for key in chain(effect.writes, effect.hidden):
                    if key in entries and entries[key][0] <= last:
                        del entries[key]

    def refused(self, lsn: int) -> list[Effect]:
        """Forget what was written at `lsn` and after it, none of which is durable; returns it."""
        with self._lock:
            dropped: list[Effect] = []
            while self._pending and self._pending[-1].lsn >= lsn:
                dropped.append(self._pending.pop())
            self._entries = {}
            self._sorted, self._unsorted = [], []
            for effect in (*self._applying, *self._pending):
                self._enter(effect)
            self._list_erasing()
            return dropped

    def _list_erasing(self) -> None:
        waiting = (*self._applying, *self._pending)
        self.erasing = frozenset(number for effect in waiting for number in effect.erased)


def merge(
    base: Iterator[tuple[bytes, bytes]], changes: Writes, *, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    """`base` as it is with `changes` made; both sorted upward, or both downward if `reverse`."""
    waiting = iter(changes.items())
    change = next(waiting, None)
    for key, value in base:
        while change is not None and change[0] != key and (change[0] < key) != reverse:
            if change[1] is not None:
                yield change[0], change[1]
            change = next(waiting, None)
        if change is None or change[0] != key:
            yield key, value
            continue
        if change[1] is not None:
            yield key, change[1]
        change = next(waiting, None)
    while change is not None:
        if change[1] is not None:
            yield change[0], change[1]
        change = next(waiting, None)
