"""Keys and rows between JSON and the store.

    "r1"   7   true   null             themselves
    ["h9", 2]                          a key of several parts
    {"uuid": "..."}  {"bytes": "<base64>"}  {"time": "2026-..Z"}  {"date": "2026-..."}

What must stay true: a key that is printed can be given back as an argument and means the same.
"""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import click
import msgspec
from rich.table import Table
from rich.text import Text

from walnut.log.show import printable
from walnut.store.keys import Key, Part

_READERS: Final[dict[str, Callable[[str], Part]]] = {
    "uuid": uuid.UUID,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "time": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
}


NARROW: Final = 20
"""Columns up to so many characters keep their width where there is little room."""


def key(text: str) -> Key:
    """A key as given on a command line: JSON, or a word that is no JSON and stands for itself."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    except RecursionError as error:
        raise click.BadParameter("the lists in the key are too deep") from error
    return _part(value)


def _part(value: Any) -> Part:
    match value:
        case list():
            return tuple(map(_part, value))
        case dict() if len(value) == 1 and (read := _READERS.get(next(iter(value)))):
            (content,) = value.values()
            try:
                return read(content)
            except (TypeError, ValueError) as error:
                raise click.BadParameter(
                    f"{content!r} is no {next(iter(value))}: {error}"
                ) from error
        case dict():
            kinds = ", ".join(sorted(_READERS))
            raise click.BadParameter(f'a key part in {{"...": "..."}} is one of: {kinds}')
    return value  # type: ignore[no-any-return]


def shown(value: Key) -> Any:
    """A key as JSON has it."""
    match value:
        case tuple():
            return [shown(part) for part in value]
        case uuid.UUID():
            return {"uuid": str(value)}
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case dt.datetime():
            return {"time": value.isoformat()}
        case dt.date():
            return {"date": value.isoformat()}
    return value


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
