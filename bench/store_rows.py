"""The rows of the table that are about the store, one function each."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

import walnut
from bench.measure import Row, Setting, medians, rate
from bench.store_peers import ACCOUNTS, PADDING, key, one_by_one, tables
from walnut.log.disk import RealDisk
from walnut.store import RocksOptions, Store, StoreOptions, Table, Transaction
from walnut.store.care import rebuild
from walnut.store.keys import encode
from walnut.store.tables import after

Peers = list[Any]


class Account(msgspec.Struct, array_like=True):
    """Key and value as the peers have them."""

    id: bytes
    number: int
    padding: bytes


def accounts_of(store: Store) -> Table[Account]:
    return store.table("accounts", Account, key=lambda row: row.id)


def filled(store: Store, accounts: Table[Account], count: int) -> None:
    """Rows 0 to `count`, not in order, and flushed."""

    def fill(tx: Transaction, first: int) -> None:
        for number in range(first, min(first + 1000, count)):
            accounts.put(tx, Account(b"%016d" % (number * 7919 % count), 0, PADDING))

    for first in range(0, count, 1000):
        store.call(fill, first)
    store.checkpoint()


def transactions(setting: Setting, peers: Peers) -> list[Row]:
    """Durable read-modify-write transactions, one row each."""
    try:
        import uvloop

        run: Callable[[Any], Any] = uvloop.run
    except ImportError:
        run = asyncio.run
    total = setting.count(50_000)
    with Store(setting.fresh("transactions")) as store, walnut.Log(setting.fresh("log")) as log:
        accounts = accounts_of(store)
        filled(store, accounts, ACCOUNTS)

        def bump(tx: Transaction, number: int) -> int:
            account = accounts.get(tx, key(number))
            assert account is not None
            account.number += 1
            accounts.put(tx, account)
            return account.number

        async def coroutines() -> float:
            async def client(first: int) -> None:
                for number in range(first, first + total // 256):
                    await store.run(bump, number)

            started = time.perf_counter()
            await asyncio.gather(*[client(n * (total // 256)) for n in range(256)])
            return total // 256 * 256 / (time.perf_counter() - started)

        count = setting.count(2000)
        data = bytes(140)
        runs: dict[str, Callable[[], float]] = {
            "256": lambda: float(run(coroutines())),
            "one": lambda: rate(count, lambda: [store.call(bump, n) for n in range(count)]),
            "log": lambda: rate(count, lambda: [log.append(data) for _ in range(count)]),
        }
        ready, _ = tables(setting, peers)
        for peer in ready:
            runs[peer.name] = functools.partial(one_by_one, peer, setting.count(500))
            if peer.name == "PostgreSQL":
                runs["PostgreSQL, 64 connections"] = functools.partial(peer.many, setting.count(60))
        got = medians(runs, setting.rounds)
    mine, one, alone = got.pop("256"), got.pop("one"), got.pop("log")
    what = "256 coroutines, read-modify-write"
    rows = [Row(what, mine, 60_000, "60,000 a second", "/s", 1)]
    targets = {"sqlite3": 15.0, "PostgreSQL, 64 connections": 8.0}
    rows += [Row(what, mine, got[name], name, "/s", targets.get(name)) for name in got]
    what = "1 caller, read-modify-write"
    rows.append(Row(what, one, alone, "the log's own append", "/s", 0.8))
    return rows + [Row(what, one, got[name], name, "/s") for name in got if "64" not in name]


def reads(setting: Setting, _: Peers) -> list[Row]:
    """Rows read at random and in order, of 200,000 that are flushed."""
    count, sample = setting.count(200_000), setting.count(50_000)
    options = RocksOptions()
    peer = options(RealDisk(), str(setting.fresh("reads-peer")), read_only=False)
    with Store(setting.fresh("reads")) as store:
        accounts = accounts_of(store)
        filled(store, accounts, count)
        prefix = accounts.prefix
        rows = dict(store.walk(prefix, after(prefix)))
        from walnut.store.engine import Batch

        peer.write(Batch(dict(rows), []), 1)
        peer.flush()
        db: Any = peer._db  # noqa: SLF001  rocksdict itself, as it is without us
        keys = random.Random(1).sample(sorted(rows), sample)
        ids = [encoded[len(prefix) + 1 : -1] for encoded in keys]
        assert encode(ids[0]) == keys[0][len(prefix) :]

        def scan_peer() -> None:
            for _ in db.items(from_key=prefix):
                pass

        def scan_ours() -> None:
            for _ in store.walk(prefix, after(prefix)):
                pass

        def scan_rows() -> None:
            for _ in accounts.scan(store):
                pass

        got = medians(
            {
                "peer get": lambda: rate(sample, lambda: [db.get(at) for at in keys]),
                "get": lambda: rate(sample, lambda: [store.read(at) for at in keys]),
                "rows": lambda: rate(sample, lambda: [accounts.get(store, i) for i in ids]),
                "many": lambda: rate(sample, lambda: accounts.get_many(store, list(ids))),
                "peer scan": lambda: rate(count, scan_peer),
                "scan": lambda: rate(count, scan_ours),
                "scan rows": lambda: rate(count, scan_rows),
            },
            setting.rounds,
        )
    peer.close()
    get, scan = "rocksdict get", "rocksdict iterator"
    return [
        Row("point reads, bytes", got["get"], got["peer get"], get, "/s", 1 / 1.3),
        Row("point reads, decoded rows", got["rows"], got["peer get"], get, "/s"),
        Row("get_many, decoded rows", got["many"], got["peer get"], get, "/s"),
        Row("scan, bytes", got["scan"], got["peer scan"], scan, "/s", 1 / 1.5),
        Row("scan, decoded rows", got["scan rows"], got["peer scan"], scan, "/s"),
    ]


def recovery(setting: Setting, _: Peers) -> list[Row]:
    """All transactions of a log folded into new tables, as after a crash without any checkpoint."""
    count = setting.count(300_000)
    path = setting.fresh("recovery")
    with Store(path) as store:
        accounts = accounts_of(store)
        for first in range(0, count, 1000):
            answers = [
                store.submit(accounts.put, Account(b"%016d" % number, 0, PADDING))
                for number in range(first, min(first + 1000, count))
            ]
            answers[-1].wait()
    got = []
    for _round in range(min(3, setting.rounds)):
        redone = rebuild(path)
        got.append(redone.transactions / redone.seconds)
    rate_of = sorted(got)[len(got) // 2]
    return [Row("recovery, transactions", rate_of, 300_000, "300,000 a second", "/s", 1)]


def checkpoints(setting: Setting, _: Peers) -> list[Row]:
    """How long one caller's commits take while another loads, and while checkpoints run."""
    megabytes = setting.count(1024)
    options = StoreOptions(checkpoint_seconds=3600, checkpoint_bytes=1 << 40)
    with Store(setting.fresh("checkpoints"), options) as store:
        blobs = store.table("blobs", Account, key=lambda row: row.id)
        load(store, blobs, megabytes << 10, 250)
        store.checkpoint()
        running, done = threading.Event(), threading.Event()

        def work() -> None:
            for _ in range(setting.count(40)):
                load(store, blobs, 8 << 10, 5)
                running.set()
                store.checkpoint()
                running.clear()
            done.set()

        row = Account(bytes(16), 0, PADDING)
        took: dict[bool, list[float]] = {False: [], True: []}
        thread = threading.Thread(target=work)
        thread.start()
        while not done.is_set():
            before, started = running.is_set(), time.perf_counter()
            store.call(blobs.put, row)
            took[before or running.is_set()].append(1000 * (time.perf_counter() - started))
        thread.join()
    calm, busy = sorted(took[False]), sorted(took[True])
    what = f"commit during a checkpoint, {megabytes} MiB of tables"

    def at(part: int) -> Row:
        ours, theirs = busy[len(busy) * part // 100], calm[len(calm) * part // 100]
        return Row(f"{what}: p{part}", ours, theirs, "between them", " ms", None, "less")

    return [
        at(50),
        at(99),
        Row(
            f"{what}: max of {len(busy):,}", busy[-1], calm[-1], "between them", " ms", None, "less"
        ),
        Row(f"{what}: max of {len(busy):,}", busy[-1], 10, "10 ms", " ms", 1, "less"),
    ]


def load(store: Store, table: Table[Account], kilobytes: int, rows: int) -> None:
    """Rows of 1 KiB at random places, so many to a transaction."""
    value, chance = os.urandom(1000), random.Random(kilobytes)

    def fill(tx: Transaction) -> None:
        for _ in range(rows):
            table.put(tx, Account(b"%016d" % chance.randrange(1 << 40), 0, value))

    for _ in range(0, kilobytes, rows):
        store.call(fill)


MEMORY = """
import sys, os, msgspec
from bench.store_rows import Account, accounts_of
from walnut.store import RocksOptions, Store, StoreOptions
def rss():
    lines = dict(l.split(":", 1) for l in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) / 1024
seen, value = [], os.urandom(1000)
with Store(sys.argv[1]) as store:
    accounts = accounts_of(store)
    def fill(tx, first):
        for number in range(first, first + 250):
            accounts.put(tx, Account(b"%016d" % (number * 7919 % (5 << 30)), 0, value))
    start = rss()
    for first in range(0, int(sys.argv[2]) << 10, 250):
        store.call(fill, first)
        if first % 5000 == 0: seen.append(rss())
    options = RocksOptions()
    print(start, max(seen), (3 * options.memtable_bytes * 2 + 2 * options.cache_bytes) / 2**20)
"""


def memory(setting: Setting, _: Peers) -> list[Row]:
    """Anonymous memory that loading takes, beside what the options allow the tables."""
    megabytes = setting.count(5120)
    command = [sys.executable, "-c", MEMORY, str(setting.fresh("load")), str(megabytes)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    start, most, bound = map(float, out.split())
    what = f"memory, {megabytes} MiB loaded: growth"
    return [Row(what, most - start, bound, "memtables and caches allowed", " MiB", 1, "less")]


STORE_ROWS: dict[str, Callable[[Setting, Peers], list[Row]]] = {
    "store-transactions": transactions,
    "store-reads": reads,
    "store-recovery": recovery,
    "store-checkpoints": checkpoints,
    "store-memory": memory,
}
