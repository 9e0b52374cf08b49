"""The middleware under any server, and the probes."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.shutdown.test_connection import asynchronously
from walnut.shutdown import Budgets, Draining, InFlight, Lifecycle, Phase, Probes, draining
from walnut.shutdown.asgi import CONNECTION, GOING_AWAY
from walnut.shutdown.errors import ConnectionEnding


class Exchange:
    """The server's side of one ASGI call."""

    def __init__(self, app: Any, kind: str = "http", **scope: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        whole = {"type": kind, "http_version": "1.1", "path": "/", **scope}
        self.task = asyncio.create_task(app(whole, self.incoming.get, self._send))

    async def _send(self, message: Any) -> None:
        self.sent.append(dict(message))

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        headers: list[tuple[bytes, bytes]] = self.sent[0]["headers"]
        return headers


async def hello(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"2"), (b"Connection", b"keep-alive")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hi"})


async def turns(until: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not until():
            await asyncio.sleep(0)


@asynchronously
async def test_answers_end_their_connection_while_draining_and_not_before() -> None:
    inflight = InFlight()
    before = Exchange(Draining(hello, inflight))
    await before.task
    assert (b"connection", b"close") not in before.headers
    inflight.closing = True
    after = Exchange(Draining(hello, inflight))
    await after.task
    assert after.headers == [(b"content-length", b"2"), (b"connection", b"close")]
    second = Exchange(Draining(hello, inflight), http_version="2")
    managed = Exchange(Draining(hello, inflight), extensions={CONNECTION: {}})
    await asyncio.gather(second.task, managed.task)
    assert second.headers == managed.headers == before.headers


@asynchronously
async def test_requests_and_streams_are_counted_whatever_happens() -> None:
    inflight = InFlight()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await receive()
        raise ValueError("halfway")

    one = Exchange(Draining(app, inflight))
    await turns(lambda: inflight.requests == 1)
    one.incoming.put_nowait({})
    await turns(lambda: inflight.streams == 1)
    assert inflight.counts.total == 1
    idle = asyncio.create_task(inflight.idle())
    one.incoming.put_nowait({})
    with pytest.raises(ValueError, match="halfway"):
        await one.task
    await idle
    assert inflight.counts.total == 0


@asynchronously
async def test_a_websocket_can_say_goodbye_and_is_then_closed_with_1001() -> None:
    inflight = InFlight()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await draining(scope).wait()
        await send({"type": "websocket.send", "text": "resume after 7"})
        await receive()
        with pytest.raises(ConnectionEnding):
            await send({"type": "websocket.send", "text": "too late"})
        await send({"type": "websocket.close"})

    one = Exchange(Draining(app, inflight, farewell_seconds=0.01), "websocket")
    await turns(lambda: bool(one.sent))
    inflight.drain()
    await turns(lambda: len(one.sent) == 3)
    one.incoming.put_nowait({"type": "websocket.disconnect"})
    await one.task
    assert [message.get("text", message.get("code")) for message in one.sent] == [
        None, "resume after 7", GOING_AWAY
    ]  # fmt: skip
    assert inflight.websockets == 0


@asynchronously
async def test_a_websocket_whose_client_goes_first_is_no_error() -> None:
    inflight = InFlight()
    tried = asyncio.Event()
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await receive()

    async def send(message: Any) -> None:
        if message["type"] == "websocket.close":
            tried.set()
            raise ConnectionResetError

    incoming: asyncio.Queue[Any] = asyncio.Queue()
    scope = {"type": "websocket"}
    one = asyncio.ensure_future(
        Draining(app, inflight, farewell_seconds=0)(scope, incoming.get, send)
    )
    inflight.drain()
    await tried.wait()
    incoming.put_nowait({"type": "websocket.disconnect"})
    await one
    gc.collect()
    assert told == []


@asynchronously
async def test_a_websocket_that_its_application_closes_is_left_alone() -> None:
    inflight = InFlight()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await draining(scope).wait()
        await send({"type": "websocket.close", "code": 1000})
        await receive()

    one = Exchange(Draining(app, inflight, farewell_seconds=0), "websocket")
    inflight.drain()
    await turns(lambda: len(one.sent) == 2)
    for _ in range(5):
        await asyncio.sleep(0)
    one.incoming.put_nowait({"type": "websocket.disconnect"})
    await one.task
    assert one.sent[-1]["code"] == 1000
    assert len(one.sent) == 2


@asynchronously
async def test_readiness_holds_while_a_successor_takes_over() -> None:
    seen: set[bool] = set()
    lifecycle = Lifecycle(budgets=Budgets(grace=5))
    lifecycle.observe(lambda event: seen.add(lifecycle.ready) if event.kind == "phase" else None)
    serving = asyncio.create_task(lifecycle.serve(signals=False))
    await turns(lambda: lifecycle.ready)
    seen.clear()
    lifecycle.stop("test", handover=True)
    report = await serving
    assert Phase.GRACE not in {one.phase for one in report.phases}, "nobody needs to notice"
    assert seen == {True, False}, "false when it is closed"


@asynchronously
async def test_probes_follow_the_state() -> None:
    lifecycle = Lifecycle(budgets=Budgets(grace=0))
    probes = Probes(lifecycle, hello)

    async def ask() -> list[int]:
        exchanges = [Exchange(probes, path=path) for path in ("/startupz", "/readyz", "/livez")]
        await asyncio.gather(*(one.task for one in exchanges))
        for one in exchanges:
            told = msgspec.json.decode(one.sent[1]["body"])
            assert told["ok"] == (one.sent[0]["status"] == 200)
        return [one.sent[0]["status"] for one in exchanges]

    assert await ask() == [503, 503, 200]
    serving = asyncio.create_task(lifecycle.serve(signals=False))
    await turns(lambda: lifecycle.ready)
    assert await ask() == [200, 200, 200]
    lifecycle.stop("test")
    assert await ask() == [200, 503, 200]
    await serving
    assert await ask() == [200, 503, 503]
    assert (lifecycle.state, lifecycle.ready) == (Phase.CLOSED, False)
    behind = Exchange(probes)
    await behind.task
    assert behind.sent[1]["body"] == b"hi"
    alone = Exchange(Probes(lifecycle))
    await alone.task
    assert alone.sent[0]["status"] == 404


def test_it_needs_nothing_of_walnut_and_no_web_server() -> None:
    code = """
import sys
for name in ("uvicorn", "httptools", "websockets", "uvloop", "walnut.log", "walnut.store", "walnut.jobs"):
    sys.modules[name] = None
import walnut.shutdown
try:
    import walnut.shutdown.uvicorn
except walnut.shutdown.errors.ExtraMissing as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'walnutdb[server]'" in done.stdout
