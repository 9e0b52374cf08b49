"""What the errors of booking mean to a caller over HTTP, and what would work instead.

What must stay true: every error of `walnut.booking.errors` is here (`tests/booking/test_problems.py`),
and a slug that was published keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from walnut.booking import errors
from walnut.web.problems import Kind

_INSTEAD: Final = ("instead",)

PROBLEMS: Final[Mapping[type[Exception], Kind]] = {
    errors.UnknownResource: Kind("unknown-resource", 404, "There is no resource of this id"),
    errors.UnknownBooking: Kind("unknown-booking", 404, "There is no booking of this id"),
    errors.UnknownEntry: Kind("unknown-entry", 404, "Nobody waits under this id"),
    errors.UnknownSeries: Kind("unknown-series", 404, "There is no series of this id"),
    errors.UnknownSale: Kind("unknown-sale", 404, "There is no sale of this id"),
    errors.UnknownFeed: Kind("unknown-feed", 404, "There is no feed of this id"),
    errors.NoBookings: Kind("no-bookings", 404, "The store has no bookings"),
    errors.NotYourTurn: Kind("not-your-turn", 403, "Others are let in before"),
    errors.UnknownZone: Kind("unknown-zone", 422, "There is no time zone of this name"),
    errors.InvalidResource: Kind("invalid-resource", 422, "A resource can't be like that"),
    errors.InvalidImport: Kind("invalid-import", 422, "This can't be read as bookings"),
    errors.CapacityInUse: Kind("capacity-in-use", 409, "More than that is booked already"),
    errors.InvalidWant: Kind("invalid-want", 422, "This can't be asked of the resource"),
    errors.NonexistentTime: Kind(
        "nonexistent-time", 422, "No clock shows this time", members=_INSTEAD
    ),
    errors.AmbiguousTime: Kind(
        "ambiguous-time", 422, "Clocks show this time twice", members=_INSTEAD
    ),
    errors.Unavailable: Kind("unavailable", 409, "It can't be had", members=_INSTEAD),
    errors.TooSoon: Kind("too-soon", 409, "It would begin too soon", members=_INSTEAD),
    errors.TooFar: Kind("too-far", 409, "It is too far ahead", members=_INSTEAD),
    errors.Closed: Kind("not-open", 409, "The resource is not open then", members=_INSTEAD),
    errors.Restricted: Kind("restricted", 409, "A rule is against it", members=_INSTEAD),
    errors.Taken: Kind("taken", 409, "Others have it", members=("resource", "blockers", "instead")),
    errors.HoldExpired: Kind("hold-expired", 410, "The hold has expired", members=("still_free",)),
    errors.HoldLimit: Kind("hold-limit", 422, "It can't be held so long"),
    errors.NotPossible: Kind("not-possible-now", 409, "The booking's state does not allow it"),
    errors.StaleVersion: Kind(
        "stale-version", 412, "The booking was changed meanwhile", members=("current",)
    ),
    errors.NotYours: Kind("not-yours", 403, "It is somebody else's"),
    errors.QuotaExceeded: Kind("quota-exceeded", 409, "The customer has as many as one may have"),
}
