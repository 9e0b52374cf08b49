"""Transactions over HTTP: operations that are done together or not at all.

    {"op": "put", ...}  {"op": "add", ...} ─▶ Operation ─ bind ─▶ function(tx) ─┐
    {"op": "append", ...}, of another subsystem ──────── bind ─▶ function(tx) ─┴▶ one transaction

What must stay true: everything that needs no transaction (may the caller, does it decode) is settled
before it begins; what one operation finds wrong undoes them all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar, Union

import msgspec

from walnut.store.api.asking import LARGEST
from walnut.store.api.rows import check_depth, find, read_row, row_json
from walnut.store.api.tables import NAME_LENGTH, Tables
from walnut.store.document import Document
from walnut.store.errors import TableNotWritable
from walnut.store.keys import Key, encode
from walnut.store.notation import key_of
from walnut.store.sequence import Counter
from walnut.store.table import Table
from walnut.store.transaction import Transaction
from walnut.web.access import permit
from walnut.web.caller import caller_of
from walnut.web.conditions import Conditions, etag_of
from walnut.web.errors import InvalidRequest, MalformedBody, PreconditionFailed

OPERATIONS: Final = 1000
"""Of one transaction: it runs alone, so everybody waits for it."""

Do = Callable[[Transaction], Any]
"""An operation that only needs its transaction; returns what MessagePack and JSON can hold."""
Op = TypeVar("Op", bound=msgspec.Struct)
Bind = Callable[[Op, Mapping[str, Any]], Awaitable[Do]]
"""Makes that of an operation and the ASGI scope it came in. Raises Forbidden, InvalidRequest."""


class Operation(msgspec.Struct, tag_field="op", forbid_unknown_fields=True):
    """Base of what a transaction can consist of. Its tag is what "op" says."""


class Put(Operation, tag="put"):
    """Store a row, as PUT does."""

    table: str
    row: msgspec.Raw
    if_match: str | None = None
    if_none_match: str | None = None


class Delete(Operation, tag="delete"):
    """Delete a row, as DELETE does."""

    table: str
    key: Any
    if_match: str | None = None


class Get(Operation, tag="get"):
    """Read a row as it is at this point of the transaction."""

    table: str
    key: Any


class Check(Operation, tag="check"):
    """Go on only if a row has this entity tag; null: only if there is none; "*": if there is one."""

    table: str
    key: Any
    etag: str | None


class Add(Operation, tag="add"):
    """Add to a counter; go on only if it then is within these limits."""

    counter: str
    amount: int = 1
    at_least: int | None = None
    at_most: int | None = None


class Operations:
    """What transactions over HTTP may consist of. Other subsystems add theirs as the server starts."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._kinds: dict[type[msgspec.Struct], Bind[Any]] = {
            Put: self._put,
            Delete: self._delete,
            Get: self._get,
            Check: self._check,
            Add: self._add,
        }
        self._decoder: msgspec.json.Decoder[Any] | None = None

    def add(self, kind: type[Op], bind: Bind[Op]) -> None:
        """Have operations of this kind, an `Operation` with a tag of its own."""
        self._kinds[kind] = bind
        self._decoder = None

    def read(self, body: bytes) -> list[Any]:
        """The operations in a body. Raises InvalidRequest, MalformedBody."""
        check_depth(body)
        try:
            operations: list[Any] = self._decode(body)
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error), {"at": "body", "message": str(error)}) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedBody(f"the body is no JSON: {error}") from error
        if not 0 < len(operations) <= OPERATIONS:
            what = f"a transaction has 1 to {OPERATIONS} operations and this has {len(operations)}"
            raise InvalidRequest(what, {"at": "body.operations", "message": what})
        return operations

    def _decode(self, body: bytes) -> list[Any]:
        if self._decoder is None:
            kinds: Any = Union[tuple(self._kinds)]  # noqa: UP007  of what is only known now
            wanted = msgspec.defstruct(
                "Wanted", [("operations", list[kinds])], forbid_unknown_fields=True
            )
            self._decoder = msgspec.json.Decoder(wanted)
        found: list[Any] = self._decoder.decode(body).operations
        return found

    async def bind(self, operations: Sequence[Any], scope: Mapping[str, Any]) -> Do:
        """All of them as one function of a transaction, which gives their results.

        Raises Forbidden, UnknownTable, TableNotWritable, InvalidRequest, InvalidKey."""
        return partial(
            transaction, [await self._kinds[type(each)](each, scope) for each in operations]
        )

    # -- the store's own ------------------------------------------------------------------------

    async def _put(self, wanted: Put, scope: Mapping[str, Any]) -> Do:
        permit(scope, "tables:write", wanted.table)
        table = await self._tables.to_write(wanted.table)
        conditions = conditions_of(wanted.if_match, wanted.if_none_match)
        return partial(put, table, read_row(table, wanted.row), conditions)

    async def _delete(self, wanted: Delete, scope: Mapping[str, Any]) -> Do:
        permit(scope, "tables:write", wanted.table)
        table = await self._tables.to_write(wanted.table)
        return partial(delete, table, _key(table, wanted.key), conditions_of(wanted.if_match, None))

    async def _get(self, wanted: Get, scope: Mapping[str, Any]) -> Do:
        table = self._readable(wanted.table, scope)
        if table.info.subjects and caller_of(scope).idempotency_key:
            what = (
                f"rows of {wanted.table} are about somebody and may be erased, and the result under an "
                "idempotency key is kept: read them outside of the transaction, or send it without a key"
            )
            raise InvalidRequest(what, {"at": "body.operations", "message": what})
        return partial(_read, table, _key(table, wanted.key))

    async def _check(self, wanted: Check, scope: Mapping[str, Any]) -> Do:
        table = self._readable(wanted.table, scope)
        conditions = (
            conditions_of(None, "*") if wanted.etag is None else conditions_of(wanted.etag, None)
        )
        return partial(_check, table, _key(table, wanted.key), conditions)

    async def _add(self, wanted: Add, scope: Mapping[str, Any]) -> Do:
        name = wanted.counter
        permit(scope, "counters:write", name)
        if not 0 < len(name) <= NAME_LENGTH:
            what = f"the name of a counter has 1 to {NAME_LENGTH} characters"
            raise InvalidRequest(what, {"at": "body.operations", "message": what})
        if (owner := self._tables.owners.owner_of(name)) is not None:
            raise TableNotWritable(f"the counter {name} is kept by {owner}: choose another name")
        return partial(_count, self._tables.store.counter(name), wanted)

    def _readable(self, name: str, scope: Mapping[str, Any]) -> Table[Any]:
        permit_reading(self._tables, name, scope)
        return self._tables.to_read(name)


