"""Peers of the server: a FastAPI app on PostgreSQL as teams write it, and Redis by redis-benchmark.

The app does what the server does for the same request: checks a bearer token, and commits before it
answers. SQLAlchemy (async, psycopg), 64 connections to the database in all, uvicorn on uvloop and
httptools, no access log; PostgreSQL with its default durability.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import Any

from bench.jobs_postgres import database
from bench.jobs_redis import Redis
from bench.measure import Setting
from bench.peers import free_port

ACCOUNTS = 10_000
"""Rows that transactions are about."""
POOL = 64
TOKEN = "walnut-bench-token-of-the-peer"
START_SECONDS = 30.0

SCHEMA = """
create table messages (topic text not null, number bigserial, value text not null,
                       primary key (topic, number));
create table accounts (id text primary key, value jsonb not null);
create table counters (name text primary key, value bigint not null);
insert into accounts select 'a' || number, '{"number": 0, "padding": "0123456789012345678901234567890123456789"}'
    from generate_series(0, %(rows)s) number;
insert into counters select 'c' || number, 0 from generate_series(0, %(rows)s) number;
"""


def app() -> Any:
    """The app, for uvicorn."""
    import fastapi
    import sqlalchemy as sa
    from sqlalchemy.dialects.postgresql import JSONB
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(
        os.environ["BENCH_DSN"], pool_size=int(os.environ["BENCH_POOL"]), max_overflow=0
    )
    one = sa.text("insert into messages (topic, value) values (:topic, :value) returning number")
    many = sa.text(
        "insert into messages (topic, value) select :topic, unnest(cast(:values as text[]))"
    )
    put = sa.text(
        "insert into accounts (id, value) values (:id, :value)"
        " on conflict (id) do update set value = excluded.value"
    ).bindparams(sa.bindparam("value", type_=JSONB))
    read = sa.text("select value from accounts where id = :id for update").columns(value=JSONB)
    count = sa.text("update counters set value = value + 1 where name = :name returning value")

    def known(authorization: str = fastapi.Header()) -> None:
        if not hmac.compare_digest(authorization, f"Bearer {TOKEN}"):
            raise fastapi.HTTPException(401)

    api = fastapi.FastAPI(dependencies=[fastapi.Depends(known)])

    async def append(topic: str, request: fastapi.Request) -> dict[str, int]:
        value = (await request.body()).decode()
        async with engine.begin() as connection:
            done = await connection.execute(one, {"topic": topic, "value": value})
            return {"number": done.scalar_one()}

    async def stream(topic: str, request: fastapi.Request) -> dict[str, int]:
        lines = (await request.body()).decode().splitlines()
        async with engine.begin() as connection:
            await connection.execute(many, {"topic": topic, "values": lines})
        return {"committed": len(lines)}

    async def put_row(request: fastapi.Request) -> dict[str, bool]:
        row = await request.json()
        async with engine.begin() as connection:
            await connection.execute(put, {"id": row["key"], "value": row["value"]})
        return {"stored": True}

    async def transaction(request: fastapi.Request) -> dict[str, Any]:
        wanted = await request.json()
        async with engine.begin() as connection:
            old = (await connection.execute(read, {"id": wanted["key"]})).scalar_one()
            await connection.execute(put, {"id": wanted["key"], "value": wanted["value"]})
            counted = await connection.execute(count, {"name": wanted["counter"]})
            return {"old": old, "count": counted.scalar_one()}

    for path, function in (
        ("/topics/{topic}/messages", append),
        ("/topics/{topic}/stream", stream),
        ("/rows", put_row),
        ("/transaction", transaction),
    ):
        # Resolved here, as what FastAPI reads is imported in this function.
        function.__annotations__["request"] = fastapi.Request
        api.post(path, response_model=None)(function)
    return api


class App:
    """The app, served by so many processes."""

    def __init__(self, postgres: Any, workers: int) -> None:
        import fastapi  # noqa: F401  to say at once that it is missing
        import psycopg
        import sqlalchemy  # noqa: F401

        self.name = f"FastAPI on PostgreSQL, {workers} worker{'s' if workers > 1 else ''}"
        conninfo = database(postgres, f"http{workers}")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(SCHEMA % {"rows": ACCOUNTS})
        self.port = free_port()
        self.headers = {"Authorization": f"Bearer {TOKEN}"}
        dsn = f"postgresql+psycopg://{postgres.user}@127.0.0.1:{postgres.port}/http{workers}"
        self.server = subprocess.Popen(
            [
                sys.executable, "-m", "uvicorn", "bench.http_peers:app", "--factory", "--loop", "uvloop",
                "--http", "httptools", "--no-access-log", "--log-level", "warning",
                "--port", str(self.port), "--workers", str(workers),
            ],
            env={**os.environ, "BENCH_DSN": dsn, "BENCH_POOL": str(POOL // workers)},
            stderr=subprocess.DEVNULL,  # a traceback for each request under way when the load ends
        )  # fmt: skip
        self.pid = self.server.pid
        end = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self.server.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError("uvicorn does not start")
            time.sleep(0.02)

    def close(self) -> None:
        self.server.terminate()
        self.server.wait()


class RedisLoad:
    """A Redis whose every write is synced before the answer, under redis-benchmark."""

    name = "Redis, appendfsync always"

    def __init__(self, setting: Setting) -> None:
        program = shutil.which("redis-benchmark")
        if program is None:
            raise RuntimeError(
                "redis-benchmark is not installed; enable with: sudo apt-get install redis-tools"
            )
        self.program = program
        self.redis = Redis(setting)

    def rate(self, count: int, *command: str, connections: int = 64, pipelined: int = 1) -> float:
        """Commands a second; `__rand_int__` in them is one of ACCOUNTS numbers."""
        options = (
            f"-p {self.redis.port} -c {connections} -P {pipelined} -n {count} -r {ACCOUNTS} --csv"
        )
        told = subprocess.run(
            [self.program, *options.split(), *command], capture_output=True, text=True, check=True
        ).stdout
        return float(told.splitlines()[-1].split('","')[1])

    def close(self) -> None:
        self.redis.close()
