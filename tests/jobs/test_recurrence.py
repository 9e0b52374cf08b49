"""Recurrences by name: what fires when, what is refused and how, and what it costs."""

from __future__ import annotations

import datetime as dt
import itertools
import sys
import time
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walnut.jobs.errors import ExtraMissing, InvalidRecurrence, JobsError, NeverFires
from walnut.jobs.recurrence import Cron, Recurrence, Rule, first, following

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
KATHMANDU, SAO_PAULO, APIA = "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia"


def wall(text: str) -> dt.datetime:
    """What clocks show, in no zone."""
    return dt.datetime.fromisoformat(text)


START = wall("2026-01-01 09:00")
NOW = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)  # a Wednesday


def on_the_wall(text: str, zone: str) -> dt.datetime:
    """The moment when clocks in a zone show this; the first one if they show it twice."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC)


def firings(recurrence: Recurrence, after: dt.datetime, count: int) -> list[str]:
    """The next occurrences in the recurrence's zone, as clocks show them, with their offset."""
    found: list[str] = []
    moment: dt.datetime | None = after
    for _ in range(count):
        assert moment is not None
        moment = following(recurrence, moment)
        if moment is None:
            break
        assert moment.tzinfo is dt.UTC
        shown = moment.astimezone(ZoneInfo(recurrence.zone)).isoformat(" ")
        found.append(shown.replace(":00+", "+").replace(":00-", "-"))
    return found


# ------------------------------------------------------------------------------------------ values


def test_a_recurrence_survives_messagepack_and_stays_equal_to_itself() -> None:
    for recurrence in (
        Cron("0 9 * * 1-5", BERLIN),
        Rule("FREQ=WEEKLY;BYDAY=MO", START, BERLIN),
        Rule("FREQ=WEEKLY;BYDAY=MO", dt.datetime(2026, 1, 1, 9, tzinfo=dt.UTC), BERLIN),
    ):
        again = msgspec.msgpack.decode(msgspec.msgpack.encode(recurrence), type=Recurrence)
        assert again == recurrence
        assert hash(again) == hash(recurrence)
        assert first(again, NOW) == first(recurrence, NOW)


def test_an_aware_start_becomes_what_the_clocks_of_the_zone_show() -> None:
    aware = dt.datetime(2026, 7, 1, 7, 0, 0, 123, tzinfo=dt.UTC)
    assert Rule("FREQ=DAILY", aware, BERLIN) == Rule("FREQ=DAILY", wall("2026-07-01 09:00"), BERLIN)


def test_fractions_of_a_second_are_dropped_and_never_repeat_an_occurrence() -> None:
    nine = dt.datetime(2026, 3, 4, 9, tzinfo=dt.UTC)
    day = dt.timedelta(days=1)
    for recurrence in (Cron("0 9 * * *"), Rule("FREQ=DAILY", START)):
        assert first(recurrence, nine - dt.timedelta(microseconds=1)) == nine
        assert first(recurrence, nine) == nine + day
        assert first(recurrence, nine + dt.timedelta(microseconds=1)) == nine + day


def test_a_moment_may_be_given_in_any_zone() -> None:
    there = NOW.astimezone(ZoneInfo("Asia/Tokyo"))
    assert first(Cron("0 9 * * *", BERLIN), there) == first(Cron("0 9 * * *", BERLIN), NOW)


