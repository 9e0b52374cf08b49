"""Tables as those see them who did not declare them: which may be read, which written, and how they look.

    declared in this process   its codec and indexes           written through them
    documents                  {"key": ..., "value": any JSON}  written by anybody
    all others                 the fields of their rows         read only: what must hold is not known here

What must stay true: nothing is written into a table by whoever does not know what must hold in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from walnut.log.model import MIB
from walnut.store.catalog import TableInfo
from walnut.store.document import Document, holds_documents, key_of
from walnut.store.errors import (
    AlreadyDefined,
    InvalidSetting,
    TableNotWritable,
    UnknownIndex,
    UnknownTable,
)
from walnut.store.keyring import Keyring
from walnut.store.notation import plain
from walnut.store.record import Meta
from walnut.store.schema import Codec, fields_of
from walnut.store.store import Store
from walnut.store.table import Index, Ordered, Table
from walnut.store.tables import after
from walnut.store.transaction import Reader
from walnut.subsystem.owners import Owners

TABLES: Final = 10_000
"""Tables that can be made over HTTP: each is a row of the catalog, which is read whole now and then."""
NAME_LENGTH: Final = 200
COUNTED_ROWS: Final = 100_000
"""Rows that are looked at for a table's size: a tenth of a second of a thread."""
COUNTED_BYTES: Final = 64 * MIB


class _Row(msgspec.Struct):
    """Stands for rows whose type is not known here."""


class _Fields(Codec[Any]):
    """Reads rows of whatever schema as the dicts, or lists, of their fields."""

    def decode(self, key: bytes, data: bytes, keyring: Keyring) -> Any:
        """See `Codec.decode`."""
        return plain(fields_of(key, data, keyring))


class IndexDescription(msgspec.Struct, frozen=True):
    """An index: its name, and whether two rows may have the same key in it."""

    name: str
    unique: bool


