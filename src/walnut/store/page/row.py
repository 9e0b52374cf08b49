"""One row: what it is, what it was, and changing it.

    shown ─▶ edited ─▶ transaction: is it still what was shown? ─▶ put      else: Conflict, and both are shown

What must stay true: a change made here never takes back a change that its maker has not seen; it is made in
the visitor's name, by a transaction, through the table as its program declared it.
"""

from __future__ import annotations

import functools
from html import escape
from typing import Any, Final

import msgspec
from nicegui import ui

from walnut.console.errors import Conflict, InvalidInput
from walnut.console.parts.asking import confirm, dialog
from walnut.console.parts.elements import actions, badge, button, heading, html, pairs, tag
from walnut.console.parts.empty import empty
from walnut.console.parts.jsonview import diff_html, json_view, pretty
from walnut.console.reading import reading
from walnut.console.shell import acting
from walnut.console.visit import Visit, link
from walnut.console.words import ago, moment
from walnut.store import browse
from walnut.store.api.tables import Description, Tables
from walnut.store.catalog import TableInfo
from walnut.store.document import Document
from walnut.store.keys import Key, encode
from walnut.store.notation import key_of_text
from walnut.store.page.said import key_text, lsn_link, meta_of, who
from walnut.store.store import Store
from walnut.store.table import Table
from walnut.store.transaction import Transaction
from walnut.subsystem.owners import Owners

VERSIONS: Final = 30
"""Versions that are looked for before asking whether to look further."""
STRETCHES: Final = 5
"""Stretches of the log that are looked through in one go, likewise: half a second."""
REASON: Final = "edited a row"


# -- changing, without a browser ----------------------------------------------------------------


def tables_of(visit: Visit) -> Tables:
    """The tables as the HTTP API has them: what may be written there may be here."""
    return Tables(visit.resources.find(Store), visit.resources.find(Owners))


def why_not(about: Description) -> str:
    """Why rows of a table can't be changed here; empty if they can."""
    if about.writable:
        return ""
    if about.owner is not None:
        return f"This table is kept by {about.owner}, which alone writes it: it can be looked at."
    return (
        "This table was declared by a program that does not run here, and only that knows what must hold "
        "in it: it can be looked at."
    )


def parse(table: Table[Any], text: str) -> Any:
    """The row that JSON stands for. Raises InvalidInput."""
    try:
        row = msgspec.json.decode(text, type=table.codec.row)
        if unknown := table.codec.unknown(msgspec.json.decode(text)):
            raise InvalidInput(f"rows of {table.name} have no field {', '.join(unknown)}")
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInput(f"this is no row of {table.name}: {error}") from error
    return row


def change(tx: Transaction, table: Table[Any], key: Key, seen: bytes | None, row: Any) -> None:
    """Put a row (delete it, if None) that is still as it was seen: these bytes, or absent if None.

    Raises Conflict; InvalidInput if the row's own key is another one."""
    if row is not None and encode(table.key_of(row)) != encode(key):
        raise InvalidInput(
            f"the row's key would be {key_text(table.key_of(row))} and not {key_text(key)}: make a new "
            "row, and delete this one"
        )
    if tx.read(table.prefix + encode(key)) != seen:
        raise Conflict(
            f"the row {key_text(key)} was changed by somebody else since it was shown: look at what it "
            "is now, and make your change again"
        )
    if row is None:
        table.delete(tx, key)
    else:
        table.put(tx, row)


async def new_row(
    visit: Visit, store: Store, name: str, key: str, text: str, *, table: bool = False
) -> None:
    """Put a row that is not there yet; with `table`, in a table of documents that may not be either.

    Raises Conflict, InvalidInput, SessionEnded, Forbidden, and what the store refuses."""
    caller = visit.require("tables:write", name)
    meta = meta_of(caller, "put a new row")
    tables = tables_of(visit)
    if table:
        await tables.create(name, meta, before=True)
    target = await tables.to_write(name)
    documents = target.codec.row is Document
    row = _document(key.strip(), text) if documents else parse(target, text)
    await store.by(meta).run(change, target, target.key_of(row), None, row)


def _document(key: str, text: str) -> Document:
    if not key:
        raise InvalidInput("a row needs a key: type one")
    try:
        return Document(key, msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"the value is not JSON: {error}") from error


# -- the page -----------------------------------------------------------------------------------


async def row_page(visit: Visit, store: Store, name: str) -> None:
    """Draw a row."""
    key = key_of_text(visit.query["key"])
    info = await reading(browse.info_of, store, name)
    found = await reading(browse.row, store, store, name, key)
    crumbs = [("Tables", link("tables")), (name, link("tables", table=name))]
    head = heading(key_text(key), "", crumbs)
    editable = tables_of(visit).describe(info).writable and visit.may("tables:write", name)
    with tag("div", "w-two"):
        with tag("section", "w-panel"):
            tag("h2", "", "Now")
            if found is None:
                empty("remove_circle_outline", "Not there", "It never was, or it was deleted.")
            elif not found.data:
                empty("person_off", "Erased", "It was about somebody whose key was destroyed.")
            else:
                json_view(found.value)
        with tag("section", "w-panel"):
            tag("h2", "", "What it was")
            await _history(visit, store, info, key, found, editable=editable)
    if found is not None and found.data and editable:
        with head:
            editor = _Editor(visit, store, info, key, found)
            button("Edit", editor.shown.open, "main", key="e")
            _delete(visit, store, name, key, found)


