"""The rows of the table that are about topics, one function each; beside Redis Streams and JetStream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.jobs_redis import Redis
from bench.measure import Row, Setting, medians
from bench.peers import Nats
from walnut.store import Store
from walnut.topics import Topics

Peers = list[Any]
DATA = bytes(100)
CLIENTS = 256
BATCH = 1000
XADD = "Redis Streams, appendfsync always"


def run_of(coroutine: Any) -> Any:
    """Run on the faster event loop, if it is here."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)


async def at_once(clients: int, total: int, publish: Callable[[], Any]) -> float:
    """How many publishes a second, of `total` by so many coroutines."""

    async def client() -> None:
        for _ in range(total // clients):
            await publish()

    started = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(clients)])
    return total // clients * clients / (time.perf_counter() - started)


def publishes(setting: Setting, peers: Peers) -> list[Row]:
    """Durable publishes of 100 bytes, and of batches of a thousand."""
    total, batches = setting.count(100_000), setting.count(200)
    with Store(setting.fresh("topics")) as store:
        topics = Topics(store)
        for name in ("single", "batch"):
            store.call(topics.create, name)
        batch = [DATA] * BATCH

        def single() -> float:
            publish = at_once(CLIENTS, total, lambda: topics.publish("single", DATA))
            return float(run_of(publish))

        def many() -> float:
            publish = at_once(1, batches, lambda: topics.publish("batch", batch))
            return BATCH * float(run_of(publish))

        runs: dict[str, Callable[[], float]] = {"single": single, "batch": many}
        nats = [peer for peer in peers if isinstance(peer, Nats)]
        for peer in nats:
            runs[peer.name] = partial(peer.many, CLIENTS, max(1, total // 10 // CLIENTS))
        redis = _redis(setting, peers)
        if redis is not None:
            runs[XADD] = lambda: float(run_of(_xadd(redis.port, total // 10)))
            runs["pipelined"] = lambda: float(run_of(_xadd_batches(redis.port, batches // 5)))
        try:
            got = medians(runs, setting.rounds)
        finally:
            if redis is not None:
                redis.close()
    what, together = "topics: publish, 256 coroutines", "topics: publish, batches of 1,000"
    rows = [
        Row(what, got["single"], 40_000, "40,000 a second", "/s", 1),
        Row(together, got["batch"], 1_000_000, "1,000,000 records a second", "/s", 1),
    ]
    rows += [Row(what, got["single"], got[p.name], p.name, "/s") for p in nats]
    if redis is not None:
        rows.append(Row(what, got["single"], got[XADD], XADD, "/s"))
        rows.append(Row(together, got["batch"], got["pipelined"], f"{XADD}, pipelined", "/s"))
    return rows


def _redis(setting: Setting, peers: Peers) -> Redis | None:
    """A server, if servers are measured and it is here."""
    if not any(isinstance(peer, Nats) for peer in peers):
        return None
    try:
        return Redis(setting)
    except RuntimeError:
        return None


async def _xadd(port: int, total: int) -> float:
    import redis.asyncio

    client = redis.asyncio.Redis(port=port, max_connections=CLIENTS)
    try:
        return await at_once(CLIENTS, total, lambda: client.xadd("single", {"v": DATA}))
    finally:
        await client.aclose()


async def _xadd_batches(port: int, batches: int) -> float:
    import redis.asyncio

    client = redis.asyncio.Redis(port=port)

    async def batch() -> None:
        pipeline = client.pipeline(transaction=False)
        for _ in range(BATCH):
            pipeline.xadd("batch", {"v": DATA})
        await pipeline.execute()

    try:
        return BATCH * await at_once(1, max(1, batches), batch)
    finally:
        await client.aclose()


def reads(setting: Setting, _: Peers) -> list[Row]:
    """A topic read from its beginning to its end."""
    batches = setting.count(500)
    with Store(setting.fresh("topics-read")) as store:
        topics = Topics(store)
        store.call(topics.create, "t")
        for _number in range(batches):
            store.call(topics.append, "t", [DATA] * BATCH)
        store.checkpoint()

        def read() -> float:
            started, at = time.perf_counter(), 0
            while (part := topics.read(store, "t", at)).messages:
                at = part.next
            return at / (time.perf_counter() - started)

        rate = medians({"read": read}, setting.rounds)["read"]
    return [
        Row("topics: sequential read", rate, 1_000_000, "1,000,000 records a second", "/s", 1),
        Row("topics: sequential read", rate * len(DATA) / 1e6, 100, "100 MB/s", " MB/s", 1),
    ]


def tails(setting: Setting, _: Peers) -> list[Row]:
    """From a publish to its receipt by a tail of the same event loop, beside the publish alone."""
    count = setting.count(5000)

    async def measure(topics: Topics) -> tuple[list[float], list[float]]:
        await topics.store.run(topics.create, "t")
        received: list[float] = []
        answered: list[float] = []

        async def tail() -> None:
            async for message in topics.afollow("t", "earliest"):
                received.append(1000 * (time.perf_counter() - float(message.value)))
                if len(received) == count:
                    return

        following = asyncio.create_task(tail())
        for _number in range(count):
            started = time.perf_counter()
            await topics.publish("t", repr(started).encode())
            answered.append(1000 * (time.perf_counter() - started))
        await following
        return sorted(received), sorted(answered)

    with Store(setting.fresh("topics-tail")) as store:
        received, answered = run_of(measure(Topics(store)))
    return [
        Row(f"topics: publish to receipt, p{part}", received[count * part // 100],
            answered[count * part // 100], "publish to answer", " ms", None, "less")
        for part in (50, 99)
    ]  # fmt: skip


TOPICS_ROWS: dict[str, Callable[[Setting, Peers], list[Row]]] = {
    "topics-publish": publishes,
    "topics-read": reads,
    "topics-tail": tails,
}
