"""`walnut top`: a server at work, on a screen that is drawn again every second.

What must stay true: the terminal is as it was afterwards, however this ends; it fits whatever size the
terminal has, also after it was changed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Final

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from walnut.cli.screen import facts, function_name, heading, rate, safe, sparkline, warning
from walnut.cli.sight import Rate, Sight, warnings
from walnut.cli.status import place
from walnut.cli.watching import Watched, Watching
from walnut.log.cli.arguments import examples
from walnut.log.show import console, duration

BUSIEST: Final = 5
"""Topics and tables that are named."""
QUIT: Final = frozenset(b"qQ\x1b\x03")


@click.command(epilog=examples("walnut top shop --once"))
@place
@click.option("--interval", type=click.FloatRange(min=0.1), default=1.0, show_default=True,
              metavar="SECONDS", help="Look so often.")  # fmt: skip
@click.option("--once", is_flag=True, help="Look twice, an interval apart, and print that.")
def top(directory: str, interval: float, *, once: bool) -> None:
    """Show the server at DIR at work: rates, the busiest topics and tables, slow transactions.

    On a terminal it goes on until q is pressed, also while the server is restarted. Tables are
    counted by the last thousand records of the log.

    Without DIR: ./walnut-data. With --url: the server there.
    """
    watching = Watching(directory, interval)
    if (first := watching.look()).seen is None:
        raise click.ClickException(first.away)
    out = console()
    if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        time.sleep(interval)
        out.print(Group(*_parts(watching.look(), out, None)))
        return
    watching.start()
    try:
        with _keys() as keys, Live(console=out, screen=True, auto_refresh=False) as live:
            while True:
                live.update(_screen(watching.now, out), refresh=True)
                if any(key in QUIT for key in keys.wait(min(interval, 1.0))):
                    return
    finally:
        watching.leave()


# -- the screen -----------------------------------------------------------------------------------


def _screen(watched: Watched, out: Console) -> RenderableType:
    """What fits, and the last line."""
    height = out.height
    body = Group(*_parts(watched, out, height))
    lines = out.render_lines(body, out.options.update(height=None), pad=False)
    shown = lines[: height - 1]
    text = Text("\n").join(
        Text.assemble(*((segment.text, segment.style or "") for segment in line)) for line in shown
    )
    blank = "\n" * (height - len(shown))
    return Text.assemble(text, blank, ("q quits", "dim"), no_wrap=True, overflow="crop")


def _parts(watched: Watched, out: Console, height: int | None) -> Iterator[RenderableType]:
    seen = watched.seen
    assert seen is not None, "top begins with a sight"
    unicode = (out.encoding or "ascii").lower().startswith("utf")
    yield heading(seen)
    if watched.away:
        yield warning(f"no answer, and asked again every moment: {watched.away}")
    yield Text()
    if watched.rates:
        width = max(out.width - 30, 10)
        now = f"{rate(watched.rates[-1])}/s".rjust(10)
        yield Text.assemble(
            ("commits ", "dim"), (now, "bold"), "  ",
            (sparkline(watched.rates, width, unicode=unicode), "green"),
            f"  {rate(max(watched.rates))}/s",
        )  # fmt: skip
    yield facts(msgspec.structs.replace(seen, per_second=None))  # it is above
    told = [warning(text) for text in warnings(seen)]
    yield from told[:2] if height is not None and height <= 30 else told
    columns = [
        column
        for column in (
            _busiest("topics", "messages/s", watched.topics),
            _busiest("tables", "changes/s", watched.tables),
        )
        if column is not None
    ]
    if columns:
        yield Text()
        grid = Table.grid(padding=(0, 4))
        grid.add_row(*columns)
        yield grid
    if seen.slow:
        yield Text()
        yield _slow(seen)


def _busiest(what: str, unit: str, rates: Sequence[Rate]) -> Table | None:
    if not rates:
        return None
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column(
        f"busiest {what}", style="cyan", no_wrap=True, overflow="ellipsis", max_width=24
    )
    table.add_column(unit, justify="right", no_wrap=True)
    for one in rates[:BUSIEST]:
        table.add_row(safe(one.name), rate(one.per_second))
    return table


def _slow(seen: Sight) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("slow transactions", style="cyan", no_wrap=True, overflow="ellipsis")
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("LSN", justify="right", no_wrap=True)
    for one in reversed(seen.slow[-BUSIEST:]):
        table.add_row(function_name(one.function), duration(one.seconds), f"{one.lsn:,}")
    return table


# -- keys -----------------------------------------------------------------------------------------


class _Keys:
    """Keys as they are pressed; a change of the terminal's size ends the waiting too."""

    def __init__(self, resized: int) -> None:
        self._resized = resized

    def wait(self, seconds: float) -> bytes:
        """The keys pressed meanwhile; none after so many seconds, or after a change of size."""
        ready, _, _ = select.select([sys.stdin.fileno(), self._resized], [], [], seconds)
        if self._resized in ready:
            os.read(self._resized, 512)
        if sys.stdin.fileno() in ready:
            return os.read(sys.stdin.fileno(), 512) or b"q"  # the terminal is gone
        return b""


@contextlib.contextmanager
def _keys() -> Iterator[_Keys]:
    """The terminal without echo and lines, and as it was afterwards."""
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def changed(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writing, b"\0")

    handler = signal.signal(signal.SIGWINCH, changed)
    try:
        tty.setcbreak(file)
        yield _Keys(reading)
    finally:
        signal.signal(signal.SIGWINCH, handler)
        termios.tcsetattr(file, termios.TCSADRAIN, before)
        os.close(reading)
        os.close(writing)
