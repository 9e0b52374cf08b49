"""`Guarded`: the ASGI app in front of all others. Plain ASGI, as each request pays for it.

    request id ─▶ who is it ─▶ is there room ─▶ the app ─▶ request id on the answer, a line in the log
                     401          429, 503        └ receive: body limit 413, waiting too long 408
                                                  └ send: streams; nothing to whoever was revoked
    a clock: requests that take too long are cancelled: 503

An answer without a Content-Length is a stream: it gives back its place among the requests and takes one
among the streams, and has no time limit.

What must stay true: nothing behind it is reached without a `Caller` but the login page and the doors
that subsystems declare (`Subsystem.doors`; `tests/server/test_closed.py` has all there are); to a
token that was revoked not one more byte is sent; and every count goes back whatever happens.

What it costs is measured by `python -m bench.access`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog

from walnut.server.access.gate import HEADERS, client_of, sorted_out
from walnut.server.access.limits import Admission, Limits
from walnut.server.access.login import Login
from walnut.server.access.request_ids import RequestIds
from walnut.web.access import Access
from walnut.web.asgi import App, Message, Receive, Scope, Send
from walnut.web.bodies import ANY_LENGTH
from walnut.web.caller import KEY, REQUEST_ID, Caller
from walnut.web.errors import (
    BodyTimeout,
    BodyTooLarge,
    ContentEncoded,
    RequestTimeout,
    Unauthenticated,
    WebError,
)
from walnut.web.problems import Problems, Rendered

_log = structlog.get_logger("walnut.access")
SWEEP_SECONDS: Final = 0.5
"""Between two looks at the clock for requests that take too long: they may take so much longer."""
LOGGED_PATH: Final = 200
"""Characters of a path in the log."""
_LENGTH: Final = b"content-length"
_EMPTY: Final = frozenset({204, 304})
"""Statuses of answers that have no body, and no length of it."""
POLICY_VIOLATION: Final = 1008
"""The close code of a WebSocket that is not, or no longer, allowed (RFC 6455, section 7.4.1)."""


class Revoked(Unauthenticated):
    """The credential of an open stream is not good any more."""


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        "bytes", "caller", "closed", "deadline", "expired", "principal", "receiving", "revoked", "room",
        "started", "status", "stream", "task",
    )  # fmt: skip

    def __init__(self, started: float, deadline: float, task: asyncio.Task[Any] | None) -> None:
        self.caller: Caller | None = None
        self.principal = ""
        self.room: Admission | None = None
        self.started = started
        self.deadline = deadline
        self.task = task
        self.status = 0
        self.bytes = 0
        self.stream = False
        self.closed = False
        self.receiving = False
        self.expired = False
        self.revoked = False


class Guarded:
    """Lets requests through to an app, or refuses them.

    Args:
        access: says who it is.
        problems: words refusals.
        login: the console's login page, if there is a console.
        doors: apps that are reached without a credential, by the first part of their paths.
        log_all: a line in the log for every request, not only for those that were refused or failed.
        clock: in seconds.
    """

    def __init__(
        self,
        app: App,
        access: Access,
        problems: Problems,
        limits: Limits | None = None,
        *,
        login: Login | None = None,
        doors: Mapping[str, App] | None = None,
        log_all: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._access = access
        self._problems = problems
        self._limits = limits or Limits()
        self._login = login
        self._open: Mapping[str, App] = {} if login is None else login.paths()
        self._doors = doors or {}
        self._log_all = log_all
        self._clock = clock
        self._ids = RequestIds()
        limit = self._limits
        self.requests = Admission(limit.requests, limit.requests_of_one, "requests")
        self.streams = Admission(limit.streams, limit.streams_of_one, "streams")
        self._exchanges: set[_Exchange] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    # -- requests -------------------------------------------------------------------------------

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        now = self._clock()
        exchange = _Exchange(now, now + self._limits.request_seconds, asyncio.current_task())
        headers = scope[HEADERS] = sorted_out(scope["headers"])
        scope[REQUEST_ID] = self._ids.id_of(headers)
        sending = self._sending(exchange, scope, send)
        receiving = self._receiving(exchange, scope, headers.get(b"content-length"), receive)
        try:
            app = self._enter(exchange, scope, self.requests)
            try:
                if (coding := headers.get(b"content-encoding")) is not None:
                    _check_plain(coding)
                await app(scope, receiving, sending)
            finally:
                self._leave(exchange)
        except Revoked:
            return  # and the server cuts the connection, as the answer is not complete
        except asyncio.CancelledError:
            if not _ended_by_us(exchange):
                raise
            await self._refuse(_too_slow(exchange, self._limits), exchange, scope, sending)
        except WebError as error:
            await self._refuse(error, exchange, scope, sending)
        except Exception:
            if not exchange.revoked:  # else it is Revoked, in what the app has made of it
                raise
        finally:
            if self._log_all or exchange.status >= 500:
                self._tell(exchange, scope)

    def _enter(self, exchange: _Exchange, scope: Scope, room: Admission) -> App:
        """Let a request in, and say to which app. Raises as `Access.authenticate` and `Admission`."""
        app = self._unlocked(scope["path"]) if scope["type"] == "http" else None
        if app is None:
            app = self._app
            caller = exchange.caller = scope[KEY] = self._access.authenticate(scope)
            principal = caller.principal
        else:
            principal = f"nobody:{client_of(scope)}"
        room.enter(principal)
        exchange.principal, exchange.room = principal, room
        self._exchanges.add(exchange)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._tick)
        return app

    def _unlocked(self, path: str) -> App | None:
        """The app that is reached by this path without a credential, if there is one."""
        found = self._open.get(path)
        if found is None and self._doors:
            found = self._doors.get(path[1:].partition("/")[0])
        return found

    def _leave(self, exchange: _Exchange) -> None:
        self._exchanges.discard(exchange)
        if exchange.room is not None:
            exchange.room.leave(exchange.principal)

    def _receiving(
        self, exchange: _Exchange, scope: Scope, length: bytes | None, receive: Receive
    ) -> Receive:
        """`receive`, with a limit on what comes."""
        most = self._limits.body
        got = int(length) if length is not None and length.isdigit() else 0
        counts = length is None

        async def receiving() -> Message:
            nonlocal got
            if ANY_LENGTH in scope:
                exchange.deadline = math.inf
            elif got > most:
                raise _too_large(most)
            exchange.receiving = True
            message = await receive()
            exchange.receiving = False
            if counts:
                got += len(message.get("body", b""))
                if got > most and ANY_LENGTH not in scope:
                    raise _too_large(most)
            return message

        return receiving

    def _sending(self, exchange: _Exchange, scope: Scope, send: Send) -> Send:
        """`send`, with the request's id on the answer, and nothing for whoever was revoked."""

        def sending(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = message["headers"] = list(message.get("headers", ()))
                if _is_stream(message["status"], headers) and not exchange.stream:
                    try:
                        self._becomes_stream(exchange)
                    except WebError as error:
                        return self._turn_away(error, exchange, scope, sending)
                exchange.status = message["status"]
                headers.append((b"request-id", scope[REQUEST_ID].encode("ascii")))
            elif message["type"] == "http.response.body":
                exchange.bytes += len(message.get("body", b""))
                if exchange.stream:
                    self._check_still_good(exchange)
            return send(message)

        return sending

    def _becomes_stream(self, exchange: _Exchange) -> None:
        """Raises Overloaded, TooManyRequests."""
        if exchange.room is not None:
            self.streams.enter(exchange.principal)
            exchange.room.leave(exchange.principal)
            exchange.room = self.streams
        exchange.stream = True
        exchange.deadline = math.inf

    async def _turn_away(
        self, error: WebError, exchange: _Exchange, scope: Scope, send: Send
    ) -> None:
        """Answer with a problem instead of a stream, and end the app. It is not raised to it: frameworks
        stream in groups of tasks, and would make another error of it."""
        await self._refuse(error, exchange, scope, send)
        exchange.expired = True
        if exchange.task is not None:
            exchange.task.cancel()
        await asyncio.Event().wait()  # for the cancellation: nothing of the app's goes out any more

    def _check_still_good(self, exchange: _Exchange) -> None:
        caller = exchange.caller
        if caller is not None and not self._access.still_good(caller):
            exchange.revoked = True
            raise Revoked("the token that this was opened with is not good any more")

    # -- WebSockets -----------------------------------------------------------------------------

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(self._clock(), math.inf, asyncio.current_task())
        exchange.stream = True
        headers = scope[HEADERS] = sorted_out(scope["headers"])
        scope[REQUEST_ID] = self._ids.id_of(headers)

        async def receiving() -> Message:
            message = await receive()
            self._check_still_good(exchange)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "websocket.send":
                self._check_still_good(exchange)
            elif message["type"] == "websocket.accept":
                exchange.status = 101
            elif message["type"] == "websocket.close":
                exchange.closed = True
            await send(message)

        try:
            app = self._enter(exchange, scope, self.streams)
            try:
                await app(scope, receiving, sending)
            finally:
                self._leave(exchange)
        except Revoked:
            await _close(exchange, send)
        except asyncio.CancelledError:
            if not _ended_by_us(exchange):
                raise
            await _close(exchange, send)
        except WebError as error:
            rendered = self._problems.render(error, scope)
            exchange.status = rendered.status
            await _deny(rendered, scope, receive, send)
        finally:
            if self._log_all or exchange.status >= 500:
                self._tell(exchange, scope)

    # -- the clock ------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = None
        self.sweep()
        if self._exchanges:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._tick)

    def sweep(self) -> None:
        """Look at the clock: cancel requests that took too long, and what was revoked meanwhile."""
        now = self._clock()
        good: dict[Caller, bool] = {}
        for exchange in self._exchanges:
            over = now > exchange.deadline
            caller = exchange.caller
            if not over and exchange.stream and caller is not None:
                if caller not in good:
                    good[caller] = self._access.still_good(caller)
                over = not good[caller]
            if over and not exchange.expired and exchange.task is not None:
                exchange.expired = True
                exchange.task.cancel()

    # -- what is said ---------------------------------------------------------------------------

    async def _refuse(self, error: WebError, exchange: _Exchange, scope: Scope, send: Send) -> None:
        """Answer with a problem, if nothing was answered yet; else the server cuts the connection."""
        if exchange.status:
            return
        instead = None if self._login is None else self._login.instead(error, scope)
        rendered = instead or self._problems.render(error, scope)
        await send(
            {"type": "http.response.start", "status": rendered.status, "headers": rendered.headers}
        )
        await send({"type": "http.response.body", "body": rendered.body, "more_body": False})

    def _tell(self, exchange: _Exchange, scope: Scope) -> None:
        """A line in the log. No query and no header is in it, as they may hold secrets."""
        _log.info(
            "request",
            method=scope.get("method", "WEBSOCKET"),
            path=scope["path"][:LOGGED_PATH],
            route=scope.get("path_template", ""),
            status=exchange.status,
            ms=round(1000 * (self._clock() - exchange.started), 3),
            bytes=exchange.bytes,
            principal=exchange.principal,
            client=client_of(scope),
            request_id=scope[REQUEST_ID],
        )


