"""Tables, and the rows of one.

tables                                   all of them
tables?table=rooms&prefix=h1&index=...   rows, by key or by an index
tables?table=rooms&key="r1"              one row (`row`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from nicegui import ui

from walnut.console.parts.asking import dialog, report
from walnut.console.parts.elements import actions, badge, button, heading, tag
from walnut.console.parts.empty import empty
from walnut.console.parts.grid import Batch, Column, Grid, Line
from walnut.console.reading import reading
from walnut.console.shell import acting, go
from walnut.console.visit import Visit, link
from walnut.console.words import DASH
from walnut.store import browse
from walnut.store.catalog import TableInfo
from walnut.store.document import holds_documents
from walnut.store.keys import Key
from walnut.store.notation import key_of_text
from walnut.store.page.row import new_row, row_page, tables_of, why_not
from walnut.store.page.said import cell, features, key_json, key_text, to_read
from walnut.store.store import Store
from walnut.subsystem.owners import Owners

ROWS: Final = 100
"""Of one fetch."""
FIELDS: Final = 7
"""Columns at most: whoever wants the others opens the row."""


async def tables_page(visit: Visit) -> None:
    """Draw the page that the address asks for."""
    store = visit.resources.find(Store)
    name = visit.query.get("table", "")
    if not name:
        await _all_tables(visit, store)
        return
    visit.require(to_read(visit, name), name)
    if "key" in visit.query:
        await row_page(visit, store, name)
    else:
        await _rows(visit, store, name)


# -- all tables ---------------------------------------------------------------------------------


async def _all_tables(visit: Visit, store: Store) -> None:
    infos = await reading(_infos, store)
    with heading(
        "Tables",
        "Rows by key, folded from the log: each change is a transaction of the log, so that a table can "
        "be followed, restored to a moment, and asked who changed what.",
    ):
        if visit.may("tables:write", any_=True):
            _new_table(visit, store)
    owners = visit.resources.find(Owners)
    own = [info for info in infos if owners.owner_of(info.name) is None]
    others = [info for info in infos if owners.owner_of(info.name) is not None]
    with tag("section", "w-panel flush"):
        if own:
            _list(own)
        else:
            empty(
                "table_rows",
                "No tables yet",
                "Make one here for rows of any JSON, with New table; or let a program declare one:",
                'walnut store put --new DATA notes \'{"key": "n1", "value": {"done": false}}\'',
            )
    if others and visit.may("tables:admin", any_=True):
        with tag("section", "w-panel flush"):
            with tag("div", "w-panel-head"):
                tag("h2", "", "Kept by subsystems")
                tag("span", "muted small", "To be looked at; only their subsystem writes them.")
            _list(others)


def _infos(store: Store) -> list[TableInfo]:
    found = (store.info(name) for name in store.tables())
    return [info for info in found if info is not None]


def _list(infos: Sequence[TableInfo]) -> None:
    grid = Grid(
        "Tables",
        [
            Column("Table", "minmax(160px, 1.2fr)"),
            Column("Schema", "80px", right=True),
            Column("Indexes", "minmax(120px, 1fr)"),
            Column("", "minmax(200px, 1.2fr)"),
        ],
        least=620,
    )
    grid.add(
        [
            Line(
                (
                    f"<b>{escape(info.name)}</b>",
                    str(max(info.schemas)),
                    escape(", ".join(info.indexes)) or DASH,
                    _kind(info),
                ),
                link("tables", table=info.name),
            )
            for info in infos
        ]
    )


def _kind(info: TableInfo) -> str:
    said = features(subjects=info.subjects, before=info.before)
    return badge("documents") + " " + said if holds_documents(info) else said


def _new_table(visit: Visit, store: Store) -> None:
    async def make() -> None:
        name = str(field.value or "").strip()
        await new_row(visit, store, name, str(key.value or ""), str(value.value or ""), table=True)
        go(link("tables", table=name))

    with dialog(
        "New table", "For documents: rows of any JSON under a name. It is made with its first row."
    ) as shown:
        field = ui.input("Table").props("outlined dense autofocus")
        key = ui.input("Key of the first row").props("outlined dense")
        value = ui.textarea("Its value, as JSON", value="{}").props("outlined")
        with actions():
            button("Cancel", shown.close)
            button("Make table", acting(visit, make), "main")
    button("New table", shown.open, "main", key="n")


# -- rows ---------------------------------------------------------------------------------------


async def _rows(visit: Visit, store: Store, name: str) -> None:
    info = await reading(browse.info_of, store, name)
    with heading(name, "", [("Tables", link("tables"))]):
        _new_row(visit, store, info)
    if reason := why_not(tables_of(visit).describe(info)):
        tag("p", "w-note small", reason)
    with tag("section", "w-panel flush"):
        await _scan(visit, store, info)


async def _scan(visit: Visit, store: Store, info: TableInfo) -> None:
    query = visit.query
    with tag("form", "w-panel-head", method="get", action=link("tables"), role="search") as form:
        form.props["aria-label"] = "Which rows"
        _search(info, query)
    try:
        which = _scan_of(query)
        first = await reading(browse.rows, store, info.name, which, limit=ROWS)
    except Exception as error:
        if not type(error).__module__.startswith("walnut."):
            raise
        empty("search_off", "These rows can't be looked for", report(error))
        return
    if not first.rows:
        narrowed = any(query.get(field) for field in ("prefix", "start", "stop"))
        empty(
            "search_off" if narrowed else "table_rows",
            "No rows there" if narrowed else "No rows yet",
            'Keys are typed as JSON; a word stands for itself: r1, 7, ["h9", 2].'
            if narrowed
            else "Put the first one here, by the HTTP API, or in a program:",
            "" if narrowed else f"store.call({_variable(info.name)}.put, row)",
        )
        return
    fields = _fields(first.rows)

    async def more(cursor: str | None) -> Batch:
        page = first
        if cursor is not None:
            page = await reading(browse.rows, store, info.name, which, limit=ROWS, cursor=cursor)
        return Batch([_line(info.name, one, fields) for one in page.rows], page.cursor)

    columns = [Column("Key", "minmax(130px, 1fr)")]
    columns += [
        Column(field, "minmax(90px, 1fr)", right=_numbers(first.rows, field)) for field in fields
    ]
    grid = Grid(f"Rows of {info.name}", columns, more, least=160 + 120 * len(fields))
    await grid.load()


def _search(info: TableInfo, query: Mapping[str, str]) -> None:
    tag("input", "", type="hidden", name="table", value=info.name)

    def field(label: str, name: str, **more: str) -> None:
        with tag("label", "w-field"):
            tag("span", "", label)
            tag("input", "mono", name=name, value=query.get(name, ""), **more)

    if info.indexes:
        with tag("label", "w-field"), tag("span", "", "By"):
            pass
        with tag("select", "w-select", name="index") as select:
            select.props["aria-label"] = "By key or index"
            tag("option", "", "key", value="")
            for name in info.indexes:
                option = tag("option", "", f"index {name}", value=name)
                if query.get("index") == name:
                    option.props["selected"] = True
    field("Begins with", "prefix", placeholder='r1, 7, ["h9", 2]', **{"data-key": "/"})
    field("from", "start")
    field("up to, not with", "stop")
    with tag("label", "w-check"):
        box = tag("input", "", type="checkbox", name="reverse", value="yes")
        if query.get("reverse") == "yes":
            box.props["checked"] = True
        tag("span", "", "backwards")
    tag("button", "w-submit", "Show", type="submit")


def _scan_of(query: Mapping[str, str]) -> browse.Scan:
    prefix, start, stop = (_key(query.get(field, "")) for field in ("prefix", "start", "stop"))
    return browse.Scan(
        index=query.get("index", ""),
        prefix=prefix,
        start=start,
        stop=stop,
        reverse=query.get("reverse") == "yes",
    )


def _key(text: str) -> Key:
    return key_of_text(text) if text.strip() else ()


def _fields(rows: Sequence[browse.Seen]) -> list[str]:
    """The names of the fields of these rows, a document's among them, in the order they come."""
    values = [_shown(row) for row in rows]
    return list(dict.fromkeys(field for value in values for field in value))[:FIELDS]


