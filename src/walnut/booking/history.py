"""What happened to a booking, read back from the log: when, what, by whom and why.

    log ─▶ records in which the booking's key stands ─▶ commits ─▶ versions of it ─▶ what changed

What must stay true: it tells what the log says and invents nothing; what the log no longer has is said
to be missing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

import msgspec

from walnut.booking.model import Booking
from walnut.booking.states import State
from walnut.log.readable import Readable
from walnut.log.seek import lsn_at
from walnut.store.keyring import Keyring
from walnut.store.keys import encode
from walnut.store.record import unpack, utc
from walnut.store.table import Table

WORDS: Final = {
    State.QUOTED: "quoted",
    State.HELD: "held",
    State.CONFIRMED: "confirmed",
    State.CHECKED_IN: "checked in",
    State.NO_SHOW: "did not show",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a booking.

    Attributes:
        lsn, time: of the transaction. by, why, request: as it said itself.
        what: "held", "extended", "changed", "confirmed", ...
        after: the booking from then on.
    """

    lsn: int
    time: dt.datetime
    what: str
    after: Booking
    by: str = ""
    why: str = ""
    request: str = ""


class History(msgspec.Struct, frozen=True):
    """What the log has of a booking, and whether it still reaches back to its beginning."""

    events: list[Event]
    whole: bool


def history(table: Table[Booking], log: Readable, keyring: Keyring, booking: Booking) -> History:
    """What happened to a booking. Reads the log from when it was made to its last change, and decodes
    little of it.

    Args:
        table: of bookings, as it was declared where the log is read."""
    events = list(_events(table, log, keyring, booking))
    return History(events, bool(events) and events[0].after.version == 1)


def _events(
    table: Table[Booking], log: Readable, keyring: Keyring, booking: Booking
) -> Iterator[Event]:
    key = table.prefix + encode(booking.id)
    before: Booking | None = None
    for record in log.read(_first(log, booking), booking.lsn + 1):
        data = bytes(record.data)
        if key not in data:
            continue
        commit = unpack(data, record.lsn)
        value = None if commit is None else commit.writes.get(key)
        if commit is None or value is None:
            continue
        after = table.codec.decode(key, value, keyring)
        yield Event(
            lsn=record.lsn,
            time=utc(commit.time),
            what=told(before, after),
            after=after,
            by=commit.meta.principal,
            why=commit.meta.reason,
            request=commit.meta.request_id,
        )
        before = after


def _first(log: Readable, booking: Booking) -> int:
    """From where to read: a quote that became a hold was made anew then, and is older by some."""
    if booking.version == 1:
        return max(booking.lsn, log.position().first_lsn)
    moment = booking.quoted or booking.made
    return lsn_at(log, moment * 1000)


def told(before: Booking | None, after: Booking) -> str:
    """What was done, in a word."""
    if before is None or before.state is not after.state:
        return WORDS[after.state]
    return "extended" if before.deadline != after.deadline else "changed"
