"""Queues at work: `top`."""

from __future__ import annotations

import operator
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click
import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from walnut.jobs.cli import arguments, views
from walnut.jobs.cli.tables import Layout
from walnut.jobs.history import Counts, Traffic, traffic
from walnut.jobs.model import Job, Pause, State
from walnut.jobs.overview import Depth, EndpointSeen, depths, endpoints, pauses
from walnut.log.cli.arguments import examples
from walnut.log.cli.records import write_out
from walnut.log.show import console, count, moment, printable
from walnut.store.cli import values
from walnut.store.errors import TablesLost

SHARE: Final = 0.2
"""Of the time is spent on looking, at most: with millions of jobs it refreshes less often."""
DISABLED_SHOWN: Final = 5
_SECOND: Final = 10**9


class Sight(msgspec.Struct, frozen=True):
    """What there was to see at a moment.

    Attributes:
        by: "queue" or "task", as the names are.
    """

    time: int
    lsn: int
    by: str
    depths: dict[str, Depth]
    traffic: Traffic
    pauses: dict[str, Pause]
    disabled: list[EndpointSeen]

    @property
    def names(self) -> list[str]:
        """Of all that there is something to say about."""
        paused = set(self.pauses) if self.by == "queue" else set()
        return sorted({*self.depths, *self.traffic.counts, *paused})


def look(opened: arguments.Opened, by: str, seconds: float) -> Sight:
    """Look at the newest state, and at the seconds before. Raises TablesLost."""
    reader, tables = opened
    name_of: Callable[[Job], str] = operator.attrgetter(by)
    reader.refresh()
    now = reader.options.log.clock()
    found = depths(tables, reader, name_of)
    paused = pauses(tables, reader)
    disabled = [row for row in endpoints(reader) if row.disabled]
    lsn = reader.lsn
    done = traffic(reader, now - int(seconds * _SECOND), now, name_of)
    return Sight(now, lsn, by, found, done, paused, disabled)


@click.command(
    epilog=examples(
        "walnut jobs top work",
        "walnut jobs top work --once --by task --over 60",
        "walnut jobs top work --format json",
    )
)
@arguments.directory
@click.option("--by", type=click.Choice(["queue", "task"]), default="queue", show_default=True,
              help="What the lines are of.")  # fmt: skip
@click.option("--over", type=click.FloatRange(min=0.1), default=5.0, show_default=True,
              metavar="SECONDS", help="Rates are over so many seconds.")  # fmt: skip
@click.option("--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True,
              metavar="SECONDS", help="Look so often.")  # fmt: skip
@click.option("--once", is_flag=True, help="Look once, also on a terminal.")
@arguments.format_
def top(directory: str, by: str, over: float, interval: float, format_: str, *, once: bool) -> None:
    """Show the queues in the store at DIR: how much waits, since when, and what is done a second.

    On a terminal it goes on until Ctrl-C. Rates are of the last seconds: jobs enqueued, attempts
    that began again (tries), jobs that were done, and that died. Done jobs are counted as long as
    they are kept.
    """
    with _opened(directory) as look_again:
        if format_ == "json":
            for line in _lines(look_again(by, over)):
                write_out(values.jsonl(line))
            return
        out = console()
        if once or not sys.stdout.isatty():
            out.print(_screen(look_again(by, over), directory, out.width))
            return
        with Live(console=out, auto_refresh=False) as live:
            while True:
                began = time.monotonic()
                live.update(_screen(look_again(by, over), directory, out.width), refresh=True)
                spent = time.monotonic() - began
                time.sleep(max(interval - spent, spent * (1 / SHARE - 1)))


@contextmanager
def _opened(directory: str) -> Iterator[Callable[[str, float], Sight]]:
    """Looks as often as it is called; where the writer was faster than this reader, by a new one."""
    opened = arguments.open_anew(directory)

    def look_again(by: str, over: float) -> Sight:
        nonlocal opened
        try:
            return look(opened, by, over)
        except TablesLost:
            opened.reader.close()
            opened = arguments.open_anew(directory)
            return look(opened, by, over)

    try:
        yield look_again
    finally:
        opened.reader.close()


def _lines(sight: Sight) -> Iterator[dict[str, Any]]:
    rate = sight.traffic.rate
    for name in sight.names:
        depth = sight.depths.get(name, Depth())
        counts = sight.traffic.counts.get(name, Counts())
        line: dict[str, Any] = {"time": views.time(sight.time), "lsn": sight.lsn, sight.by: name}
        if sight.by == "queue":
            line["paused"] = name in sight.pauses
        line |= {state.name.lower(): number for state, number in depth.jobs.items()}
        line["oldest_ready_seconds"] = (
            (sight.time - depth.oldest) / _SECOND if depth.oldest else None
        )
        line["failures"] = depth.failures
        line["over_seconds"] = sight.traffic.seconds
        line |= {
            f"{what}_per_second": rate(number)
            for what, number in msgspec.structs.asdict(counts).items()
        }
        yield line


def _screen(sight: Sight, directory: str, room: int) -> RenderableType:
    live = sum(depth.live for depth in sight.depths.values())
    heading = Text.assemble(
        (click.format_filename(directory), "bold"),
        f"  {moment(sight.time)}  LSN {sight.lsn}  {count(live, 'job')} not ended; rates over "
        f"{sight.traffic.seconds:.3g} s",
    )
    rows = [_row(sight, name) for name in sight.names]
    parts: list[RenderableType] = [heading, Text(), _LAYOUT.table(rows, room)]
    if sight.by == "queue" and sight.pauses:
        parts.append(Text())
        for name, pause in sorted(sight.pauses.items()):
            by = f" by {pause.by}" if pause.by else ""
            parts.append(_line(f"{name} is paused since {moment(pause.since)}{by}"))
    if sight.disabled:
        parts.append(Text())
        parts += [
            _line(f"webhook endpoint {row.id} is disabled: {row.disabled}")
            for row in sight.disabled[:DISABLED_SHOWN]
        ]
    return Group(*parts)


def _line(text: str) -> Text:
    return Text(printable(text.encode(errors="backslashreplace")))


_NUMBERS: Final = (
    "ready", "oldest", "running", "waiting", "blocked", "asleep", "dead", "done",
    "in/s", "done/s", "tries/s", "dead/s",
)  # fmt: skip
_LAYOUT: Final = Layout(
    cut=frozenset({"queue", "task"}),
    leave=("dead/s", "tries/s", "done", "asleep", "blocked", "in/s", "waiting", "oldest"),
    right=frozenset(_NUMBERS),
    styles={"dead": "red"} | dict.fromkeys(_NUMBERS[-4:], "green"),
)


def _row(sight: Sight, name: str) -> dict[str, str]:
    depth = sight.depths.get(name, Depth())
    counts = sight.traffic.counts.get(name, Counts())
    states = (State.RUNNING, State.WAITING, State.BLOCKED, State.SLEEPING, State.DEAD, State.DONE)
    done = (counts.enqueued, counts.done, counts.retried, counts.dead)
    told = [
        _number(depth.jobs[State.READY]),
        views.ago(sight.time, depth.oldest) if depth.oldest else "-",
        *(_number(depth.jobs[state]) for state in states),
        *(_rate(sight.traffic.rate(number)) for number in done),
    ]
    return {sight.by: name} | dict(zip(_NUMBERS, told, strict=True))


def _number(number: int) -> str:
    return f"{number:,}" if number else "-"


def _rate(number: float) -> str:
    if not number:
        return "-"
    return (
        f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 1 else f"{number:.2f}"
    )
