"""The simulator of booking: a server and its clients, crashed again and again, held against its own log.

The whole of `Bookings` lives on a simulated disk and in simulated time, with the timers of `Jobs`;
several transactions are under way when a fault comes, clocks jump, and clients ask again for what they
were not answered (`booking_clients`).

    round: clients, timers ── fault ── reopen (may crash, is repeated) ── check ── next
    at the end: nothing fails any more, every hold comes to its end, and all is checked once more

What must stay true of the simulator itself: a seed replays exactly.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Coroutine
from typing import Any, Final

from walnut.booking.bookings import Bookings
from walnut.booking.payments import Payments
from walnut.booking.queue import Queue
from walnut.booking.series import SeriesBook
from walnut.booking.states import State
from walnut.booking.waitlist import Waitlist
from walnut.jobs.jobs import Jobs
from walnut.log.errors import LogFailed
from walnut.log.model import LogOptions
from walnut.store.errors import TablesFailed
from walnut.store.model import StoreOptions
from walnut.store.store import Store
from walnut.testing.booking_around import Around
from walnut.testing.booking_checks import History, check_tables
from walnut.testing.booking_clients import RESOURCES, Clients
from walnut.testing.disk import Crash, Faults, SimClock, SimDisk
from walnut.testing.engine import OpenModel
from walnut.testing.loop import SimLoop
from walnut.testing.simulator import BrokenPromise, Outcome

PATH: Final = "sim/booking"
ROUNDS: Final = 4
CLIENTS: Final = 4
LONGEST_HOLD: Final = 4000.0
"""Seconds after which every hold and every offer has ended, but for those that wait for one another."""
PATIENCE: Final = 60
"""Such times at the end, until nothing is held any more."""
FAULTS: Final = (
    "power cut",
    "power cut",
    "kill",
    "failed sync",
    "failed write",
    "full disk",
    "close",
)


class Idle:
    """An executor that is never asked: bookings have timers, and the queue of payments is paused, as
    delivery is what the simulator of jobs is for."""

    slots = 1

    def close(self, timeout: float) -> None:
        """See `Runner.close`."""


class Simulation(Clients):
    """One seed's life."""

    def __init__(self, seed: int, *, trace: bool) -> None:
        rng = random.Random(seed)
        self.disk = SimDisk(rng.getrandbits(32))
        super().__init__(rng, SimClock())
        if trace:
            self.trace = self.disk.trace = []
        self.history = History(self.promise)
        self.around = Around(self.promise)
        self.seen = 0
        self.latency = rng.choice([0.001, 0.01, 0.1])
        self.options = StoreOptions(
            log=LogOptions(
                segment_bytes=rng.choice([32, 128]) * 1024,
                frame_bytes=rng.choice([1024, 64 * 1024]),
                record_bytes=64 * 1024,
                buffer_bytes=128 * 1024,
                background=False,
                disk=self.disk,
                clock=self.clock,
            ),
            engine=OpenModel(rng.getrandbits(32), rng.choice([0.0, 0.02, 0.1])),
            window_seconds=None,
            window_bytes=None,
        )

    def run(self) -> None:
        """Live it."""
        for _ in range(ROUNDS):
            fault = self.rng.choice(FAULTS)
            self.counts[fault] += 1
            self._begin_process(fault)
            ending = self._live(self._round(fault))
            self._end_process(ending or fault)
        self._begin_process("none")
        self.disk.faults = Faults()  # no more of them
        ending = self._live(self._drain())
        self.promise(ending is None, "it crashed although nothing failed")
        self._end_process("close")
        self.around.check_sales()

    # -- processes ------------------------------------------------------------------------------

    def _begin_process(self, fault: str) -> None:
        """Open the store, again if that crashes, and begin."""
        self.note(f"-- round: {fault}")
        self.clock.now += self.rng.choice([0, 10**9, -3 * 10**9, 900 * 10**9])
        while True:
            if self.rng.random() < 0.2:
                self.disk.faults.crash_after = self.rng.randrange(60)
            try:
                self._open()
            except Crash:
                self.counts["crashes in recovery"] += 1
                (self.disk.power_cut if self.rng.random() < 0.5 else self.disk.kill)()
            else:
                break
        self.disk.faults.crash_after = None
        self._check()
        self.loop = SimLoop(self.rng, self.clock)
        self.store.log._commit._flusher = self._flush_soon
        faults, rng = self.disk.faults, self.rng
        if fault in {"power cut", "kill"}:
            faults.crash_after = rng.randrange(300)
        elif fault == "failed sync":
            faults.fail_sync_after = rng.randrange(40)
        elif fault == "failed write":
            faults.fail_write_after = rng.randrange(60)
        elif fault == "full disk":
            faults.capacity = self.disk.used() + rng.randrange(20_000)

    def _open(self) -> None:
        store = self.store = Store(PATH, self.options)
        idle: Any = Idle()
        self.jobs = Jobs(store, executors={"thread": idle, "process": idle})
        self.bookings = Bookings(store, self.jobs)
        self.waitlist = Waitlist(self.bookings)
        self.series = SeriesBook(self.bookings)
        self.queue = Queue(store, self.jobs)
        Payments(self.bookings, lambda _: None)
        store.call(self.jobs.pause, "payments")
        for resource in RESOURCES:
            if self.bookings.resources.table.get(store, resource.id) is None:
                store.call(self.bookings.add, resource)

    def _flush_soon(self) -> None:
        self.loop.elsewhere(self.latency, self.store.log._commit.lead)

    def _live(self, life: Coroutine[Any, Any, None]) -> str | None:
        """Run a process until it has nothing more to do, or crashes; then it returns why."""
        task = self.loop.create_task(life)
        try:
            self.loop.run_until_complete(task)
        except Crash as crash:
            self.note(f"-- {crash}")
            self.counts["crashes at work"] += 1
            return "crash"
        finally:
            if self.broken:
                raise BrokenPromise(self.broken[0])
        return None

    def _end_process(self, how: str) -> None:
        """The process ends, by itself or not."""
        closed = how == "close" and self.store.log.failure is None
        if closed and self._live(self._stop()) is not None:
            closed = False
        if not closed:
            self.disk.crashed = True
        self.loop.bury()
        self.disk.faults.capacity = None
        if not closed:
            self.note("-- the process is gone")
            (self.disk.power_cut if self.rng.random() < 0.6 else self.disk.kill)()
            return
        self.disk.faults = Faults()
        commit = self.store.log._commit
        commit._flusher = None
        if commit._leader is not None:
            commit.lead()
        self._check()
        self.store.close()

    async def _stop(self) -> None:
        try:
            await self.jobs.stop(1.0)
        except (LogFailed, TablesFailed):
            raise Crash("the store failed as the process stopped") from None

    async def _round(self, fault: str) -> None:
        """Clients work while timers fire."""
        await self.jobs.start()
        running = self.jobs._running
        assert running is not None
        if fault == "full disk":
            self.loop.call_later(self.rng.random() * 6, self._give_room)
        working = asyncio.gather(*[self.client() for _ in range(CLIENTS)])
        both: list[asyncio.Future[Any]] = [running, working]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        working.cancel()

    def _give_room(self) -> None:
        self.disk.faults.capacity = None

    async def _drain(self) -> None:
        """Whatever is held expires, by timers alone; offers go from one to the next."""
        await self.jobs.start()
        for _ in range(PATIENCE):
            self.clock.now += int(LONGEST_HOLD * 1e9)
            await asyncio.sleep(5.0)
            if not list(self.bookings.deadlines.table.scan(self.store)):
                break
        left = [row.id for row in self.bookings.table.scan(self.store) if row.deadline]
        self.promise(not left, f"bookings {left} are past their deadline, and nobody ended them")
        ticks = list(self.bookings.deadlines.ticks.scan(self.store))
        self.promise(not ticks, f"{len(ticks)} timers are said to be set, and nothing is held")

    # -- checks ---------------------------------------------------------------------------------

    def _check(self) -> None:
        """The log holds what it must, the tables say what the log does, and whoever was told something
        was told the truth."""
        promise = self.promise
        with self.store.snapshot() as seen:
            changes = list(self.store.changes(self.seen, upto=seen.lsn))
            self.history.follow(changes)
            self.around.follow(changes)
            self.seen = seen.lsn
            check_tables(self.history, self.bookings, seen, promise)
            self.history.check_lines(self.waitlist, seen)
        while self.turns:
            self.around.check_turn(*self.turns.pop())
        rows = self.history.bookings
        for id_, (version, state) in self.told.items():
            row = rows.get(id_)
            promise(row is not None, f"somebody was told of booking {id_}, and there is none")
            assert row is not None
            now = (row.version, row.state)
            fits = now == (version, state) or row.version > version
            promise(fits, f"somebody was told that {id_} is {state!r} v{version}, and it is {now}")
        notes: dict[str, str] = {}
        for row in rows.values():
            other = notes.setdefault(row.note or row.id, row.id)
            promise(other == row.id, f"bookings {other} and {row.id} were made for one key")
        for key, id_ in self.answers.items():
            promise(notes.get(key) == id_, f"key {key} was answered with {id_}: {notes.get(key)}")
        confirmed = {id_ for id_, (_, state) in self.told.items() if state is State.CONFIRMED}
        self.counts["confirmed, as somebody was told"] = len(confirmed)


def simulate_booking(seed: int, *, trace: bool = False) -> Outcome:
    """Run one seed."""
    simulation = Simulation(seed, trace=trace)
    failure: str | None = None
    try:
        simulation.run()
    except Exception as error:
        failure = (
            "".join(traceback.format_exception(error))
            if trace
            else f"{type(error).__name__}: {error}"
        )
    return Outcome(seed, dict(simulation.counts), failure, simulation.disk.trace or [])
