"""Tables that fit: where there is little room, columns go before what names a job is cut.

    wide      job  state  queue  task  tenant  tries  age  what there is to say
    narrow    job  state  task  what there is t…

What must stay true: a name that can be given back as an argument is shown whole, and nothing that is
shown can move a terminal's cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from rich.table import Table
from rich.text import Text

from walnut.store.cli.values import cell

GAP: Final = 2
"""Characters between columns."""
LEAST: Final = 16
"""Characters that are left of a column that may be cut."""

Rows = Sequence[dict[str, str]]


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How rows of some kind are shown.

    Attributes:
        cut: columns that may be cut at their right edge.
        leave: columns that are left out where there is no room, the first of these first.
        hide: columns that are left out when nothing stands in them.
        right: columns of numbers.
        styles: of columns, if they have one.
    """

    cut: frozenset[str] = frozenset()
    leave: tuple[str, ...] = ()
    hide: frozenset[str] = frozenset()
    right: frozenset[str] = frozenset()
    styles: dict[str, str] = {}

    def table(self, rows: Rows, room: int) -> Table:
        """The rows in so many characters; all of them have the same columns."""
        lines = [{field: cell(text) for field, text in row.items()} for row in rows]
        fields = [
            field
            for field in (lines[0] if lines else ())
            if field not in self.hide or any(line[field] for line in lines)
        ]
        widths = {field: max(len(field), *(len(line[field]) for line in lines)) for field in fields}
        for field in self.leave:
            if self._least(fields, widths) > room and field in fields:
                fields.remove(field)
        table = Table(box=None, padding=(0, GAP // 2), pad_edge=False, header_style="dim")
        for number, field in enumerate(fields):
            table.add_column(
                field,
                style=self.styles.get(field, "cyan" if number == 0 else None),
                justify="right" if field in self.right else "left",
                no_wrap=field not in self.cut,  # which is what keeps its width
                min_width=None if field in self.cut else widths[field],
            )
        for line in lines:
            table.add_row(
                *(Text(line[field], no_wrap=True, overflow="ellipsis") for field in fields)
            )
        return table

    def _least(self, fields: list[str], widths: dict[str, int]) -> int:
        """Characters that these columns take at least."""
        return GAP * (len(fields) - 1) + sum(
            min(widths[field], LEAST) if field in self.cut else widths[field] for field in fields
        )