# ------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=YEARLY", ["2027-01-01 09:00", "2028-01-01 09:00"]),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", ["2028-02-29 09:00", "2032-02-29 09:00"]),
        ("FREQ=YEARLY;BYDAY=20MO", ["2026-05-18 09:00", "2027-05-17 09:00"]),
        ("FREQ=YEARLY;BYWEEKNO=20", ["2026-05-14 09:00", "2027-05-20 09:00"]),  # as the start: TH
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", ["2026-05-11 09:00", "2027-05-17 09:00"]),
        ("FREQ=YEARLY;BYYEARDAY=-1", ["2026-12-31 09:00", "2027-12-31 09:00"]),
        ("FREQ=YEARLY;BYMONTH=11;BYDAY=1TU", ["2026-11-03 09:00", "2027-11-02 09:00"]),
        ("FREQ=MONTHLY", ["2026-04-01 09:00", "2026-05-01 09:00"]),
        ("FREQ=MONTHLY;BYMONTHDAY=31", ["2026-03-31 09:00", "2026-05-31 09:00"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", ["2026-03-27 09:00", "2026-04-24 09:00"]),
        ("FREQ=MONTHLY;BYDAY=WE,1TH", ["2026-03-04 09:00", "2026-03-05 09:00"]),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", ["2026-03-13 09:00", "2026-11-13 09:00"]),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
            ["2026-03-31 09:00", "2026-04-30 09:00"],
        ),
        ("FREQ=WEEKLY", ["2026-03-05 09:00", "2026-03-12 09:00"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=MO", ["2026-03-10 09:00", "2026-03-15 09:00"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU", ["2026-03-08 09:00", "2026-03-10 09:00"]),
        ("FREQ=DAILY;BYHOUR=8,20;BYMINUTE=30", ["2026-03-04 08:30", "2026-03-04 20:30"]),
        ("FREQ=DAILY;BYHOUR=8,12,18;BYSETPOS=2", ["2026-03-04 12:00", "2026-03-05 12:00"]),
        ("FREQ=HOURLY;INTERVAL=5", ["2026-03-04 06:00", "2026-03-04 11:00"]),
        ("FREQ=HOURLY;BYMINUTE=10,20,30;BYSETPOS=1,-1", ["2026-03-04 05:10", "2026-03-04 05:30"]),
        ("FREQ=MINUTELY;INTERVAL=90;BYHOUR=9", ["2026-03-04 09:00", "2026-03-05 09:00"]),
        ("FREQ=MINUTELY;BYSECOND=30", ["2026-03-04 05:06:30", "2026-03-04 05:07:30"]),
        ("FREQ=SECONDLY;INTERVAL=40", ["2026-03-04 05:06:40", "2026-03-04 05:07:20"]),
        ("FREQ=MINUTELY;BYSECOND=60", ["2026-03-04 05:06:59", "2026-03-04 05:07:59"]),
        ("RRULE:freq=daily;", ["2026-03-04 09:00", "2026-03-05 09:00"]),
        ("FREQ=DAILY;COUNT=63", ["2026-03-04 09:00"]),
        ("FREQ=DAILY;UNTIL=20260305T090000Z", ["2026-03-04 09:00", "2026-03-05 09:00"]),
        ("FREQ=DAILY;UNTIL=20260305T085959", ["2026-03-04 09:00"]),
        ("RRULE:FREQ=DAILY\nEXDATE:20260304T090000,20260305T090000", ["2026-03-06 09:00"]),
        ("RDATE:20260401T000000Z\nRRULE:FREQ=YEARLY", ["2026-04-01 00:00", "2027-01-01 09:00"]),
        (
            "RDATE;VALUE=DATE-TIME;TZID=Asia/Tokyo:20260401T000000,20\r\n 260402T000000",
            ["2026-03-31 15:00", "2026-04-01 15:00"],
        ),
    ],
)
def test_a_rule_fires_as_rfc_5545_says(text: str, expected: list[str]) -> None:
    found = firings(Rule(text, START), NOW, 2)
    assert found[: len(expected)] == [f"{moment}+00:00" for moment in expected]


def test_a_rule_that_has_ended_has_nothing_following() -> None:
    for text, seconds in (
        ("FREQ=DAILY;COUNT=63", 1),
        ("FREQ=DAILY;UNTIL=20260304T090000Z", 0),
        ("RDATE:20260304T090000Z", 0),
    ):
        rule = Rule(text, START)
        last = dt.datetime(2026, 3, 4, 9, tzinfo=dt.UTC)
        assert following(rule, last - dt.timedelta(seconds=1)) == last
        assert following(rule, last + dt.timedelta(seconds=seconds)) is None


