"""Recurrences against other implementations: dateutil for rules, plain enumeration for time zones and
for cron, cronsim where it is right.

A rule is made around a moment that it matches, with the start some intervals before, so that dateutil,
which searches for ever, always finds something.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from dateutil import rrule
from hypothesis import given, settings
from hypothesis import strategies as st

from walnut.jobs.recurrence import Cron, Recurrence, Rule, following

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "Europe/Dublin",
    "Africa/Casablanca",
    "UTC",
)
CHANGES = {
    "Europe/Berlin": ("2026-03-29T01:00", "2026-10-25T01:00", "1980-04-06T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00", "1974-01-06T07:00"),
    "Australia/Lord_Howe": ("2026-10-03T15:30", "2026-04-04T15:00", "1985-10-19T15:30"),
    "Asia/Kathmandu": ("1985-12-31T18:30", "2026-01-01T00:00"),
    "America/Sao_Paulo": ("2018-11-04T03:00", "2019-02-17T02:00", "2026-01-01T00:00"),
    "Pacific/Apia": ("2011-12-30T10:00", "2012-03-31T14:00"),
    "Europe/Dublin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "Africa/Casablanca": ("2026-02-15T02:00", "2026-03-22T02:00"),
    "UTC": ("2026-01-01T00:00",),
}
SECOND, MINUTE, HOUR, DAY = (dt.timedelta(seconds=n) for n in (1, 60, 3600, 86400))
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def firings(recurrence: Recurrence, after: dt.datetime, before: dt.datetime) -> list[dt.datetime]:
    found: list[dt.datetime] = []
    moment = following(recurrence, after)
    while moment is not None and moment < before:
        assert moment > (found[-1] if found else after)
        found.append(moment)
        moment = following(recurrence, moment)
    return found


@st.composite
def around_changes(draw: st.DrawFn) -> tuple[str, dt.datetime]:
    """A zone, and a moment within two days of one of its changes."""
    zone = draw(st.sampled_from(ZONES))
    change = draw(st.sampled_from(CHANGES[zone]))
    away = draw(
        st.integers(-300, 300).map(lambda n: n * MINUTE) | st.integers(-48, 30).map(HOUR.__mul__)
    )
    return zone, dt.datetime.fromisoformat(change).replace(tzinfo=dt.UTC) + away


# ------------------------------------------------------------------------------- rules and dateutil


def some(draw: st.DrawFn, among: st.SearchStrategy[int], must: int) -> str | None:
    """A list for a BY... part that holds `must`, or none."""
    if not draw(st.booleans()):
        return None
    return ",".join(map(str, {must, *draw(st.lists(among, max_size=3))}))


def days(draw: st.DrawFn, frequency: str, on: dt.date) -> dict[str, str | None]:
    """Conditions that a date meets, of those allowed for the frequency."""
    parts: dict[str, str | None] = {"BYMONTH": some(draw, st.integers(1, 12), on.month)}
    weekday = WEEKDAYS[on.weekday()]
    if frequency in {"YEARLY", "MONTHLY"} and draw(st.booleans()):
        if frequency == "YEARLY" and parts["BYMONTH"] is None:
            number = (on.timetuple().tm_yday + 6) // 7
        else:
            number = (on.day + 6) // 7
        more = draw(st.lists(st.sampled_from(["1SA", "-1WE", "2FR", "4TU"]), max_size=2))
        parts["BYDAY"] = ",".join({f"{number}{weekday}", *more})
    elif draw(st.booleans()):
        parts["BYDAY"] = ",".join({weekday, *draw(st.lists(st.sampled_from(WEEKDAYS), max_size=3))})
    if frequency != "WEEKLY":
        month_day = st.integers(1, 31) | st.integers(-31, -1)
        parts["BYMONTHDAY"] = some(draw, month_day, on.day)
    if frequency in {"YEARLY", "HOURLY", "MINUTELY"} and not draw(st.integers(0, 3)):
        year_day = st.integers(1, 366) | st.integers(-366, -1)
        parts["BYYEARDAY"] = some(draw, year_day, on.timetuple().tm_yday)
    return parts


@st.composite
def rules(draw: st.DrawFn) -> tuple[str, dt.datetime, dt.datetime]:
    """The text of a rule, its start, and a wall that it matches unless BYSETPOS chooses others."""
    frequency = draw(
        st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"])
    )
    target = draw(
        st.datetimes(
            dt.datetime.fromisoformat("1990-01-01"), dt.datetime.fromisoformat("2040-01-01")
        )
    ).replace(microsecond=0)
    if frequency in {"YEARLY", "MONTHLY"}:
        target = target.replace(day=min(target.day, 28))
    interval = draw(st.integers(1, 4) | st.integers(1, 40))
    back = interval * draw(st.integers(0, 12 if frequency != "YEARLY" else 80 // interval))
    parts = days(draw, frequency, target.date())
    if frequency == "YEARLY":
        start = target.replace(year=target.year - back)
    elif frequency == "MONTHLY":
        months = target.year * 12 + target.month - 1 - back
        start = target.replace(year=months // 12, month=months % 12 + 1)
    else:
        unit = {"WEEKLY": 7 * DAY, "DAILY": DAY, "HOURLY": HOUR, "MINUTELY": MINUTE}
        start = target - back * unit.get(frequency, SECOND)
    parts["BYHOUR"] = some(draw, st.integers(0, 23), target.hour)
    parts["BYMINUTE"] = some(draw, st.integers(0, 59), target.minute)
    parts["BYSECOND"] = some(draw, st.integers(0, 59), target.second)
    if interval > 1:
        parts["INTERVAL"] = str(interval)
    if draw(st.booleans()):
        parts["WKST"] = draw(st.sampled_from(WEEKDAYS))
    return text_of(frequency, parts), start, target


def text_of(frequency: str, parts: dict[str, str | None]) -> str:
    return ";".join([f"FREQ={frequency}", *(f"{n}={v}" for n, v in parts.items() if v)])


def by_dateutil(text: str, start: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
    """All occurrences up to `until`, one of which must be there."""
    # dateutil wants a day to satisfy BYDAY with numbers and BYDAY without. They are either-or.
    day = next((part[6:] for part in text.split(";") if part.startswith("BYDAY=")), "")
    plain = [item for item in day.split(",") if item in WEEKDAYS]
    numbered = [item for item in day.split(",") if item not in WEEKDAYS]
    texts = [text]
    if plain and numbered:
        texts = [text.replace(day, ",".join(part)) for part in (plain, numbered)]
    found: set[dt.datetime] = set()
    for one in texts:
        rule = rrule.rrulestr(one, dtstart=start)
        found.update(itertools.takewhile(lambda moment: moment <= until, iter(rule)))
    return iter(sorted(found))


def utc(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=dt.UTC)


@settings(max_examples=400, deadline=None)
@given(rules(), st.floats(0, 1))
def test_rules_fire_when_dateutil_says(
    made: tuple[str, dt.datetime, dt.datetime], where: float
) -> None:
    text, start, target = made
    expected = [utc(moment) for moment in by_dateutil(text, start, target)]
    assert expected[-1] == utc(target)
    rule = Rule(text, start)
    found = firings(rule, utc(start) - SECOND, utc(target) + SECOND)
    assert found[:400] == expected[:400]
    # Asked anywhere, in one step:
    after = utc(start) + (target - start) * where
    assert following(rule, after - SECOND) == next(m for m in expected if m > after - SECOND)


@settings(max_examples=150, deadline=None)
@given(
    rules(), st.lists(st.integers(-4, 4).filter(bool), min_size=1, max_size=3), st.integers(1, 30)
)
def test_places_and_counts_are_those_of_dateutil(
    made: tuple[str, dt.datetime, dt.datetime], places: list[int], count: int
) -> None:
    text, start, target = made
    if ";BY" not in text:
        return
    if "WEEKLY" in text:  # dateutil takes the first week from the start on; the RFC takes all of it
        week_start = WEEKDAYS.index(text.partition("WKST=")[2] or "MO")
        start -= (start.weekday() - week_start) % 7 * DAY
        if "BYDAY" not in text:
            text += f";BYDAY={WEEKDAYS[target.weekday()]}"
    # The first or last place is there in each period, so that dateutil comes to an end.
    text += ";BYSETPOS=" + ",".join(map(str, {1, -1, *places}))
    day = next((part[6:] for part in text.split(";") if part.startswith("BYDAY=")), "")
    if len({item in WEEKDAYS for item in day.split(",")}) > 1:
        return  # see by_dateutil; places can't be put together from two rules
    if "FREQ=SECONDLY" in text:
        return  # one second has one place
    rule = rrule.rrulestr(text, dtstart=start)
    within = target + 40 * DAY if "YEARLY" not in text else target + 400 * DAY
    expected: list[dt.datetime] = []
    for moment in itertools.islice(rule, count):
        expected.append(utc(moment))
        if moment >= target:  # from here on dateutil may search for ever
            break
    else:
        assert (
            firings(Rule(f"{text};COUNT={count}", start), utc(start) - SECOND, utc(within))
            == expected
        )
    assert firings(Rule(text, start), utc(start) - SECOND, expected[-1] + SECOND) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50_000), st.integers(0, 10 * 366 * 1440), st.booleans())
def test_a_rule_begun_ten_years_ago_keeps_its_phase(
    interval: int,
    minutes: int,
    filtered: bool,  # noqa: FBT001  hypothesis passes it by name
) -> None:
    start = dt.datetime.fromisoformat("2016-02-29 12:34:56")
    text = f"FREQ=MINUTELY;INTERVAL={interval}" + (";BYDAY=MO,TH" if filtered else "")
    after = utc(start) + minutes * MINUTE
    found = following(Rule(text, start), after)
    moment = utc(start) + (minutes // interval + 1) * interval * MINUTE
    while filtered and moment.weekday() not in {0, 3}:
        moment += interval * MINUTE
    assert found == moment


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 53), st.booleans(), st.integers(0, 6), st.integers(1990, 2040))
def test_weeks_have_the_numbers_of_iso_8601_and_as_it_would_be_for_other_first_days(
    number: int,
    from_the_end: bool,  # noqa: FBT001  hypothesis passes it by name
    first_day: int,
    year: int,
) -> None:
    signed = -number if from_the_end else number
    text = f"FREQ=YEARLY;BYWEEKNO={signed};WKST={WEEKDAYS[first_day]};BYDAY={','.join(WEEKDAYS)}"
    start = dt.datetime.fromisoformat(f"{year}-01-01")
    end = utc(start) + 370 * DAY
    expected: list[dt.datetime] = []
    for n in range(370):
        day = start + n * DAY
        moved = day - first_day * DAY  # to where its week begins on a Monday
        begins = day - moved.weekday() * DAY
        week_year = (begins + 3 * DAY).year
        weeks = [
            begin
            for begin in (begins + 7 * k * DAY for k in range(-53, 54))
            if (begin + 3 * DAY).year == week_year
        ]
        if number <= len(weeks) and weeks[signed if from_the_end else number - 1] == begins:
            expected.append(utc(day))
        if first_day == 0:
            assert weeks.index(begins) + 1 == day.isocalendar().week
    assert firings(Rule(text, start), utc(start) - SECOND, end) == expected


# ------------------------------------------------------------------------------- rules and time zones

TIMED = (
    "FREQ=DAILY",
    "FREQ=DAILY;BYHOUR=0,1,2,3,23;BYMINUTE=0,15,30",
    "FREQ=HOURLY",
    "FREQ=HOURLY;INTERVAL=7;BYMINUTE=5,45",
    "FREQ=MINUTELY;INTERVAL=10",
    "FREQ=MINUTELY;INTERVAL=7;BYHOUR=1,2,3",
    "FREQ=SECONDLY;INTERVAL=450",
    "FREQ=WEEKLY;BYDAY=SU,MO;BYHOUR=2;BYMINUTE=0,59",
)


@settings(max_examples=200, deadline=None)
@given(around_changes(), st.sampled_from(TIMED), st.integers(0, 1439))
def test_rules_read_each_wall_as_the_rfc_does(
    place: tuple[str, dt.datetime], text: str, minute: int
) -> None:
    zone, after = place
    start = (after - 10 * DAY).replace(tzinfo=None, hour=minute // 60, minute=minute % 60)
    before = after + 2 * DAY
    # The walls, as if there were no zone; fold=0 then reads them as section 3.3.5 does.
    walls = firings(Rule(text, start), utc(start) - SECOND, before + 3 * DAY)
    moments = {wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(dt.UTC) for wall in walls}
    expected = sorted(moment for moment in moments if after < moment < before)
    assert firings(Rule(text, start, zone), after, before) == expected


# ---------------------------------------------------------------------------------------------- cron


@st.composite
def crons(draw: st.DrawFn) -> tuple[str, set[int], set[int], set[int]]:
    """An expression, and its minutes, hours and days of the week."""

    def field(most: int) -> tuple[str, set[int]]:
        kind = draw(st.sampled_from(["star", "step", "list", "range"]))
        if kind == "star":
            return "*", set(range(most))
        if kind == "step":
            step = draw(st.integers(1, most // 2))
            return f"*/{step}", set(range(0, most, step))
        if kind == "list":
            chosen = draw(st.sets(st.integers(0, most - 1), min_size=1, max_size=4))
            return ",".join(map(str, chosen)), chosen
        low = draw(st.integers(0, most - 1))
        high = draw(st.integers(low, most - 1))
        return f"{low}-{high}", set(range(low, high + 1))

    minute, minutes = field(60)
    hour, hours = draw(st.just(("1-3", {1, 2, 3}))) if draw(st.booleans()) else field(24)
    day, weekdays = field(7)
    return f"{minute} {hour} * * {day}", minutes, hours, weekdays


@settings(max_examples=300, deadline=None)
@given(around_changes(), crons())
def test_cron_fires_when_plain_enumeration_says(
    place: tuple[str, dt.datetime], made: tuple[str, set[int], set[int], set[int]]
) -> None:
    zone, after = place
    expression, minutes, hours, weekdays = made
    there = ZoneInfo(zone)
    after = after.replace(second=0)
    before = after + 2 * DAY

    def matches(wall: dt.datetime) -> bool:
        return wall.minute in minutes and wall.hour in hours and wall.isoweekday() % 7 in weekdays

    expected: set[dt.datetime] = set()
    if expression.startswith("*") or expression.split()[1].startswith("*"):
        for n in range(1, 2 * 1440):
            if matches((after + n * MINUTE).astimezone(there)):
                expected.add(after + n * MINUTE)
    else:
        first = (after - 2 * DAY).replace(tzinfo=None)
        for n in range(6 * 1440):
            wall = first + n * MINUTE
            if not matches(wall):
                continue
            moment = wall.replace(tzinfo=there)
            while moment.astimezone(dt.UTC).astimezone(there).replace(tzinfo=None) != wall:
                wall += MINUTE  # on no clock
                moment = wall.replace(tzinfo=there)
            expected.add(moment.astimezone(dt.UTC))
    assert firings(Cron(expression, zone), after, before) == sorted(
        moment for moment in expected if after < moment < before
    )


DAY_FIELDS = st.tuples(
    st.sampled_from(["*", "1", "13", "31", "L", "LW", "*/2", "28-31", "5,10"]),
    st.sampled_from(["*", "2", "1-3", "JAN", "2,4", "*/5"]),
    st.sampled_from(["*", "1-5", "FRI", "7", "0", "MON#5", "5L", "*/2", "2#1"]),
)


@settings(max_examples=200, deadline=None)
@given(
    DAY_FIELDS,
    st.sampled_from(["0 9", "59 23", "*/7 *", "0,30 8-17", "1 2 3", "*/9 0 12"]),
    st.datetimes(
        dt.datetime.fromisoformat("1990-01-01"),
        dt.datetime.fromisoformat("2090-01-01"),
        timezones=st.just(dt.UTC),
    ),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
)
def test_cron_agrees_with_cronsim(
    fields: tuple[str, str, str], times: str, after: dt.datetime, zone: str
) -> None:
    expression = " ".join([times, *fields])
    found = following(Cron(expression, zone), after)
    try:
        sim = CronSim(expression, after.astimezone(ZoneInfo(zone)))
    except CronSimError:  # 31 February
        assert found is None
    else:
        assert found == next((moment for moment in sim if moment > after), None)
