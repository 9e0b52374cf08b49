"""The rows of the table, one function each."""

from __future__ import annotations

import asyncio
import functools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crc32c import crc32c

import walnut
from bench.limits import bare_disk, memory_copy, thread_wakes
from bench.measure import Row, Setting, in_threads, medians, rate
from walnut.log.frame import HEADER_BYTES

DATA = b"x" * 100
Peers = list[Any]


def named(peers: Peers, name: str) -> Any:
    """The peer of this name, or None."""
    return next((peer for peer in peers if peer.name == name), None)


def single(setting: Setting, peers: Peers) -> list[Row]:
    """One thread, one durable record at a time."""
    count = setting.count(3000)
    with walnut.Log(setting.fresh("single")) as log:
        log.append(DATA)

        def ours() -> float:
            return rate(count, lambda: [log.append(DATA) for _ in range(count)])

        runs: dict[str, Callable[[], float]] = {
            "ours": ours,
            "limit": lambda: bare_disk(setting.folder / "limit", len(DATA) + HEADER_BYTES, count),
        }
        runs |= {peer.name: (lambda peer=peer: peer.one(setting.count(500))) for peer in peers}
        got = medians(runs, setting.rounds)
    mine, limit = got.pop("ours"), got.pop("limit")
    rows = [Row("1 thread, durable append", mine, limit, "bare pwrite+fdatasync", "/s", 0.85)]
    return rows + [
        Row("1 thread, durable append", mine, got[name], name, "/s", 1.0) for name in got
    ]


def threads(setting: Setting, peers: Peers) -> list[Row]:
    """64 threads, each waiting for its record."""
    each = setting.count(300)
    with walnut.Log(setting.fresh("threads")) as log:

        def work(_: int) -> None:
            for _ in range(each):
                log.append(DATA)

        runs: dict[str, Callable[[], float]] = {
            "ours": lambda: rate(64 * each, lambda: in_threads(64, work)),
            "wakes": lambda: thread_wakes(64, each),
        }
        for peer in peers:
            runs[peer.name] = functools.partial(peer.many, 64, max(1, setting.count(30)))
        got = medians(runs, setting.rounds)
    mine, wakes = got.pop("ours"), got.pop("wakes")
    what = "64 threads, durable append"
    rows = [Row(what, mine, wakes, "64 threads waking each other, no disk", "/s")]
    if got:
        best = max(got, key=lambda name: got[name])
        rows.append(Row(what, mine, got[best], f"{best} (best of peers)", "/s", 8.0))
    return rows


