"""The life of jobs against a model of a few lines: whatever is done to them in whatever order, each one
ends, nothing comes too early, and nothing is left behind."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from walnut.jobs import Context, Job, Jobs, JobsOptions, Retry, State
from walnut.jobs.errors import NotPossible, UnknownJob
from walnut.jobs.ledger import LOST, Ended
from walnut.jobs.model import Target
from walnut.jobs.outcome import Failure, Outcome, Success
from walnut.log import LogOptions
from walnut.store import Store, StoreOptions, Transaction
from walnut.testing.disk import SimClock, SimDisk
from walnut.testing.engine import OpenModel

OUTCOMES: dict[str, Outcome | None] = {
    "success": Success(b"\xc0"),
    "failure": Failure("OSError", "no", ["OSError"]),
    "mistake": Failure("ValueError", "no", ["ValueError"]),
    "lost": Failure(LOST, "gone", [LOST]),
    "handed back": None,
}


class Lives(RuleBasedStateMachine):
    """Jobs with keys, lanes and dependencies."""

    @initialize()
    def begin(self) -> None:
        self.clock = SimClock()
        log = LogOptions(disk=SimDisk(), clock=self.clock, segment_bytes=1 << 20)
        self.store = Store(
            "sim/jobs", StoreOptions(log=log, engine=OpenModel(0, 0.0), window_seconds=None)
        )
        self.jobs = Jobs(self.store, JobsOptions(keep_done=100.0, losses=3))
        self.ledger = self.jobs._ledger
        self.ends: Counter[str] = Counter()
        self.ledger.finished = lambda job: self.ends.update([job.id])

        @self.jobs.task(name="task", runs="thread", retry=Retry(attempts=2, first=10, jitter=False))
        def task(ctx: Context) -> None: ...

        self.task = task
        self.attempts: list[tuple[str, int]] = []

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            self.drain()
        finally:
            self.store.close()

    # -- what is there --------------------------------------------------------------------------

    def rows(self) -> list[Job]:
        return list(self.ledger.jobs.scan(self.store))

    def row(self, job: str) -> Job | None:
        return self.ledger.jobs.get(self.store, job)

    def some(self, data: st.DataObject, *states: State) -> str | None:
        found = [row.id for row in self.rows() if row.state in states]
        return data.draw(st.sampled_from(found)) if found else None

    # -- what happens ---------------------------------------------------------------------------

    @rule(
        data=st.data(),
        lane=st.sampled_from(["", "", "a", "b"]),
        key=st.sampled_from(["", "", "", "k"]),
        wait=st.sampled_from([0, 0, 0, 50]),
        count=st.integers(1, 3),
    )
    def enqueue(self, data: st.DataObject, lane: str, key: str, wait: int, count: int) -> None:
        ids = [row.id for row in self.rows()]
        after = data.draw(st.lists(st.sampled_from(ids), max_size=3)) if ids else []

        def make(tx: Transaction) -> None:
            for _ in range(count):
                at = tx.now + dt.timedelta(seconds=wait) if wait else None
                self.jobs.enqueue(tx, self.task, lane=lane, key=key, after=after, at=at)

        before = {row.id: row for row in self.rows()}
        try:
            self.store.call(make)
        except NotPossible:
            assert any(before[one].state in {State.DEAD, State.CANCELLED} for one in after)

    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        job = self.some(data, State.READY)
        if job is not None:
            (claimed,) = self.store.call(self.ledger.claim, [job])
            self.store.call(lambda tx: self.ledger.results(tx, claimed))
            self.attempts.append((job, claimed.attempt))

    @rule(data=st.data(), how=st.sampled_from(sorted(OUTCOMES)))
    def settle(self, data: st.DataObject, how: str) -> None:
        """By the attempt that runs, or by one that is long over."""
        if not self.attempts:
            return
        job, attempt = data.draw(st.sampled_from(self.attempts))
        row = self.row(job)
        last = row is not None and row.state is State.RUNNING and row.attempt == attempt
        settled = self.store.call(self.ledger.settle, Ended(job, attempt, OUTCOMES[how]))
        assert (settled is not None) == last

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = self.some(data, *(state for state in State if not state.ended))
        if job is not None:
            self.store.call(self.ledger.cancel, job, "")

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job = self.some(data, State.DEAD, State.CANCELLED, State.WAITING)
        if job is None:
            return
        row = self.row(job)
        assert row is not None
        befores = [self.row(one) for one in row.after]
        try:
            self.store.call(self.ledger.retry, job)
        except NotPossible:
            taken = row.key and self.jobs.find(self.store, row.key) is not None
            assert taken or any(
                one and one.state in {State.DEAD, State.CANCELLED} for one in befores
            )
        except UnknownJob:
            assert None in befores, "and somebody dropped it by hand"

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        job = self.some(data, State.DONE, State.DEAD, State.CANCELLED)
        if job is None:
            return
        row = self.row(job)
        assert row is not None
        try:
            self.store.call(self.ledger.drop, job)
        except NotPossible:
            assert row.state is State.DONE
            assert row.followers

    @rule(seconds=st.sampled_from([1, 30, 200]))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds * 10**9
        self.store.call(self.ledger.drop_ended, 100)
        self.fire()

    def fire(self) -> int:
        timers = self.jobs._timers
        due = timers.due(self.store, 0, self.clock(), 1000)
        return self.store.call(timers.fire, due) if due else 0

    # -- what stays true ------------------------------------------------------------------------

    @invariant()
    def everything_fits(self) -> None:
        if not hasattr(self, "store"):
            return
        rows = {row.id: row for row in self.rows()}
        edges = {(edge.before, edge.after) for edge in self.ledger.edges.scan(self.store)}
        lanes = {lane.name: lane.holder for lane in self.ledger.lanes.scan(self.store)}
        timers = {
            (t.due, t.id) for t in self.ledger.timers.scan(self.store) if t.target is Target.JOB
        }
        alive = [row for row in rows.values() if not row.state.ended]
        assert timers == {(row.due, row.id) for row in alive if row.state is State.WAITING}
        assert set(lanes) == {row.lane for row in alive if row.lane}
        assert len(keys := [row.key for row in alive if row.key]) == len(set(keys))
        for row in alive:
            waits = {one for one in row.after if (one, row.id) in edges}
            assert row.waits == len(waits) + bool(row.lane and lanes[row.lane] != row.id)
            assert (row.waits > 0) == (row.state is State.BLOCKED)
            for one in set(row.after) - waits:
                assert rows[one].state is State.DONE, "it does not wait for what is to come first"
            for one in waits:
                assert not rows[one].state.ended, "it waits for what has ended"
        for before, after in edges:
            assert rows[after].state is State.BLOCKED
            assert before in rows[after].after
        followers = Counter(
            one for row in rows.values() if row.state is not State.DONE for one in set(row.after)
        )
        for row in rows.values():
            assert row.followers == followers[row.id]

    def drain(self) -> None:
        """Let everything run to its end: nothing waits for ever."""
        for _ in range(200):
            ready = [row.id for row in self.rows() if row.state is State.READY]
            self.store.call(self.ledger.claim, ready)
            running = [row for row in self.rows() if row.state is State.RUNNING]
            for row in running:
                ended = Ended(row.id, row.attempt, OUTCOMES["success"])
                assert self.store.call(self.ledger.settle, ended) is not None
            self.clock.now += 100 * 10**9
            if not (self.fire() or running or ready):
                break
        self.everything_fits()
        left = [row for row in self.rows() if not row.state.ended]
        assert not left, "it waits for nothing"


Lives.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLives: Any = Lives.TestCase
