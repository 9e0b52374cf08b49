"""The resources there are.

What must stay true: a resource is never made smaller than what is booked of it, and never changes its
kind; so every booking stays one that could have been made.
"""

from __future__ import annotations

from typing import Final

import msgspec

from walnut.booking import nightly, seating, timed
from walnut.booking.calendar import Calendar, Most
from walnut.booking.errors import CapacityInUse, InvalidResource, UnknownResource
from walnut.booking.hours import check_hours
from walnut.booking.model import DAY, Exclusive, Night, Nightly, Pool, Resource, SeatMap
from walnut.booking.nightly import Inventory
from walnut.booking.steps import Steps
from walnut.booking.walls import seconds_of
from walnut.store.keys import encode
from walnut.store.store import Store
from walnut.store.transaction import Reader, Transaction

MAX_HORIZON: Final = 10 * 366 * 86_400
"""Seconds: further than rules of time zones can be trusted."""
MAX_LENGTH: Final = 366 * 86_400
"""Seconds of one booking: a page is written for each of its days."""
MAX_BUFFER: Final = 7 * 86_400
CACHED: Final = 10_000
"""Resources kept as they were read."""


class Resources:
    """Resources, and what is special about single nights of theirs."""

    def __init__(self, store: Store, calendar: Calendar) -> None:
        self.table = store.table("booking.resources", Resource, key=lambda row: row.id)
        self.inventory = Inventory(
            store.table("booking.nights", Night, key=lambda row: (row.resource, row.rate, row.date))
        )
        self._calendar = calendar
        self._read: dict[str, tuple[bytes, Resource]] = {}

    def need(self, reader: Reader, id_: str) -> Resource:
        """The resource with this id. Raises UnknownResource.

        What was decoded is kept with its bytes: large seat maps take long to decode."""
        full = self.table.prefix + encode(id_)
        data = reader.read(full)
        if data is None:
            raise UnknownResource(f"there is no resource {id_!r}: `add` makes one")
        known = self._read.get(id_)
        if known is not None and known[0] == data:
            return known[1]
        resource = self.table.codec.decode(full, data, reader.keyring)
        if len(self._read) >= CACHED:
            self._read.clear()
        self._read[id_] = data, resource
        return resource

    def put(self, tx: Transaction, resource: Resource) -> Resource:
        """Add a resource, or change it. Raises InvalidResource, UnknownZone, CapacityInUse."""
        check(resource)
        known = self.table.get(tx, resource.id)
        if known is not None:
            self._check_change(tx, known, resource)
        version = 1 if known is None else known.version + 1
        return self.table.put(tx, msgspec.structs.replace(resource, version=version))

    def put_night(self, tx: Transaction, night: Night) -> Night:
        """Say what is special about a night, in place of what was said before.

        Raises UnknownResource, InvalidResource, CapacityInUse."""
        resource = self.need(tx, night.resource)
        kind = resource.kind
        if not isinstance(kind, Nightly):
            raise InvalidResource(f"{resource.id} has no nights")
        if night.rooms is not None and night.rate:
            raise InvalidResource(
                "rooms are of a room type, which its rates share: leave out the rate"
            )
        if min(night.rooms or 0, night.price or 0) < 0:
            raise InvalidResource(f"{resource.id} on {night.date}: less than no rooms, or no price")
        if not night.rate:
            number = nightly.number_of(night.date)
            most = nightly.most_of(kind, night)
            self._check_used(tx, resource, number, number + 1, lambda _: most)
        return self.inventory.table.put(tx, night)

    def _check_change(self, tx: Transaction, old: Resource, new: Resource) -> None:
        kind, before = new.kind, old.kind
        today = tx.time // 1000 // DAY
        beyond = today + MAX_HORIZON // 86_400 + 366
        if isinstance(kind, Exclusive | Pool) and isinstance(before, Exclusive | Pool):
            most = timed.most_of(kind)
            self._check_used(tx, new, today, beyond, lambda _: most)
        elif isinstance(kind, Nightly) and isinstance(before, Nightly):

            def most_then(number: int) -> int:
                nights = self.inventory.nights(tx, new.id, "", range(number, number + 1))
                return nightly.most_of(kind, nights[0])

            self._check_used(tx, new, today, beyond, most_then)
        elif isinstance(kind, SeatMap) and isinstance(before, SeatMap):
            if kind.rows != before.rows:
                self._check_used(tx, new, 0, len(before.rows), lambda _: 0)
        else:
            raise InvalidResource(f"{new.id} is of another kind: add a resource with another id")

    def _check_used(
        self, tx: Transaction, resource: Resource, first: int, last: int, most: Most
    ) -> None:
        """Raise CapacityInUse if more is used at once on one of the pages from `first` to `last`."""
        for page in self._calendar.pages.scan(tx, resource.id, start=(first,), stop=(last,)):
            used, wanted = max(Steps(page.times, page.levels).levels), most(page.number)
            if used > wanted:
                where = (
                    f"in row {page.number + 1}"
                    if isinstance(resource.kind, SeatMap)
                    else f"on {nightly.date_of(page.number)}"
                )
                raise CapacityInUse(
                    f"{resource.id} can't be made so small: {used} are booked at once {where}, and there "
                    f"would be {wanted}; move or cancel bookings first"
                )


def check(resource: Resource) -> None:
    """Raise InvalidResource or UnknownZone if it can't work."""
    wrong = wrong_with(resource)
    if wrong:
        raise InvalidResource(f"resource {resource.id!r}: {wrong}")
    check_hours(resource)


def wrong_with(resource: Resource) -> str:
    """What is wrong with a resource; empty if nothing is."""
    kind = resource.kind
    if not resource.id or len(resource.id) > 200 or not resource.id.isprintable():
        return "an id is 1 to 200 characters that can be printed"
    if not (0 < resource.shortest <= resource.longest <= MAX_LENGTH):
        return f"bookings take from `shortest` to `longest`, up to {MAX_LENGTH} s"
    if not (0 <= resource.lead <= resource.horizon <= MAX_HORIZON):
        return f"`lead` is at most `horizon`, and that {MAX_HORIZON} s"
    if not (
        0 < resource.hold <= resource.hold_most <= MAX_HORIZON and 0 < resource.offer <= MAX_HORIZON
    ):
        return f"a hold takes time, `hold_most` at least as much as `hold`, and all up to {MAX_HORIZON} s"
    if not (0 < resource.grid <= 86_400 and 86_400 % resource.grid == 0):
        return "a day is a multiple of `grid`"
    quota = resource.quota
    if min(resource.price, resource.per_hour, quota.holds, quota.bookings) < 0:
        return "prices and quotas are not negative"
    terms = resource.terms
    if not all(
        _percent(part)
        for part in (terms.no_show, terms.deposit, *(fee.percent for fee in terms.fees))
    ):
        return "fees and deposits are 0 to 100 percent"
    match kind:
        case Exclusive(before, after) | Pool(_, _, before, after):
            if not (0 <= before <= MAX_BUFFER and 0 <= after <= MAX_BUFFER):
                return f"`before` and `after` are up to {MAX_BUFFER} s"
            if isinstance(kind, Pool) and not (kind.capacity > 0 and _percent(kind.overbook)):
                return "a pool has a capacity, and is overbooked by 0 to 100 percent"
        case Nightly():
            if kind.rooms < 0 or not _percent(kind.overbook):
                return "rooms are not negative, and overbooked by 0 to 100 percent"
            seconds_of(kind.check_in), seconds_of(kind.check_out)
        case SeatMap():
            return seating.check_map(kind)
    return ""


def _percent(value: int) -> bool:
    return 0 <= value <= 100
