"""The simulator of jobs: a server that runs them, crashed again and again, held against what it told.

The whole of `Jobs` lives on a simulated disk and in simulated time: its dispatcher, its workflows, and
clients that enqueue, cancel, retry, set timers and stop queues, several transactions under way when a
fault comes. What tasks do outside is the world's (`jobs_world`), which outlives every crash.

    round: clients, executors, dispatcher ── fault ── reopen (may crash, is repeated) ── check ── next
    at the end: nothing fails any more, all comes to its end, is forgotten, and leaves nothing behind

What must stay true of the simulator itself: a seed replays exactly.
"""

from __future__ import annotations

import asyncio
import random
import traceback
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from walnut.jobs.errors import NotPossible, UnknownJob
from walnut.jobs.jobs import Jobs
from walnut.jobs.leases import OUTSIDE
from walnut.jobs.model import Job, JobsOptions, State
from walnut.log.errors import LogFailed
from walnut.log.model import LogOptions
from walnut.store.errors import TablesFailed
from walnut.store.model import StoreOptions
from walnut.store.store import Store
from walnut.store.table import Table
from walnut.testing.disk import Crash, Faults, SimClock, SimDisk
from walnut.testing.engine import OpenModel
from walnut.testing.jobs_checks import OFTEN, Keyed, Order, Record, check_tables
from walnut.testing.jobs_clients import JUMP_SECONDS, QUEUES, Clients
from walnut.testing.jobs_tasks import declare_tasks
from walnut.testing.jobs_world import OPTIONS, SimRunner, Tally, World
from walnut.testing.loop import SimLoop
from walnut.testing.simulator import BrokenPromise, Outcome

PATH: Final = "sim/jobs"
ROUNDS: Final = 4
CLIENTS: Final = 3
PATIENCE: Final = 300
"""Looks at the end, some seconds apart, until all has to have come to its end."""
KEEP_SECONDS: Final = 45.0
"""More than the dispatcher waits between forgetting what ended long ago."""


