"""Who waits for a topic to grow, in threads and on event loops, and waking them.

    a commit is durable ─▶ announce(topic) ─▶ threads: released at once
                                          └─▶ loops: all who wait there, by one call into the loop

`announce` is called on the thread that all commits wait for, so it costs a look when nobody waits, and
one call for each event loop however many wait on it.

What must stay true: who is listed before it looks, and finds nothing, is woken by whatever comes after.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Iterator

Futures = set[Future[None]]


class Wakes:
    """Entered by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: dict[int, set[threading.Lock]] = {}
        self._loops: dict[int, dict[AbstractEventLoop, Futures]] = {}
        self._ripe: dict[AbstractEventLoop, Futures] = {}

    def announce(self, topic: int) -> None:
        """A topic has grown, or was deleted."""
        if topic in self._threads or topic in self._loops:
            self._wake([topic])

    def announce_all(self) -> None:
        """The store was closed, or its log failed."""
        self._wake([*self._threads, *self._loops])

    def _wake(self, topics: list[int]) -> None:
        batons: set[threading.Lock] = set()
        called: list[AbstractEventLoop] = []
        with self._lock:
            for topic in topics:
                batons |= self._threads.pop(topic, set())
                for loop, futures in self._loops.pop(topic, {}).items():
                    if loop not in self._ripe:
                        self._ripe[loop] = set()
                        called.append(loop)
                    self._ripe[loop] |= futures
        for baton in batons:
            baton.release()
        for loop in called:
            try:
                loop.call_soon_threadsafe(self._resolve, loop)
            except RuntimeError:  # it was closed: nobody there waits any more
                with self._lock:
                    self._ripe.pop(loop, None)

    def _resolve(self, loop: AbstractEventLoop) -> None:
        with self._lock:
            ripe = self._ripe.pop(loop, set())
        for future in ripe:
            _resolve(future)

    def wait(self, topic: int, grown: Callable[[], bool], timeout: float | None) -> bool:
        """Sleep until `grown()`; False if `timeout` seconds are over first."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            baton = threading.Lock()
            baton.acquire()
            with self._listed(self._threads, topic, baton):
                if grown():
                    return True
                left = -1 if deadline is None else max(0.0, deadline - time.monotonic())
                if not baton.acquire(timeout=left):
                    return grown()

    async def async_wait(
        self, topic: int, grown: Callable[[], bool], timeout: float | None
    ) -> bool:
        """The same for a coroutine."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            future: Future[None] = loop.create_future()
            with self._listed_on(loop, topic, future):
                if grown():
                    return True
                if deadline is None:
                    await future
                    continue
                timer = loop.call_at(deadline, _resolve, future)
                try:
                    await future
                finally:
                    timer.cancel()
                if loop.time() >= deadline:
                    return grown()

    @contextlib.contextmanager
    def _listed(
        self, waiting: dict[int, set[threading.Lock]], topic: int, baton: threading.Lock
    ) -> Iterator[None]:
        with self._lock:
            waiting.setdefault(topic, set()).add(baton)
        try:
            yield
        finally:
            with self._lock:
                batons = waiting.get(topic, set())
                batons.discard(baton)
                if not batons:
                    waiting.pop(topic, None)

    @contextlib.contextmanager
    def _listed_on(
        self, loop: AbstractEventLoop, topic: int, future: Future[None]
    ) -> Iterator[None]:
        with self._lock:
            self._loops.setdefault(topic, {}).setdefault(loop, set()).add(future)
        try:
            yield
        finally:
            with self._lock:
                loops = self._loops.get(topic, {})
                futures = loops.get(loop, set())
                futures.discard(future)
                if not futures:
                    loops.pop(loop, None)
                if not loops:
                    self._loops.pop(topic, None)


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
