"""Settings in force: what each is, and who said so. To be read: they are changed in walnut.toml.

What must stay true: what is secret is not shown.
"""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import Any

import msgspec

from walnut.console.parts.elements import badge, heading, html, tag
from walnut.console.visit import Visit
from walnut.console.words import size, span
from walnut.server.config.load import Entry
from walnut.server.server import Server


async def settings_page(visit: Visit) -> None:
    """Draw it."""
    settings = visit.resources.find(Server).settings
    where = (
        str(settings.file) if settings.file is not None else "defaults, as there is no walnut.toml"
    )
    heading(
        "Settings",
        f"In force, from {where}. Environment and flags go over the file. Those that a restart takes are "
        "taken up by a hot one, too.",
    )
    for section, entries in groupby(settings.entries, lambda entry: entry.section):
        with tag("section", "w-panel"):
            tag("h2", "", f"[{section}]").style("margin-bottom:10px")
            _section(list(entries))


def _section(entries: list[Entry]) -> None:
    rows = "".join(
        f'<dt class="mono">{escape(entry.setting.name)}</dt>'
        f"<dd><b>{escape(_value(entry))}</b> {_origin(entry)}"
        f'<div class="muted small">{escape(entry.setting.about[:1].upper() + entry.setting.about[1:])}</div></dd>'
        for entry in entries
    )
    html(f'<dl class="w-pairs" style="margin:0">{rows}</dl>')


def _origin(entry: Entry) -> str:
    if entry.origin.kind == "default":
        return ""
    return badge(entry.origin.place or entry.origin.kind, "accent")


def _value(entry: Entry) -> str:
    value: Any = entry.value
    if entry.setting.unit == "secret" and value:
        return "(set)"
    if value is None:
        return "none"
    if entry.setting.unit == "seconds":
        return span(float(value))
    if entry.setting.unit == "bytes":
        return size(float(value))
    if value == "":
        return "not set"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
