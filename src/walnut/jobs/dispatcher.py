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

from walnut.jobs.attempts import Attempt, Attempts
from walnut.jobs.board import Board, Entry
from walnut.jobs.executors.runner import Runner
from walnut.jobs.leases import OUTSIDE
from walnut.jobs.ledger import CANCELLED, LIVE, LOST, Ended, Ledger, nobody
from walnut.jobs.model import SECOND, Job, JobsOptions, State, Timer
from walnut.jobs.outcome import Failure, failure
from walnut.jobs.registry import Registry
from walnut.jobs.steps import Step
from walnut.jobs.tasks import FLOW
from walnut.jobs.timers import Timers
from walnut.jobs.workflow import Flows
from walnut.log.errors import EndMoved, LogClosed, LogFailed, LogFull, RecordTooLarge
from walnut.log.metrics import Histogram
from walnut.store.errors import StoreClosed
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
SWEPT: Final = 1000
"""Rows looked at in each turn for attempts that nobody makes any more."""
NEVER: Final = 1 << 63
DOWN: Final = (LogFull, LogFailed, LogClosed, StoreClosed, EndMoved)
"""The store can't take a transaction, whatever is in it."""


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
        gave_up: told of it.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        timers: Timers,
        registry: Registry,
        runners: Mapping[str, Runner],
        flows: Flows,
        metrics: DispatchMetrics,
    ) -> None:
        self.metrics = metrics
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
        self._sweeping = True
        self._swept: str | None = None
        self._needs: dict[str, Mapping[str, float]] = {}
        self._since = 0
        self._next_due = 0
        self._time = 0
        self._stuck: set[tuple[int, str]] = set()
        self._recorded = self._kept = self._rested = self._loop.time()
        self._draining = False
        self._stopping = False
        self._deadline = 0.0
        self.gave_up: Callable[[Exception], object] = nobody

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
        if job.runs == OUTSIDE:  # whoever wants it asks for it
            return
        self.post(self._board.offer, entry_of(job))

    def rung(self, due: int, now: int) -> None:
        """A timer was set for then; 0 for other news. From any thread."""
        if due:
            self.post(self._rung, due, now)
        else:
            self.post(self._read_pauses)

    def _rung(self, due: int, now: int) -> None:
        self._time = max(self._time, now)
        self._ring(due)

    def _ring(self, due: int) -> None:
        self._since = min(self._since, due)
        self._next_due = min(self._next_due, due)

    def _now(self) -> int:
        """The time as transactions have it: it stands still while the clock is set back."""
        return max(self._clock(), self._time)

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
            self._read_pauses()
            self._load()
            while await self._pass():
                pass
        except Exception as error:
            self.failure = error
            self._ended.set()
            self.gave_up(error)
            await self._end_all()
            raise

    async def _pass(self) -> bool:
        """Take what came, do what there is to do, sleep; returns whether to go on."""
        self._take_posted()
        if self._store.log.failure is not None:
            raise self._store.log.failure
        try:
            busy = await self._turn()
        except (LogFull, EndMoved):
            if self._stopping and self._loop.time() >= self._deadline:
                raise
            self.metrics.full += 1
            busy = False
            await asyncio.sleep(FULL_SECONDS)
        if self._stopping and not (self._over or self._posted):
            return False
        if not busy and not self._posted:
            await self._sleep()
        return True

    async def _end_all(self) -> None:
        """End what runs: nothing that comes of it can be recorded."""
        for attempt in list(self.attempts.running.values()):
            self.attempts.stop(attempt, None, self._loop.time())
        while self.attempts.running:
            with suppress(Exception):  # whatever else was posted needs the store
                self._take_posted()
            upcoming = self.attempts.check(self._loop.time())
            if self.attempts.running and not self._posted:
                await self._wait((upcoming or 0.0) - self._loop.time())

    def _take_posted(self) -> None:
        self._awake.clear()
        self._woken = False
        posted = self._posted
        for _ in range(len(posted)):
            function, args = posted.popleft()
            function(*args)

    async def _sleep(self) -> None:
        now = self._loop.time()
        waits = [REST_SECONDS if self._draining else IDLE_SECONDS]
        if not self._draining:
            waits.append((self._next_due - self._now()) / SECOND)
            if (token := self._board.next_token()) is not None:
                waits.append(token)
        if (check := self.attempts.check(now)) is not None:
            waits.append(check - now)
        await self._wait(min(waits))

    async def _wait(self, seconds: float) -> None:
        """Wait until something is posted, but not longer."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._awake.wait()

    async def _turn(self) -> bool:
        """Do what there is to do; returns whether there may be more."""
        now = self._loop.time()
        self.attempts.check(now)
        swept = self._sweeping
        if swept:
            self._sweep()
        fired = not self._draining and await self._fire()
        left = await self._look_after(now)
        picked = [] if self._draining else self._pick()
        over = self._over[:BATCH]
        if over or picked:
            await self._commit(over, picked)
        return bool(swept or fired or left or picked or over)

    def _pick(self) -> list[Entry]:
        for place in self._board.short():
            # Not from the beginning, where what was claimed has left its traces in the table.
            self._refill(*place, self._board.edge(*place))
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
        try:
            wanted, claimed = await self._store.run(self._settle_and_claim, over, picked)
        except DOWN:
            self._offer_again(picked)
            raise
        except Exception:  # a `then` that raised, or too much for one record
            await self._one_by_one(over, picked)
            return
        self._settled(over, wanted)
        self._begin(picked, claimed)

    async def _one_by_one(self, over: list[Ended], picked: list[Entry]) -> None:
        begun = 0
        try:
            for ended in over:
                self._settled([ended], [await self._settle_alone(ended)])
            for entry in picked:
                _, claimed = await self._store.run(self._settle_and_claim, [], [entry])
                begun += 1
                self._begin([entry], claimed)
        except BaseException:
            self._offer_again(picked[begun:])
            raise

    def _settle_and_claim(
        self, tx: Transaction, over: list[Ended], picked: list[Entry]
    ) -> tuple[list[Job | None], list[Claimed]]:
        ledger = self._ledger
        wanted = [ledger.settle(tx, ended) for ended in over]
        claimed = ledger.claim(tx, [entry.job for entry in picked])
        return wanted, [Claimed(job, ledger.results(tx, job)) for job in claimed]

    def _offer_again(self, picked: list[Entry]) -> None:
        """These could not be claimed."""
        for entry in picked:
            self._board.ended(entry.job)
            self._board.offer(entry)

    async def _settle_alone(self, ended: Ended) -> Job | None:
        try:
            return await self._store.run(self._ledger.settle, ended)
        except DOWN:
            raise
        except Exception as error:
            self.metrics.hook_failures += 1
            ended = msgspec.structs.replace(ended, outcome=failure(error))
            return await self._store.run(self._ledger.settle, ended, hooks=False)

    def _settled(self, over: list[Ended], settled: Iterable[Job | None]) -> None:
        """The first of those that ended are on record."""
        del self._over[: len(over)]
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
            self._over.append(ended)
        self.post(_nothing)

    # -- timers ---------------------------------------------------------------------------------

    async def _fire(self) -> int:
        """Fire what is due, a batch of it; returns how many."""
        now = self._now()
        if now < self._next_due:
            return 0
        since = self._since
        self._next_due = NEVER  # whatever is set from here on rings
        found = self._timers.due(self._store, since, now, BATCH + len(self._stuck))
        due = [timer for timer in found if (timer.due, timer.id) not in self._stuck]
        ready = [timer for timer in due if self._timers.can_fire(self._store, timer)]
        self._stuck.update((timer.due, timer.id) for timer in due if timer not in ready)
        if not due:
            upcoming = self._timers.next_due(self._store, now + 1)
            self._next_due = min(self._next_due, NEVER if upcoming is None else upcoming)
            return 0
        try:
            fired = await self._fire_batch(ready)
        except BaseException:
            self._ring(since)
            raise
        if fired < len(ready):  # the clock was set back on the way, or they were unset
            self._ring(due[0].due)
        else:
            self._ring(due[-1].due)
            self._since = due[-1].due
        return len(ready)

    async def _fire_batch(self, timers: list[Timer]) -> int:
        """Fire these; returns how many are dealt with."""
        if not timers:
            return 0
        try:
            fired = await self._store.run(self._timers.fire, timers)
        except DOWN:
            raise
        except Exception as error:
            if len(timers) > 1:  # each for itself, so that one that raises is alone with it
                return sum([await self._fire_batch([timer]) for timer in timers])
            await self._failed(timers[0], failure(error))
            return 1
        self.metrics.fired += fired
        now = self._now()
        for timer in timers:
            self.metrics.lateness.observe((now - timer.due) / 1000)
        return fired

    async def _failed(self, timer: Timer, why: Failure) -> None:
        self.metrics.fire_failures += 1
        try:
            await self._store.run(self._timers.failed, timer, why)
        except DOWN:
            raise
        except Exception:  # left where it is, so that the others go on
            self._stuck.add((timer.due, timer.id))

    # -- looking after --------------------------------------------------------------------------

    async def _look_after(self, now: float) -> bool:
        """Do what is to be done now and then; returns whether some of it is left."""
        if now - self._recorded >= self._options.record_every:
            self._recorded = now
            await self._record_notes()
        if now - self._rested >= REST_SECONDS:
            self._rested = now
            full = self.attempts.slots()[FLOW] <= 0
            idle = 0.0 if self._draining else REST_SECONDS if full else self._options.flow_idle
            await self._flows.rest(now - idle)
        if now - self._kept < KEEP_SECONDS:
            return False
        dropped = await self._drop_ended()
        if not dropped:
            self._kept = now
        return dropped

    async def _record_notes(self) -> None:
        notes = [a.note for a in self.attempts.running.values() if a.note is not None]
        for begin in range(0, len(notes), BATCH):
            batch = notes[begin : begin + BATCH]
            try:
                await self._store.run(self._ledger.note, batch)
            except RecordTooLarge:
                for note in batch:
                    await self._store.run(self._ledger.note, [note])
            self.attempts.recorded(batch)

    async def _drop_ended(self) -> bool:
        """Forget some of what ended long ago; returns whether there may be more of it."""
        try:
            return await self._store.run(self._ledger.drop_ended, BATCH) == BATCH
        except RecordTooLarge:  # workflows of very many steps
            return await self._store.run(self._ledger.drop_ended, 1) == 1

    # -- the tables -----------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Look, some rows at a time, for attempts on record that nobody makes: since the log has one
        writer, whoever made them is gone. Leases end by their timers."""
        page = self._ledger.line.page(self._store, LIVE, limit=SWEPT, cursor=self._swept)
        known = self.attempts.running.keys() | {ended.job for ended in self._over}
        for job in page.rows:
            if job.state is State.RUNNING and job.runs != OUTSIDE and job.id not in known:
                why = Failure(LOST, "the server stopped while it ran", [LOST])
                self._over.append(Ended(job.id, job.attempt, why))
                self.metrics.recovered += 1
        self._swept, self._sweeping = page.cursor, page.cursor is not None

    def _read_pauses(self) -> None:
        self._board.pause({pause.queue for pause in self._ledger.pauses.scan(self._store)})

    def _load(self) -> None:
        """Offer what is ready, tenant by tenant."""
        line = self._ledger.line
        at: tuple[str, ...] = ()
        while (job := next(line.scan(self._store, LIVE, start=at, limit=1), None)) is not None:
            if job.runs != OUTSIDE:
                self._refill(job.queue, job.runs, job.tenant)
            at = (job.queue, job.runs, job.tenant + "\0")

    def _refill(self, queue: str, runs: str, tenant: str, start: int | None = None) -> None:
        """Offer the next jobs of a tenant, from a rank on."""
        entries: list[Entry] = []
        most = 2 * self._options.window
        prefix = (LIVE, queue, runs, tenant)
        for job in self._ledger.line.scan(
            self._store, prefix, start=() if start is None else start
        ):
            if len(entries) == most:
                break
            if job.state is State.RUNNING:
                continue
            if self._registry.task(job.task) is None:
                self._board.unknown[job.task] += 1
            else:
                entries.append(entry_of(job))
        self._board.refill(queue, runs, tenant, entries, more=len(entries) == most)

    # -- stopping -------------------------------------------------------------------------------

    async def stop(self, budget: float) -> int:
        """Start nothing more, give what runs `budget` seconds to end, hand back the rest; returns how
        many were handed back."""
        self._draining = True
        self._deadline = self._loop.time() + budget
        self.post(_nothing)
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
