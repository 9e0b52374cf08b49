"""The log: records, newest first; one of them, decoded.

log             the newest, and following
log?upto=N      records up to LSN N
log?find=...    an LSN or a time
log?lsn=N       one record
"""

from __future__ import annotations

import datetime as dt
from html import escape
from itertools import islice
from typing import Any, Final

from nicegui import ui

from walnut.console.parts.elements import badge, heading, html, pairs, tag
from walnut.console.parts.empty import empty
from walnut.console.parts.follow import Follow, News
from walnut.console.parts.grid import Batch, Column, Grid, Line
from walnut.console.parts.jsonview import diff_html, json_view, pretty
from walnut.console.reading import reading
from walnut.console.visit import Visit, link
from walnut.console.words import DASH, ago, count, moment, read_moment, size
from walnut.log.errors import LsnTruncated
from walnut.log.seek import lsn_at
from walnut.store import browse
from walnut.store.changes import ERASED, Change
from walnut.store.outline import Outline, Outlines
from walnut.store.page.said import key_json, key_text, to_read, what, who
from walnut.store.store import Store

RECORDS: Final = 100
"""Of one fetch."""
CHANGES: Final = 100
"""Changes of one transaction that are shown."""
DUMP: Final = 1024
"""Bytes of a record that are shown as they are."""


async def log_page(visit: Visit) -> None:
    """Draw the page that the address asks for."""
    store = visit.resources.find(Store)
    if "lsn" in visit.query:
        await _record(visit, store, visit.number("lsn", 0))
        return
    found, said = await _find(store, visit.query.get("find", ""))
    upto = visit.number("upto", 0) if found is None else found
    await _records(visit, store, upto, said)


async def _find(store: Store, text: str) -> tuple[int | None, str]:
    """The LSN to begin from for what was typed, and what is to be said of it."""
    text = text.strip().replace(",", "")
    if not text:
        return None, ""
    if text.isascii() and text.isdigit():
        return int(text), ""
    time = read_moment(text, dt.datetime.now(dt.UTC))
    if time is None:
        return None, f"{text!r} is neither an LSN nor a time."
    lsn = await reading(lsn_at, store.log, int(time.timestamp() * 1e9))
    return (
        lsn,
        f"LSN {lsn:,} is the first that was written at {time:%Y-%m-%d %H:%M:%S} UTC or later.",
    )


async def _records(visit: Visit, store: Store, upto: int, said: str) -> None:
    with heading(
        "Log",
        "Every change, in the one order in which they happened: who made it, why, and what it did to which "
        "table. Nothing is visible anywhere before it is durable here.",
    ):
        pass
    newest = upto <= 0 or upto >= store.log.durable_lsn
    begin = store.log.durable_lsn if newest else upto
    with tag("section", "w-panel flush"):
        bar = tag("div", "w-panel-head")
        if store.log.durable_lsn < store.log.first_lsn:
            empty("receipt_long", "The log is empty", "Whatever is written first is record 1.")
            return
        grid = Grid(
            "Records of the log",
            [
                Column("LSN", "100px", right=True),
                Column("Time (UTC)", "205px"),
                Column("Who", "minmax(130px, .9fr)"),
                Column("What", "minmax(200px, 1.6fr)"),
                Column("Why", "minmax(120px, 1fr)"),
                Column("Size", "86px", right=True),
            ],
            lambda cursor: _older(store, begin if cursor is None else int(cursor)),
            least=900,
        )
        with bar:
            _bar(store, grid, begin, newest=newest, text=visit.query.get("find", ""))
            if said:
                tag("p", "small muted", said).style("flex-basis:100%")
        await grid.load()


def _bar(store: Store, grid: Grid, begin: int, *, newest: bool, text: str) -> None:
    with tag("form", "w-controls", method="get", action=link("log"), role="search"):
        with tag("label", "w-field"):
            tag("span", "", "Find an LSN or a time")
            tag(
                "input", "mono", name="find", value=text, placeholder="1042  or  12:30:05  or  5min ago",
                **{"data-key": "/", "size": 32},
            )  # fmt: skip
        tag("button", "w-submit", "Find", type="submit")
    tag("div", "w-grow")
    if newest:
        Follow(grid, begin, lambda place, most: _newer(store, place, most))
    else:
        tag("a", "", "Newest", href=link("log"))


async def _older(store: Store, upto: int) -> Batch:
    first = store.log.first_lsn
    start = max(first, upto + 1 - RECORDS)
    lines = await reading(_lines, store, start, upto + 1)
    return Batch(lines, str(start - 1) if start > first else None)


async def _newer(store: Store, place: int, most: int) -> News:
    durable = store.log.durable_lsn
    if durable <= place:
        return News([], 0, place)
    start = max(place + 1, durable + 1 - most)
    lines = await reading(_lines, store, start, durable + 1)
    return News(lines, start - place - 1, durable)


