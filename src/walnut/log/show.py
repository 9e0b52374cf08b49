"""How the log is shown to people and to scripts: pure functions from values to text and tables.

What must stay true: whatever bytes a record holds, nothing shown here can move a terminal's
cursor or change its colours; without a terminal, and with NO_COLOR, it is plain text.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from walnut.log.metrics import Histogram
from walnut.log.model import LogStat, Record, Recovery, SegmentStat
from walnut.log.verify import Damage

ROW: Final = 16
"""Bytes per row of a hex dump."""

SEGMENTS_SHOWN: Final = 12
"""More of them are left out in the middle of a table."""

BAR: Final = 24
"""Characters of the longest bar of a histogram."""


# -- words for numbers --------------------------------------------------------------------------


def count(number: int, noun: str) -> str:
    """`1 record`, `12,345 records`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Bytes as people say them: `512 B`, `1.5 KiB`, `64 MiB`."""
    units = ["TiB", "GiB", "MiB", "KiB", "B"]
    while number >= 1024 and len(units) > 1:
        number /= 1024
        units.pop()
    unit = units[-1]
    digits = 0 if unit == "B" or number >= 100 or number == int(number) else 1
    return f"{number:,.{digits}f} {unit}"


def duration(seconds: float) -> str:
    """`350 µs`, `12 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.{1 if seconds < 0.01 else 0}f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // part} {smaller}"
    return f"{whole // 60} min {whole % 60} s"


def moment(ns: int) -> str:
    """A time of day here: `2026-07-21 10:00:00`."""
    return f"{datetime.fromtimestamp(ns // 10**9, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


@functools.lru_cache(maxsize=8)  # records of one frame have one time
def iso(ns: int) -> str:
    """A time for programs, exact to the nanosecond: `2026-07-21T08:00:00.000000000Z`."""
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


def lsns(first: int, last: int | None) -> str:
    """`LSN 5`, `LSN 5 to 9`, `LSN 5 to the end`."""
    end = "" if last == first else f" to {'the end' if last is None else last}"
    return f"LSN {first}{end}"


# -- records ------------------------------------------------------------------------------------


class _Line(msgspec.Struct):
    lsn: int
    time: str
    data: str


class _BinaryLine(msgspec.Struct):
    lsn: int
    time: str
    data_base64: str


def json_line(record: Record) -> bytes:
    """A record as one line of JSON."""
    try:
        line: _Line | _BinaryLine = _Line(record.lsn, iso(record.time), str(record.data, "utf-8"))
    except UnicodeDecodeError:
        text = base64.b64encode(record.data).decode()
        line = _BinaryLine(record.lsn, iso(record.time), text)
    return msgspec.json.encode(line) + b"\n"


def hex_block(record: Record) -> bytes:
    """A record as a heading and a hex dump."""
    heading = f"LSN {record.lsn}  {iso(record.time)}  {count(len(record.data), 'byte')}\n"
    return (heading + "".join(_hex_rows(record.data)) + "\n").encode()


def _hex_rows(data: memoryview) -> Iterator[str]:
    for offset in range(0, len(data), ROW):
        row = bytes(data[offset : offset + ROW])
        left, right = row[: ROW // 2].hex(" "), row[ROW // 2 :].hex(" ")
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"  {offset:08x}  {left:23}  {right:23}  |{text}|\n"


def printable(data: memoryview | bytes) -> str:
    """A record's bytes in one line that is safe to print: what is no character is escaped."""
    text = str(data, "utf-8", "backslashreplace").expandtabs()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def records_table(records: Sequence[Record]) -> Table:
    """Records, one to a line, cut at the right edge."""
    table = _table()
    widest = max(map(len, ("LSN", *(str(record.lsn) for record in records))))
    table.add_column("LSN", justify="right", style="cyan", no_wrap=True, min_width=widest)
    table.add_column("data", no_wrap=True, overflow="ellipsis", ratio=1)
    for record in records:
        table.add_row(str(record.lsn), Text(printable(record.data[:4096])))
    return table


# -- the log ------------------------------------------------------------------------------------


def recovery_note(recovery: Recovery) -> str:
    """What opening had to put right, in a sentence; "" where there is nothing to tell."""
    parts = []
    if recovery.cut_bytes:
        parts.append(
            f"cut a torn tail of {count(recovery.cut_bytes, 'byte')} from {recovery.cut_segment} "
            f"at byte {recovery.cut_offset} ({recovery.cut_reason})"
        )
    parts += [f"finished an interrupted {what}" for what in recovery.finished]
    return f"recovered: {'; '.join(parts)}" if parts else ""


def damage_line(damage: Damage) -> str:
    """One damaged place."""
    lost = lsns(damage.first_lsn, damage.last_lsn) if damage.first_lsn else "no record lost"
    return f"{damage.segment} at byte {damage.offset}: {damage.reason}; {lost}"


def print_stat(console: Console, stat: LogStat, *, state: str, first_time: int) -> None:
    """A log on one screen. `first_time` is that of its first record, 0 for none."""
    records = stat.next_lsn - stat.first_lsn
    sealed = sum(segment.sealed for segment in stat.segments)
    last_time = max((segment.last_time for segment in stat.segments), default=0)
    console.print(Text(click.format_filename(stat.path), "bold"), soft_wrap=True)
    facts = facts_table()
    held = f", {lsns(stat.first_lsn, stat.next_lsn - 1)}" if records else ""
    facts.add_row("records", f"{records:,}{held}; next is {stat.next_lsn}")
    if records:
        facts.add_row("written", written(first_time, last_time))
    facts.add_row(
        "on disk",
        f"{size(stat.bytes)} in {count(len(stat.segments), 'segment')}, {sealed} sealed; "
        "the open one is allocated ahead",
    )
    facts.add_row("state", f"{state}; epoch {stat.epoch}")
    facts.add_row("log id", stat.log_id)
    console.print(facts)
    console.print()
    console.print(segments_table(stat.segments))
    if stat.slots:
        console.print()
        table = _table()
        table.add_column("slot", style="cyan", overflow="fold")
        table.add_column("next LSN", justify="right", no_wrap=True)
        table.add_column("behind", justify="right", no_wrap=True)
        for slot in stat.slots:
            table.add_row(slot.name, str(slot.lsn), count(slot.lag, "record"))
        console.print(table)


def written(first: int, last: int) -> str:
    """From when to when, and how long that is."""
    if last <= first:
        return moment(first)
    return f"{moment(first)} to {moment(last)}, {duration((last - first) / 1e9)}"


def segments_table(segments: Sequence[SegmentStat]) -> Table:
    """The segments; of very many, the first and the last ones."""
    table = _table()
    table.add_column("segment", style="cyan", no_wrap=True, overflow="ellipsis")
    table.add_column("records", justify="right", no_wrap=True, min_width=len("1,000,000"))
    table.add_column("size", justify="right", no_wrap=True, min_width=len("63.9 MiB"))
    table.add_column("last written", no_wrap=True, min_width=len("2026-07-21 10:00:00"))
    hidden = len(segments) - SEGMENTS_SHOWN if len(segments) > SEGMENTS_SHOWN + 1 else 0
    for place, segment in enumerate(segments):
        if hidden and 2 <= place < 2 + hidden:
            if place == 2:
                table.add_row(f"... {hidden:,} more", "", "", "")
            continue
        table.add_row(
            segment.name,
            f"{segment.next_lsn - segment.first_lsn:,}",
            size(segment.bytes),
            moment(segment.last_time) if segment.last_time else "",
        )
    return table


def histogram_table(histogram: Histogram, unit: Callable[[float], str], scale: float) -> Table:
    """A distribution as bars, from its first to its last bucket in use."""
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    for _ in range(2):
        table.add_column(justify="right", no_wrap=True)
    table.add_column(style="green", no_wrap=True)
    used = [bucket for bucket, number in enumerate(histogram.counts) if number]
    most = max(histogram.counts)
    for bucket in range(used[0], used[-1] + 1) if used else ():
        number = histogram.counts[bucket]
        length = -(-number * BAR // most)
        table.add_row(f"under {unit((1 << bucket) * scale)}", f"{number:,}", _bar(length))
    return table


def _bar(length: int) -> str:
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    return ("█" if encoding.startswith("utf") else "#") * length


def facts_table() -> Table:
    """Names at the left, what there is to say at the right."""
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")


class _Console(Console):
    """Leaves it to the command what to do when its reader went away."""

    def on_broken_pipe(self) -> None:
        try:
            super().on_broken_pipe()  # keeps Python's exit quiet, then ends the program
        except SystemExit:
            raise BrokenPipeError from None


def console() -> Console:
    """Where people read: colours only where there are some, nothing guessed about the text, and
    what the terminal has no character for as a question mark."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return _Console(highlight=False, markup=False, emoji=False)


# -- progress -----------------------------------------------------------------------------------

Progressed = Callable[[int, int | None], None]
"""To be called with what is done and what there is to do; None where that is not known."""


class _Done(TaskProgressColumn):
    """The part that is done, or how much it is where the whole is not known."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}") if task.total is None else super().render(task)


@contextlib.contextmanager
def progress(what: str, *, enabled: bool = True) -> Iterator[Progressed]:
    """A bar on stderr that goes when the work is done; nothing where stderr is no terminal."""
    if not (enabled and sys.stderr.isatty()):
        yield lambda _done, _total: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), _Done()
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
