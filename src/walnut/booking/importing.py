"""Tables and calendars of others, read as what is wanted: CSV and iCalendar.

    resource,start,end,units,customer,note          BEGIN:VEVENT ... DTSTART, DTEND, UID, SUMMARY
    room,2030-05-01T09:00,2030-05-01T10:00,,ann,         │ of one resource, which the caller names
                    └────────────▶ Row ─▶ Bookings.book ◀┘

Two columns that are dates, of a resource that is booked by night, are nights. An event that is cancelled
or transparent takes nothing and is left out; one that recurs is refused by name, as it is a series.

What must stay true: nothing is guessed: a row that can't be read ends the import, and says which it was.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from icalendar import Calendar, Component

from walnut.booking.bookings import Bookings
from walnut.booking.errors import BookingError, InvalidImport
from walnut.booking.model import Booking, Nights, Time
from walnut.store.transaction import Transaction

MOST_ROWS: Final = 1000
"""Of an import: all are decided in one transaction, and others wait meanwhile."""
MOST_BYTES: Final = 4 << 20
"""Of what is to be imported: 1,000 rows with notes as long as they may be."""
COLUMNS: Final = ("resource", "start", "end", "units", "customer", "note")
MOST_UNITS: Final = 9
"""Digits of a number of units."""


class Row(msgspec.Struct, frozen=True):
    """Something to be booked. `at`: where it stands in what was given, for messages."""

    at: str
    want: Time | Nights
    customer: str = ""
    note: str = ""


class Refused(msgspec.Struct, frozen=True):
    """A row that could not be booked: which, the error's kind, and its words."""

    at: str
    kind: str
    text: str


class Imported(msgspec.Struct, frozen=True):
    """What became of an import."""

    booked: list[Booking]
    refused: list[Refused]


def book_all(
    tx: Transaction, bookings: Bookings, rows: Sequence[Row], *, as_far_as_can_be: bool = False
) -> Imported:
    """Book all rows, or none: then the first refusal is raised. With `as_far_as_can_be` those that can
    be had, and each refusal by name.

    Raises as `Bookings.book`."""
    booked: list[Booking] = []
    refused: list[Refused] = []
    for row in rows:
        try:
            booked.append(bookings.book(tx, row.want, customer=row.customer, note=row.note))
        except BookingError as error:
            if not as_far_as_can_be:
                error.add_note(row.at)
                raise
            refused.append(Refused(row.at, error.kind, str(error)))
    return Imported(booked, refused)


def read(data: bytes, resource: str = "", *, customer: str = "") -> list[Row]:
    """The rows of a CSV, or the events of an iCalendar, which are all of `resource` and `customer`;
    whichever it is. Raises InvalidImport."""
    if len(data) > MOST_BYTES:
        raise InvalidImport(f"an import has up to {MOST_BYTES} bytes: send it in parts")
    if data.lstrip()[:15].upper() == b"BEGIN:VCALENDAR":
        if not resource:
            raise InvalidImport("a calendar does not say of what it is: name the resource")
        return read_ics(data, resource, customer=customer)
    if resource or customer:
        raise InvalidImport(
            "a table says of what and whose its rows are: leave out resource and customer"
        )
    try:
        return read_csv(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidImport(f"a table is UTF-8, and this is not: {error}") from error


def read_csv(text: str) -> list[Row]:
    """The rows of a table with a line of names first. Raises InvalidImport."""
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        names = set(reader.fieldnames or ())
        if not {"resource", "start", "end"} <= names <= set(COLUMNS):
            raise InvalidImport(
                f"the first line names the columns, of {', '.join(COLUMNS)}; the first three are needed"
            )
        rows = [_row(f"line {reader.line_num}", fields) for fields in reader]
    except csv.Error as error:
        raise InvalidImport(f"this is no CSV: {error}") from error
    return _checked(rows)


def _row(at: str, fields: dict[str, str | None]) -> Row:
    if None in fields or None in fields.values():
        raise InvalidImport(f"{at} has more columns, or fewer, than the first line")
    get = {name: (value or "").strip() for name, value in fields.items()}
    units = get.get("units") or "1"
    if not (units.isascii() and units.isdecimal() and len(units) <= MOST_UNITS):
        raise InvalidImport(f"{at}: units are {units!r}, which is no number")
    want = _want(at, get["resource"], get["start"], get["end"], int(units))
    return Row(at, want, get.get("customer", ""), get.get("note", ""))


def _want(at: str, resource: str, start: str, end: str, units: int) -> Time | Nights:
    try:
        if len(start) == len(end) == len("2030-05-01"):
            arrive, depart = dt.date.fromisoformat(start), dt.date.fromisoformat(end)
            return Nights(resource, arrive, depart, units)
        return Time(
            resource, dt.datetime.fromisoformat(start), dt.datetime.fromisoformat(end), units
        )
    except ValueError as error:
        raise InvalidImport(
            f"{at}: {error}; write 2030-05-01T09:00, or two dates for nights"
        ) from error


def read_ics(data: bytes, resource: str, *, customer: str = "") -> list[Row]:
    """The events of an iCalendar, as bookings of one resource. Raises InvalidImport."""
    try:
        calendar = Calendar.from_ical(data)
        rows = list(_events(calendar, resource, customer))
    except (ValueError, KeyError, IndexError) as error:
        if isinstance(error, InvalidImport):
            raise
        raise InvalidImport(f"this is no iCalendar: {error}") from error
    return _checked(rows)


def _events(calendar: Component, resource: str, customer: str) -> Iterator[Row]:
    for number, event in enumerate(calendar.walk("VEVENT"), 1):
        at = f"event {number} ({str(event.get('uid', 'no UID'))[:80]})"
        if str(event.get("status")) == "CANCELLED" or str(event.get("transp")) == "TRANSPARENT":
            continue
        if "rrule" in event or "rdate" in event:
            raise InvalidImport(f"{at} recurs: book it as a series, by its rule")
        start = event.decoded("dtstart")
        end = event.decoded("dtend") if "dtend" in event else None
        if end is None and "duration" in event:
            end = start + event.decoded("duration")
        note = str(event.get("summary", ""))
        if isinstance(start, dt.datetime) and isinstance(end, dt.datetime):
            yield Row(at, Time(resource, start, end), customer, note)
        elif type(start) is dt.date and (end is None or type(end) is dt.date):
            end = end or start + dt.timedelta(days=1)
            yield Row(at, Nights(resource, start, end), customer, note)
        else:
            raise InvalidImport(f"{at} has a start and an end that do not go together")


def _checked(rows: list[Row]) -> list[Row]:
    if not 0 < len(rows) <= MOST_ROWS:
        raise InvalidImport(
            f"{len(rows)} bookings: an import has 1 to {MOST_ROWS}; send it in parts"
        )
    return rows
