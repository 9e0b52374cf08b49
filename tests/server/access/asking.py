"""Requests to an ASGI app in memory, byte for byte; and a world with tokens and clocks of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.server.access.api import routes as token_routes
from walnut.server.access.attempts import AttemptLimits
from walnut.server.access.gate import Gate
from walnut.server.access.limits import Limits
from walnut.server.access.login import Login
from walnut.server.access.middleware import Guarded
from walnut.server.access.problems import PROBLEMS
from walnut.server.access.tokens import Token, Tokens, Wanted, first_token
from walnut.store.store import Store
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.app import Api
from walnut.web.asgi import App, Message
from walnut.web.caller import Caller, caller_of
from walnut.web.express import express
from walnut.web.problems import Problems

ROOT = Caller("test", ("*",), "")
DAY = 86_400 * 10**9


class Answered(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def slug(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self
        return str(self.document["type"]).removeprefix("urn:walnut:problem:")


def scope_of(
    method: str,
    path: str,
    headers: Iterable[tuple[str, str | bytes]] = (),
    client: str | None = "192.0.2.1",
    **more: Any,
) -> dict[str, Any]:
    where, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": where,
        "raw_path": where.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
            for name, value in headers
        ],
        "client": (client, 4711) if client is not None else None,
        "server": ("127.0.0.1", 8420),
        "state": {},
        "extensions": {},
        **more,
    }


async def ask(
    app: App,
    method: str,
    path: str,
    *headers: tuple[str, str | bytes],
    body: bytes | Sequence[bytes] = b"",
    token: str = "",
    client: str | None = "192.0.2.1",
    **more: Any,
) -> Answered:
    """Send a request with a declared length, or in chunks without one; its answer."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    lines = list(headers)
    if isinstance(body, bytes) and body:
        lines.append(("content-length", str(len(body))))
    if token:
        lines.append(("authorization", f"Bearer {token}"))
    sent: list[Message] = []

    async def receive() -> Message:
        if not chunks:
            await asyncio.Event().wait()
        part = chunks.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(chunks)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope_of(method, path, lines, client, **more), receive, send)
    assert [one["type"] for one in sent[:1]] == ["http.response.start"], sent
    answered = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return Answered(sent[0]["status"], answered, b"".join(one.get("body", b"") for one in sent[1:]))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def ns(self) -> int:
        return int(self.now * 1e9)


class In(msgspec.Struct):
    n: int


class Out(msgspec.Struct):
    name: str
    n: int


class Broken(Exception):
    pass


class Slow:
    """A route that is open until it is told, and says when it was entered."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.go = asyncio.Event()


def routes(slow: Slow) -> list[ControllerRouterHandler]:
    """Each of them twice: in the express lane and in the ordinary one."""

    async def work(topic: FromPath[str], data: JSONBody[In], scope: Scope) -> Answer[Out]:
        if data.n == 666:
            raise Broken("a secret that nobody is told")
        return Answer(Out(topic, data.n), headers={"walnut-lsn": "1"})

    async def look(topic: FromPath[str], limit: FromQuery[int] = 10) -> Out:
        return Out(topic, limit)

    async def waits(topic: FromPath[str], scope: Scope) -> Out:
        slow.entered.release()
        await slow.go.wait()
        return Out(caller_of(scope).principal, 0)

    write, read = needs("topics:write", name="topic"), needs("topics:read", name="topic")
    return [
        express(post("/v1/fast/{topic:str}", opt=write)(work)),
        post("/v1/plain/{topic:str}", opt=write)(work),
        express(get("/v1/fast/{topic:str}", opt=read)(look)),
        get("/v1/plain/{topic:str}", opt=read)(look),
        express(get("/v1/fast/{topic:str}/slow", opt=read)(waits)),
        get("/v1/plain/{topic:str}/slow", opt=read)(waits),
    ]


class World:
    """A store with tokens, and all that is in front of an app."""

    def __init__(
        self,
        path: Path,
        *,
        limits: Limits | None = None,
        attempts: AttemptLimits | None = None,
        app: App | None = None,
        log_all: bool = False,
    ) -> None:
        self.clock = Clock()
        self.store = Store(path / "store")
        self.tokens = Tokens(self.store, clock=self.clock.ns)
        self.operator = first_token(self.tokens) or ""
        self.gate = Gate(self.tokens, attempts=attempts, clock=self.clock)
        self.slow = Slow()
        self.problems = Problems(PROBLEMS)
        self.api = Api([*routes(self.slow), *token_routes(self.gate)], self.gate, self.problems)
        self.login = Login(self.gate, lambda wrong: f"<p>{wrong}</p>".encode())
        self.app = Guarded(
            app or self.api,
            self.gate,
            self.problems,
            limits,
            login=self.login,
            log_all=log_all,
            clock=self.clock,
        )

    def token(self, name: str, *scopes: str, expires: int = 0) -> tuple[Token, str]:
        made = self.tokens.create_now(Wanted(name=name, scopes=scopes, expires=expires), ROOT)
        return made.token, made.text
