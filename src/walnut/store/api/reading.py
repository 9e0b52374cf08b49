"""Routes that read tables: which there are, what they are, their rows.

What must stay true: scans run in threads, each on a snapshot; a row is read where the request is, as
that costs less than going elsewhere.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery
from litestar.types import ControllerRouterHandler, Scope

from walnut.store.api.asking import page_size, reached
from walnut.store.api.operations import permit_reading
from walnut.store.api.rows import (
    Item,
    Range,
    find,
    key_in_path,
    key_in_query,
    page,
    row_json,
)
from walnut.store.api.tables import Description, Size, Tables
from walnut.store.errors import InvalidKey, UnknownRow
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.conditions import etag_of, not_modified
from walnut.web.errors import Forbidden
from walnut.web.express import express
from walnut.web.openapi import takes
from walnut.web.paging import LIMIT, Page, from_cursor, to_cursor
from walnut.web.positions import position

TAGS: Final = ["tables"]


class Detail(Description, frozen=True, kw_only=True):
    """All about a table.

    Attributes:
        row_schema: JSON Schema of its rows; null if their type is not known here.
        size: what is in it, if that was asked for.
    """

    row_schema: Any
    size: Size | None = None


def routes(tables: Tables) -> list[ControllerRouterHandler]:
    """The routes that read these tables."""
    store = tables.store

    @get("/v1/tables", tags=TAGS, summary="List tables", opt=needs("tables:read", each=True))
    async def list_tables(
        scope: Scope, limit: FromQuery[int] = LIMIT, cursor: FromQuery[str | None] = None
    ) -> Page[Description]:
        """The tables that the caller may read, by name."""
        last = from_cursor(cursor, str) if cursor else ""
        found: list[Description] = []
        for name in sorted(store.tables()):
            if name > last and _may_read(tables, name, scope):
                if len(found) == page_size(limit):
                    return Page(found, to_cursor(found[-1].name))
                found.append(tables.describe(tables.info(name)))
        return Page(found)

    @get(
        "/v1/tables/{table:str}",
        tags=TAGS,
        summary="Describe a table",
        opt=needs("tables:read", name="table"),
    )
    async def describe(
        table: FromPath[str], scope: Scope, *, size: FromQuery[bool] = False
    ) -> Answer[Detail]:
        """What a table is: its indexes, the schema of its rows, whose it is; with `size=true` also how
        much is in it, for which its rows are read (a bounded number of them)."""
        permit_reading(tables, table, scope)
        info = tables.info(table)
        lsn = store.applied_lsn
        counted = None
        if size:
            with store.snapshot() as snapshot:
                counted = await asyncio.to_thread(tables.size, table, snapshot)
                lsn = snapshot.lsn
        known = msgspec.structs.asdict(tables.describe(info))
        detail = Detail(**known, row_schema=tables.row_schema(table), size=counted)
        return Answer(detail, headers=position(lsn))

    @get(
        "/v1/tables/{table:str}/rows",
        tags=TAGS,
        summary="Scan a table",
        opt={**needs("tables:read", name="table"), **takes("at_least")},
    )
    async def scan(
        table: FromPath[str],
        scope: Scope,
        index: FromQuery[str | None] = None,
        prefix: FromQuery[str | None] = None,
        start: FromQuery[str | None] = None,
        stop: FromQuery[str | None] = None,
        *,
        reverse: FromQuery[bool] = False,
        limit: FromQuery[int] = LIMIT,
        cursor: FromQuery[str | None] = None,
        at_least: FromQuery[int] = 0,
    ) -> Answer[Page[Item]]:
        """Rows in the order of their keys, or of an index.

        Keys are JSON (`"r1"`, `7`, `["h1", 2]`, `{"uuid": "..."}`), or a word, which stands for itself.
        `start` and `stop` are what comes after the `prefix`; `stop` itself is left out. Rows about
        somebody who was erased are left out. A page may have fewer rows than `limit` and yet a `next`.
        """
        if not scope["raw_path"].partition(b"?")[0].rstrip(b"/").endswith(b"/rows"):
            raise InvalidKey("a key of slashes alone has no path: read it in a transaction")
        permit_reading(tables, table, scope)
        which = Range(
            prefix=key_in_query(prefix),
            start=key_in_query(start),
            stop=key_in_query(stop),
            reverse=reverse,
        )
        await reached(store, at_least)
        ordered = tables.order(table, index)
        with store.snapshot() as snapshot:
            found = await asyncio.to_thread(
                page, ordered, snapshot, which, page_size(limit), cursor
            )
            return Answer(found, headers=position(snapshot.lsn))

    async def row(table: str, scope: Scope, at_least: int) -> Answer[msgspec.Raw]:
        permit_reading(tables, table, scope)
        lsn = await reached(store, at_least)
        known = tables.to_read(table)
        key = key_in_path(known, scope)
        found = find(known, store, key)
        if found is None:
            raise UnknownRow(f"{table} has no row with the key {key!r:.200}")
        data, value = found
        headers = position(lsn)
        headers["etag"] = tag = etag_of(data)
        if not_modified(scope, tag):
            return Answer(msgspec.Raw(b""), status=304, headers=headers)
        return Answer(msgspec.Raw(row_json(value)), headers=headers)

    reads_row = {**needs("tables:read", name="table"), **takes("at_least", "If-None-Match")}

    @express
    @get("/v1/tables/{table:str}/rows/{key:str}", tags=TAGS, summary="Read a row", opt=reads_row)
    async def get_row(
        table: FromPath[str], key: FromPath[str], scope: Scope, at_least: FromQuery[int] = 0
    ) -> Answer[msgspec.Raw]:
        """The row with this key. Of a document the key is the text in the path; of other tables it is
        JSON, or a word. Slashes in it may be written %2F."""
        del key  # as it came, in the scope: it may hold what was decoded once too often
        return await row(table, scope, at_least)

    @get("/v1/tables/{table:str}/rows/{key:path}", include_in_schema=False, opt=reads_row)
    async def get_row_with_slashes(
        table: FromPath[str], key: FromPath[Path], scope: Scope, at_least: FromQuery[int] = 0
    ) -> Answer[msgspec.Raw]:
        del key
        return await row(table, scope, at_least)

    return [list_tables, describe, scan, get_row, get_row_with_slashes]


def _may_read(tables: Tables, name: str, scope: Scope) -> bool:
    try:
        permit_reading(tables, name, scope)
    except Forbidden:
        return False
    return True
