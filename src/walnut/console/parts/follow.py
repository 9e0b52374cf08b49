"""Following: what is new comes in at the top, while one looks.

What must stay true: however fast things come, a page is sent `PER_LOOK` of them twice a second at most and
keeps `KEEP`; what is left out is said, never left out in silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
from nicegui import ui

from walnut.console.parts.elements import html, tag
from walnut.console.parts.grid import Grid, Line

LOOK_SECONDS: Final = 0.5
PER_LOOK: Final = 50
KEEP: Final = 500


class News(msgspec.Struct, frozen=True):
    """What came since a place: the newest of it, newest first; how many older ones of it are left out;
    and the place to ask from next time."""

    lines: Sequence[Line]
    skipped: int
    place: int


class Follow:
    """A switch that has a table follow what is new.

    Args:
        place: what was seen last.
        news: gives what came since a place, `PER_LOOK` at most.
    """

    def __init__(
        self,
        grid: Grid,
        place: int,
        news: Callable[[int, int], Awaitable[News]],
        *,
        on: bool = False,
    ) -> None:
        self._grid = grid
        self._place = place
        self._news = news
        self._chunks: deque[tuple[list[ui.element], int]] = deque()
        self._kept = 0
        self._busy = False
        self._switch = ui.switch("Follow", value=on)
        self._switch.props["data-key"] = "f"
        self._switch.props["aria-label"] = "Follow what is new"
        ui.timer(LOOK_SECONDS, self._look)

    async def _look(self) -> None:
        if not self._switch.value or self._busy:
            return
        self._busy = True
        try:
            news = await self._news(self._place, PER_LOOK)
        finally:
            self._busy = False
        self._place = news.place
        if not news.lines:
            return
        added: list[ui.element] = []
        if news.skipped:
            with self._grid.body:
                gap = html(f'<div class="w-gap">{news.skipped:,} more came in between</div>')
            gap.move(target_index=0)
            added.append(gap)
        chunk = self._grid.add(news.lines, top=True, new=True)
        assert chunk is not None
        added.append(chunk)
        self._chunks.appendleft((added, len(news.lines)))
        self._kept += len(news.lines)
        while self._kept > KEEP:
            old, number = self._chunks.pop()
            self._kept -= number
            for element in old:
                element.delete()


def toolbar() -> ui.element:
    """Where a switch and its neighbours go, above a table."""
    return tag("div", "w-panel-head")
