"""The world of the jobs' simulator: tasks and executors, and what they did, whoever was told of it.

    dispatcher ─▶ SimRunner.start ─▶ World.begins ─ latency ─▶ the task's function ─ latency ─▶ answered
                                       │ checks what                 │ acts outside      └ lost, late, twice
                                       └ has to hold now             └ remembered over all crashes

What must stay true of it: it outlives every crash, and nothing in it is taken from what jobs say of
themselves, but for comparing.
"""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

import msgspec

from walnut.jobs.call import Call, Limits, Tell, perform
from walnut.jobs.context import Context
from walnut.jobs.errors import ExecutorFailed, Postponed, WorkerDied
from walnut.jobs.jobs import Jobs
from walnut.jobs.leases import OUTSIDE
from walnut.jobs.ledger import DOUBTFUL
from walnut.jobs.model import Job, JobsOptions, QueueLimits, State
from walnut.jobs.outcome import Failure, Outcome, failure
from walnut.jobs.retry import Retry
from walnut.jobs.tasks import Task
from walnut.jobs.workflow import Flow
from walnut.log.errors import LogError
from walnut.store.errors import StoreError
from walnut.store.table import Table
from walnut.store.transaction import Transaction
from walnut.testing.loop import SimLoop
from walnut.testing.simulator import BrokenPromise

RETRY: Final = Retry(attempts=3, first=0.2, most=3.0, resource_wait=1.0)
QUEUES: Final = {
    "narrow": QueueLimits(concurrency=3, tenant_concurrency=1),
    "rated": QueueLimits(rate=4.0, burst=3),
    "shared": QueueLimits(concurrency=5, shares={"t1": 3.0}),
}
RESOURCES: Final = {"gpu": 2.0}
SLOTS: Final = {"thread": 6, "process": 3}
RATE_SLACK: Final = 0.7
"""Seconds between choosing a job and its start, which blurs a rate: its claim becomes durable."""


class Tally(msgspec.Struct):
    """What a transaction of the user's did, and how often: it is to be once."""

    name: str
    count: int


class Made(msgspec.Struct):
    """An attempt that began.

    Attributes:
        life: of which process. outcome: what its task did; `told`: that reached the dispatcher.
        brought: all that was given as its outcome.
        dead: it was killed, or its process was.
    """

    job: str
    number: int
    task: str
    queue: str
    tenant: str
    runs: str
    life: int
    outcome: Outcome | None = None
    told: bool = False
    dead: bool = False
    brought: list[Outcome] = []


