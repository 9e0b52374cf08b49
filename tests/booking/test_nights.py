"""Room types by night: rates, rules of dates, overbooking."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.booking.office import Office, office
from walnut.booking import Booking, Night, Nightly, Nights, Resource
from walnut.booking.errors import (
    CapacityInUse,
    InvalidResource,
    InvalidWant,
    Restricted,
    Taken,
    TooFar,
    TooSoon,
)

MAY = [dt.date(2030, 5, day) for day in range(1, 32)]
DOUBLE = Resource(
    id="double", kind=Nightly(rooms=2, overbook=50), zone="Europe/Berlin", price=9000, shortest=1
)


@pytest.fixture
def hotel(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        opened.add(DOUBLE)
        yield opened


def stay(hotel: Office, arrive: int, depart: int, units: int = 1, rate: str = "") -> Booking:
    want = Nights("double", MAY[arrive - 1], MAY[depart - 1], units, rate)
    return hotel.call(hotel.bookings.book, want)


def say(hotel: Office, night: Night) -> None:
    hotel.call(hotel.bookings.set_night, night)


def test_a_stay_takes_each_of_its_nights_and_not_the_day_of_departure(hotel: Office) -> None:
    booked = stay(hotel, 3, 5, 3)
    assert booked.legs[0].wall == "2030-05-03T15:00"
    assert (booked.start.hour, booked.end.hour, booked.price) == (13, 9, 54000)
    with pytest.raises(Taken, match="2030-05-03 to 2030-05-05") as refused:
        stay(hotel, 4, 6)
    assert [one.start for one in refused.value.instead] == [
        "2030-05-05",
        "2030-05-06",
        "2030-05-07",
    ]
    stay(hotel, 5, 6, 3)
    stay(hotel, 2, 3, 3)


def test_nights_have_prices_and_rates_of_their_own(hotel: Office) -> None:
    say(hotel, Night(resource="double", date=MAY[3], price=12000))
    say(hotel, Night(resource="double", rate="saver", date=MAY[3], price=8000))
    assert stay(hotel, 3, 6).price == 9000 + 12000 + 9000
    assert stay(hotel, 3, 6, rate="saver").price == 9000 + 8000 + 9000
    found = hotel.bookings.search.nights(hotel.store, "double", MAY[3], MAY[5], rate="saver")
    assert [(one.date, one.left, one.price) for one in found.items] == [
        (MAY[3], 1, 8000),
        (MAY[4], 1, 9000),
    ]
    assert found.lsn == hotel.store.applied_lsn


def test_rules_of_a_date_count_each_by_itself(hotel: Office) -> None:
    say(hotel, Night(resource="double", date=MAY[9], no_arrival=True))
    say(hotel, Night(resource="double", date=MAY[11], no_departure=True))
    say(hotel, Night(resource="double", date=MAY[14], stop=True))
    say(hotel, Night(resource="double", rate="week", date=MAY[19], shortest=7, longest=14))
    for arrive, depart, rate, why in (
        (10, 11, "", "nobody can arrive on 2030-05-10"),
        (11, 12, "", "nobody can depart on 2030-05-12"),
        (14, 17, "", "nothing is sold for 2030-05-15"),
        (20, 22, "week", "of 7 to 14 nights, and this is 2"),
    ):
        with pytest.raises(Restricted, match=why):
            stay(hotel, arrive, depart, rate=rate)
    stay(hotel, 9, 11)
    stay(hotel, 11, 13)
    stay(hotel, 20, 22)
    stay(hotel, 20, 27, rate="week")
    stay(hotel, 13, 15)  # departs on the day for which nothing is sold


def test_rooms_of_a_night_can_be_fewer_but_not_fewer_than_are_booked(hotel: Office) -> None:
    stay(hotel, 3, 4, 2)
    with pytest.raises(CapacityInUse, match="2 are booked at once on 2030-05-03"):
        say(hotel, Night(resource="double", date=MAY[2], rooms=1))
    say(hotel, Night(resource="double", date=MAY[2], rooms=2))
    say(hotel, Night(resource="double", date=MAY[3], rooms=0))
    with pytest.raises(Taken):
        stay(hotel, 4, 5)
    stay(hotel, 10, 11, 2)
    with pytest.raises(CapacityInUse):
        hotel.add(Resource(id="double", kind=Nightly(rooms=1), zone="Europe/Berlin"))
    hotel.add(Resource(id="double", kind=Nightly(rooms=2), zone="Europe/Berlin"))
    with pytest.raises(InvalidResource, match="leave out the rate"):
        say(hotel, Night(resource="double", rate="saver", date=MAY[3], rooms=1))


def test_somebody_may_arrive_this_evening_and_not_yesterday(hotel: Office) -> None:
    hotel.clock.now = dt.datetime(2030, 5, 2, 20, tzinfo=dt.UTC)
    stay(hotel, 2, 3)
    with pytest.raises(TooSoon):
        stay(hotel, 1, 3)
    with pytest.raises(TooFar):
        hotel.call(hotel.bookings.book, Nights("double", dt.date(2033, 1, 1), dt.date(2033, 1, 2)))
    for arrive, depart, units in ((5, 5, 1), (6, 5, 1), (5, 6, 0)):
        with pytest.raises(InvalidWant):
            stay(hotel, arrive, depart, units)


def test_a_night_in_which_clocks_change_is_one_night(hotel: Office) -> None:
    want = Nights("double", dt.date(2030, 10, 26), dt.date(2030, 10, 28), 1)
    booked = hotel.call(hotel.bookings.book, want)
    assert booked.price == 18000
    assert booked.end - booked.start == dt.timedelta(days=2, hours=1 - 4)
