"""The life of a job, as functions of a transaction: claim, settle, cancel, retry, and what follows.

    claim ──▶ attempt n runs somewhere ──▶ settle(n, outcome) ──▶ end ──▶ those after it, its workflow
                     └─ never heard of again ──▶ lose(n)

What must stay true: only the attempt that was claimed last can settle a job, and only once; whatever
follows from an end is in the transaction of that end, or is begun by timers that are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from walnut.jobs.context import Note
from walnut.jobs.errors import NotPossible, UnknownJob
from walnut.jobs.model import (
    SECOND,
    Edge,
    Job,
    JobsOptions,
    Lane,
    Pause,
    State,
    Target,
    Timer,
)
from walnut.jobs.outcome import Failure, Outcome, Success
from walnut.jobs.registry import Registry
from walnut.jobs.retry import Retry
from walnut.jobs.tasks import FLOW
from walnut.store.store import Store
from walnut.store.transaction import Reader, Transaction

LOST: Final = "walnut.jobs.errors.Lost"
CANCELLED: Final = "walnut.jobs.errors.Cancelled"
TIMED_OUT: Final = "TimeoutError"
STALLED: Final = "walnut.jobs.errors.Stalled"
DOUBTFUL: Final = {LOST, TIMED_OUT, STALLED, "walnut.jobs.errors.WorkerDied"}
"""Failures after which nobody knows what the attempt did."""
POSTPONED: Final = "walnut.jobs.errors.Postponed"
LIVE: Final = "live"
ENDED: Final = "ended"
DEAD: Final = "dead"
MOST_WRITES: Final = 2000
"""Of a transaction: what follows from an end and would be more is left to the next ones."""
SOME: Final = 100
"""Jobs that are let go at once by the one they come after."""


class Ended(msgspec.Struct, frozen=True, gc=False):
    """What became of an attempt; None: it was handed back before its end."""

    job: str
    attempt: int
    outcome: Outcome | None


def _line(job: Job) -> tuple[str | int, ...] | None:
    """The index that jobs are found by, when they can be claimed and when they have ended."""
    state = job.state
    if state is State.READY or state is State.RUNNING:
        return (LIVE, job.queue, job.runs, job.tenant, job.rank)
    if state is State.DEAD:
        return (DEAD, job.ended)
    return (ENDED, job.ended) if state.ended and not job.followers else None


class Ledger:
    """The tables of jobs, and how jobs change in them.

    Attributes:
        offer: called with each job that became READY, once that is durable.
        finished: called with each job that ended, likewise. rung: with the time of each new timer, or
            0 when queues were paused or resumed, and the time of the transaction.
        stepped, flow_ended, flow_again, forgotten: part of the transaction in which a job that is a
            workflow's step ends, a workflow ends, is to be tried again, is dropped.
    """

    def __init__(self, store: Store, registry: Registry, options: JobsOptions) -> None:
        self.options = options
        self.registry = registry
        self.jobs = store.table("jobs", Job, key=lambda job: job.id)
        self.line = self.jobs.index("line", _line)
        self.by_key = self.jobs.index(
            "by_key", lambda job: job.key if job.key and not job.state.ended else None, unique=True
        )
        self.by_lane = self.jobs.index(
            "by_lane",
            lambda job: (job.lane, job.turn) if job.lane and not job.state.ended else None,
        )
        self.edges = store.table("jobs.edges", Edge, key=lambda edge: (edge.before, edge.after))
        self.lanes = store.table("jobs.lanes", Lane, key=lambda lane: lane.name)
        self.timers = store.table("jobs.timers", Timer, key=lambda timer: (timer.due, timer.id))
        self.timer_by_key = self.timers.index(
            "by_key", lambda timer: timer.key or None, unique=True
        )
        self.pauses = store.table("jobs.pauses", Pause, key=lambda pause: pause.queue)
        self.offer: Callable[[Job], object] = nobody
        self.finished: Callable[[Job], object] = nobody
        self.rung: Callable[[int, int], object] = nobody
        self.stepped: Callable[[Transaction, Job], None] = _no_step
        self.flow_ended: Callable[[Transaction, Job], None] = _no_step
        self.flow_again: Callable[[Transaction, Job], None] = _no_step
        self.forgotten: Callable[[Transaction, Job], None] = _no_step

    # -- telling --------------------------------------------------------------------------------
    # Whom is looked up when it is durable: somebody may have begun to run jobs meanwhile.

    def _tell_ready(self, job: Job) -> None:
        self.offer(job)

    def _tell_finished(self, job: Job) -> None:
        self.finished(job)

    def _tell_rung(self, due: int, now: int) -> None:
        self.rung(due, now)

    def ring(self, tx: Transaction, due: int) -> None:
        """Tell of a timer that was set, once it is durable."""
        tx.after(self._tell_rung, due, tx.time)

    # -- finding --------------------------------------------------------------------------------

    def need(self, reader: Reader, job: str) -> Job:
        """The job with this id. Raises UnknownJob."""
        row = self.jobs.get(reader, job)
        if row is None:
            raise UnknownJob(
                f"there is no job {job}: it never was, or it ended longer ago than jobs are kept"
            )
        return row

    # -- attempts -------------------------------------------------------------------------------

    def claim(self, tx: Transaction, ids: Iterable[str]) -> list[Job]:
        """Begin an attempt at each of these that is READY still; returns them."""
        claimed = []
        for job in self.jobs.get_many(tx, list(ids)):
            if job is None or job.state is not State.READY:
                continue
            job.state = State.RUNNING
            job.attempt += 1
            job.started = tx.time
            claimed.append(self.jobs.put(tx, job))
        return claimed

    def results(self, tx: Transaction, job: Job) -> list[bytes]:
        """What those returned that a job comes after."""
        return [self.need(tx, before).result for before in job.after]

    def settle(self, tx: Transaction, ended: Ended, *, hooks: bool = True) -> Job | None:
        """Record what became of an attempt; None if it was no longer the job's attempt, and then
        nothing of it is recorded. Raises what the task's `then` or `otherwise` does, if they are to
        be called."""
        job = self.jobs.get(tx, ended.job)
        if job is None or job.state is not State.RUNNING or job.attempt != ended.attempt:
            return None
        outcome = ended.outcome
        if isinstance(outcome, Success):
            self._done(tx, job, outcome, hooks=hooks)
        elif outcome is None:
            job.doubtful = True
            self._ready(tx, job)
        else:
            self._failed(tx, job, outcome, hooks=hooks)
        return job

    def _done(self, tx: Transaction, job: Job, outcome: Success, *, hooks: bool) -> None:
        job.result = outcome.result
        job.error = None
        job.progress = 1.0
        task = self.registry.task(job.task)
        if hooks and task is not None and task.on_done is not None:
            task.on_done(tx, job, msgspec.msgpack.decode(outcome.result, type=task.returns))
            job.followers = self.need(tx, job.id).followers  # it may have enqueued what comes after
        self._end(tx, job, State.DONE)

    def _failed(self, tx: Transaction, job: Job, outcome: Failure, *, hooks: bool) -> None:
        task = self.registry.task(job.task)
        retry = Retry() if task is None else task.options.retry
        if POSTPONED in outcome.kinds:
            self.wait_until(tx, job, tx.time + int((outcome.retry_after or 0.0) * SECOND))
            return
        job.error = outcome
        # Once in doubt, it stays so: perhaps asking is what failed.
        job.doubtful = job.doubtful or outcome.error in DOUBTFUL
        if outcome.error == LOST:
            job.losses += 1
            # A workflow is lost with the server only, and its steps are what may be to blame for it.
            lost_for_good = job.losses >= self.options.losses and job.runs != FLOW
            wait = None if lost_for_good else 0.0
        else:
            job.failures += 1
            wait = retry.wait(outcome, job.failures, tx.random.random())
        if wait is None:
            if hooks and task is not None and task.on_dead is not None:
                task.on_dead(tx, job, outcome)
                job.followers = self.need(tx, job.id).followers
            self._end(tx, job, State.DEAD)
            return
        if job.runs == FLOW and outcome.error != LOST:
            self.flow_again(tx, job)
        if wait == 0:
            self._ready(tx, job)
        else:
            self.wait_until(tx, job, tx.time + int(wait * SECOND))

    def note(self, tx: Transaction, notes: Iterable[Note]) -> None:
        """Record signs of life of attempts that are not over."""
        for note in notes:
            row = self.jobs.get(tx, note.job)
            if row is None or row.state is not State.RUNNING or row.attempt != note.attempt:
                continue
            row.progress, row.text = note.progress or 0.0, note.text
            self.jobs.put(tx, row)

    # -- on the way -----------------------------------------------------------------------------

    def _ready(self, tx: Transaction, job: Job) -> None:
        job.state = State.READY
        job.due = 0
        self.jobs.put(tx, job)
        tx.after(self._tell_ready, job)

    def wait_until(self, tx: Transaction, job: Job, due: int) -> None:
        """A job waits for a time."""
        job.state = State.WAITING
        job.due = due
        self.jobs.put(tx, job)
        self.timers.put(tx, Timer(due, job.id, Target.JOB))
        self.ring(tx, due)

    def due(self, tx: Transaction, job: str, due: int) -> None:
        """The time has come that a job waited for."""
        row = self.jobs.get(tx, job)
        if row is not None and row.state is State.WAITING and row.due == due:
            self._ready(tx, row)

    def wake(self, tx: Transaction, job: str) -> None:
        """Something has happened to a workflow."""
        row = self.jobs.get(tx, job)
        if row is not None and row.state is State.SLEEPING:
            self._ready(tx, row)

    def sleep(self, tx: Transaction, job: Job) -> None:
        """A workflow that runs has nothing to do until something happens to it."""
        job.state = State.SLEEPING
        self.jobs.put(tx, job)

    # -- the end --------------------------------------------------------------------------------

    def _end(self, tx: Transaction, job: Job, state: State) -> None:
        """A job ends, and with it those that can't come after it any more."""
        self._end_one(tx, job, state)
        if job.followers:
            self._let_go(tx, deque([job]))

    def let_go(self, tx: Transaction, job: str) -> None:
        """Go on with those that come after a job that ended."""
        row = self.jobs.get(tx, job)
        if row is not None and row.state.ended:
            self._let_go(tx, deque([row]))

    def _let_go(self, tx: Transaction, ended: deque[Job]) -> None:
        while ended:
            if len(tx.writes) > MOST_WRITES:
                for row in ended:
                    timer = Timer(tx.time, f"{row.id}/after", Target.FOLLOWERS, row.id)
                    self.ring(tx, self.timers.put(tx, timer).due)
                return
            row = ended[0]
            edges = list(self.edges.scan(tx, row.id, limit=SOME))
            if not edges:
                ended.popleft()
            for edge in edges:
                self.edges.delete(tx, (row.id, edge.after))
                follower = self.need(tx, edge.after)
                if row.state is State.DONE:
                    follower.waits -= 1
                    self.unblock(tx, follower)
                    continue
                why = f"job {row.id} ({row.task}), which it comes after, was not done"
                follower.error = Failure(CANCELLED, why)
                self._end_one(tx, follower, State.CANCELLED)
                if follower.followers:
                    ended.append(follower)

    def _end_one(self, tx: Transaction, job: Job, state: State) -> None:
        if job.state is State.BLOCKED:
            for before in job.after:
                self.edges.delete(tx, (before, job.id))
        job.state = state
        job.ended = tx.time
        job.due = 0
        self.jobs.put(tx, job)
        if state is State.DONE:
            self._unfollow(tx, job)
        if job.lane:
            self._pass_lane(tx, job)
        if job.parent:
            self.stepped(tx, job)
        if job.runs == FLOW:
            self.flow_ended(tx, job)
        tx.after(self._tell_finished, job)

    def _unfollow(self, tx: Transaction, job: Job) -> None:
        """A job does not need any more what those before it returned."""
        for before in dict.fromkeys(job.after):
            row = self.jobs.get(tx, before)
            if row is not None:
                row.followers -= 1
                self.jobs.put(tx, row)

    def _pass_lane(self, tx: Transaction, job: Job) -> None:
        lane = self.lanes.get(tx, job.lane)
        if lane is None or lane.holder != job.id:
            return
        follower = self.by_lane.get(tx, job.lane)
        if follower is None:
            self.lanes.delete(tx, job.lane)
            return
        lane.holder = follower.id
        self.lanes.put(tx, lane)
        follower.waits -= 1
        self.unblock(tx, follower)

    def _enter_lane(self, tx: Transaction, job: Job) -> None:
        """A job gets its turn in its lane; it waits for one more if others are before it."""
        lane = self.lanes.get(tx, job.lane)
        if lane is None:
            lane = Lane(job.lane, job.id, 0)
        else:
            job.waits += 1
        job.turn = job.turn or lane.turns + 1
        lane.turns = max(lane.turns, job.turn)  # an old one comes back: who is new is behind it
        self.lanes.put(tx, lane)

    def unblock(self, tx: Transaction, job: Job) -> None:
        """A job that is BLOCKED goes on if there is nothing left that it waits for."""
        if job.waits:
            self.jobs.put(tx, job)
        elif job.due > tx.time:
            self.wait_until(tx, job, job.due)
        else:
            self._ready(tx, job)

    # -- by hand --------------------------------------------------------------------------------

    def cancel(self, tx: Transaction, job: str, why: str) -> Job:
        """End a job that has not ended. What an attempt that is running brings is refused; it is asked
        to stop. Raises UnknownJob, NotPossible."""
        row = self.need(tx, job)
        if row.state.ended:
            raise NotPossible(f"job {job} has ended already ({row.state.name}): nothing to cancel")
        if row.state is State.WAITING:
            self.timers.delete(tx, (row.due, row.id))
        # Should it be retried: the attempt that runs may have had its effect.
        row.doubtful = row.doubtful or row.state is State.RUNNING
        row.error = Failure(CANCELLED, why or "cancelled by hand")
        self._end(tx, row, State.CANCELLED)
        return row

    def retry(self, tx: Transaction, job: str) -> Job:
        """Give a job that is DEAD or CANCELLED, or waits, another chance: now, with all its tries.

        Raises UnknownJob, and NotPossible, also if another job has taken its key."""
        row = self.need(tx, job)
        waiting = row.state is State.WAITING
        if not waiting and row.state not in {State.DEAD, State.CANCELLED}:
            raise NotPossible(f"job {job} is {row.state.name}: only what failed can be retried")
        other = self.by_key.get(tx, row.key) if row.key and not waiting else None
        if other is not None:
            raise NotPossible(
                f"job {job} had the key {row.key!r}, which job {other.id} has now: wait for that one's "
                "end, or cancel it"
            )
        due, row.failures, row.losses, row.ended, row.due = row.due, 0, 0, 0, 0
        if waiting:
            self.timers.delete(tx, (due, row.id))
            self._ready(tx, row)
        else:
            self.begin(tx, row, again=True)
        return row

    def begin(self, tx: Transaction, job: Job, *, again: bool = False) -> None:
        """A job begins its life, or a new one: it waits for what it has to.

        Raises UnknownJob, and NotPossible if it comes after one that will not be done."""
        job.waits = 0
        job.state = State.BLOCKED
        rows = [self.need(tx, before) for before in dict.fromkeys(job.after)]
        for row in rows:
            self._check_before(job, row)
        for row in rows:
            if not again:
                row.followers += 1
                self.jobs.put(tx, row)
            if row.state is not State.DONE:
                job.waits += 1
                self.edges.put(tx, Edge(row.id, job.id))
        if job.lane:
            self._enter_lane(tx, job)
        self.unblock(tx, job)

    @staticmethod
    def _check_before(job: Job, row: Job) -> None:
        if row.state.ended and row.state is not State.DONE:
            raise NotPossible(
                f"job {row.id} is {row.state.name}, and {job.task} would come after it: retry that one "
                "first"
            )

    def drop(self, tx: Transaction, job: str) -> None:
        """Forget a job that has ended. Raises UnknownJob, NotPossible."""
        row = self.need(tx, job)
        if not row.state.ended or (row.state is State.DONE and row.followers):
            raise NotPossible(
                f"job {job} has not ended, or others may need its result: cancel or drop those first"
            )
        self._forget(tx, row)

    def pause(self, tx: Transaction, queue: str, by: str) -> None:
        """Start no more jobs of a queue."""
        self.pauses.put(tx, Pause(queue, tx.time, by))
        self.ring(tx, 0)

    def resume(self, tx: Transaction, queue: str) -> bool:
        """Go on with a queue; returns whether it was paused."""
        self.ring(tx, 0)
        return self.pauses.delete(tx, queue)

    def drop_ended(self, tx: Transaction, limit: int) -> int:
        """Forget some of the jobs that ended longer ago than they are kept; returns how many."""
        before = tx.time - int(self.options.keep_done * SECOND)
        old = list(self.line.scan(tx, ENDED, stop=before, limit=limit))
        for job in old:
            self._forget(tx, job)
        return len(old)

    def _forget(self, tx: Transaction, job: Job) -> None:
        if job.state is not State.DONE:
            self._unfollow(tx, job)
        if job.runs == FLOW:
            self.forgotten(tx, job)
        self.jobs.delete(tx, job.id)


def nobody(*_: Any) -> None:
    """Before anybody runs jobs here."""


def _no_step(tx: Transaction, job: Job) -> None:
    """Before workflows are known."""
