"""Bookings of another system come in all, or as far as can be with a list of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.booking.office import Office, at, fill, office
from walnut.booking import Booking, Exclusive, Nightly, Nights, Resource, Time
from walnut.booking.errors import InvalidImport, Taken
from walnut.booking.importing import MOST_BYTES, MOST_ROWS, Row, book_all, read
from walnut.cli import walnut
from walnut.store import Store

HEAD = "resource,start,end,units,customer,note\n"
NINE = "room,2030-05-02T09:00,2030-05-02T10:00,,ann,by phone\n"
TEN = "room,2030-05-02T10:00,2030-05-02T11:00,,bob,\n"


def calendar(*events: str) -> bytes:
    inside = "".join(f"BEGIN:VEVENT\n{event}\nEND:VEVENT\n" for event in events)
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//x\n{inside}END:VCALENDAR\n".encode()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        opened.add(
            Resource(id="room", kind=Exclusive()), Resource(id="double", kind=Nightly(rooms=2))
        )
        yield opened


def booked(desk: Office) -> list[Booking]:
    return list(desk.bookings.table.scan(desk.store))


def test_rows_of_a_table_are_booked_with_whose_they_are(desk: Office) -> None:
    text = HEAD + NINE + "double,2030-05-02,2030-05-04,2,bob,\n"
    done = desk.call(book_all, desk.bookings, read(text.encode()))
    assert not done.refused
    room, double = done.booked
    assert (room.customer, room.note, room.start) == ("ann", "by phone", at("2030-05-02T09:00"))
    assert (double.customer, double.legs[0].units) == ("bob", 2)


def test_one_row_that_is_taken_leaves_nothing_of_the_others(desk: Office) -> None:
    with pytest.raises(Taken) as refused:
        desk.call(book_all, desk.bookings, read((HEAD + NINE + TEN + NINE).encode()))
    assert refused.value.__notes__ == ["line 4"]
    assert booked(desk) == []


def test_as_far_as_can_be_names_each_row_that_is_not_booked(desk: Office) -> None:
    rows = read((HEAD + NINE + NINE + "loft" + NINE[4:] + TEN).encode())
    done = desk.call(book_all, desk.bookings, rows, as_far_as_can_be=True)
    assert [row.customer for row in done.booked] == ["ann", "bob"]
    assert [(one.at, one.kind) for one in done.refused] == [
        ("line 3", "taken"), ("line 4", "unknown-resource"),
    ]  # fmt: skip
    assert len(booked(desk)) == 2


def test_events_are_of_the_resource_and_the_customer_that_are_named() -> None:
    data = calendar(
        "UID:1\nDTSTART:20300502T090000Z\nDTEND:20300502T100000Z\nSUMMARY:talk",
        "UID:2\nDTSTART:20300502T120000Z\nDURATION:PT30M",
        "UID:3\nDTSTART;VALUE=DATE:20300502\nDTEND;VALUE=DATE:20300504",
        "UID:4\nDTSTART:20300502T090000Z\nDTEND:20300502T100000Z\nSTATUS:CANCELLED",
        "UID:5\nDTSTART:20300502T090000Z\nDTEND:20300502T100000Z\nTRANSP:TRANSPARENT",
    )
    nine, noon, nights = read(data, "room", customer="ann")
    assert nine == Row(
        "event 1 (1)",
        Time("room", at("2030-05-02T09:00"), at("2030-05-02T10:00")),
        "ann",
        "talk",
    )
    assert noon.want == Time("room", at("2030-05-02T12:00"), at("2030-05-02T12:30"))
    first, last = at("2030-05-02T00:00").date(), at("2030-05-04T00:00").date()
    assert nights.want == Nights("room", first, last)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the first line names the columns"),
        (b"resource,start\nroom,2030-05-02\n", "the first line names the columns"),
        (HEAD.encode(), "0 bookings"),
        ((HEAD + NINE + "room,soon,later,,,\n").encode(), "line 3"),
        ((HEAD + "room,2030-05-02T09:00\n").encode(), "line 2 has more columns, or fewer"),
        ((HEAD + NINE.replace(",,", ",two,", 1)).encode(), "units are 'two'"),
        (b"\xff\xfe", "UTF-8"),
        ((HEAD + NINE * (MOST_ROWS + 1)).encode(), "1 to 1000"),
        (b"x" * (MOST_BYTES + 1), f"up to {MOST_BYTES} bytes"),
        (calendar("UID:1\nDTSTART:20300502T090000Z"), "name the resource"),
    ],
)
def test_what_can_not_be_read_is_refused_whole(data: bytes, why: str) -> None:
    with pytest.raises(InvalidImport, match=why):
        read(data)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("UID:7\nDTSTART:20300502T090000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY", "event 1 .7. recurs"),
        ("UID:7\nDTSTART:20300502T090000Z", "do not go together"),
        ("UID:7\nDTEND:20300502T090000Z", "this is no iCalendar"),
    ],
)
def test_an_event_that_is_no_single_booking_is_refused(event: str, why: str) -> None:
    with pytest.raises(InvalidImport, match=why):
        read(calendar(event), "room")


def test_a_table_that_says_whose_it_is_takes_no_other_word_for_it() -> None:
    with pytest.raises(InvalidImport, match="leave out"):
        read((HEAD + NINE).encode(), customer="bob")


# -- from a shell -------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> str:
    path = str(tmp_path / "office")
    with Store(path) as store:
        fill(store)
    return path


def shell(place: str, text: str, *more: str) -> Result:
    return CliRunner().invoke(walnut, ["booking", "import", place, *more], input=text)


def rooms(place: str) -> int:
    result = CliRunner().invoke(
        walnut, ["booking", "list", place, "room", "--from", "2030-05-01", "--to", "2030-06-01"]
    )
    assert result.exit_code == 0
    return len(result.stdout.splitlines())


def test_from_a_shell_all_comes_in(place: str) -> None:
    done = shell(
        place, HEAD + NINE + TEN.replace("05-02", "05-03"), "--by", "ann", "--why", "moved"
    )
    assert done.exit_code == 0
    assert [json.loads(line)["customer"] for line in done.stdout.splitlines()] == ["ann", "bob"]
    assert rooms(place) == 4


def test_from_a_shell_nothing_comes_in_when_one_is_taken(place: str) -> None:
    done = shell(place, HEAD + NINE + TEN)  # at ten on the second it is booked
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "line 3: room is taken" in done.stderr
    assert "nothing was imported" in done.stderr
    assert rooms(place) == 2


def test_from_a_shell_what_is_refused_is_listed_and_told_by_the_exit_code(place: str) -> None:
    done = shell(place, HEAD + NINE + TEN, "--as-far-as-can-be")
    assert done.exit_code == 1
    assert [json.loads(line)["customer"] for line in done.stdout.splitlines()] == ["ann"]
    assert json.loads(done.stderr)["at"] == "line 3"
    assert rooms(place) == 3


def test_from_a_shell_a_calendar_is_of_the_resource_named(place: str) -> None:
    event = "UID:1\nDTSTART:20300502T140000Z\nDTEND:20300502T150000Z"
    text = calendar(event).decode()
    assert shell(place, text).exit_code == 1
    done = shell(place, text, "--resource", "room", "--customer", "cy")
    assert json.loads(done.stdout)["customer"] == "cy"
