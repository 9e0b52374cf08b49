"""What is under way: requests, streams, WebSockets and background tasks, counted.

    async with inflight.request(): ...            counted until it ends
    inflight.spawn("send receipt", coroutine)     a task that is waited for
    await inflight.draining.wait()                "please end": a stream's cue to end where it can resume
    await inflight.idle()                         nothing is under way any more

What must stay true: every count that goes up comes down, whatever happens in between; `idle` returns
only at a moment when all of them are zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from walnut.shutdown.errors import TooManyTasks
from walnut.shutdown.model import Counts

TASKS_MAX: Final = 10_000
"""Background tasks at once. More are a queue without a bound, which belongs into durable jobs."""


class InFlight:
    """Counts what is under way. For one event loop.

    Attributes:
        closing: answers end their connections from now on (HTTP/1.1 `Connection: close`).
        draining: set when everything is to come to its end.
        requests, streams, websockets: read them; `Draining` counts in them directly, as that is the
            hot path: it adds one, takes one away, and calls `ended`.
    """

    def __init__(self, *, tasks_max: int = TASKS_MAX) -> None:
        self.closing = False
        self.draining = asyncio.Event()
        self.requests = 0
        self.streams = 0
        self.websockets = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._tasks_max = tasks_max
        self._idle: asyncio.Event | None = None

    @property
    def counts(self) -> Counts:
        """As they are now."""
        return Counts(self.requests, self.streams, self.websockets, len(self._tasks))

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """Count a request while the block runs."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
            self.ended()

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[asyncio.Event]:
        """Count a long answer while the block runs; it is given `draining`."""
        self.streams += 1
        try:
            yield self.draining
        finally:
            self.streams -= 1
            self.ended()

    @asynccontextmanager
    async def websocket(self) -> AsyncIterator[asyncio.Event]:
        """Count a WebSocket while the block runs; it is given `draining`."""
        self.websockets += 1
        try:
            yield self.draining
        finally:
            self.websockets -= 1
            self.ended()

    def spawn(self, name: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        """Run a coroutine in the background. Draining waits for it; what it raises goes to the
        exception handler of the loop.

        Raises:
            TooManyTasks: as many as are allowed run already.
        """
        if len(self._tasks) >= self._tasks_max:
            work.close()
            raise TooManyTasks(
                f"{self._tasks_max} background tasks run, so {name!r} can't; let some end first"
            )
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def ended(self) -> None:
        """Something was taken off a count."""
        if self._idle is not None and not self.counts.total:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self.counts.total:
            if self._idle is None or self._idle.is_set():
                self._idle = asyncio.Event()
            await self._idle.wait()

    def drain(self) -> None:
        """Ask everything under way to come to its end."""
        self.closing = True
        self.draining.set()

    def cancel(self) -> list[asyncio.Task[Any]]:
        """Cancel the background tasks, and return them. Requests belong to their server."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self.ended()
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {
                    "message": f"background task {task.get_name()!r} failed",
                    "exception": error,
                    "task": task,
                }
            )