def permit_reading(tables: Tables, name: str, scope: Mapping[str, Any]) -> None:
    """Let the caller read a table: what a subsystem keeps is for administrators, as it may hold what
    that subsystem shows to fewer. Raises Forbidden."""
    verb = "read" if tables.owners.owner_of(name) is None else "admin"
    permit(scope, f"tables:{verb}", name)


def transaction(functions: Sequence[Do], tx: Transaction) -> list[Any]:
    """Operations in order. Raises PreconditionFailed, and what tables raise."""
    results = []
    for number, function in enumerate(functions):
        try:
            results.append(function(tx))
        except PreconditionFailed as error:
            raise PreconditionFailed(f"operation {number}: {error}") from error
    return results


def conditions_of(match: str | None, none_match: str | None) -> Conditions | None:
    """Conditions that stand in a body, and not in headers."""
    headers = [
        (name, text.encode("latin-1", "replace"))
        for name, text in ((b"if-match", match), (b"if-none-match", none_match))
        if text is not None
    ]
    return Conditions({"headers": headers}) if headers else None


def put(
    table: Table[Any], row: Any, conditions: Conditions | None, tx: Transaction
) -> dict[str, Any]:
    """Store a row; its entity tag, where that can be told before it is sealed."""
    full = table.prefix + encode(table.key_of(row))
    old = tx.read(full)
    if conditions is not None:
        conditions.check(None if old is None else etag_of(old))
    table.put(tx, row)
    done: dict[str, Any] = {"created": old is None}
    data = tx.writes.get(full)
    if table.subject is None and data is not None:
        done["etag"] = etag_of(data)
    return done


def delete(
    table: Table[Any], key: Key, conditions: Conditions | None, tx: Transaction
) -> dict[str, Any]:
    """Delete a row; whether there was one."""
    if conditions is not None:
        old = tx.read(table.prefix + encode(key))
        conditions.check(None if old is None else etag_of(old))
    return {"deleted": table.delete(tx, key)}


def _read(table: Table[Any], key: Key, tx: Transaction) -> dict[str, Any]:
    found = find(table, tx, key)
    if found is None:
        return {"found": False}
    data, row = found
    return {"found": True, "etag": etag_of(data), "row": msgspec.json.decode(row_json(row))}


def _check(
    table: Table[Any], key: Key, conditions: Conditions | None, tx: Transaction
) -> dict[str, Any]:
    data = tx.read(table.prefix + encode(key))
    if conditions is not None:
        conditions.check(None if data is None else etag_of(data))
    return {}


def _count(counter: Counter, wanted: Add, tx: Transaction) -> dict[str, Any]:
    value = counter.value(tx) + wanted.amount
    low = -LARGEST if wanted.at_least is None else wanted.at_least
    high = LARGEST - 1 if wanted.at_most is None else wanted.at_most
    if not max(low, -LARGEST) <= value <= min(high, LARGEST - 1):
        raise PreconditionFailed(
            f"the counter {counter.name} would be {value}, and may be from {low} to {high}"
        )
    return {"value": counter.add(tx, wanted.amount)}


def _key(table: Table[Any], value: Any) -> Key:
    """A key in a body. Raises InvalidKey."""
    key = key_of(value)
    if table.codec.row is Document and not isinstance(key, str):
        what = (
            f"{table.name} is a table of documents, whose keys are text, and this is {value!r:.80}"
        )
        raise InvalidRequest(what, {"at": "body.operations", "message": what})
    encode(key)
    return key
