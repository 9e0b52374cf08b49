"""What has to hold of jobs on record, read back from the change feed and recounted from the tables.

    change feed ─▶ Record.advance ─▶ each change of a job, a timer, a schedule: was it allowed, and was
                                     what goes with it in the same transaction?
    tables ─▶ check_tables ─▶ all that is derived equals a recount

What must stay true of it: it takes what was done from the world, and nothing from the code that it
checks.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

import msgspec

from walnut.jobs.jobs import Jobs
from walnut.jobs.leases import OUTSIDE
from walnut.jobs.model import Job, Schedule, State, Target, Timer
from walnut.jobs.outcome import Success
from walnut.jobs.recurrence import following
from walnut.jobs.tasks import FLOW
from walnut.jobs.timers import ACTION, nanoseconds
from walnut.store.changes import Change
from walnut.store.store import Store
from walnut.store.transaction import Reader
from walnut.testing.jobs_world import Tally, World

_WAITS: Final = {State.READY, State.WAITING, State.BLOCKED}
_NEXT: Final = {
    State.WAITING: {State.WAITING, State.READY, State.CANCELLED},
    State.BLOCKED: {State.BLOCKED, State.READY, State.WAITING, State.CANCELLED},
    State.READY: {State.READY, State.RUNNING, State.CANCELLED},
    State.RUNNING: set(State) - {State.BLOCKED},
    State.SLEEPING: {State.SLEEPING, State.READY, State.CANCELLED},
    State.DONE: {State.DONE},
    State.DEAD: {State.DEAD, *_WAITS},
    State.CANCELLED: {State.CANCELLED, *_WAITS},
}
"""What may become of a job in one transaction."""
_COUNTED: Final = {Target.JOB, Target.STEP, Target.SCHEDULE}
"""Timers of which there are exactly as many as somebody waits for."""
OFTEN: Final = "tick"
"""The first word of tallies that may be over one."""
MICROSECOND: Final = 1000


class Keyed(msgspec.Struct):
    """The timer that has a key, as whoever set it knows."""

    key: str
    token: str


class Order(msgspec.Struct):
    """A row that was written with the job that it asks for."""

    token: str
    job: str


class Record:
    """What the feed has told so far, from the beginning of the log."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lsn = 0
        self.time = dt.datetime.min.replace(tzinfo=dt.UTC)
        self.jobs: dict[str, Job] = {}
        self.ends: Counter[str] = Counter()
        self.gone: set[str] = set()
        self.retried: set[str] = set()
        self.timers: dict[tuple[int, str], Timer] = {}
        self.schedules: dict[str, Schedule] = {}
        self.ticks: Counter[str] = Counter()
        self.tallies: dict[str, int] = {}
        self.fired: set[str] = set()
        self._lanes: dict[str, list[str]] = defaultdict(list)

    def advance(self, store: Store, upto: int) -> None:
        """Take in what is durable, up to this LSN."""
        if upto == self.lsn:
            return
        changes = store.changes(self.lsn, upto=upto)
        for lsn, group in groupby(changes, key=lambda change: change.lsn):
            self._take(lsn, list(group))
        self.lsn = upto

    def _take(self, lsn: int, group: list[Change]) -> None:
        self.promise(group[0].time >= self.time, f"LSN {lsn} was decided before the one before it")
        self.time = group[0].time
        self.fired = set()
        by_table: dict[str, list[Change]] = defaultdict(list)
        for change in group:
            by_table[change.table].append(change)
        for change in by_table["sim.tally"]:
            self._tally(change)
        jobs = [(change, self.jobs.get(str(change.key))) for change in by_table["jobs"]]
        for change, _ in jobs:
            if change.after is None:
                self.jobs.pop(str(change.key), None)
            else:
                self.jobs[change.after.id] = change.after
        for change, before in jobs:
            self._job(lsn, before, change.after)
        self._keys_and_lanes([change.after for change, _ in jobs if change.after is not None], lsn)
        for change in by_table["jobs.schedules"]:
            self._schedule(change)
        self._take_timers(lsn, by_table)
        for change in by_table["sim.orders"]:
            made = {change.after.id for change, before in jobs if before is None and change.after}
            self.promise(change.after.job in made, f"LSN {lsn}: an order without its job")

    def promise(self, holds: bool, broken: str) -> None:  # noqa: FBT001  reads as a sentence
        """See `World.promise`."""
        self.world.promise(holds, broken)

    # -- jobs -----------------------------------------------------------------------------------

    def _job(self, lsn: int, before: Job | None, after: Job | None) -> None:
        if after is None:
            if before is not None:
                self.promise(before.state.ended, f"LSN {lsn} drops job {before.id}: {before.state}")
                self.gone.add(before.id)
            return
        name = f"LSN {lsn}: job {after.id} ({after.task})"
        if before is None:
            timer = after.task.startswith(ACTION)
            born = after.state is State.DEAD if timer else after.state in _WAITS
            self.promise(born, f"{name} begins as {after.state.name}")
            self.promise(after.id not in self.gone or timer, f"{name} comes back")
            if after.lane:
                self._lanes[after.lane].append(after.id)
            return
        self.promise(
            after.state in _NEXT[before.state],
            f"{name} goes from {before.state.name} to {after.state.name}",
        )
        claimed = after.attempt - before.attempt
        self.promise(
            claimed == 0 or (claimed == 1 and after.state is State.RUNNING),
            f"{name} goes from attempt {before.attempt} to {after.attempt} as {after.state.name}",
        )
        if claimed:
            befores = [self.jobs.get(one) for one in after.after]
            done = all(one is not None and one.state is State.DONE for one in befores)
            self.promise(done, f"{name} is claimed before those it comes after are done")
        if after.state.ended and not before.state.ended:
            self._ended(name, after)
        if before.state.ended and not after.state.ended:
            self.retried.add(after.id)

    def _ended(self, name: str, job: Job) -> None:
        self.ends[job.id] += 1
        error = "" if job.error is None else job.error.error
        self.promise(
            not error.endswith((".NonDeterminism", "AssertionError", "BrokenPromise")),
            f"{name} ended with {job.error}",
        )
        if job.task == "tallied":
            counted = f"done {job.id}" in self.fired
            self.promise(counted == (job.state is State.DONE), f"{name}: its hook ran: {counted}")
        if job.state is not State.DONE or job.runs == FLOW:
            return
        made = self.world.attempts.get((job.id, job.attempt))
        given = [] if made is None else made.brought
        self.promise(
            Success(job.result) in given,
            f"{name} is done with what its attempt {job.attempt} did not return",
        )

    def _keys_and_lanes(self, changed: Iterable[Job], lsn: int) -> None:
        for job in changed:
            if job.key and not job.state.ended:
                same = [
                    one.id
                    for one in self.jobs.values()
                    if one.key == job.key and not one.state.ended
                ]
                self.promise(len(same) == 1, f"LSN {lsn}: jobs {same} have the key {job.key}")
            if job.lane:
                self._lane(job, lsn)

    def _lane(self, job: Job, lsn: int) -> None:
        living = [self.jobs[one] for one in self._lanes[job.lane] if one in self.jobs]
        living = [one for one in living if not one.state.ended]
        going = [one for one in living if one.state is not State.BLOCKED]
        self.promise(len(going) <= 1, f"LSN {lsn}: lane {job.lane} has {len(going)} jobs going on")
        for one in going:
            first = next(each for each in living if each.id not in self.retried or each is one)
            earlier = first if one.id not in self.retried else one
            self.promise(
                earlier is one, f"LSN {lsn}: lane {job.lane} has {one.id} before {earlier.id}"
            )

    # -- timers ---------------------------------------------------------------------------------

    def _tally(self, change: Change) -> None:
        row: Tally = change.after
        self.fired.add(row.name)
        self.tallies[row.name] = row.count
        kind, _, rest = row.name.partition(" ")
        again = kind == "step" and rest.partition(" ")[0] in self.world.begun_again
        self.promise(
            row.count == 1 or kind == OFTEN or again,
            f"LSN {change.lsn}: {row.name} happened {row.count} times",
        )

    def _take_timers(self, lsn: int, by_table: dict[str, list[Change]]) -> None:
        keys = by_table["sim.keyed"]
        dead = {c.after.id for c in by_table["jobs"] if c.after and c.after.task.startswith(ACTION)}
        changes = by_table["jobs.timers"]
        kept = {change.after.id for change in changes if change.after is not None}
        ended: set[str] = set()
        for change in changes:
            key: Any = change.key
            if change.after is not None:
                self.timers[key] = change.after
                continue
            timer = self.timers.pop(key)
            if timer.target is not Target.ACTION or timer.name != "ring":
                continue
            token, due = msgspec.msgpack.decode(timer.arguments)
            fired = f"timer {token}" in self.fired
            ended.add(f"timer {token}")
            late = _ns(change.time) - (timer.first_due or timer.due)
            skipped = timer.late == "skip" and late > timer.grace - MICROSECOND
            self.promise(
                fired or bool(timer.key and keys) or skipped or timer.id in dead | kept,
                f"LSN {lsn}: the timer {token} is gone and did not fire",
            )
            early = due - _ns(change.time)
            self.promise(
                not fired or early < MICROSECOND, f"LSN {lsn}: timer {token} is {early} ns early"
            )
        rung = {name for name in self.fired if name.startswith("timer ")}
        self.promise(rung <= ended, f"LSN {lsn}: {rung - ended} fired, and may fire again")

    def _schedule(self, change: Change) -> None:
        old = self.schedules.get(str(change.key))
        new: Schedule | None = change.after
        if new is None:
            self.schedules.pop(str(change.key), None)
            return
        self.schedules[new.name] = new
        if old is None or new.fired + new.skipped == old.fired + old.skipped:
            return
        self.ticks[new.name] += new.fired - old.fired
        name = f"LSN {change.lsn}: schedule {new.name}"
        now = change.time
        due = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=old.due // 1000)
        self.promise(now >= due, f"{name} fires early")
        self.promise(new.fired + new.skipped == old.fired + old.skipped + 1, f"{name} fires twice")
        after = following(new.recurrence, due if new.missed == "each" else max(due, now))
        self.promise(
            new.last == old.due and new.due == (0 if after is None else nanoseconds(after)),
            f"{name} ({new.missed}) is due at {new.due} after {old.due}",
        )
        if new.missed != "skip":
            self.promise(new.skipped == old.skipped, f"{name} ({new.missed}) left one out")
        elif now - due > dt.timedelta(seconds=1.001):
            self.promise(new.fired == old.fired, f"{name} fires although it was missed")


