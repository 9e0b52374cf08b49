"""From times on the wall to moments, where clocks are put forward and back.

    forward   01:59 ─▶ 03:00    02:30 is on no clock: it falls into the gap
    back      02:59 ─▶ 02:00    02:30 is on the clocks twice: it is in the overlap

                  in a gap                       in an overlap
    LITERAL   the offset before it: 03:30        the first time      RFC 5545, section 3.3.5
    ONCE      when the gap ends: 03:00           the first time      cron, a job at a fixed time
    ELAPSED   not at all                         both times          cron, a job at every ...

What must stay true: `following` gives the least moment after the given one among all moments of all
walls. Around a change of the clocks the order of moments is not that of walls (in LITERAL, 02:30
comes after 03:00), so a change within a day of either side is looked at by itself.

It relies on changes being at most a day wide and more than a day apart, as in all of the IANA
database (closest: 4 days, Freetown 1939; widest: 24 hours, Samoa's lost 30 December 2011). Moments
are seconds since 1970 in UTC, walls seconds since 1970 on the wall.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from typing import Final
from zoneinfo import ZoneInfo

from walnut.jobs.calendar import DAY
from walnut.jobs.errors import InvalidRecurrence

MAX_NAME: Final = 64
"""Characters in the name of a zone: twice the longest."""

Walls = Callable[[int], int | None]
"""The first wall at or after the given one, or None."""

_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001  a wall has no zone


class Reading(enum.Enum):
    """What a wall in a gap or an overlap means."""

    LITERAL = enum.auto()
    ONCE = enum.auto()
    ELAPSED = enum.auto()


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises InvalidRecurrence."""
    if len(name) <= MAX_NAME:
        try:
            return ZoneInfo(name)
        except (LookupError, ValueError, OSError):
            pass
    raise InvalidRecurrence(
        f"{name[:MAX_NAME]!r} is not a time zone: use an IANA name such as 'Europe/Berlin' or 'UTC'"
    )


def moment_of(zone: ZoneInfo, wall: int) -> int:
    """The moment of one wall, as RFC 5545 reads it."""
    return wall - _offset_on_wall(zone, wall, 0)


def following(walls: Walls, zone: ZoneInfo, reading: Reading, after: int) -> int | None:
    """The first moment strictly after the given one."""
    if zone.key == "UTC":
        return walls(after + 1)
    here = _offset(zone, after)
    best = _onward(walls, zone, reading, after, after + here + 1)
    if reading is Reading.LITERAL:
        past = _offset(zone, after - DAY)
        if past < here:  # clocks went forward a while ago: walls of the gap may still come
            wall = walls(after + past + 1)
            if wall is not None and wall <= after + here:
                moment = moment_of(zone, wall)
                if moment > after and (best is None or moment < best):
                    best = moment
    elif reading is Reading.ELAPSED:
        ahead = _offset(zone, after + DAY)
        if ahead < here:  # clocks go back soon: walls of before may come once more
            change = _change(zone, after, after + DAY)
            wall = walls(change + ahead)
            if wall is not None and wall < change + here:
                moment = wall - ahead
                best = moment if best is None else min(best, moment)
    return best


def _onward(walls: Walls, zone: ZoneInfo, reading: Reading, after: int, start: int) -> int | None:
    """The first moment after `after` of a wall at or after `start`, which is what the clocks show
    after `after`."""
    wall = walls(start)
    while wall is not None:
        first, second = _offset_on_wall(zone, wall, 0), _offset_on_wall(zone, wall, 1)
        if first == second:
            return wall - first
        if first > second:  # an overlap
            if wall - first > after:
                return wall - first
            if reading is Reading.ELAPSED:
                return wall - second
            wall = walls(_change(zone, wall - first, wall - second) + first)
            continue
        change = _change(zone, wall - second, wall - first)
        if reading is Reading.ONCE:
            return change
        beyond = walls(change + second)
        if reading is Reading.LITERAL:
            moment = wall - first
            return moment if beyond is None else min(moment, moment_of(zone, beyond))
        wall = beyond
    return None


def _offset(zone: ZoneInfo, moment: int) -> int:
    """Seconds that clocks are ahead of UTC at a moment."""
    offset = dt.datetime.fromtimestamp(moment, zone).utcoffset()
    assert offset is not None
    return offset.days * DAY + offset.seconds


def _offset_on_wall(zone: ZoneInfo, wall: int, fold: int) -> int:
    """The offset with which to read a wall: in a gap and in an overlap that of before it for fold 0,
    of after it for fold 1."""
    moment = (_EPOCH + dt.timedelta(seconds=wall)).replace(tzinfo=zone, fold=fold)
    offset = moment.utcoffset()
    assert offset is not None
    return offset.days * DAY + offset.seconds


def _change(zone: ZoneInfo, before: int, after: int) -> int:
    """The moment of the one change between two that have different offsets."""
    offset = _offset(zone, before)
    assert offset != _offset(zone, after)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(zone, middle) == offset:
            before = middle
        else:
            after = middle
    return after