def coroutines(setting: Setting, peers: Peers) -> list[Row]:
    """256 and 1024 coroutines, each awaiting its record."""
    loops: dict[str, Callable[[Any], Any]] = {"asyncio": asyncio.run}
    try:
        import uvloop

        loops["uvloop"] = uvloop.run
    except ImportError:
        pass
    total = setting.count(100_000)
    with walnut.Log(setting.fresh("coroutines")) as log:

        async def submit(clients: int) -> float:
            async def client() -> None:
                for _ in range(total // clients):
                    await log.submit(DATA)

            started = time.perf_counter()
            await asyncio.gather(*[client() for _ in range(clients)])
            return total // clients * clients / (time.perf_counter() - started)

        runs: dict[str, Callable[[], float]] = {
            f"{clients} coroutines, {name}": functools.partial(
                lambda go, n: go(submit(n)), run, clients
            )
            for clients in (256, 1024)
            for name, run in loops.items()
        }
        ours = list(runs)
        single_sqlite = named(peers, "sqlite3")
        runs["sqlite3"] = lambda: single_sqlite.one(setting.count(500))
        concurrent = {
            p.name: (lambda p=p: p.many(256, max(1, setting.count(10))))
            for p in peers
            if p.name != "sqlite3"
        }
        runs |= concurrent
        got = medians(runs, setting.rounds)
    best = max(concurrent, key=lambda name: got[name]) if concurrent else None
    rows = []
    for name in ours:
        rows.append(Row(name, got[name], got["sqlite3"], "sqlite3, single commits", "/s", 100))
        if best:
            rows.append(Row(name, got[name], got[best], f"{best}, 256 clients (best)", "/s", 20))
    return rows


def bulk(setting: Setting, peers: Peers) -> list[Row]:
    """Groups of 1000 records."""
    groups = setting.count(200)
    group = [DATA] * 1000
    rocks = named(peers, "rocksdict")
    rows = []
    for policy in ("always", "os"):
        with walnut.Log(setting.fresh("bulk"), walnut.LogOptions(sync=policy)) as log:

            def ours(log: walnut.Log = log) -> float:
                return rate(groups * 1000, lambda: [log.append_many(group) for _ in range(groups)])

            runs: dict[str, Callable[[], float]] = {"ours": ours}
            if rocks is not None:
                rocks.sync(on=policy == "always")
                runs["rocks"] = lambda: rocks.groups(setting.count(50), 1000)
            got = medians(runs, setting.rounds)
            if rocks is not None:
                rocks.sync(on=True)
                what = "synced each" if policy == "always" else "synced lazily"
                rows.append(
                    Row(
                        f"groups of 1000, {what}",
                        got["ours"],
                        got["rocks"],
                        "rocksdict WriteBatch",
                        "/s",
                        3,
                    )
                )
    return rows


def large(setting: Setting, _: Peers) -> list[Row]:
    """64 KiB records: into new segments, which are zeroed while their predecessors are written, and
    into recycled ones, which is what a log does that forgets as it goes."""
    count = setting.count(1600)
    data = os.urandom(64 << 10)
    runs: dict[str, Callable[[], float]] = {}
    keep = walnut.Retention(bytes=128 << 20)
    with (
        walnut.Log(setting.fresh("new")) as new,
        walnut.Log(setting.fresh("recycled"), walnut.LogOptions(retention=keep)) as recycled,
    ):
        for group in (1, 16):
            records = [data] * group
            for name, log in (("new", new), ("recycled", recycled)):

                def ours(log: walnut.Log = log, records: list[bytes] = records) -> float:
                    groups = count // len(records)
                    each = len(records) << 16
                    return each * rate(
                        groups, lambda: [log.append_many(records) for _ in range(groups)]
                    )

                runs[f"{name} {group}"] = ours
            runs[f"limit {group}"] = functools.partial(
                lambda size, groups: size * bare_disk(setting.folder / "limit", size, groups),
                group << 16,
                count // group,
            )
        for _turn in range(6):  # until there are segments to recycle
            runs["recycled 16"]()
        got = medians(runs, setting.rounds)
    return [
        Row(
            f"64 KiB records, synced {how}, {name} segments",
            got[f"{name} {group}"] / 2**20,
            got[f"limit {group}"] / 2**20,
            "bare pwrite+fdatasync",
            " MiB/s",
            0.8,
        )
        for group, how in ((1, "each"), (16, "per 16"))
        for name in ("new", "recycled")
    ]


def replay(setting: Setting, peers: Peers) -> list[Row]:
    """Reading everything back."""
    count = setting.count(300) * 1000
    with walnut.Log(setting.fresh("replay")) as log:
        for _ in range(count // 1000):
            log.append_many([DATA] * 1000)

        def views() -> None:
            for _ in log.read():
                pass

        def frames() -> None:
            for frame in log.read_frames():
                for _ in frame.records():
                    pass

        runs: dict[str, Callable[[], float]] = {
            "read": lambda: rate(count, views),
            "frames": lambda: rate(count, frames),
        }
        rocks = named(peers, "rocksdict")
        if rocks is not None:
            runs["rocks"] = rocks.replay
        got = medians(runs, setting.rounds)
    rows = []
    if rocks is not None:
        rows.append(
            Row(
                "replay, read_frames()", got["frames"], got["rocks"], "rocksdict iteration", "/s", 5
            )
        )
        rows.append(
            Row(
                "replay, read(): a view each",
                got["read"],
                got["rocks"],
                "rocksdict iteration",
                "/s",
                5,
            )
        )
    size = max(16 << 20, int(setting.scale * (256 << 20)) >> 20 << 20)
    with walnut.Log(setting.fresh("pages")) as log:
        page = os.urandom(4096)
        for _ in range(size >> 20):
            log.append_many([page] * 256)

        def pages() -> None:
            for _ in log.read():
                pass

        pages()
        got = medians(
            {
                "ours": lambda: rate(size, pages),
                "copy": lambda: memory_copy(setting.folder / "copy", size),
            },
            setting.rounds,
        )
    rows.append(
        Row(
            "4 KiB records, read",
            got["ours"] / 1e9,
            got["copy"] / 1e9,
            "copying them from memory",
            " GB/s",
            0.5,
        )
    )
    return rows


CHILD = """
import os, signal, sys, walnut
log = walnut.Log(sys.argv[1])
chunk = [bytes(1000)] * 1000
for _ in range(int(sys.argv[2])):
    log.append_many(chunk)
if sys.argv[3] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
log.close()
"""


def opening(setting: Setting, _: Peers) -> list[Row]:
    """Opening after a clean stop, and after kill -9."""
    rows = []
    lengths = [64, 256, 1024] if setting.scale >= 1 else [8, 32]
    first = 0.0
    for how in ("close", "kill"):
        for megabytes in lengths if how == "kill" else lengths[-1:]:
            path = setting.fresh("open")
            subprocess.run(
                [sys.executable, "-c", CHILD, str(path), str(megabytes), how], check=False
            )
            started = time.perf_counter()
            log = walnut.Log(path)
            ms = (time.perf_counter() - started) * 1000
            scanned = log.recovery.scanned_bytes
            log.close()
            if how == "close":
                rows.append(
                    Row(f"open {megabytes} MB, closed cleanly", ms, 50, "50 ms", " ms", 1, "less")
                )
            else:
                first = first or ms
                what = f"open {megabytes} MB after kill -9 ({scanned >> 20} MiB scanned)"
                rows.append(Row(what, ms, first, f"open {lengths[0]} MB", " ms", 3, "less"))
    return rows


MEMORY = """
import sys, walnut
def rss():
    lines = dict(l.split(":", 1) for l in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) / 1024
log = walnut.Log(sys.argv[1])
page = bytes(range(256)) * 16
seen = [rss()]
for n in range(int(sys.argv[2])):
    log.append_many([page] * 256)
    if n % 16 == 0: seen.append(rss())
for n, record in enumerate(log.read()):
    if n % 4096 == 0: seen.append(rss())
print(seen[0], max(seen), rss())
log.close()
"""


def memory(setting: Setting, _: Peers) -> list[Row]:
    """Anonymous memory of a process that appends and reads 1 GiB."""
    megabytes = setting.count(1024)
    command = [sys.executable, "-c", MEMORY, str(setting.fresh("memory")), str(megabytes)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    start, most, _end = map(float, out.split())
    return [
        Row(
            f"memory, {megabytes} MiB appended and read: most",
            most,
            start,
            "at the start",
            " MiB",
            2,
            "less",
        )
    ]


def submit_cost(log: walnut.Log, company: int, times: int) -> float:
    """Microseconds that `submit` takes for each of `company` records, with no flush meanwhile."""
    costs = []
    for _ in range(times):
        waiting: list[walnut.Ticket] = []

        async def turn(waiting: list[walnut.Ticket] = waiting) -> float:
            return rate(company, lambda: waiting.extend(log.submit(DATA) for _ in range(company)))

        costs.append(1e6 / asyncio.run(turn()))
        waiting[-1].wait()
    return statistics.median(costs)


def stages(setting: Setting, _: Peers) -> list[Row]:
    """Where the time of one record goes, in a flush of one and in flushes of 256."""
    from walnut.log import frame

    rows = []
    for company in (1, 256):
        count = setting.count(20_000) // company
        records = [DATA] * company
        fields: dict[str, Any] = {
            "first_lsn": 1,
            "time": 1,
            "durable_lsn": 0,
            "epoch": 1,
            "prev_crc": 0,
            "seed": 0,
        }
        payload = b"".join(records)
        costs = {
            "encode and checksum": 1e6
            / rate(
                count * company, lambda: [frame.encode(records, **fields) for _ in range(count)]
            ),
            "checksum alone": 1e6
            / rate(count * company, lambda: [crc32c(payload) for _ in range(count)]),
        }
        with walnut.Log(setting.fresh("stages")) as log:
            many = max(20, count // 20)
            costs["submit"] = submit_cost(log, company, many)
            before = (log.metrics.write.total, log.metrics.sync.total, log.metrics.flush.total)
            whole = 1e6 / rate(
                many * company, lambda: [log.append_many(records) for _ in range(many)]
            )
            after = (log.metrics.write.total, log.metrics.sync.total, log.metrics.flush.total)
            write, sync, flush = (
                (b - a) / many / company for a, b in zip(before, after, strict=True)
            )
            costs |= {
                "encode and write": write,
                "sync": sync,
                "queue, lead and wake": whole - flush,
            }
        rows += [
            Row(f"a record among {company}: {name}", cost, whole, "the whole", " µs")
            for name, cost in costs.items()
        ]
    return rows


ROWS: dict[str, Callable[[Setting, Peers], list[Row]]] = {
    "single": single,
    "threads": threads,
    "coroutines": coroutines,
    "bulk": bulk,
    "large": large,
    "replay": replay,
    "open": opening,
    "memory": memory,
    "stages": stages,
}


def machine(folder: Path) -> str:
    """What was measured on."""
    import platform

    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "?",
    )
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    here = [m for m in mounts if str(folder.absolute()).startswith(m[1])]
    system = max(here, key=lambda m: len(m[1]))[2] if here else "?"
    return f"{os.cpu_count()} x {cpu}, Linux {platform.release()}, {system}, Python {platform.python_version()}"
