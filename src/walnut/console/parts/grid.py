"""A table for any number of rows: they come by pages, as one scrolls, and those out of sight cost the
browser nothing.

    titles            stay in sight
    chunk, chunk      a page of rows each: one element, whatever it holds
    more              a button; pressed by itself as it comes into sight

A row is a link, so that it can be reached, opened and opened elsewhere as any link can.

What must stay true: a page never holds more than `MOST` rows; what is beyond is reached by narrowing down
or by going on from a place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from html import escape
from typing import Final

import msgspec
from nicegui import ui

from walnut.console.parts.elements import Tag, button, html, tag

MOST: Final = 2000
"""Rows in one page at once: a browser holds them with ease, and nobody reads more."""


class Column(msgspec.Struct, frozen=True):
    """A column: its title, its width as CSS has it for a grid, and whether it holds numbers."""

    title: str
    width: str = "minmax(80px, 1fr)"
    right: bool = False


class Line(msgspec.Struct, frozen=True):
    """A row: a cell of markup for each column, and where it leads; empty for nowhere."""

    cells: Sequence[str]
    href: str = ""
    label: str = ""


class Batch(msgspec.Struct, frozen=True):
    """Some rows, and what to ask for those behind them with; None at the end."""

    lines: Sequence[Line]
    cursor: str | None


Fetch = Callable[[str | None], Awaitable[Batch]]


class Grid:
    """Rows that are fetched as they are needed.

    Args:
        label: what the rows are, for those who don't see them.
        least: pixels that it takes at least; narrower screens scroll it.
        fetch: gives the rows behind a cursor.
    """

    def __init__(
        self, label: str, columns: Sequence[Column], fetch: Fetch | None = None, *, least: int = 0
    ) -> None:
        self._columns = columns
        self._fetch = fetch
        self._shown = 0
        widths = " ".join(column.width for column in columns)
        self.box: Tag = tag("div", "w-grid", role="table", tabindex=0)
        self.box.props["aria-label"] = label
        self.box.style(f"--columns:{widths};--least:{least}px")
        titles = "".join(
            f'<span role="columnheader" class="{"right" if one.right else ""}">{escape(one.title)}</span>'
            for one in columns
        )
        with self.box:
            html(f'<div role="row" class="titles">{titles}</div>').props["role"] = "rowgroup"
            self.body: Tag = tag("div")
            self._foot: Tag = tag("div")

    def add(self, lines: Sequence[Line], *, top: bool = False, new: bool = False) -> ui.html | None:
        """Put rows behind those that are there, or before them."""
        if not lines:
            return None
        with self.body:
            chunk = html("".join(self._line(line, new=new) for line in lines))
            chunk.classes("w-chunk").props["role"] = "rowgroup"
            chunk.style(f"contain-intrinsic-size:auto {36 * len(lines)}px")
        if top:
            chunk.move(target_index=0)
        self._shown += len(lines)
        return chunk

    def _line(self, line: Line, *, new: bool) -> str:
        cells = "".join(
            f'<span role="cell" class="{"right" if column.right else ""}">{cell}</span>'
            for column, cell in zip(self._columns, line.cells, strict=True)
        )
        classes = ' class="new"' if new else ""
        label = f' aria-label="{escape(line.label)}"' if line.label else ""
        if line.href:
            return f'<a role="row" href="{escape(line.href)}"{label}{classes}>{cells}</a>'
        return f'<div role="row"{classes}>{cells}</div>'

    async def load(self, cursor: str | None = None) -> int:
        """Fetch the next rows and show them; returns how many are shown in all."""
        assert self._fetch is not None
        batch = await self._fetch(cursor)
        self._foot.clear()
        self.add(batch.lines)
        if batch.cursor is None:
            return self._shown
        with self._foot:
            if self._shown >= MOST:
                tag("div", "w-more", f"{MOST:,} rows are shown. Narrow them down to see others.")
            else:
                more = button("More rows", lambda: self.load(batch.cursor))
                more.classes("w-more").props["data-more"] = ""
        return self._shown