def _is_stream(status: int, headers: list[tuple[bytes, bytes]]) -> bool:
    return not any(key == _LENGTH for key, _ in headers) and status not in _EMPTY


def _ended_by_us(exchange: _Exchange) -> bool:
    """Whether a cancellation is ours alone; it is then over."""
    return exchange.expired and exchange.task is not None and not exchange.task.uncancel()


def _check_plain(coding: bytes) -> None:
    """Raise ContentEncoded if a body is not as it is."""
    if coding.strip().lower() not in {b"", b"identity"}:
        raise ContentEncoded(
            f"the body has the Content-Encoding {coding.decode('latin-1')[:40]!r}: send it as it is, without "
            "the header or with `identity`"
        )


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"a body may have {most} bytes and this has more: send less at a time, or use a route that takes "
        "a stream of lines"
    )


def _too_slow(exchange: _Exchange, limits: Limits) -> WebError:
    if exchange.receiving:
        return BodyTimeout(
            f"the body was not there after {limits.request_seconds:g} s: send it again"
        )
    return RequestTimeout(
        f"this was not answered within {limits.request_seconds:g} s; a write may have been done all the "
        "same: send it again with the same Idempotency-Key"
    )


async def _close(exchange: _Exchange, send: Send) -> None:
    if not exchange.closed:
        await send(
            {"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "not allowed any more"}
        )


async def _deny(rendered: Rendered, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse to open a WebSocket: with a whole answer, if the server can."""
    await receive()
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return
    headers = [*rendered.headers, (b"request-id", scope[REQUEST_ID].encode("ascii"))]
    await send(
        {
            "type": "websocket.http.response.start",
            "status": rendered.status,
            "headers": headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": rendered.body})
