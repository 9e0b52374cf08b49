"""An event loop on simulated time: asyncio, as a function of a seed.

    ready callbacks ─▶ run, in the order they came ─▶ nothing ready? time moves on to the next timer

Nobody sleeps and no thread exists: what others do in threads is a callback after a latency that is
drawn from the seed, and it finds itself outside of the loop, as in a thread.

What must stay true: the same seed runs the same callbacks in the same order at the same times; an
exception that nobody catches ends the run, at once.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import base_events, events
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from walnut.testing.disk import SimClock

T = TypeVar("T")
TURN_SECONDS: Final = 20e-6
"""What a turn takes, so that a loop that never waits gets on in time as well."""
PATIENCE_SECONDS: Final = 10_000.0
"""After which whatever is waited for does not come."""
SPINS: Final = 3000
"""Turns without a wait that are too many: somebody asks again and again."""
BURIAL_TURNS: Final = 50
"""In which tasks that were cancelled come to their end."""


class Idle(Exception):
    """Nothing is to come: everybody waits for somebody else."""


class _NoSelector:
    """Instead of waiting for I/O, moves time on."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._busy = 0

    def select(self, timeout: float | None) -> list[Any]:
        """See `selectors.BaseSelector.select`. Raises Idle."""
        if timeout is None or self._loop.time() > PATIENCE_SECONDS:
            raise Idle("nothing is to come any more, and somebody waits")
        self._busy = 0 if timeout else self._busy + 1
        if self._busy > SPINS:
            raise Idle("the loop spins: somebody asks again and again instead of waiting")
        self._loop.pass_time(max(timeout, TURN_SECONDS))
        return []


class SimLoop(base_events.BaseEventLoop):
    """An event loop whose time is simulated.

    Args:
        clock: the wall clock, which moves with the time of the loop and may be set beside it.
    """

    def __init__(self, rng: random.Random, clock: SimClock) -> None:
        super().__init__()
        self.rng = rng
        self.buried = False
        self._clock = clock
        self._elapsed = 0.0
        self._ready: deque[Any]
        self._scheduled: list[Any]
        self._tasks: list[asyncio.Task[Any]] = []
        self._selector = _NoSelector(self)
        self._clock_resolution = 1e-9
        self.set_task_factory(self._make_task)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        self._tasks = [one for one in self._tasks if not one.done()]
        self._tasks.append(task)
        return task

    # -- time -----------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._elapsed

    def pass_time(self, seconds: float) -> None:
        """Move time on."""
        self._elapsed += seconds
        self._clock.now += int(seconds * 1e9)

    # -- what others do in threads --------------------------------------------------------------

    def elsewhere(self, most: float, function: Callable[..., object], *args: Any) -> None:
        """Call a function after a latency of up to `most` seconds, as another thread would."""
        if not self.buried:
            self.call_later(self.rng.random() ** 3 * most, self.outside, function, *args)

    @staticmethod
    def outside(function: Callable[..., T], *args: Any) -> T:
        """Call a function as if no loop were running here."""
        inside = events._get_running_loop()
        events._set_running_loop(None)
        try:
            return function(*args)
        finally:
            events._set_running_loop(inside)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Calls the function here, later."""
        assert executor is None, "threads are simulated"
        future: asyncio.Future[T] = self.create_future()

        def call() -> None:
            if future.done():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.elsewhere(0.01, call)
        return future

    # -- running --------------------------------------------------------------------------------

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What no callback caught ends the run. Tasks and futures answer for themselves."""
        error = context.get("exception")
        if error is not None and "handle" in context and not self.buried:
            raise error

    def bury(self) -> None:
        """The process is dead: no callback is called any more, and tasks are taken apart quietly."""
        self.buried = True
        self._ready.clear()
        self._scheduled.clear()
        self._elapsed = 0.0
        for _ in range(BURIAL_TURNS):
            left = _alive(self._tasks)
            if not left:
                break
            for task in left:
                task.cancel()
            self.run_until_complete(_turn())
        self.close()

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """It never waits for what other threads do."""


def _alive(tasks: Iterable[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    return [task for task in tasks if not task.done()]


async def _turn() -> None:
    await asyncio.sleep(0)
