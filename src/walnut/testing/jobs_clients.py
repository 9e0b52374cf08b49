"""The clients of the jobs' simulator: all that anybody may ask of jobs, at random, and what it is told.

What must stay true: a client knows only what it was told; what it checks inside of a transaction is
what any transaction may rely on.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, Final

import msgspec

from walnut.jobs.call import Call, perform
from walnut.jobs.context import Context
from walnut.jobs.errors import Fenced, JobFailed, NotPossible, UnknownJob
from walnut.jobs.graph import Node
from walnut.jobs.jobs import Jobs
from walnut.jobs.leases import OUTSIDE
from walnut.jobs.ledger import Ended
from walnut.jobs.model import Job, Late, Missed, State
from walnut.jobs.recurrence import Cron
from walnut.jobs.tasks import FLOW
from walnut.log.errors import DiskError, LogClosed, LogFailed, LogFull, RecordTooLarge
from walnut.store.errors import NotUnique, StoreClosed, TablesFailed
from walnut.store.store import Store
from walnut.store.table import Table
from walnut.store.transaction import Transaction
from walnut.testing.disk import SimClock
from walnut.testing.jobs_checks import OFTEN, Keyed, Order
from walnut.testing.jobs_world import Made, Tally, World
from walnut.testing.loop import SimLoop

STEPS: Final = 8
"""Of a client in a round, at most."""
MINUTES: Final = Cron("*/5 * * * *")
JUMP_SECONDS: Final = 7200.0
"""How far a clock is set at most."""
PLAIN: Final = ["work", "narrow", "hang", "render", "fetch", "tallied", "pay", "delegate"]
QUEUES: Final = ["default", "narrow", "rated", "shared"]


MISSED: Final[list[Missed]] = ["each", "coalesce", "skip"]


class Clients:
    """What clients do, and what they were told.

    Attributes:
        promised: jobs that are there, as somebody was told. told: results, likewise.
        ids, flows: all jobs, and workflows, in the order they were enqueued.
        held: what workers outside have taken.
    """

    def __init__(self, world: World, clock: SimClock) -> None:
        self.world = world
        self.rng = world.rng
        self.counts = world.counts
        self.clock = clock
        self.promised: set[str] = set()
        self.told: dict[str, bytes] = {}
        self.ids: list[str] = []
        self.flows: list[str] = []
        self.held: list[tuple[Job, Made]] = []
        self._tokens = 0
        self.store: Store
        self.jobs: Jobs
        self.loop: SimLoop
        self.tally: Table[Tally]
        self.keyed: Table[Keyed]
        self.orders: Table[Order]

    async def client(self) -> None:
        """Take a few steps at random, some time apart; end if the store does."""
        rng = self.rng
        for _ in range(rng.randrange(STEPS)):
            await asyncio.sleep(rng.random() ** 2 * 2)
            step = rng.choices(STEP_NAMES, STEP_WEIGHTS)[0]
            self.counts["steps"] += 1
            self.world.note(f"   {step}")
            try:
                await getattr(self, "_" + step)()
            except (LogFull, RecordTooLarge):
                self.counts["full"] += 1
            except (LogFailed, LogClosed, StoreClosed, TablesFailed):
                self.counts["failed"] += 1
                return
            if self.world.broken:
                return

    # -- what clients do ------------------------------------------------------------------------

    def _options(self) -> dict[str, Any]:
        rng = self.rng
        options: dict[str, Any] = {}
        if rng.random() < 0.3:
            options["priority"] = rng.randrange(-2, 3)
        if rng.random() < 0.4:
            options["tenant"] = f"t{rng.randrange(3)}"
        if rng.random() < 0.25:
            options["lane"] = f"l{rng.randrange(2)}"
        if rng.random() < 0.2:
            options["key"] = f"k{rng.randrange(4)}"
        if rng.random() < 0.15:
            options["queue"] = rng.choice(["narrow", "shared"])
        if rng.random() < 0.25 and self.ids:
            options["after"] = [rng.choice(self.ids[-12:]) for _ in range(rng.randrange(1, 4))]
        if rng.random() < 0.2:
            now = dt.datetime.fromtimestamp(self.clock.now / 1e9, dt.UTC)
            options["at"] = now + dt.timedelta(seconds=rng.uniform(-1, 8))
        return options

    async def _enqueue(self) -> None:
        """Some jobs, with a row of the client's own beside each; sometimes it raises after all."""
        world, rng = self.world, self.rng
        wanted = [(rng.choice(PLAIN), self._options()) for _ in range(rng.randrange(1, 4))]
        for task, options in wanted:
            if task == "delegate":  # whom a queue's limits do not bind
                options.pop("queue", None)
        raises = rng.random() < 0.1
        tokens = [self._token() for _ in wanted]

        def function(tx: Transaction) -> list[Job]:
            made: list[Job] = []
            for (task, options), token in zip(wanted, tokens, strict=True):
                known = options.get("key") and self.jobs.find(tx, options["key"])
                job = self.jobs.enqueue(tx, world.tasks[task], len(made), **options)
                if known:
                    world.promise(
                        job.id == known.id, f"key {job.key} is {known.id}'s, not {job.id}'s"
                    )
                else:
                    self.orders.put(tx, Order(token, job.id))
                made.append(job)
            if raises:
                raise RuntimeError("on purpose")
            return made

        try:
            made = await self.store.run(function)
        except (NotPossible, UnknownJob):
            self.counts["refused"] += 1  # it would come after one that has failed, or is forgotten
            return
        except RuntimeError:
            return
        self._promise(made)

    def _promise(self, made: list[Job]) -> None:
        for job in made:
            self.promised.add(job.id)
            self.ids.append(job.id)
            if job.runs == FLOW:
                self.flows.append(job.id)
        self.counts["enqueued"] += len(made)

    def _token(self) -> str:
        self._tokens += 1
        return f"o{self._tokens}"

    async def _graph(self) -> None:
        """A fan-out and a fan-in, in one transaction."""
        tasks = self.world.tasks
        width = self.rng.randrange(1, 5)
        nodes = {"first": Node(tasks["work"], (0,))}
        for number in range(width):
            after = ["first"] if number < 3 else ["first", "n0"]
            nodes[f"n{number}"] = Node(tasks[self.rng.choice(PLAIN)], (number,), after)
        nodes["last"] = Node(tasks["tallied"], (9,), [f"n{number}" for number in range(width)])
        made = await self.store.run(lambda tx: self.jobs.graph(tx, nodes))
        self._promise(list(made.values()))

    async def _start_flow(self) -> None:
        task = self.world.tasks[self.rng.choice(["order", "order", "small"])]
        key = f"f{self.rng.randrange(3)}" if self.rng.random() < 0.2 else ""
        number = self.rng.randrange(9)
        made = await self.store.run(lambda tx: self.jobs.enqueue(tx, task, number, key=key))
        self._promise([made])

    async def _signal(self) -> None:
        if self.flows:
            flow = self.rng.choice(self.flows[-5:])
            try:
                await self.store.run(self.jobs.signal, flow, "go", self.rng.randrange(5))
            except UnknownJob:
                self.counts["refused"] += 1

    async def _cancel(self) -> None:
        if self.ids:
            flows = self.flows[-3:] if self.rng.random() < 0.4 else []
            job = self.rng.choice(flows or self.ids[-20:])
            try:
                await self.store.run(self.jobs.cancel, job, "on purpose")
            except (NotPossible, UnknownJob):
                self.counts["refused"] += 1
            else:
                self.counts["cancelled"] += 1

    async def _retry(self) -> None:
        """Give something that failed another chance, a timer perhaps."""
        states = {State.DEAD, State.CANCELLED, State.WAITING}
        rows = [job for job in self.jobs._ledger.jobs.scan(self.store) if job.state in states]
        if not rows:
            return
        row = self.rng.choice(rows)
        if row.runs == FLOW:
            self.world.reopened.add(row.id)
            self.world.begun_again.add(row.id)
        try:
            await self.store.run(self.jobs.retry, row.id)
        except (NotPossible, UnknownJob, NotUnique):
            self.counts["refused"] += 1
        else:
            self.counts["retried"] += 1

    async def _drop(self) -> None:
        rows = [job for job in self.jobs._ledger.jobs.scan(self.store) if job.state.ended]
        if rows:
            try:
                await self.store.run(self.jobs.drop, self.rng.choice(rows).id)
            except (NotPossible, UnknownJob):
                self.counts["refused"] += 1

    async def _set_timer(self) -> None:
        """A timer; perhaps in place of another one, which has fired by then or never will."""
        rng, token = self.rng, self._token()
        key = f"k{rng.randrange(3)}" if rng.random() < 0.5 else ""
        late: Late = "skip" if rng.random() < 0.2 else "fire"
        seconds = rng.choice([-1.0, 0.0, 1.0, 5.0, 60.0, JUMP_SECONDS])
        unset = bool(key) and rng.random() < 0.2

        def function(tx: Transaction) -> None:
            if key:
                self._check_key(tx, key)
            if unset:
                self.jobs.unset(tx, key)
                self.keyed.delete(tx, key)
                return
            due = tx.now + dt.timedelta(seconds=seconds)
            nanoseconds = round(due.timestamp()) * 10**9
            when = dt.datetime.fromtimestamp(nanoseconds / 1e9, dt.UTC)
            self.jobs.at(
                tx, when, self.jobs.action(self._ring), token, nanoseconds, key=key, late=late
            )
            if key:
                self.keyed.put(tx, Keyed(key, token))

        await self.store.run(function)
        if not unset:
            self.counts["timers set"] += 1

    def _check_key(self, tx: Transaction, key: str) -> None:
        """The timer of this key is either set or has fired; not both, and not neither."""
        known = self.keyed.get(tx, key)
        timer = self.jobs._ledger.timer_by_key.get(tx, key)
        if known is not None and timer is not None:
            fired = self.tally.get(tx, f"timer {known.token}") is not None
            self.world.promise(not fired, f"the timer {known.token} has fired, and is set")

    def _ring(self, tx: Transaction, token: str, due: int) -> None:
        self.world.promise(tx.time >= due, f"timer {token} fires {due - tx.time} ns early")
        if tx.random.random() < 0.15 and not self.world.calm:
            raise (ConnectionError if tx.random.random() < 0.7 else ValueError)("the timer raises")
        self.world.count(tx, f"timer {token}")

    def _tick(self, tx: Transaction, name: str) -> None:
        self.world.count(tx, f"{OFTEN} {name}")

    async def _schedule(self) -> None:
        rng = self.rng
        missed = rng.choice(MISSED)
        name = f"{missed} {rng.randrange(2)}"
        if rng.random() < 0.3:
            await self.store.run(self.jobs._timers.stop, name)
            return
        action = self.jobs.action(self._tick)
        await self.store.run(self.jobs.every, name, MINUTES, action, name, missed=missed)
        self.counts["schedules"] += 1

    async def _pause(self) -> None:
        queue = self.rng.choice(QUEUES)
        paused = self.world.paused_since
        if self.rng.random() < 0.5:
            await self.store.run(self.jobs.pause, queue)
            paused[queue] = self.loop.time()
        else:
            paused.pop(queue, None)
            await self.store.run(self.jobs.resume, queue)
            paused.pop(queue, None)

    async def _wait_for_result(self) -> None:
        if not self.ids:
            return
        job = self.rng.choice(self.ids[-10:])
        try:
            async with asyncio.timeout(5):
                result = await self.jobs.result(job)
        except (TimeoutError, UnknownJob):
            return
        except JobFailed as error:
            self.world.note(f"   told: {error}")
            return
        self.told[job] = msgspec.msgpack.encode(result)
        self.counts["told a result"] += 1

    async def _ghost(self) -> None:
        """Somebody brings the outcome of an attempt late, or once more."""
        made = [one for one in self.world.attempts.values() if one.outcome is not None]
        if made:
            await self.store.run(self._bring, self.rng.choice(made[-40:]))

    def _bring(self, tx: Transaction, made: Made) -> None:
        ledger = self.jobs._ledger
        before = ledger.jobs.get(tx, made.job)
        wanted = (
            before is not None and before.state is State.RUNNING and before.attempt == made.number
        )
        settled = ledger.settle(tx, Ended(made.job, made.number, made.outcome), hooks=True)
        self.world.promise(
            (settled is not None) == wanted,
            f"attempt {made.number} of {made.job} brings something late, which is taken: {settled}",
        )
        after = ledger.jobs.get(tx, made.job)
        self.world.promise(wanted or before == after, "a fenced attempt changed its job")
        self.counts["late outcomes taken" if wanted else "late outcomes refused"] += 1

    async def _lease(self) -> None:
        """A worker outside takes jobs; it may never be heard of again."""
        seconds = self.rng.choice([1.0, 3.0, 30.0])
        for job in await self.store.run(self.jobs.lease, OUTSIDE, seconds, 2):
            call = Call("", job.id, job.attempt, job.arguments, job.tenant)
            self.held.append((job, self.world.begins(call, OUTSIDE)))

    async def _report(self) -> None:
        """A worker outside tells of itself, or of the end of what it took: in time or not, perhaps
        again, perhaps to another process than the one that it had it from."""
        if not self.held:
            return
        job, made = self.rng.choice(self.held)
        renews = self.rng.random() < 0.3 and made.outcome is None
        if not renews and made.outcome is None:
            task = self.world.tasks[job.task]
            context = Context(job.id, job.attempt, job.tenant, [], _unheard, _never)
            self.world.ends(
                made, perform(Call("", job.id, job.attempt, job.arguments), task, context, 2000)
            )

        def function(tx: Transaction) -> None:
            row = self.jobs.get(tx, job)
            held = row is not None and row.state is State.RUNNING and row.attempt == job.attempt
            try:
                if renews:
                    self.jobs.renew(tx, job, 2.0)
                else:
                    self.jobs.report(tx, job, made.outcome)
            except Fenced:
                self.world.promise(not held, f"{job.id} is held by its worker, who is not heard")
                self.counts["workers outside fenced"] += 1
            else:
                self.world.promise(held, f"{job.id} is not its worker's any more, who is heard")

        await self.store.run(function)
        if not renews and self.rng.random() < 0.8:
            self.held.remove((job, made))

    async def _jump(self) -> None:
        """The clock is set."""
        self.clock.now += int(
            self.rng.choice([-5.0, -1.0, 3.0, JUMP_SECONDS / 3, JUMP_SECONDS]) * 1e9
        )

    async def _checkpoint(self) -> None:
        self.loop.elsewhere(0.01, self._take_checkpoint)

    def _take_checkpoint(self) -> None:
        if self.store.log._commit._leader is not None or self.store.log.failure is not None:
            return
        try:
            self.store.checkpoint()
        except (TablesFailed, LogFailed, LogFull, DiskError):
            self.counts["checkpoint failed"] += 1


def _unheard(_: object) -> None:
    """Nobody listens to its progress."""


def _never() -> bool:
    return False


STEPS_OF: Final = {
    "enqueue": 12, "graph": 2, "start_flow": 3, "signal": 2, "cancel": 3, "retry": 4, "drop": 1,
    "set_timer": 5, "lease": 3, "report": 4, "schedule": 2, "pause": 2, "wait_for_result": 2, "ghost": 4, "jump": 1,
    "checkpoint": 1,
}  # fmt: skip
STEP_NAMES: Final = list(STEPS_OF)
STEP_WEIGHTS: Final = list(STEPS_OF.values())
