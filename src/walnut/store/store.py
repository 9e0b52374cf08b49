"""`Store`: tables folded from a log, put together.

    Store ── Execution ── Overlay ── Log                transactions
      ├──── Table, Index ── Codec, keys                 rows
      ├──── Tables ── two engines, Keyring              what was applied
      └──── redo, checkpoint, changes, backup           around them

What must stay true: the log is the only durability. Everything under `tables/` can be deleted and made
again from the log, or from a backup and the log after it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from walnut.log import Log, Retention
from walnut.log.commit import refuse_event_loop
from walnut.log.disk import StrPath
from walnut.log.opening import check_path
from walnut.store.backup import BackupReport, back_up, check_empty, check_outside, restore_files
from walnut.store.caller import Caller
from walnut.store.catalog import TableInfo, table_stat
from walnut.store.changes import Change, Feed, Rewind
from walnut.store.checkpoint import SLOT, Checkpoints
from walnut.store.declare import Declarations
from walnut.store.drill import BackupCheck, check_backup
from walnut.store.errors import InvalidSetting, NotReached, StoreClosed, TablesFailed, UnknownTable
from walnut.store.execution import Execution
from walnut.store.fingerprint import fingerprint
from walnut.store.keyring import Keyring, find_keyring, open_keyring, place_keys
from walnut.store.keys import Key
from walnut.store.model import Metrics, Redo, StoreOptions, StoreStat
from walnut.store.record import NOBODY, Meta
from walnut.store.redo import Progress, last_time, redo
from walnut.store.remember import Memory
from walnut.store.rocks import remove_tables
from walnut.store.schema import Codec, Upgrade
from walnut.store.sequence import Counter, NumberSequence
from walnut.store.snapshot import Snapshot
from walnut.store.table import Table
from walnut.store.tables import Tables
from walnut.store.transaction import Transaction

Row = TypeVar("Row", bound=msgspec.Struct)


class Store(Caller):
    """Typed tables whose only durability is a log. Use it from any thread and any event loop; one
    process may have it open for writing at a time.

    Opening creates the directory, or recovers what is in it; `redo` tells what that took. A store is
    itself something to read tables through: `rooms.get(store, "r1")` gives the newest durable row.

    Raises:
        TablesLost, TablesAhead, KeysMissing: see `walnut.store.errors`.
        LogLocked, LogCorrupt, ...: see `walnut.log.errors`.
    """

    def __init__(
        self,
        path: StrPath,
        options: StoreOptions | None = None,
        *,
        progress: Progress | None = None,
    ) -> None:
        self.options = options or StoreOptions()
        self.path = check_path(path)
        self.metrics = Metrics()
        disk = self.options.log.disk
        window = Retention(bytes=self.options.window_bytes, seconds=self.options.window_seconds)
        self.log = Log(
            f"{self.path}/log", msgspec.structs.replace(self.options.log, retention=window)
        )
        try:
            self.keyring: Keyring = open_keyring(
                disk, f"{self.path}/keys", new=self.log.next_lsn == 1
            )
            self._tables = Tables(
                disk, f"{self.path}/tables", self.options.engine, self.keyring, read_only=False
            )
            self.redo: Redo = redo(self.log, self._tables, self.keyring, progress=progress)
            began = last_time(self.log)
        except BaseException:
            self.log.close()
            raise
        self._closed = False
        self._opened = time.monotonic()
        self._declared = Declarations()
        memory = Memory(self._declared.done, self.options.idempotency_seconds)
        super().__init__(
            Execution(
                self.log, self._tables, self.keyring, self.options, memory, self.metrics, began
            ),
            NOBODY,
        )
        self._declared.attach(self)
        self.checkpoints = Checkpoints(
            self.log,
            self._tables,
            self.options,
            self.metrics,
            self.redo.after,
            lambda: self.call(memory.forget),
        )
        """How far the tables are flushed, and why the last flush failed if it did."""

    # -- tables ---------------------------------------------------------------------------------

    def table(
        self,
        name: str,
        row: type[Row],
        *,
        key: Callable[[Row], Key],
        schema: int = 1,
        upgrade: Mapping[int, Upgrade] | None = None,
        subject: Callable[[Row], str] | None = None,
        before: bool = False,
        meta: Meta = NOBODY,
    ) -> Table[Row]:
        """The table of this name, made if it is not there yet.

        Args:
            row: the type of its rows, a `msgspec.Struct`.
            key: gives a row's key: a value, or a tuple of values (`keys`).
            schema: number of the type's fields. Raise it when they change.
            upgrade: for each older number still stored, a function that makes the fields of such a
                row (a dict) those of the next number.
            subject: gives whom a row is about. Such rows are encrypted with the subject's key before
                they enter the log, and can be erased (`erase`). Their keys are not encrypted.
            before: the log keeps what rows were before each change, for the feed and for `rewind`.
            meta: in whose name the table is made, if it is new.

        Raises:
            SchemaChanged, UnknownSchema: the fields are not those of this number, or an upgrade is
                missing.
            AlreadyDefined: it was declared before in this process.
            WrongType: rows of this type can't be stored.
        """
        codec = Codec(
            name, row, schema=schema, upgrades=upgrade, value_bytes=self.options.value_bytes
        )
        return self._declared.declare(codec, key, subject, before=before, meta=meta)

    def tables(self) -> list[str]:
        """The names of all tables in the store, declared here or not."""
        return [info.name for info in self._declared.catalog.scan(self)]

    def declared_names(self) -> Collection[str]:
        """The names of the tables that were declared in this process."""
        return self._declared.declared.keys()

    def declared(self, name: str) -> Table[Any]:
        """The table of this name as it was declared in this process. Raises UnknownTable."""
        table = self._declared.declared.get(name)
        if table is None:
            raise UnknownTable(
                f"{name} was not declared in this process: `store.table(...)` does that"
            )
        return table

    def info(self, name: str) -> TableInfo | None:
        """What the store knows of a table, declared here or not; None if there is none."""
        return self._declared.catalog.get(self, name)

    def infos(self) -> dict[int, TableInfo]:
        """What the store knows of all tables, by their numbers."""
        return self._declared.by_id(self)

    def sequence(self, name: str) -> NumberSequence:
        """A sequence: numbers from 1, each given once, without gaps."""
        return NumberSequence(self._declared.sequences, name)

    def counter(self, name: str) -> Counter:
        """A counter: a number that transactions add to."""
        return Counter(self._declared.sequences, name)

    def backfill(self, table: Table[Any], *, batch: int = 1000) -> None:
        """Rewrite the table's rows that have an older schema, some at a time; others go on.

        Blocks; raises as `call`."""
        at: bytes | None = b""
        while at is not None:
            at = self.call(table.rewrite_some, at, batch)

    # -- reading --------------------------------------------------------------------------------

    def read(self, key: bytes) -> bytes | None:
        """See `Reader.read`."""
        self._check_open()
        return self._tables.get(key)

    def read_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Reader.read_many`."""
        self._check_open()
        return self._tables.get_many(keys)

    def walk(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Reader.walk`."""
        self._check_open()
        return self._tables.walk(start, stop, reverse=reverse)

    def snapshot(self, *, at_least: int = 0, timeout: float | None = 10.0) -> Snapshot:
        """The durable state of this moment, whatever is written later; `at_least` that of an LSN,
        for which it waits. Raises NotReached; on an event loop, await `reached` before."""
        self._check_open()
        if at_least > self.log.durable_lsn:
            refuse_event_loop("waiting for an LSN", "`await store.reached(lsn)` before")
            if not self.log.wait_for(at_least, timeout):
                raise NotReached(f"LSN {at_least} was not durable after {timeout} s")
        view, lsn = self._tables.snapshot()
        return Snapshot(view, lsn, self.keyring)

    async def reached(self, lsn: int, timeout: float | None = 10.0) -> None:
        """Wait until the state after `lsn` can be read. Raises NotReached."""
        if not await self.log.await_for(lsn, timeout):
            raise NotReached(f"LSN {lsn} was not durable after {timeout} s")

    @property
    def applied_lsn(self) -> int:
        """The LSN that readers see the state after."""
        return self._tables.applied

    # -- forgetting -----------------------------------------------------------------------------

    def erase(self, subject: str, *, meta: Meta = NOBODY) -> bool:
        """Destroy the key of a subject, and with it every copy of every row about it, wherever it
        is. Returns whether there was such a subject. There is no way back.

        The subject's rows answer `Erased` from then on, and scans leave them out."""
        done = self.by(meta).call(self.erase_subject, subject)
        if done:
            self._tables.compact_private()
        return done

    def erase_subject(self, tx: Transaction, subject: str) -> bool:
        """`erase` as a part of a transaction: done when it is durable. What has passed through files
        on this disk is then unreadable; `erase` also removes it."""
        return self._declared.erase(tx, subject)

    # -- what happened --------------------------------------------------------------------------

    def changes(
        self,
        since: int = 0,
        *,
        upto: int | None = None,
        tables: Iterable[str] | None = None,
    ) -> Iterator[Change]:
        """The changes of transactions after LSN `since` (from as far back as the log reaches, if 0),
        up to and with `upto`, as far as they are durable now. `tables`: of these alone.

        To hold the log back for a reader that comes and goes, give it a slot: `store.log.slot`.
        Raises LsnTruncated if the log no longer reaches back to `since`."""
        return self.feed(tables).read(since or self.log.first_lsn - 1, upto)

    def follow(
        self,
        since: int | None = None,
        *,
        tables: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[Change]:
        """The changes after LSN `since` (from now on, if None) as they come; ends when the store is
        closed, or after `timeout` seconds without a transaction. For threads."""
        begin = self.log.durable_lsn if since is None else since
        return self.feed(tables).tail(begin, timeout)

    def afollow(
        self,
        since: int | None = None,
        *,
        tables: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Change]:
        """`follow` for coroutines."""
        begin = self.log.durable_lsn if since is None else since
        return self.feed(tables).atail(begin, timeout)

    def rewind(self, first: int, last: int) -> Rewind:
        """The transaction that undoes LSN `first` to `last`, for tables that keep before-images. Look
        at its `changes`; then `store.call(plan.apply)`.

        Raises NotRewindable, LsnTruncated."""
        return Rewind(self.feed(None), self.log, first, last)

    def feed(self, tables: Iterable[str] | None = None) -> Feed:
        """What reads the changes in records of the log, of these tables alone. Raises UnknownTable."""
        self._check_open()
        only = None if tables is None else set(tables)
        known = self._declared.by_id(self)
        for name in sorted((only or set()) - {info.name for info in known.values()}):
            raise UnknownTable(f"there is no table {name!r}: see `tables()` for those there are")
        return Feed(
            self.log,
            self.keyring,
            lambda: self._declared.by_id(self),
            self._declared.declared,
            only,
        )

    # -- copies ---------------------------------------------------------------------------------

    def backup(
        self, url: StrPath, *, slot: str | None = None, progress: Progress | None = None
    ) -> BackupReport:
        """Store what is not there yet in a backup: a base of the tables, and the log. Writers go on.

        With a `slot` the log is kept from this backup to the next one with that name, however late it
        is; without, a backup that comes later than the window is refused, as it would have a gap.

        The keys of subjects are not in it: copy the store's `keys` directory to another safe place,
        and drop older copies whenever somebody was erased.

        Raises InvalidSetting, BackupError, ArchiveError, LogFull."""
        self._check_open()
        check_outside(url, self.path)
        if slot == SLOT:
            raise InvalidSetting(f"the slot {SLOT!r} is the store's own: give another name")
        scratch = f"{self.path}/tables/copying"
        report = back_up(self._tables.public, self.options.engine, self.log, url, scratch, progress)
        if slot is not None:
            self.log.slot(slot, report.next_lsn).advance(report.next_lsn)
        return report

    def check_backup(
        self,
        url: StrPath,
        *,
        to: int | dt.datetime | None = None,
        progress: Progress | None = None,
    ) -> BackupCheck:
        """Verify a backup of this store by restoring it, all of it or to a moment, in a scratch
        directory beside the tables, which is removed; there has to be room for a second copy. What
        was restored is folded on with this store's log, as far as that reaches back, and compared.
        Writers go on.

        Raises BackupDiffers; InvalidSetting, BackupError, ArchiveError, LogCorrupt, TablesFailed."""
        self._check_open()

        def live() -> tuple[Snapshot, int]:
            snapshot = self.snapshot()
            return snapshot, snapshot.lsn

        return check_backup(url, self.path, self.log, live, self.options, to, progress)

    @classmethod
    def restore(
        cls,
        url: StrPath,
        path: StrPath,
        *,
        to: int | dt.datetime | None = None,
        keys: StrPath | None = None,
        options: StoreOptions | None = None,
        progress: Progress | None = None,
    ) -> Redo:
        """Make a store from a backup, as it was after the LSN or at the moment `to` (all, if None),
        in a new or empty directory; returns what was folded for it.

        Args:
            keys: the `keys` directory of the store that was backed up, or a copy of it. Without it,
                rows about subjects can't be read in the new store. What was erased stays erased.

        Raises InvalidSetting, BackupError, ArchiveError, NotALog, KeysMissing."""
        options = options or StoreOptions()
        if keys is not None:
            find_keyring(options.log.disk, str(keys))
        restore_files(url, str(path), to, options.log, progress)
        place_keys(options.log.disk, keys, f"{path}/keys")
        with cls(path, options) as store:
            return store.redo

    def clone(self, path: StrPath) -> None:
        """A copy of the store as it is, keys included, in a new or empty directory, to try things on.
        Writers go on. Raises InvalidSetting, NotALog, BackupError."""
        check_empty(path)
        scratch = f"{path}.cloning"
        try:
            self.backup(scratch)
            self.restore(scratch, path, keys=f"{self.path}/keys", options=self.options)
        finally:
            remove_tables(scratch)

    # -- checkpoints ----------------------------------------------------------------------------

    def checkpoint(self) -> int:
        """Flush the tables, so that a restart need not fold what is in them again; returns the LSN
        up to which. Writers go on meanwhile. Raises TablesFailed."""
        self._check_open()
        return self.checkpoints.take()

    def fingerprint(self) -> str:
        """32 hex digits of everything in the tables that backups hold: the same for all stores that
        have applied the same log up to the same LSN. Reads everything."""
        snapshot = self.snapshot()
        return fingerprint(snapshot, snapshot.lsn)

    def stat(self) -> StoreStat:
        """The store at a glance."""
        log = self.log.stat()
        oldest = next(iter(self.log.read(stop=log.first_lsn + 1)), None)
        return StoreStat(
            path=self.path,
            next_lsn=log.next_lsn,
            durable_lsn=log.durable_lsn,
            applied_lsn=self._tables.applied,
            checkpoint_lsn=self.checkpoints.lsn,
            checkpoint_age=self.checkpoints.age,
            window=(log.first_lsn, oldest.time if oldest else 0),
            log_bytes=log.bytes,
            overlay=len(self._execution.overlay),
            memory_bytes=self._tables.memory_bytes(),
            tables=[table_stat(info) for info in self._declared.catalog.scan(self)],
            activity=self.metrics.activity(time.monotonic() - self._opened, self.log.metrics),
        )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(f"{self.path} was closed: open it again to go on")

    # -- closing --------------------------------------------------------------------------------

    def close(self) -> None:
        """Answer what is running, flush the tables, close the log. Closing twice is nothing.

        Raises LogFailed, TablesFailed; the store is closed all the same."""
        if self._closed:
            return
        self._closed = self._execution.closed = True
        self.checkpoints.stop()
        try:
            if self.log.failure is None:
                self.log.sync()
                self.checkpoints.take()
        finally:
            failed = self.log.failure is not None
            try:
                self.log.close()
            finally:
                # After a failure, of which all were told, the tables' own adds nothing: the log has
                # what they miss.
                with suppress(*[TablesFailed] * failed):
                    self._tables.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"<walnut.Store {self.path!r} at {self._tables.applied}>"