class World:
    """Everything outside of the store."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.life = 0
        self.counts: Counter[str] = Counter()
        self.attempts: dict[tuple[str, int], Made] = {}
        self.running: dict[tuple[str, int], Made] = {}
        self.starts: list[float] = []
        self.paid: Counter[str] = Counter()
        self.traces: dict[str, list[Any]] = {}
        self.reopened: set[str] = set()
        self.begun_again: set[str] = set()
        self.paused_since: dict[str, float] = {}
        self.broken: list[str] = []
        self.trace: list[str] | None = None
        self.calm = False
        self.newer_from = rng.randrange(1, 6)
        self.loop: SimLoop
        self.jobs: Jobs
        self.tasks: dict[str, Task[..., Any]]
        self.tally: Table[Tally]

    def promise(self, holds: bool, broken: str) -> None:  # noqa: FBT001  reads as a sentence
        """Raise BrokenPromise unless it holds, and remember it, whoever catches that."""
        if not holds:
            self.broken.append(broken)
            raise BrokenPromise(broken)

    def note(self, text: str) -> None:
        """A line for the trace."""
        if self.trace is not None:
            self.trace.append(text)

    def chance(self, probability: float) -> bool:
        """Whether something goes wrong now; nothing does when all is to come to its end."""
        return self.rng.random() < probability and not self.calm

    def begin_life(self, loop: SimLoop, jobs: Jobs, tally: Table[Tally]) -> None:
        """A process has started."""
        self.life += 1
        self.loop, self.jobs, self.tally = loop, jobs, tally
        self.starts = []
        self.paused_since = {}

    def end_life(self) -> None:
        """The process has ended, and with it its children; workers outside go on."""
        for made in self.running.values():
            made.dead = made.runs != OUTSIDE
        self.running = {key: made for key, made in self.running.items() if not made.dead}

    # -- attempts -------------------------------------------------------------------------------

    def begins(self, call: Call, runs: str) -> Made:
        """An attempt starts: check all that has to hold by now."""
        job = self.jobs.get(self.jobs.store, call.job)  # what is durable
        name = f"attempt {call.attempt} of {call.job}"
        self.promise(job is not None, f"{name} runs, and there is no such job on record")
        assert job is not None
        self.note(f"   {runs}: {name} ({job.task}) begins")
        self.promise(job.attempt >= call.attempt, f"{name} runs before its claim is durable")
        self.promise((call.job, call.attempt) not in self.attempts, f"{name} began twice")
        self._check_doubt(call, self.tasks[job.task], name)
        self._check_results(call, job, name)
        made = Made(call.job, call.attempt, job.task, job.queue, job.tenant, runs, self.life)
        self.attempts[call.job, call.attempt] = self.running[call.job, call.attempt] = made
        self.counts[f"attempts: {job.task}"] += 1
        self._check_limits(made, name)
        return made

    def _check_doubt(self, call: Call, task: Task[..., Any], name: str) -> None:
        before = self.attempts.get((call.job, call.attempt - 1))
        if task.ask is None or before is None or call.doubtful:
            return
        told = before.outcome if before.told else None
        clean = isinstance(told, Failure) and told.error not in DOUBTFUL
        self.promise(
            clean, f"{name} does not ask what became of the attempt before, which was lost"
        )

    def _check_results(self, call: Call, job: Job, name: str) -> None:
        if job.attempt != call.attempt or job.state is not State.RUNNING or job.runs == OUTSIDE:
            return
        befores = [self.jobs.get(self.jobs.store, before) for before in job.after]
        done = all(before is not None and before.state is State.DONE for before in befores)
        self.promise(done, f"{name} runs before those it comes after are done")
        results = [before.result for before in befores if before is not None]
        self.promise(results == call.results, f"{name} is given other results than there are")

    def _check_limits(self, made: Made, name: str) -> None:
        running = list(self.running.values())
        limits = QUEUES.get(made.queue)
        of_queue = [one for one in running if one.queue == made.queue]
        if limits is not None and limits.concurrency is not None:
            self.promise(len(of_queue) <= limits.concurrency, f"{name}: over the queue's limit")
        if limits is not None and limits.tenant_concurrency is not None:
            theirs = sum(one.tenant == made.tenant for one in of_queue)
            self.promise(theirs <= limits.tenant_concurrency, f"{name}: over its tenant's limit")
        gpus = sum(self.tasks[one.task].options.resources.get("gpu", 0.0) for one in running)
        self.promise(gpus <= RESOURCES["gpu"], f"{name}: {gpus} gpus are in use")
        slots = SLOTS.get(made.runs)
        used = sum(one.runs == made.runs for one in running)
        self.promise(slots is None or used <= slots, f"{name}: {used} attempts on {made.runs}")
        now = self.loop.time()
        since = self.paused_since.get(made.queue)
        self.promise(since is None or now - since < 1.0, f"{name} starts while its queue is paused")
        if limits is not None and limits.rate is not None:
            self.starts.append(now)
            for count, start in enumerate(reversed(self.starts), 1):
                most = limits.burst + limits.rate * (now - start + RATE_SLACK)
                self.promise(count <= most, f"{name}: {count} starts in {now - start:.3f} s")

    def ends(self, made: Made, outcome: Outcome | None, *, told: bool = True) -> None:
        """An attempt is over."""
        self.note(f"   {made.runs}: attempt {made.number} of {made.job} ends")
        made.outcome, made.told = outcome, told
        if outcome is not None:
            made.brought.append(outcome)
        self.running.pop((made.job, made.number), None)

    # -- what tasks do --------------------------------------------------------------------------

    def act(self, context: Context, number: int) -> list[int]:
        """What most tasks do: return something, or raise something."""
        context.progress(0.5)
        if self.chance(0.35):
            raise self.rng.choice([
                ConnectionError("transient"), ConnectionError("transient"), OSError("transient"),
                MemoryError("resource"), ValueError("permanent"), Postponed(self.rng.random() * 2),
            ])  # fmt: skip
        return [number, context.attempt]

    def cancel(self, job: str) -> None:
        """Somebody cancels a job at this moment, and does not wait until that is durable."""
        with suppress(LogError, StoreError):
            self.counts["cancelled on the way"] += 1
            self.jobs.store.submit(self.jobs.cancel, job)

    def count(self, tx: Transaction, name: str) -> int:
        """Count something, as part of a transaction."""
        row = self.tally.get(tx, name) or Tally(name, 0)
        return self.tally.put(tx, Tally(name, row.count + 1)).count

    def seen(self, flow: Flow, at: int, what: Any) -> int:
        """A workflow's code sees something, as the `at`th thing: the same at every replay."""
        trace = self.traces.setdefault(flow.job, [])
        if at < len(trace) and trace[at] != what:
            self.promise(
                flow.job in self.reopened,
                f"workflow {flow.job} saw {trace[at]} as number {at}, and {what} when it was replayed",
            )
            self.reopened.discard(flow.job)
            del trace[at:]
        if at == len(trace):
            trace.append(what)
        return at + 1


