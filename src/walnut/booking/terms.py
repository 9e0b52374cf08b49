"""What is due when a booking does not happen: fees by time, frozen into it when it was made.

What must stay true: a fee is a function of the booking and the moment, and of nothing that changed
since.
"""

from __future__ import annotations

from walnut.booking.model import SECOND, Booking, Terms

HOUR = 3600 * SECOND
_NONE = Terms()


def cancellation_fee(booking: Booking, now: int) -> int:
    """Cents that are due if it is cancelled now: those of the nearest limit that was passed."""
    start = min(leg.start for leg in booking.legs)
    due = [fee for fee in booking.terms.fees if now > start - fee.hours * HOUR]
    if not due:
        return 0
    nearest = min(due, key=lambda fee: (fee.hours, -fee.percent))
    return booking.price * nearest.percent // 100


def no_show_fee(booking: Booking) -> int:
    """Cents that are due if nobody came."""
    return booking.price * booking.terms.no_show // 100


def deposit(booking: Booking) -> int:
    """Cents to be captured on confirming."""
    return booking.price * booking.terms.deposit // 100


def strictest(terms: list[Terms]) -> Terms:
    """Of a booking of several resources: the terms of the first that has any."""
    return next((one for one in terms if one != _NONE), _NONE)
