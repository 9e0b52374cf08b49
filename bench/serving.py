"""`python -m bench.serving`: what draining costs a request, and the server beside plain uvicorn.

The first is a loop in this process; the second needs `wrk` (Debian package wrk): two servers on uvloop, one
after the other in each round, 64 connections, an answer of two bytes.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import time
from typing import Any

import uvloop

from walnut.shutdown import Draining, InFlight, Lifecycle, Listening, listen

CALLS = 200_000
ROUNDS = 5
SECONDS = 3


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"hi"})


async def calls(app: Any) -> float:
    """Microseconds of a call."""

    async def nothing(message: Any) -> None:
        pass

    began = time.perf_counter()
    for _ in range(CALLS):
        await app({"type": "http", "http_version": "1.1"}, nothing, nothing)
    return (time.perf_counter() - began) / CALLS * 1e6


async def ours(listening: Listening) -> None:
    from walnut.shutdown.uvicorn import Server

    lifecycle = Lifecycle()
    lifecycle.add(Server(hello, [listening], inflight=lifecycle.inflight, lifespan="off"))
    await lifecycle.serve()


async def uvicorns(listening: Listening) -> None:
    import uvicorn

    options: dict[str, Any] = {"lifespan": "off", "access_log": False, "log_level": "warning"}
    options |= {"http": "httptools", "server_header": False, "proxy_headers": False}
    await uvicorn.Server(uvicorn.Config(hello, **options)).serve([listening.socket])


def requests_a_second(which: str) -> float:
    """Of a server in a process of its own."""
    listening = listen("127.0.0.1", 0)
    fd = listening.socket.fileno()
    command = [sys.executable, "-m", "bench.serving", which, str(fd)]
    with subprocess.Popen(command, pass_fds=[fd]) as server:
        try:
            url = f"http://127.0.0.1:{listening.port}/"
            wrk = ["wrk", "-t1", "-c64", f"-d{SECONDS}", url]
            told = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
        finally:
            server.terminate()
            listening.close()
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert found is not None, told
    assert "Socket errors" not in told, told
    return float(found[1])


def main() -> None:
    if len(sys.argv) == 3:
        import socket

        listening = Listening("http", socket.socket(fileno=int(sys.argv[2])))
        uvloop.run(ours(listening) if sys.argv[1] == "ours" else uvicorns(listening))
        return
    bare = [asyncio.run(calls(hello)) for _ in range(ROUNDS)]
    around = [asyncio.run(calls(Draining(hello, InFlight()))) for _ in range(ROUNDS)]
    cost = statistics.median(around) - statistics.median(bare)
    print(f"Draining adds {cost:.2f} µs to a request")
    rates: dict[str, list[float]] = {"uvicorn": [], "ours": []}
    for _ in range(ROUNDS):
        for which, seen in rates.items():
            seen.append(requests_a_second(which))
    for which, seen in rates.items():
        print(f"{which}: {statistics.median(seen):,.0f} requests a second")


if __name__ == "__main__":
    main()
