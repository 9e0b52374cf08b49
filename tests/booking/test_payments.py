"""What is asked of a payment service is on record with the change it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.booking.office import Office, at, office
from tests.jobs.helpers import wait_until
from walnut.booking import Booking, Exclusive, Fee, Resource, Terms, Time
from walnut.booking.errors import HoldExpired, Taken
from walnut.booking.payments import Payment, Payments

WANT = Time("room", at("10:00"), at("11:00"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        terms = Terms(fees=[Fee(hours=24, percent=50)], no_show=100, deposit=30)
        opened.add(Resource(id="room", kind=Exclusive(), price=1000, terms=terms))
        yield opened


def asked(payments: Payments, desk: Office, booking: Booking) -> list[tuple[str, int]]:
    return [(str(one.ask), one.cents) for one in payments.of(desk.store, booking.id)]


def test_a_hold_is_authorised_a_confirm_captured_and_a_cancel_settled(desk: Office) -> None:
    payments = Payments(desk.bookings, lambda _: None)
    held = desk.call(desk.bookings.hold, WANT)
    assert asked(payments, desk, held) == [("authorise", 1000)]
    desk.call(desk.bookings.confirm, held.id)
    assert asked(payments, desk, held)[1:] == [("capture", 300)]
    desk.call(desk.bookings.cancel, held.id)
    assert asked(payments, desk, held)[2:] == [("capture", 200), ("void", 0)]


def test_a_hold_that_expires_is_voided_and_a_late_confirm_captures_nothing(desk: Office) -> None:
    payments = Payments(desk.bookings, lambda _: None)
    held = desk.call(desk.bookings.hold, WANT)
    desk.clock.now = at("08:10")
    with pytest.raises(HoldExpired):
        desk.call(desk.bookings.confirm, held.id)
    desk.fire()
    assert asked(payments, desk, held) == [("authorise", 1000), ("void", 0)]


def test_what_is_paid_beyond_the_fee_comes_back(desk: Office) -> None:
    payments = Payments(desk.bookings, lambda _: None)
    booked = desk.call(
        desk.bookings.book, Time("room", at("2030-05-09T10:00"), at("2030-05-09T11:00"))
    )
    desk.call(desk.bookings.cancel, booked.id)
    assert asked(payments, desk, booked) == [
        ("authorise", 1000),
        ("capture", 300),
        ("refund", 300),
        ("void", 0),
    ]


def test_nothing_is_asked_for_what_was_refused(desk: Office) -> None:
    payments = Payments(desk.bookings, lambda _: None)
    desk.call(desk.bookings.hold, WANT)
    with pytest.raises(Taken):
        desk.call(desk.bookings.hold, WANT)
    assert len(list(payments.table.scan(desk.store))) == 1


def test_the_service_is_asked_in_order_with_the_same_key_until_it_does_it(desk: Office) -> None:
    heard: list[tuple[str, str]] = []

    def service(payment: Payment) -> None:
        heard.append((str(payment.ask), payment.key))
        if len(heard) == 1:
            raise ConnectionError("the line is down")

    payments = Payments(desk.bookings, service)
    with desk.jobs:
        booked = desk.call(desk.bookings.book, WANT)

        def done() -> bool:
            desk.clock.forward(minutes=1)  # past the wait for the next try
            return all(one.done for one in payments.of(desk.store, booked.id))

        wait_until(done)
    assert heard == [
        ("authorise", f"{booked.id}-1"),
        ("authorise", f"{booked.id}-1"),
        ("capture", f"{booked.id}-2"),
    ]
