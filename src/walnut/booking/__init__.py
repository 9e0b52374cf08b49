"""Reservations without double booking, on the store. `docs/booking.md` teaches it."""

from walnut.booking.bookings import Bookings
from walnut.booking.errors import BookingError
from walnut.booking.model import (
    Booking,
    Exclusive,
    Fee,
    Night,
    Nightly,
    Nights,
    Opening,
    Pool,
    Quota,
    Resource,
    SeatMap,
    SeatRow,
    Seats,
    Terms,
    Time,
    Want,
)
from walnut.booking.states import Move, State

__all__ = [
    "Booking",
    "BookingError",
    "Bookings",
    "Exclusive",
    "Fee",
    "Move",
    "Night",
    "Nightly",
    "Nights",
    "Opening",
    "Pool",
    "Quota",
    "Resource",
    "SeatMap",
    "SeatRow",
    "Seats",
    "State",
    "Terms",
    "Time",
    "Want",
]
