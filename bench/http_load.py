"""HTTP load from a process of its own: wrk (Debian package) if it is here, else a small client in Python.

    python -m bench.http_load < load.json      the client in Python; what it saw as JSON

Each connection sends its next request when it has the answer to the one before. A request costs wrk 16 µs of
processor time and the client in Python 18, and the rates they show are within a sixth. Rows name the latter.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

WARM_SECONDS = 1.0
"""Of load before the clock starts, each time a server is started."""


class Load(msgspec.Struct):
    """What to ask for, again and again.

    Attributes:
        bodies: taken in turn.
    """

    port: int
    path: str
    bodies: list[str]
    headers: dict[str, str]
    connections: int = 64
    seconds: float = 5.0
    method: str = "POST"


class Seen(msgspec.Struct):
    """What became of it: answers a second, and the half and the slowest hundredth of latencies in ms."""

    rate: float
    answers: int
    p50: float
    p99: float


def generator() -> str:
    """What makes the load here."""
    return "wrk" if shutil.which("wrk") else "a client in Python"


def run(load: Load) -> Seen:
    """Raises RuntimeError if one request was not answered, or not with success."""
    return _wrk(load) if shutil.which("wrk") else _python(load)


def processor_seconds(pid: int) -> float:
    """Used by a process and its children that are alive (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return used + sum(processor_seconds(int(child)) for child in children)


_SCRIPT = """
local bodies = {%s}
local made, turn = {}, 0
init = function()
  for number, body in ipairs(bodies) do made[number] = wrk.format("%s", nil, {%s}, body) end
end
request = function()
  turn = turn %% #made + 1
  return made[turn]
end
done = function(summary, latency)
  local wrong = summary.errors
  io.write(string.format('\\nSEEN {"rate":%%f,"answers":%%d,"p50":%%f,"p99":%%f} %%d\\n',
    summary.requests / summary.duration * 1e6, summary.requests,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    wrong.connect + wrong.read + wrong.write + wrong.status + wrong.timeout))
end
"""


def _wrk(load: Load) -> Seen:
    bodies = ",".join(f"[===[{body}]===]" for body in load.bodies)
    headers = ",".join(f'["{name}"]="{value}"' for name, value in load.headers.items())
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT % (bodies, load.method, f'["Host"]="127.0.0.1",{headers}'))
        script.flush()
        url = f"http://127.0.0.1:{load.port}{load.path}"
        told = subprocess.run(
            [
                "wrk", "-t1", f"-c{load.connections}", f"-d{max(1, round(load.seconds))}s",
                "--timeout", "30s", "-s", script.name, url,
            ],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    found = re.search(r"^SEEN (\{.*\}) (\d+)$", told, re.MULTILINE)
    if found is None or found[2] != "0":
        raise RuntimeError(f"wrk: {told}")
    return msgspec.json.decode(found[1], type=Seen)


def _python(load: Load) -> Seen:
    told = subprocess.run(
        [sys.executable, "-m", "bench.http_load"],
        input=msgspec.json.encode(load), capture_output=True, check=True,
    ).stdout  # fmt: skip
    return msgspec.json.decode(told, type=Seen)


class Caller(asyncio.Protocol):
    """A connection that asks, and asks again, until it is told to stop."""

    def __init__(self, requests: Any, latencies: list[float]) -> None:
        self.requests = requests
        self.latencies = latencies
        self.stopped = asyncio.get_running_loop().create_future()
        self.stopping = False
        self.sent = 0.0
        self.got = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        if self.stopping:
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.got += data
        head, end, body = self.got.partition(b"\r\n\r\n")
        if not end:
            return
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if head[9:10] != b"2" or length is None:
            self.stopped.set_exception(RuntimeError(f"answered {self.got[:300]!r}"))
            self.transport.close()
        elif len(body) >= int(length[1]):
            self.latencies.append(time.perf_counter() - self.sent)
            self.got = b""
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.stopped.done():
            self.stopped.set_result(None)


async def _call(load: Load) -> Seen:
    lines = [f"{load.method} {load.path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in load.headers.items()]
    head = "\r\n".join(lines)
    requests = itertools.cycle(
        [
            f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode("latin-1")
            for body in load.bodies
        ]
    )
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: Caller(requests, latencies), "127.0.0.1", load.port))[
            1
        ]
        for _ in range(load.connections)
    ]
    await asyncio.sleep(load.seconds)
    seconds = time.perf_counter() - started
    answers = len(latencies)
    for caller in callers:
        caller.stopping = True
    await asyncio.gather(*[caller.stopped for caller in callers])
    p50, p99 = percentiles(latencies)
    return Seen(answers / seconds, answers, 1000 * p50, 1000 * p99)


def percentiles(values: list[float]) -> tuple[float, float]:
    """The half, and the one that a hundredth are above."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]


if __name__ == "__main__":
    import uvloop

    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_call(wanted))))
