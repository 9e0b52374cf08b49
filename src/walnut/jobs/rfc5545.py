"""The text of a recurrence rule of RFC 5545, read strictly.

    FREQ=MONTHLY;INTERVAL=2;BYDAY=FR;BYSETPOS=-1;BYHOUR=9,17   start 2026-01-01 00:00
         ────────────────── ──────── ─────────── ──────────
         which periods      days     places      times

A mistake is named when a job is written, not when it doesn't run: a part that section 3.3.10 forbids
for a frequency is refused, as is one that it doesn't know. Where the RFC leaves a choice:
- The start is an occurrence only if the rule matches it (the RFC calls the other case undefined).
- Without BYxxx for days, days are those of the start; for BYWEEKNO alone, its day of the week.
- Week 1 of BYWEEKNO may begin in December; with INTERVAL, the year is that of the calendar.

What it fires at is in walnut.jobs.periods.
"""

from __future__ import annotations

import datetime as dt
import enum
import math
import re
from typing import Final, NamedTuple

from walnut.jobs.calendar import DAY, date_of
from walnut.jobs.errors import InvalidRecurrence

MAX_COUNT: Final = 10_000
"""Largest COUNT: where it ends is found by counting, about 30 ms for so many."""

_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
_BY_DAY: Final = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)


class Frequency(enum.IntEnum):
    """The period of a rule, from long to short."""

    YEARLY = 0
    MONTHLY = 1
    WEEKLY = 2
    DAILY = 3
    HOURLY = 4
    MINUTELY = 5
    SECONDLY = 6


class Until(NamedTuple):
    """The value of UNTIL: a wall, or a moment if it ends in Z."""

    wall: int
    utc: bool


class Days(NamedTuple):
    """Which days a rule wants, all conditions together. Empty: no condition."""

    months: tuple[int, ...]
    month_days: tuple[int, ...]
    year_days: tuple[int, ...]
    weeks: tuple[int, ...]
    weekdays: tuple[int, ...]
    ordinals: tuple[tuple[int, int], ...]
    """(2, -1) is the last Wednesday, of a month if `within_months`, else of the year."""
    within_months: bool
    week_start: int


