"""Notices: a webhook for each change of a booking, to whoever asked for them.

    hold, confirm, change, ... ─▶ listeners ─▶ a row of walnut.jobs for each endpoint, in the same transaction
                                                   └─▶ signed, in their order, until they have arrived

A notice says what was done and how the booking stands; who needs all of it asks by its id. `version` tells
the newest of several, and `webhook-id` a repetition.

What must stay true: a notice is on its way if and only if the change it tells of is durable; and no
endpoint, whatever becomes of it, can make a booking fail.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import msgspec

from walnut.booking.bookings import Bookings
from walnut.booking.errors import InvalidWant
from walnut.booking.model import Booking, moment
from walnut.jobs.webhooks import Webhooks
from walnut.store.transaction import Reader, Transaction

MOST_ENDPOINTS: Final = 16
"""That are told: each change of a booking writes a row for each of them."""


class Subscriber(msgspec.Struct, frozen=True):
    """An endpoint that is told. `resource`: of this one's bookings alone; empty for all."""

    endpoint: str
    resource: str = ""


class Notice(msgspec.Struct):
    """The data of a webhook of the kind "booking.hold", "booking.confirm", ...

    Attributes:
        state: in words, as "checked in". version, lsn: of the booking after the change.
        resources: of its legs, each once. start, end: of all of them together, in UTC.
        deadline: when it expires, if it is held or quoted.
        price, fee: cents.
    """

    booking: str
    state: str
    version: int
    lsn: int
    customer: str
    resources: list[str]
    start: dt.datetime
    end: dt.datetime
    deadline: dt.datetime | None
    price: int
    fee: int
    currency: str
    changed: dt.datetime


class Notices:
    """Tells endpoints of `webhooks` what is done to bookings."""

    def __init__(self, bookings: Bookings, webhooks: Webhooks) -> None:
        self._webhooks = webhooks
        self.table = bookings.store.table(
            "booking.subscribers", Subscriber, key=lambda row: row.endpoint
        )
        bookings.listeners.append(self._heard)

    def add(self, tx: Transaction, endpoint: str, resource: str = "") -> Subscriber:
        """Tell an endpoint from now on, of all bookings or of those of one resource.

        Raises InvalidWant: there is no such endpoint, or enough are told."""
        if self._webhooks.endpoints.get(tx, endpoint) is None:
            raise InvalidWant(f"there is no endpoint {endpoint!r}: `Webhooks.add` makes one")
        told = {row.endpoint for row in self.all(tx)}
        if endpoint not in told and len(told) >= MOST_ENDPOINTS:
            raise InvalidWant(f"{len(told)} endpoints are told of bookings: remove one first")
        return self.table.put(tx, Subscriber(endpoint, resource))

    def remove(self, tx: Transaction, endpoint: str) -> bool:
        """Tell an endpoint nothing more; returns whether it was told."""
        return self.table.delete(tx, endpoint)

    def all(self, reader: Reader) -> list[Subscriber]:
        """Those who are told."""
        return list(self.table.scan(reader))

    def _heard(self, tx: Transaction, what: str, booking: Booking) -> None:
        for row in self.all(tx):
            if row.resource and all(leg.resource != row.resource for leg in booking.legs):
                continue
            endpoint = self._webhooks.endpoints.get(tx, row.endpoint)
            if endpoint is not None and not endpoint.disabled:
                kind = f"booking.{what.replace(' ', '_')}"
                self._webhooks.send(tx, row.endpoint, kind, notice_of(booking))


def notice_of(booking: Booking) -> Notice:
    """How a booking stands."""
    return Notice(
        booking.id,
        booking.state.name.lower().replace("_", " "),
        booking.version,
        booking.lsn,
        booking.customer,
        list(dict.fromkeys(leg.resource for leg in booking.legs)),
        booking.start,
        booking.end,
        booking.expires,
        booking.price,
        booking.fee,
        booking.currency,
        moment(booking.changed),
    )
