"""Many callers at once, and a long time."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from pathlib import Path
from threading import Barrier, Thread
from zoneinfo import ZoneInfo

import pytest

from tests.booking.office import START, Office, at, office, promised
from tests.store.helpers import SMALL
from walnut.booking import Bookings, Exclusive, Nightly, Nights, Resource, State, Time
from walnut.booking.errors import BookingError, HoldExpired, InvalidWant, Taken
from walnut.jobs import Jobs
from walnut.store import Store
from walnut.testing.booking_checks import History, check_tables

CALLERS = 256


@pytest.mark.parametrize("resources", [1, 1000])
def test_256_callers_get_each_place_once(tmp_path: Path, resources: int) -> None:
    """On one hot resource and on a thousand; everybody wants the same few places, and retries."""
    base = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
    base += dt.timedelta(days=2)
    wins: Counter[tuple[str, dt.datetime]] = Counter()

    async def main() -> None:
        async with Store(tmp_path / "data", SMALL) as store:
            jobs = Jobs(store)
            bookings = Bookings(store, jobs)
            for number in range(resources):
                await bookings.submit(bookings.add, Resource(id=str(number), kind=Exclusive()))

            async def caller(number: int) -> None:
                chance = random.Random(number)
                for turn in range(8):
                    name = str(chance.randrange(resources))
                    start = base + dt.timedelta(hours=chance.randrange(40 if resources == 1 else 2))
                    want = Time(name, start, start + dt.timedelta(hours=1))
                    try:
                        if turn % 2:
                            held = await store.run(bookings.hold, want)
                        else:
                            held = await bookings.submit(bookings.hold, want)
                        await bookings.submit(bookings.confirm, held.id)
                    except Taken:
                        continue
                    wins[name, start] += 1

            async with jobs:
                await asyncio.gather(*[caller(number) for number in range(CALLERS)])
            history = History(promised)
            history.follow(store.changes())
            check_tables(history, bookings, store, promised)
            confirmed = [row for row in history.bookings.values() if row.state is State.CONFIRMED]
            assert len(confirmed) == len(wins)

    asyncio.run(main())
    assert set(wins.values()) == {1}
    assert len(wins) == 40 if resources == 1 else len(wins) > 500


def test_of_many_threads_one_gets_the_place(tmp_path: Path) -> None:
    with office(tmp_path) as desk:
        desk.add(Resource(id="room", kind=Exclusive()))
        barrier, outcomes = Barrier(16), list[str]()

        def caller() -> None:
            barrier.wait()
            try:
                desk.call(desk.bookings.book, Time("room", at("10:00"), at("11:00")))
                outcomes.append("booked")
            except Taken:
                outcomes.append("taken")

        threads = [Thread(target=caller) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(outcomes) == {"booked": 1, "taken": 15}


ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe",
    "Asia/Kolkata", "Pacific/Apia", "America/St_Johns", "Africa/Casablanca", "Asia/Tehran",
    "Pacific/Chatham", "America/Santiago",
]  # fmt: skip


def test_a_year_of_anything_in_a_dozen_zones(tmp_path: Path) -> None:
    """Random operations over a year with its clock changes; the log is then gone through by force."""
    chance = random.Random(2030)
    with office(tmp_path) as desk:
        for zone in ZONES:
            desk.add(
                Resource(id=zone, kind=Exclusive(after=900), zone=zone, hours="Mo-Sa 08:00-20:00"),
                Resource(id=f"inn {zone}", kind=Nightly(rooms=2), zone=zone),
            )
        bookings, known, outcomes = desk.bookings, list[str](), Counter[str]()
        for _ in range(1500):
            desk.clock.forward(hours=chance.random() * 12)
            zone = chance.choice(ZONES)
            try:
                known.append(one_thing(desk, zone, chance, known))
                outcomes["done"] += 1
            except BookingError as error:
                outcomes[error.kind] += 1
            if chance.random() < 0.3:
                desk.fire()
        assert desk.clock.now > START + dt.timedelta(days=360)
        assert outcomes["done"] > 500
        for booking in bookings.table.scan(desk.store):
            for leg in booking.legs:
                local = booking.start.astimezone(ZoneInfo(leg.zone))
                if len(booking.legs) == 1:
                    assert leg.wall == local.replace(tzinfo=None).isoformat(timespec="minutes")


def one_thing(desk: Office, zone: str, chance: random.Random, known: list[str]) -> str:
    """Something at random; the booking it was done to."""
    bookings = desk.bookings
    there = desk.clock.now.astimezone(ZoneInfo(zone))
    date = there.date() + dt.timedelta(days=chance.randrange(1, 4))
    what = chance.random()
    if what < 0.5 or not known:
        start = dt.datetime.combine(date, dt.time(chance.randrange(8, 19), 30))
        want = Time(zone, start, start + dt.timedelta(hours=1))
        return desk.call(chance.choice([bookings.hold, bookings.book]), want).id
    if what < 0.7:
        stay = Nights(f"inn {zone}", date, date + dt.timedelta(days=chance.randrange(1, 5)))
        return desk.call(bookings.book, stay).id
    if what < 0.8:
        free = bookings.search.slots(
            desk.store, zone, dt.datetime.combine(date, dt.time(4)),
            dt.datetime.combine(date, dt.time(23)), dt.timedelta(minutes=30), now=desk.clock.now,
            step=dt.timedelta(minutes=30), limit=100,
        ).items  # fmt: skip
        if not free:
            raise InvalidWant("nothing is free")
        slot = chance.choice(free)
        return desk.call(bookings.hold, Time(zone, slot.start, slot.end)).id
    id_ = chance.choice(known[-30:])
    function = chance.choice([bookings.confirm, bookings.cancel, bookings.no_show])
    try:
        return desk.call(function, id_).id
    except HoldExpired:
        return id_
