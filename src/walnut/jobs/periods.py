"""The walls of a recurrence rule: a grid of periods, and a filter of what lies in them.

    INTERVAL=2   ├──────┤      ├──────┤      ├──────┤      every second period counts
    BYDAY=FR     ..x......x......x......x......x......     the mask of days
                   x             x      x                  fires
                 start

A period is reached by division, however long ago the rule began; its days come from a mask of the year.
For HOURLY and below the periods are units of a day; a second mask, over the units of one day, says
which of them BYHOUR, BYMINUTE and BYSECOND want, and one search in a day's slice of it gives the next.

`dateutil` says which days of a year a rule wants; it is asked once for each year. It is not asked for
occurrences: it walks there from the start one by one, and for ever if there are none.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from functools import lru_cache
from typing import Final

from dateutil import rrule

from walnut.jobs.calendar import (
    DAY,
    HORIZON,
    LAST,
    Times,
    date_of,
    day_of,
    next_day,
    wanted_days,
)
from walnut.jobs.rfc5545 import Days, Frequency, RuleText

_DAYS: Final = (366, 31, 7, 1)  # at most, in a period of YEARLY to DAILY
_UNIT: Final = {Frequency.HOURLY: 3600, Frequency.MINUTELY: 60, Frequency.SECONDLY: 1}
_YEAR_MASKS: Final = 4096  # 400 bytes each
_REMEMBERED: Final = 512
"""Longest interval of which each place in a day is remembered. Above, a day has so few to look at
(86,400 / 512 at most) that looking is as fast."""


def walls_of(text: RuleText) -> DayWalls | UnitWalls:
    """The walls of a rule. Its `last` is where COUNT ends."""
    walls = DayWalls(text) if text.frequency <= Frequency.DAILY else UnitWalls(text)
    if text.count is not None:
        walls.last = _last(walls, text.start, text.count)
    return walls


def _last(walls: DayWalls | UnitWalls, start: int, count: int) -> int:
    """The wall at which COUNT ends, as far as it gets in four times the horizon; before the start if
    there is nothing to count."""
    last, wall, end = start - 1, start, min(start + 4 * HORIZON, LAST)
    for _ in range(count):
        found = walls.next(wall, end)
        if found is None:
            break
        last, wall = found, found + 1
    return last


class DayWalls:
    """The walls of a rule whose period is a day or longer."""

    def __init__(self, text: RuleText) -> None:
        hour, rest = divmod(text.start % DAY, 3600)
        self.last: int | None = None
        self._start = text.start
        self._frequency = text.frequency
        self._interval = text.interval
        self._week_start = text.week_start
        self._mask = _mask(text.days)
        self._times = Times(
            text.hours or (hour,), text.minutes or (rest // 60,), text.seconds or (rest % 60,)
        )
        most = _DAYS[text.frequency] * len(self._times)
        self._placing = bool(text.positions)
        self._positions = [position for position in text.positions if abs(position) <= most]
        self._phase = self._period(text.start // DAY)
        self._placed_last: tuple[int, list[int]] = (-1, [])
        """By the first day: the last answer of _placed, since all of it is asked for one by one."""

    def next(self, wall: int, end: int) -> int | None:
        """The first wall at or after `wall` and before the day of `end`."""
        wall = max(wall, self._start)
        if self.last is not None and wall > self.last:
            return None
        if self._placing:
            found = self._next_placed(wall, end // DAY)
        else:
            found = self._next(wall, end // DAY)
        return None if found is None or (self.last is not None and found > self.last) else found

    def _next(self, wall: int, end: int) -> int | None:
        day, time = divmod(wall, DAY)
        found = self._next_day(day, end)
        if found == day:
            at = self._times.next(time)
            if at is not None:
                return day * DAY + at
            found = self._next_day(day + 1, end)
        return None if found is None else found * DAY + self._times[0]

    def _next_placed(self, wall: int, end: int) -> int | None:
        """As _next, for a rule with BYSETPOS."""
        if not self._positions:
            return None
        first = self._first_day(self._period(wall // DAY))
        while (day := self._next_day(first, end)) is not None:
            period = self._period(day)
            start, first = self._first_day(period), self._first_day(period + 1)
            walls = self._placed(start, first)
            place = bisect_left(walls, wall)
            if place < len(walls):
                return walls[place]
        return None

    def _placed(self, start: int, end: int) -> list[int]:
        """What BYSETPOS chooses of a period."""
        if self._placed_last[0] == start:
            return self._placed_last[1]
        days, times = wanted_days(self._mask, start, end), self._times
        many = len(days) * len(times)
        indexes = {
            position - 1 if position > 0 else many + position
            for position in self._positions
            if abs(position) <= many
        }
        walls = sorted(
            days[index // len(times)] * DAY + times[index % len(times)] for index in indexes
        )
        self._placed_last = start, walls
        return walls

    def _next_day(self, day: int, end: int) -> int | None:
        """The first wanted day, at or after this one, of a period that counts."""
        found = next_day(self._mask, day, end)
        while found is not None and self._interval > 1:
            period = self._period(found)
            late = (period - self._phase) % self._interval
            if not late:
                break
            first = self._first_day(period + self._interval - late, end)
            found = next_day(self._mask, first, end)
        return found

    def _period(self, day: int) -> int:
        """The number of the period that a day lies in."""
        if self._frequency == Frequency.DAILY:
            return day
        if self._frequency == Frequency.WEEKLY:
            return (day + 3 - self._week_start) // 7  # day 0 was a Thursday
        date = date_of(day)
        return date.year if self._frequency == Frequency.YEARLY else date.year * 12 + date.month - 1

    def _first_day(self, period: int, end: int = LAST // DAY) -> int:
        """The first day of a period, or `end` if that comes before."""
        if self._frequency == Frequency.DAILY:
            return min(period, end)
        if self._frequency == Frequency.WEEKLY:
            return min(period * 7 - 3 + self._week_start, end)
        year, month = (period, 0) if self._frequency == Frequency.YEARLY else divmod(period, 12)
        return end if year > date_of(end).year else min(day_of(year, month + 1), end)


class UnitWalls:
    """The walls of a rule whose period is a unit of the day: an hour, a minute or a second."""

    def __init__(self, text: RuleText) -> None:
        self.last: int | None = None
        unit = _UNIT[text.frequency]
        self._start = text.start
        self._interval = text.interval
        self._unit = unit
        self._a_day = DAY // unit
        self._phase = text.start // unit
        self._mask = _mask(text.days)
        self._wanted = _units(text.frequency, text.hours, text.minutes, text.seconds)
        self._within = self._offsets(text)
        self._first_of_day: dict[int, int] = {}
        """By the place where the grid first meets a day: the first wanted unit on it."""

    def _offsets(self, text: RuleText) -> list[int]:
        """The seconds of a unit at which the rule fires, after BYSETPOS."""
        rest = text.start % DAY % self._unit
        minutes: tuple[int, ...] = (0,)
        seconds: tuple[int, ...] = (0,)
        if text.frequency < Frequency.SECONDLY:
            seconds = text.seconds or (rest % 60,)
        if text.frequency < Frequency.MINUTELY:
            minutes = text.minutes or (rest // 60,)
        offsets = sorted({minute * 60 + second for minute in minutes for second in seconds})
        if not text.positions:
            return offsets
        many = len(offsets)
        return sorted(
            {
                offsets[position - 1 if position > 0 else position]
                for position in text.positions
                if abs(position) <= many
            }
        )

    def next(self, wall: int, end: int) -> int | None:
        """The first wall at or after `wall` and before the day of `end`."""
        if not self._within or (self.last is not None and wall > self.last):
            return None
        unit, rest = divmod(max(wall, self._start), self._unit)
        found = self._next_unit(unit, end // DAY)
        place = 0
        if found == unit:
            place = bisect_left(self._within, rest)
            if place == len(self._within):
                place = 0
                found = self._next_unit(unit + 1, end // DAY)
        if found is None:
            return None
        at = found * self._unit + self._within[place]
        return None if self.last is not None and at > self.last else at

    def _next_unit(self, unit: int, end: int) -> int | None:
        """The first wanted unit at or after this one that the interval meets."""
        a_day, interval = self._a_day, self._interval
        while True:
            unit += (self._phase - unit) % interval
            day, place = divmod(unit, a_day)
            wanted = next_day(self._mask, day, end)
            if wanted is None:
                return None
            if wanted != day:
                unit = wanted * a_day
                continue
            found = self._in_day(place)
            if found >= 0:
                return day * a_day + found
            unit = (day + 1) * a_day

    def _in_day(self, place: int) -> int:
        """The first wanted unit at this place of a day, or whole intervals after it; -1 if none."""
        if self._wanted[place]:
            return place
        interval = self._interval
        if place >= interval or interval > _REMEMBERED:
            return self._search(place)
        found = self._first_of_day.get(place)
        if found is None:
            found = self._first_of_day[place] = self._search(place)
        return found

    def _search(self, place: int) -> int:
        found = self._wanted[place :: self._interval].find(1)
        return -1 if found < 0 else place + found * self._interval


class Mask:
    """The mask of each year for some days. Compared by identity, so that it is found fast."""

    __slots__ = ("days",)

    def __init__(self, days: Days) -> None:
        self.days = days

    def __call__(self, year: int) -> bytes:
        """The mask of a year."""
        return _year(self, year)


@lru_cache(maxsize=64)  # of SECONDLY: 86 kB each
def _units(
    frequency: int, hours: tuple[int, ...], minutes: tuple[int, ...], seconds: tuple[int, ...]
) -> bytes:
    """A byte for each unit of a day: 1 where it is wanted."""
    if frequency == Frequency.HOURLY:
        return bytes(not hours or hour in hours for hour in range(24))
    second = bytes(not seconds or s in seconds for s in range(60))
    whole, none = (second, bytes(60)) if frequency == Frequency.SECONDLY else (b"\1", b"\0")
    hour = b"".join(whole if not minutes or m in minutes else none for m in range(60))
    return b"".join(hour if not hours or h in hours else bytes(len(hour)) for h in range(24))


@lru_cache(maxsize=1024)
def _mask(days: Days) -> Mask:
    """The same object for the same days, so that rules with equal days share their years."""
    return Mask(days)


@lru_cache(maxsize=_YEAR_MASKS)
def _year(mask: Mask, year: int) -> bytes:
    days = mask.days
    length = day_of(year + 1) - day_of(year)
    if not any(days[:6]):
        return b"\1" * length
    wanted = bytearray(length)
    # Two questions, because dateutil wants a day to satisfy both kinds of BYDAY and the RFC one.
    if days.weekdays or not days.ordinals:
        _ask(days, year, [rrule.weekday(day) for day in days.weekdays or range(7)], wanted)
    if days.ordinals:
        _ask(days, year, [rrule.weekday(day, n) for day, n in days.ordinals], wanted)
    if days.weeks:
        new_year = day_of(year)
        for place in range(length):
            if wanted[place] and not _in_weeks(new_year + place, days.weeks, days.week_start):
                wanted[place] = 0
    return bytes(wanted)


def _in_weeks(day: int, weeks: tuple[int, ...], week_start: int) -> bool:
    """Whether a day's week is one of these, counted from the beginning or the end of its year: that
    of its fourth day. Ours, since dateutil takes 1 January 2011 for week 53 (of 52), and misses some
    December days of the weeks that -52 and -53 mean."""
    start = day - (day + 3 - week_start) % 7
    year = date_of(start + 3).year
    first, last = (
        fourth - (fourth + 3 - week_start) % 7
        for fourth in (day_of(year, 1, 4), day_of(year + 1, 1, 4))
    )
    return (start - first) // 7 + 1 in weeks or (start - last) // 7 in weeks


def _ask(days: Days, year: int, weekdays: list[rrule.weekday], wanted: bytearray) -> None:
    """Mark the days of a year that dateutil finds. The interval leads it beyond its last year, so
    that it stops after this one."""
    new_year = dt.datetime(year, 1, 1)  # noqa: DTZ001  a wall has no zone
    found = rrule.rrule(
        rrule.YEARLY,
        dtstart=new_year,
        interval=dt.MAXYEAR,
        bymonth=days.months or (range(1, 13) if days.within_months else None),
        bymonthday=days.month_days or None,
        byyearday=days.year_days or None,
        byweekday=weekdays,
        byhour=0,
        byminute=0,
        bysecond=0,
    )
    first = new_year.toordinal()
    for moment in found:
        wanted[moment.toordinal() - first] = 1
