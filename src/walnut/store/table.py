"""Tables and indexes as a program sees them: typed rows by key, in order.

Nothing here is state: a `Table` says where rows are and how they look, and every call reads or writes
through the `Reader` or `Transaction` it is given.

What must stay true: the entries of every index of a table are, within each transaction, exactly those
its function makes of the rows that are there and can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

import msgspec

from walnut.store.catalog import IndexInfo, TableInfo, prefix_of
from walnut.store.cursor import cursor_at, rest
from walnut.store.errors import (
    AlreadyDefined,
    Erased,
    InvalidSetting,
    NotUnique,
    ReadOnly,
)
from walnut.store.keys import Key, decode, encode, plain, same
from walnut.store.schema import SEALED, Codec
from walnut.store.tables import OWNER_BYTES, after, subject_prefix
from walnut.store.transaction import Reader, Transaction

Row = TypeVar("Row", bound=msgspec.Struct)
CHUNK = 128
"""Rows fetched at once by a scan of an index."""


class Page(msgspec.Struct, Generic[Row], frozen=True):
    """Some rows, and the cursor that goes on behind them; None when there are no more."""

    rows: list[Row]
    cursor: str | None


class Ordered(Generic[Row]):
    """Rows in an order: a table's by key, or an index's by what its function gives."""

    prefix: bytes
    table: Table[Row]

    def scan(
        self,
        reader: Reader,
        prefix: Key = (),
        *,
        start: Key = (),
        stop: Key = (),
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[Row]:
        """Rows in order: those whose key begins with `prefix`; of these from `start` up to, not with,
        `stop`, where both are what comes after the prefix. `reverse`: the same rows backwards.

        Rows about erased subjects are left out. Raises InvalidKey, InvalidSetting."""
        if limit is not None:
            _check_limit(limit, 0)
        items = self._items(reader, *self._range(prefix, start, stop), reverse=reverse)
        rows = (row for _, row in items)
        return rows if limit is None else islice(rows, limit)

    def page(
        self,
        reader: Reader,
        prefix: Key = (),
        *,
        start: Key = (),
        stop: Key = (),
        reverse: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Row]:
        """At most `limit` rows of a scan, and a cursor for the next ones: it stays good whatever is
        written meanwhile.

        Raises InvalidKey, also for a cursor of another scan; InvalidSetting."""
        _check_limit(limit, 1)
        begin, end = self._range(prefix, start, stop)
        begin, end = rest(begin, end, cursor, reverse=reverse)
        rows: list[Row] = []
        last = b""
        for at, row in islice(self._items(reader, begin, end, reverse=reverse), limit + 1):
            if len(rows) == limit:
                return Page(rows, cursor_at(last))
            rows.append(row)
            last = at
        return Page(rows, None)

    def count(self, reader: Reader, prefix: Key = ()) -> int:
        """How many there are, counted one by one, rows about erased subjects included."""
        return sum(1 for _ in reader.walk(*self._range(prefix, (), ())))

    def _range(self, prefix: Key, start: Key, stop: Key) -> tuple[bytes, bytes]:
        base = self.prefix + encode(prefix)
        return base + encode(start), base + encode(stop) if stop != () else after(base)

    def _items(
        self, reader: Reader, start: bytes, stop: bytes, *, reverse: bool
    ) -> Iterator[tuple[bytes, Row]]:
        """Rows that can be read, each behind its full key in this order."""
        raise NotImplementedError


class Index(Ordered[Row]):
    """Rows by what a function makes of them. Made by `Table.index`.

    The function returns a key, or a list of keys for a row that has several, or None for a row that
    is not in the index; it looks at nothing but the row."""

    def __init__(
        self,
        table: Table[Row],
        name: str,
        function: Callable[[Row], Key | list[Key]],
        info: IndexInfo,
    ) -> None:
        self.table = table
        self.name = f"{table.name}.{name}"
        self.info = info
        self.prefix = prefix_of(info.id, private=table.subject is not None)
        self.function = function
        self._skip = 0 if table.subject is None else OWNER_BYTES

    def get(self, reader: Reader, key: Key) -> Row | None:
        """The first row with this key, if there is one."""
        return next(self.scan(reader, key), None)

    def entries(self, row: Row, key: bytes) -> dict[bytes, bytes]:
        """The entries of a row: their full keys, and the row's key, which is each one's value."""
        return self.entries_of(self.function(row), key)

    def entries_of(self, given: Key | list[Key], key: bytes) -> dict[bytes, bytes]:
        """The entries for what the function gave of a row."""
        if given is None:
            return {}
        tail = b"" if self.info.unique else key
        if not isinstance(given, list):
            return {self.prefix + encode(given) + tail: key}
        return {self.prefix + encode(value) + tail: key for value in given}

    def check(self, tx: Transaction, entries: Iterable[bytes], key: bytes) -> None:
        """Raise NotUnique if one of these is another row's."""
        for entry in entries:
            found = tx.read(entry)
            other = key if found is None else found[self._skip :]
            if other != key and self.table.readable(tx, other):
                raise NotUnique(self.name, plain(decode(other)))

    def _items(
        self, reader: Reader, start: bytes, stop: bytes, *, reverse: bool
    ) -> Iterator[tuple[bytes, Row]]:
        codec, keyring, table = self.table.codec, reader.keyring, self.table.prefix
        skip = self._skip
        entries = reader.walk(start, stop, reverse=reverse)
        while chunk := list(islice(entries, CHUNK)):
            keys = [table + value[skip:] for _, value in chunk]
            for (at, _), key, data in zip(chunk, keys, reader.read_many(keys), strict=True):
                if data is None:
                    continue
                try:
                    row = codec.decode(key, data, keyring)
                except Erased:
                    continue
                yield at, row


