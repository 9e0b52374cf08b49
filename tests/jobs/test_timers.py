"""Timers and schedules: transactions that happen at a time, once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.helpers import SMALL, until, wait_until
from walnut.jobs import Context, Cron, Job, Jobs, JobsOptions, State
from walnut.jobs.errors import InvalidArguments, InvalidTask
from walnut.jobs.model import Target
from walnut.log import LogOptions
from walnut.store import Store, StoreOptions, Transaction
from walnut.testing.disk import SimClock, SimDisk
from walnut.testing.engine import OpenModel

SECONDS = dt.timedelta(seconds=1)
FIRED: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_fired() -> None:
    FIRED.clear()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


def note(tx: Transaction, what: str) -> None:
    FIRED.append(what)


class Clock:
    """A clock that is set by hand, and a store in memory that has it."""

    def __init__(self) -> None:
        self.now = SimClock()
        self.options = StoreOptions(
            log=LogOptions(disk=SimDisk(), clock=self.now, segment_bytes=1 << 20),
            engine=OpenModel(0, 0.0),
            window_seconds=None,
        )

    def passes(self, seconds: float) -> None:
        self.now.now += int(seconds * 1e9)


def timers(jobs: Jobs) -> int:
    return jobs._ledger.timers.count(jobs.store)


def test_a_timer_fires_once_whatever_happened_meanwhile() -> None:
    clock = Clock()
    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        with store.transaction() as tx:
            jobs.at(tx, tx.now + 10 * SECONDS, note, "a")
            jobs.at(tx, tx.now - 10 * SECONDS, note, "past")
        with contextlib.suppress(RuntimeError), store.transaction() as tx:
            jobs.at(tx, tx.now, note, "never")
            raise RuntimeError
        with jobs:
            wait_until(lambda: timers(jobs) == 1)
            clock.passes(9)
    assert FIRED == ["past"]
    clock.passes(1)
    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        with jobs:
            wait_until(lambda: timers(jobs) == 0)
            assert FIRED == ["past", "a"]
            clock.passes(1000)
    assert FIRED == ["past", "a"]


def test_keys_take_the_place_of_one_another_and_can_be_unset(store: Store) -> None:
    jobs = Jobs(store)
    with store.transaction() as tx:
        jobs.at(tx, tx.now + 3600 * SECONDS, note, "a", key="k")
        jobs.at(tx, tx.now, note, "b", key="k")
        jobs.at(tx, tx.now, note, "c", key="l")
        assert jobs.unset(tx, "l")
        assert not jobs.unset(tx, "l")
    with jobs:
        wait_until(lambda: timers(jobs) == 0)
    assert FIRED == ["b"]


@pytest.mark.parametrize("late", ["fire", "skip"])
def test_what_was_due_while_nothing_ran_follows_its_policy(late: Any) -> None:
    clock = Clock()
    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        with store.transaction() as tx:
            jobs.at(tx, tx.now + SECONDS, note, "late", late=late, grace=5 * SECONDS)
            jobs.at(tx, tx.now + 8 * SECONDS, note, "in time", late=late, grace=5 * SECONDS)
        clock.passes(10)
        with jobs:
            wait_until(lambda: not timers(jobs))
    assert ["late", "in time"][late == "skip" :] == FIRED


def test_thousands_due_at_once_all_fire_and_one_that_raises_is_alone(store: Store) -> None:
    jobs = Jobs(store, JobsOptions(timer_attempts=1))
    count = store.counter("fired")

    def add(tx: Transaction, number: int) -> None:
        if number == 777:
            raise OSError("not this one")
        count.add(tx)

    jobs.action(add, "add")
    with store.transaction() as tx:
        when = tx.now
        for number in range(3000):
            jobs.at(tx, when, jobs.action(add, "add"), number)
    with jobs:
        wait_until(lambda: not timers(jobs), 60)
    assert count.value(store) == 2999
    (dead,) = jobs._ledger.jobs.scan(store)
    assert dead.state is State.DEAD
    assert dead.error is not None
    assert dead.error.error == "OSError"


def test_an_action_that_raises_is_tried_again_then_dead_and_can_be_revived(store: Store) -> None:
    jobs, good = Jobs(store, JobsOptions(timer_attempts=2)), list[bool]()

    def shaky(tx: Transaction, text: str) -> None:
        FIRED.append(text)
        if not good:
            raise OSError("no")

    action = jobs.action(shaky, "shaky")
    with store.transaction() as tx:
        # It was in time at first, so it is not skipped when it is tried again.
        jobs.at(tx, tx.now, action, "x", key="k", late="skip", grace=0.2 * SECONDS)

    def dead() -> list[Job]:
        return [job for job in jobs._ledger.jobs.scan(store) if job.state is State.DEAD]

    with jobs:
        wait_until(dead)
        assert FIRED == ["x", "x"]
        good.append(True)
        with store.transaction() as tx:
            jobs.retry(tx, dead()[0])
        wait_until(lambda: len(FIRED) == 3)
        wait_until(lambda: not timers(jobs))
        assert not dead()


def test_what_has_no_code_here_waits_until_it_is_declared() -> None:
    clock = Clock()

    def later(tx: Transaction, number: int) -> None:
        FIRED.append(number)

    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        with store.transaction() as tx:
            for number in range(3):
                jobs.at(tx, tx.now, jobs.action(later, "later"), number)
            jobs.at(tx, tx.now + SECONDS, note, "other")
    clock.passes(5)
    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        with jobs:
            wait_until(lambda: timers(jobs) == 3)
            assert FIRED == ["other"]
            jobs.action(later, "later")
            wait_until(lambda: len(FIRED) == 4)
    assert sorted(map(str, FIRED)) == ["0", "1", "2", "other"]


def test_a_clock_that_is_set_back_delays_and_forgets_nothing() -> None:
    clock = Clock()
    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        with jobs:
            with store.transaction() as tx:
                for number in range(20):
                    jobs.at(tx, tx.now + number * SECONDS, note, str(number))
            wait_until(lambda: FIRED == ["0"])
            clock.passes(10.5)
            wait_until(lambda: len(FIRED) == 11)
            clock.passes(-8)
            with store.transaction() as tx:
                jobs.at(tx, tx.now, note, "now")
            wait_until(lambda: FIRED[-1] == "now")
            clock.passes(20)
            wait_until(lambda: timers(jobs) == 0)
        assert len(FIRED) == 21


def test_what_is_not_fired_as_the_clock_was_set_back_on_the_way_is_fired_later() -> None:
    clock = Clock()
    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        with store.transaction() as tx:
            for number in range(5):
                jobs.at(tx, tx.now + number * SECONDS, note, str(number))
        back = store.options.log.clock
        read = iter([100.0])

        def jumping() -> int:
            """One look at it, the dispatcher's, says that it is much later."""
            return back() + int(next(read, 0.0) * 1e9)

        async def main() -> None:
            await jobs.start()
            assert jobs._dispatcher is not None
            jobs._dispatcher._clock = jumping
            try:
                await until(lambda: FIRED == ["0"])
                clock.passes(10)
                await until(lambda: len(FIRED) == 5)
            finally:
                await jobs.stop()

        asyncio.run(main())
    assert FIRED == ["0", "1", "2", "3", "4"]


