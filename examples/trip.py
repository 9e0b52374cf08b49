"""A trip is charged, booked and confirmed by mail: all three, or the money goes back.

    python examples/trip.py DIRECTORY

Bank, hotel and post are outside: what they did can't be rolled back, and they can't be asked to join a
transaction. So each call is an effect: the intent is durable before the call, and the call carries a key
that is the same at every attempt. The workflow around them survives a crash at any point, and undoes
what was done when a step fails for good. The tests crash it at every point there is.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import walnut
from walnut.jobs import Context, Flow, Happened, JobFailed, Jobs, Retry


class NoRoom(Exception):
    """The hotel is full."""


class World:
    """Bank, hotel and post. Like real ones, they do a thing once for each key, however often asked.

    Args:
        rooms: the hotel has.
        moment: called before and after anything happens; the tests crash in it.
    """

    def __init__(
        self, path: Path, rooms: int = 1, moment: Callable[[], None] = lambda: None
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("create table if not exists done (key primary key, what, who, amount)")
        self.rooms = rooms
        self.moment = moment

    def act(self, key: str, what: str, who: str, amount: int = 0) -> str:
        """Do it, unless it was done under this key; gives the key, as a receipt."""
        self.moment()
        if what == "book" and self.asked(key) is None and self.count("book") >= self.rooms:
            raise NoRoom("the hotel is full")
        self.db.execute("insert or ignore into done values (?, ?, ?, ?)", (key, what, who, amount))
        self.moment()
        return key

    def asked(self, key: str) -> str | None:
        """Whether something was done under a key: the receipt, or None."""
        return (
            None
            if self.db.execute("select 1 from done where key = ?", (key,)).fetchone() is None
            else key
        )

    def count(self, what: str, who: str = "%") -> int:
        """How often something was done, for somebody."""
        query = "select count(*) from done where what = ? and who like ?"
        count: int = self.db.execute(query, (what, who)).fetchone()[0]
        return count

    def balance(self, who: str) -> int:
        """What somebody has paid and not got back, in cents."""
        query = "select coalesce(sum(amount), 0) from done where who = ?"
        cents: int = self.db.execute(query, (who,)).fetchone()[0]
        return cents


class Trips:
    """The workflow and its effects."""

    def __init__(self, jobs: Jobs, world: World) -> None:
        tries = Retry(attempts=3, first=0.01, permanent=(NoRoom,))

        @jobs.effect(name="charge", retry=tries)
        async def charge(context: Context, guest: str, cents: int) -> str:
            return world.act(context.key, "charge", guest, cents)

        @charge.reconcile
        async def charged(context: Context, _guest: str, _cents: int) -> Happened | None:
            receipt = world.asked(context.key)
            return None if receipt is None else Happened(receipt)

        @jobs.effect(name="refund", retry=tries)
        async def refund(context: Context, guest: str, cents: int) -> str:
            return world.act(context.key, "refund", guest, -cents)

        @jobs.effect(name="book", retry=tries)
        async def book(context: Context, guest: str) -> str:
            return world.act(context.key, "book", guest)

        @jobs.effect(name="mail", retry=tries)
        async def mail(context: Context, guest: str, text: str) -> str:
            return world.act(context.key, f"mail: {text}", guest)

        @jobs.workflow(name="trip")
        async def trip(flow: Flow, guest: str, cents: int) -> str:
            await flow.run(charge, guest, cents)
            flow.compensate(mail, guest, "sorry")
            flow.compensate(refund, guest, cents)
            room = await flow.run(book, guest)
            await flow.run(mail, guest, "enjoy")
            return room

        self.trip = trip


async def main(directory: Path, moment: Callable[[], None] = lambda: None) -> None:
    """Two guests want the only room."""
    world = World(directory / "world.db", moment=moment)
    async with walnut.Store(directory / "data") as store:
        jobs = Jobs(store)
        trips = Trips(jobs, world)
        async with jobs:
            for guest in ("ann", "bob"):
                # Under an idempotency key: however often this program is started, each has one trip.
                once = store.by(walnut.Meta(key=f"trip of {guest}"))
                trip = await once.run(jobs.enqueue, trips.trip, guest, 9900)
                try:
                    await jobs.result(trip)
                    print(f"{guest} has a room and paid {world.balance(guest) / 100:.2f}")
                except JobFailed as error:
                    print(
                        f"{guest} has none and paid {world.balance(guest) / 100:.2f}: {error.message}"
                    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "trips")))
