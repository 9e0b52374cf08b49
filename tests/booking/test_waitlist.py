"""Those who wait are offered what becomes free, in their order, once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.booking.office import Office, at, office
from walnut.booking import Booking, Exclusive, Pool, Resource, State, Time
from walnut.booking.errors import Closed, NotYours, Taken, UnknownEntry
from walnut.booking.waitlist import Entry, Waitlist

WANT = Time("room", at("10:00"), at("11:00"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        opened.add(Resource(id="room", kind=Exclusive(), offer=300),
                   Resource(id="other", kind=Exclusive(), hours="Mo-Su 09:00-18:00"))  # fmt: skip
        yield opened


@pytest.fixture
def waitlist(desk: Office) -> Waitlist:
    return Waitlist(desk.bookings)


def join(desk: Office, waitlist: Waitlist, customer: str, weight: int = 0) -> Entry:
    return desk.call(waitlist.join, WANT, customer=customer, weight=weight)


def offer_of(desk: Office, waitlist: Waitlist, entry: Entry) -> Booking:
    return desk.bookings.get(desk.store, waitlist.get(desk.store, entry.id).offer)


def test_what_is_given_back_is_held_for_the_next_in_line_in_the_same_commit(
    desk: Office, waitlist: Waitlist
) -> None:
    first = desk.call(desk.bookings.book, WANT)
    ann, bob = join(desk, waitlist, "ann"), join(desk, waitlist, "bob")
    assert [waitlist.ahead(desk.store, one.id) for one in (ann, bob)] == [0, 1]
    freed = desk.call(desk.bookings.cancel, first.id)
    offer = offer_of(desk, waitlist, ann)
    assert (offer.state, offer.customer, offer.expires) == (State.HELD, "ann", at("08:05"))
    assert offer.lsn == freed.lsn
    with pytest.raises(Taken):
        desk.call(desk.bookings.hold, WANT)
    desk.call(desk.bookings.confirm, offer.id, customer="ann")
    with pytest.raises(UnknownEntry):
        waitlist.get(desk.store, ann.id)
    assert waitlist.ahead(desk.store, bob.id) == 0


def test_an_offer_that_is_not_taken_is_passed_on(desk: Office, waitlist: Waitlist) -> None:
    first = desk.call(desk.bookings.book, WANT)
    entries = [join(desk, waitlist, name) for name in ("ann", "bob", "cy")]
    desk.call(desk.bookings.cancel, first.id)
    desk.clock.now = at("08:05")
    desk.fire()
    assert offer_of(desk, waitlist, entries[1]).customer == "bob"
    desk.call(waitlist.leave, entries[1].id, customer="bob")
    offer = offer_of(desk, waitlist, entries[2])
    desk.call(desk.bookings.confirm, offer.id)
    assert not list(waitlist.entries.scan(desk.store))
    assert not list(waitlist.lines.scan(desk.store))


def test_heavier_ones_go_first_and_equal_ones_in_their_order(
    desk: Office, waitlist: Waitlist
) -> None:
    first = desk.call(desk.bookings.book, WANT)
    join(desk, waitlist, "ann"), join(desk, waitlist, "bob")
    gold = join(desk, waitlist, "gold", 10)
    desk.call(desk.bookings.cancel, first.id)
    assert offer_of(desk, waitlist, gold).customer == "gold"


def test_whoever_joins_while_it_is_free_is_offered_it_at_once(
    desk: Office, waitlist: Waitlist
) -> None:
    assert offer_of(desk, waitlist, join(desk, waitlist, "ann")).customer == "ann"
    assert not join(desk, waitlist, "bob").offer


def test_those_who_want_less_are_served_when_those_ahead_do_not_fit(
    desk: Office, waitlist: Waitlist
) -> None:
    desk.add(Resource(id="cars", kind=Pool(2)))
    want = Time("cars", at("10:00"), at("11:00"), 2)
    both = desk.call(desk.bookings.book, want)
    large = desk.call(waitlist.join, want)
    small = desk.call(waitlist.join, Time("cars", at("10:00"), at("11:00")))
    desk.call(desk.bookings.change, both.id, Time("cars", at("10:00"), at("11:00")))
    assert not waitlist.get(desk.store, large.id).offer
    assert waitlist.get(desk.store, small.id).offer
    desk.add(Resource(id="cars", kind=Pool(4)))
    assert waitlist.get(desk.store, large.id).offer


def test_what_nobody_could_have_is_not_waited_for(desk: Office, waitlist: Waitlist) -> None:
    with pytest.raises(Closed):
        desk.call(waitlist.join, Time("other", at("08:15"), at("09:15")))
    first = desk.call(desk.bookings.book, WANT)
    entry = join(desk, waitlist, "ann")
    with pytest.raises(NotYours):
        desk.call(waitlist.leave, entry.id, customer="bob")
    desk.clock.now = at("10:30")
    desk.call(desk.bookings.cancel, first.id)
    with pytest.raises(UnknownEntry):
        waitlist.get(desk.store, entry.id)  # its time had come and gone
