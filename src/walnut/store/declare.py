"""Declaring tables and indexes, and the store's own tables.

What must stay true: what a program declares is checked against what is stored before anything is read
or written with it; an index that is not complete, or was made by another function, is built again
before it can be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from walnut.store.caller import Caller
from walnut.store.catalog import (
    CATALOG_ID,
    DONE_BY_TIME_ID,
    DONE_ID,
    FIRST_ID,
    SEQUENCES_ID,
    SUBJECTS_ID,
    Done,
    IndexInfo,
    SequenceRow,
    SubjectRow,
    TableInfo,
    definition_of,
    prefix_of,
)
from walnut.store.errors import AlreadyDefined, InvalidSetting, SchemaChanged, UnknownSchema
from walnut.store.keys import Key
from walnut.store.record import NOBODY, Meta
from walnut.store.schema import Codec
from walnut.store.sequence import OwnSequence
from walnut.store.table import Index, Table
from walnut.store.tables import after, built_mark, is_built
from walnut.store.transaction import Reader, Transaction

Row = TypeVar("Row", bound=msgspec.Struct)
AnyTable = Table[Any]
_BUILD_BATCH = 5000


def _system(name: str, number: int, row: type[Row], key: Callable[[Row], Key]) -> Table[Row]:
    return Table(TableInfo(name, number, {1: ""}), Codec(name, row), key)


class Declarations:
    """The tables of a store: its own, and those declared in this process."""

    def __init__(self) -> None:
        self.catalog = _system("walnut.catalog", CATALOG_ID, TableInfo, lambda info: info.name)
        self.sequences = _system(
            "walnut.sequences", SEQUENCES_ID, SequenceRow, lambda row: (row.kind, row.name)
        )
        self.subjects = _system("walnut.subjects", SUBJECTS_ID, SubjectRow, lambda row: row.subject)
        self.done = _system("walnut.done", DONE_ID, Done, lambda done: (done.principal, done.key))
        self.done.indexes["by_time"] = Index(
            self.done,
            "by_time",
            lambda done: done.time,
            IndexInfo(DONE_BY_TIME_ID, "", unique=False),
        )
        self.declared: dict[str, AnyTable] = {}
        self._caller: Caller | None = None
        self._ids = OwnSequence(self.sequences, "ids")
        self._subject_numbers = OwnSequence(self.sequences, "subjects")

    def attach(self, store: Caller) -> None:
        """From now on tables can be declared, by transactions of this store."""
        self._caller = store

    @property
    def _store(self) -> Caller:
        assert self._caller is not None, "attach comes before declare"
        return self._caller

    def by_id(self, reader: Reader) -> dict[int, TableInfo]:
        """All tables in the store, declared here or not, by their numbers."""
        return {info.id: info for info in self.catalog.scan(reader)}

    # -- tables ---------------------------------------------------------------------------------

    def declare(
        self,
        codec: Codec[Row],
        key: Callable[[Row], Key],
        subject: Callable[[Row], str] | None,
        *,
        before: bool,
        meta: Meta = NOBODY,
    ) -> Table[Row]:
        """Make a table known, and make it if it is new. Raises as `Store.table`."""
        if codec.table in self.declared:
            raise AlreadyDefined(
                f"{codec.table} was declared before in this process: declare each table once, and "
                "hand it on"
            )
        info = self._store.by(meta).call_at_start(
            self._register, codec.table, codec, subjects=subject is not None, before=before
        )
        table = Table(info, codec, key, subject)
        table.home = self
        self.declared[codec.table] = table
        return table

    def _register(
        self, tx: Transaction, name: str, codec: Codec[Row], *, subjects: bool, before: bool
    ) -> TableInfo:
        if not isinstance(name, str) or not name or name.startswith("walnut."):
            raise InvalidSetting(
                f"a table can't be called {name!r}: give it a name, not one of Walnut's own"
            )
        digest, known = codec.digest(), self.catalog.get(tx, name)
        if known is None:
            schemas = {codec.schema: digest}
            number = FIRST_ID + self._ids.next(tx)
            return self.catalog.put(
                tx, TableInfo(name, number, schemas, subjects=subjects, before=before)
            )
        self.check_schema(known, codec, digest)
        if known.subjects != subjects:
            raise AlreadyDefined(
                f"{name} was made {'with' if known.subjects else 'without'} subjects, and its rows are "
                "stored so: declare it like that, or move the rows to a new table"
            )
        info = msgspec.structs.replace(
            known, schemas={**known.schemas, codec.schema: digest}, before=before
        )
        return info if info == known else self.catalog.put(tx, info)

    @staticmethod
    def check_schema(known: TableInfo, codec: Codec[Row], digest: str) -> None:
        """Raise SchemaChanged or UnknownSchema if the codec can't read what is stored."""
        name, schema, newest = codec.table, codec.schema, max(known.schemas)
        if known.schemas.get(schema, digest) != digest:
            raise SchemaChanged(
                f"the fields of {codec.row.__name__} are not those that rows of {name} with schema "
                f"{schema} were written with: declare it with schema={newest + 1} and an upgrade from "
                f"{newest}, a function from old fields to new ones"
            )
        if newest > schema:
            raise UnknownSchema(
                f"{name} holds rows of schema {newest} and this program knows {schema}: run the newer "
                "program that wrote them"
            )
        oldest = min(known.schemas)
        missing = [number for number in range(oldest, schema) if number not in codec.upgrades]
        if missing:
            raise UnknownSchema(
                f"{name} may hold rows of schema {oldest} and this program has {schema}: give it an "
                f"upgrade from {', '.join(map(str, missing))}"
            )

    # -- indexes --------------------------------------------------------------------------------

    def index(
        self,
        table: Table[Row],
        name: str,
        function: Callable[[Row], Key | list[Key]],
        *,
        unique: bool,
        version: int,
    ) -> Index[Row]:
        """The table's index of this name, built if it is new, changed or incomplete."""
        if name in table.indexes:
            raise AlreadyDefined(f"{table.name}.{name} was declared before in this process")
        definition = definition_of(function, version)
        info, began = self._store.call_at_start(
            self._register_index, table, name, definition, unique=unique
        )
        index = Index(table, name, function, info)
        table.indexes[name] = index  # from now on kept; what was there before is entered below
        if began is not None:
            try:
                self._build(table, index)
            except BaseException:
                del table.indexes[name]
                raise
            self._store.call_at_start(self._finish_index, table, name, info, began)
        return index

    def _build(self, table: Table[Row], index: Index[Row]) -> None:
        at: bytes | None = b""
        while at is not None:
            at = self._store.call_at_start(table.fill, index, at, _BUILD_BATCH)

    def _register_index(
        self, tx: Transaction, table: Table[Row], name: str, definition: str, *, unique: bool
    ) -> tuple[IndexInfo, int | None]:
        """The index, and the LSN after which it is to be built; None if it is."""
        known = self._info(tx, table).indexes.get(name)
        private = table.subject is not None
        same = known is not None and (known.definition, known.unique) == (definition, unique)
        if known is not None and same and not (private and not is_built(tx.read, known.id)):
            return known, None
        return IndexInfo(FIRST_ID + self._ids.next(tx), definition, unique), tx.lsn

    def _finish_index(
        self, tx: Transaction, table: Table[Row], name: str, info: IndexInfo, began: int
    ) -> None:
        about = self._info(tx, table)
        private = table.subject is not None
        old = about.indexes.get(name)
        if old is not None:
            prefix = prefix_of(old.id, private=private)
            tx.ranges.append((prefix, after(prefix)))
        if private:
            tx.write(built_mark(info.id), began.to_bytes(8, "big"))
        indexes = {**about.indexes, name: info}
        self.catalog.put(tx, msgspec.structs.replace(about, indexes=indexes))

    def _info(self, tx: Transaction, table: AnyTable) -> TableInfo:
        info = self.catalog.get(tx, table.name)
        assert info is not None, "a declared table is in the catalog"
        return info

    # -- subjects -------------------------------------------------------------------------------

    def number_of(self, tx: Transaction, subject: str) -> int:
        """The number of a subject; a new one if it has none, or none whose key exists."""
        if not isinstance(subject, str) or not subject:
            raise InvalidSetting(f"a subject is a string that names somebody, not {subject!r}")
        row = self.subjects.get(tx, subject)
        if row is not None and tx.keyring.knows(row.number):
            return row.number
        number = self._subject_numbers.next(tx)
        while not tx.keyring.knows(number):  # erased after the moment this store was restored to
            number = self._subject_numbers.next(tx)
        self.subjects.put(tx, SubjectRow(subject, number))
        return number

    def erase(self, tx: Transaction, subject: str) -> bool:
        """Have the key of a subject destroyed as this transaction is applied."""
        row = self.subjects.get(tx, subject)
        if row is None:
            return False
        self.subjects.delete(tx, subject)
        tx.erase(row.number)
        return True
