"""What several tests of jobs need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.store.helpers import SMALL
from walnut.jobs import Job, Jobs, Retry, State
from walnut.jobs.ledger import Ended
from walnut.jobs.outcome import Outcome, success
from walnut.store import Store

__all__ = ["AT_ONCE", "SMALL", "by_hand", "ended", "until", "wait_until"]

AT_ONCE = Retry(attempts=3, first=0.0, most=0.0)
"""Tries again without waiting."""


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        await asyncio.sleep(0.002)


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """The same for threads."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.002)


def by_hand(jobs: Jobs, job: Job, outcome: Outcome | None = None) -> State:
    """Claim a job and settle it, without anything that runs; its state then."""
    store, ledger = jobs.store, jobs._ledger
    (claimed,) = store.call(ledger.claim, [job.id])
    told = Ended(job.id, claimed.attempt, outcome or success(None, job.task, 1000))
    settled = store.call(ledger.settle, told)
    assert settled is not None
    return settled.state


def ended(store: Store, jobs: Jobs) -> bool:
    """All jobs have ended."""
    return all(job.state.ended for job in jobs._ledger.jobs.scan(store))
