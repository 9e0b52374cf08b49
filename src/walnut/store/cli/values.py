"""Keys and rows between JSON and the store, on a command line (`notation`), and as tables for people.

What must stay true: a key that is printed can be given back as an argument and means the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec
from rich.table import Table
from rich.text import Text

from walnut.log.show import printable
from walnut.store.errors import InvalidKey
from walnut.store.keys import Key
from walnut.store.notation import key_of_text, shown

__all__ = ["cell", "jsonl", "key", "rows_table", "shown"]

NARROW: Final = 20
"""Columns up to so many characters keep their width where there is little room."""


def key(text: str) -> Key:
    """A key as given on a command line: JSON, or a word that is no JSON and stands for itself."""
    try:
        return key_of_text(text)
    except InvalidKey as error:
        raise click.BadParameter(str(error)) from error


def jsonl(value: Any) -> bytes:
    """A value as one line of JSON."""
    return msgspec.json.encode(value) + b"\n"


def rows_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows beside one another, a column for each field that any of them has."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    fields = list(dict.fromkeys(field for row in rows for field in row))
    lines = [[cell(row[field]) if field in row else "" for field in fields] for row in rows]
    for number, field in enumerate(fields):
        widest = max(map(len, [field, *(line[number] for line in lines)]))
        table.add_column(
            field,
            style="cyan" if number == 0 else None,
            no_wrap=widest <= NARROW,  # which is what keeps its width
        )
    for line in lines:
        table.add_row(*(Text(text, no_wrap=True, overflow="ellipsis") for text in line))
    return table


def cell(value: Any) -> str:
    """A value in a table: text as it is, everything else as JSON."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return printable(text.encode(errors="backslashreplace"))


def local_time(time: dt.datetime | str) -> str:
    """A time here, for people."""
    known = dt.datetime.fromisoformat(time) if isinstance(time, str) else time
    return f"{known.astimezone():%Y-%m-%d %H:%M:%S}"
