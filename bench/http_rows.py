"""The rows of the table that are about the server: HTTP, tails, its start and its memory.

Servers and load share the machine, as they would have to on a small one. The load comes from wrk, or from a
client in Python where wrk is missing; rows name the latter. "Without durability" is the same server with its
data in /dev/shm, where a sync costs nothing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec

from bench.http_load import WARM_SECONDS, Load, generator, processor_seconds, run
from bench.http_peers import ACCOUNTS, App, RedisLoad
from bench.http_tails import Delays, Tailing
from bench.measure import Contestant, Row, Setting, medians
from bench.peers import Postgres
from walnut.client import Client
from walnut.testing.serving import Serving

Peers = list[Any]
LINES = 1000
"""Of a batch."""
TOPIC = "/v1/topics/bench"
PADDING = "0123456789" * 4
SHM = Path("/dev/shm")
REST_SECONDS = 5.0
"""From ready to at rest: the console is loaded by then."""
VALUE = b'"' + b"x" * 98 + b'"'


class Served:
    """Walnut, served from a directory, with a topic, a table and a token of its own."""

    def __init__(self, data: Path) -> None:
        data.parent.mkdir(parents=True, exist_ok=True)
        self.serving = Serving(data.absolute(), ("--log-level", "warning"))
        self.serving.start()
        with self.client() as client:
            made = client.transport.request(
                "POST", "/v1/tokens", body=b'{"name": "bench", "scopes": ["*"]}'
            )
            self.token: str = json.loads(made.body)["token"]
            client.create_topic("bench")
            client.create_table("accounts", before=False)
            for first in range(0, ACCOUNTS, 500):
                client.transaction(
                    [
                        {"op": "put", "table": "accounts", "row": account(number)}
                        for number in range(first, first + 500)
                    ]
                )
        self.headers = {"Authorization": f"Bearer {self.token}"}

    def client(self) -> Client:
        return Client(self.serving.data)

    @property
    def port(self) -> int:
        with self.client() as client:
            addresses = client.status()["addresses"]
        return int(next(one for one in addresses if ":" in one).rpartition(":")[2])

    def close(self) -> None:
        self.serving.kill()


def account(number: int) -> dict[str, Any]:
    return {"key": f"a{number}", "value": {"number": number, "padding": PADDING}}


def some_accounts() -> list[int]:
    """Of which transactions are, in turn: enough of them not to meet."""
    return random.Random(1).sample(range(ACCOUNTS), 1000)


@contextlib.contextmanager
def contest(
    setting: Setting, peers: Peers, asks: Callable[[Any], Load], redis: Callable[[RedisLoad], float]
) -> Iterator[dict[str, Contestant]]:
    """Everyone that is here, ready to be asked: Walnut, itself in memory, the app, Redis."""
    seconds = max(1.0, 5 * setting.scale)
    shm = Setting(SHM / "walnut-bench", 1, 1.0)
    made: list[Any] = []
    contestants: dict[str, Contestant] = {}

    def enter(name: str, make: Callable[[], Any]) -> None:
        try:
            one = make()
        except (ImportError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
            print(f"not measured: {name}: {error}", file=sys.stderr)
            return
        made.append(one)
        if isinstance(one, RedisLoad):
            contestants[name] = functools.partial(redis, one)
            return
        load = asks(one)
        load.seconds = WARM_SECONDS
        run(load)
        load.seconds = seconds
        contestants[name] = lambda: run(load).rate

    try:
        enter("Walnut", lambda: Served(setting.fresh("http")))
        if SHM.is_dir():
            enter("the same, in memory (/dev/shm)", lambda: Served(shm.fresh("http")))
        for postgres in peers:
            if isinstance(postgres, Postgres):
                for workers in (1, 2):
                    name = f"FastAPI on PostgreSQL, {workers} worker{'s' * (workers > 1)}"
                    enter(name, functools.partial(App, postgres, workers))
                enter(RedisLoad.name, lambda: RedisLoad(setting))
        time.sleep(REST_SECONDS)
        yield contestants
    finally:
        for one in made:
            one.close()
        shm.fresh("http")


def rows_of(
    what: str, unit: str, got: dict[str, float], target: float | None, times: int = 1
) -> list[Row]:
    """A row against the target, and one beside everybody."""
    if generator() != "wrk":
        what = f"{what}; {generator()}"
    mine = got.pop("Walnut") * times
    rows = [] if target is None else [Row(what, mine, target, f"{target:,.0f} a second", unit, 1)]
    return rows + [Row(what, mine, theirs * times, name, unit) for name, theirs in got.items()]


def appends(setting: Setting, peers: Peers) -> list[Row]:
    """Durable appends of 100 bytes, one to a request."""

    def ask(one: Any) -> Load:
        path = f"{TOPIC}/messages" if isinstance(one, Served) else "/topics/bench/messages"
        return Load(one.port, path, [VALUE.decode()], one.headers)

    def xadd(redis: RedisLoad) -> float:
        return redis.rate(setting.count(100_000), "XADD", "bench", "*", "v", VALUE.decode())

    with contest(setting, peers, ask, xadd) as runs:
        got = medians(runs, setting.rounds)
    return rows_of("HTTP: append, 64 connections", "/s", got, 8000)


def lines(setting: Setting, peers: Peers) -> list[Row]:
    """Durable appends of 100 bytes, a thousand lines to a request, from eight connections."""

    def ask(one: Any) -> Load:
        path = f"{TOPIC}/stream" if isinstance(one, Served) else "/topics/bench/stream"
        headers = {**one.headers, "Content-Type": "application/x-ndjson"}
        return Load(one.port, path, [(VALUE.decode() + "\n") * LINES], headers, connections=8)

    def xadd(redis: RedisLoad) -> float:
        command = ("XADD", "bench", "*", "v", VALUE.decode())
        rate = redis.rate(setting.count(1_000_000), *command, connections=8, pipelined=LINES)
        return rate / LINES

    with contest(setting, peers, ask, xadd) as runs:
        got = medians(runs, setting.rounds)
    what = "HTTP: NDJSON of 1,000 lines, 8 connections"
    return rows_of(what, " records/s", got, 150_000, times=LINES)


def puts(setting: Setting, peers: Peers) -> list[Row]:
    """Transactions of one put."""

    def ask(one: Any) -> Load:
        if isinstance(one, Served):
            bodies = [
                {"operations": [{"op": "put", "table": "accounts", "row": account(number)}]}
                for number in some_accounts()
            ]
            return Load(one.port, "/v1/transaction", [*map(json.dumps, bodies)], one.headers)
        bodies = [account(number) for number in some_accounts()]
        headers = {**one.headers, "Content-Type": "application/json"}
        return Load(one.port, "/rows", [*map(json.dumps, bodies)], headers)

    def hset(redis: RedisLoad) -> float:
        value = json.dumps(account(0)["value"])
        return redis.rate(setting.count(100_000), "SET", "a__rand_int__", value)

    with contest(setting, peers, ask, hset) as runs:
        got = medians(runs, setting.rounds)
    return rows_of("HTTP: transaction, a put, 64 connections", "/s", got, None)


def changes(setting: Setting, peers: Peers) -> list[Row]:
    """Transactions that read a row, write it, and add to a counter."""

    def ask(one: Any) -> Load:
        numbers = some_accounts()
        if isinstance(one, Served):
            bodies: list[Any] = [
                {
                    "operations": [
                        {"op": "get", "table": "accounts", "key": f"a{number}"},
                        {"op": "put", "table": "accounts", "row": account(number)},
                        {"op": "add", "counter": f"c{number}"},
                    ]
                }
                for number in numbers
            ]
            return Load(one.port, "/v1/transaction", [*map(json.dumps, bodies)], one.headers)
        bodies = [{**account(number), "counter": f"c{number}"} for number in numbers]
        headers = {**one.headers, "Content-Type": "application/json"}
        return Load(one.port, "/transaction", [*map(json.dumps, bodies)], headers)

    script = (
        "local old = redis.call('GET', KEYS[1]); redis.call('SET', KEYS[1], ARGV[1]); "
        "return {old, redis.call('INCR', KEYS[2])}"
    )

    def evaluate(redis: RedisLoad) -> float:
        value = json.dumps(account(0)["value"])
        keys = ("2", "a__rand_int__", "c__rand_int__")
        return redis.rate(setting.count(100_000), "EVAL", script, *keys, value)

    with contest(setting, peers, ask, evaluate) as runs:
        got = medians(runs, setting.rounds)
    return rows_of("HTTP: transaction, read, write, count, 64 connections", "/s", got, None)


def costs(setting: Setting, peers: Peers) -> list[Row]:
    """Processor time of one append, of the server's process alone: it hardly depends on who else has the
    machine."""
    seconds = max(1.0, 4 * setting.scale)
    load: Load

    def cost(pid: int, load: Load) -> float:
        before = processor_seconds(pid)
        answers = run(load).answers
        return (processor_seconds(pid) - before) / answers * 1e6

    runs: dict[str, Contestant] = {}
    made: list[Any] = []
    try:
        ours = Served(setting.fresh("http"))
        made.append(ours)
        load = Load(ours.port, f"{TOPIC}/messages", [VALUE.decode()], ours.headers, 64, seconds)
        runs["Walnut"] = functools.partial(cost, ours.serving.pid, load)
        for postgres in peers:
            if isinstance(postgres, Postgres):
                try:
                    app = App(postgres, 1)
                except (ImportError, RuntimeError) as error:
                    print(f"not measured: FastAPI: {error}", file=sys.stderr)
                    continue
                made.append(app)
                path = "/topics/bench/messages"
                load = Load(app.port, path, [VALUE.decode()], app.headers, 64, seconds)
                runs[f"{app.name}: its process alone"] = functools.partial(cost, app.pid, load)
        time.sleep(REST_SECONDS)
        got = medians(runs, setting.rounds)
    finally:
        for one in made:
            one.close()
    mine = got.pop("Walnut")
    what = "HTTP: processor time of an append"
    rows = [Row(what, mine, 100, "100 µs, for 8,000 a second", " µs", 1, better="less")]
    return rows + [Row(what, mine, theirs, name, " µs") for name, theirs in got.items()]


def tails(setting: Setting, _: Peers) -> list[Row]:
    """Server-Sent Events at 500 appends a second: from sending an append to receiving its event."""
    rows = []
    with contextlib.closing(Served(setting.fresh("http"))) as server:
        time.sleep(REST_SECONDS)
        for count in (1, 64):
            wanted = Tailing(server.port, TOPIC, server.token, count, 500, 10 * setting.scale)
            seen = [_delays(wanted) for _ in range(setting.rounds)]
            for name, field in (("p50", "p50"), ("p99", "p99")):
                mine = statistics.median(getattr(each, field) for each in seen)
                answer = statistics.median(getattr(each, f"answer_{field}") for each in seen)
                what = f"HTTP: SSE to {count} tail{'s' * (count > 1)}, append to receipt, {name}"
                if name == "p99":
                    rows.append(Row(what, mine, 10, "10 ms", " ms", 1, better="less"))
                rows.append(Row(what, mine, answer, f"append to its answer, {name}", " ms"))
    return rows


def _delays(wanted: Tailing) -> Delays:
    told = subprocess.run(
        [sys.executable, "-m", "bench.http_tails", msgspec.json.encode(wanted).decode()],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    return msgspec.json.decode(told, type=Delays)


def starts(setting: Setting, _: Peers) -> list[Row]:
    """From the command to /readyz: in a new directory, and after kill -9 with a long log."""

    def ready(serving: Serving) -> float:
        began = time.perf_counter()
        serving.start()
        seconds = time.perf_counter() - began
        serving.kill()
        return seconds

    def cold() -> float:
        return ready(Serving(setting.fresh("http-cold").absolute(), ("--log-level", "warning")))

    server = Served(setting.fresh("http"))
    try:
        size = setting.count(1024)
        _fill(server, size)
    finally:
        server.close()
    got = medians({"cold": cold, "killed": lambda: ready(server.serving)}, setting.rounds)
    whats = {"cold": "in a new directory", "killed": f"after kill -9, a log of {size} MiB"}
    return [
        Row(f"start to ready, {whats[name]}", seconds, 1.5, "1.5 s", " s", 1, better="less")
        for name, seconds in got.items()
    ]


def _fill(server: Served, mib: int) -> None:
    """Append so much, in lines of 8 KiB."""
    line = b'"' + b"x" * 8189 + b'"\n'
    connection = HTTPConnection("127.0.0.1", server.port, timeout=120)
    for start in range(0, mib, 16):
        body = line * (128 * min(16, mib - start))
        connection.request("POST", f"{TOPIC}/stream", body, server.headers)
        answer = connection.getresponse()
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {answer.read()[:300]!r}")
        answer.read()
    connection.close()


def memory(setting: Setting, peers: Peers) -> list[Row]:
    """A server that was started and left alone, console and all."""
    with contextlib.closing(Served(setting.fresh("http"))) as server:
        time.sleep(REST_SECONDS)
        rss, pss = _memory(server.serving.pid)
    rows = []
    for postgres in peers:
        if isinstance(postgres, Postgres):
            with contextlib.suppress(ImportError, RuntimeError):
                with contextlib.closing(App(postgres, 1)) as app:
                    time.sleep(1)
                    theirs = _memory(app.pid)
                what = f"{app.name}: its process alone"
                rows.append(Row("memory at rest, RSS", rss, theirs[0], what, " MiB"))
                rows.append(Row("memory at rest, PSS", pss, theirs[1], what, " MiB"))
    return rows or [Row("memory at rest, PSS", pss, rss, "its RSS", " MiB")]


def _memory(pid: int) -> tuple[float, float]:
    """Resident, and the share of it that is its own, in MiB (proc_pid_smaps_rollup(5))."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) / 1024
    return sizes["Rss"], sizes["Pss"]


HTTP_ROWS: dict[str, Callable[[Setting, Peers], list[Row]]] = {
    "http": appends,
    "http-lines": lines,
    "http-puts": puts,
    "http-changes": changes,
    "http-costs": costs,
    "http-tails": tails,
    "http-starts": starts,
    "http-memory": memory,
}