def _ns(time: dt.datetime) -> int:
    return nanoseconds(time)


def check_tables(record: Record, jobs: Jobs, reader: Reader) -> None:
    """Recount everything that is derived, and compare the tables with the feed."""
    promise = record.promise
    ledger, steps = jobs._ledger, jobs._steps
    rows = {job.id: job for job in ledger.jobs.scan(reader)}
    promise(rows == record.jobs, "the table of jobs is not what the feed makes")
    followers: Counter[str] = Counter()
    edges = set()
    lanes: dict[str, list[Job]] = defaultdict(list)
    for job in rows.values():
        if job.state is not State.DONE:
            followers.update(set(job.after))
        if job.state.ended:
            continue
        if job.lane:
            lanes[job.lane].append(job)
        for before in job.after:
            row = rows.get(before)
            promise(row is not None, f"job {before} is gone, and {job.id} comes after it")
            if row is not None and row.state is not State.DONE:
                edges.add((before, job.id))
    found = {(edge.before, edge.after) for edge in ledger.edges.scan(reader)}
    promise(found == edges, f"edges: {sorted(found - edges)} left, {sorted(edges - found)} missing")
    holders = {lane.name: lane.holder for lane in ledger.lanes.scan(reader)}
    promise(holders.keys() == lanes.keys(), f"lanes {sorted(holders)}, not {sorted(lanes)}")
    for job in rows.values():
        promise(
            job.followers == followers[job.id],
            f"job {job.id} ({job.state.name}) has {job.followers} followers, not {followers[job.id]}",
        )
        waits = sum(after == job.id for _, after in edges)
        waits += bool(job.lane and not job.state.ended and holders[job.lane] != job.id)
        promise(
            job.state is State.BLOCKED and job.waits == waits
            if waits
            else job.state is not State.BLOCKED,
            f"job {job.id} is {job.state.name}, waits for {job.waits}, and there are {waits}",
        )
    for name, members in lanes.items():
        promise(holders[name] in {job.id for job in members}, f"nobody holds lane {name}")
    _check_timers(record, jobs, reader, rows)
    flows = {step.flow for step in steps.steps.scan(reader)}
    flows |= {signal.flow for signal in steps.signals.scan(reader)}
    promise(flows <= rows.keys(), f"steps are left of workflows {sorted(flows - rows.keys())}")
    for step in steps.steps.scan(reader):
        promise(
            step.done or not rows[step.flow].state.ended,
            f"step {step.number} of workflow {step.flow} began after its end",
        )


def _check_timers(record: Record, jobs: Jobs, reader: Reader, rows: dict[str, Job]) -> None:
    wanted = {(job.due, job.id) for job in rows.values() if job.state is State.WAITING}
    wanted |= {
        (step.due, f"{step.flow}/{step.number}")
        for step in jobs._steps.steps.scan(reader)
        if step.due and not step.done
    }
    wanted |= {
        (row.due, f"schedule {row.name}") for row in jobs._timers.schedules.scan(reader) if row.due
    }
    timers = list(jobs._ledger.timers.scan(reader))
    leases = {(timer.due, timer.id) for timer in timers if timer.target is Target.LEASE}
    for job in rows.values():  # those of jobs that ended before their lease does may be left
        leased = job.state is not State.RUNNING or job.runs != OUTSIDE
        record.promise(
            leased or (job.lease, job.id) in leases, f"the lease of {job.id} does not end"
        )
    found = {(timer.due, timer.id) for timer in timers if timer.target in _COUNTED}
    record.promise(
        found == wanted, f"timers: {sorted(found - wanted)} left, {sorted(wanted - found)} missing"
    )
    set_ = {(timer.due, timer.id): timer for timer in timers}
    record.promise(set_ == record.timers, "the table of timers is not what the feed makes")
