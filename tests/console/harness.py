"""The console in a small server of its own, with a store, topics and jobs that have something to show.

    python -m tests.console.harness DIRECTORY [PORT]     prints its address, serves until stdin is closed

Its access layer is the smallest there can be: tokens and sessions in memory. A line on stdin is something
to do: `revoke TOKEN` ends the sessions of one, `write N` makes N transactions.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs

import msgspec
import uvicorn

from tests.console.data import Demo
from walnut.console.app import Console, Section
from walnut.console.login import login_page
from walnut.subsystem.model import Resources
from walnut.subsystem.owners import Owners
from walnut.web.access import ACCESS, Need, require
from walnut.web.caller import KEY, Caller

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TOKENS = {
    "operator": ("*",),
    "reader": ("tables:read", "log:read"),
    "notes": ("tables:write:notes",),
}


OWNERS = {"jobs": ("jobs", "jobs.*"), "topics": ("topics", "topics.*"), "server": ("server.*",)}


class Sessions:
    """The access layer, as far as a console needs one."""

    def __init__(self) -> None:
        self.sessions: dict[str, Caller] = {}

    def authenticate(self, scope: Mapping[str, Any]) -> Caller:
        raise NotImplementedError

    def decide(self, caller: Caller, need: Need, resource: str) -> None:
        require(caller.scopes, caller, need, resource)

    def still_good(self, caller: Caller) -> bool:
        return any(one is caller for one in self.sessions.values())

    def of(self, scope: Mapping[str, Any]) -> str:
        cookies = SimpleCookie(dict(scope["headers"]).get(b"cookie", b"").decode())
        morsel = cookies.get("walnut-session")
        return "" if morsel is None else morsel.value

    def begin(self, token: str) -> str | None:
        scopes = TOKENS.get(token)
        if scopes is None:
            return None
        name = secrets.token_urlsafe(16)
        self.sessions[name] = Caller(f"token:{token}", scopes, request_id=secrets.token_hex(8))
        return name

    def revoke(self, token: str) -> None:
        for name, caller in list(self.sessions.items()):
            if caller.principal == f"token:{token}":
                del self.sessions[name]


class Server:
    """Login, logout, and the console behind them."""

    def __init__(self, console: Console, sessions: Sessions) -> None:
        self.console = console
        self.sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        path = scope["path"]
        if path == "/console/login":
            await self._login(scope, receive, send)
        elif path == "/console/logout":
            self.sessions.sessions.pop(self.sessions.of(scope), None)
            await redirect(send, "/console/login")
        elif (caller := self.sessions.sessions.get(self.sessions.of(scope))) is not None:
            inside = {**scope, KEY: caller, ACCESS: self.sessions}
            await self.console(inside, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await redirect(send, "/console/login")

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await answer(send, 200, login_page(csrf="c"))
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        token = parse_qs(body.decode()).get("token", [""])[0]
        session = self.sessions.begin(token)
        if session is None:
            await answer(send, 401, login_page(csrf="c", error="There is no such token."))
            return
        cookie = f"walnut-session={session}; Path=/console; HttpOnly; SameSite=Strict"
        await redirect(send, "/console/", (b"set-cookie", cookie.encode()))


async def answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def redirect(send: Send, to: str, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"location", to.encode()), *more]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def sections() -> list[Section]:
    from walnut.server.pages import sections as all_sections

    return all_sections()


async def main(directory: str, port: int) -> None:
    sessions = Sessions()
    async with Demo(directory) as demo:
        resources = Resources()
        for thing in (*demo.things(), Owners(OWNERS)):
            resources.provide(thing)
        console = Console(sections, resources, name=directory)
        config = uvicorn.Config(
            Server(console, sessions), port=port, log_level="warning", lifespan="off", ws="websockets-sansio"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        await console.start()
        address = server.servers[0].sockets[0].getsockname()
        print(f"http://127.0.0.1:{address[1]}", flush=True)
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode().split():
            if line[0] == "revoke":
                sessions.revoke(line[1])
            elif line[0] == "write":
                await demo.write(int(line[1]))
            print(msgspec.json.encode("done").decode(), flush=True)
        server.should_exit = True
        await serving
        await console.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
