"""Durations and sizes as people write them: "30s", "1h30m", "64MiB"; and the types of settings that
are given so.

What must stay true: what `say_seconds` and `say_bytes` write is read back as the same number.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Final

import msgspec

UNIT: Final = "unit"
"""The key in a type's `extra` that says how it is written."""

Seconds = Annotated[float, msgspec.Meta(ge=0, extra={UNIT: "seconds"})]
"""A setting given as "30s"; seconds in the program."""

Bytes = Annotated[int, msgspec.Meta(ge=0, extra={UNIT: "bytes"})]
"""A setting given as "64MiB"; bytes in the program."""

Secret = Annotated[str, msgspec.Meta(extra={UNIT: "secret"})]
"""A setting that is never shown."""

_SECONDS: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_BYTES: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:d|h|ms|m|s) *)+", re.ASCII)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(d|h|ms|m|s)", re.ASCII)
_SIZE: Final = re.compile(r"(\d{1,19}(?:\.\d{1,6})?) *(GiB|MiB|KiB|B)", re.ASCII)


def read_seconds(text: str) -> float:
    """Seconds of "30s", "1h30m", "250ms", "7d". Raises ValueError."""
    if len(text) > 100 or not _DURATION.fullmatch(text.strip() + " "):
        raise ValueError(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def read_bytes(text: str) -> int:
    """Bytes of "64MiB", "1.5GiB", "512B". Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    number = Fraction(found[1]) * _BYTES[found[2]]
    if number.denominator != 1:
        raise ValueError(text)
    return int(number)


def say_seconds(seconds: float) -> str:
    """As "1d", "90s", "0.25s": the largest unit of which it is a whole number, else seconds."""
    for unit, size in _SECONDS.items():
        if seconds >= size and (seconds / size).is_integer():
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds!r}s" if seconds else "0s"


def say_bytes(number: int) -> str:
    """As "64MiB", "1000B": the largest unit of which it is a whole number."""
    for unit, size in _BYTES.items():
        if number >= size and number % size == 0:
            return f"{number // size}{unit}"
    return "0B"