def test_excluded_moments_count_for_count() -> None:
    rule = Rule("RRULE:FREQ=DAILY;COUNT=3\nEXDATE:20260102T090000", START)
    assert firings(rule, dt.datetime(2025, 1, 1, tzinfo=dt.UTC), 9) == [
        "2026-01-01 09:00+00:00",
        "2026-01-03 09:00+00:00",
    ]


def test_a_start_that_the_rule_does_not_match_is_no_occurrence() -> None:
    rule = Rule("FREQ=WEEKLY;BYDAY=MO", START)  # the start is a Thursday
    assert firings(rule, dt.datetime(2025, 1, 1, tzinfo=dt.UTC), 1) == ["2026-01-05 09:00+00:00"]


def test_a_week_of_the_interval_may_cross_the_year() -> None:
    rule = Rule("FREQ=WEEKLY;INTERVAL=2;BYDAY=WE,FR", wall("2025-12-31 09:00"))
    assert firings(rule, dt.datetime(2025, 12, 1, tzinfo=dt.UTC), 3) == [
        "2025-12-31 09:00+00:00",
        "2026-01-02 09:00+00:00",
        "2026-01-14 09:00+00:00",
    ]


# ---------------------------------------------------------------------------- clocks forward and back


@pytest.mark.parametrize(
    ("recurrence", "after", "expected"),
    [
        # Rules: in the gap with the offset before it, in the overlap the first time.
        (
            Rule("FREQ=DAILY", wall("2026-01-01 02:30"), BERLIN),
            "2026-03-28 12:00",
            ["2026-03-29 03:30+02:00", "2026-03-30 02:30+02:00"],
        ),
        (
            Rule("FREQ=DAILY", wall("2026-01-01 02:30"), BERLIN),
            "2026-10-24 12:00",
            ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"],
        ),
        (
            Rule("FREQ=HOURLY", START, BERLIN),
            "2026-10-25 00:30",
            ["2026-10-25 01:00+02:00", "2026-10-25 02:00+02:00", "2026-10-25 03:00+01:00"],
        ),
        (  # 02:45 on the wall is 03:45, which 03:00 precedes
            Rule("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=0,45", START, BERLIN),
            "2026-03-29 00:00",
            ["2026-03-29 03:00+02:00", "2026-03-29 03:45+02:00", "2026-03-30 02:00+02:00"],
        ),
        (
            Rule("FREQ=DAILY", wall("2026-01-01 02:30"), NEW_YORK),
            "2026-03-07 12:00",
            ["2026-03-08 03:30-04:00", "2026-03-09 02:30-04:00"],
        ),
        (
            Rule("FREQ=DAILY", wall("2026-01-01 02:15"), LORD_HOWE),
            "2026-10-03 12:00",
            ["2026-10-04 02:45+11:00", "2026-10-05 02:15+11:00"],
        ),
        (  # São Paulo's clocks skipped midnight
            Rule("FREQ=DAILY", wall("2018-01-01 00:00"), SAO_PAULO),
            "2018-11-03 12:00",
            ["2018-11-04 01:00-02:00", "2018-11-05 00:00-02:00"],
        ),
        (  # and went back for the last time in February 2019
            Rule("FREQ=DAILY", wall("2018-01-01 00:00"), SAO_PAULO),
            "2019-02-16 00:00",
            ["2019-02-17 00:00-03:00", "2019-02-18 00:00-03:00"],
        ),
        (  # Samoa skipped a whole day
            Rule("FREQ=DAILY", wall("2011-01-01 12:00"), APIA),
            "2011-12-29 00:00",
            ["2011-12-29 12:00-10:00", "2011-12-31 12:00+14:00", "2012-01-01 12:00+14:00"],
        ),
        # Cron at a fixed time: when the gap ends, and the first time only.
        (
            Cron("30 2 * * *", BERLIN),
            "2026-03-28 12:00",
            ["2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00"],
        ),
        (
            Cron("0,30 2 * * *", BERLIN),
            "2026-03-28 12:00",
            ["2026-03-29 03:00+02:00", "2026-03-30 02:00+02:00"],
        ),
        (
            Cron("30 2 * * *", BERLIN),
            "2026-10-24 12:00",
            ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"],
        ),
        (
            Cron("15 2 * * *", LORD_HOWE),
            "2026-10-03 12:00",
            ["2026-10-04 02:30+11:00", "2026-10-05 02:15+11:00"],
        ),
        (
            Cron("45 1 * * *", LORD_HOWE),
            "2026-04-04 12:00",
            ["2026-04-05 01:45+11:00", "2026-04-06 01:45+10:30"],
        ),
        (
            Cron("0 0 * * *", SAO_PAULO),
            "2018-11-03 12:00",
            ["2018-11-04 01:00-02:00", "2018-11-05 00:00-02:00"],
        ),
        # Cron by the clocks: not in the gap, twice in the overlap.
        (
            Cron("*/30 * * * *", BERLIN),
            "2026-03-29 01:15",
            ["2026-03-29 01:30+01:00", "2026-03-29 03:00+02:00"],
        ),
        (
            Cron("30 * * * *", BERLIN),
            "2026-10-25 01:45",
            ["2026-10-25 02:30+02:00", "2026-10-25 02:30+01:00", "2026-10-25 03:30+01:00"],
        ),
        (
            Cron("0 */2 * * *", BERLIN),
            "2026-10-25 00:30",
            ["2026-10-25 02:00+02:00", "2026-10-25 02:00+01:00", "2026-10-25 04:00+01:00"],
        ),
        (
            Cron("*/15 2 * * *", BERLIN),
            "2026-03-28 02:40",
            ["2026-03-28 02:45+01:00", "2026-03-30 02:00+02:00"],
        ),
        (
            Cron("*/30 3 * * *", LORD_HOWE),
            "2026-10-04 00:00",
            ["2026-10-04 03:00+11:00", "2026-10-04 03:30+11:00"],
        ),
        (
            Cron("*/15 1 * * *", LORD_HOWE),
            "2026-04-05 01:20",
            [
                "2026-04-05 01:30+11:00",
                "2026-04-05 01:45+11:00",
                "2026-04-05 01:30+10:30",
                "2026-04-05 01:45+10:30",
                "2026-04-06 01:00+10:30",
            ],
        ),
        (
            Cron("0 30 2 * * *", NEW_YORK),  # with seconds: by the clocks
            "2026-03-07 12:00",
            ["2026-03-09 02:30-04:00", "2026-03-10 02:30-04:00"],
        ),
        (
            Cron("*/20 * * * *", KATHMANDU),
            "2026-03-04 05:01",
            ["2026-03-04 05:20+05:45", "2026-03-04 05:40+05:45"],
        ),
        (  # 15 minutes forward on New Year's Day 1986
            Cron("*/10 * * * *", KATHMANDU),
            "1985-12-31 23:45",
            ["1985-12-31 23:50+05:30", "1986-01-01 00:20+05:45"],
        ),
    ],
)
def test_where_clocks_change(recurrence: Recurrence, after: str, expected: list[str]) -> None:
    moment = on_the_wall(after, recurrence.zone)
    assert firings(recurrence, moment, len(expected)) == expected


