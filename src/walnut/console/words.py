"""Numbers, times and sizes as people read them: pure.

What must stay true: nothing is rounded into a lie; what is not known says so with a dash.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

DASH: Final = "\N{EN DASH}"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_SPANS: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def number(value: float) -> str:
    """`12,345`, `0.42`."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def count(value: int, noun: str) -> str:
    """`1 row`, `12,345 rows`."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def size(value: float) -> str:
    """Bytes: `512 B`, `1.5 KiB`."""
    unit = 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    return (
        f"{value:.0f} {_UNITS[unit]}"
        if unit == 0 or value >= 100
        else f"{value:.1f} {_UNITS[unit]}"
    )


def span(seconds: float) -> str:
    """A length of time by its two largest units: `3 d 4 h`, `12 s`, `340 ms`."""
    if seconds < 1:
        return (
            f"{seconds * 1e3:.0f} ms"
            if seconds >= 0.001 or seconds <= 0
            else f"{seconds * 1e6:.0f} µs"
        )
    for place, (length, unit) in enumerate(_SPANS):
        if seconds >= length:
            whole = int(seconds // length)
            if place + 1 < len(_SPANS):
                rest = int((seconds - whole * length) // _SPANS[place + 1][0])
                if rest:
                    return f"{whole} {unit} {rest} {_SPANS[place + 1][1]}"
            return f"{whole} {unit}"
    raise AssertionError(seconds)


def micros(value: float) -> str:
    """Microseconds: `85 µs`, `1.2 ms`, `3.4 s`."""
    if value >= 1e6:
        return f"{value / 1e6:.1f} s"
    return f"{value / 1e3:.1f} ms" if value >= 1e3 else f"{value:.0f} µs"


def moment(nanoseconds: int) -> str:
    """A time in ns since the Unix epoch, in UTC, to the millisecond; a dash for 0."""
    if not nanoseconds:
        return DASH
    return when(_EPOCH + dt.timedelta(microseconds=nanoseconds // 1000))


def when(time: dt.datetime) -> str:
    """A time in UTC: `2030-05-01 12:30:45.123`."""
    return time.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{time.microsecond // 1000:03}"


def ago(nanoseconds: int, now: int) -> str:
    """How long ago: `5 s ago`; a dash for 0."""
    if not nanoseconds:
        return DASH
    seconds = (now - nanoseconds) / 1e9
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def read_moment(text: str, now: dt.datetime) -> dt.datetime | None:
    """A time that somebody typed: `2030-05-01 12:30`, `12:30:05` (of today), `-5min`, `2 h ago`; in
    UTC unless it says otherwise. None if it is none."""
    text = text.strip()
    short = text.removesuffix("ago").strip().removeprefix("-").replace(" ", "")
    if text.endswith("ago") or text.startswith("-"):
        return _before(short, now)
    try:
        if len(text) <= 8 and ":" in text:
            time = dt.time.fromisoformat(text)
            return dt.datetime.combine(now.date(), time, dt.UTC)
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)


def _before(short: str, now: dt.datetime) -> dt.datetime | None:
    digits = short.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = short[len(digits) :]
    seconds = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}.get(unit)
    if seconds is None or not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        return None
    try:
        return now - dt.timedelta(seconds=int(digits) * seconds)
    except OverflowError:  # before the year 1
        return None
