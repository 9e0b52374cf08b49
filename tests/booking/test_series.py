"""The same again and again, by rules."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from tests.booking.office import Office, at, office
from walnut.booking import Exclusive, Resource, State, Time
from walnut.booking.errors import InvalidWant, NotYours, Taken, Unavailable, UnknownSeries
from walnut.booking.series import SeriesBook, drifted
from walnut.store import Transaction

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = Time("hall", dt.datetime(2030, 10, 7, 9), dt.datetime(2030, 10, 7, 10))  # noqa: DTZ001


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        opened.add(Resource(id="hall", kind=Exclusive(), zone="Europe/Berlin"))
        yield opened


@pytest.fixture
def series(desk: Office) -> SeriesBook:
    return SeriesBook(desk.bookings)


def starts(desk: Office, ids: list[str]) -> list[str]:
    rows = [desk.bookings.get(desk.store, id_) for id_ in ids]
    return [f"{row.start.astimezone(BERLIN):%m-%d %H:%M}" for row in rows]


def test_nine_o_clock_is_nine_o_clock_when_clocks_have_changed(
    desk: Office, series: SeriesBook
) -> None:
    made = desk.call(series.book, MONDAY, "FREQ=WEEKLY;COUNT=5", customer="ann")
    ids = made.series.bookings
    assert starts(desk, ids) == ["10-07 09:00", "10-14 09:00", "10-21 09:00", "10-28 09:00",
                                 "11-04 09:00"]  # fmt: skip
    assert {desk.bookings.get(desk.store, id_).series for id_ in ids} == {made.series.id}
    assert made.refused == []


def test_a_series_is_booked_as_a_whole_or_not_at_all(desk: Office, series: SeriesBook) -> None:
    third = Time("hall", at("2030-10-21T07:30"), at("2030-10-21T07:45"))
    desk.call(desk.bookings.book, third)
    with desk.store.transaction() as tx, pytest.raises(Taken, match="2030-10-21"):
        series.book(tx, MONDAY, "FREQ=WEEKLY;COUNT=5")
    assert desk.bookings.table.count(desk.store) == 1
    made = desk.call(series.book, MONDAY, "FREQ=WEEKLY;COUNT=5", as_far_as_can_be=True)
    assert len(made.series.bookings) == 4
    (refusal,) = made.refused
    assert (refusal.kind, refusal.start) == ("taken", at("2030-10-21T07:00"))
    with pytest.raises(Unavailable, match="none of 2"):
        desk.call(series.book, MONDAY, "FREQ=WEEKLY;COUNT=2", as_far_as_can_be=True)


def test_occurrences_of_a_rule_that_overlap_one_another_are_refused(
    desk: Office, series: SeriesBook
) -> None:
    with pytest.raises(Taken, match="another part of the same request"):
        desk.call(series.book, MONDAY, "FREQ=MINUTELY;INTERVAL=30;COUNT=3")


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("FREQ=WEEKLY", "more than 100 occurrences"),
        ("FREQ=NEVER", "FREQ"),
        ("FREQ=WEEKLY;UNTIL=20200101T000000Z", "no occurrence"),
    ],
)
def test_rules_that_make_no_sense_are_refused(
    desk: Office, series: SeriesBook, rule: str, why: str
) -> None:
    with pytest.raises(InvalidWant, match=why):
        desk.call(series.book, MONDAY, rule)


def test_cancelling_a_series_ends_what_has_not_begun(desk: Office, series: SeriesBook) -> None:
    made = desk.call(series.book, MONDAY, "FREQ=WEEKLY;COUNT=4", customer="ann").series
    desk.clock.now = at("2030-10-15T00:00")
    with pytest.raises(NotYours):
        desk.call(series.cancel, made.id, customer="bob")
    assert len(desk.call(series.cancel, made.id)) == 2
    states = [desk.bookings.get(desk.store, id_).state for id_ in made.bookings]
    assert states == [State.CONFIRMED, State.CONFIRMED, State.CANCELLED, State.CANCELLED]
    with pytest.raises(UnknownSeries):
        desk.call(series.cancel, "nothing")


def test_a_booking_that_a_new_time_zone_database_would_move_is_named(desk: Office) -> None:
    booked = desk.call(desk.bookings.book, MONDAY)
    twice = Time("hall", at("2030-10-27T01:30"), at("2030-10-27T02:00"))
    desk.call(desk.bookings.book, twice)  # 2:30 on the wall, the second time
    assert list(drifted(desk.bookings, desk.store, desk.clock.now)) == []
    booked.legs = [msgspec.structs.replace(booked.legs[0], wall="2030-10-07T10:00")]

    def as_if_it_had_been_read_otherwise(tx: Transaction) -> None:
        desk.bookings.table.put(tx, booked)
        (drift,) = drifted(desk.bookings, tx, desk.clock.now)
        assert drift.booking == booked.id
        assert drift.would_be - drift.was == dt.timedelta(hours=1)
        raise RuntimeError("nothing of this stays")

    with pytest.raises(RuntimeError, match="nothing of this stays"):
        desk.call(as_if_it_had_been_read_otherwise)
