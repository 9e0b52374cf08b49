"""JSON to be looked at, folded where it is long; and what differs between two of them.

What must stay true: what is shown is the value, whole; nothing of it is taken for markup.
"""

from __future__ import annotations

import difflib
from html import escape
from typing import Any, Final

import msgspec
from nicegui import ui

from walnut.console.parts.elements import html

OPEN: Final = 40
"""Entries of a list or object that is unfolded at first."""
DEEP: Final = 40
"""Levels; what is deeper is shown as a line."""


def json_html(value: Any, level: int = 0) -> str:
    """Markup of a value that is made of dicts, lists and plain values."""
    match value:
        case None | True | False:
            return f'<span class="l">{msgspec.json.encode(value).decode()}</span>'
        case int() | float():
            return f'<span class="n">{escape(msgspec.json.encode(value).decode())}</span>'
        case dict() if value and level < DEEP:
            entries = "".join(
                f'<div><span class="k">{escape(str(name))}</span>: {json_html(inside, level + 1)}</div>'
                for name, inside in value.items()
            )
            return _folded(f"{{ {len(value)} }}", entries, fold=level > 0 and len(value) > OPEN)
        case list() if value and level < DEEP:
            if all(not isinstance(one, dict | list) for one in value) and len(value) <= 8:
                return "[" + ", ".join(json_html(one, level + 1) for one in value) + "]"
            entries = "".join(
                f'<div><span class="u">{place}</span> {json_html(inside, level + 1)}</div>'
                for place, inside in enumerate(value)
            )
            return _folded(f"[ {len(value)} ]", entries, fold=len(value) > OPEN)
    text = msgspec.json.encode(value).decode()
    return f'<span class="s">{escape(text)}</span>'


def _folded(said: str, inside: str, *, fold: bool) -> str:
    state = "" if fold else " open"
    return f"<details{state}><summary>{said}</summary><div>{inside}</div></details>"


def json_view(value: Any) -> ui.html:
    """Show a value."""
    return html(f'<div class="w-json" tabindex="0">{json_html(value)}</div>')


def pretty(value: Any) -> str:
    """A value as JSON to be edited."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def diff_html(before: str, after: str) -> str:
    """Markup of what lines went and came between two texts."""
    lines = []
    for line in difflib.ndiff(before.splitlines(), after.splitlines()):
        if line.startswith("?"):
            continue
        kind = {"-": "was", "+": "is"}.get(line[0], "")
        lines.append(f'<div class="{kind}">{escape(line)}</div>')
    return f'<div class="w-diff mono">{"".join(lines)}</div>'
