"""Effects: the intent is durable before the act, and what was lost is asked about before it is done
again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.helpers import SMALL
from walnut.jobs import Context, Happened, Job, JobFailed, Jobs, JobsOptions, Retry, State
from walnut.jobs.errors import InvalidTask
from walnut.jobs.ledger import LOST, Ended
from walnut.jobs.outcome import Failure
from walnut.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


class Bank:
    """The outside: it may or may not have done what it was asked, by key."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.asked: list[str] = []

    def charge(self, key: str, amount: int) -> int:
        self.done[key] = amount
        return amount


def lose(jobs: Jobs, job: Job) -> None:
    """The process died in the middle of an attempt."""
    jobs.store.call(jobs._ledger.claim, [job.id])
    row = jobs.get(jobs.store, job)
    assert row is not None
    lost = Ended(job.id, row.attempt, Failure(LOST, "died", [LOST]))
    assert jobs.store.call(jobs._ledger.settle, lost) is not None


@pytest.mark.parametrize("kind", ["thread", "loop", "loop, asked plainly"])
@pytest.mark.parametrize("happened", [True, False])
def test_a_lost_attempt_is_asked_about_before_the_next(
    store: Store, kind: str, *, happened: bool
) -> None:
    jobs, bank, acted = Jobs(store), Bank(), list[int]()

    def plain(ctx: Context, amount: int) -> int:
        acted.append(ctx.attempt)
        return bank.charge(ctx.key, amount)

    async def coroutine(ctx: Context, amount: int) -> int:
        return plain(ctx, amount)

    def ask(ctx: Context, amount: int) -> Happened | None:
        bank.asked.append(ctx.key)
        return Happened(bank.done[ctx.key]) if ctx.key in bank.done else None

    async def ask_slowly(ctx: Context, amount: int) -> Happened | None:
        return ask(ctx, amount)

    function: Any = plain if kind == "thread" else coroutine
    charge = jobs.effect(name="charge")(function)
    charge.reconcile(ask_slowly if kind == "loop" else ask)
    with store.transaction() as tx:
        job = jobs.call(tx, charge, 7)
        other = jobs.call(tx, charge, 8)
    if happened:
        bank.charge(job.id, 7)
    lose(jobs, job)
    with jobs:
        assert (jobs.wait(job, 20), jobs.wait(other, 20)) == (7, 8)
    assert bank.asked == [job.id], "only what is in doubt is asked about"
    assert sorted(acted) == ([1] if happened else [1, 2])
    assert bank.done == {job.id: 7, other.id: 8}


def test_the_key_is_the_same_at_every_attempt(store: Store) -> None:
    jobs, keys = Jobs(store), list[str]()

    @jobs.effect(retry=Retry(attempts=3, first=0.0, most=0.0))
    def act(ctx: Context) -> None:
        keys.append(ctx.key)
        if len(keys) < 3:
            raise ConnectionError

    with jobs:
        with store.transaction() as tx:
            job = jobs.call(tx, act)
        jobs.wait(job, 20)
    assert keys == [job.id] * 3


def test_an_attempt_that_was_too_slow_is_in_doubt(store: Store) -> None:
    jobs, asked = Jobs(store, JobsOptions(cancel_grace=0.1)), list[int]()

    @jobs.effect(timeout=0.05, retry=Retry(attempts=2, first=0.0, most=0.0))
    async def act(ctx: Context) -> str:
        await asyncio.sleep(60)
        return "never"

    @act.reconcile
    async def ask(ctx: Context) -> Happened | None:
        asked.append(ctx.attempt)
        return Happened("it did")

    with jobs:
        with store.transaction() as tx:
            job = jobs.call(tx, act)
        assert jobs.wait(job, 20) == "it did"
    assert asked == [2]


def test_asking_may_fail_and_is_tried_again(store: Store) -> None:
    jobs, asked = Jobs(store), list[int]()

    @jobs.effect(retry=Retry(attempts=3, first=0.0, most=0.0))
    def act(ctx: Context) -> str:
        raise AssertionError("it was done already")

    @act.reconcile
    def ask(ctx: Context) -> Happened | None:
        asked.append(ctx.attempt)
        if len(asked) == 1:
            raise ConnectionError
        return Happened("it did")

    with store.transaction() as tx:
        job = jobs.call(tx, act)
    lose(jobs, job)
    with jobs:
        assert jobs.wait(job, 20) == "it did"
    assert asked == [2, 3], "while nobody knows, it is asked and not done"


def test_a_coroutine_can_not_ask_for_a_plain_function(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.effect
    def act(ctx: Context) -> None: ...

    async def ask(ctx: Context) -> Happened | None: ...

    with pytest.raises(InvalidTask, match="make both"):
        act.reconcile(ask)


def test_an_intent_survives_its_transaction_only(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.effect(retry=Retry(attempts=1))
    def act(ctx: Context) -> None:
        raise OSError("down")

    with jobs:
        with store.transaction() as tx:
            job = jobs.call(tx, act)
        with pytest.raises(JobFailed, match="down"):
            jobs.wait(job, 20)
    row = jobs.get(store, job)
    assert row is not None
    assert row.state is State.DEAD
