"""The change feed: what transactions did, read back from the log; and taking it back.

What must stay true: a change names what was and what is exactly as the log has them; a row that nobody
can read any more is `ERASED`, never guessed; rewinding undoes what the log says and nothing else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import msgspec

from walnut.log.model import Record
from walnut.log.readable import Readable
from walnut.store.catalog import TableInfo
from walnut.store.errors import Erased, NotRewindable
from walnut.store.keyring import Keyring
from walnut.store.keys import Key, decode, plain
from walnut.store.record import Commit, Meta, unpack, utc
from walnut.store.schema import fields_of
from walnut.store.table import Table
from walnut.store.tables import ID_BYTES
from walnut.store.transaction import Transaction


class Gone(msgspec.Struct, frozen=True):
    """The type of `ERASED`."""


ERASED: Final = Gone()
"""Stands for a row about a subject that was erased."""


class Change(msgspec.Struct, frozen=True):
    """One row changed.

    Attributes:
        lsn: of the transaction. time: when it was decided.
        table, key: which row.
        before: what it was, if the table keeps that: None for nothing.
        after: what it is: None for deleted. Rows of tables that this process has declared are their
            structs, others dicts; ERASED for what nobody can read.
        meta: who and why.
    """

    lsn: int
    time: dt.datetime
    table: str
    key: Key
    before: Any
    after: Any
    meta: Meta


class Feed:
    """Reads changes of a log. Entered by one thread.

    Args:
        infos: all tables there are, by number; asked again when one is unknown.
        declared: those of this process, by name.
        only: names of the tables wanted; None for all.
    """

    def __init__(
        self,
        log: Readable,
        keyring: Keyring,
        infos: Callable[[], dict[int, TableInfo]],
        declared: dict[str, Table[Any]],
        only: set[str] | None,
    ) -> None:
        self._log = log
        self._keyring = keyring
        self._infos = infos
        self._known = infos()
        self._declared = declared
        self._only = only

    def read(self, since: int, upto: int | None = None) -> Iterator[Change]:
        """The changes of transactions after LSN `since`, up to and with `upto`, as far as durable."""
        stop = None if upto is None else upto + 1
        for record in self._log.read(since + 1, stop):
            yield from self.changes_of(record)

    def tail(self, since: int, timeout: float | None) -> Iterator[Change]:
        """The same, going on as they come; ends after `timeout` seconds without a record."""
        for record in self._log.tail(since + 1, timeout=timeout):
            yield from self.changes_of(record)

    async def atail(self, since: int, timeout: float | None) -> AsyncIterator[Change]:
        """`tail` for coroutines."""
        async for record in self._log.atail(since + 1, timeout=timeout):
            for change in self.changes_of(record):
                yield change

    def changes_of(self, record: Record) -> Iterator[Change]:
        """The changes in one record."""
        commit = unpack(record.data, record.lsn)
        if commit is None:
            return
        time = utc(commit.time)
        for key, value in commit.writes.items():
            info = self._info(int.from_bytes(key[:ID_BYTES], "big"))
            if info is None or (self._only is not None and info.name not in self._only):
                continue
            yield Change(
                record.lsn,
                time,
                info.name,
                plain(decode(key[ID_BYTES:])),
                self._row(info, key, commit.before.get(key)),
                self._row(info, key, value),
                commit.meta,
            )

    def name_of(self, key: bytes) -> str | None:
        """The table that a full key is in; None if it is in an index or is the store's own."""
        info = self._info(int.from_bytes(key[:ID_BYTES], "big"))
        return None if info is None else info.name

    def declared(self, name: str) -> Table[Any]:
        """The table of this name. Raises NotRewindable if it was not declared in this process."""
        if name not in self._declared:
            raise NotRewindable(f"rows of {name} have to be put back: declare the table first")
        return self._declared[name]

    def _info(self, number: int) -> TableInfo | None:
        if number not in self._known:
            self._known = self._infos()
            # An index's number, or a system table's: known not to be a table.
            self._known.setdefault(number, _NO_TABLE)
        info = self._known[number]
        return None if info is _NO_TABLE else info

    def _row(self, info: TableInfo, key: bytes, data: bytes | None) -> Any:
        if data is None:
            return None
        table = self._declared.get(info.name)
        try:
            if table is not None:
                return table.codec.decode(key, data, self._keyring)
            return fields_of(key, data, self._keyring)
        except Erased:
            return ERASED


_NO_TABLE: Final = TableInfo("", 0, {})


class Rewind:
    """The transaction that would undo a range of the log, to be looked at before it is run.

    Attributes:
        first, last: the LSNs undone.
        changes: what was done, newest first: each is taken back.
    """

    def __init__(self, feed: Feed, log: Readable, first: int, last: int) -> None:
        self.first = first
        self.last = last
        self.changes: list[Change] = []
        self._tables = feed
        self._now: dict[bytes, bytes | None] = {}
        self._then: dict[bytes, tuple[str, bytes | None]] = {}
        for record in log.read(first, last + 1):
            commit = unpack(record.data, record.lsn)
            if commit is not None:
                self.changes.extend(feed.changes_of(record))
                self._take(commit, record.lsn)
        self.changes.reverse()

    def _take(self, commit: Commit, lsn: int) -> None:
        for key, value in commit.writes.items():
            name = self._tables.name_of(key)
            if name is None:
                continue
            if key not in commit.before:
                raise NotRewindable(
                    f"LSN {lsn} changed {name}, which kept no before-images then: declare it with "
                    "before=True, which serves from that moment on"
                )
            self._then.setdefault(key, (name, commit.before[key]))
            self._now[key] = value

    def apply(self, tx: Transaction) -> int:
        """Undo it: `store.call(plan.apply)`; returns how many rows were put back.

        Raises NotRewindable if a row was changed again since, or can't be read any more."""
        for key, (name, before) in self._then.items():
            if tx.read(key) != self._now[key]:
                raise NotRewindable(
                    f"the row {plain(decode(key[ID_BYTES:]))!r} of {name} was changed again after LSN "
                    f"{self.last}: rewind up to the present, or put it right by hand"
                )
            table = self._tables.declared(name)
            if before is None:
                table.delete(tx, plain(decode(key[ID_BYTES:])))
                continue
            try:
                table.put(tx, table.codec.decode(key, before, tx.keyring))
            except Erased as error:
                raise NotRewindable(
                    f"a row of {name} was about somebody who has been erased since: it can't come back"
                ) from error
        return len(self._then)
