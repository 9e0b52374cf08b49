"""What the access layer and the lanes cost: in µs of each call, and under wrk.

python -m bench.access            # in this process
python -m bench.access --wrk      # over loopback, with wrk (Debian package) and 64 connections
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from litestar import get, post
from litestar.params import FromPath, RawBody
from litestar.types import Scope

from walnut.server.access.gate import Gate
from walnut.server.access.middleware import Guarded
from walnut.server.access.tokens import Tokens, Wanted
from walnut.store.store import Store
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.app import Api
from walnut.web.asgi import App, Receive, Send
from walnut.web.caller import Caller, caller_of
from walnut.web.express import express
from walnut.web.problems import Problems

PORT = 8499
CALLS = 20_000
SECONDS = 4
BODY = b'{"name":"orders","offset":1}'
SCRIPT = """wrk.method = "POST"
wrk.body = '{"a": 1}'
wrk.headers["Authorization"] = "Bearer %s"
"""


class Appended(msgspec.Struct):
    name: str
    offset: int


async def append(topic: FromPath[str], body: RawBody, scope: Scope) -> Answer[Appended]:
    caller_of(scope)
    return Answer(Appended(topic, 1), headers={"walnut-lsn": "1"})


async def read(topic: FromPath[str]) -> Appended:
    return Appended(topic, 1)


async def bare(scope: Any, receive: Receive, send: Send) -> None:
    await receive()
    await send(
        {
            "type": "http.response.start",
            "status": 201,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"28")],
        }
    )
    await send({"type": "http.response.body", "body": BODY})


def apps(path: Path) -> tuple[dict[str, tuple[App, str]], str]:
    """Apps and the path to ask them for; and a token."""
    store = Store(path)
    tokens = Tokens(store)
    text = tokens.create_now(Wanted(name="bench", scopes=("*",)), Caller("bench", ("*",), "")).text
    gate = Gate(tokens)
    write = needs("topics:write", name="topic")
    routes: list[Any] = [
        express(post("/fast/{topic:str}/records", opt=write)(append)),
        post("/plain/{topic:str}/records", opt=write)(append),
        express(get("/fast/{topic:str}", opt=needs("topics:read", name="topic"))(read)),
    ]
    problems = Problems()
    api = Api(routes, gate, problems)
    guarded = Guarded(api, gate, problems)
    return {
        "plain ASGI": (bare, "/"),
        "guarded ASGI": (Guarded(bare, gate, problems), "/"),
        "express lane": (guarded, "/fast/orders/records"),
        "ordinary lane": (guarded, "/plain/orders/records"),
    }, text


async def measure(app: App, path: str, token: str) -> float:
    """Microseconds of CPU of one call, whoever else has the machine."""
    headers = [
        (b"host", b"127.0.0.1:8420"), (b"authorization", b"Bearer " + token.encode()),
        (b"content-length", b"8"), (b"user-agent", b"bench"), (b"accept", b"*/*"),
    ]  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": b'{"a": 1}', "more_body": False}

    async def send(message: Any) -> None: ...

    started = time.process_time()
    for _ in range(CALLS):
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "scheme": "http",
            "query_string": b"", "root_path": "", "headers": headers, "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8420), "http_version": "1.1", "state": {}, "extensions": {},
        }  # fmt: skip
        await app(scope, receive, send)
    return 1e6 * (time.process_time() - started) / CALLS


def in_process() -> None:
    with tempfile.TemporaryDirectory() as directory:
        all_, token = apps(Path(directory) / "store")
        for _ in range(2):
            for name, (app, path) in all_.items():
                print(f"{name:16}{asyncio.run(measure(app, path, token)):8.1f} µs a call")


def serve(name: str, directory: str) -> None:
    all_, token = apps(Path(directory) / "store")
    (Path(directory) / "token").write_text(token)
    uvicorn.run(
        all_[name][0],
        port=PORT, loop="uvloop", http="httptools", log_config=None, access_log=False, lifespan="off",
    )  # fmt: skip


def under_wrk() -> None:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("needs wrk: sudo apt-get install wrk")
    paths = {"plain ASGI": "/", "guarded ASGI": "/", "express lane": "/fast/orders/records"}
    paths["ordinary lane"] = "/plain/orders/records"
    for name, path in paths.items():
        with tempfile.TemporaryDirectory() as directory:
            server = subprocess.Popen(
                [sys.executable, "-m", "bench.access", "--serve", name, directory]
            )
            try:
                until(lambda directory=directory: (Path(directory) / "token").exists())  # type: ignore[misc]
                time.sleep(1)
                script = Path(directory) / "wrk.lua"
                script.write_text(SCRIPT % (Path(directory) / "token").read_text())
                url = f"http://127.0.0.1:{PORT}{path}"
                began = cpu_seconds(server.pid)
                told = subprocess.run(
                    [wrk, "-t1", "-c64", f"-d{SECONDS}s", "--latency", "-s", str(script), url],
                    check=True, capture_output=True, text=True,
                ).stdout  # fmt: skip
                spent = cpu_seconds(server.pid) - began
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait()
        lines = [line.strip() for line in told.splitlines()]
        shown = [
            line for line in lines if line.startswith(("Requests/sec", "50%", "99%", "Non-2xx"))
        ]
        requests = next(int(line.split()[0]) for line in lines if " requests in " in line)
        print(f"{name:16}{1e6 * spent / requests:6.1f} µs of CPU a request   {'   '.join(shown)}")


def cpu_seconds(pid: int) -> float:
    """Of a process, as Linux counts it."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.05)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve(sys.argv[2], sys.argv[3])
    elif "--wrk" in sys.argv:
        under_wrk()
    else:
        in_process()
