"""`StoreReader`: a store that another process writes, read and followed from here.

    flushed tables (read-only) ◀── overlay ◀── log, folded here as it grows

What must stay true: it shows the durable state after exactly one LSN, moves on only in `refresh`, and
writes nothing anywhere.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

from walnut.log import LogReader
from walnut.log.disk import StrPath
from walnut.log.errors import LsnTruncated
from walnut.log.opening import check_path
from walnut.store.catalog import TableInfo, table_stat
from walnut.store.changes import Change, Feed
from walnut.store.declare import Declarations
from walnut.store.drill import BackupCheck, check_backup
from walnut.store.errors import TablesLost, UnknownTable
from walnut.store.keyring import Keyring, find_keyring
from walnut.store.keys import Key
from walnut.store.model import StoreOptions, StoreStat
from walnut.store.overlay import Missing, Overlay, merge
from walnut.store.record import unpack
from walnut.store.redo import Progress
from walnut.store.schema import Codec, Upgrade
from walnut.store.table import Index, Table
from walnut.store.tables import Effect, Tables, effect_of

Row = TypeVar("Row", bound=msgspec.Struct)
REBASE: Final = 100_000
"""Entries folded here before the flushed tables are opened anew, to begin from there."""
_WAITS: Final = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Seconds before opening again what could not be: its writer flushes a few times a second at most."""