class RuleText:
    """The text of one RRULE, read and checked. Raises InvalidRecurrence."""

    def __init__(self, text: str, start: int) -> None:
        parts = _parts(text)
        frequency = parts.pop("FREQ", "")
        if frequency not in Frequency.__members__:
            raise _invalid(
                "FREQ", frequency, f"a rule needs one of {', '.join(Frequency.__members__)}"
            )
        self.frequency = Frequency[frequency]
        self.start = start
        self.interval = _number("INTERVAL", parts.pop("INTERVAL", "1"), 999_999_999)
        count = parts.pop("COUNT", None)
        self.count = None if count is None else _number("COUNT", count, MAX_COUNT)
        until = parts.pop("UNTIL", None)
        self.until = None if until is None else _until(until)
        if count is not None and until is not None:
            raise _invalid("UNTIL", until, "a rule may have COUNT or UNTIL, not both")
        week_start = parts.pop("WKST", "MO")
        if week_start not in _WEEKDAYS:
            raise _invalid("WKST", week_start, f"it is one of {', '.join(_WEEKDAYS)}")
        self.week_start = _WEEKDAYS.index(week_start)
        if "BYSETPOS" in parts and len(parts) == 1:
            raise _invalid("BYSETPOS", parts["BYSETPOS"], "it needs another BY... to choose from")
        self.positions = _signed("BYSETPOS", parts, 366)
        self.hours = _plain("BYHOUR", parts, 0, 23)
        self.minutes = _plain("BYMINUTE", parts, 0, 59)
        # Leap second 60 is to be read as 59 by who has no leap seconds (3.3.12).
        self.seconds = tuple(min(second, 59) for second in _plain("BYSECOND", parts, 0, 60))
        self.days = self._days(parts)
        if parts:
            name, value = parts.popitem()
            raise _invalid(name, value, "RFC 5545 has no such part")

    def _days(self, parts: dict[str, str]) -> Days:
        frequency = self.frequency
        for name, allowed in (
            ("BYWEEKNO", {Frequency.YEARLY}),
            (
                "BYYEARDAY",
                {Frequency.YEARLY, Frequency.HOURLY, Frequency.MINUTELY, Frequency.SECONDLY},
            ),
            ("BYMONTHDAY", set(Frequency) - {Frequency.WEEKLY}),
        ):
            if name in parts and frequency not in allowed:
                raise _invalid(name, parts[name], f"not allowed with FREQ={frequency.name}")
        months = _plain("BYMONTH", parts, 1, 12)
        month_days = _signed("BYMONTHDAY", parts, 31)
        year_days = _signed("BYYEARDAY", parts, 366)
        weeks = _signed("BYWEEKNO", parts, 53)
        within_months = frequency == Frequency.MONTHLY or bool(months)
        by_day = parts.pop("BYDAY", None)
        weekdays: tuple[int, ...] = ()
        ordinals: tuple[tuple[int, int], ...] = ()
        if by_day is not None:
            most = 0 if frequency > Frequency.MONTHLY or weeks else 5 if within_months else 53
            weekdays, ordinals = _weekdays(by_day, most)
        first = date_of(self.start // DAY)
        if weeks:
            if not (weekdays or month_days or year_days):
                weekdays = (first.weekday(),)
        elif not (month_days or year_days or by_day):
            if frequency == Frequency.YEARLY:
                months, month_days = months or (first.month,), (first.day,)
            elif frequency == Frequency.MONTHLY:
                month_days = (first.day,)
            elif frequency == Frequency.WEEKLY:
                weekdays = (first.weekday(),)
        return Days(
            months,
            month_days,
            year_days,
            weeks,
            weekdays,
            ordinals,
            within_months and bool(ordinals),
            self.week_start if weeks else 0,
        )


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.strip().upper().removesuffix(";").split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise _invalid(name, value, "a part is NAME=VALUE")
        if name in parts:
            raise _invalid(name, value, "given twice")
        parts[name] = value
    return parts


def _invalid(name: str, value: str, why: str) -> InvalidRecurrence:
    return InvalidRecurrence(f"recurrence rule, {name[:40]}={value[:40]}: {why}")


def _number(name: str, value: str, most: int) -> int:
    number = int(value) if _NUMBER.fullmatch(value) else 0
    if not 1 <= number <= most:
        raise _invalid(name, value, f"it is a whole number from 1 to {most}")
    return number


def _plain(name: str, parts: dict[str, str], least: int, most: int) -> tuple[int, ...]:
    value = parts.pop(name, None)
    if value is None:
        return ()
    numbers = {int(n) if _NUMBER.fullmatch(n) else -1 for n in value.split(",")}
    if not least <= min(numbers) <= max(numbers) <= most:
        raise _invalid(name, value, f"a list of numbers from {least} to {most}")
    return tuple(sorted(numbers))


def _signed(name: str, parts: dict[str, str], most: int) -> tuple[int, ...]:
    value = parts.pop(name, None)
    if value is None:
        return ()
    numbers = {int(n) if _NUMBER.fullmatch(n) else 0 for n in value.split(",")}
    if not all(1 <= abs(number) <= most for number in numbers):
        raise _invalid(name, value, f"a list of numbers from 1 to {most} or -1 to -{most}")
    return tuple(sorted(numbers))


def _weekdays(value: str, most: int) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """BYDAY as plain days of the week, and those with a number of at most `most`."""
    plain: set[int] = set()
    ordinals: set[tuple[int, int]] = set()
    for item in value.split(","):
        match = _BY_DAY.fullmatch(item)
        if match is None:
            raise _invalid("BYDAY", value, "a list of MO to SU, where allowed with numbers: -1FR")
        weekday = _WEEKDAYS.index(match[2])
        if match[1] is None:
            plain.add(weekday)
        elif 1 <= abs(int(match[1])) <= most:
            ordinals.add((weekday, int(match[1])))
        elif most:
            raise _invalid("BYDAY", value, f"here numbers go from 1 to {most} or -1 to -{most}")
        else:
            raise _invalid("BYDAY", value, "numbers only with MONTHLY, or YEARLY and no BYWEEKNO")
    return tuple(sorted(plain)), tuple(sorted(ordinals))


def _until(value: str) -> Until:
    if len(value) == 8 and value.isascii() and value.isdigit():
        raise _invalid(
            "UNTIL", value, f"a date alone leaves open which time ends it: use {value}T235959Z"
        )
    wall, utc = moment_text("UNTIL", value)
    return Until(wall, utc)


def moment_text(name: str, value: str) -> tuple[int, bool]:
    """A DATE-TIME as the seconds it shows, and whether it is in UTC. Raises InvalidRecurrence."""
    if re.fullmatch(r"[0-9]{8}T[0-9]{6}Z?", value, re.ASCII):
        try:
            shown = dt.datetime.strptime(value[:15], "%Y%m%dT%H%M%S")  # noqa: DTZ007  a wall
        except ValueError:
            pass
        else:
            return math.floor(shown.replace(tzinfo=dt.UTC).timestamp()), value.endswith("Z")
    raise _invalid(name, value, "a moment is 20260301T090000, or with Z at the end in UTC")
