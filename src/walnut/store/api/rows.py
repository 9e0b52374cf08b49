"""Rows as JSON: read one, read many in order, take one in.

What must stay true: a page looks at a bounded number of rows and bytes, whatever is asked for; a row
that comes in is what its table's type says, field by field, or is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from walnut.log.model import MIB
from walnut.store.cursor import cursor_at, rest
from walnut.store.document import Document
from walnut.store.errors import Erased, InvalidKey
from walnut.store.keys import Key, decode, encode, plain
from walnut.store.notation import key_of_text, shown
from walnut.store.problems import InvalidRow
from walnut.store.table import CHUNK, Index, Ordered, Table
from walnut.store.tables import ID_BYTES, OWNER_BYTES, after
from walnut.store.transaction import Reader
from walnut.web.conditions import etag_of
from walnut.web.errors import MalformedBody
from walnut.web.paging import Page

PAGE_BYTES: Final = 4 * MIB
"""Of the rows on a page, as stored: no more once there are so many."""
LOOKED_AT: Final = 10_000
"""Entries looked at for a page: of these some may be of erased rows. Less than it asked for then."""
DEPTH: Final = 200
"""Brackets within one another in a row: what reads it again has a stack as well."""
_PLACE: Final = re.compile(r" - at `\$(?P<at>[^`]*)`$")
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS: Final = re.compile(rb"[\[\]{}]")
_CLOSING: Final = (b"]", b"}")
_BEFORE_KEY: Final = 5
"""Slashes before the key in /v1/tables/TABLE/rows/KEY. It may have slashes of its own, as they are or as %2F."""


class Item(msgspec.Struct, frozen=True):
    """A row on a page: its key, its entity tag, and itself."""

    key: Any
    etag: str
    row: msgspec.Raw


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows: those whose keys begin with `prefix`; of these from `start` up to, not with, `stop`."""

    prefix: Key = ()
    start: Key = ()
    stop: Key = ()
    reverse: bool = False

    def of(self, ordered: Ordered[Any]) -> tuple[bytes, bytes]:
        """The full keys in an order: from, up to and not with. Raises InvalidKey."""
        base = ordered.prefix + encode(self.prefix)
        begin = base + encode(self.start)
        return begin, max(begin, base + encode(self.stop) if self.stop != () else after(base))


# -- out ----------------------------------------------------------------------------------------


def row_json(row: Any) -> bytes:
    """A row as JSON."""
    return msgspec.json.encode(row)


def find(table: Table[Any], reader: Reader, key: Key) -> tuple[bytes, Any] | None:
    """What is stored under a key, and the row it is. Raises InvalidKey, Erased."""
    full = table.prefix + encode(key)
    data = reader.read(full)
    return None if data is None else (data, table.codec.decode(full, data, reader.keyring))


def page(
    ordered: Ordered[Any], reader: Reader, which: Range, limit: int, cursor: str | None
) -> Page[Item]:
    """Rows in order, and a cursor for those after them. Rows about erased subjects are left out.

    Raises InvalidKey, for a cursor of another scan too."""
    begin, end = which.of(ordered)
    begin, end = rest(begin, end, cursor, reverse=which.reverse)
    items: list[Item] = []
    size = looked_at = 0
    last = b""
    table = ordered.table
    for place, full, data in _entries(ordered, reader, begin, end, reverse=which.reverse):
        if len(items) == limit or size >= PAGE_BYTES or looked_at == LOOKED_AT:
            return Page(items, cursor_at(last))
        last = place
        looked_at += 1
        if data is None:
            continue
        try:
            row = table.codec.decode(full, data, reader.keyring)
        except Erased:
            continue
        size += len(data)
        key = shown(plain(decode(full[ID_BYTES:])))
        items.append(Item(key, etag_of(data), msgspec.Raw(row_json(row))))
    return Page(items)


def _entries(
    ordered: Ordered[Any], reader: Reader, begin: bytes, end: bytes, *, reverse: bool
) -> Iterator[tuple[bytes, bytes, bytes | None]]:
    """Where each row is in the order, its full key, and what is stored."""
    walk = reader.walk(begin, end, reverse=reverse)
    if not isinstance(ordered, Index):
        for key, data in walk:
            yield key, key, data
        return
    table = ordered.table
    skip = 0 if table.subject is None else OWNER_BYTES
    while chunk := list(islice(walk, CHUNK)):
        keys = [table.prefix + value[skip:] for _, value in chunk]
        for (at, _), full, found in zip(chunk, keys, reader.read_many(keys), strict=True):
            yield at, full, found


# -- in -----------------------------------------------------------------------------------------


def read_row(table: Table[Any], body: bytes | msgspec.Raw, key: Key | None = None) -> Any:
    """A row of a table from JSON.

    Args:
        key: what its key has to be; a document that has none gets it.

    Raises InvalidRequest, MalformedBody; InvalidKey if its key is another one."""
    check_depth(body)
    row_type = table.codec.row
    if row_type is Document and isinstance(key, str):
        return _document(body, key)
    row = _decoded(body, row_type)
    fields = msgspec.json.decode(body)
    if unknown := table.codec.unknown(fields):
        raise _invalid(unknown[0], f"{table.name} has no field {unknown[0]!r:.80}")
    if key is not None and encode(table.key_of(row)) != encode(key):
        raise InvalidKey(
            f"the row's own key is {table.key_of(row)!r:.200} and it was to be put at {key!r:.200}"
        )
    return row


class _Keyless(msgspec.Struct, forbid_unknown_fields=True):
    value: Any
    key: str | None = None


def _document(body: bytes | msgspec.Raw, key: str) -> Document:
    given = _decoded(body, _Keyless)
    if given.key is not None and given.key != key:
        raise InvalidKey(
            f"the row's own key is {given.key!r:.200} and it was to be put at {key!r:.200}"
        )
    return Document(key, given.value)


def _decoded(body: bytes | msgspec.Raw, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        words = str(error)
        place = _PLACE.search(words)
        raise _invalid(
            place["at"].lstrip(".") if place else "", words[: place.start()] if place else words
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBody(f"the row is no JSON: {error}") from error


def _invalid(at: str, words: str) -> InvalidRow:
    place = f"body.{at}" if at else "body"
    return InvalidRow(f"{place}: {words}", {"at": place, "message": words})


def check_depth(body: bytes | msgspec.Raw) -> None:
    """Refuse JSON that is nested more than DEPTH deep, before anything reads it. Raises MalformedBody."""
    data = bytes(body)
    if data.count(b"[") + data.count(b"{") <= DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.findall(_TEXT.sub(b"", data)):
        if bracket in _CLOSING:
            depth -= 1
        elif (depth := depth + 1) > DEPTH:
            raise MalformedBody(f"the JSON is nested more than {DEPTH} deep: use a flatter one")


# -- keys ---------------------------------------------------------------------------------------


def key_in_path(table: Table[Any], scope: Mapping[str, Any]) -> Key:
    """The key at the end of a row's path. Of a document it is the text that stands there, of another row
    JSON, or a word. Raises InvalidKey."""
    raw = scope["raw_path"].partition(b"?")[0].split(b"/", _BEFORE_KEY)[_BEFORE_KEY]
    try:
        text = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise InvalidKey(
            "the key in the path is not UTF-8: encode it so, and then in %XX"
        ) from error
    return text if table.codec.row is Document else key_of_text(text)


def key_in_query(text: str | None) -> Key:
    """A key given as a parameter: JSON, or a word; the empty one if there is none. Raises InvalidKey."""
    return () if text is None else key_of_text(text)
