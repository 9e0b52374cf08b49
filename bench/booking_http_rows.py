"""`python -m bench.booking_http_rows`: durable holds, and holds confirmed at once, a second through the
HTTP API of a server in a process of its own, by wrk (Debian package wrk), 64 connections.

Each request of wrk is another time (it has one thread, which counts), so that every hold is a new one: of
a thousand rooms in turn, or all of the same room. Holds that are refused would count as errors and fail the
run. A confirm is measured with the hold it ends, in one request.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import msgspec

CONNECTIONS = 64
SECONDS = 4
ROUNDS = 3
ROOMS = 1000
TARGET = 3000
"""Holds a second."""

_SCRIPT = """
local n, ids, base = %d, {}, os.time() + 86400
base = base - base %% 3600
local headers = {["Content-Type"] = "application/json", ["Host"] = "127.0.0.1",
                 ["Authorization"] = "Bearer %s"}
request = function()
  n = n + 1
  local at = base + math.floor(n / %d) * 60
  local body = string.format('{"want":{"type":"time","resource":"r%%d","start":"%%s","end":"%%s"},"confirm":%s}',
    n %% %d, os.date("!%%Y-%%m-%%dT%%H:%%M:00Z", at), os.date("!%%Y-%%m-%%dT%%H:%%M:00Z", at + 60))
  return wrk.format("POST", nil, headers, body)
end
done = function(summary, latency)
  local wrong = summary.errors
  io.write(string.format('SEEN %%f %%f %%f %%d\\n', summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    wrong.connect + wrong.read + wrong.write + wrong.status + wrong.timeout))
end
"""


def serve(path: Path) -> tuple[subprocess.Popen[str], str, str]:
    """A server at a path, its URL and the operator's token."""
    walnut = Path(sys.executable).with_name("walnut")
    command = [str(walnut), "serve", "--data", str(path), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--log-format", "json"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    url = token = ""
    while not (url and token) and (line := process.stderr.readline()):
        if found := re.search(r"operator token.*: (walnut_\S+)", line):
            token = found[1]
        if '"serving"' in line:
            url = str(msgspec.json.decode(line)["url"])
    return process, url, token


async def furnish(url: str, token: str) -> None:
    """Rooms, as the script names them."""
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:

        async def add(number: int) -> None:
            room: dict[str, Any] = {"id": f"r{number}", "kind": {"type": "exclusive"}}
            answer = await client.put(f"/v1/booking/resources/r{number}", json=room)
            answer.raise_for_status()

        for first in range(0, ROOMS, 50):
            await asyncio.gather(*map(add, range(first, first + 50)))


def load(url: str, token: str, rooms: int, first: int, *, confirm: bool) -> tuple[float, ...]:
    """Holds a second, and their latencies in ms: the half, the slowest hundredth."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        word = "true" if confirm else "false"
        script.write(_SCRIPT % (first, token, rooms, word, rooms))
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", script.name]
        told = subprocess.run(
            [*command, f"{url}/v1/booking/holds"], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"SEEN (\S+) (\S+) (\S+) (\d+)", told)
    if found is None or found[4] != "0":
        raise RuntimeError(f"wrk: {told}")
    return float(found[1]), float(found[2]), float(found[3])


def main() -> None:
    """Print the rows."""
    with tempfile.TemporaryDirectory() as folder:
        process, url, token = serve(Path(folder) / "data")
        assert process.stderr is not None
        try:
            asyncio.run(furnish(url, token))
            first = 0
            for what, rooms, confirm in (
                ("holds, a thousand rooms", ROOMS, False),
                ("holds, one room", 1, False),
                ("holds confirmed at once, a thousand rooms", ROOMS, True),
            ):
                seen = []
                for _ in range(ROUNDS):
                    first += 100_000
                    seen.append(load(url, token, rooms, first, confirm=confirm))
                rate, half, slow = (statistics.median(column) for column in zip(*seen, strict=True))
                verdict = "met" if rate >= TARGET else f"target {TARGET} not met"
                print(f"{what}: {rate:,.0f}/s, p50 {half:.1f} ms, p99 {slow:.1f} ms ({verdict})")
        finally:
            process.terminate()
            process.wait(60)
            process.stderr.close()


if __name__ == "__main__":
    main()
