"""A program that books, to be killed.

python children.py book DIRECTORY SEED
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import sys
from pathlib import Path

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.log.children import say
from tests.store.children import OPTIONS
from walnut.booking import Booking, Bookings, Exclusive, Pool, Resource, Time
from walnut.booking.errors import BookingError
from walnut.booking.waitlist import Waitlist
from walnut.jobs import Jobs
from walnut.store import Meta, Store

KEEPS_ALL = msgspec.structs.replace(OPTIONS, window_bytes=None)
"""The log is what the test reads, from its beginning."""
CLIENTS = 24
PLACES = 200
"""Hours that are wanted: few, so that clients are in one another's way."""
RESOURCES = [
    Resource(id="room", kind=Exclusive(), horizon=10 * 366 * 86_400, hold=1, hold_most=2, offer=1),
    Resource(id="cars", kind=Pool(2), horizon=10 * 366 * 86_400, hold=1, hold_most=2, offer=1),
]


class Works:
    """A store with bookings, as the child and the test open it."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path, KEEPS_ALL)
        self.jobs = Jobs(self.store)
        self.bookings = Bookings(self.store, self.jobs)
        self.waitlist = Waitlist(self.bookings)


async def book(path: Path, seed: int) -> None:
    """Book until killed; say whatever was answered."""
    works = Works(path)
    store, bookings = works.store, works.bookings
    for resource in RESOURCES:
        await store.run(bookings.add, resource)
    base = dt.datetime(dt.datetime.now(dt.UTC).year + 2, 1, 1, tzinfo=dt.UTC)

    async def client(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        held: list[Booking] = []
        booked: list[Booking] = []
        for turn in range(10**9):
            start = base + dt.timedelta(hours=seed * 2 * PLACES + chance.randrange(PLACES))
            want = Time(chance.choice(["room", "cars"]), start, start + dt.timedelta(hours=2))
            try:
                match chance.randrange(12):
                    case 0 | 1 | 2 | 3:
                        key = f"{seed} {number} {turn}"
                        caller = store.by(Meta("client", key=key))
                        made = await caller.run(bookings.hold, want, note=key)
                        held.append(made)
                    case 4 | 5 if held:
                        made = await store.run(bookings.confirm, held.pop().id)
                        booked.append(made)
                    case 6 | 8 if booked:  # or all would be booked, and nothing more answered
                        made = await store.run(bookings.cancel, booked.pop().id)
                    case 7:
                        await store.run(works.waitlist.join, want)
                        continue
                    case _:
                        await asyncio.sleep(0.01)
                        continue
            except BookingError:
                continue
            say("ack", made.id, made.version, int(made.state))

    async with works.jobs:
        say("begun")
        await asyncio.gather(*[client(number) for number in range(CLIENTS)])


if __name__ == "__main__":
    asyncio.run(book(Path(sys.argv[2]), int(sys.argv[3])))
