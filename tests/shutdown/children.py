"""Programs that are sent signals, as processes of their own.

children.py server CONFIG      an ASGI application on Server, restarted by SIGUSR2
children.py plain WHAT         a plain asyncio program, for signals
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from walnut.shutdown import (
    Budgets,
    HttpLimits,
    Lifecycle,
    Notifier,
    Part,
    Predecessor,
    Probes,
    Successor,
    activated,
    draining,
    listen,
    listen_unix,
)


class Config(msgspec.Struct):
    """What a test wants of the server."""

    directory: str
    loop: str = "asyncio"
    unix: bool = False
    budgets: Budgets = Budgets(grace=0.2, drain=5, stop=2)
    limits: HttpLimits = HttpLimits(quiet_seconds=0.3)
    successor: str = "good"


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    assert scope["type"] == "http"
    if scope["path"] == "/stream":
        await stream(scope, send)
        return
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    if scope["path"] == "/slow":
        await asyncio.sleep(float(scope["query_string"] or b"0.3"))
    body = (
        b"x" * int(scope["query_string"])
        if scope["path"] == "/big"
        else b"%d %d" % (size, os.getpid())
    )
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(scope: Any, send: Any) -> None:
    """Counts, and says at which number it can be resumed."""
    end = draining(scope)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    number = 0
    while not end.is_set():
        number += 1
        body = b"%d\n" % number
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"resume after %d\n" % number})


class Storage:
    """With one owner only: fails if two processes have it at the same time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    async def open(self) -> None:
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    async def close(self) -> None:
        self._file.close()


async def serve(text: str) -> int:
    from walnut.shutdown.uvicorn import Server

    config = msgspec.json.decode(text, type=Config)
    directory = Path(config.directory)
    predecessor = Predecessor.from_environment()
    if predecessor is not None and config.successor == "dies":
        return 9
    if predecessor is not None and config.successor == "hangs":
        print("hanging", os.getpid(), flush=True)
        await asyncio.Event().wait()
    listening = list(activated().values()) or [
        listen("127.0.0.1", 0),
        *([listen_unix(directory / "socket")] if config.unix else []),
    ]
    if predecessor is not None:
        await predecessor.ready()
        await predecessor.gone(30)
    notify = Notifier.from_environment()

    async def restart() -> None:
        await Successor.start([sys.executable, __file__, "server", text], listening, notify=notify)

    storage = Storage(directory / "lock")
    lifecycle = Lifecycle(
        [Part("storage", start=storage.open, stop=storage.close)],
        budgets=config.budgets,
        restart=restart,
        notify=notify,
        log=lambda event: print(
            event.phase.value, event.kind, event.component, event.detail, flush=True
        ),
    )
    server = Server(
        Probes(lifecycle, application),
        listening,
        inflight=lifecycle.inflight,
        needs=["storage"],
        limits=config.limits,
        lifespan="off",
    )
    lifecycle.add(server)
    print("listening", listening[0].port, os.getpid(), flush=True)
    report = await lifecycle.serve()
    print("report", report, flush=True)
    return report.exit_code


async def plain(what: str) -> int:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    async def stuck() -> None:
        time.sleep(60)  # noqa: ASYNC251 -- the loop is stuck, on purpose

    part = Part("part", drain=stuck if what == "stuck" else for_ever)
    lifecycle = Lifecycle(
        [part],
        budgets=Budgets(grace=30, drain=30),
        log=lambda event: print(event.phase.value, event.kind, event.detail, flush=True),
    )
    return (await lifecycle.serve()).exit_code


def main() -> int:
    if sys.argv[1] == "plain":
        return asyncio.run(plain(sys.argv[2]))
    if msgspec.json.decode(sys.argv[2], type=Config).loop == "uvloop":
        import uvloop

        return int(uvloop.run(serve(sys.argv[2])))
    return asyncio.run(serve(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
