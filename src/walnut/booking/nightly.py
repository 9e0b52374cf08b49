"""Nights: so many rooms of a type each night, sold at rates with rules of their own.

    night of     1 May   2 May   3 May        a stay from 1 to 3 May takes two nights; on the line of
    rooms sold     7       9       8          the resource, a night is the day of its date

Rules are flags of a date, each by itself, as in the systems that hotels use: a stop-sell does not touch
closed-to-arrival. They are of the room type, or of one rate of it, and both count.

What must stay true: nights are dates and not moments; no clock change makes one longer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

from walnut.booking.calendar import Draft
from walnut.booking.errors import InvalidWant, Restricted, TooFar, TooSoon
from walnut.booking.model import DAY, EPOCH_DAY, SECOND, Leg, Night, Nightly, Nights, Resource
from walnut.booking.walls import at_wall, date_at, on_wall, seconds_of, zone_of
from walnut.store.table import Table
from walnut.store.transaction import Reader

LONGEST_STAY: Final = 366
"""Nights, whatever the resource says."""


class Inventory:
    """Single nights that differ from what their room type says."""

    def __init__(self, table: Table[Night]) -> None:
        self.table = table

    def nights(self, reader: Reader, resource: str, rate: str, numbers: range) -> list[Night]:
        """What is special about these nights (days since 1970), or what is not."""
        dates = [date_of(number) for number in numbers]
        found = self.table.get_many(reader, [(resource, rate, date) for date in dates])
        return [
            Night(resource=resource, rate=rate, date=date) if night is None else night
            for date, night in zip(dates, found, strict=True)
        ]


def date_of(number: int) -> dt.date:
    """The date of a day since 1970."""
    return dt.date.fromordinal(number + EPOCH_DAY)


def number_of(date: dt.date) -> int:
    """The day since 1970 of a date."""
    return date.toordinal() - EPOCH_DAY


def most_of(kind: Nightly, night: Night) -> int:
    """Rooms that may be sold of a night."""
    rooms = kind.rooms if night.rooms is None else night.rooms
    return rooms * (100 + kind.overbook) // 100


def place(draft: Draft, inventory: Inventory, resource: Resource, want: Nights, now: int) -> Leg:
    """Take what is wanted. Raises InvalidWant, Unavailable; Full."""
    kind = resource.kind
    if not isinstance(kind, Nightly):
        raise InvalidWant(f"{resource.id} is not booked by nights: ask for a time, or seats")
    first, last = number_of(want.arrive), number_of(want.depart)
    if not 0 < last - first <= LONGEST_STAY or want.units < 1:
        raise InvalidWant(
            f"{want.units} rooms from {want.arrive} to {want.depart}: departing comes after arriving, by "
            f"up to {LONGEST_STAY} nights, and it is one room or more"
        )
    _check_when(resource, want, now)
    numbers = range(first, last + 1)  # with the day of departure, which has rules as well
    of_type = inventory.nights(draft.tx, resource.id, "", numbers)
    of_rate = inventory.nights(draft.tx, resource.id, want.rate, numbers) if want.rate else of_type
    for broken in broken_rules(resource, of_type, of_rate):
        raise Restricted(f"{resource.id} from {want.arrive} to {want.depart}: {broken}")
    draft.take(
        resource.id,
        DAY,
        [(first * DAY, last * DAY)],
        want.units,
        lambda number: most_of(kind, of_type[number - first]),
    )
    zone = zone_of(resource.zone)
    start = at_wall(want.arrive, seconds_of(kind.check_in), zone)
    return Leg(
        resource.id,
        start,
        at_wall(want.depart, seconds_of(kind.check_out), zone),
        [(first * DAY, last * DAY)],
        on_wall(start, zone),
        resource.zone,
        want.units,
        price_of(resource, of_type, of_rate) * want.units,
        rate=want.rate,
    )


def price_of(resource: Resource, of_type: list[Night], of_rate: list[Night]) -> int:
    """Cents for a room, of a stay that ends on the last of these days."""
    total = 0
    for night, rate in zip(of_type[:-1], of_rate[:-1], strict=True):
        price = night.price if rate.price is None else rate.price
        total += resource.price if price is None else price
    return total


def broken_rules(resource: Resource, of_type: list[Night], of_rate: list[Night]) -> Iterator[str]:
    """What is against a stay from the first to the last of these days."""
    nights = len(of_type) - 1
    if not resource.shortest <= nights <= resource.longest:
        yield f"stays are of {resource.shortest} to {resource.longest} nights, and this is {nights}"
    for days in (of_type, of_rate):
        for day in days[:-1]:
            if day.stop:
                yield f"nothing is sold for {day.date}"
        first, last = days[0], days[-1]
        if first.no_arrival:
            yield f"nobody can arrive on {first.date}"
        if last.no_departure:
            yield f"nobody can depart on {last.date}"
        if not first.shortest <= nights <= first.longest:
            yield (
                f"stays from {first.date} are of {first.shortest} to {first.longest} nights, and this "
                f"is {nights}"
            )


def _check_when(resource: Resource, want: Nights, now: int) -> None:
    """Somebody may arrive this evening; who leads by days counts them from now."""
    zone = zone_of(resource.zone)
    earliest = date_at(now + resource.lead * SECOND, zone)
    latest = date_at(now + resource.horizon * SECOND, zone)
    if want.arrive < earliest:
        raise TooSoon(f"{resource.id} can be booked from {earliest} on")
    if want.arrive > latest:
        raise TooFar(f"{resource.id} can be booked up to {latest}")