class StoreReader:
    """A store opened to read, while another process writes it or none does. For one thread.

    Raises NotALog, TablesLost, KeysMissing."""

    def __init__(self, path: StrPath, options: StoreOptions | None = None) -> None:
        self.options = options or StoreOptions()
        self.path = check_path(path)
        self.log = LogReader(f"{self.path}/log", self.options.log)
        self._declared = Declarations()
        self._rebase()

    def _rebase(self) -> None:
        """Begin from the flushed tables, again if the writer drops what they name meanwhile."""
        for wait in _WAITS:
            try:
                return self._begin()
            except TablesLost:
                time.sleep(wait)
        return self._begin()

    def _begin(self) -> None:
        disk = self.options.log.disk
        self.keyring: Keyring = find_keyring(disk, f"{self.path}/keys")
        self._tables = Tables(
            disk, f"{self.path}/tables", self.options.engine, self.keyring, read_only=True
        )
        self._overlay = Overlay()
        self.lsn = self._tables.applied
        """It shows the state after this LSN."""
        self._fold()

    def refresh(self) -> int:
        """Move on to the newest durable state; returns its LSN.

        Raises TablesLost if the writer dropped what is needed before it was read; open it anew."""
        if len(self._overlay) > REBASE:
            self._tables.close()
            self._rebase()
        else:
            self._fold()
        return self.lsn

    def _fold(self) -> None:
        position = self.log.position()
        if self.lsn + 1 < position.first_lsn:
            raise TablesLost(
                f"this reader is at LSN {self.lsn} and the log begins at {position.first_lsn}: open the "
                "store to read again"
            )
        if self.lsn >= position.durable_lsn:
            return
        effects: list[Effect] = []
        try:
            for record in self.log.read(self.lsn + 1, position.durable_lsn + 1):
                commit = unpack(record.data, record.lsn)
                if commit is not None:
                    # Not from the file, where the writer may not have destroyed them yet.
                    self.keyring.forget(commit.erased)
                    effects.append(effect_of(commit, record.lsn, self.keyring))
        except LsnTruncated as error:
            raise TablesLost(
                f"the log was truncated while this reader read it from LSN {self.lsn} on: open the "
                "store to read again"
            ) from error
        for effect in effects:
            self._overlay.add(effect)
        self._overlay.durable(position.durable_lsn)  # only the entries are needed from now on
        self.lsn = position.durable_lsn

    # -- tables ---------------------------------------------------------------------------------

    def table(
        self,
        name: str,
        row: type[Row],
        *,
        key: Callable[[Row], Key],
        schema: int = 1,
        upgrade: dict[int, Upgrade] | None = None,
        subject: Callable[[Row], str] | None = None,
    ) -> Table[Row]:
        """The table of this name, which must exist; see `Store.table`. Raises UnknownTable,
        SchemaChanged, UnknownSchema."""
        codec = Codec(name, row, schema=schema, upgrades=upgrade)
        info = self._info(name)
        Declarations.check_schema(info, codec, codec.digest())
        table = Table(info, codec, key, subject)
        self._declared.declared[name] = table
        return table

    def index(
        self, table: Table[Row], name: str, function: Callable[[Row], Key | list[Key]]
    ) -> Index[Row]:
        """An index of a table, which must exist. Raises UnknownTable."""
        info = self._info(table.name).indexes.get(name)
        if info is None:
            raise UnknownTable(f"{table.name} has no index {name!r} in {self.path}")
        return Index(table, name, function, info)

    def _info(self, name: str) -> TableInfo:
        info = self._declared.catalog.get(self, name)
        if info is None:
            raise UnknownTable(
                f"there is no table {name!r} in {self.path}; there are: {', '.join(self.tables())}"
            )
        return info

    def tables(self) -> list[str]:
        """The names of all tables."""
        return [info.name for info in self._declared.catalog.scan(self)]

    def infos(self) -> dict[int, TableInfo]:
        """What the store knows of its tables, by number."""
        return self._declared.by_id(self)

    def stat(self) -> StoreStat:
        """The store at a glance, as of the last `refresh`."""
        log = self.log.stat()
        oldest = next(iter(self.log.read(stop=log.first_lsn + 1)), None)
        return StoreStat(
            path=self.path,
            next_lsn=log.next_lsn,
            durable_lsn=log.durable_lsn,
            applied_lsn=self.lsn,
            checkpoint_lsn=self._tables.applied,
            checkpoint_age=None,
            window=(log.first_lsn, oldest.time if oldest else 0),
            log_bytes=log.bytes,
            overlay=len(self._overlay),
            memory_bytes=self._tables.memory_bytes(),
            tables=[table_stat(info) for info in self._declared.catalog.scan(self)],
            activity=None,
        )

    def changes(
        self, since: int = 0, *, upto: int | None = None, tables: Iterable[str] | None = None
    ) -> Iterator[Change]:
        """See `Store.changes`."""
        return self._feed(tables).read(since or self.log.first_lsn - 1, upto)

    def follow(
        self,
        since: int | None = None,
        *,
        tables: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[Change]:
        """See `Store.follow`."""
        begin = self.log.durable_lsn if since is None else since
        return self._feed(tables).tail(begin, timeout)

    def afollow(
        self,
        since: int | None = None,
        *,
        tables: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Change]:
        """See `Store.afollow`."""
        begin = self.log.durable_lsn if since is None else since
        return self._feed(tables).atail(begin, timeout)

    def _feed(self, tables: Iterable[str] | None) -> Feed:
        def infos() -> dict[int, TableInfo]:
            self.refresh()
            return self.infos()

        only = None if tables is None else set(tables)
        return Feed(self.log, self.keyring, infos, self._declared.declared, only)

    def check_backup(
        self,
        url: StrPath,
        *,
        to: int | dt.datetime | None = None,
        progress: Progress | None = None,
    ) -> BackupCheck:
        """See `Store.check_backup`; this moves on as `refresh` does."""

        def live() -> tuple[StoreReader, int]:
            lsn = self.refresh()
            return self, lsn

        return check_backup(url, self.path, self.log, live, self.options, to, progress)

    # -- reading --------------------------------------------------------------------------------

    def read(self, key: bytes) -> bytes | None:
        """See `Reader.read`."""
        value = self._overlay.get(key)
        return self._tables.get(key) if isinstance(value, Missing) else value

    def read_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Reader.read_many`."""
        return [self.read(key) for key in keys]

    def walk(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Reader.walk`."""
        changes = self._overlay.between(start, stop)
        if reverse:
            changes = dict(reversed(changes.items()))
        return merge(self._tables.walk(start, stop, reverse=reverse), changes, reverse=reverse)

    def close(self) -> None:
        """Let go of the files."""
        self._tables.close()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
