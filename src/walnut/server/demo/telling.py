"""What goes on and what to look at, on a screen: the traffic each second, and a tip now and then.

What must stay true: without a terminal it is lines of text, and it ends by itself if a time was given.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from walnut.log.show import duration
from walnut.server.demo.traffic import Tally, Traffic

EVERY_SECONDS: Final = 1.0
TIP_SECONDS: Final = 12.0


def tell(
    out: Console, traffic: Traffic, tips: Sequence[str], *, seconds: float | None = None
) -> None:
    """Show the traffic until Ctrl-C, or for so many seconds."""
    began = time.monotonic()
    before = _done(traffic)

    def over() -> bool:
        return seconds is not None and time.monotonic() - began >= seconds

    if not out.is_terminal:
        while not over():
            time.sleep(EVERY_SECONDS)
            before = _line(out, traffic, before)
        return
    with Live(console=out, auto_refresh=False, transient=True) as live:
        while not over():
            time.sleep(EVERY_SECONDS)
            now = _done(traffic)
            tip = tips[int((time.monotonic() - began) / TIP_SECONDS) % len(tips)]
            live.update(_screen(traffic, before, now, tip), refresh=True)
            before = now


def summary(traffic: Traffic) -> RenderableType:
    """What all of them have done."""
    zero = (0, 0, 0)
    return _table(traffic, zero, _done(traffic), "done")


_WHO: Final = (
    ("guests book a room", "one transaction: the row, and a message that tells of it"),
    ("sensors report", "20 messages at a time to a topic that keeps an hour"),
    ("clerks look", "a page of a table's rows"),
)


def _all(traffic: Traffic) -> tuple[Tally, Tally, Tally]:
    return traffic.guests, traffic.sensors, traffic.clerks


def _done(traffic: Traffic) -> tuple[int, ...]:
    return tuple(tally.done for tally in _all(traffic))


def _screen(
    traffic: Traffic, before: Sequence[int], now: Sequence[int], tip: str
) -> RenderableType:
    return Group(
        _table(traffic, before, now, "done/s"),
        Text(),
        Text.assemble(("look at  ", "bold"), tip),
        Text("Ctrl-C ends this; the server goes on", "dim"),
    )


def _table(traffic: Traffic, before: Sequence[int], now: Sequence[int], title: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("")
    for heading in (title, "half under", "99% under", "refused", "lost"):
        table.add_column(heading, justify="right")
    for (who, what), tally, was, done in zip(_WHO, _all(traffic), before, now, strict=True):
        times = tally.times
        table.add_row(
            Text.assemble((who, "bold"), "\n", (what, "dim")),
            f"{done - was:,}",
            duration(times.quantile(0.5) / 1e6),
            duration(times.quantile(0.99) / 1e6),
            f"{tally.refused:,}",
            f"{tally.lost:,}",
        )
    return table


def _line(out: Console, traffic: Traffic, before: Sequence[int]) -> tuple[int, ...]:
    now = _done(traffic)
    parts = [f"{who} {done - was}/s" for (who, _), was, done in zip(_WHO, before, now, strict=True)]
    lost = sum(tally.lost for tally in _all(traffic))
    out.print(Text(f"{'; '.join(parts)}; lost {lost}"), soft_wrap=True)
    return now
