"""The line of each key of a TOML text.

Python's own reader keeps no positions, and a second reader could disagree with it. So it is asked,
statement by statement:

    from where the last statement ended, one line, two lines, ... until they can be read by themselves:
    that is the next statement, and what it gives begins on its first line

What must stay true: only used to tell people where something is, never to read it; it ends in time
linear in the text, and knows less about a text that has too much in one value.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any, Final

Path = tuple[str, ...]

TRIES: Final = 200
"""Lines that may end a value which spans several of them; whoever writes more has no lines told."""

_ENDS: Final = ("]", "}", '"""', "'''")
"""One of these is on the last line of a value that spans several."""


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of the tables and keys of a text that `tomllib` reads."""
    lines = text.splitlines(keepends=True)
    found: dict[Path, int] = {}
    table: Path = ()
    start = 0
    while start < len(lines):
        read = _statement(lines, start)
        if read is None:
            return found
        end, document = read
        paths = list(_paths(document))
        if lines[start].lstrip().startswith("["):
            table = paths[-1]
            paths = [table[: length + 1] for length in range(len(table))]
            above: Path = ()
        else:
            above = table
        for path in paths:
            found.setdefault(above + path, start + 1)
        start = end
    return found


def _statement(lines: list[str], start: int) -> tuple[int, dict[str, Any]] | None:
    """Where the statement that begins there ends, and what it says by itself."""
    tries = 0
    for end in range(start + 1, len(lines) + 1):
        if end > start + 1 and not any(sign in lines[end - 1] for sign in _ENDS):
            continue
        try:
            return end, tomllib.loads("".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            tries += 1
            if tries >= TRIES:
                return None
    return None


def _paths(table: dict[str, Any], above: Path = ()) -> Iterator[Path]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))
