"""Calendars that a calendar client can read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from icalendar import Calendar

from tests.booking.office import Office, at, office
from walnut.booking import Exclusive, Pool, Resource, Time
from walnut.booking.errors import UnknownResource
from walnut.booking.feeds import free_busy, of_customer, of_resource


def parts(data: bytes, name: str) -> list[Any]:
    """As a calendar client reads them."""
    return list(Calendar.from_ical(data).walk(name))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        opened.add(
            Resource(id="room", kind=Exclusive(), zone="Europe/Berlin"),
            Resource(id="cars", kind=Pool(2)),
        )
        yield opened


def test_a_feed_follows_its_bookings_and_names_nobody(desk: Office) -> None:
    want = Time("room", at("10:00"), at("11:00"))
    booked = desk.call(desk.bookings.book, want, customer="ann smith", note="a secret")
    desk.call(desk.bookings.change, booked.id, Time("room", at("12:00"), at("13:00")))
    desk.call(desk.bookings.hold, Time(["cars", "room"], at("12:30"), at("13:30")))
    data = of_resource(desk.bookings, desk.store, "room", at("12:30"), at("18:00"))
    (event,) = parts(data, "VEVENT")
    assert event["UID"] == f"{booked.id}-0@walnut"
    assert (event["SEQUENCE"], event["STATUS"]) == (1, "CONFIRMED")
    assert event["DTSTART"].params["TZID"] == "Europe/Berlin"
    assert event["DTSTART"].dt == at("12:00")
    assert event["DTEND"].dt == at("13:00")
    assert b"ann" not in data
    assert b"secret" not in data
    assert b"BEGIN:VTIMEZONE" in data
    assert all(len(line) <= 75 for line in data.split(b"\r\n"))
    with pytest.raises(UnknownResource):
        of_resource(desk.bookings, desk.store, "nowhere", at("08:00"), at("18:00"))


def test_a_customer_sees_what_was_cancelled_as_cancelled(desk: Office) -> None:
    first = desk.call(desk.bookings.hold, Time("room", at("10:00"), at("11:00")), customer="ann")
    desk.call(desk.bookings.book, Time("room", at("11:00"), at("12:00")), customer="bob")
    desk.call(desk.bookings.book, Time("cars", at("11:00"), at("12:00")), customer="ann")
    desk.call(desk.bookings.cancel, first.id)
    data = of_customer(desk.bookings, desk.store, "ann", at("08:00"))
    events = parts(data, "VEVENT")
    assert [(event["SUMMARY"], event["STATUS"]) for event in events] == [
        ("room", "CANCELLED"),
        ("cars", "CONFIRMED"),
    ]


def test_free_busy_says_when_nothing_is_left(desk: Office) -> None:
    desk.call(desk.bookings.book, Time("cars", at("10:00"), at("12:00")))
    desk.call(desk.bookings.book, Time("cars", at("11:00"), at("13:00")))
    data = free_busy(desk.bookings, desk.store, "cars", at("08:00"), at("18:00"))
    (part,) = parts(data, "VFREEBUSY")
    assert part["DTSTART"].dt == at("08:00")
    assert (part["FREEBUSY"].start, part["FREEBUSY"].end) == (at("11:00"), at("12:00"))
    assert dt.timedelta(0) < part["DTEND"].dt - part["DTSTART"].dt
