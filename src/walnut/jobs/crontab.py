"""Cron expressions as walls.

`cronsim` (of healthchecks.io) reads the fields and knows which days they mean, in Debian's dialect:
names, steps, L for the last day, FRI#2, 5L; a sixth field in front for seconds; and day-of-month OR
day-of-week unless one of them begins with a star. The clock is ours: cronsim steps through minutes,
takes 25 to 320 us for an occurrence where this takes 4, and loses half an hour of runs where the
shift is 30 minutes (Lord Howe).

An expression is at a fixed time if neither minute nor hour begins with a star, as in Debian's cron:
such a job runs once a day whatever the clocks do. Every other, and each one with seconds, goes by
the clocks as they are.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from functools import lru_cache
from typing import Final

from cronsim import CronSim, CronSimError

from walnut.jobs.calendar import DAY, Times, date_of, day_of, next_day
from walnut.jobs.errors import InvalidRecurrence

MAX_TEXT: Final = 512
"""Characters in a cron expression: every minute and hour by number are 240."""

_YEAR_MASKS: Final = 4096  # 400 bytes each

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Crontab:
    """A cron expression that was read. Compared by identity, so that masks are found fast."""

    def __init__(self, expression: str) -> None:
        sim, self._months = _read(expression)
        self.fixed = len(expression.split()) == 5 and not any(
            part.startswith("*") for part in sim.parts[1:3]
        )
        self._sim = sim
        self._times = Times(sim.hours, sim.minutes, sim.seconds)

    def next(self, wall: int, end: int) -> int | None:
        """The first wall at or after `wall` and before the day of `end`."""
        day, time = divmod(wall, DAY)
        found = next_day(self.mask, day, end // DAY)
        if found == day:
            at = self._times.next(time)
            if at is not None:
                return day * DAY + at
            found = next_day(self.mask, day + 1, end // DAY)
        return None if found is None else found * DAY + self._times[0]

    def mask(self, year: int) -> bytes:
        """The days of a year that match."""
        return _mask(self, year)

    def matches(self, date: dt.date) -> bool:
        """Whether the three fields of days match."""
        return date.month in self._months and self._sim.match_day(date)


@lru_cache(maxsize=1024)
def crontab(expression: str) -> Crontab:
    """The same object for the same expression. Raises InvalidRecurrence."""
    return Crontab(NICKNAMES.get(expression.strip().lower(), expression))


@lru_cache(maxsize=_YEAR_MASKS)
def _mask(crontab: Crontab, year: int) -> bytes:
    return bytes(crontab.matches(date_of(day)) for day in range(day_of(year), day_of(year + 1)))


def _read(expression: str) -> tuple[CronSim, set[int]]:
    """The fields, and the months."""
    if len(expression) > MAX_TEXT:
        raise InvalidRecurrence(
            f"a cron expression of {len(expression)} characters: it may have {MAX_TEXT}; use steps "
            "and ranges"
        )
    try:
        sim = _parse(expression)
    except CronSimError as error:
        # 30 February is refused by cronsim as a bad day. Here it is well formed and never fires.
        if "day-of-month" in str(error):
            *others, month, weekday = expression.split()
            with contextlib.suppress(CronSimError):
                months = _parse(f"0 0 1 {month} *").months
                return _parse(" ".join([*others, "*", weekday])), months
        reason = str(error)
    else:
        return sim, sim.months
    raise InvalidRecurrence(
        f"cron expression {expression!r}: {reason[:1].lower()}{reason[1:]}; it takes five fields, "
        "minute hour day-of-month month day-of-week, or six with seconds in front"
    )


def _parse(expression: str) -> CronSim:
    return CronSim(expression, dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
