"""The peers, each durable as it is meant to be: one commit, one sync."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.measure import Setting, in_threads, rate

DATA = b"x" * 100


class Sqlite:
    """WAL mode, synchronous=FULL."""

    name = "sqlite3"

    def __init__(self, setting: Setting) -> None:
        self.path = setting.fresh("sqlite")
        self.path.mkdir(parents=True)
        self.db = sqlite3.connect(self.path / "db", isolation_level=None, check_same_thread=False)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute("pragma synchronous=full")
        self.db.execute("create table log (lsn integer primary key, data blob)")
        self.lock = threading.Lock()

    def one(self, count: int) -> float:
        def work() -> None:
            for _ in range(count):
                self.db.execute("insert into log (data) values (?)", (DATA,))

        return rate(count, work)

    def many(self, threads: int, count: int) -> float:
        def work(_: int) -> None:
            for _ in range(count):
                with self.lock:
                    self.db.execute("insert into log (data) values (?)", (DATA,))

        return rate(threads * count, lambda: in_threads(threads, work))


class Lmdb:
    """The default: every transaction synced."""

    name = "lmdb"

    def __init__(self, setting: Setting) -> None:
        import lmdb

        path = setting.fresh("lmdb")
        path.mkdir(parents=True)
        self.env = lmdb.open(str(path), map_size=1 << 31)

    def one(self, count: int) -> float:
        def work() -> None:
            for number in range(count):
                with self.env.begin(write=True) as transaction:
                    transaction.put(b"%016d" % number, DATA)

        return rate(count, work)

    def many(self, threads: int, count: int) -> float:
        def work(thread: int) -> None:
            for number in range(count):
                with self.env.begin(write=True) as transaction:
                    transaction.put(b"%04d%012d" % (thread, number), DATA)

        return rate(threads * count, lambda: in_threads(threads, work))


class Rocks:
    """rocksdict in raw mode, with its WAL; synced unless said."""

    name = "rocksdict"

    def __init__(self, setting: Setting) -> None:
        from rocksdict import Options, Rdict, WriteOptions

        self.path = setting.fresh("rocks")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.db = Rdict(str(self.path), Options(raw_mode=True))
        self.sync(on=True)
        self.options = WriteOptions

    def sync(self, *, on: bool) -> None:
        from rocksdict import WriteOptions

        options = WriteOptions()
        options.sync = on
        self.db.set_write_options(options)

    def one(self, count: int) -> float:
        def work() -> None:
            for number in range(count):
                self.db[b"%016d" % number] = DATA

        return rate(count, work)

    def many(self, threads: int, count: int) -> float:
        def work(thread: int) -> None:
            for number in range(count):
                self.db[b"%04d%012d" % (thread, number)] = DATA

        return rate(threads * count, lambda: in_threads(threads, work))

    def groups(self, groups: int, size: int) -> float:
        from rocksdict import WriteBatch

        def work() -> None:
            for group in range(groups):
                batch = WriteBatch(raw_mode=True)
                for number in range(group * size, (group + 1) * size):
                    batch[b"%016d" % number] = DATA
                self.db.write(batch)

        return rate(groups * size, work)

    def replay(self) -> float:
        count = sum(1 for _ in self.db.items())

        def work() -> None:
            for _ in self.db.items():
                pass

        return rate(count, work)


class Postgres:
    """A cluster of its own with default durability; one connection per thread."""

    name = "PostgreSQL"

    def __init__(self, setting: Setting) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            raise RuntimeError("PostgreSQL is not installed")
        self.bin = found[-1].parent
        self.path = setting.fresh("postgres")
        self.path.mkdir(parents=True)
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(self.path, "postgres")
        self.data, self.port = self.path / "data", free_port()
        self.run("initdb", "-D", str(self.data), "-A", "trust")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300"
        self.run(
            "pg_ctl",
            "-D",
            str(self.data),
            "-o",
            options,
            "-w",
            "start",
            "-l",
            str(self.path / "log"),
        )
        with self.connect() as connection:
            connection.execute("create table log (lsn bigserial primary key, data bytea)")

    def run(self, program: str, *arguments: str) -> None:
        command = [str(self.bin / program), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.path
        )

    def connect(self) -> Any:
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=self.user, dbname="postgres", autocommit=True
        )

    def one(self, count: int) -> float:
        with self.connect() as connection:

            def work() -> None:
                for _ in range(count):
                    connection.execute("insert into log (data) values (%s)", (DATA,))

            return rate(count, work)

    def many(self, threads: int, count: int) -> float:
        connections = [self.connect() for _ in range(threads)]

        def work(thread: int) -> None:
            for _ in range(count):
                connections[thread].execute("insert into log (data) values (%s)", (DATA,))

        try:
            return rate(threads * count, lambda: in_threads(threads, work))
        finally:
            for connection in connections:
                connection.close()

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")


class Nats:
    """JetStream with file storage and sync_interval: always; `many` are coroutines, its best."""

    name = "NATS JetStream"

    def __init__(self, setting: Setting) -> None:
        server = Path(sys.executable).with_name("nats-server")
        if not server.exists():
            raise RuntimeError("nats-server is not installed")
        self.path = setting.fresh("nats")
        self.path.mkdir(parents=True)
        self.port = free_port()
        config = self.path / "conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self.path.absolute()}", sync_interval: always }}\n'
        )
        self.server = subprocess.Popen(
            [server, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 0.1),
            ):
                break
            time.sleep(0.05)

    def one(self, count: int) -> float:
        return asyncio.run(self.publish(1, count))

    def many(self, clients: int, count: int) -> float:
        return asyncio.run(self.publish(clients, count))

    async def publish(self, clients: int, count: int) -> float:
        import nats

        connection = await nats.connect(f"nats://127.0.0.1:{self.port}")
        stream = connection.jetstream()
        with contextlib.suppress(Exception):
            await stream.add_stream(name="log", subjects=["log"])

        async def client() -> None:
            for _ in range(count):
                await stream.publish("log", DATA)

        started = time.perf_counter()
        await asyncio.gather(*[client() for _ in range(clients)])
        seconds = time.perf_counter() - started
        await connection.close()
        return clients * count / seconds

    def close(self) -> None:
        self.server.terminate()
        self.server.wait()


def free_port() -> int:
    """A port on loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def contestants(setting: Setting, *, servers: bool) -> Iterator[tuple[list[Any], list[str]]]:
    """The peers that are here, ready; and why the others are not."""
    ready: list[Any] = []
    absent: list[str] = []
    kinds: list[Any] = [Sqlite, Lmdb, Rocks, *([Postgres, Nats] if servers else [])]
    try:
        for kind in kinds:
            try:
                ready.append(kind(setting))
            except (ImportError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
                absent.append(f"{kind.name}: {error}")
        yield ready, absent
    finally:
        for peer in ready:
            if hasattr(peer, "close"):
                peer.close()