def test_asked_in_the_second_pass_of_an_overlap_the_answer_lies_after_it() -> None:
    second_pass = dt.datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo(BERLIN), fold=1)
    assert firings(Cron("30 2 * * *", BERLIN), second_pass, 1) == ["2026-10-26 02:30+01:00"]
    assert firings(Cron("*/30 2 * * *", BERLIN), second_pass, 1) == ["2026-10-25 02:30+01:00"]
    daily = Rule("FREQ=DAILY", wall("2026-01-01 02:30"), BERLIN)
    assert firings(daily, second_pass, 1) == ["2026-10-26 02:30+01:00"]
    secondly = Rule("FREQ=SECONDLY", START, BERLIN)
    assert firings(secondly, second_pass, 1) == ["2026-10-25 03:00+01:00"]


# -------------------------------------------------------------------------------------------- cron


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", ["2026-03-04 05:07", "2026-03-04 05:08"]),
        ("*/20 6-7 * * *", ["2026-03-04 06:00", "2026-03-04 06:20"]),
        ("0 9 * * mon-fri", ["2026-03-04 09:00", "2026-03-05 09:00"]),
        ("0 9 * * 7", ["2026-03-08 09:00", "2026-03-15 09:00"]),
        ("0 0 13 * FRI", ["2026-03-06 00:00", "2026-03-13 00:00"]),  # or, as neither has a star
        ("0 0 L * *", ["2026-03-31 00:00", "2026-04-30 00:00"]),
        ("0 0 * * FRI#2", ["2026-03-13 00:00", "2026-04-10 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("*/20 * * * * *", ["2026-03-04 05:06:20", "2026-03-04 05:06:40"]),
        ("@hourly", ["2026-03-04 06:00", "2026-03-04 07:00"]),
        (" @Weekly ", ["2026-03-08 00:00", "2026-03-15 00:00"]),
    ],
)
def test_a_cron_expression_fires_as_debian_says(expression: str, expected: list[str]) -> None:
    assert firings(Cron(expression), NOW, 2) == [f"{moment}+00:00" for moment in expected]


