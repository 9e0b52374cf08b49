"""The server as a component: sockets in, an ASGI application behind them, an end that loses nothing.

    start           the application's lifespan, then accepting
    run             twice a second: the date, and clients that are too slow
    stop_accepting  what has reached our kernel is accepted; or left to a successor
    drain           until the last connection has closed by itself
    stop            what is left is cut; the lifespan ends

What must stay true: sockets come from outside and are closed once; signals are nobody's business here.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from email.utils import formatdate
from typing import Final, Literal

from uvicorn.config import Config
from uvicorn.lifespan.on import LifespanOn

from walnut.shutdown.accepting import Acceptor
from walnut.shutdown.asgi import App, Draining
from walnut.shutdown.errors import ApplicationFailed
from walnut.shutdown.inflight import InFlight
from walnut.shutdown.limits import HttpLimits
from walnut.shutdown.sockets import Listening
from walnut.shutdown.uvicorn.connection import Connection, Refusal, State, phrase
from walnut.shutdown.uvicorn.writing import Socket

SWEEP_SECONDS: Final = 0.5
DRAIN_SWEEP_SECONDS: Final = 0.05
"""While draining somebody waits for it."""
MESSAGE_BYTES: Final = 1024 * 1024
"""Of one WebSocket message."""


class Server:
    """Serves an ASGI application on sockets that are given to it. A `Component` and a `Listener`.

    Args:
        app: the application; `Draining` is put around it.
        listening: sockets; this closes them when it stops accepting.
        inflight: the lifecycle's.
        needs: what the application uses.
        tls: for TCP sockets; Unix sockets go without.
        lifespan: whether the application has one; "auto" finds out.
        message_bytes: the longest WebSocket message.
        headers: added to every answer.
        refusal: the body of what is refused before it reaches the application (400, 408, 431, 503).
    """

    def __init__(
        self,
        app: App,
        listening: Sequence[Listening],
        *,
        inflight: InFlight,
        name: str = "server",
        needs: Sequence[str] = (),
        limits: HttpLimits | None = None,
        tls: ssl.SSLContext | None = None,
        lifespan: Literal["auto", "on", "off"] = "auto",
        message_bytes: int = MESSAGE_BYTES,
        headers: Sequence[tuple[str, str]] = (),
        refusal: Refusal = phrase,
    ) -> None:
        self.name = name
        self.needs = tuple(needs)
        limits = limits or HttpLimits()
        self._config = Config(
            Draining(app, inflight),
            interface="asgi3",
            ws=Socket,
            ws_max_size=message_bytes,
            lifespan=lifespan,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=list(headers),
        )
        self._config.load()
        self._state = State(limits, inflight, self._released, refusal)
        self._acceptor = Acceptor(
            listening,
            self._connection,
            most=limits.connections,
            tls=tls,
            handshake_seconds=limits.handshake_seconds,
        )
        self._lifespan: LifespanOn | None = None if lifespan == "off" else LifespanOn(self._config)
        self._lifespan_task: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()

    @property
    def connections(self) -> int:
        """Open now."""
        return self._acceptor.open

    async def start(self) -> None:
        """See Component. Raises ApplicationFailed if the lifespan does not start."""
        self._tell_the_time()
        if self._lifespan is not None:
            await self._begin_lifespan(self._lifespan)
        self._acceptor.start()

    async def run(self) -> None:
        """See Component."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._tell_the_time()
            self._sweep()

    async def stop_accepting(self, *, handover: bool) -> None:
        """See Listener."""
        self._acceptor.stop(handover=handover)

    async def drain(self) -> None:
        """See Component."""
        self._state.draining_since = asyncio.get_running_loop().time()
        while self._acceptor.open:
            self._empty.clear()
            self._sweep()
            try:
                async with asyncio.timeout(DRAIN_SWEEP_SECONDS):
                    await self._empty.wait()
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """See Component."""
        self._acceptor.stop(handover=False)
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for connection in list(self._state.connections):
            connection.transport.abort()
        while self._acceptor.open:
            self._empty.clear()
            await self._empty.wait()
        if self._lifespan is not None:
            await self._end_lifespan(self._lifespan)

    def _connection(self) -> Connection:
        state = self._lifespan.state if self._lifespan is not None else {}
        return Connection(self._config, self._state, state, asyncio.get_running_loop())

    def _released(self) -> None:
        self._acceptor.released()
        if not self._acceptor.open:
            self._empty.set()

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self._state.connections):
            connection.sweep(now)  # type: ignore[union-attr] # all of them are ours

    def _tell_the_time(self) -> None:
        date = (b"date", formatdate(time.time(), usegmt=True).encode())
        self._state.default_headers = [date, *self._config.encoded_headers]

    async def _begin_lifespan(self, lifespan: LifespanOn) -> None:
        # As lifespan.startup(), which keeps no hold on the task.
        loop = asyncio.get_running_loop()
        self._lifespan_task = loop.create_task(lifespan.main(), name="lifespan")
        lifespan.receive_queue.put_nowait({"type": "lifespan.startup"})
        await lifespan.startup_event.wait()
        required = self._config.lifespan == "on"
        if lifespan.startup_failed or (lifespan.error_occurred and required):
            raise ApplicationFailed(
                "the application's lifespan did not start; its log says why (logger uvicorn.error)"
            )

    async def _end_lifespan(self, lifespan: LifespanOn) -> None:
        task = self._lifespan_task
        if task is None:
            return
        try:
            if not lifespan.error_occurred:
                lifespan.receive_queue.put_nowait({"type": "lifespan.shutdown"})
                await lifespan.shutdown_event.wait()
        finally:
            task.cancel()
        if lifespan.shutdown_failed:
            raise ApplicationFailed(
                "the application's lifespan did not stop cleanly; its log says why (uvicorn.error)"
            )