def _lines(store: Store, start: int, stop: int) -> list[Line]:
    """Records [start, stop) as rows, newest first."""
    lines = [_line(one) for one in Outlines(store).between(start, stop)]
    lines.reverse()
    return lines


def _line(one: Outline) -> Line:
    reason = one.meta.reason if one.meta is not None else ""
    return Line(
        (
            f'<b class="mono">{one.lsn:,}</b>',
            f'<span class="mono">{moment(one.time)}</span>',
            who(one.meta),
            what(one),
            escape(reason),
            size(one.size),
        ),
        link("log", lsn=one.lsn),
        f"Record {one.lsn}",
    )


# -- one record ---------------------------------------------------------------------------------


async def _record(visit: Visit, store: Store, lsn: int) -> None:
    position = store.log.position()
    with heading(
        f"Record {lsn:,}", "", [("Log", link("log")), ("around it", link("log", upto=lsn + 20))]
    ):
        if lsn > position.first_lsn:
            tag("a", "w-button", "Older", href=link("log", lsn=lsn - 1))
        if lsn < position.durable_lsn:
            tag("a", "w-button", "Newer", href=link("log", lsn=lsn + 1))
    if not position.first_lsn <= lsn <= position.durable_lsn:
        with tag("section", "w-panel"):
            empty(
                "search_off",
                "Not in the log",
                f"The log has LSN {position.first_lsn:,} to {position.durable_lsn:,}. What is older was "
                "forgotten, as its window says; what is newer is not written yet.",
            )
        return
    try:
        one, changes, data = await reading(_decode, store, lsn)
    except LsnTruncated as error:
        with tag("section", "w-panel"):
            empty("search_off", "Forgotten meanwhile", str(error))
        return
    with tag("section", "w-panel"):
        _facts(store, one)
    for change in changes:
        _change(visit, change)
    touched = sum(each.put + each.deleted for each in one.tables.values())
    if touched > len(changes):
        tag(
            "p",
            "muted",
            f"{count(touched - len(changes), 'row')} more changed in this transaction.",
        )
    with ui.expansion("As bytes").classes("w-version").props("dense"):
        tag("pre", "mono small", dump(data)).style("overflow:auto")


def _decode(store: Store, lsn: int) -> tuple[Outline, list[Change], bytes]:
    record = next(iter(store.log.read(lsn, lsn + 1)))
    one = Outlines(store).of(record)
    changes = list(islice(store.changes(lsn - 1, upto=lsn), CHANGES)) if lsn > 1 else _first(store)
    return one, changes, bytes(record.data[:DUMP])


def _first(store: Store) -> list[Change]:
    """The changes of record 1, before which there is no LSN to begin after."""
    return list(islice(store.changes(0, upto=1), CHANGES))


def _facts(store: Store, one: Outline) -> None:
    facts = [
        (
            "Written",
            f"{moment(one.time)} UTC <span class='muted'>({ago(one.time, store.log.options.clock())})</span>",
        )
    ]
    meta = one.meta
    if meta is None:
        facts.append(("What", what(one)))
    else:
        facts += [
            ("Who", who(meta)),
            ("Why", escape(meta.reason) or DASH),
            ("Request", f'<span class="mono">{escape(meta.request_id) or DASH}</span>'),
        ]
        if meta.key:
            facts.append(("Idempotency key", f'<span class="mono">{escape(meta.key)}</span>'))
        facts.append(("What", what(one)))
        if one.others:
            facts.append(
                (
                    "Beside that",
                    f"{count(one.others, 'entry').replace('entrys', 'entries')} of indexes and of the store itself",
                )
            )
    facts.append(("Size", size(one.size)))
    pairs(facts)


def _change(visit: Visit, change: Change) -> None:
    with tag("section", "w-panel"):
        kind = badge("deleted", "bad") if change.after is None else badge("put", "good")
        href = link("tables", table=change.table, key=key_json(change.key))
        html(
            f'<h2 style="margin-bottom:10px">{escape(change.table)} '
            f'<a class="mono" href="{escape(href)}">{escape(key_text(change.key))}</a> {kind}</h2>'
        )
        if not visit.may(to_read(visit, change.table), change.table):
            tag("p", "muted", "Your token does not let you see rows of this table.")
            return
        after, before = _value(change.after), _value(change.before)
        if change.before is not None and change.after is not None:
            html(diff_html(pretty(before), pretty(after)))
        elif change.after is not None:
            json_view(after)
        elif change.before is not None:
            json_view(before)
        else:
            tag(
                "p", "muted", "What it was is not kept: its table is not declared with before=True."
            )


def _value(row: Any) -> Any:
    return "(erased)" if row is ERASED else browse.readable(row)


def dump(data: bytes) -> str:
    """Bytes as an editor of such things shows them."""
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        text = "".join(chr(code) if 32 <= code < 127 else "." for code in row)
        lines.append(f"{at:06x}  {row.hex(' '):<47}  {text}")
    return "\n".join(lines)
