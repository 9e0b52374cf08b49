"""Timers: transactions that happen at a time, once, and schedules: again and again.

    jobs.timers   (due, id) ──▶ whatever is due is read from the front, and fired
                                fire = delete the row + do what it says, in one transaction

What must stay true: a timer's row is deleted by the transaction that does what it says, so it fires
once; never before its time by the transaction's clock; and a row that can't be fired yet is not lost.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final

from walnut.jobs.errors import UnknownJob
from walnut.jobs.ledger import Ledger
from walnut.jobs.model import SECOND, Job, Late, Missed, Schedule, State, Target, Timer
from walnut.jobs.outcome import Failure
from walnut.jobs.recurrence import Recurrence, first, following
from walnut.jobs.registry import Action, Registry
from walnut.jobs.retry import Retry
from walnut.store.record import utc
from walnut.store.store import Store
from walnut.store.transaction import Reader, Transaction

ACTION: Final = "action "
"""Before the name of its action, the task of the dead job that a timer becomes."""
LATE_AFTER: Final = SECOND
"""A firing that is later than this was missed: the program was not running."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def nanoseconds(when: dt.datetime) -> int:
    """A moment as the record has it. Raises ValueError without a time zone."""
    if when.tzinfo is None:
        raise ValueError(f"{when!r} has no time zone: give an aware datetime, such as tx.now + ...")
    return (when - _EPOCH) // dt.timedelta(microseconds=1) * 1000


