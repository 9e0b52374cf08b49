"""Waiting for the end of a job, from threads and from coroutines.

What must stay true: who waits is told, whatever happens: of the end, or that nobody runs jobs any more;
and who stops waiting leaves nothing behind.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress

from walnut.jobs.errors import UnknownJob
from walnut.jobs.ledger import Ledger
from walnut.jobs.model import Job
from walnut.store.store import Store


class Waiters:
    """Those who wait for jobs to end."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._waiters: dict[str, set[Future[Job]]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(map(len, self._waiters.values()))

    @contextmanager
    def end_of(self, job: str) -> Iterator[Future[Job]]:
        """A future of the job's end, for the length of a block."""
        waiter: Future[Job] = Future()
        with self._lock:
            self._waiters.setdefault(job, set()).add(waiter)
        try:
            # Only now: what ends after this is told to the waiter.
            row = self._ledger.jobs.get(self._store, job)
            if row is None:
                raise UnknownJob(f"there is no job {job}, or it is not durable yet")
            if row.state.ended:
                _resolve(waiter, row)
            elif self._store.log.failure is not None:
                raise self._store.log.failure
            yield waiter
        finally:
            with self._lock:
                others = self._waiters.get(job, set())
                others.discard(waiter)
                if not others:
                    self._waiters.pop(job, None)

    def ended(self, job: Job) -> None:
        """A job has ended, and that is durable."""
        with self._lock:
            waiters = self._waiters.pop(job.id, set())
        for waiter in waiters:
            _resolve(waiter, job)

    def gave_up(self, why: Exception) -> None:
        """Jobs are not run any more: whoever waits would wait for ever."""
        with self._lock:
            waiters = set().union(*self._waiters.values())
            self._waiters.clear()
        for waiter in waiters:
            _resolve(waiter, why)


def _resolve(waiter: Future[Job], with_: Job | Exception) -> None:
    with suppress(InvalidStateError):  # it was cancelled, or told already
        if isinstance(with_, Job):
            waiter.set_result(with_)
        else:
            waiter.set_exception(with_)
