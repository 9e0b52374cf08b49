"""The bookings of a store that another process has open: read only.

What must stay true: nothing here can change anything, not even which tables there are.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from walnut.booking.calendar import Calendar
from walnut.booking.errors import NoBookings, UnknownBooking
from walnut.booking.model import Booking
from walnut.booking.resources import Resources
from walnut.booking.search import Search
from walnut.store.errors import UnknownTable
from walnut.store.remote import StoreReader
from walnut.store.store import Store
from walnut.store.table import Table


class Overview(NamedTuple):
    """The tables of bookings, and what is free."""

    calendar: Calendar
    resources: Resources
    search: Search
    bookings: Table[Booking]


def overview_of(reader: StoreReader) -> Overview:
    """The bookings of a store that is read. Raises NoBookings, SchemaChanged, UnknownSchema."""
    store = cast("Store", reader)  # all that these ask of it, as they are made, is its tables
    try:
        calendar = Calendar(store)
        resources = Resources(store, calendar)
        bookings = reader.table("booking.bookings", Booking, key=lambda row: row.id)
    except UnknownTable as error:
        raise NoBookings(
            f"{reader.path} has no bookings ({error}): a program makes them, by Bookings(store, jobs), "
            "or `walnut booking add` does"
        ) from error
    return Overview(calendar, resources, Search(calendar, resources), bookings)


def need(overview: Overview, reader: StoreReader, id_: str) -> Booking:
    """A booking by its id. Raises UnknownBooking."""
    found = overview.bookings.get(reader, id_)
    if found is None:
        raise UnknownBooking(f"there is no booking {id_!r}")
    return found