class SimRunner:
    """An executor of attempts that take a while, raise, die, do not answer, or answer too late."""

    def __init__(self, world: World, name: str) -> None:
        self.slots = SLOTS[name]
        self._world = world
        self._name = name
        self._made: dict[tuple[str, int], tuple[Made, Future[Outcome]]] = {}

    def start(self, call: Call, limits: Limits, tell: Tell) -> Future[Outcome]:
        """See `Runner.start`."""
        del limits
        world = self._world
        future: Future[Outcome] = Future()
        if world.chance(0.02):
            future.set_result(failure(ExecutorFailed("it can't be started (simulated)")))
            return future
        made = world.begins(call, self._name)
        self._made[call.job, call.attempt] = made, future
        world.loop.elsewhere(0.8, self._perform, made, call, future, tell)
        return future

    def _perform(self, made: Made, call: Call, future: Future[Outcome], tell: Tell) -> None:
        world = self._world
        if made.dead:
            return
        task = world.tasks[made.task]
        context = Context(
            call.job, call.attempt, call.tenant, call.results, tell, lambda: made.dead
        )
        outcome = made.outcome = perform(call, task, context, 2000)
        made.brought.append(outcome)
        if task.options.timeout is not None and world.chance(0.3):
            world.counts["attempts that never answered"] += 1
        elif world.chance(0.04):
            world.counts["workers died"] += 1
            world.loop.elsewhere(0.1, self._answer, made, future, failure(WorkerDied("died")))
        else:
            world.loop.elsewhere(0.1, self._answer, made, future, outcome)

    def _answer(self, made: Made, future: Future[Outcome], outcome: Outcome) -> None:
        if made.dead or future.done():
            return
        self._world.ends(made, outcome)
        future.set_result(outcome)

    def cancel(self, call: Call) -> None:
        """See `Runner.cancel`: some tasks look, and end soon."""
        made, future = self._made.get((call.job, call.attempt), (None, None))
        if made is not None and future is not None and self._world.chance(0.5):
            cancelled = failure(RuntimeError("it was asked to stop"))
            self._world.loop.elsewhere(0.2, self._answer, made, future, cancelled)

    def kill(self, call: Call) -> None:
        """See `Runner.kill`. Whoever is killed may have answered a moment ago."""
        made, future = self._made.get((call.job, call.attempt), (None, None))
        if made is not None and future is not None and not future.done() and not made.dead:
            made.dead = True
            self._world.ends(made, made.outcome, told=False)
            late = made.outcome or failure(WorkerDied("killed"))
            self._world.loop.elsewhere(0.5, _resolve, future, late)

    def close(self, timeout: float) -> None:
        """See `Runner.close`."""


def _resolve(future: Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)


OPTIONS: Final = JobsOptions(
    queues=QUEUES, resources=RESOURCES, losses=4, cancel_grace=0.5, record_every=1.0, tasks=8,
    result_bytes=2000, timer_attempts=3, flow_idle=0.3,
)  # fmt: skip
