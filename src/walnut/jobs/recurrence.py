"""Recurrences: when a repeated timer fires next.

    after 2026-03-26 23:00 UTC
    Cron("30 2 * * 1-5", "Europe/Berlin")                                   ─▶ 2026-03-27 01:30 UTC
    Rule("FREQ=MONTHLY;BYDAY=-1FR", datetime(2026, 1, 1, 9), "Asia/Tokyo")  ─▶ 2026-03-27 00:00 UTC

A recurrence is a value: a row can hold it, and the same recurrence after the same moment gives the
same answer, in this process and the next (as long as the time zone database stays the same).
Everything is worked out from the moment asked about, so that a rule begun ten years ago costs as much
as one begun today. Occurrences are whole seconds, from 1900 to 9000.

**Where clocks change.** In a gap the wall shows no such time; in an overlap it shows it twice.

- A rule reads walls as RFC 5545, sections 3.3.5 and 3.3.10, does: in a gap with the offset before it
  (02:30 means 03:30), in an overlap the first time. This goes for HOURLY and below as well, so that
  an overlap has a pause of an hour; for so many seconds of elapsed time give the zone "UTC".
- A cron expression is read as by Debian's cron: at a fixed time (neither minute nor hour begins with
  a star) it fires when the gap ends, and once, the first time, in an overlap. Any other fires whenever
  the clocks show a time that matches: not in a gap, twice in an overlap.

**Bounds.** Texts, COUNT and the search have limits (MAX_TEXT, MAX_COUNT, HORIZON_YEARS). What has no
occurrence within a hundred years has none. The most hostile texts we could think of take 0.3 s to
read and as much to answer for. Usually it is microseconds: 4 in UTC, 10 in a zone that changes its
clocks, and some 300 once to read a recurrence. The command that measures it:

    .venv/bin/python -m pytest tests/jobs/test_recurrence.py -k microseconds -s
"""

from __future__ import annotations

import datetime as dt
import re
from bisect import bisect_right
from functools import lru_cache
from typing import Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import msgspec

from walnut.jobs.calendar import FIRST, HORIZON, HORIZON_YEARS, LAST
from walnut.jobs.errors import ExtraMissing, InvalidRecurrence, NeverFires
from walnut.jobs.rfc5545 import RuleText, moment_text
from walnut.jobs.zones import Reading, moment_of, zone_of
from walnut.jobs.zones import following as _following

MAX_TEXT: Final = 4096
"""Characters in the text of a rule: room for some 200 dates of RDATE and EXDATE."""

_SECOND: Final = dt.timedelta(seconds=1)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Cron(msgspec.Struct, frozen=True, tag="cron", array_like=True):
    """A cron expression: minute, hour, day of month, month, day of week; or six fields with seconds in
    front; or @hourly, @daily, @weekly, @monthly, @yearly."""

    expression: str
    zone: str = "UTC"
    """An IANA name."""


class Rule(msgspec.Struct, frozen=True, tag="rule", array_like=True):
    """A recurrence rule of RFC 5545."""

    text: str
    """An RRULE such as `FREQ=WEEKLY;BYDAY=MO`; or lines, at most one `RRULE:...` and any number of
    `RDATE:...` and `EXDATE:...` with moments."""
    start: dt.datetime
    """DTSTART: on the wall in `zone`, and stored so (naive), since a Monday at nine is to stay at nine
    when a government moves the clocks before it comes. An aware one is turned into what the clocks in
    `zone` show at that moment. Fractions of a second are dropped. It is an occurrence only if the rule
    matches it."""
    zone: str = "UTC"
    """An IANA name."""

    def __post_init__(self) -> None:
        start = self.start
        if start.tzinfo is not None:
            start = start.astimezone(zone_of(self.zone))
        plain = start.replace(microsecond=0, tzinfo=None, fold=0)
        if plain is not self.start:
            msgspec.structs.force_setattr(self, "start", plain)


Recurrence = Cron | Rule


def first(recurrence: Recurrence, after: dt.datetime) -> dt.datetime:
    """The first occurrence strictly after an aware moment, in UTC. Raises InvalidRecurrence, or
    NeverFires if there is none."""
    found = following(recurrence, after)
    if found is None:
        raise NeverFires(
            f"{repr(recurrence)[:200]} has no occurrence after {after.isoformat()}: "
            f"{_schedule(recurrence).why(_seconds(after))}"
        )
    return found


def following(recurrence: Recurrence, after: dt.datetime) -> dt.datetime | None:
    """The next occurrence strictly after an aware moment, in UTC; None if there is none any more.
    Raises InvalidRecurrence."""
    found = _schedule(recurrence).following(_seconds(after))
    return None if found is None else dt.datetime.fromtimestamp(found, dt.UTC)


class _Walls(Protocol):
    def next(self, wall: int, end: int) -> int | None: ...


