"""Times on the wall of a place, and moments.

    2030-03-31T02:30 in Berlin    no clock shows it: refused, with 03:30 as what may be meant
    2030-10-27T02:30 in Berlin    clocks show it twice: refused, with both moments

For a single booking a person is there who can choose, so nothing is guessed. Opening hours, check-in
times and series are rules, which have to mean something every day: they are read as RFC 5545 says, with
the offset from before the gap, and the first time in an overlap.

What must stay true: an aware time is the moment it says, whatever the wall; a time on the wall is kept
as it was said, with the zone and the version of the database that made a moment of it.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Final
from zoneinfo import TZPATH, ZoneInfo

from walnut.booking.errors import AmbiguousTime, InvalidWant, NonexistentTime, UnknownZone
from walnut.booking.model import EPOCH_DAY, SECOND, micros, moment
from walnut.jobs import zones
from walnut.jobs.errors import InvalidRecurrence

YEARS: Final = (2, 9998)
"""So that a moment in any zone is a date that Python has."""
_TO_MINUTE: Final = len("2030-05-01T09:00")
_VERSION: Final = re.compile(r"# version (\w+)")
_TIME: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises UnknownZone."""
    try:
        return zones.zone_of(name)
    except InvalidRecurrence as error:
        raise UnknownZone(str(error)) from error


def resolve(when: dt.datetime, zone: ZoneInfo) -> int:
    """The moment of an aware time, or of one on the wall in `zone`.

    Raises NonexistentTime, AmbiguousTime; InvalidWant for years in which zones end."""
    if not YEARS[0] <= when.year <= YEARS[1]:
        raise InvalidWant(f"{when.isoformat()}: years are {YEARS[0]} to {YEARS[1]} here")
    if when.tzinfo is not None:
        return micros(when)
    first, second = when.replace(tzinfo=zone, fold=0), when.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return micros(first)
    moments = first.astimezone(dt.UTC), second.astimezone(dt.UTC)
    if moments[0] > moments[1]:
        later = moments[0].astimezone(zone)
        raise NonexistentTime(
            f"{when.isoformat(timespec='minutes')} is on no clock in {zone.key}, as they are put "
            f"forward: did you mean {later.isoformat(timespec='minutes')}?",
            later,
        )
    shown = moments[0].astimezone(zone), moments[1].astimezone(zone)
    raise AmbiguousTime(
        f"{when.isoformat(timespec='minutes')} is on the clocks in {zone.key} twice, as they are put "
        f"back: say {shown[0].isoformat(timespec='minutes')} or "
        f"{shown[1].isoformat(timespec='minutes')}",
        shown,
    )


def on_wall(at: int, zone: ZoneInfo) -> str:
    """What the wall shows at a moment, to the minute if that is exact; ISO, without offset."""
    if at % (60 * SECOND):
        return moment(at).astimezone(zone).replace(tzinfo=None).isoformat()
    return dt.datetime.fromtimestamp(at // SECOND, zone).isoformat(timespec="minutes")[:_TO_MINUTE]


def date_at(at: int, zone: ZoneInfo) -> dt.date:
    """The date at a moment."""
    return moment(at).astimezone(zone).date()


def at_wall(date: dt.date, seconds: int, zone: ZoneInfo) -> int:
    """The moment so many seconds of wall time after a date's midnight, read as RFC 5545 does."""
    wall = (date.toordinal() - EPOCH_DAY) * 86_400 + seconds
    return zones.moment_of(zone, wall) * SECOND


def seconds_of(text: str) -> int:
    """Seconds after midnight of "HH:MM", "24:00" included. Raises InvalidWant."""
    found = _TIME.fullmatch(text)
    seconds = 60 * (60 * int(found[1]) + int(found[2])) if found else -1
    if not 0 <= seconds <= 86_400:
        raise InvalidWant(f"{text!r} is no time of day: write 00:00 to 24:00")
    return seconds


@lru_cache(maxsize=1)
def tzdata_version() -> str:
    """The version of the time zone database that `zoneinfo` reads, such as "2025b"; empty if it does
    not say."""
    for folder in TZPATH:
        for name in ("tzdata.zi", "+VERSION"):
            try:
                with (Path(folder) / name).open() as file:
                    line = file.readline()
            except OSError:
                continue
            found = _VERSION.match(line)
            return found[1] if found else line.strip()
    try:
        return metadata.version("tzdata")
    except metadata.PackageNotFoundError:
        return ""
