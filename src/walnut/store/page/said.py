"""What pages say of rows, records and who made them: markup, from values.

What must stay true: whatever a row holds is text here, never markup.
"""

from __future__ import annotations

from html import escape
from typing import Any, Final

import msgspec

from walnut.console.parts.elements import badge
from walnut.console.visit import Visit, link
from walnut.console.words import number
from walnut.store.keys import Key
from walnut.store.notation import shown
from walnut.store.outline import Outline
from walnut.store.record import Meta
from walnut.subsystem.owners import Owners
from walnut.web.caller import Caller

CELL: Final = 300
"""Characters of a value that a cell takes: more would be cut off anyway."""


def key_text(key: Key) -> str:
    """A key as it is typed: a word as it is, all else as JSON."""
    if isinstance(key, str) and not _json(key):
        return key
    return msgspec.json.encode(shown(key)).decode()


def key_json(key: Key) -> str:
    """A key for an address: as JSON, always."""
    return msgspec.json.encode(shown(key)).decode()


def _json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def cell(value: Any) -> str:
    """A value in a cell."""
    if isinstance(value, str):
        return escape(value[:CELL])
    if isinstance(value, bool | None):
        return f'<span class="muted">{msgspec.json.encode(value).decode()}</span>'
    return f'<span class="mono">{escape(msgspec.json.encode(value).decode()[:CELL])}</span>'


def to_read(visit: Visit, table: str) -> str:
    """The scope that it takes to read a table: what subsystems keep is for who may administrate."""
    owner = visit.resources.find(Owners).owner_of(table)
    return "tables:read" if owner is None else "tables:admin"


def who(meta: Meta | None) -> str:
    """Who made a transaction."""
    if meta is None:
        return '<span class="muted">not a transaction</span>'
    return escape(meta.principal) if meta.principal else '<span class="muted">nobody named</span>'


def what(outline: Outline) -> str:
    """What a record did, in a line."""
    if outline.kind == "damaged":
        return '<span class="bad">damaged: no transaction can be read from it</span>'
    if outline.meta is None:
        return '<span class="muted">a record of another program</span>'
    parts = []
    for name, touched in outline.tables.items():
        counts = []
        if touched.put:
            counts.append(f'<span class="good">{number(touched.put)} put</span>')
        if touched.deleted:
            counts.append(f'<span class="bad">{number(touched.deleted)} deleted</span>')
        parts.append(f"<b>{escape(name)}</b> {' '.join(counts)}")
    if not parts:
        return "<span class='muted'>the store's own bookkeeping</span>"
    return ", ".join(parts)


def features(*, subjects: bool, before: bool) -> str:
    """What is special about a table."""
    said = []
    if before:
        said.append(badge("keeps before-images", "good"))
    if subjects:
        said.append(badge("erasable", "accent"))
    return " ".join(said)


def meta_of(caller: Caller, reason: str) -> Meta:
    """In whose name a visitor's change is made, and why."""
    return Meta(caller.principal, f"console: {reason}", caller.request_id)


def lsn_link(lsn: int) -> str:
    """An LSN that leads to its record."""
    return f'<a class="mono" href="{escape(link("log", lsn=lsn))}">{lsn:,}</a>'
