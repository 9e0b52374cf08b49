"""A live plot: some lines over the last minutes, with what they are now and what that means.

Drawn as SVG by ECharts, whose colours are our CSS variables: so a plot follows the theme by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from nicegui import ui

from walnut.console.parts.elements import Tag, tag
from walnut.console.words import DASH

COLOURS: Final = ("var(--plot-1)", "var(--plot-2)", "var(--plot-3)")

SPAN: Final = 300_000
"""Milliseconds that a plot shows: five minutes."""

Points = Sequence[tuple[float, float | None]]
"""Milliseconds since the Unix epoch, and a value; None where there is none."""


class Plot:
    """Lines with names, and their words.

    Args:
        told: what a newcomer should know about it.
        say: a value in words, for the figure above.
        names: of the lines.
        unit: of the axis.
        area: fill below the first line.
    """

    def __init__(
        self,
        title: str,
        told: str,
        names: Sequence[str],
        say: Callable[[Sequence[float]], str],
        *,
        unit: str = "",
        area: bool = True,
    ) -> None:
        self._say = say
        with tag("section", "w-plot", role="figure") as self.box:
            with tag("header"):
                tag("h2", "", title)
                self._now: Tag = tag("span", "now", "")
            tag("p", "", told)
            self._chart = ui.echart(_options(names, unit, area=area), renderer="svg")
        self.box.props["aria-label"] = title

    def show(self, lines: Sequence[Points]) -> None:
        """Draw these points, a sequence for each line."""
        if not lines[0]:
            return
        options = self._chart.options
        for series, points in zip(options["series"], lines, strict=True):
            series["data"] = [
                [int(at), None if value is None else round(value, 2)] for at, value in points
            ]
        newest = int(lines[0][-1][0])
        options["xAxis"] |= {"min": newest - SPAN, "max": newest}
        self._chart.update()
        known = [[value for _, value in points if value is not None] for points in lines]
        self._now.text = self._say([values[-1] for values in known]) if all(known) else DASH


def _options(names: Sequence[str], unit: str, *, area: bool) -> dict[str, Any]:
    quiet = {"color": "var(--muted)", "fontSize": 11}
    series = []
    for number, name in enumerate(names):
        colour = COLOURS[number]
        line: dict[str, Any] = {
            "type": "line",
            "name": name,
            "showSymbol": False,
            "silent": True,
            "connectNulls": True,
            "animation": False,
            "lineStyle": {"width": 1.8, "color": colour},
            "itemStyle": {"color": colour},
            "data": [],
        }
        if area and number == 0:
            line["areaStyle"] = {"color": colour, "opacity": 0.13}
        series.append(line)
    return {
        "animation": False,
        "grid": {
            "left": 4,
            "right": 10,
            "top": 26 if len(names) > 1 else 12,
            "bottom": 4,
            "containLabel": True,
        },
        "legend": {
            "show": len(names) > 1,
            "top": 0,
            "right": 6,
            "itemWidth": 14,
            "itemHeight": 3,
            "icon": "roundRect",
            "selectedMode": False,
            "textStyle": quiet,
        },
        "xAxis": {
            "type": "time",
            "minInterval": 60_000,
            "axisLabel": {**quiet, "hideOverlap": True, "formatter": "{HH}:{mm}"},
            "axisLine": {"lineStyle": {"color": "var(--line-strong)"}},
            "axisTick": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "min": 0,
            "splitNumber": 3,
            "axisLabel": {**quiet, "formatter": f"{{value}}{unit}"},
            "splitLine": {"lineStyle": {"color": "var(--line)"}},
        },
        "series": series,
    }
