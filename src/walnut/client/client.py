"""`Client`: a Walnut server from a Python program, or from the command line.

    with Client("http://127.0.0.1:8420", token=...) as client:
        client.create_table("notes")
        client.table("notes").put({"key": "n1", "value": "buy walnuts"})
        for change in client.changes(since=0, follow=True): ...

What must stay true: it holds no state of the server but connections, so that a restart of the server,
or a fork of this program, costs a new connection and nothing else.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

import msgspec

from walnut.client.address import Address, parse
from walnut.client.feed import Feed
from walnut.client.jobs import Jobs
from walnut.client.model import Change, Committed, TableInfo, key_json
from walnut.client.table import Table
from walnut.client.topic import Keeping, Message, Topic, TopicInfo, given
from walnut.client.transport import PATIENCE, TIMEOUT, Query, Transport

Row = TypeVar("Row")
PAGE: Final = 1000


class Client:
    """A server, by its URL, its socket, or the data directory it has open.

    Args:
        place: "http://host:8420", "https://host", "unix:/path/walnut.sock", or a data directory.
        token: what `walnut token create` printed. Over a Unix socket the user is the credential.
        reason: why this program does what it does, which is kept with what it changes.
        timeout: seconds without a byte after which a connection counts as lost.
        patience: seconds for which a request is tried again while the server restarts or has too much
            to do. A server that was never met is not waited for.
        tls: how certificates are checked, if not by those of this machine.

    Raises BadAddress.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | Address,
        *,
        token: str = "",
        reason: str = "",
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        address = place if isinstance(place, Address) else parse(place)
        self.transport = Transport(
            address, token=token, reason=reason, timeout=timeout, patience=patience, tls=tls
        )
        """For routes that have no method here."""

    def status(self) -> dict[str, Any]:
        """The server at a glance: state, version, LSNs, disk, and what each subsystem says of itself."""
        found: dict[str, Any] = msgspec.json.decode(
            self.transport.request("GET", "/v1/status").body
        )
        return found

    # -- tables -------------------------------------------------------------------------------

    @overload
    def table(self, name: str) -> Table[Any]: ...
    @overload
    def table(self, name: str, row: type[Row]) -> Table[Row]: ...
    def table(self, name: str, row: type[Any] = Any) -> Table[Any]:
        """A table, whose rows come as dicts, or as the given type (a `msgspec.Struct`)."""
        return Table(self.transport, name, row)

    def tables(self) -> Iterator[TableInfo]:
        """The tables that this token may read, by name."""
        return self.pages("/v1/tables", TableInfo)

    def create_table(self, name: str, *, before: bool = False) -> TableInfo:
        """Make a table of documents (`{"key": text, "value": any JSON}`), if it is not there.

        Args:
            before: the change feed has what rows were before each change.

        Raises Conflict: there is another one of this name."""
        body = msgspec.json.encode({"name": name, "before": before})
        answer = self.transport.request("POST", "/v1/tables", body=body, headers=JSON)
        return msgspec.json.decode(answer.body, type=TableInfo)

    def transaction(
        self, operations: Operations | Sequence[Mapping[str, Any]], *, key: str | None = None
    ) -> Committed:
        """Do several things together, or none of them.

        Args:
            key: the idempotency key; one is made if none is given.

        Raises Changed if a condition does not hold, Refused in other kinds, OutcomeUnknown."""
        wanted = operations.done if isinstance(operations, Operations) else list(operations)
        body = msgspec.json.encode({"operations": wanted})
        answer = self.transport.request("POST", "/v1/transaction", body=body, key=key)
        done = msgspec.json.decode(answer.body, type=Committed)
        return msgspec.structs.replace(done, repeated=answer.repeated)

    # -- topics -------------------------------------------------------------------------------

    def topic(self, name: str) -> Topic:
        """A topic, there or not."""
        return Topic(self.transport, name)

    def topics(self) -> Iterator[TopicInfo]:
        """The topics that this token may read, by name."""
        return self.pages("/v1/topics", TopicInfo)

    def create_topic(
        self, name: str, keeping: Keeping | None = None, *, key: str | None = None
    ) -> TopicInfo:
        """Make a topic, which keeps messages as given, or as walnut.toml says. Raises Conflict."""
        wanted = {"name": name} | ({} if keeping is None else {"options": keeping})
        answer = self.transport.request(
            "POST", "/v1/topics", body=msgspec.json.encode(wanted), headers=JSON, key=key
        )
        return msgspec.json.decode(answer.body, type=TopicInfo)

    # -- jobs ---------------------------------------------------------------------------------

    @property
    def jobs(self) -> Jobs:
        """The jobs and queues there are."""
        return Jobs(self.transport, self.pages)

    # -- changes ------------------------------------------------------------------------------

    def changes(
        self,
        since: int | str | None = 0,
        *,
        upto: int | None = None,
        tables: Iterable[str] | None = None,
        follow: bool = False,
    ) -> Iterator[Change]:
        """What transactions changed, in order, each once; a stream that is cut is gone on with where it
        was, also by whoever gives the last `position` as `since` later.

        Args:
            since: behind this LSN or position; 0: from as far back as the log reaches; None: from now on.
            upto: up to this LSN; else up to now, or with `follow` without an end.
            tables: of these alone; else of all that no subsystem keeps.

        Raises Gone: the log no longer reaches back so far; its `more` has `first_lsn`."""
        query: dict[str, str | int | bool | None] = {
            "since": since, "upto": upto, "follow": follow,
            "tables": None if tables is None else ",".join(tables),
        }  # fmt: skip
        decoder = msgspec.json.Decoder(Change)
        for data in Feed(self.transport, "/v1/changes", query):
            yield decoder.decode(data)

    # -- lists --------------------------------------------------------------------------------

    def pages(self, path: str, kind: type[Row], query: Query | None = None) -> Iterator[Row]:
        """All items of a list that comes in pages, a page at a time as they are taken."""
        decoder = msgspec.json.Decoder(_page(kind))
        cursor: str | None = None
        while True:
            answer = self.transport.request(
                "GET", path, query={**(query or {}), "limit": PAGE, "cursor": cursor}
            )
            page = decoder.decode(answer.body)
            yield from page.items
            if not page.next:
                return
            cursor = page.next

    # -- its end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of its connections. A request after that makes a new one."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Operations:
    """What a transaction consists of, in order: `Operations().put("notes", {...}).add("orders")`."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        """As the API takes them."""

    def put(self, table: str, row: Any, *, if_match: str | None = None, new: bool = False) -> Self:
        """Store a row; only if the one there has this entity tag, or if there is none."""
        conditions = {"if_match": if_match, "if_none_match": "*" if new else None}
        return self._add("put", table=table, row=row, **conditions)

    def delete(self, table: str, key: Any, *, if_match: str | None = None) -> Self:
        """Delete a row if it is there; only if it has this entity tag."""
        return self._add("delete", table=table, key=key_json(key), if_match=if_match)

    def get(self, table: str, key: Any) -> Self:
        """Read a row as it is at this point."""
        return self._add("get", table=table, key=key_json(key))

    def check(self, table: str, key: Any, etag: str | None) -> Self:
        """Go on only if a row has this entity tag; None: only if there is none; "*": if there is one."""
        self._add("check", table=table, key=key_json(key))
        self.done[-1]["etag"] = etag
        return self

    def add(
        self,
        counter: str,
        amount: int = 1,
        *,
        at_least: int | None = None,
        at_most: int | None = None,
    ) -> Self:
        """Add to a counter; go on only if it then is within these limits."""
        return self._add("add", counter=counter, amount=amount, at_least=at_least, at_most=at_most)

    def append(self, topic: str, messages: Sequence[bytes | Message]) -> Self:
        """Append messages to a topic."""
        return self._add("append", topic=topic, messages=[given(message) for message in messages])

    def _add(self, op: str, **fields: Any) -> Self:
        given = {name: value for name, value in fields.items() if value is not None}
        self.done.append({"op": op, **given})
        return self


JSON: Final = {"Content-Type": "application/json"}


def _page(kind: type[Any]) -> Any:
    return msgspec.defstruct("Page", [("items", list[kind]), ("next", str, "")])  # type: ignore[valid-type]
