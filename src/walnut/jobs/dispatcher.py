"""The loop that runs jobs: what is due, what goes next, what has ended.

    hooks of commits ─▶ arrivals ─▶ board ─▶ pick ─┐
                                                   ├─▶ one transaction a turn ─▶ attempts start
    attempts that ended ───────────────────────────┘       settles and claims
    timers that are due ─▶ fired, many in a transaction

Everything here can be lost: a new dispatcher reads the tables and goes on.

What must stay true: an attempt begins only after its claim is durable; an outcome is kept here until it
is durable, or was refused as no longer wanted; a full disk delays and loses nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from walnut.jobs.attempts import AnyTask, Attempt, Attempts
from walnut.jobs.board import Board, Entry
from walnut.jobs.executors.runner import Runner
from walnut.jobs.ledger import CANCELLED, LIVE, LOST, Ended, Ledger
from walnut.jobs.model import SECOND, Job, JobsOptions, State, Timer
from walnut.jobs.outcome import Failure, failure
from walnut.jobs.registry import Registry
from walnut.jobs.steps import Step
from walnut.jobs.task import FLOW
from walnut.jobs.timers import Timers
from walnut.jobs.workflow import Flows
from walnut.log.errors import LogFailed, LogFull, RecordTooLarge
from walnut.log.metrics import Histogram
from walnut.store.store import Store
from walnut.store.transaction import Transaction

BATCH: Final = 256
"""Jobs, or timers, of one transaction: enough to share its cost, few enough not to hold others up."""
IDLE_SECONDS: Final = 1.0
"""How long it sleeps at most: the clock may be set meanwhile."""
FULL_SECONDS: Final = 0.5
"""How long it waits for space on the disk."""
KEEP_SECONDS: Final = 30.0
"""How often what ended long ago is dropped."""
REST_SECONDS: Final = 0.25
"""How often it is looked for workflows that may be taken out of memory."""
NEVER: Final = 1 << 63


class DispatchMetrics(msgspec.Struct):
    """Counters since jobs are run here; distributions in microseconds.

    Attributes:
        started, done, failed, handed_back: attempts.
        fenced: outcomes that were refused, as the attempt was no longer the job's.
        fired, fire_failures: timers.
        recovered: attempts found under way that nobody was making any more.
        hook_failures: outcomes recorded as failures as their `then` or `otherwise` raised.
        full: turns put off as the disk was full.
        wait: from being ready to the start of an attempt. lateness: of timers.
    """

    started: int = 0
    done: int = 0
    failed: int = 0
    handed_back: int = 0
    fenced: int = 0
    fired: int = 0
    fire_failures: int = 0
    recovered: int = 0
    hook_failures: int = 0
    full: int = 0
    wait: Histogram = msgspec.field(default_factory=Histogram)
    lateness: Histogram = msgspec.field(default_factory=Histogram)


class Dispatcher:
    """Runs what a ledger has, on one event loop, until it is stopped.

    Attributes:
        metrics: what it did.
        failure: why it gave up, if it did: the store takes no more transactions.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        timers: Timers,
        registry: Registry,
        runners: Mapping[str, Runner],
        flows: Flows,
    ) -> None:
        self.metrics = DispatchMetrics()
        self.failure: Exception | None = None
        self._store = store
        self._flows = flows
        self._ledger = ledger
        self._timers = timers
        self._registry = registry
        self._options: JobsOptions = ledger.options
        self._clock = store.options.log.clock
        self._loop = asyncio.get_running_loop()
        self._awake = asyncio.Event()
        self._ended = asyncio.Event()
        self._woken = False
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._board = Board(self._options.queues, self._options.resources, self._options.window)
        self.attempts = Attempts(
            dict(runners), self._options, self.post, self._attempt_ended, flows.perform
        )
        self._over: list[Ended] = []
        self._alone: list[Ended] = []
        self._needs: dict[str, Mapping[str, float]] = {}
        self._since = 0
        self._next_due = 0
        self._stuck: set[tuple[int, str]] = set()
        self._recorded = self._kept = self._rested = self._loop.time()
        self._draining = False
        self._stopping = False

    # -- from outside ---------------------------------------------------------------------------

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Have `function(*args)` called on the loop, soon. From any thread."""
        self._posted.append((function, args))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop was closed: nobody needs to know any more
                self._loop.call_soon_threadsafe(self._awake.set)

    def offer(self, job: Job) -> None:
        """A job is ready. From any thread."""
        self.post(self._board.offer, entry_of(job))

    def rung(self, due: int) -> None:
        """A timer was set for then; 0 for other news. From any thread."""
        if due:
            self.post(self._ring, due)
        else:
            self.post(self._read_pauses)

    def _ring(self, due: int) -> None:
        self._since = min(self._since, due)
        self._next_due = min(self._next_due, due)

    def stirred(self, step: Step) -> None:
        """A step of a workflow is done. From any thread."""
        self.post(self._flows.stirred, step)

    def cancelled(self, job: Job) -> None:
        """A job was cancelled: whatever runs of it is asked to stop. From any thread."""
        self.post(self._cancel, job.id)

    def _cancel(self, job: str) -> None:
        attempt = self.attempts.running.get(job)
        if attempt is not None:
            self.attempts.stop(attempt, Failure(CANCELLED, "cancelled"), self._loop.time())

    def declared(self) -> None:
        """There is code here that was not before. From any thread."""
        self.post(self._reload)

    def _reload(self) -> None:
        self._stuck.clear()
        self._ring(0)
        if self._board.unknown:
            self._board.unknown.clear()
            self._load()

    # -- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run jobs until `stop`. Raises what made the store fail."""
        try:
            self._recover()
            while True:
                self._awake.clear()
                self._woken = False
                self._take_posted()
                try:
                    busy = await self._turn()
                except LogFull:
                    self.metrics.full += 1
                    busy = False
                    await asyncio.sleep(FULL_SECONDS)
                if self._stopping and not (self._over or self._alone or self._posted):
                    return
                if not busy and not self._posted:
                    await self._sleep()
        except Exception as error:
            self.failure = error
            self._ended.set()
            raise

    def _take_posted(self) -> None:
        posted = self._posted
        for _ in range(len(posted)):
            function, args = posted.popleft()
            function(*args)

    async def _sleep(self) -> None:
        now = self._loop.time()
        waits = [IDLE_SECONDS]
        if not self._draining:
            waits.append((self._next_due - self._clock()) / SECOND)
            if (token := self._board.next_token()) is not None:
                waits.append(token)
        if (check := self.attempts.check(now)) is not None:
            waits.append(check - now)
        if min(waits) <= 0:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(min(waits)):
                await self._awake.wait()

    async def _turn(self) -> bool:
        """Do what there is to do; returns whether there may be more."""
        now = self._loop.time()
        self.attempts.check(now)
        fired = not self._draining and await self._fire()
        await self._look_after(now)
        picked = [] if self._draining else self._pick()
        over, self._over = self._over[:BATCH], self._over[BATCH:]
        try:
            await self._commit(over, picked)
            while self._alone:
                await self._settle_alone(self._alone[0])
                self._alone.pop(0)
        except LogFull:
            self._over[:0] = over
            raise
        return bool(fired or picked or over)

    def _pick(self) -> list[Entry]:
        for queue, runs, tenant in self._board.short():
            self._refill(queue, runs, tenant)
        slots = {name: min(free, BATCH) for name, free in self.attempts.slots().items()}
        return self._board.pick(slots, self._needs_now(), self._loop.time())

    def _needs_now(self) -> Mapping[str, Mapping[str, float]]:
        tasks = self._registry.tasks
        if len(self._needs) != len(tasks):
            self._needs = {name: task.options.resources for name, task in tasks.items()}
        return self._needs

    # -- settling and claiming ------------------------------------------------------------------

    async def _commit(self, over: list[Ended], picked: list[Entry]) -> None:
        """Settle and claim in one transaction, and begin what was claimed."""
        if not (over or picked):
            return
        claimed: list[Claimed] = []
        try:
            wanted, claimed = await self._store.run(
                self._settle_and_claim, over, [entry.job for entry in picked]
            )
            self._count(over, wanted)
        except RecordTooLarge:
            for ended in over:
                self._count([ended], [await self._store.run(self._ledger.settle, ended)])
            for entry in picked:
                self.offer_again(entry)
            return
        except BaseException:
            for entry in picked:
                self.offer_again(entry)
            raise
        self._begin(picked, claimed)

    def _settle_and_claim(
        self, tx: Transaction, over: list[Ended], ids: list[str]
    ) -> tuple[list[Job | None], list[Claimed]]:
        ledger = self._ledger
        wanted = [ledger.settle(tx, ended) for ended in over]
        return wanted, [Claimed(job, ledger.results(tx, job)) for job in ledger.claim(tx, ids)]

    def offer_again(self, entry: Entry) -> None:
        """A job that was picked could not be claimed."""
        self._board.ended(entry.job)
        self._board.offer(entry)

    async def _settle_alone(self, ended: Ended) -> None:
        """Settle an attempt whose task has a hook, which may raise."""
        try:
            job = await self._store.run(self._ledger.settle, ended)
        except (LogFull, LogFailed):
            raise
        except Exception as error:
            self.metrics.hook_failures += 1
            ended = msgspec.structs.replace(ended, outcome=failure(error))
            job = await self._store.run(self._ledger.settle, ended, hooks=False)
        self._count([ended], [job])

    def _count(self, over: Iterable[Ended], settled: Iterable[Job | None]) -> None:
        metrics = self.metrics
        for ended, job in zip(over, settled, strict=True):
            if job is None:
                metrics.fenced += 1
            elif ended.outcome is None:
                metrics.handed_back += 1
            elif isinstance(ended.outcome, Failure):
                metrics.failed += 1
            else:
                metrics.done += 1

    def _begin(self, picked: list[Entry], claimed: list[Claimed]) -> None:
        got = set()
        now, clock = self._loop.time(), self._clock()
        for one in claimed:
            job = one.job
            got.add(job.id)
            if self._draining:  # since it was claimed: it does not begin, and is handed back
                self._board.ended(job.id)
                self._over.append(Ended(job.id, job.attempt, None))
                continue
            self.metrics.started += 1
            self.metrics.wait.observe((clock - max(job.created, job.due)) / 1000)
            self.attempts.start(job, self._registry.need(job.task), one.results, now)
        for entry in picked:
            if entry.job not in got:  # cancelled meanwhile, or it was offered twice
                self._board.ended(entry.job)

    def _attempt_ended(self, attempt: Attempt, ended: Ended) -> None:
        self._board.ended(ended.job)
        self._ended.set()
        if not attempt.asleep:
            self._keep_ended(attempt.task, ended)
        self.post(_nothing)

    def _keep_ended(self, task: AnyTask | None, ended: Ended) -> None:
        hooked = task is not None and (task.on_done is not None or task.on_dead is not None)
        (self._alone if hooked else self._over).append(ended)

    # -- timers ---------------------------------------------------------------------------------

    async def _fire(self) -> int:
        """Fire what is due, a batch of it; returns how many."""
        now = self._clock()
        if now < self._next_due:
            return 0
        since = self._since
        self._next_due = NEVER  # whatever is set from here on rings
        found = self._timers.due(self._store, since, now, BATCH + len(self._stuck))
        due = [timer for timer in found if (timer.due, timer.id) not in self._stuck]
        ready = [timer for timer in due if self._timers.can_fire(timer)]
        self._stuck.update((timer.due, timer.id) for timer in due if timer not in ready)
        try:
            await self._fire_batch(ready)
        except BaseException:
            self._ring(since)
            raise
        if due:
            self._ring(due[-1].due)
            self._since = due[-1].due
        else:
            upcoming = self._timers.next_due(self._store, now + 1)
            self._next_due = min(self._next_due, NEVER if upcoming is None else upcoming)
        return len(ready)

    async def _fire_batch(self, timers: list[Timer]) -> None:
        if not timers:
            return
        try:
            fired = await self._store.run(self._timers.fire, timers)
        except (LogFull, LogFailed):
            raise
        except Exception as error:
            if len(timers) > 1:
                for timer in timers:  # each for itself, so that one that raises is alone with it
                    await self._fire_batch([timer])
                return
            self.metrics.fire_failures += 1
            await self._store.run(self._timers.failed, timers[0], failure(error))
            return
        self.metrics.fired += fired
        now = self._clock()
        for timer in timers:
            self.metrics.lateness.observe((now - timer.due) / 1000)

    # -- looking after --------------------------------------------------------------------------

    async def _look_after(self, now: float) -> None:
        if now - self._recorded >= self._options.record_every:
            self._recorded = now
            notes = [a for a in self.attempts.running.values() if a.note is not None]
            for begin in range(0, len(notes), BATCH):
                await self._store.run(self._record, notes[begin : begin + BATCH])
        if now - self._rested >= REST_SECONDS:
            self._rested = now
            full = self.attempts.slots()[FLOW] <= 0
            await self._flows.rest(now - (REST_SECONDS if full else self._options.flow_idle))
        if now - self._kept >= KEEP_SECONDS:
            self._kept = now
            dropped = BATCH
            while dropped == BATCH:
                dropped = await self._store.run(self._ledger.drop_ended, BATCH)

    def _record(self, tx: Transaction, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            note, attempt.note = attempt.note, None
            if note is not None:
                self._ledger.note(tx, note.job, note.attempt, note.progress or 0.0, note.text)

    # -- the tables -----------------------------------------------------------------------------

    def _recover(self) -> None:
        """Whatever is on record as running is not: this is the only one that runs jobs."""
        self._read_pauses()
        for job in self._load():
            lost = Ended(job.id, job.attempt, Failure(LOST, "the server stopped while it ran"))
            self._keep_ended(self._registry.task(job.task), lost)
            self.metrics.recovered += 1

    def _read_pauses(self) -> None:
        self._board.pause({pause.queue for pause in self._ledger.pauses.scan(self._store)})

    def _load(self) -> list[Job]:
        """Offer what is ready, tenant by tenant, and return what is on record as running but is not
        running here."""
        line, running = self._ledger.line, list[Job]()
        at: tuple[str, ...] = ()
        while (job := next(line.scan(self._store, LIVE, start=at, limit=1), None)) is not None:
            running += self._refill(job.queue, job.runs, job.tenant)
            at = (job.queue, job.runs, job.tenant + "\0")
        return [job for job in running if job.id not in self.attempts.running]

    def _refill(self, queue: str, runs: str, tenant: str) -> list[Job]:
        """Offer the next jobs of a tenant; returns those that are on record as running."""
        entries: list[Entry] = []
        running: list[Job] = []
        most = 2 * self._options.window
        for job in self._ledger.line.scan(self._store, (LIVE, queue, runs, tenant)):
            if job.state is State.RUNNING:
                running.append(job)
            elif self._registry.task(job.task) is None:
                self._board.unknown[job.task] += 1
            else:
                entries.append(entry_of(job))
                if len(entries) == most:
                    break
        self._board.refill(queue, runs, tenant, entries, more=len(entries) == most)
        return running

    # -- stopping -------------------------------------------------------------------------------

    async def stop(self, budget: float) -> int:
        """Start nothing more, give what runs `budget` seconds to end, hand back the rest; returns how
        many were handed back."""
        self._draining = True
        await self._quiet(budget)
        left = list(self.attempts.running.values())
        for attempt in left:
            self.attempts.stop(attempt, None, self._loop.time())
        await self._quiet(None)
        self._stopping = True
        self.post(_nothing)
        return len(left)

    async def _quiet(self, budget: float | None) -> None:
        """Wait until nothing runs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(budget):
                while self.attempts.running and self.failure is None:
                    self._ended.clear()
                    await self._ended.wait()


class Claimed(msgspec.Struct, frozen=True):
    """A job of which an attempt may begin, and the results it is given."""

    job: Job
    results: list[bytes]


def entry_of(job: Job) -> Entry:
    """A job as the board has it."""
    return Entry(job.rank, job.id, job.task, job.queue, job.runs, job.tenant)


def _nothing() -> None:
    """Wakes the loop."""