def _shown(row: browse.Seen) -> dict[str, Any]:
    """A row's fields, without the one that its key repeats; of a document its value's."""
    if not isinstance(row.value, dict):
        return {"": row.value}
    value = {field: inside for field, inside in row.value.items() if inside != row.key}
    if set(value) == {"value"} and isinstance(value["value"], dict) and value["value"]:
        return value["value"]
    return value


def _numbers(rows: Sequence[browse.Seen], field: str) -> bool:
    """A field holds numbers and nothing else."""
    values = [_shown(row).get(field) for row in rows]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _line(table: str, row: browse.Seen, fields: Sequence[str]) -> Line:
    key = key_text(row.key)
    href = link("tables", table=table, key=key_json(row.key))
    if not row.data:
        blank = ['<span class="muted">erased</span>', *[""] * (len(fields) - 1)]
        return Line([f'<span class="mono">{escape(key)}</span>', *blank[: len(fields)]], href)
    value = _shown(row)
    cells = [cell(value[field]) if field in value else "" for field in fields]
    return Line([f'<b class="mono">{escape(key)}</b>', *cells], href)


def _variable(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _new_row(visit: Visit, store: Store, info: TableInfo) -> None:
    if not tables_of(visit).describe(info).writable or not visit.may("tables:write", info.name):
        return
    documents = holds_documents(info)

    async def put() -> None:
        await new_row(
            visit, store, info.name, str(key.value or "") if key else "", str(value.value or "")
        )
        ui.notify("Put.", type="positive")
        ui.navigate.reload()

    told = "A row that is there already is left as it is, and you are told."
    with dialog("New row", told) as shown:
        key = ui.input("Key").props("outlined dense autofocus") if documents else None
        sample = "{}" if documents else browse.sample(store, info.name)
        value = ui.textarea("Value, as JSON" if documents else "Row, as JSON", value=sample)
        value.props("outlined")
        with actions():
            button("Cancel", shown.close)
            button("Put row", acting(visit, put), "main")
    button("New row", shown.open, "main", key="n")
