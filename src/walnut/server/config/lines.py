"""The line of each key of a TOML text.

Python's own reader keeps no positions, and a second reader could disagree with it. So it is asked:

    the first n lines alone are read; a key that is in what the first n give, and not in what the
    longest readable beginning before them gave, begins on the line after that beginning.

What must stay true: only used to tell people where something is, never to read it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

Path = tuple[str, ...]


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of every table and key of a text that `tomllib` reads."""
    lines = text.splitlines(keepends=True)
    found: dict[Path, int] = {}
    readable = 0
    for number in range(1, len(lines) + 1):
        if lines[number - 1].isspace() or lines[number - 1].startswith("#"):
            if readable == number - 1:
                readable = number
            continue
        try:
            document = tomllib.loads("".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a value
        for path in _paths(document):
            found.setdefault(path, readable + 1)
        readable = number
    return found


def _paths(table: dict[str, Any], above: Path = ()) -> Iterator[Path]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))
