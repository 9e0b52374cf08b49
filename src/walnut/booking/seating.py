"""Numbered seats: those that somebody names, or the best so many next to one another.

    row A    1  2 [3  4] 5  6  7          on the line of an event, row n begins at n * SEATS_IN_ROW and
             ·  ·  █  █  ·  ·  ·          each seat is one place: what is free are gaps between steps

The best seats are those of the first row that has room, rows being listed from the best to the worst,
as near to the middle as can be.

What must stay true: whoever asks for several seats gets all or none; and where single seats are not to
be left, no booking leaves one that was not single before.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from walnut.booking.calendar import Draft, Full
from walnut.booking.errors import InvalidWant, Restricted
from walnut.booking.model import SEATS_IN_ROW, Leg, Resource, SeatMap, SeatRow, Seats, micros
from walnut.booking.steps import Steps
from walnut.booking.timed import check_when
from walnut.booking.walls import on_wall, zone_of

MOST_SEATS = 100
"""In one booking."""


def place(draft: Draft, resource: Resource, want: Seats, now: int) -> Leg:
    """Take what is wanted. Raises InvalidWant, Unavailable; Full."""
    kind = resource.kind
    if not isinstance(kind, SeatMap):
        raise InvalidWant(f"{resource.id} has no seats: ask for a time, or nights")
    start = micros(kind.start)
    check_when(resource, start, now)
    singles = resource.single_seats if want.singles is None else want.singles
    if want.seats and not want.best:
        names = list(dict.fromkeys(want.seats))
        places = _places(resource, kind, names)
    elif want.best and not want.seats:
        places = best(draft, resource, kind, want, singles=singles)
        names = [name_of(kind, at) for at in places]
    else:
        raise InvalidWant("name seats, or say how many of the best; not both, nor neither")
    spans = list(_spans(places))
    draft.take(resource.id, SEATS_IN_ROW, spans, 1, 1)
    leg = Leg(
        resource.id,
        start,
        micros(kind.end),
        spans,
        on_wall(start, zone_of(resource.zone)),
        resource.zone,
        price=sum(price_of(resource, kind, at) for at in places),
        seats=names,
    )
    if not singles:
        try:
            _check_singles(draft, resource.id, kind, spans)
        except Restricted:
            draft.give(leg, SEATS_IN_ROW)
            raise
    return leg


def price_of(resource: Resource, kind: SeatMap, at: int) -> int:
    """Cents for a seat."""
    return kind.prices.get(kind.rows[at // SEATS_IN_ROW].zone, resource.price)


def name_of(kind: SeatMap, at: int) -> str:
    """The name of the seat at a place of the line: its row's, and its own."""
    row = kind.rows[at // SEATS_IN_ROW]
    return f"{row.name}/{row.seats[at % SEATS_IN_ROW]}"


def _places(resource: Resource, kind: SeatMap, names: list[str]) -> list[int]:
    if len(names) > MOST_SEATS:
        raise InvalidWant(f"{len(names)} seats in one booking: it may have {MOST_SEATS}")
    places = _house(_Key(kind))
    unknown = [name for name in names if name not in places]
    if unknown:
        raise InvalidWant(f"{resource.id} has no seat {unknown[0]!r}: they are named as 'A/12'")
    return sorted(places[name] for name in names)


class _Key:
    """A seat map as a key: by identity, since a large one takes long to hash."""

    __slots__ = ("kind",)

    def __init__(self, kind: SeatMap) -> None:
        self.kind = kind

    def __hash__(self) -> int:
        return id(self.kind)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.kind is self.kind


@lru_cache(maxsize=64)
def _house(key: _Key) -> dict[str, int]:
    """Where the seats are on the line, by their names."""
    return {
        f"{row.name}/{name}": number * SEATS_IN_ROW + seat
        for number, row in enumerate(key.kind.rows)
        for seat, name in enumerate(row.seats)
    }


def _spans(places: list[int]) -> Iterator[tuple[int, int]]:
    begin = end = places[0]
    for at in places:
        if at > end:
            yield begin, end
            begin = at
        end = at + 1
    yield begin, end


# -- the best -----------------------------------------------------------------------------------


def best(
    draft: Draft, resource: Resource, kind: SeatMap, want: Seats, *, singles: bool
) -> list[int]:
    """Places of the best seats next to one another. Raises InvalidWant, Full."""
    number = want.best
    if not 1 <= number <= MOST_SEATS:
        raise InvalidWant(f"the best {number} seats: ask for 1 to {MOST_SEATS}")
    rows = [(at, row) for at, row in enumerate(kind.rows) if want.zone in {"", row.zone}]
    if not rows:
        raise InvalidWant(f"{resource.id} has no zone {want.zone!r}")
    for at, row in rows:
        found = best_in_row(draft.page(resource.id, at), row, number, singles=singles)
        if found is not None:
            start = at * SEATS_IN_ROW + found
            return list(range(start, start + number))
    first = rows[0][0] * SEATS_IN_ROW
    raise Full(resource.id, (first, first + len(rows[0][1].seats)))


def best_in_row(steps: Steps, row: SeatRow, number: int, *, singles: bool) -> int | None:
    """Where in a row so many seats begin that are next to one another, nearest to its middle."""
    middle = (len(row.seats) - number) / 2
    found: int | None = None
    for opens, closes in steps.gaps(0, len(row.seats), 0):
        for at in range(opens, closes - number + 1):
            if not singles and 1 in {at - opens, closes - at - number}:
                continue
            if found is None or abs(at - middle) < abs(found - middle):
                found = at
    return found


def _check_singles(
    draft: Draft, resource: str, kind: SeatMap, spans: list[tuple[int, int]]
) -> None:
    """Raise Restricted if a seat beside what was taken is single now."""
    for start, stop in spans:
        at = start // SEATS_IN_ROW
        base = at * SEATS_IN_ROW
        for opens, closes in draft.page(resource, at).gaps(0, len(kind.rows[at].seats), 0):
            if closes - opens == 1 and (base + opens == stop or base + closes == start):
                raise Restricted(
                    f"this would leave the single seat {name_of(kind, base + opens)} in {resource}: take "
                    "it as well, or others"
                )


def check_map(kind: SeatMap) -> str:
    """What is wrong with a seat map; empty if nothing is."""
    names = {row.name for row in kind.rows}
    if not kind.rows or len(names) != len(kind.rows):
        return "it has no rows, or two of the same name"
    for row in kind.rows:
        if not 0 < len(row.seats) < SEATS_IN_ROW or len(set(row.seats)) != len(row.seats):
            return f"row {row.name} has no seats, {SEATS_IN_ROW} or more, or two of the same name"
    if kind.start.tzinfo is None or kind.end.tzinfo is None or kind.end <= kind.start:
        return "its start and end are moments with a zone, one after the other"
    return ""
