"""The rows of the table that are about jobs, one function each."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from bench.jobs_dbos import Dbos
from bench.jobs_frame import CLIENTS, percentiles, run
from bench.jobs_peers import job_contestants
from bench.measure import Row, Setting, medians, rate
from walnut.jobs import Context, Flow, Job, Jobs
from walnut.jobs.model import Target, Timer
from walnut.jobs.registry import Action
from walnut.store import Store, Transaction

Peers = list[Any]
Enqueue = Callable[..., Coroutine[Any, Any, Job]]
TIMER_BYTES = 400
"""What a pending timer may cost in memory."""


class Pending(msgspec.Struct):
    """Jobs with timers far off, an action, and the memory that each of the timers takes."""

    store: Store
    jobs: Jobs
    action: Action
    bytes_each: float


class Walnut:
    """Jobs in this process, on one event loop with their clients."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @contextlib.asynccontextmanager
    async def opened(self, *, running: bool = True) -> AsyncIterator[tuple[Store, Jobs]]:
        async with Store(self.setting.fresh("jobs")) as store:
            jobs = Jobs(store)
            if not running:
                yield store, jobs
                return
            async with jobs:
                yield store, jobs

    async def flood(self, enqueue: Enqueue, each: int, clients: int) -> None:
        async def client(first: int) -> None:
            for index in range(first, first + each):
                await enqueue(index)

        await asyncio.gather(*[client(number * each) for number in range(clients)])

    async def enqueue(self, count: int, clients: int, *, together: bool) -> float:
        """Durable enqueues a second: a transaction for each, or one for those of a turn `together`."""
        async with self.opened(running=False) as (store, jobs):

            @jobs.task(name="noop")
            async def noop(context: Context, index: int) -> None: ...

            enqueue: Enqueue = functools.partial(store.run, jobs.enqueue, noop)
            if together:
                enqueue = functools.partial(jobs.submit, noop)
            started = time.perf_counter()
            await self.flood(enqueue, count // clients, clients)
            return count / (time.perf_counter() - started)

    def enqueue_in_thread(self, count: int) -> float:
        """The same from one thread."""
        with Store(self.setting.fresh("jobs")) as store:
            jobs = Jobs(store)

            @jobs.task(name="noop", runs="thread")
            def noop(context: Context, index: int) -> None: ...

            return rate(count, lambda: [store.call(jobs.enqueue, noop, n) for n in range(count)])

    async def complete(self, count: int) -> float:
        """Jobs a second from the first enqueue to the last recorded end."""
        async with self.opened() as (_, jobs):

            @jobs.task(name="noop")
            async def noop(context: Context, index: int) -> None: ...

            started = time.perf_counter()
            await self.flood(functools.partial(jobs.submit, noop), count // CLIENTS, CLIENTS)
            while jobs.metrics.done < count // CLIENTS * CLIENTS:
                await asyncio.sleep(0.001)
            return count / (time.perf_counter() - started)

    async def latency(self, count: int, rate: float) -> tuple[float, float]:
        """Seconds from the call that enqueues to the job's first line: median, 99th percentile."""
        took: list[float] = []
        async with self.opened() as (store, jobs):

            @jobs.task(name="mark")
            async def mark(context: Context, sent: float) -> None:
                took.append(time.time() - sent)

            begun = time.time()
            for index in range(count):
                await asyncio.sleep(max(0.0, begun + index / rate - time.time()))
                await store.run(jobs.enqueue, mark, time.time())
            while len(took) < count:
                await asyncio.sleep(0.001)
        return percentiles(took)

    @contextlib.asynccontextmanager
    async def pending(self, count: int, fire: Callable[..., object]) -> AsyncIterator[Pending]:
        """Jobs with so many timers set for tomorrow."""
        async with Store(self.setting.fresh("timers")) as store:
            jobs = Jobs(store)
            action = jobs.action(fire, name="fire")
            before = memory()
            table = jobs.timers_table

            def fill(tx: Transaction, first: int) -> None:
                tomorrow = tx.time + 86_400 * 10**9
                for number in range(first, min(first + 5000, count)):
                    table.put(tx, Timer(tomorrow + number, f"{number:032}", Target.ACTION, "fire"))

            for first in range(0, count, 5000):
                await store.run(fill, first)
            async with jobs:
                await asyncio.sleep(0.5)
                gc.collect()
                yield Pending(store, jobs, action, (memory() - before) / count)

    async def burst(self, pending: int, due: int) -> tuple[float, float, float]:
        """`due` timers of one moment: seconds late, median and 99th percentile, and how many a
        second."""
        late: list[float] = []

        def fire(_: Transaction, when: float) -> None:
            late.append(time.time() - when)

        async with self.pending(pending, fire) as at:
            when = time.time() + 1 + due / 5000
            moment = dt.datetime.fromtimestamp(when, dt.UTC)

            def plan(tx: Transaction, count: int) -> None:
                for _ in range(count):
                    at.jobs.at(tx, moment, at.action, when)

            for _ in range(0, due, 250):
                await at.store.run(plan, 250)
            assert time.time() < when, "planning took too long"
            while len(late) < due // 250 * 250:
                await asyncio.sleep(0.001)
        return *percentiles(late), len(late) / max(late)

    async def lateness(self, pending: int, count: int, rate: float) -> tuple[float, float, float]:
        """Timers due one by one, at so many a second: seconds from when each was due to its
        transaction, median and 99th percentile; and bytes of memory for each that is pending."""
        late: list[float] = []

        def fire(tx: Transaction, when: float) -> None:
            late.append(tx.time / 1e9 - when)

        async with self.pending(pending, fire) as at:
            begin = time.time() + 0.5

            def plan(tx: Transaction) -> None:
                for index in range(count):
                    when = begin + index / rate
                    at.jobs.at(tx, dt.datetime.fromtimestamp(when, dt.UTC), at.action, when)

            await at.store.run(plan)
            while len(late) < count:
                await asyncio.sleep(0.01)
            return *percentiles(late), at.bytes_each

    async def steps(self, count: int, workflows: int) -> float:
        """Recorded steps a second, in so many workflows at once."""
        async with self.opened() as (store, jobs):

            async def nothing() -> None: ...

            @jobs.workflow(name="sequence")
            async def sequence(flow: Flow, steps: int) -> None:
                for _ in range(steps):
                    await flow.run(nothing)

            started = time.perf_counter()
            each = count // workflows
            runs = [await store.run(jobs.enqueue, sequence, each) for _ in range(workflows)]
            for one in runs:
                await jobs.result(one)
            return each * workflows / (time.perf_counter() - started)


def memory() -> float:
    """Bytes of memory that this process has of its own."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return float((resident - shared) * os.sysconf("SC_PAGE_SIZE"))


def enqueueing(setting: Setting, peers: Peers) -> list[Row]:
    """One job in each durable transaction."""
    mine = Walnut(setting)
    rows: list[Row] = []
    one, many = setting.count(2000), setting.count(20_000)
    with job_contestants(setting, peers, redis=setting.scale == 1) as (ready, _):
        for clients, count in ((1, one), (CLIENTS, many)):
            work: dict[str, Callable[[], float]] = {
                "mine": lambda: run(mine.enqueue(count, clients, together=False)),
                "submit": lambda: run(mine.enqueue(count, clients, together=True)),
            }
            if clients == 1:
                work["mine"] = lambda: mine.enqueue_in_thread(count)
                del work["submit"]
            for peer in ready:
                work[peer.name] = lambda peer=peer: peer.enqueue(count // 4, clients)  # type: ignore[misc]
            got = medians(work, setting.rounds)
            ours, submitted = got.pop("mine"), got.pop("submit", None)
            what = f"jobs: durable enqueue, {clients} client{'s' * (clients > 1)}"
            rows += [Row(what, ours, got[name], name, "/s", 1) for name in got]
            if submitted is not None:
                rows.append(Row(f"{what}, by submit", submitted, ours, "a transaction each", "/s"))
    return rows


def completing(setting: Setting, peers: Peers) -> list[Row]:
    """No-op jobs from enqueue to recorded end."""
    mine = Walnut(setting)
    what = "jobs: no-op, from enqueue to its recorded end"
    with job_contestants(setting, peers, redis=setting.scale == 1) as (ready, _):
        work: dict[str, Callable[[], float]] = {
            "mine": lambda: run(mine.complete(setting.count(40_000)))
        }
        for peer in ready:
            work[peer.name] = lambda peer=peer: peer.complete(setting.count(4000))  # type: ignore[misc]
        got = medians(work, setting.rounds)
    ours = got.pop("mine")
    rows = [Row(what, ours, 20_000, "20,000 a second", "/s", 1)]
    return rows + [Row(what, ours, got[name], name, "/s", 1) for name in got]


def starting(setting: Setting, peers: Peers) -> list[Row]:
    """Latency from enqueue to start at 100 jobs a second; one round."""
    count = setting.count(1000)
    ours = run(Walnut(setting).latency(count, 100))
    rows: list[Row] = []
    with job_contestants(setting, peers, redis=setting.scale == 1) as (ready, _):
        for peer in ready:
            theirs = peer.start_latency(count // 2, 100)
            for name, mine, other in (
                ("p50", ours[0], theirs.p50),
                ("p99", ours[1], theirs.p99),
            ):
                what = f"jobs: enqueue to start at 100/s, {name}"
                rows.append(Row(what, 1000 * mine, 1000 * other, peer.name, " ms", 1, "less"))
    return sorted(rows, key=lambda row: row.what)


def firing(setting: Setting, _: Peers) -> list[Row]:
    """Timers due at a steady rate, with a million pending."""
    pending = setting.count(1_000_000)
    mine = Walnut(setting).lateness(pending, setting.count(2000), 200)
    p50, p99, cost = run(mine)
    what = f"timers at 200/s, {pending:,} pending"
    return [
        Row(f"{what}: memory of a pending one", cost, TIMER_BYTES, "400 bytes", " B", 1, "less"),
        Row(f"{what}: late, p50", 1000 * p50, 20, "20 ms", " ms", None, "less"),
        Row(f"{what}: late, p99", 1000 * p99, 20, "20 ms", " ms", 1, "less"),
    ]


def bursting(setting: Setting, peers: Peers) -> list[Row]:
    """Timers of one moment, with a million pending; one round, as filling the peers takes long."""
    pending, due = setting.count(1_000_000), setting.count(10_000)
    p50, p99, speed = run(Walnut(setting).burst(pending, due))
    what = f"{due:,} timers of one moment, {pending:,} pending"
    rows = [Row(f"{what}: late, p50", 1000 * p50, 1000 * p99, "p99", " ms", None, "less")]
    few = setting.count(1000)
    with job_contestants(setting, peers, redis=setting.scale == 1) as (ready, _):
        for peer in ready:
            if peer.unscheduled:
                continue
            theirs = peer.scheduled(pending, few)
            beside = f"{peer.name}, {few:,} timers"
            rows += [
                Row(f"{what}: fired", speed, theirs.rate, beside, "/s", 1),
                Row(f"{what}: late, p99", 1000 * p99, 1000 * theirs.p99, beside, " ms", 1, "less"),
            ]
    return rows


def stepping(setting: Setting, peers: Peers) -> list[Row]:
    """Workflow steps whose results are recorded."""
    mine = Walnut(setting)
    rows: list[Row] = []
    with job_contestants(setting, peers, redis=False) as (ready, _):
        others = [peer for peer in ready if isinstance(peer, Dbos)]
        for workflows, count in ((1, setting.count(2000)), (CLIENTS, setting.count(20_000))):
            work: dict[str, Callable[[], float]] = {
                "mine": lambda: run(mine.steps(count, workflows))
            }
            for peer in others:
                work[peer.name] = lambda peer=peer: peer.steps(count // 4, workflows)  # type: ignore[misc]
            got = medians(work, setting.rounds)
            ours = got.pop("mine")
            what = f"workflow steps, {workflows} at once"
            rows += [Row(what, ours, got[name], name, "/s", 1) for name in got]
    return rows


JOBS_ROWS = {
    "jobs-enqueue": enqueueing,
    "jobs-complete": completing,
    "jobs-start": starting,
    "jobs-lateness": firing,
    "jobs-burst": bursting,
    "jobs-steps": stepping,
}