class Timers:
    """Setting and firing.

    Attributes:
        waken, leased: part of the transaction in which a workflow's sleep, or a lease, is over.
        begin: does what a schedule says: sets a timer, or makes a job.
    """

    def __init__(self, store: Store, ledger: Ledger, registry: Registry) -> None:
        self._ledger = ledger
        self._registry = registry
        self._timers = ledger.timers
        self.schedules = store.table("jobs.schedules", Schedule, key=lambda row: row.name)
        self.waken: Callable[[Transaction, str], None]
        self.leased: Callable[[Transaction, str, int], None]
        self.begin: Callable[[Transaction, str, bytes], object]

    # -- setting --------------------------------------------------------------------------------

    def at(
        self,
        tx: Transaction,
        due: int,
        action: Action,
        arguments: bytes,
        *,
        key: str,
        late: Late,
        grace: int,
    ) -> Timer:
        """A timer; in place of the one that has its key."""
        if key:
            self.unset(tx, key)
        timer = Timer(
            max(due, tx.time),
            tx.new_id().hex,
            Target.ACTION,
            action.name,
            arguments,
            late,
            grace,
            key,
        )
        return self.set(tx, timer)

    def soon(self, tx: Transaction, action: str, arguments: bytes) -> Timer:
        """A timer that is due at once."""
        return self.set(tx, Timer(tx.time, tx.new_id().hex, Target.ACTION, action, arguments))

    def set(self, tx: Transaction, timer: Timer) -> Timer:
        """Set it."""
        self._ledger.ring(tx, timer.due)
        return self._timers.put(tx, timer)

    def unset(self, tx: Transaction, key: str) -> bool:
        """Take back the timer with this key; returns whether there was one."""
        timer = self._ledger.timer_by_key.get(tx, key)
        return timer is not None and self._timers.delete(tx, (timer.due, timer.id))

    def every(
        self,
        tx: Transaction,
        name: str,
        recurrence: Recurrence,
        what: str,
        arguments: bytes,
        missed: Missed,
    ) -> Schedule:
        """A schedule; in place of the one of this name. One that says the same goes on as it is.

        Raises InvalidRecurrence, NeverFires."""
        known = self.schedules.get(tx, name)
        if known is not None:
            if (known.recurrence, known.what, known.arguments, known.missed) == (
                recurrence, what, arguments, missed,
            ):  # fmt: skip
                return known
            self._timers.delete(tx, (known.due, _of_schedule(name)))
        due = nanoseconds(first(recurrence, tx.now))
        schedule = Schedule(name, recurrence, what, arguments, missed, due)
        self.set(tx, Timer(due, _of_schedule(name), Target.SCHEDULE, name))
        return self.schedules.put(tx, schedule)

    def stop(self, tx: Transaction, name: str) -> bool:
        """End a schedule; returns whether there was one."""
        schedule = self.schedules.get(tx, name)
        if schedule is None:
            return False
        self._timers.delete(tx, (schedule.due, _of_schedule(name)))
        return self.schedules.delete(tx, name)

    # -- firing ---------------------------------------------------------------------------------

    def due(self, reader: Reader, since: int, now: int, limit: int) -> list[Timer]:
        """Timers that are due, the oldest first, of those not before `since`."""
        return list(self._timers.scan(reader, start=since, stop=now + 1, limit=limit))

    def next_due(self, reader: Reader, since: int) -> int | None:
        """When the next one is due."""
        timer = next(self._timers.scan(reader, start=since, limit=1), None)
        return None if timer is None else timer.due

    def can_fire(self, reader: Reader, timer: Timer) -> bool:
        """Whether the code it needs is here."""
        if timer.target is Target.ACTION:
            return self._registry.action(timer.name) is not None
        if timer.target is Target.SCHEDULE:
            schedule = self.schedules.get(reader, timer.name)
            return schedule is None or self._known(schedule.what)
        return True

    def _known(self, what: str) -> bool:
        return self._registry.task(what) is not None or self._registry.action(what) is not None

    def fire(self, tx: Transaction, timers: Sequence[Timer]) -> int:
        """Fire these, as far as they are still set; returns how many. Raises what an action does."""
        fired = 0
        for timer in timers:
            if timer.due <= tx.time and self._timers.delete(tx, (timer.due, timer.id)):
                self._fire(tx, timer)
                fired += 1
        return fired

    def _fire(self, tx: Transaction, timer: Timer) -> None:
        match timer.target:
            case Target.ACTION:
                late = tx.time - timer.due > timer.grace and not timer.failures
                if late and timer.late == "skip":
                    return
                action = self._registry.action(timer.name)
                assert action is not None, "can_fire said so"
                action.function(tx, *action.arguments.decode(timer.arguments))
            case Target.JOB:
                self._ledger.due(tx, timer.id, timer.due)
            case Target.SCHEDULE:
                self._fire_schedule(tx, timer)
            case Target.STEP:
                self.waken(tx, timer.id)
            case Target.FOLLOWERS:
                self._ledger.let_go(tx, timer.name)
            case Target.LEASE:
                self.leased(tx, timer.id, timer.due)

    def _fire_schedule(self, tx: Transaction, timer: Timer) -> None:
        schedule = self._advance(tx, timer)
        if schedule is not None:
            self.begin(tx, schedule.what, schedule.arguments)

    def _advance(self, tx: Transaction, timer: Timer) -> Schedule | None:
        """A schedule is due, and will be again; returns it unless this time is to be skipped."""
        schedule = self.schedules.get(tx, timer.name)
        if schedule is None or schedule.due != timer.due:
            return None
        missed = tx.time - timer.due > LATE_AFTER
        behind = utc(timer.due) if schedule.missed == "each" else max(utc(timer.due), tx.now)
        upcoming = following(schedule.recurrence, behind)
        schedule.last = timer.due
        schedule.due = 0 if upcoming is None else nanoseconds(upcoming)
        skip = schedule.paused or (missed and schedule.missed == "skip")
        schedule.fired += not skip
        schedule.skipped += skip
        self.schedules.put(tx, schedule)
        if upcoming is not None:
            self.set(tx, Timer(schedule.due, timer.id, Target.SCHEDULE, schedule.name))
        return None if skip else schedule

    def failed(self, tx: Transaction, timer: Timer, failure: Failure) -> None:
        """An action raised: the timer is tried again later, or becomes a dead job. What a schedule says
        could not be begun: that becomes a dead job."""
        assert timer.target in {Target.ACTION, Target.SCHEDULE}, "others call no code but ours"
        if not self._timers.delete(tx, (timer.due, timer.id)):
            return
        if timer.target is Target.SCHEDULE:
            self._not_begun(tx, timer, failure)
            return
        timer.failures += 1
        timer.first_due = timer.first_due or timer.due
        wait = Retry(attempts=self._ledger.options.timer_attempts, most=600).wait(
            failure, timer.failures, tx.random.random()
        )
        if wait is not None:
            timer.due = tx.time + int(wait * SECOND)
            self.set(tx, timer)
            return
        job = Job(
            timer.id, ACTION + timer.name, State.DEAD, timer.arguments, "timers", "timer", 0,
            timer.first_due, ended=tx.time, attempt=timer.failures, failures=timer.failures,
            error=failure,
        )  # fmt: skip
        self._ledger.jobs.put(tx, job)

    def _not_begun(self, tx: Transaction, timer: Timer, failure: Failure) -> None:
        schedule = self._advance(tx, timer)
        if schedule is None:
            return
        task = self._registry.task(schedule.what)
        queue, runs = (task.options.queue, task.options.runs) if task else ("timers", "timer")
        job = Job(
            tx.new_id().hex, schedule.what, State.DEAD, schedule.arguments, queue, runs, tx.time,
            tx.time, ended=tx.time, failures=1, error=failure,
        )  # fmt: skip
        self._ledger.jobs.put(tx, job)

    def revive(self, tx: Transaction, job: Job) -> Timer:
        """Set the timer again that a dead job was."""
        if not job.task.startswith(ACTION):
            raise UnknownJob(f"job {job.id} was no timer")
        self._ledger.jobs.delete(tx, job.id)
        name = job.task.removeprefix(ACTION)
        return self.set(tx, Timer(tx.time, job.id, Target.ACTION, name, job.arguments))


def _of_schedule(name: str) -> str:
    return f"schedule {name}"
