"""Health: three questions of an orchestrator, answered from the state of a lifecycle.

    /startupz   has it started?                    200 from RUNNING on
    /readyz     send it work?                      200 in RUNNING alone
    /livez      is it worth keeping alive?         200 until CLOSED, while draining too

What must stay true: readiness fails as soon as a stop is asked for; liveness holds until the end, or the
orchestrator would kill what is only draining.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

import msgspec

from walnut.shutdown.asgi import App
from walnut.shutdown.lifecycle import Lifecycle
from walnut.shutdown.model import Counts, Phase


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a probe is told.

    Attributes:
        ok: 200 and not 503. state: the phase. inflight: what is under way.
        reason: what has failed for good, and by which error; left out if nothing has.
    """

    ok: bool
    state: str
    inflight: Counts
    reason: str = ""


def live(lifecycle: Lifecycle) -> Answer:
    """See the table above."""
    return _answer(lifecycle, ok=lifecycle.state is not Phase.CLOSED)


def ready(lifecycle: Lifecycle) -> Answer:
    """See the table above."""
    return _answer(lifecycle, ok=lifecycle.ready)


def started(lifecycle: Lifecycle) -> Answer:
    """See the table above."""
    return _answer(lifecycle, ok=lifecycle.started)


class Probes:
    """Answers the three paths, and passes everything else on.

    Args:
        app: what comes behind it; nothing if these are all there is on a port of their own.
    """

    def __init__(self, lifecycle: Lifecycle, app: App | None = None) -> None:
        self._lifecycle = lifecycle
        self._app = app

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """The ASGI application."""
        ask = _ASK.get(scope["path"]) if scope["type"] == "http" else None
        if ask is not None:
            answer = ask(self._lifecycle)
            return _send(send, 200 if answer.ok else 503, msgspec.json.encode(answer))
        if self._app is not None:
            return self._app(scope, receive, send)
        return _nothing(scope, send)


_ASK: Final = {"/livez": live, "/readyz": ready, "/startupz": started}


def _answer(lifecycle: Lifecycle, *, ok: bool) -> Answer:
    return Answer(ok, lifecycle.state.value, lifecycle.inflight.counts, lifecycle.broken)


async def _nothing(scope: Any, send: Any) -> None:
    if scope["type"] == "http":
        await _send(send, 404, b"{}")


async def _send(send: Any, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
