"""One table of a server: its rows, read and written one request at a time.

What must stay true: a key means the same here as in the library, whatever characters it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Generic

import msgspec

from walnut.client.errors import NotThere
from walnut.client.model import Item, Row, Stored, TableInfo, is_word, key_json, key_text
from walnut.client.transport import Transport, part

PAGE: Final = 1000
"""Rows of a page of a scan: the most the server gives."""


class Table(Generic[Row]):
    """A table. Made by `Client.table`. Any number of threads may use it.

    Everything raises Refused in one of its kinds, Unreachable, BadAnswer; writes also OutcomeUnknown.
    """

    def __init__(self, transport: Transport, name: str, row: type[Row]) -> None:
        self.name = name
        self._transport = transport
        self._path = f"/v1/tables/{part(name)}"
        self._row = msgspec.json.Decoder(row)
        self._page = msgspec.json.Decoder(_page_of(row))
        self._documents: bool | None = None

    # -- to read ------------------------------------------------------------------------------

    def info(self) -> TableInfo:
        """The table at a glance. Raises NotThere."""
        return msgspec.json.decode(self._transport.request("GET", self._path).body, type=TableInfo)

    def get(self, key: Any, *, at_least: int | None = None) -> Row | None:
        """The row with this key; None if there is none.

        Args:
            at_least: an LSN that the answer has to know of: that of a write, to read it."""
        found = self.find(key, at_least=at_least)
        return None if found is None else found.row

    def find(self, key: Any, *, at_least: int | None = None) -> Item[Row] | None:
        """The same with its entity tag."""
        path = f"{self._path}/rows/{part(self._in_path(key))}"
        try:
            answer = self._transport.request("GET", path, query={"at_least": at_least})
        except NotThere as error:
            if error.slug == "unknown-row":
                return None
            raise
        etag = answer.headers.get("etag", "")
        return Item(key_json(key), etag, self._row.decode(answer.body))

    def _in_path(self, key: Any) -> str:
        """A key at the end of a path: of documents the text itself, of others JSON, or a word."""
        if not isinstance(key, str):
            return key_text(key)
        if is_word(key) and key:
            return key
        if self._documents is None:
            self._documents = self.info().documents
        return key if self._documents else key_text(key)

    def scan(
        self,
        *,
        index: str | None = None,
        prefix: Any = None,
        start: Any = None,
        stop: Any = None,
        reverse: bool = False,
        limit: int | None = None,
        at_least: int | None = None,
    ) -> Iterator[Row]:
        """Rows in the order of their keys, or of an index; read a page at a time as they are taken, each
        page of the state at its time.

        Args:
            prefix: keys that begin with it. start, stop: of these, from and up to (not with) what comes
                behind the prefix.
            limit: so many at most."""
        for item in self.items(
            index=index, prefix=prefix, start=start, stop=stop, reverse=reverse, limit=limit,
            at_least=at_least,
        ):  # fmt: skip
            yield item.row

    def items(
        self,
        *,
        index: str | None = None,
        prefix: Any = None,
        start: Any = None,
        stop: Any = None,
        reverse: bool = False,
        limit: int | None = None,
        at_least: int | None = None,
    ) -> Iterator[Item[Row]]:
        """`scan`, with keys and entity tags."""
        left = limit
        cursor: str | None = None
        bounds = {"prefix": prefix, "start": start, "stop": stop}
        given = {name: key_text(key) for name, key in bounds.items() if key not in (None, ())}
        while left is None or left > 0:
            answer = self._transport.request(
                "GET",
                f"{self._path}/rows",
                query={
                    **given, "index": index, "reverse": reverse, "cursor": cursor,
                    "limit": PAGE if left is None else min(left, PAGE), "at_least": at_least,
                },
            )  # fmt: skip
            page = self._page.decode(answer.body)
            yield from page.items
            if not page.next:
                return
            cursor = page.next
            if left is not None:
                left -= len(page.items)

    # -- to write -----------------------------------------------------------------------------

    def put(
        self, row: Row, *, if_match: str | None = None, new: bool = False, key: str | None = None
    ) -> Stored:
        """Store a row, in place of the one with its key.

        Args:
            if_match: the entity tag that the row there has to have. new: there has to be none.
            key: the idempotency key; one is made if none is given.

        Raises Changed if the condition does not hold."""
        operation = {"op": "put", "table": self.name, "row": row}
        if if_match is not None:
            operation["if_match"] = if_match
        if new:
            operation["if_none_match"] = "*"
        body = msgspec.json.encode({"operations": [operation]})
        answer = self._transport.request("POST", "/v1/transaction", body=body, key=key)
        done = msgspec.json.decode(answer.body, type=_Put)
        return msgspec.structs.replace(done.results[0], lsn=done.lsn, repeated=answer.repeated)

    def delete(self, row_key: Any, *, if_match: str | None = None, key: str | None = None) -> int:
        """Delete the row with this key; the transaction's LSN. Raises NotThere, Changed."""
        path = f"{self._path}/rows/{part(self._in_path(row_key))}"
        headers = {} if if_match is None else {"If-Match": if_match}
        return self._transport.request("DELETE", path, headers=headers, key=key).lsn


class _Put(msgspec.Struct):
    lsn: int
    results: list[Stored]


class _Page(msgspec.Struct, Generic[Row]):
    items: list[Item[Row]]
    next: str = ""


def _page_of(row: type[Row]) -> type[_Page[Row]]:
    return _Page[row]  # type: ignore[valid-type]
