"""Numbered seats."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.booking.office import Office, at, office
from walnut.booking import Booking, Resource, SeatMap, SeatRow, Seats
from walnut.booking.errors import CapacityInUse, InvalidResource, InvalidWant, Restricted, Taken

ROWS = [
    SeatRow("A", "stalls", [str(number) for number in range(1, 9)]),
    SeatRow("B", "stalls", [str(number) for number in range(1, 9)]),
    SeatRow("C", "circle", [str(number) for number in range(1, 6)]),
]
SHOW = Resource(
    id="show",
    kind=SeatMap(at("20:00"), at("22:00"), ROWS, {"stalls": 5000, "circle": 3000}),
    single_seats=False,
)


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        opened.add(SHOW)
        yield opened


def hold(theatre: Office, want: Seats) -> Booking:
    return theatre.call(theatre.bookings.hold, want)


def test_the_best_seats_are_together_near_the_middle_of_the_best_row(theatre: Office) -> None:
    first = hold(theatre, Seats("show", best=2))
    assert (first.legs[0].seats, first.price) == (["A/4", "A/5"], 10000)
    assert hold(theatre, Seats("show", best=3)).legs[0].seats == ["A/1", "A/2", "A/3"]
    assert hold(theatre, Seats("show", best=4)).legs[0].seats == ["B/3", "B/4", "B/5", "B/6"]
    assert hold(theatre, Seats("show", best=3)).legs[0].seats == ["A/6", "A/7", "A/8"]
    assert hold(theatre, Seats("show", best=5, zone="circle")).price == 15000
    with pytest.raises(Taken):
        hold(theatre, Seats("show", best=3))
    assert hold(theatre, Seats("show", best=2)).legs[0].seats == ["B/1", "B/2"]


def test_seats_that_are_named_are_had_all_or_none(theatre: Office) -> None:
    hold(theatre, Seats("show", ["B/3", "B/4"]))
    with pytest.raises(Taken, match="B/3 to B/4"):
        hold(theatre, Seats("show", ["A/1", "B/4"]))
    assert hold(theatre, Seats("show", ["C/1", "A/2", "A/1"])).price == 13000
    free = {
        row.row: row.seats for row in theatre.bookings.search.seats(theatre.store, "show").items
    }
    assert free["A"] == ["A/3", "A/4", "A/5", "A/6", "A/7", "A/8"]
    assert "C/1" not in free["C"]


def test_nobody_leaves_a_single_seat_unless_they_may(theatre: Office) -> None:
    with pytest.raises(Restricted, match="single seat A/1"):
        hold(theatre, Seats("show", ["A/2", "A/3"]))
    hold(theatre, Seats("show", ["A/3", "A/4"]))
    with pytest.raises(Restricted, match="single seat A/1"):
        hold(theatre, Seats("show", ["A/2"]))
    hold(theatre, Seats("show", ["A/2"], singles=True))
    hold(theatre, Seats("show", ["A/1"]))


def test_a_seat_is_free_again_when_its_booking_ends(theatre: Office) -> None:
    held = hold(theatre, Seats("show", best=8))
    theatre.call(theatre.bookings.cancel, held.id)
    assert hold(theatre, Seats("show", best=8)).legs[0].seats == held.legs[0].seats


def test_bad_seats_are_refused_by_name(theatre: Office) -> None:
    for want, why in (
        (Seats("show", ["Z/1"]), "no seat 'Z/1'"),
        (Seats("show"), "name seats"),
        (Seats("show", ["A/1"], best=2), "name seats"),
        (Seats("show", best=101), "1 to 100"),
        (Seats("show", best=1, zone="moon"), "no zone"),
    ):
        with pytest.raises(InvalidWant, match=why):
            hold(theatre, want)
    with pytest.raises(InvalidResource, match="two of the same name"):
        theatre.add(Resource(id="x", kind=SeatMap(at("20:00"), at("22:00"), [ROWS[0], ROWS[0]])))
    hold(theatre, Seats("show", best=1, singles=True))
    with pytest.raises(CapacityInUse):
        theatre.add(Resource(id="show", kind=SeatMap(at("20:00"), at("22:00"), ROWS[:1])))
