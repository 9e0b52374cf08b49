"""Bookings as others keep them: an exclusion constraint of PostgreSQL, and a table of SQLite with the same
rules written out. No deadline is kept by a timer, nothing is told or remembered: less than Walnut does."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from bench.jobs_postgres import database
from bench.measure import Setting

Pair = Callable[[int, dt.datetime, dt.datetime], Awaitable[None]]
"""Hold a resource for a time, and confirm that."""

MINUTE = dt.timedelta(minutes=1)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

SCHEMA = """
create extension btree_gist;
create table booking (
    id bigint generated always as identity primary key,
    resource int not null,
    during tstzrange not null,
    state text not null,
    deadline timestamptz,
    constraint no_double_booking exclude using gist (resource with =, during with &&)
        where (state in ('held', 'confirmed'))
);
"""
HOLD = """insert into booking (resource, during, state, deadline)
    values (%s, tstzrange(%s, %s), 'held', now() + interval '10 minutes') returning id"""
CONFIRM = """update booking set state = 'confirmed', deadline = null
    where id = %s and state = 'held' and deadline > now() returning id"""
FREE = """select lower(gap), upper(gap) from unnest(
    tstzmultirange(tstzrange(%(start)s, %(stop)s)) - coalesce((
        select range_agg(during) from booking
        where resource = 0 and during && tstzrange(%(start)s, %(stop)s)
            and state in ('held', 'confirmed')), '{}')) as gap
    where upper(gap) - lower(gap) >= %(length)s"""


class PostgresBookings:
    """psycopg, 64 connections on the event loop, default durability."""

    name = "PostgreSQL, exclusion constraint"

    def __init__(self, server: Any) -> None:
        import psycopg

        self.conninfo = database(server, "booking")
        self.db = psycopg.connect(self.conninfo, autocommit=True)
        self.db.execute(SCHEMA)

    @contextlib.asynccontextmanager
    async def clients(self, number: int) -> AsyncIterator[list[Pair]]:
        import psycopg

        def pair_of(connection: Any) -> Pair:
            async def pair(resource: int, start: dt.datetime, stop: dt.datetime) -> None:
                held = await connection.execute(HOLD, (resource, start, stop))
                (id_,) = await held.fetchone()
                confirmed = await connection.execute(CONFIRM, (id_,))
                assert await confirmed.fetchone() == (id_,)

            return pair

        self.db.execute("truncate booking")
        connections = [
            await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
            for _ in range(number)
        ]
        try:
            yield [pair_of(connection) for connection in connections]
        finally:
            for connection in connections:
                await connection.close()

    def fill(self, spans: list[tuple[dt.datetime, dt.datetime]]) -> None:
        self.db.execute("truncate booking")
        with (
            self.db.cursor() as cursor,
            cursor.copy("copy booking (resource, during, state) from stdin") as copy,
        ):
            for start, stop in spans:
                copy.write_row((0, f"[{start.isoformat()},{stop.isoformat()})", "confirmed"))
        self.db.execute("vacuum analyze booking")

    def free(self, start: dt.datetime, stop: dt.datetime, length: dt.timedelta) -> int:
        found = self.db.execute(FREE, {"start": start, "stop": stop, "length": length})
        return len(found.fetchall())

    def close(self) -> None:
        self.db.close()


class SqliteBookings:
    """Python's sqlite3 with WAL and synchronous=FULL, one writer that all clients share, as SQLite has
    one."""

    name = "SQLite, checked in a transaction"

    def __init__(self, setting: Setting) -> None:
        path = setting.fresh("booking-sqlite")
        path.mkdir(parents=True)
        self.db = sqlite3.connect(path / "booking", isolation_level=None)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute("pragma synchronous=full")
        self.db.execute(
            "create table booking (id integer primary key, resource int, start int, stop int, "
            "state text, deadline int)"
        )
        self.db.execute("create index by_time on booking (resource, start, stop)")

    def _hold(self, resource: int, start: int, stop: int) -> int:
        execute = self.db.execute
        execute("begin immediate")
        # Bookings do not overlap: only the last that begins before the end can be in the way.
        last = execute(
            "select stop from booking where resource = ? and start < ? and state <> 'void' "
            "order by start desc limit 1", (resource, stop),
        ).fetchone()  # fmt: skip
        assert last is None or last[0] <= start
        made = execute(
            "insert into booking (resource, start, stop, state, deadline) "
            "values (?, ?, ?, 'held', 0)",
            (resource, start, stop),
        )
        execute("commit")
        assert made.lastrowid is not None
        return made.lastrowid

    @contextlib.asynccontextmanager
    async def clients(self, number: int) -> AsyncIterator[list[Pair]]:
        self.db.execute("delete from booking")

        async def pair(resource: int, start: dt.datetime, stop: dt.datetime) -> None:
            id_ = self._hold(resource, (start - EPOCH) // MINUTE, (stop - EPOCH) // MINUTE)
            self.db.execute(
                "update booking set state = 'confirmed' where id = ? and state = 'held'", (id_,)
            )
            await asyncio.sleep(0)

        yield [pair] * number

    def fill(self, spans: list[tuple[dt.datetime, dt.datetime]]) -> None:
        self.db.execute("delete from booking")
        self.db.execute("begin")
        self.db.executemany(
            "insert into booking (resource, start, stop, state) values (0, ?, ?, 'confirmed')",
            [((start - EPOCH) // MINUTE, (stop - EPOCH) // MINUTE) for start, stop in spans],
        )
        self.db.execute("commit")

    def free(self, start: dt.datetime, stop: dt.datetime, length: dt.timedelta) -> int:
        begin, end = (start - EPOCH) // MINUTE, (stop - EPOCH) // MINUTE
        minutes, found = length // MINUTE, 0
        rows = self.db.execute(
            "select start, stop from booking where resource = 0 and start >= ? and start < ? "
            "order by start",
            (begin - 24 * 60, end),
        )
        for opens, closes in rows:
            found += opens - begin >= minutes
            begin = max(begin, closes)
        return found + (end - begin >= minutes)

    def close(self) -> None:
        self.db.close()