class _Editor:
    """The dialog in which a row is edited: from what was seen, to what is put if that is still there."""

    def __init__(
        self, visit: Visit, store: Store, info: TableInfo, key: Key, seen: browse.Seen
    ) -> None:
        self._visit = visit
        self._store = store
        self._info = info
        self._key = key
        self._data = seen.data
        with dialog(f"Edit {key_text(key)}") as self.shown:
            self._area = ui.textarea("Row, as JSON", value=_text(store, info, seen))
            self._area.props("outlined autogrow").props["input-style"] = "max-height:46vh"
            self._why = ui.input("Why", placeholder="Kept with the change")
            self._why.props("outlined dense stack-label")
            self._trouble = tag("div")
            with actions():
                button("Cancel", self.shown.close)
                button("Save", acting(visit, self._save), "main")

    async def _save(self) -> None:
        name = self._info.name
        caller = self._visit.require("tables:write", name)
        table = await tables_of(self._visit).to_write(name)
        row = parse(table, str(self._area.value or ""))
        meta = meta_of(caller, str(self._why.value or "").strip() or REASON)
        try:
            await self._store.by(meta).run(change, table, self._key, self._data, row)
        except Conflict as error:
            await self._conflict(str(error))
            return
        ui.notify("Saved.", type="positive")
        ui.navigate.reload()

    async def _conflict(self, said: str) -> None:
        """Show what is there now beside what was typed; nothing is lost of either."""
        store = self._store
        now = await reading(browse.row, store, store, self._info.name, self._key)
        theirs = _text(store, self._info, now) if now is not None and now.data else ""
        self._trouble.clear()
        with self._trouble:
            html(f'<p class="bad" role="alert">{escape(said)}</p>')
            tag("p", "muted small", "From what is there now (-) to what you have typed (+):")
            html(diff_html(theirs, str(self._area.value or "")))
            if now is not None and now.data:
                take = functools.partial(self._take, now.data, theirs)
                button("Start over from what is there now", take)

    def _take(self, data: bytes, theirs: str) -> None:
        self._data = data
        self._area.value = theirs
        self._trouble.clear()


def _text(store: Store, info: TableInfo, seen: browse.Seen) -> str:
    """A row as JSON to be edited, which gives the same row when it is read."""
    table = browse.declared(store, info.name)
    if table is None:
        return pretty(seen.value)
    full = table.prefix + encode(seen.key)
    return pretty(table.codec.decode(full, seen.data, store.keyring))


def _delete(visit: Visit, store: Store, name: str, key: Key, seen: browse.Seen) -> None:
    async def delete() -> None:
        caller = visit.require("tables:write", name)
        table = await tables_of(visit).to_write(name)
        meta = meta_of(caller, "deleted a row")
        await store.by(meta).run(change, table, key, seen.data, None)
        ui.notify("Deleted.", type="positive")
        ui.navigate.reload()

    def ask() -> None:
        confirm(
            f"Delete {key_text(key)}?",
            "It can be brought back from what it was, as long as the log reaches back to that.",
            "Delete",
            acting(visit, delete),
        )

    button("Delete", ask, "danger")


# -- what it was --------------------------------------------------------------------------------


async def _history(
    visit: Visit,
    store: Store,
    info: TableInfo,
    key: Key,
    now: browse.Seen | None,
    *,
    editable: bool,
) -> None:
    place = tag("div", "w-phases")
    foot = tag("div", "small muted")

    async def look(upto: int) -> None:
        shown_, stretches, at = 0, 0, upto
        while shown_ < VERSIONS and stretches < STRETCHES:
            seen = await reading(browse.versions, store, info.name, key, at)
            stretches += 1
            with place:
                for version in seen.found:
                    _version(visit, store, info, key, now, version, editable=editable)
                    shown_ += 1
            if seen.upto is None:
                foot.clear()
                with foot:
                    tag("p", "", f"That is all: the log begins at LSN {store.log.first_lsn:,}.")
                return
            at = seen.upto
        foot.clear()
        with foot:
            tag("p", "", f"Looked back to LSN {at + 1:,}.")
            button("Look further back", lambda: look(at))

    await look(store.log.durable_lsn)


def _version(
    visit: Visit,
    store: Store,
    info: TableInfo,
    key: Key,
    now: browse.Seen | None,
    version: browse.Version,
    *,
    editable: bool,
) -> None:
    current = (None if now is None else now.data) == version.data
    if version.data is None:
        kind = badge("deleted", "bad")
    elif version.value is None:
        kind = badge("erased")
    else:
        kind = badge("as now", "good") if current else ""
    with ui.expansion().classes("w-version").props("dense") as opened:
        with opened.add_slot("header"):
            html(
                f"<b>{moment(version.time)[:-4]}</b> "
                f'<span class="muted small">{ago(version.time, store.log.options.clock())}</span> {kind}'
                f'<div class="small muted">{who(version.meta)}'
                f"{': ' + escape(version.meta.reason) if version.meta.reason else ''}</div>"
            ).classes("w-version-head")
        pairs([("LSN", lsn_link(version.lsn))])
        if version.value is not None:
            json_view(version.value)
        if editable and version.value is not None and not current:
            act = functools.partial(_bring_back, visit, store, info.name, key, now, version)
            button("Bring this back", acting(visit, act))


async def _bring_back(
    visit: Visit,
    store: Store,
    name: str,
    key: Key,
    now: browse.Seen | None,
    version: browse.Version,
) -> None:
    caller = visit.require("tables:write", name)
    table = await tables_of(visit).to_write(name)
    assert version.data is not None
    row = table.codec.decode(table.prefix + encode(key), version.data, store.keyring)
    meta = meta_of(caller, f"brought back what it was at LSN {version.lsn}")
    await store.by(meta).run(change, table, key, None if now is None else now.data, row)
    ui.notify(f"Brought back, as of LSN {version.lsn:,}.", type="positive")
    ui.navigate.reload()
