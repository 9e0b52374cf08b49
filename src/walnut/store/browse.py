"""Looking at a store as a person does: any table's rows, a row's versions, what a transaction did.

    rows         a page of a table or an index, by key, whoever declared it
    versions     what a row was, from the log, newest first, a stretch of the log at a time

What must stay true: nothing is counted by reading it all; each call reads a bounded number of rows or
records, and says where to go on.
"""

from __future__ import annotations

import enum
from itertools import islice
from typing import Any, Final

import msgspec

from walnut.store.catalog import TableInfo, prefix_of
from walnut.store.cursor import cursor_at, rest
from walnut.store.errors import Erased, UnknownTable
from walnut.store.keys import Key, decode, encode, plain
from walnut.store.notation import plain as jsonable
from walnut.store.notation import text_of
from walnut.store.record import Meta, unpack
from walnut.store.schema import fields_of
from walnut.store.store import Store
from walnut.store.table import Table
from walnut.store.tables import ID_BYTES, OWNER_BYTES, after
from walnut.store.transaction import Reader

STRETCH: Final = 100_000
"""Records of the log that one call of `versions` looks at: a tenth of a second."""


class Seen(msgspec.Struct, frozen=True):
    """A row as it was found.

    Attributes:
        key: of the row. data: as stored, to tell later whether it is still the same; empty if erased.
        value: as JSON can have it; None if nobody can read it any more.
    """

    key: Key
    data: bytes
    value: Any


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows, in which order: those of the table, or of an index of it, whose key there begins with
    `prefix`; of these from `start` up to, not with, `stop`, which are what comes after the prefix."""

    index: str = ""
    prefix: Key = ()
    start: Key = ()
    stop: Key = ()
    reverse: bool = False


class RowPage(msgspec.Struct, frozen=True):
    """Some rows, and the cursor that goes on behind them; None when there are no more."""

    rows: list[Seen]
    cursor: str | None


class Version(msgspec.Struct, frozen=True):
    """What a row became.

    Attributes:
        lsn, time: of the transaction, time in ns. meta: who and why.
        data: as stored; None if it was deleted then.
        value: as JSON can have it; None if it was deleted, or nobody can read it any more.
    """

    lsn: int
    time: int
    meta: Meta
    data: bytes | None
    value: Any


class Versions(msgspec.Struct, frozen=True):
    """Some versions, newest first, and the LSN up to which one has to look for older ones; None when
    the log is at its beginning."""

    found: list[Version]
    upto: int | None


# -- rows ---------------------------------------------------------------------------------------


def info_of(store: Store, name: str) -> TableInfo:
    """What the store knows of a table. Raises UnknownTable."""
    info = store.info(name)
    if info is None:
        raise UnknownTable(f"there is no table {name!r}: see the list of tables")
    return info


def declared(store: Store, name: str) -> Table[Any] | None:
    """The table as this process declared it; None if it did not."""
    try:
        return store.declared(name)
    except UnknownTable:
        return None


def rows(
    store: Store, name: str, which: Scan, *, limit: int = 100, cursor: str | None = None
) -> RowPage:
    """Rows of a table, and a cursor that goes on behind them, whatever is written meanwhile.

    Raises UnknownTable, InvalidKey, also for a cursor of another scan."""
    info = info_of(store, name)
    base = _base(info, which.index) + encode(which.prefix)
    begin = base + encode(which.start)
    end = base + encode(which.stop) if which.stop != () else after(base)
    begin, end = rest(begin, end, cursor, reverse=which.reverse)
    found: list[Seen] = []
    last = b""
    with store.snapshot() as moment:
        for full, data in islice(moment.walk(begin, end, reverse=which.reverse), limit + 1):
            if len(found) == limit:
                return RowPage(found, cursor_at(last))
            last = full
            if which.index:
                skip = OWNER_BYTES if info.subjects else 0
                full = prefix_of(info.id) + data[skip:]  # noqa: PLW2901  the row's, not the entry's
                data = moment.read(full) or b""  # noqa: PLW2901  as above
            if data:
                found.append(_seen(store, info, moment, full, data))
    return RowPage(found, None)


def _base(info: TableInfo, index: str) -> bytes:
    if not index:
        return prefix_of(info.id)
    if index not in info.indexes:
        raise UnknownTable(f"{info.name} has no index {index!r}")
    return prefix_of(info.indexes[index].id, private=info.subjects)


def row(store: Store, reader: Reader, name: str, key: Key) -> Seen | None:
    """The row with this key, or None. Raises UnknownTable, InvalidKey."""
    info = info_of(store, name)
    full = prefix_of(info.id) + encode(key)
    data = reader.read(full)
    return None if data is None else _seen(store, info, reader, full, data)


def _seen(store: Store, info: TableInfo, reader: Reader, full: bytes, data: bytes) -> Seen:
    key = plain(decode(full[ID_BYTES:]))
    try:
        return Seen(key, data, value_of(store, info, reader, full, data))
    except Erased:
        return Seen(key, b"", None)


def value_of(store: Store, info: TableInfo, reader: Reader, full: bytes, data: bytes) -> Any:
    """The value of stored bytes, with the names of its fields where this process knows them.

    Raises Erased, UnknownSchema, RowDamaged."""
    table = declared(store, info.name)
    if table is None:
        return jsonable(fields_of(full, data, reader.keyring))
    return readable(table.codec.decode(full, data, reader.keyring))


def readable(value: Any) -> Any:
    """A value as JSON can have it, for people: structs by their fields, enums by name, bytes that are
    text as text."""
    match value:
        case msgspec.Struct():
            fields = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            return {name: readable(getattr(value, field)) for name, field in fields}
        case dict():
            return {str(readable(key)): readable(inside) for key, inside in value.items()}
        case list() | tuple() | set() | frozenset():
            return [readable(one) for one in value]
        case enum.Enum():
            return value.name.lower()
        case bytes():
            return text_of(value)
    return msgspec.to_builtins(value)


# -- the log ------------------------------------------------------------------------------------


def versions(store: Store, name: str, key: Key, upto: int, *, records: int = STRETCH) -> Versions:
    """What a row became in transactions up to LSN `upto`, as far as `records` before it.

    Raises UnknownTable, InvalidKey, LsnTruncated."""
    info = info_of(store, name)
    full = prefix_of(info.id) + encode(key)
    first = store.log.first_lsn
    start = max(first, upto + 1 - records)
    found = [
        version
        for record in store.log.read(start, upto + 1)
        if full in (data := bytes(record.data))
        and (version := _version(store, info, full, data, record.lsn)) is not None
    ]
    found.reverse()
    return Versions(found, start - 1 if start > first else None)


def _version(store: Store, info: TableInfo, full: bytes, data: bytes, lsn: int) -> Version | None:
    commit = unpack(data, lsn)
    if commit is None or full not in commit.writes:
        return None
    stored = commit.writes[full]
    value = None
    if stored is not None:
        try:
            value = value_of(store, info, store, full, stored)
        except Erased:
            value = None
    return Version(lsn, commit.time, commit.meta, stored, value)


def sample(store: Store, name: str) -> str:
    """A row of a declared table as JSON with its fields, to begin from: the first there is; else empty."""
    table = store.declared(name)
    first = next(table.scan(store, limit=1), None)
    if first is None:
        fields = table.codec.row.__struct_encode_fields__
        return msgspec.json.format(msgspec.json.encode(dict.fromkeys(fields)), indent=2).decode()
    return msgspec.json.format(msgspec.json.encode(first), indent=2).decode()