class Simulation(Clients):
    """One seed's life."""

    def __init__(self, seed: int, *, trace: bool) -> None:
        rng = random.Random(seed)
        self.disk = SimDisk(rng.getrandbits(32))
        super().__init__(World(rng), SimClock())
        if trace:
            self.world.trace = self.disk.trace = []
        self.record = Record(self.world)
        self.latency = rng.choice([0.001, 0.01, 0.1])
        self.job_options: JobsOptions = msgspec.structs.replace(
            OPTIONS,
            ageing=rng.choice([0.0, 1.0, 60.0]),
            keep_done=rng.choice([5.0, 30.0, 600.0]),
            flows=rng.choice([2, 20]),
            window=rng.choice([1, 3, 1000]),
        )
        self.options = StoreOptions(
            log=LogOptions(
                segment_bytes=rng.choice([32, 128]) * 1024,
                frame_bytes=rng.choice([1024, 64 * 1024]),
                record_bytes=24 * 1024,
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
            fault = self._choose_fault()
            self.counts[fault] += 1
            self._begin_process(fault)
            ending = self._live(self._round(fault))
            if fault == "full disk" and ending is None and self.rng.random() < 0.5:
                self._give_room()
                ending = "close"
            self._end_process(ending or fault)
        self._finish()

    def _note(self, text: str) -> None:
        self.world.note(text)

    # -- processes ------------------------------------------------------------------------------

    def _choose_fault(self) -> str:
        kinds = [
            "power cut",
            "power cut",
            "kill",
            "failed sync",
            "failed write",
            "full disk",
            "close",
        ]
        return self.rng.choice(kinds)

    def _set_fault(self, fault: str) -> None:
        faults, rng = self.disk.faults, self.rng
        if fault in {"power cut", "kill"}:
            faults.crash_after = rng.randrange(400)
        elif fault == "failed sync":
            faults.fail_sync_after = rng.randrange(60)
        elif fault == "failed write":
            faults.fail_write_after = rng.randrange(80)
        elif fault == "full disk":
            faults.capacity = self.disk.used() + rng.randrange(20_000)

    def _begin_process(self, fault: str) -> None:
        """Open the store, again if that crashes, and begin to run jobs."""
        self._note(f"-- round: {fault}")
        self.clock.now += self.rng.choice([0, 10**9, -3 * 10**9, int(JUMP_SECONDS * 1e9)])
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
        loop = self.loop = SimLoop(self.rng, self.clock)
        self.store.log._commit._flusher = self._flush_soon
        self.world.begin_life(loop, self.jobs, self.tally)
        declare_tasks(self.world)
        self.jobs.action(self._ring, "ring")
        self.jobs.action(self._tick, OFTEN)
        self._set_fault(fault)

    def _open(self) -> None:
        store = self.store = Store(PATH, self.options)
        runners = {name: SimRunner(self.world, name) for name in ("thread", "process")}
        self.jobs = Jobs(store, self.job_options, executors=runners)
        self.tally: Table[Tally] = store.table("sim.tally", Tally, key=lambda row: row.name)
        self.keyed: Table[Keyed] = store.table("sim.keyed", Keyed, key=lambda row: row.key)
        self.orders: Table[Order] = store.table("sim.orders", Order, key=lambda row: row.token)

    def _flush_soon(self) -> None:
        self.loop.elsewhere(self.latency, self.store.log._commit.lead)

    def _live(self, life: Awaitable[None]) -> str | None:
        """Run a process until it has nothing more to do, or crashes; then it returns why."""
        task = self.loop.create_task(_coroutine(life))
        try:
            self.loop.run_until_complete(task)
        except Crash as crash:
            self._note(f"-- {crash}")
            self.counts["crashes at work"] += 1
            return "crash"
        finally:
            if self.world.broken:
                raise BrokenPromise(self.world.broken[0])
        return None

    def _end_process(self, how: str) -> None:
        """The process ends, by itself or not."""
        failed = self.store.log.failure is not None
        closed = how == "close" and not failed
        if closed and self._live(self._stop()) is not None:
            closed = False
        if not closed:
            self.disk.crashed = True
        self.world.end_life()
        self.loop.bury()
        self._count_metrics()
        self.disk.faults.capacity = None
        if not closed:
            self._note("-- the process is gone")
            (self.disk.power_cut if self.rng.random() < 0.6 else self.disk.kill)()
            return
        self.disk.faults = Faults()  # no more of them
        commit = self.store.log._commit
        commit._flusher = None
        if commit._leader is not None:
            commit.lead()
        rows = self.jobs._ledger.jobs.scan(self.store)
        running = [job.id for job in rows if job.state is State.RUNNING and job.runs != OUTSIDE]
        self.world.promise(
            not running, f"jobs {running} are on record as running after a clean stop"
        )
        self._check()
        self.store.close()

    def _count_metrics(self) -> None:
        metrics = self.jobs.metrics
        for name in ("done", "failed", "handed_back", "fenced", "fired", "fire_failures", "recovered",
                     "hook_failures", "full"):  # fmt: skip
            self.counts[f"metrics: {name}"] += getattr(metrics, name)

    async def _stop(self) -> None:
        try:
            await self.jobs.stop(self.rng.random() * 2)
        except (LogFailed, TablesFailed):
            self.counts["failed"] += 1
            raise Crash("the store failed as the process stopped") from None

    def _check(self) -> None:
        """Everything on record is as it has to be, and whoever was told something was told the truth."""
        with self.store.snapshot() as seen:
            self.record.advance(self.store, seen.lsn)
            check_tables(self.record, self.jobs, seen)
        record, promise = self.record, self.world.promise
        known = record.jobs.keys() | record.gone
        lost = self.promised - known
        promise(
            not lost,
            f"{len(lost)} jobs were promised and are not there, such as {min(lost, default='')}",
        )
        for job, result in self.told.items():
            row = record.jobs.get(job)
            if row is not None and row.id not in record.retried:
                same = row.result == result if isinstance(result, bytes) else row.state is result
                promise(same, f"somebody was told {result!r} of job {job}, which is {row}")

    # -- a round --------------------------------------------------------------------------------

    async def _round(self, fault: str) -> None:
        """Clients work while jobs are run."""
        await self.jobs.start()
        running = self.jobs._running
        assert running is not None
        clients = [asyncio.ensure_future(self.client()) for _ in range(CLIENTS)]
        if fault == "full disk":
            self.loop.call_later(self.rng.random() * 6, self._give_room)
        working = asyncio.gather(*clients)
        both: list[asyncio.Future[Any]] = [running, working]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        working.cancel()
        self._look_at(running)

    def _look_at(self, running: asyncio.Task[None]) -> None:
        """Whoever runs jobs may end only because the store has failed."""
        if running.done() and not running.cancelled():
            error = running.exception()
            fine = (
                isinstance(error, (LogFailed, TablesFailed)) or self.store.log.failure is not None
            )
            if not fine:
                lines = "".join(traceback.format_exception(error)) if error else "nothing"
                self.world.promise(False, f"whoever runs jobs gave up: {lines}")

    def _give_room(self) -> None:
        self.disk.faults.capacity = None

    # -- the end --------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Nothing fails any more: all that was asked for is done, and then forgotten."""
        self.world.calm = True
        self._begin_process("none")
        self.disk.faults = Faults()  # no more of them
        ending = self._live(self._drain())
        assert ending is None
        self._end_process("close")
        self._check_end()

    async def _drain(self) -> None:
        await self.jobs.start()
        running = self.jobs._running
        assert running is not None
        for queue in QUEUES:
            await self.store.run(self.jobs.resume, queue)
        self.world.paused_since = {}
        for schedule in list(self.jobs._timers.schedules.scan(self.store)):
            if schedule.missed != "each":  # those first do what they missed
                await self.store.run(self.jobs._timers.stop, schedule.name)
        await self._until(self._ended, "ended", running)
        for schedule in list(self.jobs._timers.schedules.scan(self.store)):
            await self.store.run(self.jobs._timers.stop, schedule.name)
        await self._until(self._fired, "fired", running)
        with self.store.snapshot() as seen:
            self.record.advance(self.store, seen.lsn)
            check_tables(self.record, self.jobs, seen)
        board = self.jobs._dispatcher._board if self.jobs._dispatcher is not None else None
        assert board is not None
        self.world.promise(board.running == 0, f"{board.running} jobs count as running for ever")
        self.clock.now += int((self.job_options.keep_done + 1) * 1e9)
        await asyncio.sleep(KEEP_SECONDS)
        await self._drop_all()
        self._look_at(running)

    async def _drop_all(self) -> None:
        """Forget the dead, and with them whatever was kept for them."""
        rows: list[Job] = []
        while (left := list(self.jobs._ledger.jobs.scan(self.store))) != rows:
            rows = left
            for job in rows:
                with suppress(NotPossible, UnknownJob):  # forgotten a moment ago
                    await self.store.run(self.jobs.drop, job.id)

    async def _until(
        self, done: Callable[[], list[Any]], how: str, running: asyncio.Task[None]
    ) -> None:
        left: list[Any] = []
        for look in range(PATIENCE):
            self._look_at(running)
            left = done()
            if not left:
                return
            await self._lease()
            while self.held:
                await self._report()
            await asyncio.sleep(0.5 if look < 20 else 3.0)
        self.world.promise(False, f"{len(left)} have not {how}, such as {left[0]}")

    def _ended(self) -> list[Any]:
        return [job for job in self.jobs._ledger.jobs.scan(self.store) if not job.state.ended]

    def _fired(self) -> list[Any]:
        timers = list(self.jobs._ledger.timers.scan(self.store))
        if timers:
            self.clock.now = max(self.clock.now, timers[-1].due)
        return timers

    def _check_end(self) -> None:
        store = self.store = Store(PATH, self.options)
        jobs = self.jobs = Jobs(store, self.job_options)
        ledger, steps = jobs._ledger, jobs._steps
        record, promise = self.record, self.world.promise
        for table in (
            ledger.jobs, ledger.edges, ledger.lanes, ledger.timers, steps.steps, steps.signals,
        ):  # fmt: skip
            rows = list(table.scan(store))
            promise(not rows, f"{len(rows)} rows of {table.name} are left over, such as {rows[:1]}")
        for job in self.promised:
            promise(record.ends[job] >= 1, f"job {job} was promised and never ended")
        for name, count in record.ticks.items():
            ticks = record.tallies.get(f"{OFTEN} {name}", 0)
            promise(ticks == count, f"schedule {name} says it fired {count} times, and did {ticks}")
        store.close()


async def _coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable


def simulate_jobs(seed: int, *, trace: bool = False) -> Outcome:
    """Run one seed."""
    simulation = Simulation(seed, trace=trace)
    failure: str | None = None
    try:
        with warnings.catch_warnings():
            # Steps that a workflow asked for and was ended before it could wait for them.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            simulation.run()
    except Exception as error:
        failure = (
            "".join(traceback.format_exception(error))
            if trace
            else f"{type(error).__name__}: {error}"
        )
    return Outcome(seed, dict(simulation.counts), failure, simulation.disk.trace or [])
