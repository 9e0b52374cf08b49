"""A sight as people read it: facts in one column, warnings in words below, and what `top` adds.

What must stay true: whatever names and errors hold, nothing shown here can move a terminal's cursor;
it fits 80 columns, and `top` fits any screen by leaving out what matters least.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from walnut.cli.sight import Sight, warnings
from walnut.log.show import count, duration, facts_table, moment, printable, size

STATES: Final = {
    "running": ("running", "bold green"),
    "starting": ("starting", "bold yellow"),
    "draining": ("stopping", "bold yellow"),
    "closed": ("stopped", "bold"),
    "unclosed": ("open in a program, or not closed by its last writer", "bold"),
}
FORESEEN: Final = 90 * 86400.0
"""Seconds: when a disk is full that is so for longer is nobody's worry, nor known."""
SLOTS_SHOWN: Final = 3
JOB_STATES: Final = ("ready", "running", "waiting", "blocked", "sleeping", "dead")
"""Those that have not ended well, in the order in which they are told."""
_DIGEST: Final = re.compile(r" of [0-9a-f]{32}$")
BARS: Final = "▁▂▃▄▅▆▇█"
PLAIN_BARS: Final = "_.-=+*#@"


def status_screen(seen: Sight) -> RenderableType:
    """All of it, for `walnut status`."""
    parts: list[RenderableType] = [heading(seen), Text(), facts(seen)]
    told = list(warnings(seen))
    if told:
        parts.append(Text())
        parts += [warning(text) for text in told]
    return Group(*parts)


def heading(seen: Sight) -> Text:
    """What it is and whether it runs."""
    text = Text.assemble(
        (safe(click.format_filename(seen.place)), "bold"), "  ", STATES[seen.state]
    )
    if seen.since:
        ago = duration(max(seen.time - seen.since, 0) / 1e9)
        text.append(f" since {moment(seen.since)} ({ago})")
    if seen.version:
        text.append(f", Walnut {safe(seen.version)}")
    if seen.pid:
        text.append(f", process {seen.pid}")
    return text


def facts(seen: Sight) -> Table:
    """Numbers, each with what it means for somebody."""
    shown = facts_table()
    shown.add_row("log", _log(seen))
    if (commits := _commits(seen)) is not None:
        shown.add_row("commits", commits)
    shown.add_row("disk", _disk(seen))
    lsn, since = seen.window
    shown.add_row(
        "restorable",
        f"from LSN {lsn:,}, {moment(since)}, with a backup before it" if since else "nothing yet",
    )
    shown.add_row("slots", _slots(seen))
    shown.add_row("tables", f"{seen.tables:,}")
    if seen.topics:
        shown.add_row("topics", _topics(seen))
    if seen.jobs is not None:
        shown.add_row("jobs", jobs_line(seen))
    return shown


def _log(seen: Sight) -> str:
    text = f"LSN {seen.durable_lsn:,} durable"
    if behind := seen.durable_lsn - seen.applied_lsn:
        text += f", {behind:,} not in the tables yet"
    if fold := seen.durable_lsn - seen.checkpoint_lsn:
        text += f"; a start has to fold {count(fold, 'record')}"
    return text


def _commits(seen: Sight) -> str | None:
    parts = []
    if seen.per_second is not None:
        parts.append(f"{rate(seen.per_second)}/s")
    if seen.group:
        parts.append(f"{seen.group:.1f} in a flush")
    if seen.p50 is not None and seen.p99 is not None:
        parts.append(
            f"durable in {duration(seen.p50 / 1e6)} (p50), {duration(seen.p99 / 1e6)} (p99)"
        )
    return ", ".join(parts) or None


def _disk(seen: Sight) -> str:
    text = f"{size(seen.log_bytes)} of log"
    if seen.disk_free is not None and seen.disk_total:
        text += f"; {size(seen.disk_free)} free of {size(seen.disk_total)}"
    if seen.full_in is not None and seen.full_in < FORESEEN:
        text += f", enough for {duration(seen.full_in)} of log as it grew so far"
    return text


def _slots(seen: Sight) -> str:
    if not seen.slots:
        return "none holds back the log"
    worst = sorted(seen.slots, key=lambda slot: -slot.lag)
    text = ", ".join(f"{safe(slot.name)} {slot.lag:,} behind" for slot in worst[:SLOTS_SHOWN])
    more = len(worst) - SLOTS_SHOWN
    return f"{text} and {more} more" if more > 0 else text


def _topics(seen: Sight) -> str:
    plus = " or more" if seen.more_topics else ""
    messages = sum(topic.messages for topic in seen.topics)
    held = sum(topic.bytes for topic in seen.topics)
    return f"{len(seen.topics):,}{plus}, {count(messages, 'message')}, {size(held)}"


def jobs_line(seen: Sight) -> str:
    """Jobs by state; empty states are left out."""
    jobs = seen.jobs or {}
    told = [f"{jobs[state]:,} {state}" for state in JOB_STATES if jobs.get(state)]
    return ", ".join(told) or "none waits, none failed"


def warning(text: str) -> Text:
    """One warning, marked."""
    return Text.assemble(("! ", "bold yellow"), safe(text))


def safe(text: str) -> str:
    """Text of others, fit for a terminal."""
    return printable(text.encode(errors="backslashreplace"))


def function_name(name: str) -> str:
    """A transaction function, without the digest by which requests are told apart."""
    return safe(_DIGEST.sub("", name))


def rate(number: float) -> str:
    """A number of things a second."""
    return f"{number:,.0f}" if number >= 10 or number == 0 else f"{number:.1f}"


def sparkline(values: Sequence[float], width: int, *, unicode: bool = True) -> str:
    """The last values as bars beside one another, the highest of them full."""
    bars = BARS if unicode else PLAIN_BARS
    shown = values[-width:]
    most = max(shown, default=0.0)
    if most <= 0:
        return bars[0] * len(shown)
    return "".join(bars[min(int(value / most * len(bars)), len(bars) - 1)] for value in shown)