class _Schedule:
    """A recurrence that was read."""

    def __init__(self, walls: _Walls | None, zone: ZoneInfo, reading: Reading) -> None:
        self.walls = walls
        self.zone = zone
        self.reading = reading
        self.start = FIRST
        self.until: int | None = None
        self.counted = 0
        """COUNT, if the rule has one and ever fired."""
        self.dates: list[int] = []
        self.excluded: frozenset[int] = frozenset()

    def following(self, after: int) -> int | None:
        """The first moment strictly after this one."""
        after = max(after, FIRST - 1)
        if after >= LAST:
            return None
        found = self._of_walls(after)
        place = bisect_right(self.dates, after)
        if place < len(self.dates) and (found is None or self.dates[place] < found):
            return self.dates[place]
        return found

    def _of_walls(self, after: int) -> int | None:
        """Excluded moments are passed one by one, to one end for all of them."""
        walls, until = self.walls, self.until
        if walls is None or (until is not None and after >= until):
            return None
        end = min(max(after, self.start) + HORIZON, LAST)
        if until is not None:
            end = min(end, until + _MARGIN)
        found: int | None = after
        while found is not None:
            found = _following(lambda wall: walls.next(wall, end), self.zone, self.reading, found)
            if found not in self.excluded:
                break
        return None if found is None or (until is not None and found > until) else found

    def why(self, after: int) -> str:
        """Why there is nothing after this moment, and what to do."""
        if self.until is not None and after >= self.until:
            return "its UNTIL is over; give a later one, or none"
        if self.counted:
            return f"its COUNT of {self.counted} is used up; give a later start, or no COUNT"
        if self.walls is None:
            return "all its dates are over; give later ones"
        return (
            f"nothing within {HORIZON_YEARS} years matches; check that the days exist in the months, "
            "and that what is asked for can be met from the start in steps of INTERVAL"
        )


_MARGIN: Final = 3 * 86_400
"""A search ends this long after UNTIL: no wall is further from its moment."""


def _seconds(moment: dt.datetime) -> int:
    """Whole seconds since 1970, rounded down."""
    assert moment.tzinfo is not None, "a moment needs a zone"
    return (moment - _EPOCH) // _SECOND


@lru_cache(maxsize=4096)  # some 5 kB each
def _schedule(recurrence: Recurrence) -> _Schedule:
    """A recurrence, read once. Raises InvalidRecurrence."""
    zone = zone_of(recurrence.zone)
    try:
        if isinstance(recurrence, Cron):
            return _cron(recurrence, zone)
        return _rule(recurrence, zone)
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"recurrences need {error.name}, which is not installed: pip install 'walnutdb[jobs]'"
        ) from error


def _cron(cron: Cron, zone: ZoneInfo) -> _Schedule:
    from walnut.jobs.crontab import crontab  # noqa: PLC0415  needs the extra

    read = crontab(cron.expression)
    return _Schedule(read, zone, Reading.ONCE if read.fixed else Reading.ELAPSED)


def _rule(rule: Rule, zone: ZoneInfo) -> _Schedule:
    from walnut.jobs.periods import walls_of  # noqa: PLC0415  needs the extra

    lines = _lines(rule.text)
    start = _seconds(rule.start.replace(tzinfo=dt.UTC))
    if not FIRST <= start < LAST:
        raise InvalidRecurrence(f"a rule that starts at {rule.start}: use a year from 1900 to 8999")
    schedule = _Schedule(None, zone, Reading.LITERAL)
    schedule.start = start
    schedule.excluded = frozenset(_dates("EXDATE", lines, zone))
    schedule.dates = sorted(_dates("RDATE", lines, zone) - schedule.excluded)
    rules = [line for line in lines if line.name == "RRULE"]
    if len(rules) > 1:
        raise InvalidRecurrence("recurrence rule: more than one RRULE; make a timer for each")
    if rules:
        text = RuleText(rules[0].value, start)
        schedule.walls = walls = walls_of(text)
        if text.count is not None and walls.last != start - 1:
            schedule.counted = text.count
        if text.until is not None:
            wall = min(max(text.until.wall, FIRST), LAST)
            schedule.until = wall if text.until.utc else moment_of(zone, wall)
    return schedule


class _Line(NamedTuple):
    name: str
    zone: str | None
    value: str


def _lines(text: str) -> list[_Line]:
    """The lines of a text, of which one may go on in the next after a blank, as in the RFC."""
    if len(text) > MAX_TEXT:
        raise InvalidRecurrence(
            f"a recurrence rule of {len(text)} characters: it may have {MAX_TEXT}; make timers of "
            "single dates instead"
        )
    lines = [_line(line) for line in re.sub(r"\r?\n[ \t]", "", text).splitlines() if line.strip()]
    if not any(line.name in {"RRULE", "RDATE"} for line in lines):
        raise InvalidRecurrence(f"recurrence rule {text[:60]!r}: it has neither RRULE nor RDATE")
    return lines


def _line(line: str) -> _Line:
    head, colon, value = line.strip().partition(":")
    if not colon:
        head, value = "RRULE", head
    name, *parameters = head.split(";")
    name = name.upper()
    if name == "DTSTART":
        raise InvalidRecurrence("recurrence rule: DTSTART in its text; it is the field `start`")
    if name not in {"RRULE", "RDATE", "EXDATE"}:
        raise InvalidRecurrence(
            f"recurrence rule, {name[:40]}: its lines may be RRULE, RDATE and EXDATE"
        )
    zone = None
    for parameter in parameters:
        key, _, given = parameter.partition("=")
        if name != "RRULE" and key.upper() == "TZID":
            zone = given
        elif name == "RRULE" or parameter.upper() != "VALUE=DATE-TIME":
            raise InvalidRecurrence(
                f"recurrence rule, {name};{parameter[:40]}: dates take TZID=... and "
                "VALUE=DATE-TIME, and RRULE nothing"
            )
    return _Line(name, zone, value)


def _dates(name: str, lines: list[_Line], zone: ZoneInfo) -> set[int]:
    """The moments in the lines of one name."""
    moments: set[int] = set()
    for line in lines:
        if line.name == name:
            there = zone if line.zone is None else zone_of(line.zone)
            for value in line.value.strip().upper().split(","):
                wall, utc = moment_text(name, value)
                if not FIRST <= wall < LAST:
                    raise InvalidRecurrence(
                        f"recurrence rule, {name}: {value} is not in the years 1900 to 8999"
                    )
                moments.add(wall if utc else moment_of(there, wall))
    return moments
