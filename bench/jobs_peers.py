"""The peers of jobs, each as durable as Walnut's: an acknowledged enqueue, and every recorded state,
has been synced. Each is set up the best way we know for two cores; what that was is in its docstring.

`python -m bench.jobs_peers` measures all of them, and prints one table."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench.jobs_dbos import Dbos, DbosPostgres, DbosSqlite
from bench.jobs_frame import (
    CLIENTS,
    POLL,
    UNRUN,
    Peer,
    Send,
    Starts,
    ThreadPeer,
    marker,
)
from bench.jobs_postgres import Pgmq, Procrastinate
from bench.jobs_redis import Arq, Dramatiq, Redis
from bench.measure import Setting
from bench.peers import Postgres


def huey_task(path: str, noop: Callable[[int], None]) -> tuple[Any, Any]:
    from huey import SqliteHuey

    # One process has one connection to a thread; 60 s is what a busy file may take.
    huey = SqliteHuey("bench", filename=path, fsync=True, timeout=60, store_none=True)
    return huey, huey.task(name="noop")(noop)


def huey_worker(path: str, starts: Starts, ready: Any) -> None:
    logging.getLogger("huey").setLevel(logging.ERROR)
    huey, _ = huey_task(path, marker(starts))
    consumer = huey.create_consumer(
        workers=2, periodic=False, initial_delay=POLL, max_delay=POLL, backoff=1
    )
    consumer.start()
    ready.release()
    threading.Event().wait()


class Huey(ThreadPeer):
    """WAL mode, synchronous=FULL, results kept. One consumer of two threads, which look every 10 ms;
    it looks for what is due once a second, its least."""

    name = "Huey on SQLite"
    processes = 1

    def __init__(self, setting: Setting) -> None:
        path = setting.fresh("huey").absolute()
        path.mkdir(parents=True)
        self.path = str(path / "db")
        self.huey, self.task = huey_task(self.path, UNRUN)

    def work(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        return huey_worker, (self.path,)

    @contextlib.contextmanager
    def clients(self, number: int) -> Iterator[list[Send]]:
        yield [self.task] * number

    def clear(self) -> None:
        self.huey.storage.flush_all()

    def recorded(self) -> int:
        return int(self.huey.storage.result_store_size())

    def fill(self, pending: int, when: float) -> None:
        self.write(pending, when, lambda _: 0)

    def plan(self, due: int, when: float) -> None:
        self.write(due, when, lambda index: index)

    def write(self, count: int, when: float, argument: Callable[[int], int]) -> None:
        """What add_to_schedule writes, in one transaction."""
        at = dt.datetime.fromtimestamp(when, dt.UTC).replace(tzinfo=None)

        def rows() -> Iterator[tuple[str, bytes, float]]:
            for index in range(count):
                task = self.task.s(argument(index))
                task.eta = at
                yield "bench", self.huey.serialize_task(task), at.timestamp()

        with self.huey.storage.db(commit=True) as cursor:
            cursor.executemany(
                "insert into schedule (queue, data, timestamp) values (?, ?, ?)", rows()
            )

    def close(self) -> None:
        self.huey.storage.close()


@contextlib.contextmanager
def job_contestants(
    setting: Setting, peers: list[Any], *, redis: bool
) -> Iterator[tuple[list[Any], list[str]]]:
    """The peers that are here, ready; and why the others are not. `peers` are those of
    `bench.peers.contestants`, of which PostgreSQL is used if it is there."""
    ready: list[Any] = []
    absent: list[str] = []
    held = contextlib.ExitStack()

    def add(kind: Any, on: Any) -> None:
        try:
            ready.append(kind(on))
        except (ImportError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
            absent.append(f"{kind.name}: {error}")
        else:
            held.callback(ready[-1].close)

    with held:
        add(Huey, setting)
        add(DbosSqlite, setting)
        for server in (server for server in peers if server.name == "PostgreSQL"):
            for kind in (DbosPostgres, Procrastinate, Pgmq):
                add(kind, server)
        if redis:
            try:
                server = Redis(setting)
            except (RuntimeError, OSError) as error:
                absent.append(f"Dramatiq and arq on Redis: {error}")
            else:
                held.callback(server.close)
                add(Dramatiq, server)
                add(Arq, server)
        yield ready, absent


def figures(peer: Peer, setting: Setting) -> list[str]:
    """A row of the table: one round each."""
    some = setting.count(20_000)
    row = [peer.name, f"{peer.enqueue(setting.count(2_000), 1):,.0f}"]
    row += [f"{peer.enqueue(some, CLIENTS):,.0f}", f"{peer.complete(some):,.0f}"]
    latency = peer.start_latency(setting.count(3_000), 100)
    row.append(f"{1000 * latency.p50:,.1f} / {1000 * latency.p99:,.1f}")
    if peer.unscheduled:
        row += ["", ""]
    else:
        late = peer.scheduled(setting.count(1_000_000), setting.count(5_000))
        row += [f"{1000 * late.p50:,.0f} / {1000 * late.p99:,.0f}", f"{late.rate:,.0f}"]
    if isinstance(peer, Dbos):
        row += [
            f"{peer.steps(setting.count(10_000), workflows):,.0f}" for workflows in (1, CLIENTS)
        ]
    return row


HEADS = [
    "peer",
    "enqueue/s, 1 client",
    "64 clients",
    "complete/s",
    "to start, p50 / p99 ms",
    "due late, p50 / p99 ms",
    "due/s",
    "steps/s, 1 workflow",
    "64",
]


@click.command()
@click.option("--scale", default=0.1, show_default=True, help="1 is a million pending jobs.")
@click.option("--only", default="", help="Peers with this in their name.")
@click.option("--dir", "folder", default=".build/bench", help="A folder on the disk to measure.")
def main(*, scale: float, only: str, folder: str) -> None:
    """Measure the peers of jobs alone, once each."""
    console = Console(width=max(150, Console().width))
    setting = Setting(Path(folder), 1, scale)
    setting.folder.mkdir(parents=True, exist_ok=True)
    drawn = Table(*HEADS, box=None, header_style="dim")
    servers: list[Any] = []
    try:
        try:
            servers.append(Postgres(setting))
        except RuntimeError as error:
            console.print(f"{error}; enable with: sudo apt-get install postgresql", style="yellow")
        with job_contestants(setting, servers, redis=True) as (peers, absent):
            for peer in peers:
                if only.lower() in peer.name.lower():
                    with console.status(peer.name):
                        drawn.add_row(*figures(peer, setting))
    finally:
        for server in servers:
            server.close()
        shutil.rmtree(setting.folder, ignore_errors=True)
    for line in absent:
        console.print(f"not measured: {line}", style="yellow")
    console.print(drawn)


if __name__ == "__main__":
    main()
