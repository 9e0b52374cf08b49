"""Opening hours, times on the wall, and clock changes."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.booking.office import Office, at, office
from walnut.booking import Exclusive, Opening, Resource, Time
from walnut.booking.errors import (
    AmbiguousTime,
    BookingError,
    Closed,
    InvalidResource,
    InvalidWant,
    NonexistentTime,
    Restricted,
    TooFar,
    TooSoon,
    UnknownZone,
)
from walnut.booking.hours import open_between, read_week
from walnut.booking.model import micros, moment

BERLIN = ZoneInfo("Europe/Berlin")
CLINIC = Resource(
    id="clinic",
    kind=Exclusive(),
    zone="Europe/Berlin",
    hours="Mo-Fr 09:00-12:00,13:00-17:00; Sa 22:00-02:00",
    special={"2030-05-03": "10:00-11:00", "2030-05-06": "closed"},
    grid=900,
    lead=3600,
    horizon=400 * 86400,
    longest=14400,
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path, at("05:00")) as opened:
        opened.add(CLINIC)
        yield opened


def wall(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def book(desk: Office, start: str, end: str, resource: str = "clinic") -> str:
    want = Time(resource, wall(start), wall(end))
    return desk.call(desk.bookings.book, want).legs[0].wall


def free(desk: Office, start: str, end: str, minutes: int = 60, step: int = 60) -> list[str]:
    found = desk.bookings.search.slots(
        desk.store, "clinic", wall(start), wall(end), dt.timedelta(minutes=minutes),
        now=desk.clock.now, step=dt.timedelta(minutes=step),
    )  # fmt: skip
    return [f"{slot.start.astimezone(BERLIN):%d %H:%M}" for slot in found.items]


def test_free_times_are_within_hours_outside_breaks_and_on_the_grid(desk: Office) -> None:
    book(desk, "2030-05-01T10:00", "2030-05-01T10:30")
    assert free(desk, "2030-05-01T00:00", "2030-05-02T00:00") == [
        "01 09:00", "01 11:00", "01 13:00", "01 14:00", "01 15:00", "01 16:00",
    ]  # fmt: skip
    assert free(desk, "2030-05-01T10:15", "2030-05-01T12:00", 15, 15) == [
        "01 10:30", "01 10:45", "01 11:00", "01 11:15", "01 11:30", "01 11:45",
    ]  # fmt: skip


def test_special_dates_take_the_place_of_the_week(desk: Office) -> None:
    assert free(desk, "2030-05-03T00:00", "2030-05-04T00:00") == ["03 10:00"]
    assert free(desk, "2030-05-06T03:00", "2030-05-07T00:00") == []
    assert free(desk, "2030-05-04T00:00", "2030-05-05T12:00") == [
        "04 22:00", "04 23:00", "05 00:00", "05 01:00",
    ]  # fmt: skip
    book(desk, "2030-05-04T23:30", "2030-05-05T02:00")  # over midnight


@pytest.mark.parametrize(
    ("start", "end", "refused", "why"),
    [
        ("2030-05-02T08:45", "2030-05-02T09:15", Closed, "not open"),
        ("2030-05-02T11:30", "2030-05-02T13:30", Closed, "not open"),
        ("2030-05-06T10:00", "2030-05-06T11:00", Closed, "not open"),
        ("2030-05-02T10:00", "2030-05-02T10:00", InvalidWant, "the end comes after"),
        ("2030-05-02T10:00", "2030-05-02T09:00", InvalidWant, "the end comes after"),
        ("2030-05-02T09:05", "2030-05-02T10:00", Restricted, "steps of 0:15:00"),
        ("2030-05-02T09:00", "2030-05-02T14:00", Restricted, "this is 5:00:00"),
        ("2030-05-01T07:30", "2030-05-01T09:30", TooSoon, "from 2030-05-01T06:00:00"),
        ("2029-05-01T09:00", "2029-05-01T10:00", TooSoon, "can be booked from"),
        ("2032-05-03T09:00", "2032-05-03T10:00", TooFar, "can be booked up to"),
    ],
)
def test_what_nobody_could_have_is_refused_by_name(
    desk: Office, start: str, end: str, refused: type[BookingError], why: str
) -> None:
    with pytest.raises(refused, match=why):
        book(desk, start, end)


def test_who_comes_when_it_is_closed_is_told_when_it_opens(desk: Office) -> None:
    with pytest.raises(Closed) as refused:
        book(desk, "2030-05-04T10:00", "2030-05-04T11:00")
    assert refused.value.instead[0].start == "2030-05-04T20:00+00:00"


def test_a_time_on_no_clock_or_on_it_twice_is_refused_with_what_may_be_meant(desk: Office) -> None:
    desk.add(Resource(id="hall", kind=Exclusive(), zone="Europe/Berlin"))
    with pytest.raises(NonexistentTime, match="did you mean 2031-03-30T03:30") as gap:
        book(desk, "2031-03-30T02:30", "2031-03-30T04:00", "hall")
    assert gap.value.instead == wall("2031-03-30T01:30+00:00")
    with pytest.raises(AmbiguousTime, match="twice") as twice:
        book(desk, "2030-10-27T02:30", "2030-10-27T04:00", "hall")
    first, second = twice.value.instead
    assert second.timestamp() - first.timestamp() == 3600
    for start in (first.astimezone(dt.UTC), second.astimezone(dt.UTC)):
        want = Time("hall", start, start + dt.timedelta(minutes=30))
        assert desk.call(desk.bookings.book, want).legs[0].wall == "2030-10-27T02:30"


@pytest.mark.parametrize(
    ("zone", "date", "hours"),
    [
        ("Europe/Berlin", "2030-03-31", 23), ("Europe/Berlin", "2030-10-27", 25),
        ("Australia/Lord_Howe", "2030-04-07", 24.5), ("America/New_York", "2030-03-10", 23),
        ("America/Santiago", "2030-09-08", 23), ("Asia/Tokyo", "2030-03-31", 24),
    ],
)  # fmt: skip
def test_a_day_is_as_long_as_its_clocks_make_it(zone: str, date: str, hours: float) -> None:
    resource = Resource(id="r", kind=Exclusive(), zone=zone, special={date: "00:00-24:00"},
                        hours="Mo-Su 09:00-10:00")  # fmt: skip
    noon = micros(wall(f"{date}T12:00").replace(tzinfo=ZoneInfo(zone)))
    day = 86_400 * 10**6
    spans = open_between(resource, noon - day, noon + day)
    (long,) = [span for span in spans if span[1] - span[0] > day // 24]
    assert (long[1] - long[0]) / 3.6e9 == hours


def test_nine_o_clock_stays_nine_o_clock_over_a_year(desk: Office) -> None:
    begin, end = micros(at("2030-05-07T00:00")), micros(at("2031-05-01T00:00"))
    spans = open_between(CLINIC, begin, end)
    shown = {f"{moment(start).astimezone(BERLIN):%H:%M}" for start, _ in spans}
    assert shown == {"09:00", "13:00", "22:00"}


def test_rules_open_beside_the_week(desk: Office) -> None:
    evening = Opening("FREQ=MONTHLY;BYDAY=1TH", wall("2030-01-03T19:00"), 120)
    desk.add(Resource(id="clinic", kind=Exclusive(), zone="Europe/Berlin", openings=[evening]))
    assert free(desk, "2030-05-01T00:00", "2030-06-10T00:00") == [
        "02 19:00", "02 20:00", "06 19:00", "06 20:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "9-5",
        "Mo",
        "Mo 09:00",
        "Mo 09:00-09:00",
        "Xx 09:00-10:00",
        "Mo 25:00-26:00",
        "Mo 24:30-25:00",
    ],
)
def test_hours_that_make_no_sense_are_refused(desk: Office, text: str) -> None:
    with pytest.raises(InvalidResource, match="opening hours"):
        desk.add(Resource(id="x", kind=Exclusive(), hours=text))


def test_days_may_go_over_the_end_of_the_week() -> None:
    week = read_week("Sa-Mo 10:00-12:00; We closed")
    assert [bool(day) for day in week] == [True, False, False, False, False, True, True]


def test_an_unknown_zone_is_refused(desk: Office) -> None:
    with pytest.raises(UnknownZone, match="IANA name"):
        desk.add(Resource(id="x", kind=Exclusive(), zone="Mars/Olympus"))


def test_a_grid_is_on_the_wall(desk: Office) -> None:
    desk.add(
        Resource(id="clinic", kind=Exclusive(), zone="Europe/Berlin", grid=6 * 3600, longest=86400)
    )
    found = free(desk, "2030-10-26T00:00", "2030-10-29T00:00", 360, 360)
    assert found == [
        "26 00:00",
        "26 06:00",
        "26 12:00",
        "26 18:00",
        "27 06:00",
        "27 12:00",
        "27 18:00",
        "28 00:00",
        "28 06:00",
        "28 12:00",
        "28 18:00",
    ]  # fmt: skip  (six hours from 00:00 on the 27th end at 05:00)
