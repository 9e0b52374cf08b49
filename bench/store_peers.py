"""The peers of the store: a durable read-modify-write of one of `ACCOUNTS` rows, one commit each.

A row has a key of 16 bytes and a value of 100, a number and padding."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from typing import Any

from bench.measure import Setting, in_threads, rate

ACCOUNTS = 10_000
PADDING = b"x" * 92


def key(number: int) -> bytes:
    """Of an account; 16 bytes, not in the order of the numbers."""
    return b"%016d" % (number * 7919 % ACCOUNTS)


def raised(value: bytes) -> bytes:
    """The value with its number one higher."""
    return (int.from_bytes(value[:8], "big") + 1).to_bytes(8, "big") + value[8:]


FIRST = bytes(8) + PADDING


class SqliteTable:
    """WAL mode, synchronous=FULL."""

    name = "sqlite3"

    def __init__(self, setting: Setting) -> None:
        path = setting.fresh("sqlite-table")
        path.mkdir(parents=True)
        self.db = sqlite3.connect(path / "db", isolation_level=None, check_same_thread=False)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute("pragma synchronous=full")
        self.db.execute("create table accounts (id blob primary key, value blob) without rowid")
        rows = [(key(number), FIRST) for number in range(ACCOUNTS)]
        self.db.execute("begin")
        self.db.executemany("insert into accounts values (?, ?)", rows)
        self.db.execute("commit")

    def bump(self, number: int) -> None:
        self.db.execute("begin immediate")
        at = (key(number),)
        (value,) = self.db.execute("select value from accounts where id = ?", at).fetchone()
        self.db.execute("update accounts set value = ? where id = ?", (raised(value), *at))
        self.db.execute("commit")


class LmdbTable:
    """The default: every transaction synced."""

    name = "lmdb"

    def __init__(self, setting: Setting) -> None:
        import lmdb

        path = setting.fresh("lmdb-table")
        path.mkdir(parents=True)
        self.env = lmdb.open(str(path), map_size=1 << 31)
        with self.env.begin(write=True) as transaction:
            for number in range(ACCOUNTS):
                transaction.put(key(number), FIRST)

    def bump(self, number: int) -> None:
        with self.env.begin(write=True) as transaction:
            transaction.put(key(number), raised(transaction.get(key(number)) or b""))


class RocksTable:
    """rocksdict in raw mode, with its WAL, synced."""

    name = "rocksdict"

    def __init__(self, setting: Setting) -> None:
        from rocksdict import Options, Rdict, WriteOptions

        path = setting.fresh("rocks-table")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.db = Rdict(str(path), Options(raw_mode=True))
        for number in range(ACCOUNTS):
            self.db[key(number)] = FIRST
        options = WriteOptions()
        options.sync = True
        self.db.set_write_options(options)

    def bump(self, number: int) -> None:
        self.db[key(number)] = raised(self.db[key(number)])


class DiskcacheTable:
    """As it comes, but with synchronous=FULL."""

    name = "diskcache"

    def __init__(self, setting: Setting) -> None:
        import diskcache

        path = setting.fresh("diskcache-table")
        self.cache = diskcache.Cache(str(path), sqlite_synchronous=2, eviction_policy="none")
        with self.cache.transact():
            for number in range(ACCOUNTS):
                self.cache[key(number)] = FIRST

    def bump(self, number: int) -> None:
        with self.cache.transact():
            self.cache[key(number)] = raised(self.cache[key(number)])


class ZodbTable:
    """A BTree in a FileStorage, a transaction each."""

    name = "ZODB"

    def __init__(self, setting: Setting) -> None:
        import transaction
        import ZODB.FileStorage
        from BTrees.OOBTree import OOBTree

        path = setting.fresh("zodb-table")
        path.mkdir(parents=True)
        database = ZODB.DB(ZODB.FileStorage.FileStorage(str(path / "data.fs")))
        self.root = database.open().root()
        self.root["accounts"] = OOBTree({key(number): FIRST for number in range(ACCOUNTS)})
        self.commit: Callable[[], None] = transaction.commit
        self.commit()

    def bump(self, number: int) -> None:
        accounts = self.root["accounts"]
        accounts[key(number)] = raised(accounts[key(number)])
        self.commit()


class PostgresTable:
    """Default durability, one prepared statement; 64 connections, or one."""

    name = "PostgreSQL"

    def __init__(self, server: Any) -> None:
        self.connections = [server.connect() for _ in range(64)]
        one = self.connections[0]
        one.execute("create table if not exists accounts (id bytea primary key, value bytea)")
        one.execute("truncate accounts")
        with one.cursor() as cursor:
            cursor.executemany(
                "insert into accounts values (%s, %s)",
                [(key(number), FIRST) for number in range(ACCOUNTS)],
            )

    def bump(self, number: int, connection: int = 0) -> None:
        with self.connections[connection].transaction():
            run = self.connections[connection].execute
            row = run("select value from accounts where id = %s for update", (key(number),))
            value = raised(row.fetchone()[0])
            run("update accounts set value = %s where id = %s", (value, key(number)))

    def many(self, each: int) -> float:
        def work(thread: int) -> None:
            for number in range(each):
                self.bump(thread * each + number, thread)

        return rate(64 * each, lambda: in_threads(64, work))

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


def tables(setting: Setting, servers: list[Any]) -> tuple[list[Any], list[str]]:
    """The peers that are here, ready; and why the others are not."""
    ready: list[Any] = []
    absent: list[str] = []
    kinds: list[Any] = [SqliteTable, LmdbTable, RocksTable, DiskcacheTable, ZodbTable]
    for kind in kinds:
        try:
            ready.append(kind(setting))
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            absent.append(f"{kind.name}: {error}")
    ready += [PostgresTable(server) for server in servers if server.name == "PostgreSQL"]
    return ready, absent


def one_by_one(peer: Any, count: int) -> float:
    """Transactions a second of one caller."""

    def work() -> None:
        for number in range(count):
            peer.bump(number)

    return rate(count, work)
