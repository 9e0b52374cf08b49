"""Numbers and times as people read them."""

from __future__ import annotations

import datetime as dt

import pytest

from walnut.console import words

NOW = dt.datetime(2030, 5, 1, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (1234567, "1,234,567"), (0.256, "0.26"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_numbers_are_short(value: float, said: str) -> None:
    assert words.number(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes_have_the_unit_that_fits(value: float, said: str) -> None:
    assert words.size(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"), (0.0004, "400 µs"), (0.25, "250 ms"), (1, "1 s"), (59.9, "59 s"), (61, "1 min 1 s"),
        (3600, "1 h"), (90_061, "1 d 1 h"),
    ],
)  # fmt: skip
def test_spans_have_two_units_at_most(seconds: float, said: str) -> None:
    assert words.span(seconds) == said


def test_how_long_ago_says_also_what_is_to_come() -> None:
    second = 10**9
    assert words.ago(100 * second, 160 * second) == "1 min ago"
    assert words.ago(160 * second, 100 * second) == "in 1 min"
    assert words.ago(100 * second, 100 * second + 5) == "now"
    assert words.ago(0, 100 * second) == words.DASH


def test_moments_are_in_utc_to_the_millisecond() -> None:
    assert words.moment(1_888_888_888_123_456_789) == "2029-11-09 03:21:28.123"
    assert words.moment(0) == words.DASH


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2030-04-30 08:15", dt.datetime(2030, 4, 30, 8, 15, tzinfo=dt.UTC)),
        ("2030-04-30T08:15:00+02:00", dt.datetime(2030, 4, 30, 6, 15, tzinfo=dt.UTC)),
        ("08:15:30", dt.datetime(2030, 5, 1, 8, 15, 30, tzinfo=dt.UTC)),
        ("5min ago", dt.datetime(2030, 5, 1, 11, 55, tzinfo=dt.UTC)),
        ("-2h", dt.datetime(2030, 5, 1, 10, 0, tzinfo=dt.UTC)),
        ("3 d ago", dt.datetime(2030, 4, 28, 12, 0, tzinfo=dt.UTC)),
        ("soon", None), ("ago", None), ("-5", None), ("5 weeks ago", None), ("99:99", None), ("", None),
        ("999999999 d ago", None),
    ],
)  # fmt: skip
def test_times_are_read_as_they_are_typed(text: str, found: dt.datetime | None) -> None:
    assert words.read_moment(text, NOW) == found
