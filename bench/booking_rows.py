"""The rows of the table that are about booking, one function each."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from bench.booking_peers import Pair, PostgresBookings, SqliteBookings
from bench.jobs_frame import percentiles, run
from bench.measure import Row, Setting, medians
from walnut.booking import Bookings, Exclusive, Resource, Time
from walnut.jobs import Jobs
from walnut.log import LogOptions
from walnut.store import Store, StoreOptions

Peers = list[Any]
Clients = Callable[[int], AbstractAsyncContextManager[list[Pair]]]

CLIENTS = 64
RESOURCES = 1000
SPREAD_PAIRS = 20_000
HOT_PAIRS = 20_000
EVERY, TAKES = dt.timedelta(minutes=20), dt.timedelta(minutes=15)
"""Bookings on the resource that has a million of them; each twentieth place is left free."""
FULL = 1_000_000
LENGTH = dt.timedelta(minutes=20)
MONTH = dt.timedelta(days=31)
SEARCHES = 300
TEN_YEARS = 10 * 365 * 86_400


def rivals(setting: Setting, peers: Peers) -> list[Any]:
    """Those that are here."""
    servers = [peer for peer in peers if getattr(peer, "name", "") == "PostgreSQL"]
    return [*map(PostgresBookings, servers), SqliteBookings(setting)]


@contextlib.asynccontextmanager
async def walnut_clients(setting: Setting, number: int) -> AsyncIterator[list[Pair]]:
    """Hold and confirm in this process, with deadlines and timers that run."""
    async with Store(setting.fresh("booking")) as store:
        jobs = Jobs(store)
        bookings = Bookings(store, jobs)
        for resource in range(RESOURCES):
            await store.run(
                bookings.add,
                Resource(id=str(resource), kind=Exclusive(), horizon=TEN_YEARS),
            )

        async def pair(resource: int, start: dt.datetime, stop: dt.datetime) -> None:
            held = await bookings.submit(bookings.hold, Time(str(resource), start, stop))
            await bookings.submit(bookings.confirm, held.id)

        async with jobs:
            yield [pair] * number


async def pairs_a_second(clients: Clients, count: int, resources: int) -> float:
    """Holds that are confirmed, a second: each at a time of its own."""
    each = count // CLIENTS
    base = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) + dt.timedelta(days=1)

    async def client(pair: Pair, number: int) -> None:
        for index in range(each):
            place = index * CLIENTS + number
            start = base + EVERY * (place // resources)
            await pair(place % resources, start, start + TAKES)

    async with clients(CLIENTS) as pairs:
        started = time.perf_counter()
        await asyncio.gather(*[client(pair, number) for number, pair in enumerate(pairs)])
        return each * CLIENTS / (time.perf_counter() - started)


def confirmed(setting: Setting, peers: Peers, what: str, full: int, resources: int,
              targets: dict[str, float]) -> list[Row]:  # fmt: skip
    others = rivals(setting, peers)
    count = max(CLIENTS * 4, setting.count(full))

    def measured(clients: Clients, count: int) -> Callable[[], float]:
        return lambda: run(pairs_a_second(clients, count, resources))

    def ours(number: int) -> AbstractAsyncContextManager[list[Pair]]:
        return walnut_clients(setting, number)

    contestants = {"walnut": measured(ours, count)} | {
        other.name: measured(other.clients, max(CLIENTS * 4, count // 5)) for other in others
    }
    try:
        found = medians(contestants, setting.rounds)
    finally:
        for other in others:
            other.close()
    return [
        Row(what, found["walnut"], found[other.name], other.name, "/s", targets.get(other.name))
        for other in others
    ]


def hot(setting: Setting, peers: Peers) -> list[Row]:
    """Holds confirmed on one resource that all want, by 64 clients."""
    what = "holds confirmed, one hot resource, 64 clients"
    return confirmed(setting, peers, what, HOT_PAIRS, 1, {PostgresBookings.name: 10.0})


def spread(setting: Setting, peers: Peers) -> list[Row]:
    """The same on a thousand resources."""
    what = "holds confirmed, 1,000 resources, 64 clients"
    return confirmed(setting, peers, what, SPREAD_PAIRS, RESOURCES, {PostgresBookings.name: 5.0})


def spans_of(count: int, base: dt.datetime) -> list[tuple[dt.datetime, dt.datetime]]:
    """Bookings one after another, with a place left free now and then."""
    free = random.Random(1)
    spans: list[tuple[dt.datetime, dt.datetime]] = []
    start = base
    while len(spans) < count:
        if free.random() >= 0.05:
            spans.append((start, start + TAKES))
        start += EVERY
    return spans


def search(setting: Setting, peers: Peers) -> list[Row]:
    """Free times of a month, on a resource with a million bookings."""
    others = rivals(setting, peers)
    base = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    spans = spans_of(setting.count(FULL), base)
    now = base
    clock = LogOptions(clock=lambda: int(now.timestamp() * 1e9))
    last = max(spans[-1][0] - MONTH, base)
    moments = random.Random(2)
    starts = [
        base + (last - base) * moments.random() for _ in range(max(20, setting.count(SEARCHES)))
    ]
    starts = [start.replace(second=0, microsecond=0) for start in starts]
    times: dict[str, list[float]] = {"walnut": []}
    with Store(setting.fresh("booking"), StoreOptions(log=clock)) as store:
        bookings = Bookings(store, Jobs(store))
        store.call(bookings.add, Resource(id="busy", kind=Exclusive(), horizon=TEN_YEARS))
        answers = []
        for first in range(0, len(spans), 100):
            some = spans[first : first + 100]
            now = some[0][0] - dt.timedelta(days=1)

            def book(tx: Any, some: list[tuple[dt.datetime, dt.datetime]] = some) -> None:
                for start, stop in some:
                    bookings.book(tx, Time("busy", start, stop))

            answers.append(store.submit(book))
            if len(answers) == 50:
                for answer in answers:
                    answer.wait()
                answers.clear()
        for answer in answers:
            answer.wait()
        store.checkpoint()
        for start in starts:
            began = time.perf_counter()
            found = bookings.search.slots(
                store, "busy", start, start + MONTH, LENGTH, now=start,
                step=dt.timedelta(minutes=5),
            )  # fmt: skip
            times["walnut"].append(1e3 * (time.perf_counter() - began))
            assert found.items
    try:
        for other in others:
            other.fill(spans)
            times[other.name] = []
            for start in starts:
                began = time.perf_counter()
                assert other.free(start, start + MONTH, LENGTH)
                times[other.name].append(1e3 * (time.perf_counter() - began))
    finally:
        for other in others:
            other.close()
    ours = percentiles(times["walnut"])
    return [
        Row(f"free times of a month among a million bookings, {name}", ours[place],
            percentiles(times[other.name])[place], other.name, " ms", better="less")
        for other in others
        for place, name in enumerate(("p50", "p99"))
    ]  # fmt: skip


BOOKING_ROWS: dict[str, Callable[[Setting, Peers], list[Row]]] = {
    "booking-hot": hot,
    "booking-spread": spread,
    "booking-search": search,
}
