"""When a resource is open.

    "Mo-Fr 09:00-12:00,13:00-17:00; Sa 22:00-02:00"  +  {"2030-12-24": "09:00-12:00"}  +  rules
                                                 │
    2030-12-23 ─▶ [08:00Z, 11:00Z) [12:00Z, 16:00Z)        in Berlin

The text is the plain part of OpenStreetMap's opening_hours. What closes before it opens closes on the
next day; breaks are what is between two times. A special date takes the place of the week's hours on
it, and rules add to both.

What must stay true: opening hours are on the wall, so a shop that opens at nine does so on the days of
a clock change as well, and is open an hour more or less where the change is within its hours.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from walnut.booking.errors import InvalidResource, InvalidWant
from walnut.booking.model import DAY, MINUTE, Resource, micros, moment
from walnut.booking.walls import at_wall, date_at, seconds_of, zone_of
from walnut.jobs.recurrence import Rule, following

WEEKDAYS: Final = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
CLOSED: Final = "closed"
LOOK_AHEAD_DAYS: Final = 31
"""How far the next time is looked for at which something is open."""
MOST_OCCURRENCES: Final = 2000
"""Of a rule, within a window that is looked at: a rule of every minute is no opening."""

Span = tuple[int, int]


def always_open(resource: Resource) -> bool:
    """Whether there are no hours at all."""
    return not (resource.hours or resource.special or resource.openings)


def open_between(resource: Resource, start: int, stop: int) -> list[Span]:
    """The times within [start, stop) at which the resource is open, as long as they can be."""
    if always_open(resource):
        return [(start, stop)]
    zone = zone_of(resource.zone)
    first, last = date_at(start, zone), date_at(stop, zone)
    found: list[Span] = []
    for number in range(first.toordinal() - 1, last.toordinal() + 1):
        text = resource.special.get(dt.date.fromordinal(number).isoformat())
        if text is not None or resource.hours or not resource.openings:
            found += _spans(resource.hours if text is None else text, resource.zone, number,
                            special=text is not None)  # fmt: skip
    found += _by_rules(resource, start, stop)
    return list(merged(found, start, stop))


def is_open(resource: Resource, start: int, stop: int) -> bool:
    """Whether it is open from start to stop, without a break."""
    return always_open(resource) or open_between(resource, start, stop) == [(start, stop)]


def next_open(resource: Resource, start: int, length: int) -> Span | None:
    """The first time from `start` on at which it is open so long, within `LOOK_AHEAD_DAYS`."""
    for begin, end in open_between(resource, start, start + LOOK_AHEAD_DAYS * DAY):
        if end - begin >= length:
            return begin, begin + length
    return None


def merged(spans: list[Span], start: int, stop: int) -> Iterator[Span]:
    """Spans within [start, stop), those that touch as one, in order."""
    begin, end = start, start
    for span in sorted(spans):
        if span[0] > end:
            if end > begin:
                yield begin, min(end, stop)
            begin = span[0]
        if begin >= stop:
            return
        end = max(end, span[1])
    if min(end, stop) > begin:
        yield begin, min(end, stop)


@lru_cache(maxsize=8192)
def _spans(text: str, zone: str, ordinal: int, *, special: bool) -> list[Span]:
    """The opening times that begin on a date."""
    date = dt.date.fromordinal(ordinal)
    at = zone_of(zone)
    times = read_times(text) if special else read_week(text)[date.weekday()]
    return [(at_wall(date, opens, at), at_wall(date, closes, at)) for opens, closes in times]


def _by_rules(resource: Resource, start: int, stop: int) -> list[Span]:
    found: list[Span] = []
    for opening in resource.openings:
        rule = Rule(opening.rule, opening.start, resource.zone)
        length = opening.minutes * MINUTE
        at = following(rule, moment(start - length))
        while at is not None and micros(at) < stop and len(found) < MOST_OCCURRENCES:
            found.append((micros(at), micros(at) + length))
            at = following(rule, at)
    return found


@lru_cache(maxsize=1024)
def read_week(text: str) -> list[list[Span]]:
    """For each day of the week from Monday, seconds after midnight from and to which it is open.

    Raises InvalidResource."""
    week: list[list[Span]] = [[] for _ in WEEKDAYS]
    if not text:
        return [[(0, 86_400)] for _ in WEEKDAYS]
    for part in text.split(";"):
        days, _, times = part.strip().partition(" ")
        for day in _days(days, text):
            week[day] += read_times(times)
    return week


def read_times(text: str) -> list[Span]:
    """Of "09:00-12:00,13:00-17:00", seconds after midnight; "closed" is none. Raises InvalidResource."""
    if text.strip() == CLOSED:
        return []
    found: list[Span] = []
    for part in text.split(","):
        opens, dash, closes = part.strip().partition("-")
        try:
            begin, end = seconds_of(opens), seconds_of(closes)
        except InvalidWant as error:
            raise InvalidResource(f"opening hours {text!r}: {error}, as in 09:00-12:30") from error
        if not dash or begin == end:
            raise InvalidResource(
                f"opening hours {text!r}: {part!r} is no time from one to another"
            )
        found.append((begin, end if end > begin else end + 86_400))
    return found


def _days(text: str, whole: str) -> Iterator[int]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
            raise InvalidResource(
                f"opening hours {whole!r}: {part!r} is no day; write as in 'Mo-Fr 09:00-17:00; "
                "Sa,Su 10:00-14:00'"
            )
        begin = WEEKDAYS.index(first)
        end = WEEKDAYS.index(last) if dash else begin
        yield from (day % 7 for day in range(begin, end + 1 if end >= begin else end + 8))


def check_hours(resource: Resource) -> None:
    """Read all that is said about hours. Raises InvalidResource, UnknownZone, InvalidRecurrence."""
    zone_of(resource.zone)
    read_week(resource.hours)
    for date, times in resource.special.items():
        try:
            dt.date.fromisoformat(date)
        except ValueError as error:
            raise InvalidResource(
                f"special hours on {date!r}: write a date as 2030-12-24"
            ) from error
        read_times(times)
    for opening in resource.openings:
        if not 0 < opening.minutes <= 7 * 24 * 60:
            raise InvalidResource(f"an opening of {opening.minutes} minutes: give 1 to 10080")
        following(Rule(opening.rule, opening.start, resource.zone), moment(0))