class Description(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A table at a glance.

    Attributes:
        schema: number of its newest rows' fields.
        indexes: what it can be read by beside its keys.
        subjects: rows are about somebody, and can be erased.
        before: the feed has what rows were before each change.
        documents: rows are `{"key": text, "value": any JSON}`.
        owner: the subsystem that keeps it, which alone writes it; null for none.
        writable: through this API.
    """

    name: str
    schema: int
    indexes: list[IndexDescription]
    subjects: bool
    before: bool
    documents: bool
    owner: str | None
    writable: bool


class Size(msgspec.Struct, frozen=True):
    """What is in a table: rows, erased ones included, and bytes of their keys and values as stored.
    `whole` is false if there is more than was looked at."""

    rows: int
    bytes: int
    whole: bool


class Tables:
    """The tables of a store, for those who name them. Used on one event loop."""

    def __init__(self, store: Store, owners: Owners) -> None:
        self.store = store
        self.owners = owners
        self._loose: dict[str, tuple[TableInfo, Table[Any]]] = {}
        self._written: dict[str, Table[Any]] = {}
        self._declaring = asyncio.Lock()

    # -- to read --------------------------------------------------------------------------------

    def info(self, name: str) -> TableInfo:
        """What the store knows of a table. Raises UnknownTable."""
        info = self.store.info(name) if 0 < len(name) <= NAME_LENGTH else None
        if info is None:
            raise UnknownTable(f"there is no table {name[:NAME_LENGTH]!r}: GET /v1/tables has them")
        return info

    def to_read(self, name: str) -> Table[Any]:
        """A table to read: as it was declared here, or its rows as the fields they have.

        Raises UnknownTable."""
        written = self._written.get(name)
        if written is not None:
            return written
        if name in self.store.declared_names():
            return self.store.declared(name)
        info = self.info(name)
        known = self._loose.get(name)
        if known is None or known[0] != info:
            known = self._loose[name] = info, _loose(info)
        return known[1]

    def order(self, name: str, index: str | None) -> Ordered[Any]:
        """A table by key, or by one of its indexes. Raises UnknownTable, UnknownIndex."""
        table = self.to_read(name)
        if index is None:
            return table
        found = table.indexes.get(index)
        if found is None:
            there = ", ".join(sorted(table.indexes)) or "none"
            raise UnknownIndex(
                f"{name} has no index {index[:NAME_LENGTH]!r}; of those it has: {there}"
            )
        return found

    # -- to write -------------------------------------------------------------------------------

    async def to_write(self, name: str) -> Table[Any]:
        """A table to write. Raises UnknownTable, TableNotWritable."""
        table = self._written.get(name)
        if table is not None:
            return table
        async with self._declaring:
            table = self._written.get(name)
            if table is None:
                table = self._written[name] = await self._writable(name)
        return table

    async def _writable(self, name: str) -> Table[Any]:
        info = self.info(name)
        if (why := self._why_not(info)) is not None:
            raise TableNotWritable(why)
        if name in self.store.declared_names():
            return self.store.declared(name)
        return await asyncio.to_thread(
            self.store.table, name, Document, key=key_of, before=info.before
        )

    def _why_not(self, info: TableInfo) -> str | None:
        """Why a table can't be written here; None if it can."""
        owner = self.owners.owner_of(info.name)
        if owner is not None:
            return (
                f"{info.name} is kept by {owner}, which alone writes it: use the routes of {owner}"
            )
        if info.name in self.store.declared_names():
            unknown = sorted(info.indexes.keys() - self.store.declared(info.name).indexes.keys())
            if unknown:
                return (
                    f"{info.name} has an index that this server does not know ({', '.join(unknown)}): "
                    "write it through the program that declares that"
                )
            return None
        if holds_documents(info):
            return None
        return (
            f"{info.name} is a table of a program, which knows what must hold in it: write it through "
            "that program, or make a table of documents"
        )

    async def create(self, name: str, meta: Meta, *, before: bool) -> bool:
        """Make a table of documents; whether it is new.

        Raises InvalidSetting, TableNotWritable, AlreadyDefined."""
        if not 0 < len(name) <= NAME_LENGTH or not name.isprintable() or name.startswith("walnut."):
            raise InvalidSetting(
                f"a table can't be called {name[:NAME_LENGTH]!r}: a name has 1 to {NAME_LENGTH} visible "
                "characters and does not begin with walnut."
            )
        async with self._declaring:
            info = self.store.info(name)
            owner = self.owners.owner_of(name)
            if owner is not None:
                raise TableNotWritable(f"{owner} keeps tables called so: choose another name")
            if info is not None:
                if not holds_documents(info) or info.before != before:
                    raise AlreadyDefined(
                        f"there is a table {name} already, and it is another one: GET "
                        f"/v1/tables/{name} describes it"
                    )
                return False
            if len(self.store.tables()) >= TABLES:
                raise InvalidSetting(
                    f"there are {TABLES} tables already, which is the most there can be"
                )
            self._written[name] = await asyncio.to_thread(
                self.store.table, name, Document, key=key_of, before=before, meta=meta
            )
            return True

    # -- about them -----------------------------------------------------------------------------

    def describe(self, info: TableInfo) -> Description:
        """A table at a glance."""
        return Description(
            name=info.name,
            schema=max(info.schemas),
            indexes=[
                IndexDescription(name, index.unique) for name, index in sorted(info.indexes.items())
            ],
            subjects=info.subjects,
            before=info.before,
            documents=holds_documents(info),
            owner=self.owners.owner_of(info.name),
            writable=self._why_not(info) is None,
        )

    def row_schema(self, name: str) -> Mapping[str, Any] | None:
        """The JSON Schema of a table's rows; None if their type is not known here."""
        if name in self.store.declared_names():
            return _schema_of(self.store.declared(name).codec.row)
        return _schema_of(Document) if holds_documents(self.info(name)) else None

    def size(self, name: str, reader: Reader) -> Size:
        """What is in a table, as far as it is looked at. Reads its rows."""
        prefix = self.to_read(name).prefix
        rows = size = 0
        for key, value in reader.walk(prefix, after(prefix)):
            if rows == COUNTED_ROWS or size >= COUNTED_BYTES:
                return Size(rows, size, whole=False)
            rows += 1
            size += len(key) - len(prefix) + len(value)
        return Size(rows, size, whole=True)


def _schema_of(row: type[Any]) -> Mapping[str, Any] | None:
    try:
        (schema,), parts = msgspec.json.schema_components([row], ref_template="#/$defs/{name}")
    except TypeError:  # a type that MessagePack has and JSON has not
        return None
    return {**schema, "$defs": parts}


def _loose(info: TableInfo) -> Table[Any]:
    """A table whose rows are read as their fields. Nothing is written through it."""
    table: Table[Any] = Table(
        info, _Fields(info.name, _Row), _no_key, _no_key if info.subjects else None
    )
    for name, index in info.indexes.items():
        table.indexes[name] = Index(table, name, _no_key, index)
    return table


def _no_key(row: object) -> str:
    raise AssertionError(f"nobody writes {row!r:.80} through a table that is only read")
