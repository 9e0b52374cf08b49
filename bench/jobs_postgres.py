"""Procrastinate and PGMQ: queues of jobs in PostgreSQL, with its default durability."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from bench.jobs_frame import (
    POLL,
    UNRUN,
    AsyncSend,
    CoroutinePeer,
    Starts,
    marker,
    run,
)

BATCH = 100
"""Messages that a worker of PGMQ reads and archives at once."""


def database(server: Any, name: str) -> str:
    """A new database of this server, as a connection string."""
    with server.connect() as connection:
        connection.execute(f"drop database if exists {name} with (force)")
        connection.execute(f"create database {name}")
    return f"host=127.0.0.1 port={server.port} user={server.user} dbname={name}"


def procrastinate_app(conninfo: str, connections: int, noop: Callable[[int], None]) -> Any:
    import procrastinate

    async def task(index: int) -> None:
        noop(index)

    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(
            conninfo=conninfo, min_size=connections, max_size=connections
        )
    )
    app.task(task, name="noop")
    return app


def procrastinate_worker(conninfo: str, starts: Starts, ready: Any) -> None:
    async def work() -> None:
        app = procrastinate_app(conninfo, 8, marker(starts))
        async with app.open_async():
            asyncio.get_running_loop().call_later(0.2, ready.release)
            await app.run_worker_async(
                concurrency=16,
                install_signal_handlers=False,
                fetch_job_polling_interval=POLL,
            )

    run(work())


class Procrastinate(CoroutinePeer):
    """Async, psycopg; 64 connections enqueue, two workers of 16 jobs each, LISTEN/NOTIFY on."""

    name = "Procrastinate on PostgreSQL"

    def __init__(self, server: Any) -> None:
        import psycopg

        self.conninfo = database(server, "procrastinate")

        async def schema() -> None:
            async with procrastinate_app(self.conninfo, 1, UNRUN).open_async() as app:
                await app.schema_manager.apply_schema_async()

        run(schema())
        self.db = psycopg.connect(self.conninfo, autocommit=True)

    def work(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        return procrastinate_worker, (self.conninfo,)

    @contextlib.asynccontextmanager
    async def clients(self, number: int) -> AsyncIterator[list[AsyncSend]]:
        app = procrastinate_app(self.conninfo, number, UNRUN)
        async with app.open_async():
            await app.connector.pool.wait()
            defer = app.tasks["noop"].defer_async

            async def send(index: int) -> None:
                await defer(index=index)

            yield [send] * number

    def clear(self) -> None:
        self.db.execute("truncate procrastinate_jobs, procrastinate_workers cascade")

    def recorded(self) -> int:
        succeeded = "select count(*) from procrastinate_jobs where status = 'succeeded'"
        return int(self.db.execute(succeeded).fetchone()[0])

    def fill(self, pending: int, when: float) -> None:
        self.db.execute("set session_replication_role = replica")  # a million NOTIFYs say nothing
        self.db.execute(
            "insert into procrastinate_jobs (queue_name, task_name, args, scheduled_at) select"
            " 'default', 'noop', '{\"index\": 0}', to_timestamp(%s) from generate_series(1, %s)",
            (when, pending),
        )
        self.db.execute("set session_replication_role = default")
        self.db.execute("vacuum analyze procrastinate_jobs")

    def plan(self, due: int, when: float) -> None:
        at = dt.datetime.fromtimestamp(when, dt.UTC)

        async def defer() -> None:
            async with procrastinate_app(self.conninfo, 1, UNRUN).open_async() as app:
                planned = app.tasks["noop"].configure(schedule_at=at)
                await planned.batch_defer_async(*[{"index": index} for index in range(due)])

        run(defer())

    def close(self) -> None:
        self.db.close()


def pgmq_worker(conninfo: str, starts: Starts, ready: Any) -> None:
    import psycopg

    noop = marker(starts)
    with psycopg.connect(conninfo, autocommit=True) as db:
        ready.release()
        while True:
            rows = db.execute(
                "select msg_id, message from pgmq.read('jobs', 60, %s)", (BATCH,)
            ).fetchall()
            for _, message in rows:
                noop(message["index"])
            if rows:
                db.execute("select pgmq.archive('jobs', %s)", ([number for number, _ in rows],))
            else:
                time.sleep(POLL)


class Pgmq(CoroutinePeer):
    """PGMQ's own SQL, installed from the wheel on PyPI; 64 psycopg connections send, two loops read
    100 at once, archive them at once, and look every 10 ms when there was nothing. It can NOTIFY, but
    unthrottled each send then updates one row that all share, and they wait for one another."""

    name = "PGMQ on PostgreSQL"

    def __init__(self, server: Any) -> None:
        import psycopg
        from pgmq.install import get_embedded_install_sql

        self.conninfo = database(server, "pgmq")
        self.db = psycopg.connect(self.conninfo, autocommit=True)
        with self.db.transaction():
            self.db.execute(get_embedded_install_sql())
        self.db.execute("select pgmq.create('jobs')")

    def work(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        return pgmq_worker, (self.conninfo,)

    @contextlib.asynccontextmanager
    async def clients(self, number: int) -> AsyncIterator[list[AsyncSend]]:
        import psycopg

        def sender(connection: Any) -> AsyncSend:
            async def send(index: int) -> None:
                message = json.dumps({"index": index})
                await connection.execute("select pgmq.send('jobs', %s::jsonb)", (message,))

            return send

        connections = [
            await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
            for _ in range(number)
        ]
        try:
            yield [sender(connection) for connection in connections]
        finally:
            for connection in connections:
                await connection.close()

    def clear(self) -> None:
        self.db.execute("truncate pgmq.q_jobs, pgmq.a_jobs")

    def recorded(self) -> int:
        return int(self.db.execute("select count(*) from pgmq.a_jobs").fetchone()[0])

    def fill(self, pending: int, when: float) -> None:
        self.db.execute(
            "insert into pgmq.q_jobs (vt, message) select to_timestamp(%s), '{\"index\": 0}'"
            " from generate_series(1, %s)",
            (when, pending),
        )
        self.db.execute("vacuum analyze pgmq.q_jobs")

    def plan(self, due: int, when: float) -> None:
        messages = [json.dumps({"index": index}) for index in range(due)]
        self.db.execute(
            "select pgmq.send_batch('jobs', %s::jsonb[], to_timestamp(%s))", (messages, when)
        )

    def close(self) -> None:
        self.db.close()
