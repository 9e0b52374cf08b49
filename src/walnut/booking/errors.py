"""Every error that booking raises on purpose.

Each message says what happened, to what, and what to do about it. All of them are `BookingError`, whose
`kind` is a stable name for whoever answers over a wire; what is free or would work instead is in their
attributes. What the store and jobs refuse comes through as they name it.
"""

from __future__ import annotations

import datetime as dt
from typing import ClassVar

import msgspec


class Blocker(msgspec.Struct, frozen=True):
    """What is in the way: when it begins and ends on the calendar of the resource (for seats: what
    seats), and until when it is held if it is not confirmed. `lsn`: of its last change.

    `booking` is for the staff: nobody else needs to know who was faster."""

    booking: str
    start: str
    end: str
    held_until: dt.datetime | None
    lsn: int
    since: bool = False
    """It came, or was changed, after the LSN at which the caller had seen the place free."""


class Alternative(msgspec.Struct, frozen=True):
    """What is free instead."""

    resource: str
    start: str
    end: str


class BookingError(Exception):
    """Base of every error raised by `walnut.booking`."""

    kind: ClassVar[str] = "booking-error"


class UnknownResource(BookingError, LookupError):
    """There is no resource with this id."""

    kind = "unknown-resource"


class UnknownBooking(BookingError, LookupError):
    """There is no booking with this id."""

    kind = "unknown-booking"


class NoBookings(BookingError, LookupError):
    """The store has no tables of bookings."""

    kind = "no-bookings"


class UnknownEntry(BookingError, LookupError):
    """Nobody waits under this id: there never was such an entry, or it came to its end."""

    kind = "unknown-entry"


class UnknownSeries(BookingError, LookupError):
    """There is no series of bookings with this id."""

    kind = "unknown-series"


class UnknownSale(BookingError, LookupError):
    """There is no sale with this id."""

    kind = "unknown-sale"


class UnknownFeed(BookingError, LookupError):
    """There is no feed with this id, or not any more."""

    kind = "unknown-feed"


class InvalidImport(BookingError, ValueError):
    """What is to be imported can't be read as bookings, or is too much at once."""

    kind = "invalid-import"


class NotYourTurn(BookingError):
    """Somebody is not let in: not yet, not any more, or they do not stand in line."""

    kind = "not-your-turn"


class UnknownZone(BookingError, ValueError):
    """A name is not that of a time zone."""

    kind = "unknown-zone"


class InvalidResource(BookingError, ValueError):
    """A resource is described in a way that can't work."""

    kind = "invalid-resource"


class CapacityInUse(BookingError):
    """A resource can't be made smaller than what is booked of it."""

    kind = "capacity-in-use"


class InvalidWant(BookingError, ValueError):
    """What is asked for makes no sense for the resource: the wrong kind, an end before its start."""

    kind = "invalid-request"


class NonexistentTime(InvalidWant):
    """A local time that no clock shows, as clocks are put forward over it. `instead`: just after."""

    kind = "nonexistent-time"

    def __init__(self, text: str, instead: dt.datetime) -> None:
        super().__init__(text)
        self.instead = instead


class AmbiguousTime(InvalidWant):
    """A local time that clocks show twice. `instead`: both moments, of which one has to be meant."""

    kind = "ambiguous-time"

    def __init__(self, text: str, instead: tuple[dt.datetime, dt.datetime]) -> None:
        super().__init__(text)
        self.instead = instead


class Unavailable(BookingError):
    """The base of all that says: not this, not now; something else may be had.

    Attributes:
        instead: what is free, nearest first; empty if nothing was found.
    """

    kind = "unavailable"

    def __init__(self, text: str, instead: list[Alternative] | None = None) -> None:
        super().__init__(text)
        self.instead = instead or []


class TooSoon(Unavailable):
    """It begins in the past, or sooner than the resource's lead time."""

    kind = "too-soon"


class TooFar(Unavailable):
    """It begins beyond the resource's horizon."""

    kind = "too-far"


class Closed(Unavailable):
    """The resource is not open then."""

    kind = "closed"


class Restricted(Unavailable):
    """A rule of the resource or of a rate is against it: length of stay, days of arrival, stop-sell."""

    kind = "restricted"


class Taken(Unavailable):
    """Others have what is wanted.

    Attributes:
        resource: of which there is not enough.
        blockers: what is in the way, a few of them.
    """

    kind = "taken"

    def __init__(
        self,
        text: str,
        resource: str,
        blockers: list[Blocker],
        instead: list[Alternative],
    ) -> None:
        super().__init__(text, instead)
        self.resource = resource
        self.blockers = blockers


class HoldExpired(BookingError):
    """The deadline of a hold has passed. `still_free`: the same could be held anew at that moment."""

    kind = "hold-expired"

    def __init__(self, text: str, *, still_free: bool) -> None:
        super().__init__(text)
        self.still_free = still_free


class HoldLimit(BookingError):
    """A hold can't be extended so far."""

    kind = "hold-limit"


class NotPossible(BookingError):
    """A booking is in a state in which this can't be done to it."""

    kind = "not-possible"


class StaleVersion(BookingError):
    """A booking was changed since the caller has seen it. `current`: its version."""

    kind = "stale-version"

    def __init__(self, text: str, current: int) -> None:
        super().__init__(text)
        self.current = current


class NotYours(BookingError, PermissionError):
    """A booking is somebody else's."""

    kind = "not-yours"


class QuotaExceeded(BookingError):
    """A customer has as many bookings, or holds, as one may have."""

    kind = "quota-exceeded"
