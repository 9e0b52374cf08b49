"""A line of time: a span that can be gone back to, and marks on it.

What must stay true: places are proportional to time, so that what looks near is near.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import msgspec

from walnut.console.words import moment


class Mark(msgspec.Struct, frozen=True):
    """A moment that means something: ns since the Unix epoch, and its words."""

    time: int
    label: str


def timeline_html(first: int, last: int, covered: tuple[int, int], marks: Sequence[Mark]) -> str:
    """Markup of the time from `first` to `last` (ns), a part of it covered, and marks.

    The marks are a list for those who don't see them."""
    length = max(1, last - first)

    def place(time: int) -> float:
        return round(100 * min(1.0, max(0.0, (time - first) / length)), 3)

    left, right = place(covered[0]), place(covered[1])
    parts = [
        '<div class="axis"></div>',
        f'<div class="span" style="left:{left}%;width:{max(0.4, right - left)}%"></div>',
    ]
    parts += [
        f'<span class="mark" role="img" tabindex="0" style="left:{place(mark.time)}%" '
        f'title="{escape(mark.label)}" aria-label="{escape(mark.label)}"></span>'
        for mark in marks
    ]
    middle = (first + last) // 2
    parts += [
        f'<span class="tick" style="left:0;transform:none">{_short(first)}</span>',
        f'<span class="tick mid" style="left:50%">{_short(middle)}</span>',
        f'<span class="tick end" style="left:100%">{_short(last)}</span>',
    ]
    return f'<div class="w-time">{"".join(parts)}</div>'


def _short(time: int) -> str:
    return moment(time)[:-4]
