"""The life of a booking: held, confirmed, changed, ended; each of it once."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.booking.office import Office, at, office
from walnut.booking import Booking, Exclusive, Fee, Pool, Quota, Resource, State, Terms, Time
from walnut.booking.errors import (
    HoldExpired,
    HoldLimit,
    InvalidWant,
    NotPossible,
    NotYours,
    QuotaExceeded,
    Restricted,
    StaleVersion,
    Taken,
    UnknownBooking,
    UnknownResource,
)

ROOM = Resource(id="room", kind=Exclusive())


def slot(start: str, end: str, resource: str | list[str] = "room", units: int = 1) -> Time:
    return Time(resource, at(start), at(end), units)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        opened.add(ROOM, Resource(id="other", kind=Exclusive()))
        yield opened


def hold(desk: Office, want: Time | list[Time], **options: object) -> Booking:
    return desk.call(desk.bookings.hold, want, **options)  # type: ignore[arg-type]


def test_what_is_held_is_taken_and_the_refusal_names_what_is_in_the_way(desk: Office) -> None:
    held = hold(desk, slot("10:00", "11:00"), customer="ann")
    with pytest.raises(Taken, match="room is taken: 2030-05-01T10:00") as refused:
        hold(desk, slot("10:30", "11:30"))
    (blocker,) = refused.value.blockers
    assert (blocker.booking, blocker.held_until, blocker.lsn) == (held.id, held.expires, held.lsn)
    assert refused.value.instead[0].start == "2030-05-01T11:00:00+00:00"
    hold(desk, slot("11:00", "12:00"))  # half open
    hold(desk, slot("10:30", "11:30", "other"))


def test_a_conflict_says_what_came_since_the_caller_looked(desk: Office) -> None:
    before = hold(desk, slot("10:00", "11:00"))
    seen = desk.bookings.search.slots(
        desk.store, "room", at("11:00"), at("13:00"), dt.timedelta(hours=1), now=desk.clock.now,
        step=dt.timedelta(hours=1),
    )  # fmt: skip
    assert [slot.start for slot in seen.items] == [at("11:00"), at("12:00")]
    after = hold(desk, slot("11:00", "12:00"))
    with pytest.raises(Taken) as refused:
        hold(desk, slot("10:30", "11:30"), seen=seen.lsn)
    assert {(one.booking, one.since) for one in refused.value.blockers} == {
        (before.id, False),
        (after.id, True),
    }


def test_confirming_posts_what_was_pending_and_ends_the_deadline(desk: Office) -> None:
    held = hold(desk, slot("10:00", "11:00"))
    assert held.expires == at("08:10")
    booked = desk.call(desk.bookings.confirm, held.id)
    assert (booked.state, booked.expires, booked.version) == (State.CONFIRMED, None, 2)
    desk.clock.forward(hours=1)
    desk.fire()
    assert desk.get(held).state is State.CONFIRMED
    with pytest.raises(NotPossible, match="confirmed: confirm is not possible"):
        desk.call(desk.bookings.confirm, held.id)


def test_a_hold_expires_once_and_makes_room(desk: Office) -> None:
    held = hold(desk, slot("10:00", "11:00"))
    desk.clock.now = at("08:10")
    desk.fire()
    desk.fire()
    assert (desk.get(held).state, desk.get(held).version) == (State.EXPIRED, 2)
    hold(desk, slot("10:00", "11:00"))


@pytest.mark.parametrize("fired", [False, True])
def test_confirming_at_the_deadline_is_refused_whether_or_not_the_timer_fired(
    desk: Office,
    fired: bool,  # noqa: FBT001
) -> None:
    early, late = hold(desk, slot("10:00", "11:00")), hold(desk, slot("11:00", "12:00"))
    desk.clock.now = at("08:10") - dt.timedelta(microseconds=1)
    desk.call(desk.bookings.confirm, early.id)
    desk.clock.now = at("08:10")
    if fired:
        desk.fire()
    with pytest.raises(HoldExpired, match=f"{late.id} expired at 2030-05-01T08:10") as refused:
        desk.call(desk.bookings.confirm, late.id)
    assert refused.value.still_free
    desk.call(desk.bookings.book, slot("11:00", "12:00"))
    with pytest.raises(HoldExpired) as gone:
        desk.call(desk.bookings.confirm, late.id)
    assert not gone.value.still_free


def test_whoever_needs_the_place_of_an_overdue_hold_gets_it_before_the_timer(desk: Office) -> None:
    held = hold(desk, slot("10:00", "11:00"))
    desk.clock.now = at("08:10")
    other = hold(desk, slot("10:00", "11:00"))
    assert desk.get(held).state is State.EXPIRED
    assert other.state is State.HELD
    desk.fire()
    assert desk.get(held).version == 2


def test_a_hold_can_be_extended_up_to_a_limit(desk: Office) -> None:
    held = hold(desk, slot("10:00", "11:00"))
    desk.clock.now = at("08:09")
    assert desk.call(desk.bookings.extend, held.id, 600).expires == at("08:19")
    desk.clock.now = at("08:12")
    desk.fire()
    assert desk.get(held).state is State.HELD
    with pytest.raises(HoldLimit, match="until 2030-05-01T09:00:00"):
        desk.call(desk.bookings.extend, held.id, 3600)
    with pytest.raises(HoldLimit, match="1 to 3600 s"):
        hold(desk, slot("11:00", "12:00"), seconds=3601)
    desk.clock.now = at("08:19")
    with pytest.raises(HoldExpired):
        desk.call(desk.bookings.extend, held.id, 60)


def test_a_change_takes_the_new_and_gives_back_the_old_or_does_nothing(desk: Office) -> None:
    mine = desk.call(desk.bookings.book, slot("10:00", "11:00"))
    desk.call(desk.bookings.book, slot("12:00", "13:00"))
    with pytest.raises(Taken):
        desk.call(desk.bookings.change, mine.id, slot("11:30", "12:30"))
    with pytest.raises(Taken):
        hold(desk, slot("10:00", "11:00"))  # nothing was given back
    moved = desk.call(desk.bookings.change, mine.id, slot("10:30", "12:00"))  # over its own place
    assert (moved.start, moved.version) == (at("10:30"), 2)
    hold(desk, slot("10:00", "10:30"))


def test_several_resources_are_taken_together_or_not_at_all(desk: Office) -> None:
    hold(desk, slot("10:00", "11:00", "other"))
    with desk.store.transaction() as tx:
        with pytest.raises(Taken, match="other is taken"):
            desk.bookings.hold(tx, [slot("10:00", "11:00"), slot("10:00", "11:00", "other")])
        desk.bookings.hold(tx, slot("10:00", "11:00"))  # nothing of it had been taken
    both = hold(desk, [slot("12:00", "13:00"), slot("12:00", "13:00", "other")])
    desk.call(desk.bookings.cancel, both.id)
    hold(desk, [slot("12:00", "13:00"), slot("12:00", "13:00", "other")])
    with pytest.raises(Taken, match="another part of the same request"):
        hold(desk, [slot("14:00", "15:00"), slot("14:30", "15:30")])


def test_any_of_several_takes_the_first_that_can_be_had(desk: Office) -> None:
    choice = ["room", "other"]
    first = hold(desk, slot("10:00", "11:00", choice))
    second = hold(desk, slot("10:00", "11:00", choice))
    assert [first.legs[0].resource, second.legs[0].resource] == choice
    with pytest.raises(Taken):
        hold(desk, slot("10:00", "11:00", choice))
    with pytest.raises(InvalidWant, match="any of 0"):
        hold(desk, slot("10:00", "11:00", []))


def test_a_repeated_request_is_answered_again_and_not_done_again(desk: Office) -> None:
    want = slot("10:00", "11:00")
    first = desk.once("k1").call(desk.bookings.hold, want)
    assert desk.once("k1").call(desk.bookings.hold, want) == first
    with pytest.raises(Taken):
        desk.once("k2").call(desk.bookings.hold, want)


def test_who_is_not_the_customer_or_has_an_old_version_is_refused(desk: Office) -> None:
    held = hold(desk, slot("10:00", "11:00"), customer="ann")
    with pytest.raises(NotYours):
        desk.call(desk.bookings.confirm, held.id, customer="bob")
    desk.call(desk.bookings.extend, held.id, 700, customer="ann", version=1)
    with pytest.raises(StaleVersion) as stale:
        desk.call(desk.bookings.cancel, held.id, version=1)
    assert stale.value.current == 2
    desk.call(desk.bookings.cancel, held.id, customer="ann", version=2)
    with pytest.raises(UnknownBooking):
        desk.call(desk.bookings.cancel, "nothing")
    with pytest.raises(UnknownResource):
        hold(desk, slot("10:00", "11:00", "nowhere"))


def test_cancelling_costs_what_the_terms_said_when_it_was_booked(desk: Office) -> None:
    terms = Terms(fees=[Fee(hours=24, percent=50), Fee(hours=1, percent=100)], no_show=80)
    desk.add(Resource(id="vip", kind=Exclusive(), price=1000, per_hour=600, terms=terms))
    wants = [slot("2030-05-03T10:00", "2030-05-03T10:30", "vip"),
             slot("2030-05-01T18:00", "2030-05-01T19:00", "vip"),
             slot("2030-05-01T09:00", "2030-05-01T10:00", "vip"),
             slot("2030-05-01T10:00", "2030-05-01T11:00", "vip")]  # fmt: skip
    booked = [desk.call(desk.bookings.book, want) for want in wants]
    assert [one.price for one in booked] == [1300, 1600, 1600, 1600]
    desk.add(Resource(id="vip", kind=Exclusive(), price=9))
    desk.clock.forward(seconds=1)
    ended = [desk.call(desk.bookings.cancel, one.id) for one in booked[:3]]
    assert [one.fee for one in ended] == [0, 800, 1600]
    with pytest.raises(NotPossible, match="begins only at"):
        desk.call(desk.bookings.no_show, booked[3].id)
    desk.clock.now = at("10:05")
    assert desk.call(desk.bookings.no_show, booked[3].id).fee == 1280
    desk.call(desk.bookings.book, slot("10:10", "10:50", "vip"))  # the rest of its time


def test_a_guest_checks_in_once_and_not_afterwards(desk: Office) -> None:
    booked = desk.call(desk.bookings.book, slot("10:00", "11:00"))
    missed = desk.call(desk.bookings.book, slot("11:00", "12:00"))
    desk.clock.now = at("10:01")
    assert desk.call(desk.bookings.check_in, booked.id).state is State.CHECKED_IN
    with pytest.raises(NotPossible):
        desk.call(desk.bookings.cancel, booked.id)
    desk.clock.now = at("12:00")
    with pytest.raises(NotPossible, match="ended at"):
        desk.call(desk.bookings.check_in, missed.id)


def test_a_quote_takes_nothing_and_keeps_its_price(desk: Office) -> None:
    desk.add(Resource(id="van", kind=Exclusive(), price=500))
    want = slot("10:00", "11:00", "van")
    quoted = desk.call(desk.bookings.quote, want, customer="ann")
    hold(desk, want, seconds=60)
    with pytest.raises(Taken):
        desk.call(desk.bookings.hold_quoted, quoted.id, want)
    desk.clock.forward(minutes=2)
    desk.add(Resource(id="van", kind=Exclusive(), price=900))
    with pytest.raises(InvalidWant, match="something else"):
        desk.call(desk.bookings.hold_quoted, quoted.id, slot("10:00", "11:00"))
    held = desk.call(desk.bookings.hold_quoted, quoted.id, want)
    assert (held.state, held.price, held.expires) == (State.HELD, 500, at("08:12"))
    lost = desk.call(desk.bookings.quote, slot("12:00", "13:00", "van"))
    desk.clock.forward(days=1)
    with pytest.raises(HoldExpired):
        desk.call(desk.bookings.hold_quoted, lost.id, slot("12:00", "13:00", "van"))
    desk.fire()
    assert desk.get(lost).state is State.EXPIRED


def test_a_customer_has_no_more_than_the_quota(desk: Office) -> None:
    desk.add(Resource(id="court", kind=Exclusive(), quota=Quota(holds=1, bookings=2)))
    first = hold(desk, slot("10:00", "11:00", "court"), customer="ann")
    with pytest.raises(QuotaExceeded, match="holds 1"):
        hold(desk, slot("11:00", "12:00", "court"), customer="ann")
    hold(desk, slot("11:00", "12:00", "court"), customer="bob")
    desk.call(desk.bookings.confirm, first.id)
    second = hold(desk, slot("12:00", "13:00", "court"), customer="ann")
    desk.call(desk.bookings.confirm, second.id)
    with pytest.raises(QuotaExceeded, match="2 bookings ahead"):
        hold(desk, slot("13:00", "14:00", "court"), customer="ann")
    desk.call(desk.bookings.cancel, second.id)
    hold(desk, slot("13:00", "14:00", "court"), customer="ann")


def test_a_pool_gives_as_many_as_it_has_at_any_instant(desk: Office) -> None:
    desk.add(Resource(id="cars", kind=Pool(3, overbook=34, after=600)))
    hold(desk, slot("10:00", "12:00", "cars", 2))
    hold(desk, slot("11:00", "13:00", "cars", 2))
    with pytest.raises(Taken):
        hold(desk, slot("09:00", "11:01", "cars"))
    with pytest.raises(Taken):
        hold(desk, slot("12:05", "14:00", "cars", 3))  # two come back at 12, and are washed
    hold(desk, slot("12:10", "14:00", "cars", 2))
    with pytest.raises(InvalidWant, match="it has 4"):
        hold(desk, slot("15:00", "16:00", "cars", 5))


def test_buffers_keep_neighbours_apart(desk: Office) -> None:
    desk.add(Resource(id="doctor", kind=Exclusive(before=300, after=600), grid=300))
    hold(desk, slot("10:00", "10:30", "doctor"))
    for start, end in (("10:40", "11:00"), ("09:30", "09:50")):
        with pytest.raises(Taken):
            hold(desk, slot(start, end, "doctor"))
    hold(desk, slot("10:45", "11:00", "doctor"))
    hold(desk, slot("09:20", "09:45", "doctor"))
    with pytest.raises(Restricted, match="steps of 0:05:00"):
        hold(desk, slot("12:01", "12:30", "doctor"))


def test_a_booking_over_many_days_is_on_each_of_them(desk: Office) -> None:
    held = hold(desk, slot("2030-05-02T22:00", "2030-05-06T01:00"))
    with pytest.raises(Taken):
        hold(desk, slot("2030-05-06T00:59", "2030-05-06T02:00"))
    hold(desk, slot("2030-05-06T01:00", "2030-05-06T02:00"))
    busy = desk.bookings.search.busy(
        desk.store, "room", at("2030-05-01T00:00"), at("2030-05-09T00:00")
    )
    assert [(one.start, one.end) for one in busy.items] == [
        (at("2030-05-02T22:00"), at("2030-05-06T02:00"))
    ]
    desk.call(desk.bookings.cancel, held.id)
    assert len(list(desk.bookings.calendar.pages.scan(desk.store))) == 1