# ------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("recurrence", "named"),
    [
        (Cron(""), "wrong number of fields"),
        (Cron("* * * *"), "wrong number of fields"),
        (Cron("60 * * * *"), "bad minute"),
        (Cron("* * 32 2 *"), "bad day-of-month"),
        (Cron("* * 1 13 *"), "bad month"),
        (Cron("0 0 30 2 9"), "bad day-of-week"),
        (Cron("@reboot"), "wrong number of fields"),
        (Cron("1," * 300 + "1 * * * *"), "may have 512"),
        (Cron("* * * * *", "Europe/Berlon"), "'Europe/Berlon' is not a time zone"),
        (Cron("* * * * *", "../../etc/passwd"), "is not a time zone"),
        (Cron("* * * * *", "Europe"), "is not a time zone"),
        (Cron("* * * * *", ""), "is not a time zone"),
        (Cron("* * * * *", "x" * 10_000), "is not a time zone"),
        (Rule("", START), "neither RRULE nor RDATE"),
        (Rule("EXDATE:20260101T090000", START), "neither RRULE nor RDATE"),
        (Rule("x" * 5000, START), "may have 4096"),
        (Rule("FREQ=DAILY", START, "Mars/Base"), "'Mars/Base' is not a time zone"),
        (Rule("FREQ=DAILY", wall("0001-01-01 00:00"), "UTC"), "use a year from 1900"),
        (Rule("INTERVAL=2", START), "FREQ="),
        (Rule("FREQ=FORTNIGHTLY", START), "FREQ=FORTNIGHTLY"),
        (Rule("FREQ=DAILY;FREQ=DAILY", START), "FREQ=DAILY: given twice"),
        (Rule("FREQ=DAILY;BYDAY", START), "BYDAY=: a part is NAME=VALUE"),
        (Rule("FREQ=DAILY;INTERVAL=0", START), "INTERVAL=0"),
        (Rule("FREQ=DAILY;INTERVAL=2.5", START), "INTERVAL=2.5"),
        (Rule("FREQ=DAILY;INTERVAL=" + "9" * 4000, START), "INTERVAL=9999"),
        (Rule("FREQ=DAILY;COUNT=0", START), "COUNT=0"),
        (Rule("FREQ=SECONDLY;COUNT=10001", START), "COUNT=10001: it is a whole number from 1 to"),
        (Rule("FREQ=DAILY;COUNT=2;UNTIL=20300101T000000Z", START), "COUNT or UNTIL"),
        (Rule("FREQ=DAILY;UNTIL=20300101", START), "use 20300101T235959Z"),
        (Rule("FREQ=DAILY;UNTIL=20301301T000000Z", START), "UNTIL=20301301T000000Z"),
        (Rule("FREQ=DAILY;BYHOUR=24", START), "BYHOUR=24"),
        (Rule("FREQ=DAILY;BYMINUTE=-1", START), "BYMINUTE=-1"),
        (Rule("FREQ=DAILY;BYMONTHDAY=0", START), "BYMONTHDAY=0"),
        (Rule("FREQ=DAILY;BYMONTH=1,,2", START), "BYMONTH=1,,2"),
        (Rule("FREQ=DAILY;BYDAY=1MO", START), "BYDAY=1MO: numbers only with MONTHLY"),
        (Rule("FREQ=DAILY;BYDAY=MONDAY", START), "BYDAY=MONDAY"),
        (Rule("FREQ=MONTHLY;BYDAY=6MO", START), "here numbers go from 1 to 5"),
        (Rule("FREQ=YEARLY;BYWEEKNO=2;BYDAY=1MO", START), "BYDAY=1MO"),
        (Rule("FREQ=WEEKLY;BYMONTHDAY=1", START), "not allowed with FREQ=WEEKLY"),
        (Rule("FREQ=MONTHLY;BYYEARDAY=1", START), "not allowed with FREQ=MONTHLY"),
        (Rule("FREQ=MONTHLY;BYWEEKNO=1", START), "not allowed with FREQ=MONTHLY"),
        (Rule("FREQ=MONTHLY;BYSETPOS=1", START), "BYSETPOS=1: it needs another BY"),
        (Rule("FREQ=MONTHLY;WKST=XX", START), "WKST=XX"),
        (Rule("FREQ=MONTHLY;BYEASTER=1", START), "BYEASTER=1: RFC 5545 has no such part"),
        (Rule("DTSTART:20260101T000000\nRRULE:FREQ=DAILY", START), "the field `start`"),
        (Rule("EXRULE:FREQ=DAILY", START), "EXRULE: its lines may be"),
        (Rule("RRULE:FREQ=DAILY\nRRULE:FREQ=DAILY", START), "more than one RRULE"),
        (Rule("RRULE;X=1:FREQ=DAILY", START), "RRULE;X=1"),
        (Rule("RDATE;VALUE=DATE:20260101", START), "RDATE;VALUE=DATE"),
        (Rule("RDATE;TZID=Nowhere:20260101T000000", START), "'Nowhere' is not a time zone"),
        (Rule("RDATE:20260101", START), "RDATE=20260101"),
        (Rule("RDATE:00010101T000000", START), "not in the years 1900"),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_part_named(
    recurrence: Recurrence, named: str
) -> None:
    for ask in (first, following):
        with pytest.raises(InvalidRecurrence) as refused:
            ask(recurrence, NOW)
        assert named in str(refused.value)
        assert len(str(refused.value)) < 1000


def test_an_aware_start_in_an_unknown_zone_is_refused_when_the_rule_is_made() -> None:
    with pytest.raises(InvalidRecurrence, match="'Nowhere' is not a time zone"):
        Rule("FREQ=DAILY", NOW, "Nowhere")


@pytest.mark.parametrize(
    ("recurrence", "why"),
    [
        (Cron("0 0 30 2 *"), "days exist in the months"),
        (Cron("0 0 31 4,6 *", BERLIN), "days exist in the months"),
        (Cron("*/5 2 * 3 7L", BERLIN), "nothing within 100 years"),  # always in the gap
        (Rule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", START), "days exist in the months"),
        (Rule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=3", START), "days exist in the months"),
        (Rule("FREQ=DAILY;UNTIL=20260201T000000Z", START), "its UNTIL is over"),
        (Rule("FREQ=DAILY;COUNT=5", START), "its COUNT of 5 is used up"),
        (Rule("RDATE:20260201T000000Z", START), "all its dates are over"),
        (Rule("FREQ=DAILY;INTERVAL=7;BYDAY=TU", START), "in steps of INTERVAL"),
        (Rule("FREQ=HOURLY;INTERVAL=2;BYHOUR=10", START), "in steps of INTERVAL"),
        (Rule("FREQ=YEARLY;INTERVAL=500", START), "nothing within 100 years"),
        (Rule("FREQ=DAILY;INTERVAL=999999999", START), "nothing within 100 years"),
        (Rule("FREQ=MONTHLY;INTERVAL=999999999", START), "nothing within 100 years"),
        (Rule("FREQ=WEEKLY;INTERVAL=999999999", START), "nothing within 100 years"),
        (Rule("FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2", START), "nothing within 100 years"),
        (Rule("FREQ=HOURLY;BYMINUTE=1;BYSETPOS=2", START), "nothing within 100 years"),
        (Rule("FREQ=DAILY;BYHOUR=1;BYSETPOS=300", START), "nothing within 100 years"),
    ],
)
def test_what_never_fires_says_why_and_has_nothing_following(
    recurrence: Recurrence, why: str
) -> None:
    assert following(recurrence, NOW) is None
    with pytest.raises(NeverFires, match=why) as refused:
        first(recurrence, NOW)
    assert isinstance(refused.value, JobsError)


@pytest.mark.parametrize(
    ("module", "library", "recurrence"),
    [
        ("walnut.jobs.crontab", "cronsim", Cron("1 2 3 4 *")),
        ("walnut.jobs.periods", "dateutil", Rule("FREQ=DAILY;BYMINUTE=59", START)),
    ],
)
def test_a_missing_library_is_named_with_the_command_that_brings_it(
    module: str, library: str, recurrence: Recurrence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ExtraMissing, match=rf"need {library}.* pip install 'walnutdb\[jobs\]'"):
        first(recurrence, NOW)
    monkeypatch.undo()
    assert first(recurrence, NOW) > NOW


@pytest.mark.parametrize("year", [1, 1899, 1900, 2500, 8999, 9000, 9999])
def test_any_moment_that_python_has_may_be_asked_about(year: int) -> None:
    for zone, month in itertools.product(("UTC", BERLIN, LORD_HOWE), (1, 12)):
        after = dt.datetime(year, month, 28 if month == 12 else 2, tzinfo=dt.UTC)
        for recurrence in (Cron("* * * * *", zone), Rule("FREQ=HOURLY", START, zone)):
            found = following(recurrence, after)
            assert (found is None) == (year >= 9000)


# --------------------------------------------------------------------------------------------- cost

EVERY = {name: ",".join(map(str, range(n))) for name, n in (("h", 24), ("m", 60), ("s", 60))}
PLACES = ",".join(map(str, range(1, 367)))


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;INTERVAL=2;BYSECOND=1",
        "FREQ=SECONDLY;INTERVAL=2;BYSECOND=1;COUNT=10000",
        "FREQ=SECONDLY;INTERVAL=86399;BYHOUR=23;BYMINUTE=59;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;INTERVAL=43201;BYHOUR=1;BYMINUTE=1;BYSECOND=1;COUNT=10000",
        "FREQ=SECONDLY;INTERVAL=1009;BYHOUR=0;BYMINUTE=0;BYSECOND=1;BYYEARDAY=366;BYDAY=MO",
        "FREQ=MINUTELY;INTERVAL=1439;BYHOUR=3;BYMINUTE=7;BYMONTHDAY=31;BYMONTH=4",
        f"FREQ=DAILY;BYHOUR=0,1;BYSETPOS={PLACES};COUNT=10000",
        f"FREQ=WEEKLY;BYDAY=MO;BYHOUR=0,1,2;BYSETPOS={PLACES[60:]};COUNT=10000",
        "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR;BYHOUR={h};BYMINUTE={m};BYSECOND={s};COUNT=9999;BYSETPOS={p}",
        "FREQ=MONTHLY;BYMONTH=4;BYMONTHDAY=31;BYHOUR={h};BYMINUTE={m};BYSECOND={s};BYSETPOS=-366",
        "FREQ=SECONDLY;INTERVAL=2;BYSECOND=1\nRDATE:{d}\nEXDATE:{d}",
        "FREQ=MINUTELY\nEXDATE:{d}",
    ],
)
def test_a_hostile_rule_is_answered_within_bounds(text: str) -> None:
    dates = ",".join(f"202603{day:02}T{hour:02}0000" for day in range(1, 15) for hour in range(8))
    rule = Rule(text.format(**EVERY, p=PLACES, d=dates), START, BERLIN)
    began = time.perf_counter()
    for after in (NOW, NOW.replace(year=2400)):
        following(rule, after)
    assert time.perf_counter() - began < 5  # 0.2 s here; the machine may be busy


@pytest.mark.parametrize(
    "recurrence",
    [
        Cron("* * * * *"),
        Cron("0,1 * * * *", BERLIN),
        Cron("0 9 * * 1-5", BERLIN),
        Rule("FREQ=SECONDLY;INTERVAL=7", wall("2016-01-01 00:00")),
        Rule("FREQ=MINUTELY", wall("1980-01-01 00:00")),
        Rule("FREQ=MINUTELY", wall("2016-01-01 00:00"), BERLIN),
        Rule("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", wall("1980-01-01 00:00"), BERLIN),
    ],
)
def test_an_occurrence_takes_microseconds_however_long_ago_the_rule_began(
    recurrence: Recurrence,
) -> None:
    first(recurrence, NOW)
    spent: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(200):
            following(recurrence, NOW)
        spent.append((time.perf_counter() - began) / 200)
    print(f"{recurrence!r}: {min(spent) * 1e6:.1f} us")
    assert min(spent) < 500e-6  # 4 to 15 us here; the machine may be busy and coverage on


# --------------------------------------------------------------------------------------------- fuzz

PIECES = st.sampled_from(
    [
        "FREQ=",
        "DAILY",
        "SECONDLY",
        "YEARLY",
        "WEEKLY",
        "MONTHLY",
        ";",
        "BYDAY=",
        "BYSETPOS=",
        "BYMONTH=",
        "BYMONTHDAY=",
        "BYWEEKNO=",
        "BYHOUR=",
        "INTERVAL=",
        "COUNT=",
        "UNTIL=",
        "MO",
        "-1FR",
        "53SU",
        "1",
        "-1",
        "2",
        "7",
        "0",
        "31",
        "366",
        ",",
        "20260101T000000Z",
        "RDATE:",
        "\n",
        "EXDATE:",
        "RRULE:",
        ";TZID=",
        "UTC",
        "*",
        "*/",
        "-",
        "/",
        "L",
        "LW",
        "#",
        "5L",
        "@daily",
        "@",
        "59",
        "23",
        "é",
        "\x00",
        "�",
        "²",
    ]
)
TEXTS = st.text(max_size=30) | st.lists(PIECES, max_size=12).map("".join)


@given(TEXTS | st.lists(TEXTS, min_size=5, max_size=6).map(" ".join), TEXTS)
def test_any_text_is_read_or_refused_by_name(text: str, zone: str) -> None:
    for recurrence in (Cron(text), Rule(text, START), Cron("* * * * *", zone)):
        try:
            found = following(recurrence, NOW)
        except InvalidRecurrence:
            continue
        assert found is None or found > NOW
