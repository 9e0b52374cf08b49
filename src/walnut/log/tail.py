"""Following the log: records as they become durable, for threads and for coroutines.

A tail pulls: it reads what is durable, then sleeps until more is. What must stay true: it never
holds records for a reader that is slow, and it never spins.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

from walnut.log.errors import LogClosed
from walnut.log.frame import Frame
from walnut.log.model import MAX_LSN, Record
from walnut.log.reader import Reader, Source, records_within

COLD: Final = 10_000
"""Records behind the end from where a coroutine's reading moves to a thread: pages that far back
may have to come from the disk."""

COLD_FRAMES: Final = 64
"""Frames fetched per trip to that thread."""

FIRST_POLL: Final = 0.0005
LAST_POLL: Final = 0.02
"""Seconds between two looks at another process's mark: from the first, doubling, to the last."""


def tail(reader: Reader, source: Source, start: int, timeout: float | None) -> Iterator[Record]:
    """Records from `start`, for ever; ends when the log is closed, or when none comes for
    `timeout` seconds."""
    lsn = start
    try:
        while source.wait_for(lsn, timeout):
            for frame in reader.frames(lsn, MAX_LSN):
                yield from records_within(frame, lsn, MAX_LSN)
                lsn = frame.header.next_lsn
    except LogClosed:
        return


async def atail(
    reader: Reader, source: Source, start: int, timeout: float | None
) -> AsyncIterator[Record]:
    """The same for coroutines; other tasks run between two frames."""
    lsn = start
    try:
        while await source.await_for(lsn, timeout):
            frames = reader.frames(lsn, MAX_LSN)
            while True:
                cold = source.position().durable_lsn - lsn > COLD
                batch = await asyncio.to_thread(_take, frames) if cold else _take(frames)
                for frame in batch:
                    for record in records_within(frame, lsn, MAX_LSN):
                        yield record
                    lsn = frame.header.next_lsn
                    await asyncio.sleep(0)
                if len(batch) < COLD_FRAMES:
                    break
    except LogClosed:
        return


def _take(frames: Iterator[Frame]) -> list[Frame]:
    return list(itertools.islice(frames, COLD_FRAMES))


class Arrivals:
    """Wakes who waits for the durable LSN to move. `announce` costs one check when nobody does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[Callable[[], None]] = set()

    def announce(self) -> None:
        """The durable LSN moved, or the log was closed or failed."""
        if self._waiting:
            with self._lock:
                waiting, self._waiting = self._waiting, set()
            for wake in waiting:
                wake()

    def wait(self, arrived: Callable[[], bool], timeout: float | None) -> bool:
        """Sleep until `arrived()`; False if the time is over first."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            baton = threading.Lock()
            baton.acquire()
            with self._listed(baton.release):
                left = -1 if deadline is None else max(0.0, deadline - time.monotonic())
                if arrived():
                    return True
                if not baton.acquire(timeout=left):
                    return arrived()

    async def async_wait(self, arrived: Callable[[], bool], timeout: float | None) -> bool:
        """The same for a coroutine."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            future: Future[None] = loop.create_future()
            with self._listed(functools.partial(_set_soon, loop, future)):
                if arrived():
                    return True
                left = None if deadline is None else max(0.0, deadline - loop.time())
                done, _ = await asyncio.wait([future], timeout=left)
                if not done:
                    return arrived()

    @contextlib.contextmanager
    def _listed(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called by the next announcement; not after the block, however it ends."""
        with self._lock:
            self._waiting.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(wake)


def _set_soon(loop: AbstractEventLoop, future: Future[None]) -> None:
    def resolve() -> None:
        if not future.done():
            future.set_result(None)

    # A loop that was closed has nobody to be told, and this is the thread that flushes: what is
    # raised here would stop the log.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(resolve)


def poll_delays() -> Iterator[float]:
    """How long to sleep before each next look."""
    delay = FIRST_POLL
    while True:
        yield delay
        delay = min(delay * 2, LAST_POLL)
