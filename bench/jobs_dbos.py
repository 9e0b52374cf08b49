"""DBOS Transact: durable workflows, in a SQLite file and in PostgreSQL.

A job is a workflow of no steps. DBOS is one to a process, so that it runs in child processes only;
here is its client."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.jobs_frame import (
    CLIENTS,
    POLL,
    SPAWN,
    Send,
    Starts,
    ThreadPeer,
    child,
    marker,
    now,
)
from bench.jobs_postgres import database
from bench.measure import Setting, in_threads


def dbos_launched(url: str, executor: str) -> Any:
    from dbos import DBOS

    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "application_version": "1",
            "executor_id": executor,
            "console_log_level": "ERROR",
            "sys_db_pool_size": 32,
        }
    )
    DBOS.launch()
    return DBOS


def dbos_worker(url: str, polling: float, starts: Starts, ready: Any) -> None:
    from dbos import DBOS

    DBOS.workflow(name="noop")(marker(starts))
    launched = dbos_launched(url, multiprocessing.current_process().name)
    launched.register_queue("jobs", worker_concurrency=CLIENTS, polling_interval_sec=polling)
    time.sleep(2.5)  # it looks for new queues once a second
    ready.release()
    threading.Event().wait()


def dbos_steps(url: str, count: int, workflows: int, answer: Any) -> None:
    from dbos import DBOS

    def nothing() -> None:
        pass

    step = DBOS.step(name="step")(nothing)

    def sequence(steps: int) -> None:
        for _ in range(steps):
            step()

    workflow = DBOS.workflow(name="sequence")(sequence)
    launched = dbos_launched(url, "steps")
    launched.start_workflow(workflow, 1).get_result()
    each = count // workflows
    begun = now()
    running = [launched.start_workflow(workflow, each) for _ in range(workflows)]
    for handle in running:
        handle.get_result(polling_interval_sec=POLL)
    answer.send(each * workflows / (now() - begun))


class Dbos(ThreadPeer):
    """64 threads enqueue through a client; worker processes run up to 64 workflows each, and look
    for new ones every 10 ms (they have no notification; once a second is the default)."""

    polling = POLL

    def __init__(self, url: str) -> None:
        self.url = url
        self.in_child(dbos_steps, 1, 1)  # makes the tables

    def in_child(self, function: Callable[..., None], *arguments: Any) -> float:
        """DBOS is one to a process."""
        mine, its = SPAWN.Pipe()
        process = SPAWN.Process(
            target=child, args=(function, self.url, *arguments, its), daemon=True
        )
        process.start()
        its.close()
        try:
            return float(mine.recv())
        except EOFError:
            raise RuntimeError(f"{self.name}: see what its process has printed") from None
        finally:
            process.kill()
            process.join()

    def work(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        return dbos_worker, (self.url, self.polling)

    @contextlib.contextmanager
    def clients(self, number: int) -> Iterator[list[Send]]:
        from dbos import DBOSClient

        client = DBOSClient(system_database_url=self.url, system_database_pool_size=number)
        options = {"queue_name": "jobs", "workflow_name": "noop"}
        try:
            yield [functools.partial(client.enqueue, options)] * number
        finally:
            client.destroy()

    def steps(self, count: int, workflows: int) -> float:
        """Steps recorded a second, of so many workflows at once, each step after the other."""
        self.clear()
        return self.in_child(dbos_steps, count, workflows)

    def plan(self, due: int, when: float) -> None:
        from dbos import DBOSClient

        client = DBOSClient(system_database_url=self.url, system_database_pool_size=8)

        def some(first: int) -> None:
            for index in range(first, due, 8):
                options = {"queue_name": "jobs", "workflow_name": "noop"}
                client.enqueue(options | {"delay_seconds": when - now()}, index)

        in_threads(8, some)
        client.destroy()

    def copies(self, columns: list[str], table: str, numbers: str) -> str:
        """SQL that copies the one workflow there is, under other ids."""
        values = ["workflow_uuid || n" if c == "workflow_uuid" else c for c in columns]
        return (
            f"insert into {table} ({', '.join(columns)}) select {', '.join(values)}"
            f" from (select * from {table} limit 1) as one, {numbers}"
        )


class DbosSqlite(Dbos):
    """WAL mode, which DBOS leaves off, and synchronous=FULL, which is what it has."""

    name = "DBOS on SQLite"
    processes = 1  # a second one is no faster: the file has one writer

    def __init__(self, setting: Setting) -> None:
        path = setting.fresh("dbos-sqlite").absolute()
        path.mkdir(parents=True)
        self.db = sqlite3.connect(path / "db", isolation_level=None, timeout=60)
        self.db.execute("pragma journal_mode=wal")
        if self.db.execute("pragma synchronous").fetchone() != (2,):
            raise RuntimeError("this SQLite was built with another synchronous than FULL")
        super().__init__(f"sqlite:///{path}/db")

    def clear(self) -> None:
        self.db.execute("delete from operation_outputs")
        self.db.execute("delete from workflow_status")

    def recorded(self) -> int:
        success = "select count(*) from workflow_status where status = 'SUCCESS'"
        return int(self.db.execute(success).fetchone()[0])

    def fill(self, pending: int, when: float) -> None:
        self.plan(1, when)
        columns = [row[1] for row in self.db.execute("pragma table_info(workflow_status)")]
        numbers = (
            "(with recursive number(n) as (select 1 union all select n + 1 from number"
            f" where n < {pending}) select n from number)"
        )
        self.db.execute(self.copies(columns, "workflow_status", numbers))
        self.db.execute("analyze")

    def close(self) -> None:
        self.db.close()


class DbosPostgres(Dbos):
    """Two worker processes."""

    name = "DBOS on PostgreSQL"

    def __init__(self, server: Any) -> None:
        import psycopg

        self.db = psycopg.connect(database(server, "dbos"), autocommit=True)
        super().__init__(f"postgresql://{server.user}@127.0.0.1:{server.port}/dbos")

    def clear(self) -> None:
        self.db.execute("truncate dbos.workflow_status cascade")

    def recorded(self) -> int:
        success = "select count(*) from dbos.workflow_status where status = 'SUCCESS'"
        return int(self.db.execute(success).fetchone()[0])

    def fill(self, pending: int, when: float) -> None:
        self.plan(1, when)
        named = self.db.execute("select * from dbos.workflow_status limit 0").description
        columns = [column.name for column in named]
        numbers = f"generate_series(1, {pending}) as n"
        self.db.execute(self.copies(columns, "dbos.workflow_status", numbers))
        self.db.execute("vacuum analyze dbos.workflow_status")

    def close(self) -> None:
        self.db.close()
