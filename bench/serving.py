"""`python -m bench.serving`: what draining costs a request, and the server beside plain uvicorn.

The first is a loop in this process; the second needs `wrk` (Debian package wrk): two servers on uvloop, one
after the other in each round, 64 connections, an answer of two bytes. The processor
time of a request is what to compare on a machine that does other things too (Linux).
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
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

    began = time.process_time()
    for _ in range(CALLS):
        await app({"type": "http", "http_version": "1.1"}, nothing, nothing)
    return (time.process_time() - began) / CALLS * 1e6


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


def measure(which: str) -> tuple[float, float]:
    """Requests a second, and microseconds of processor time of each, of a server in its own process."""
    listening = listen("127.0.0.1", 0)
    fd = listening.socket.fileno()
    command = [sys.executable, "-m", "bench.serving", which, str(fd)]
    with subprocess.Popen(command, pass_fds=[fd]) as server:
        try:
            url = f"http://127.0.0.1:{listening.port}/"
            wrk = ["wrk", "-t1", "-c64", f"-d{SECONDS}", url]
            subprocess.run(
                [*wrk[:3], "-d1", url], capture_output=True, check=True
            )  # until it is warm
            before = processor_seconds(server.pid)
            told = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
            used = processor_seconds(server.pid) - before
        finally:
            server.terminate()
            listening.close()
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert found is not None, told
    assert "Socket errors" not in told, told
    requests = re.search(r"(\d+) requests in", told)
    assert requests is not None, told
    return float(found[1]), used / int(requests[1]) * 1e6


def processor_seconds(pid: int) -> float:
    """proc_pid_stat(5), fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    rates: dict[str, list[tuple[float, float]]] = {"uvicorn": [], "ours": []}
    for _ in range(ROUNDS):
        for which, seen in rates.items():
            seen.append(measure(which))
    for which, seen in rates.items():
        rate, used = (statistics.median(column) for column in zip(*seen, strict=True))
        print(f"{which}: {rate:,.0f} requests a second, {used:.1f} µs of processor time each")


if __name__ == "__main__":
    main()
