"""`Front`: probes for everybody, a 503 before the server is open, all else to what is behind it."""

import asyncio
import json
from typing import Any

from walnut.server.front import TRY_AGAIN_LATER, Front
from walnut.shutdown.lifecycle import Lifecycle


def asked(front: Front, path: str, kind: str = "http") -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(front({"type": kind, "path": path, "method": "GET"}, receive, send))
    return sent


def made() -> Front:
    async def make() -> Front:
        front = Front()
        front.probed(Lifecycle([]))
        return front

    return asyncio.run(make())


def test_while_it_starts_it_lives_and_asks_to_come_again() -> None:
    front = made()
    assert asked(front, "/livez")[0]["status"] == 200
    assert asked(front, "/readyz")[0]["status"] == 503
    start, body = asked(front, "/v1/tables")
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert json.loads(body["body"])["type"] == "urn:walnut:problem:starting"


def test_a_websocket_that_comes_too_early_is_told_to_try_again() -> None:
    assert asked(made(), "/v1/x", "websocket")[0]["code"] == TRY_AGAIN_LATER


def test_what_is_open_is_asked_for_all_but_probes_until_it_is_closed() -> None:
    front = made()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"path": scope["path"]})

    front.open(app)
    assert asked(front, "/v1/x") == [{"path": "/v1/x"}]
    assert asked(front, "/livez")[0]["status"] == 200
    front.close()
    assert asked(front, "/v1/x")[0]["status"] == 503
