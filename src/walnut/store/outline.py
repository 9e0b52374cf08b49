"""A record of the log in a line: who, why, which tables, how many rows.

What must stay true: a record is described and never shown; no row's content is in its outline.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from walnut.log.model import Record
from walnut.store.errors import RowDamaged
from walnut.store.record import Meta, unpack
from walnut.store.store import Store
from walnut.store.tables import ID_BYTES

Kind = Literal["transaction", "other", "damaged"]
"""Of a record: "other" was appended by a program, past the store."""


class Touched(msgspec.Struct):
    """How many rows of a table a transaction put and deleted."""

    put: int = 0
    deleted: int = 0


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the log in a line.

    Attributes:
        lsn, written: of its frame, time in ns.
        time: in ns, as decided for a transaction and as written for others.
        size: in bytes.
        meta: who and why; None for a record that is no transaction.
        tables: what it did to which tables.
        others: entries of indexes and of the store's own tables.
        hidden: writes to private tables, which are encrypted.
        erased: how many subjects it erased.
    """

    lsn: int
    written: int
    time: int
    size: int
    kind: Kind
    meta: Meta | None = None
    tables: dict[str, Touched] = {}
    others: int = 0
    hidden: int = 0
    erased: int = 0


class Outlines:
    """Outlines the records of a store: it knows its tables by their numbers, new ones when they come."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: dict[int, str] = {}

    def of(self, record: Record) -> Outline:
        """A record in a line."""
        lsn, size = record.lsn, len(record.data)
        kind: Kind = "other"
        try:
            commit = unpack(record.data, lsn)
        except RowDamaged:
            commit, kind = None, "damaged"
        if commit is None:
            return Outline(lsn=lsn, written=record.time, time=record.time, size=size, kind=kind)
        tables: dict[str, Touched] = {}
        others = 0
        for key, value in commit.writes.items():
            name = self._name(int.from_bytes(key[:ID_BYTES], "big"))
            if not name:
                others += 1
                continue
            touched = tables.setdefault(name, Touched())
            if value is None:
                touched.deleted += 1
            else:
                touched.put += 1
        return Outline(
            lsn=lsn,
            written=record.time,
            time=commit.time,
            size=size,
            kind="transaction",
            meta=commit.meta,
            tables=tables,
            others=others,
            hidden=len(commit.hidden),
            erased=len(commit.erased),
        )

    def between(self, start: int, stop: int) -> Iterator[Outline]:
        """The records [start, stop) in a line each, as far as they are durable. Raises LsnTruncated."""
        log = self._store.log
        return (self.of(record) for record in log.read(max(start, log.first_lsn), stop))

    def _name(self, number: int) -> str:
        names = self._names  # as other threads may put another in its place
        if number not in names:
            known = {one: info.name for one, info in self._store.infos().items()}
            # An index, or the store's own, has no name: it is remembered, so as not to ask again.
            names = self._names = {number: "", **names, **known}
        return names[number]
