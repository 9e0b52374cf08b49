"""Calendars out: iCalendar (RFC 5545) of a resource or a customer, and free/busy.

Each leg of a booking is an event whose UID stays and whose SEQUENCE rises with each change, so that a
calendar client follows; one that was cancelled says so. Times are on the wall of the resource, with its
zone in the file.

What must stay true: a feed names nobody. Whose a booking is, and what was noted, is in neither; whoever
reads a customer's feed is that customer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Final

from icalendar import Calendar, Event, FreeBusy

from walnut.booking.bookings import Bookings
from walnut.booking.model import DAY, Booking, Leg, micros, moment
from walnut.booking.states import State
from walnut.booking.walls import zone_of
from walnut.store.transaction import Reader

PRODUCT: Final = "-//Walnut//Booking//EN"
STATUS: Final = {
    State.HELD: "TENTATIVE",
    State.CONFIRMED: "CONFIRMED",
    State.CHECKED_IN: "CONFIRMED",
}
"""Of an event; whatever else a booking is, it is CANCELLED."""
LONGEST_DAYS: Final = 367
"""A booking that is under way began at most so long ago."""


def of_resource(
    bookings: Bookings, reader: Reader, resource: str, start: dt.datetime, end: dt.datetime
) -> bytes:
    """What is held and booked of a resource between two moments. Raises UnknownResource."""
    bookings.resources.need(reader, resource)
    since = micros(start) - LONGEST_DAYS * DAY
    found = bookings.of_resource(reader, resource, since, micros(end))
    legs = [
        (booking, number, leg)
        for booking in found
        for number, leg in enumerate(booking.legs)
        if leg.resource == resource and leg.end > micros(start)
    ]
    return _calendar(resource, legs)


def of_customer(bookings: Bookings, reader: Reader, customer: str, start: dt.datetime) -> bytes:
    """A customer's bookings that begin at this moment or later, those that are over as cancelled."""
    legs = [
        (booking, number, leg)
        for booking in bookings.of_customer(reader, customer, micros(start))
        if booking.state is not State.QUOTED
        for number, leg in enumerate(booking.legs)
    ]
    return _calendar("bookings", legs)


def free_busy(
    bookings: Bookings, reader: Reader, resource: str, start: dt.datetime, end: dt.datetime
) -> bytes:
    """When nothing is left of a resource, as a VFREEBUSY. Raises UnknownResource, InvalidWant."""
    busy = bookings.search.busy(reader, resource, start, end)
    part = FreeBusy()
    part.add("uid", f"{resource}-{busy.lsn}@walnut")
    part.add("dtstamp", start.astimezone(dt.UTC))
    part.add("dtstart", start.astimezone(dt.UTC))
    part.add("dtend", end.astimezone(dt.UTC))
    for one in busy.items:
        part.add("freebusy", [(one.start, one.end)])
    calendar = _empty(resource)
    calendar.add_component(part)
    data: bytes = calendar.to_ical()
    return data


def _calendar(name: str, legs: Iterable[tuple[Booking, int, Leg]]) -> bytes:
    calendar = _empty(name)
    for booking, number, leg in legs:
        calendar.add_component(_event(booking, number, leg))
    calendar.add_missing_timezones()
    data: bytes = calendar.to_ical()
    return data


def _empty(name: str) -> Calendar:
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", name)
    return calendar


def _event(booking: Booking, number: int, leg: Leg) -> Event:
    zone = zone_of(leg.zone)
    event = Event()
    event.add("uid", f"{booking.id}-{number}@walnut")
    event.add("sequence", booking.version - 1)
    event.add("dtstamp", moment(booking.changed))
    event.add("dtstart", moment(leg.start).astimezone(zone))
    event.add("dtend", moment(leg.end).astimezone(zone))
    event.add("status", STATUS.get(booking.state, "CANCELLED"))
    event.add("summary", ", ".join([leg.resource, *leg.seats]))
    event.add("transp", "OPAQUE" if booking.state.consumes else "TRANSPARENT")
    return event
