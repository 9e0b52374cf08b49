"""kill -9 of who runs jobs, and of the child processes that make attempts, at any moment: whatever was
answered ends once, with what follows from it; and nothing is half there."""

from __future__ import annotations

import os
import random
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.jobs.children import OPTIONS, Works
from tests.jobs.helpers import wait_until
from tests.jobs.killed import compute, notes
from tests.log.processes import child
from walnut.jobs import Job, State
from walnut.store import Store

CHILDREN = Path(__file__).with_name("children.py")
LIVES = int(os.environ.get("WALNUT_LIVES", "20"))


class Promises:
    """What the children said, over all their lives."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.timers: set[str] = set()

    def hear(self, line: list[str]) -> None:
        match line:
            case ["ack", "timer", token]:
                self.timers.add(token)
            case ["ack", kind, job]:
                self.jobs[job] = kind
            case _:
                pytest.fail(f"the child said {line}")

    def check_there(self, works: Works) -> None:
        """After a crash: all of it is there."""
        rows = {job.id for job in works.jobs._ledger.jobs.scan(works.store)}
        missing = self.jobs.keys() - rows
        assert not missing, f"{sorted(missing)[:5]} were answered"
        tokens = {row.name for row in works.tally.scan(works.store)}
        waiting = [timer.arguments for timer in works.jobs._ledger.timers.scan(works.store)]
        for token in self.timers:
            there = [arguments for arguments in waiting if token.encode() in arguments]
            assert len(there) + (f"timer {token}" in tokens) >= 1, f"timer {token} was answered"


def check_end(promises: Promises, works: Works) -> None:
    """When all is done."""
    store = works.store
    rows = {job.id: job for job in works.jobs._ledger.jobs.scan(store)}
    lost = {job.id: job for job in rows.values() if job.state is not State.DONE}
    assert not lost, f"{len(lost)} are not done, such as {next(iter(lost.values()))}"
    assert promises.jobs.keys() <= rows.keys()
    assert [row for row in works.tally.scan(store) if row.count != 1] == []
    counted = {row.name for row in works.tally.scan(store)}
    assert {f"done {job.id}" for job in rows.values() if job.task != "flow"} == {
        name for name in counted if name.startswith("done ")
    }
    assert {f"timer {token}" for token in promises.timers} <= counted
    for job in rows.values():
        if job.task == "flow":
            assert {f"step {job.id} 0", f"step {job.id} 1"} <= counted
    paid = Counter(key for (key,) in notes(works.marks))
    assert paid == Counter(job.id for job in rows.values() if job.task == "pay")
    turns: dict[str, list[int]] = defaultdict(list)
    for turn in works.turns.scan(store):
        turns[turn.lane].append(turn.number)
    assert all(numbers == sorted(numbers) for numbers in turns.values())
    check_lives(store, rows)
    ledger = works.jobs._ledger
    for table in (ledger.edges, ledger.lanes, ledger.timers):
        assert list(table.scan(store)) == [], table.name


def check_lives(store: Store, rows: dict[str, Job]) -> None:
    """As the feed tells it, each job ended once, and its attempts were numbered one by one."""
    attempt: dict[str, int] = {}
    ends: Counter[str] = Counter()
    for change in store.changes(tables=["jobs"]):
        job: Job = change.after
        before = attempt.get(job.id, 0)
        assert job.attempt in {before, before + 1}
        assert not ends[job.id] or job.state is State.DONE
        ends[job.id] += job.state.ended and not ends[job.id]
        attempt[job.id] = job.attempt
    assert ends == Counter(rows.keys())


def test_killed_at_any_moment_every_job_ends_once(tmp_path: Path) -> None:
    rng = random.Random(11)
    promises = Promises()
    recovered = 0
    for life in range(LIVES):
        with child("serve", tmp_path, life, file=CHILDREN) as server:
            if life % 5 == 4:  # perhaps before it opened the store, or while it recovers
                time.sleep(rng.uniform(0.3, 0.9))
            else:
                for _ in range(rng.randrange(1, 120)):
                    promises.hear(server.hear())
                time.sleep(rng.uniform(0, 0.01))
            server.kill()
            for line in server.hear_all():
                promises.hear(line)
        if rng.random() < 0.3:
            with Store(tmp_path / "data", OPTIONS) as store:
                promises.check_there(Works(store, str(tmp_path / "marks")))
    with Store(tmp_path / "data", OPTIONS) as store:
        works = Works(store, str(tmp_path / "marks"))
        promises.check_there(works)
        ledger = works.jobs._ledger

        def over() -> bool:
            live = any(not job.state.ended for job in ledger.jobs.scan(store))
            return not live and next(iter(ledger.timers.scan(store)), None) is None

        for number in range(
            10
        ):  # in two of them a child kills itself, however the lives before went
            store.call(works.jobs.enqueue, compute, number)
        with works.jobs:
            wait_until(over, 120)
            recovered = works.jobs.metrics.recovered
        check_end(promises, works)
        rows = list(ledger.jobs.scan(store))
    assert recovered or LIVES < 5
    assert any(job.losses for job in rows), "no attempt was under way at a kill"
    assert any(job.task == "compute" and job.failures for job in rows), "no child was killed"
    assert len(promises.jobs) > 10 * LIVES
    assert promises.timers
