"""Draining, for any ASGI application under any ASGI server.

    app = Draining(app, lifecycle.inflight)         (walnut.shutdown.uvicorn.Server does this itself)

    what             while draining
    request          served, always; the answer says `Connection: close`
    stream           its application sees `draining(scope)` set, and ends where its client can resume
    WebSocket        the application sees the same; a moment later it is closed with 1001

What must stay true: a request is never refused for coming late; what is counted in is counted out.

Per request: a closure and two counts, 0.9 µs in all (`python -m bench.serving`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from walnut.shutdown.errors import ConnectionEnding
from walnut.shutdown.inflight import InFlight

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]
"""Loosely typed on purpose: each framework and server has its own spelling of the three."""

DRAINING: Final = "walnut.draining"
"""The extension that long answers look at: an `asyncio.Event`."""
CONNECTION: Final = "walnut.connection"
"""The extension of a server that ends connections itself, at the right one of several pipelined answers."""
PEER: Final = "walnut.peer"
"""In a scope's `state`, where the request came over a Unix socket: pid, uid and gid of its other end."""
GOING_AWAY: Final = 1001
"""The close code of a WebSocket whose server goes down (RFC 6455, section 7.4.1)."""
FAREWELL_SECONDS: Final = 1.0
"""What an application has to say goodbye on a WebSocket before it is closed."""
CLOSE_HEADER: Final = (b"connection", b"close")


def draining(scope: Scope) -> asyncio.Event:
    """The event that is set when this answer is to come to its end.

    A stream waits for it beside its own news, ends at a position its client can resume from (the id of
    its last event, an LSN), and the client connects again: to the next process.
    """
    event: asyncio.Event = scope["extensions"][DRAINING]
    return event


class Draining:
    """Counts requests, streams and WebSockets, and ends them when asked to.

    Args:
        farewell_seconds: between telling the application of a WebSocket and closing it.
    """

    def __init__(
        self, app: App, inflight: InFlight, *, farewell_seconds: float = FAREWELL_SECONDS
    ) -> None:
        self._app = app
        self._inflight = inflight
        self._farewell = farewell_seconds

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """The ASGI application."""
        kind = scope["type"]
        if kind == "http":
            return self._http(scope, receive, send)
        if kind == "websocket":
            return self._websocket(scope, receive, send)
        return self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        inflight = self._inflight
        extensions = scope.get("extensions")
        if extensions is None:
            extensions = scope["extensions"] = {}
        extensions[DRAINING] = inflight.draining
        streams = False

        def sending(message: Message) -> Awaitable[None]:
            nonlocal streams
            if message["type"] == "http.response.start":
                if (
                    inflight.closing
                    and CONNECTION not in extensions
                    and scope["http_version"] < "2"
                ):
                    message = _closing(message)
            elif not streams and message.get("more_body"):
                streams = True
                inflight.requests -= 1
                inflight.streams += 1
            return send(message)

        inflight.requests += 1
        try:
            await self._app(scope, receive, sending)
        finally:
            if streams:
                inflight.streams -= 1
            else:
                inflight.requests -= 1
            inflight.ended()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[DRAINING] = self._inflight.draining
        line = _Line(send)
        async with self._inflight.websocket():
            closing = asyncio.get_running_loop().create_task(self._close(line))
            try:
                await self._app(scope, receive, line.send)
            finally:
                closing.cancel()

    async def _close(self, line: _Line) -> None:
        await self._inflight.draining.wait()
        await line.accepted.wait()  # one that is just being opened is opened, to be told 1001
        await asyncio.sleep(self._farewell)
        with suppress(OSError):  # the client went first, says the server
            await line.close()


class _Line:
    """A WebSocket's sending side, which is closed once: by the application, or under it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.accepted = asyncio.Event()
        self._closed = False
        self._ended_by_us = False

    def send(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if self._ended_by_us:
            return _gone(kind)
        if kind == "websocket.accept":
            self.accepted.set()
        elif kind != "websocket.send":
            self._closed = True
        return self._send(message)

    async def close(self) -> None:
        if not self._closed:
            self._closed = self._ended_by_us = True
            await self._send(
                {"type": "websocket.close", "code": GOING_AWAY, "reason": "server stops"}
            )


async def _gone(kind: str) -> None:
    """Sending after the end: an error that frameworks know as a disconnect; closing again is no harm."""
    if kind != "websocket.close":
        raise ConnectionEnding("the server stops, and has closed this WebSocket with 1001")


def _closing(message: Message) -> Message:
    headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
    return {**message, "headers": [*headers, CLOSE_HEADER]}
