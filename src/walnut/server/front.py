"""`Front`: the first to see a request, from the moment the sockets are bound to their end.

    request ─▶ probes ─▶ /livez /readyz /startupz          without a credential
                  └───▶ not open yet, or no more ─▶ 503, Retry-After
                  └───▶ open ─▶ access layer ─┬▶ /console
                                              └▶ the API

What must stay true: nothing but the three probes is answered by anyone before the access layer.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from walnut.shutdown.lifecycle import Lifecycle
from walnut.shutdown.probes import Probes
from walnut.web.asgi import App, Receive, Scope, Send
from walnut.web.problems import Kind, rendered

STARTING: Final = Kind("starting", 503, "The server is starting", retry_after=1)
TRY_AGAIN_LATER: Final = 1013
"""The close code of a WebSocket that came too early (RFC 6455's registry)."""


class Front:
    """An ASGI app in front of one that comes later. `open` and `close` say when."""

    def __init__(self) -> None:
        self._app: App = _not_yet
        self._probes: Probes | None = None

    def probed(self, lifecycle: Lifecycle) -> None:
        """Answer probes from this lifecycle."""
        self._probes = Probes(lifecycle, self._behind)

    def open(self, app: App) -> None:
        """Let everything else through to this."""
        self._app = app

    def close(self) -> None:
        """Let nothing through any more."""
        self._app = _not_yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        assert self._probes is not None
        await self._probes(scope, receive, send)

    def _behind(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._app(scope, receive, send)


async def _not_yet(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "starting"})
        return
    answer = rendered(
        STARTING, "Nothing was done: try again in a moment. /readyz tells when.", scope, {}
    )
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)}
    )
    await send({"type": "http.response.body", "body": answer.body})
