"""`Console`: the console as an ASGI app that is mounted under /console in another server.

    server's access layer ─▶ Console ─▶ headers set ─▶ NiceGUI's app, by its prefix
                                │  before `start` has loaded it: "a moment, please"

NiceGUI is one app for each process: its pages, its sockets and its event loop are global. So there is one
`Console` in a process, started once.

What must stay true: nothing is reached without a `Caller` in its scope, sockets included; and every asset
comes from here, which the Content-Security-Policy proves.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from walnut.console.visit import PREFIX
from walnut.subsystem.model import Page, Resources
from walnut.web.access import ACCESS
from walnut.web.asgi import App, Message, Receive, Scope, Send
from walnut.web.caller import KEY

# NiceGUI compiles templates and starts its page by an inline script: hence the two 'unsafe' words. What
# visitors and data bring is never put into a page but as text.
POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
)
_HEADERS: Final = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]
RECONNECT_SECONDS: Final = 8.0
"""How long a page that lost its socket is kept for it to come back."""


class Section(msgspec.Struct, frozen=True):
    """A part of the menu: its heading, and its pages."""

    title: str
    pages: Sequence[Page]


class Console:
    """The console: an ASGI app, to be started when the server is ready and stopped as it drains.

    Args:
        menu: gives the menu, called in `start`, as pages load NiceGUI. The first page of all is what
            "/console" shows.
        name: of what this server serves, as its data directory, for the bar and titles.
        state: what the server is doing: "running", "drain"; shown to all.
    """

    def __init__(
        self,
        menu: Callable[[], Sequence[Section]],
        resources: Resources,
        *,
        name: str = "",
        state: Callable[[], str] = lambda: "running",
    ) -> None:
        self.sections: Sequence[Section] = ()
        self._menu = menu
        self.resources = resources
        self.name = name
        self.state = state
        self._app: App | None = None
        self._exit = AsyncExitStack()

    @property
    def started(self) -> bool:
        """It answers with pages."""
        return self._app is not None

    async def start(self) -> None:
        """Load NiceGUI, in a thread, and begin to answer with pages."""
        shell = await asyncio.to_thread(importlib.import_module, "walnut.console.shell")
        self.sections = await asyncio.to_thread(self._menu)
        self._app = await self._exit.enter_async_context(
            shell.mounted(self, reconnect_seconds=RECONNECT_SECONDS)
        )

    async def stop(self) -> None:
        """Let go of all pages that are open. Nothing is answered afterwards."""
        self._app = None
        await self._exit.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or serve a socket, below /console."""
        assert {KEY, ACCESS} <= scope.keys(), "the access layer lets nobody through unknown"
        app = self._app
        if app is None:
            await _moment_please(scope, receive, send)
            return
        # Only a proxy may say under which address we are, and then by the server's own settings.
        headers = [pair for pair in scope["headers"] if pair[0] != b"x-forwarded-prefix"]
        gone = False

        async def receiving() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        try:
            await app({**scope, "headers": headers}, receiving, _with_headers(send, scope["path"]))
        except RuntimeError:
            # How Starlette's middleware says that nobody waits for the answer any more.
            if not gone:
                raise


def _with_headers(send: Send, path: str) -> Send:
    """Add our headers. What NiceGUI brings may be kept for ever, as its version is in its address; it
    says so itself only where it is not mounted under a prefix."""
    kept = path.startswith(_ASSETS) and "/dynamic_resources/" not in path

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), *_HEADERS]
            if kept and message["status"] in _GOOD:
                headers = [pair for pair in headers if pair[0] != b"cache-control"] + [_FOR_EVER]
            message["headers"] = headers
        await send(message)

    return sending


_ASSETS: Final = f"{PREFIX}/_nicegui/"
_FOR_EVER: Final = (b"cache-control", b"private, max-age=31536000, immutable")
_GOOD: Final = {200, 304}

_WAIT: Final = (
    b'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="1">'
    b'<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
    b'<title>Walnut</title><body style="font:16px system-ui;margin:20vh auto;max-width:30em;padding:1em">'
    b"<p>The console is loading. This page goes on by itself."
)


async def _moment_please(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013, "reason": "try again"})
        return
    await _answer(send, 503, b"text/html; charset=utf-8", _WAIT, (b"retry-after", b"1"))


async def _answer(
    send: Send, status: int, kind: bytes, body: bytes, *more: tuple[bytes, bytes]
) -> None:
    length = str(len(body)).encode()
    headers = [(b"content-type", kind), (b"content-length", length), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


__all__ = ["PREFIX", "Console", "Section"]
