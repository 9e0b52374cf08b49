"""The calendar under every recurrence: which days, and which times on them.

    wall seconds   0 = 1970-01-01 00:00 on the wall, whatever the zone
    day            wall seconds // 86 400
    mask of a year one byte a day, 1 where the rule wants it:  00 00 01 00 ...
                                                                     ^ 3 January

What must stay true: a search takes steps in proportion to the years it crosses, never to the
occurrences it passes, and it ends at the day it was given. So no rule can hang, whatever its text
says. Bytes are searched in C: the next wanted day of a year is one `find`.

Walls are whole numbers here. Time zones are in walnut.jobs.zones.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import compress
from typing import Final

DAY: Final = 86_400
"""Seconds of a day on the wall."""
HORIZON_YEARS: Final = 100
"""How far ahead an occurrence is looked for. 29 February on a given weekday may take 40 years; what
takes more than 100 is taken for never, and costs some 20 ms to find out."""
HORIZON: Final = HORIZON_YEARS * 36_525 * DAY // 100
"""The same in seconds."""
FIRST: Final = int(dt.datetime(1900, 1, 1, tzinfo=dt.UTC).timestamp())
LAST: Final = int(dt.datetime(9000, 1, 1, tzinfo=dt.UTC).timestamp())
"""Recurrences are of moments from 1900 to 9000: room for offsets on both sides of what Python holds."""

_EPOCH: Final = dt.date(1970, 1, 1).toordinal()

YearMask = Callable[[int], bytes]
"""The days that a rule wants in a year."""


def date_of(day: int) -> dt.date:
    """The date of a day."""
    return dt.date.fromordinal(day + _EPOCH)


def day_of(year: int, month: int = 1, day: int = 1) -> int:
    """The day of a date."""
    return dt.date(year, month, day).toordinal() - _EPOCH


def next_day(mask: YearMask, day: int, end: int) -> int | None:
    """The first wanted day at or after `day` and before `end`."""
    while day < end:
        year = date_of(day).year
        new_year, days = day_of(year), mask(year)
        found = days.find(1, day - new_year)
        if found >= 0:
            return new_year + found if new_year + found < end else None
        day = new_year + len(days)
    return None


def wanted_days(mask: YearMask, day: int, end: int) -> list[int]:
    """Every wanted day from `day` to before `end`."""
    days: list[int] = []
    while day < end:
        year = date_of(day).year
        new_year, wanted = day_of(year), mask(year)
        stop = min(end, new_year + len(wanted))
        days += compress(range(day, stop), wanted[day - new_year : stop - new_year])
        day = stop
    return days


class Times:
    """Times of day: every listed second of every listed minute of every listed hour."""

    __slots__ = ("hours", "minutes", "seconds")

    def __init__(
        self, hours: Iterable[int], minutes: Iterable[int], seconds: Iterable[int]
    ) -> None:
        self.hours = sorted(set(hours))
        self.minutes = sorted(set(minutes))
        self.seconds = sorted(set(seconds))
        assert self.hours
        assert self.minutes
        assert self.seconds

    def __len__(self) -> int:
        return len(self.hours) * len(self.minutes) * len(self.seconds)

    def __getitem__(self, index: int) -> int:
        """The time at this place in order, as a second of the day."""
        rest, second = divmod(index, len(self.seconds))
        hour, minute = divmod(rest, len(self.minutes))
        return self.hours[hour] * 3600 + self.minutes[minute] * 60 + self.seconds[second]

    def next(self, time: int) -> int | None:
        """The first listed time at or after this second of the day."""
        hours, minutes, seconds = self.hours, self.minutes, self.seconds
        hour, rest = divmod(time, 3600)
        minute, second = divmod(rest, 60)
        h = bisect_left(hours, hour)
        if h < len(hours) and hours[h] == hour:
            m = bisect_left(minutes, minute)
            if m < len(minutes) and minutes[m] == minute:
                s = bisect_left(seconds, second)
                if s < len(seconds):
                    return hour * 3600 + minute * 60 + seconds[s]
                m += 1
            if m < len(minutes):
                return hour * 3600 + minutes[m] * 60 + seconds[0]
            h += 1
        if h == len(hours):
            return None
        return hours[h] * 3600 + minutes[0] * 60 + seconds[0]
