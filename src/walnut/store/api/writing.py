"""Routes that write tables: make one, put and delete rows, transactions.

What must stay true: each request is one transaction, in its sender's name, once for each idempotency
key; it is answered when it is durable.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
from litestar import delete, post, put
from litestar.params import FromPath, JSONBody, RawBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.store.api import operations as operation
from walnut.store.api.asking import meta_of, write
from walnut.store.api.once import Once
from walnut.store.api.operations import Operations
from walnut.store.api.reading import TAGS
from walnut.store.api.rows import key_in_path, read_row
from walnut.store.api.tables import Description, Tables
from walnut.store.errors import UnknownRow
from walnut.web.access import needs, permit
from walnut.web.answer import Answer
from walnut.web.conditions import Conditions
from walnut.web.express import express
from walnut.web.openapi import sends, takes
from walnut.web.positions import position


class NewTable(msgspec.Struct, forbid_unknown_fields=True):
    """A table of documents to be made.

    Attributes:
        before: the change feed has what rows were before each change.
    """

    name: str
    before: bool = False


class Made(msgspec.Struct):
    """What came of a wish for a table, as of an LSN."""

    table: Description
    new: bool
    lsn: int


class Stored(msgspec.Struct, omit_defaults=True):
    """A row was stored.

    Attributes:
        created: there was none with its key.
        etag: of it; left out for rows about subjects, which have a new one each time they are written.
    """

    created: bool
    etag: str | None = None


class Deleted(msgspec.Struct):
    """A row was deleted."""

    deleted: bool


class Committed(msgspec.Struct):
    """A transaction was committed: what each of its operations gave, in their order."""

    lsn: int
    results: list[Any]


def routes(tables: Tables, operations: Operations, once: Once) -> list[ControllerRouterHandler]:
    """The routes that write these tables."""
    store = tables.store

    @post("/v1/tables", tags=TAGS, summary="Make a table", opt=needs("tables:write", each=True))
    async def create_table(data: JSONBody[NewTable], scope: Scope) -> Answer[Description]:
        """Make a table of documents: rows of `{"key": text, "value": any JSON}`. Answers 200 if there is
        one like it already."""
        permit(scope, "tables:write", data.name)
        meta = msgspec.structs.replace(meta_of(scope), key="")  # `once` has it

        async def make() -> Made:
            new = await tables.create(data.name, meta, before=data.before)
            return Made(tables.describe(tables.info(data.name)), new, store.applied_lsn)

        made, headers = await once(scope, data, Made, make)
        return Answer(
            made.table,
            status=201 if made.new else 200,
            headers={**position(made.lsn), **headers},
        )

    async def put_one(table: str, body: bytes, scope: Scope) -> Answer[Stored]:
        known = await tables.to_write(table)
        row = read_row(known, body, key_in_path(known, scope))
        conditions = Conditions(scope)
        stored = partial(_stored, known, row, conditions or None)
        done = await write(store, scope, body, Stored, stored)
        headers = done.headers
        if done.result.etag is not None:
            headers["etag"] = done.result.etag
        return Answer(done.result, status=201 if done.result.created else 200, headers=headers)

    async def delete_one(table: str, scope: Scope) -> Answer[Deleted]:
        known = await tables.to_write(table)
        deleted = partial(_deleted, known, key_in_path(known, scope), Conditions(scope) or None)
        done = await write(store, scope, b"", Deleted, deleted)
        return Answer(done.result, headers=done.headers)

    writes = {**needs("tables:write", name="table"), **takes("If-Match", "If-None-Match")}
    deletes = {**needs("tables:write", name="table"), **takes("If-Match")}

    @express
    @put(
        "/v1/tables/{table:str}/rows/{key:str}",
        tags=TAGS,
        summary="Put a row",
        opt={**writes, **sends(Any)},
    )
    async def put_row(
        table: FromPath[str], key: FromPath[str], body: RawBody, scope: Scope
    ) -> Answer[Stored]:
        """Store a row, in place of the one with its key if there is one. The body is the row as GET
        gives it; of a document the key may be left out. 201 if it is new."""
        del key
        return await put_one(table, body, scope)

    @put("/v1/tables/{table:str}/rows/{key:path}", include_in_schema=False, opt=writes)
    async def put_row_with_slashes(
        table: FromPath[str], key: FromPath[Path], body: RawBody, scope: Scope
    ) -> Answer[Stored]:
        del key
        return await put_one(table, body, scope)

    @express
    @delete(
        "/v1/tables/{table:str}/rows/{key:str}",
        tags=TAGS,
        summary="Delete a row",
        status_code=200,
        opt=deletes,
    )
    async def delete_row(table: FromPath[str], key: FromPath[str], scope: Scope) -> Answer[Deleted]:
        """Delete the row with this key. 404 if there is none."""
        del key
        return await delete_one(table, scope)

    @delete(
        "/v1/tables/{table:str}/rows/{key:path}",
        include_in_schema=False,
        status_code=200,
        opt=deletes,
    )
    async def delete_row_with_slashes(
        table: FromPath[str], key: FromPath[Path], scope: Scope
    ) -> Answer[Deleted]:
        del key
        return await delete_one(table, scope)

    @express
    @post(
        "/v1/transaction",
        tags=TAGS,
        summary="Run a transaction",
        status_code=200,
        opt={
            **needs("tables:write", each=True),
            **sends(dict[Literal["operations"], list[dict[str, Any]]]),
        },
    )
    async def transaction(body: RawBody, scope: Scope) -> Answer[Committed]:
        """Do several things together, or none of them: `{"operations": [...]}`, of these kinds.

        `{"op": "put", "table": "rooms", "row": {...}, "if_match": "...", "if_none_match": "*"}`,
        `{"op": "delete", "table": "rooms", "key": "r1", "if_match": "..."}`,
        `{"op": "get", "table": "rooms", "key": "r1"}`,
        `{"op": "check", "table": "rooms", "key": "r1", "etag": "..."}` (null: there is no such row),
        `{"op": "add", "counter": "orders", "amount": 1, "at_most": 100}`,
        `{"op": "append", "topic": "orders", "messages": [...]}`. Each sees what those before it did. The
        results are in the order of the operations. A condition that does not hold undoes all (412)."""
        wanted = operations.read(body)
        done = await write(store, scope, body, list, await operations.bind(wanted, scope))
        return Answer(Committed(done.lsn, done.result), headers=done.headers)

    return [
        create_table,
        put_row,
        put_row_with_slashes,
        delete_row,
        delete_row_with_slashes,
        transaction,
    ]


def _stored(table: Any, row: Any, conditions: Conditions | None, tx: Any) -> Stored:
    return msgspec.convert(operation.put(table, row, conditions, tx), Stored)


def _deleted(table: Any, key: Any, conditions: Conditions | None, tx: Any) -> Deleted:
    done = operation.delete(table, key, conditions, tx)
    if not done["deleted"]:
        raise UnknownRow(f"{table.name} has no row with the key {key!r:.200}")
    return Deleted(deleted=True)