class Home(Protocol):
    """What a table asks of the store it was declared in."""

    def number_of(self, tx: Transaction, subject: str) -> int:
        """The number of a subject."""

    def index(
        self,
        table: Table[Row],
        name: str,
        function: Callable[[Row], Key | list[Key]],
        *,
        unique: bool,
        version: int,
    ) -> Index[Row]:
        """Declare an index."""


class Table(Ordered[Row]):
    """Typed rows by key. Made by `Store.table`."""

    def __init__(
        self,
        info: TableInfo,
        codec: Codec[Row],
        key: Callable[[Row], Key],
        subject: Callable[[Row], str] | None = None,
    ) -> None:
        self.table = self
        self.info = info
        self.name = info.name
        self.codec = codec
        self.prefix = prefix_of(info.id)
        self.subject = subject
        self.indexes: dict[str, Index[Row]] = {}
        self.home: Home | None = None
        self._key = key
        self._plain = not (subject or info.before)

    def index(
        self,
        name: str,
        function: Callable[[Row], Key | list[Key]],
        *,
        unique: bool = False,
        version: int = 0,
    ) -> Index[Row]:
        """The index of this name: rows by what `function` makes of them.

        It is built when it is new, and again when the function's code changed; raise `version` when
        only what the code refers to did.

        Raises NotUnique if it is `unique` and two rows have the same key; AlreadyDefined."""
        return self._home().index(self, name, function, unique=unique, version=version)

    def _home(self) -> Home:
        if self.home is None:
            raise AlreadyDefined(f"{self.name} is a table of the store's own and stays as it is")
        return self.home

    # -- reading --------------------------------------------------------------------------------

    def get(self, reader: Reader, key: Key) -> Row | None:
        """The row with this key, or None.

        Raises Erased, InvalidKey, UnknownSchema, RowDamaged, KeysMissing."""
        full = self.prefix + encode(key)
        data = reader.read(full)
        return None if data is None else self.codec.decode(full, data, reader.keyring)

    def get_many(self, reader: Reader, keys: Sequence[Key]) -> list[Row | None]:
        """The rows with these keys, None for each one that is not there. Raises as `get`."""
        full = [self.prefix + encode(key) for key in keys]
        return [
            None if data is None else self.codec.decode(at, data, reader.keyring)
            for at, data in zip(full, reader.read_many(full), strict=True)
        ]

    def key_of(self, row: Row) -> Key:
        """The key that a row is stored under."""
        return self._key(row)

    def readable(self, reader: Reader, key: bytes) -> bool:
        """The row with this encoded key is there, and not erased."""
        data = reader.read(self.prefix + key)
        if data is None or data[0] != SEALED:
            return data is not None
        return reader.keyring.knows(int.from_bytes(data[1:6], "big"))

    def _items(
        self, reader: Reader, start: bytes, stop: bytes, *, reverse: bool
    ) -> Iterator[tuple[bytes, Row]]:
        decode_row, keyring = self.codec.decode, reader.keyring
        for key, data in reader.walk(start, stop, reverse=reverse):
            try:
                row = decode_row(key, data, keyring)
            except Erased:
                continue
            yield key, row

    # -- writing --------------------------------------------------------------------------------

    def put(self, tx: Transaction, row: Row) -> Row:
        """Store a row, in place of the one with its key if there is one; returns it.

        Raises WrongType, InvalidKey, ValueTooLarge, NotUnique, TransactionFinished, ReadOnly."""
        if not isinstance(tx, Transaction):
            raise _read_only(self.name, tx)
        data, stored = self.codec.encode(row)
        key = encode(self._key(stored))  # of what will be read, as an index that is built has it
        full = self.prefix + key
        if self._plain and not self.indexes:
            if tx.finished:
                tx.check()
            tx.writes[full] = data
            return row
        number = None if self.subject is None else self._home().number_of(tx, self.subject(stored))
        old = tx.read(full)
        self._reindex(tx, key, old, stored, number)
        if self.info.before and full not in tx.before:
            tx.before[full] = old
        if number is not None:
            tx.sealed[full] = number
        tx.write(full, data)
        return row

    def delete(self, tx: Transaction, key: Key) -> bool:
        """Delete the row with this key; returns whether there was one.

        Raises InvalidKey, TransactionFinished, ReadOnly."""
        if not isinstance(tx, Transaction):
            raise _read_only(self.name, tx)
        encoded = encode(key)
        full = self.prefix + encoded
        old = tx.read(full)
        if old is None:
            return False
        self._reindex(tx, encoded, old, None, None)
        if self.info.before and full not in tx.before:
            tx.before[full] = old
        tx.sealed.pop(full, None)
        tx.write(full, None)
        return True

    def _reindex(
        self, tx: Transaction, key: bytes, old: bytes | None, row: Row | None, number: int | None
    ) -> None:
        if not self.indexes:
            return
        full = self.prefix + key
        before: Row | None = None
        old_number = number
        if old is not None:
            try:
                before = self.codec.decode(full, old, tx.keyring)
            except Erased:  # its entries went with it
                before = None
            if self.subject is not None:
                old_number = self._number_in(tx, full, old)
        for index in self.indexes.values():
            was = None if before is None else index.function(before)
            now = None if row is None else index.function(row)
            if old_number == number and (was is now or same(was, now)):
                continue
            gone, new = index.entries_of(was, key), index.entries_of(now, key)
            if index.info.unique:
                index.check(tx, new, key)
            for entry in gone:
                if entry not in new or old_number != number:
                    self._enter(tx, entry, None, old_number)
            for entry, value in new.items():
                if entry not in gone or old_number != number:
                    self._enter(tx, entry, value, number)

    def _number_in(self, tx: Transaction, full: bytes, old: bytes) -> int | None:
        if full in tx.sealed:
            return tx.sealed[full]
        return int.from_bytes(old[1:6], "big") if old[0] == SEALED else None

    @staticmethod
    def _enter(tx: Transaction, entry: bytes, value: bytes | None, number: int | None) -> None:
        if number is None:
            tx.write(entry, value)
            return
        owned = None if value is None else number.to_bytes(OWNER_BYTES, "big") + value
        tx.write_private(entry, owned, number)
        tx.write_private(subject_prefix(number) + entry, None if value is None else b"\1", number)

    def rewrite_some(self, tx: Transaction, start: bytes, limit: int) -> bytes | None:
        """Lift up to `limit` rows from the full key `start` on to today's schema; returns where to go
        on, or None at the end."""
        items = tx.walk(start or self.prefix, after(self.prefix))
        for number, (full, data) in enumerate(items):
            if number == limit:
                return full
            if not self.codec.is_current(data, full, tx.keyring):
                self.put(tx, self.codec.decode(full, data, tx.keyring))
        return None

    def fill(self, tx: Transaction, index: Index[Row], start: bytes, limit: int) -> bytes | None:
        """Enter up to `limit` rows into an index that is being built; returns as `rewrite_some`."""
        items = tx.walk(start or self.prefix, after(self.prefix))
        for number, (full, data) in enumerate(items):
            if number == limit:
                return full
            try:
                row = self.codec.decode(full, data, tx.keyring)
            except Erased:
                continue
            key = full[len(self.prefix) :]
            entries = index.entries(row, key)
            if index.info.unique:
                index.check(tx, entries, key)
            for entry, value in entries.items():
                self._enter(tx, entry, value, self._number_in(tx, full, data))
        return None


def _check_limit(limit: int, low: int) -> None:
    if not isinstance(limit, int) or limit < low:
        raise InvalidSetting(f"limit is {limit!r}: it is a number of rows, from {low}")


def _read_only(table: str, reader: object) -> ReadOnly:
    return ReadOnly(
        f"{reader!r} only reads: change rows of {table} through the transaction that a function or a "
        "block is given"
    )
