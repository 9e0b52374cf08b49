"""Programs that run jobs as processes of their own, to be killed.

    python children.py PROGRAM DIRECTORY [ARGUMENT ...]

Each speaks in lines on stdout, written at once.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.jobs.killed import AGAIN, compute, pay
from tests.log.children import say
from walnut.jobs import Context, Flow, Job, Jobs, JobsOptions, QueueLimits, Task
from walnut.log import LogOptions
from walnut.store import RocksOptions, Store, StoreOptions, Transaction

OPTIONS = StoreOptions(
    log=LogOptions(segment_bytes=256 * 1024, record_bytes=256 * 1024, buffer_bytes=1 << 20),
    engine=RocksOptions(memtable_bytes=256 * 1024, cache_bytes=1 << 20),
    checkpoint_bytes=100_000,
    checkpoint_seconds=0.05,
    window_bytes=None,
    window_seconds=None,
)
"""The log is kept whole, so that the feed tells each job's life from its beginning."""
JOBS = JobsOptions(
    queues={"lanes": QueueLimits(concurrency=2)},
    processes=2,
    threads=4,
    flow_idle=0.05,
    record_every=0.1,
    losses=1000,
)
KINDS = ["loop", "thread", "lane", "flow", "timer", "compute", "pay", "fan"]
SLOW = {"compute", "pay"}
"""These take a child process, of which there are two."""


class Tally(msgspec.Struct):
    """What a transaction did, and how often."""

    name: str
    count: int


class Turn(msgspec.Struct):
    """A job of a lane, in the order in which they were done."""

    lane: str
    place: int
    number: int


class Works:
    """What the killed programs keep, and what is checked of it."""

    def __init__(self, store: Store, marks: str) -> None:
        self.store = store
        self.marks = marks
        self.tally = store.table("tally", Tally, key=lambda row: row.name)
        self.turns = store.table("turns", Turn, key=lambda row: (row.lane, row.place))
        jobs = self.jobs = Jobs(store, JOBS)
        jobs.action(self.ring, "ring")
        jobs.add(compute)
        jobs.add(pay)

        @jobs.task(name="loop", retry=AGAIN)
        async def loop(context: Context, number: int) -> int:
            await asyncio.sleep(0.002 * (number % 5))
            if number % 7 == 0 and context.attempt == 1:
                raise ConnectionError("the first attempt fails")
            return number

        @jobs.task(name="thread", runs="thread", retry=AGAIN)
        def thread(context: Context, number: int) -> int:
            time.sleep(0.001 * (number % 5))
            return number

        @jobs.task(name="lane", queue="lanes", retry=AGAIN)
        async def lane(context: Context, name: str, number: int) -> int:
            await asyncio.sleep(0.001)
            return number

        @jobs.workflow(name="flow")
        async def flow(flow: Flow, number: int) -> list[int]:
            first = await flow.run(thread, number)
            await flow.call(self.step, f"step {flow.job} 0")
            await flow.sleep(0.02 * (number % 3))
            both = await asyncio.gather(
                flow.run(loop, number + 1), flow.call(self.step, f"step {flow.job} 1")
            )
            await flow.run(here, number)
            return [first, *both]

        async def here(number: int) -> int:
            return number

        self.loop, self.thread, self.lane, self.flow = loop, thread, lane, flow
        for task in (loop, thread, compute, pay):
            task.then(self.done)
        lane.then(self.turn)

    def count(self, tx: Transaction, name: str) -> int:
        """Once more."""
        row = self.tally.get(tx, name) or Tally(name, 0)
        return self.tally.put(tx, Tally(name, row.count + 1)).count

    def done(self, tx: Transaction, job: Job, result: object) -> None:
        """Part of the end of a job."""
        self.count(tx, f"done {job.id}")

    def turn(self, tx: Transaction, job: Job, result: int) -> None:
        """The same in a lane, whose order it writes down."""
        self.done(tx, job, result)
        last = next(self.turns.scan(tx, job.lane, reverse=True, limit=1), None)
        self.turns.put(tx, Turn(job.lane, 0 if last is None else last.place + 1, result))

    def step(self, tx: Transaction, name: str) -> int:
        """Part of a workflow."""
        return self.count(tx, name)

    def ring(self, tx: Transaction, token: str, due: int) -> None:
        """What timers do."""
        assert tx.time >= due
        self.count(tx, f"timer {token}")

    def ask(self, tx: Transaction, kind: str, life: str, thread: int, number: int) -> str:
        """Ask for something; what it is to be known by."""
        jobs = self.jobs
        if kind == "timer":
            token = f"{life}.{thread}.{number}"
            when = tx.now + dt.timedelta(milliseconds=number % 50)
            due = int(when.timestamp() * 1e6) * 1000
            jobs.at(tx, when, self.ring, token, due)
            return token
        if kind == "lane":
            return jobs.enqueue(
                tx, self.lane, f"{life}.{thread}", number, lane=f"{life}.{thread}"
            ).id
        if kind == "flow":
            return jobs.enqueue(tx, self.flow, number).id
        if kind == "pay":
            return jobs.call(tx, pay, self.marks, number).id
        if kind == "fan":
            first = jobs.enqueue(tx, self.thread, number)
            both = [jobs.enqueue(tx, self.loop, number, after=[first]) for _ in range(2)]
            return jobs.enqueue(tx, self.thread, number, after=both).id
        tasks: dict[str, Task[..., Any]] = {
            "loop": self.loop, "thread": self.thread, "compute": compute,
        }  # fmt: skip
        task = tasks[kind]
        return jobs.enqueue(tx, task, number).id


def serve(path: Path, life: str) -> None:
    """Runs jobs, and has threads that ask for more until it is killed."""
    with Store(path / "data", OPTIONS) as store:
        works = Works(store, str(path / "marks"))

        def work(thread: int) -> None:
            for number in range(1 << 30):
                kind = KINDS[(number + thread) % len(KINDS)]
                if kind in SLOW and number % 3:
                    continue
                say("ack", kind, store.call(works.ask, kind, life, thread, number))
                time.sleep(0.004)

        with works.jobs:
            threads = [threading.Thread(target=work, args=(thread,)) for thread in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


if __name__ == "__main__":
    program: Callable[..., None] = globals()[sys.argv[1]]
    program(Path(sys.argv[2]), *sys.argv[3:])