# -- schedules --------------------------------------------------------------------------------------


def test_a_schedule_makes_jobs_or_calls_actions_again_and_again() -> None:
    clock = Clock()
    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)

        @jobs.task
        async def tick(ctx: Context, what: str) -> None:
            FIRED.append(what)

        every = Cron("* * * * * *")
        with store.transaction() as tx:
            jobs.every(tx, "job", every, tick, "job")
            jobs.every(tx, "action", every, note, "action")
            assert jobs.every(tx, "job", every, tick, "job").fired == 0
        with jobs:
            for turn in range(1, 4):
                clock.passes(1.1)
                wait_until(lambda turn=turn: sorted(FIRED) == ["action"] * turn + ["job"] * turn)  # type: ignore[misc]
            with store.transaction() as tx:
                assert jobs._timers.stop(tx, "job")
                assert jobs._timers.stop(tx, "action")
        assert timers(jobs) == 0


def test_a_schedule_of_a_task_that_is_not_here_waits_for_it() -> None:
    clock = Clock()

    async def tick(ctx: Context, what: str) -> None:
        FIRED.append(what)

    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        with store.transaction() as tx:
            jobs.every(tx, "s", Cron("* * * * * *"), jobs.task(name="tick")(tick), "x")
    clock.passes(5)
    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        with jobs:
            with store.transaction() as tx:
                jobs.at(tx, tx.now, note, "other")
            wait_until(lambda: FIRED == ["other"])
            jobs.task(name="tick")(tick)
            wait_until(lambda: FIRED == ["other", "x"])


def test_a_schedule_whose_task_takes_other_arguments_now_leaves_a_dead_job_and_goes_on() -> None:
    clock = Clock()

    async def old(ctx: Context, what: str) -> None: ...

    async def new(ctx: Context, what: int) -> None: ...

    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        with store.transaction() as tx:
            jobs.every(tx, "s", Cron("* * * * * *"), jobs.task(name="tick")(old), "x")
    clock.passes(5)
    with Store("sim/a", clock.options) as store:
        jobs = Jobs(store)
        jobs.task(name="tick")(new)
        with jobs:
            wait_until(lambda: jobs._ledger.jobs.count(store))
        (dead,) = jobs._ledger.jobs.scan(store)
        assert (dead.state, dead.task) == (State.DEAD, "tick")
        schedule = jobs._timers.schedules.get(store, "s")
        assert schedule is not None
        assert schedule.due > clock.now()
        (timer,) = jobs._ledger.timers.scan(store)
        assert (timer.target, timer.due) == (Target.SCHEDULE, schedule.due)


def test_what_can_not_be_a_timer_is_refused(store: Store) -> None:
    jobs = Jobs(store)

    def local(tx: Transaction) -> None: ...

    with store.transaction() as tx:
        with pytest.raises(InvalidTask, match="would not be found again"):
            jobs.at(tx, tx.now, local)
        with pytest.raises(ValueError, match="has no time zone"):
            jobs.at(tx, dt.datetime(2026, 1, 1), note, "x")  # noqa: DTZ001  that is the point
        with pytest.raises(InvalidArguments, match="takes 1 arguments"):
            jobs.at(tx, tx.now, note)
        with pytest.raises(InvalidArguments, match="late is 'never'"):
            jobs.at(tx, tx.now, note, "x", late="never")  # type: ignore[arg-type]
        with pytest.raises(InvalidArguments, match="texts"):
            jobs.at(tx, tx.now, note, "x", key=5)  # type: ignore[arg-type]
        with pytest.raises(InvalidArguments, match="missed is 'x'"):
            jobs.every(tx, "s", Cron("* * * * *"), note, "x", missed="x")  # type: ignore[arg-type]
    assert timers(jobs) == 0
