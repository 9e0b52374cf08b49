"""A request to an ASGI app, told message by message, by a client as slow as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from walnut.testing.web import Admitted, ByScopes
from walnut.web.app import Api
from walnut.web.problems import Kind, Problems
from walnut.web.streams import DRAINING

App = Callable[[Any, Any, Any], Awaitable[None]]


class Gate(ByScopes):
    """Lets everybody in, until it does not any more."""

    good = True

    def still_good(self, caller: object) -> bool:
        """See `Access`."""
        return self.good


def app_of(
    routes: list[Any], *problems: Mapping[type[Exception], Kind], gate: Gate | None = None
) -> App:
    """An app of these routes."""
    access = gate or Gate("token:test", ("*",))
    return Admitted(Api(routes, access, Problems(*problems)), access)


class Call:
    """One request.

    Args:
        reads: the client takes what is sent; False: `send` waits until `take` is called.
    """

    def __init__(
        self,
        app: App,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        reads: bool = True,
        draining: asyncio.Event | None = None,
    ) -> None:
        raw, _, query = path.partition("?")
        self.draining = draining or asyncio.Event()
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw),
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "extensions": {DRAINING: self.draining},
            "state": {},
        }
        self._app = app
        self._in: asyncio.Queue[Any] = asyncio.Queue()
        self._out: asyncio.Queue[Any] = asyncio.Queue()
        self._reads = reads
        self.sent = 0
        self.text = ""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.task = asyncio.get_running_loop().create_task(
            self._app(self._scope, self._in.get, self._send)  # type: ignore[arg-type]
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.task is not None
        self.hang_up()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _send(self, message: Any) -> None:
        self.sent += 1
        await self._out.put(message)
        if not self._reads and message["type"] == "http.response.body":
            await asyncio.Event().wait()

    def body(self, data: bytes, *, more: bool = False) -> None:
        """Send (a part of) the body."""
        self._in.put_nowait({"type": "http.request", "body": data, "more_body": more})

    def hang_up(self) -> None:
        """Close the connection."""
        self._in.put_nowait({"type": "http.disconnect"})

    async def head(self) -> int:
        """The status, once it is there."""
        message = await self._out.get()
        assert message["type"] == "http.response.start"
        self.status = message["status"]
        self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        return self.status

    async def until(self, text: str) -> str:
        """All that was sent, once this is in it."""
        while text not in self.text:
            message = await self._out.get()
            self.text += message.get("body", b"").decode()
        return self.text

    async def rest(self) -> str:
        """All that was sent, once the answer is complete."""
        more = True
        while more:
            message = await self._out.get()
            self.text += message.get("body", b"").decode()
            more = message.get("more_body", False)
        return self.text
