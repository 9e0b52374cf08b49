"""Dramatiq and arq: queues of jobs in Redis, with every write synced before the answer."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from bench.jobs_frame import (
    CLIENTS,
    POLL,
    UNRUN,
    AsyncSend,
    CoroutinePeer,
    Send,
    Starts,
    ThreadPeer,
    marker,
    now,
    run,
)
from bench.measure import Setting
from bench.peers import free_port

PIECE = 10_000
"""Pending jobs written at once."""


class Redis:
    """A server of its own: every write in its append-only file, synced before the answer."""

    def __init__(self, setting: Setting) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError(
                "redis-server is not installed; enable with: sudo apt-get install redis-server"
            )
        path = setting.fresh("redis").absolute()
        path.mkdir(parents=True)
        self.port = free_port()
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly yes --appendfsync always"
        self.server = subprocess.Popen(
            [program, *options.split(), "--save", "", "--dir", str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 0.1),
            ):
                return
            time.sleep(0.05)
        self.close()
        raise RuntimeError("redis-server does not answer")

    def close(self) -> None:
        self.server.terminate()
        self.server.wait()


def dramatiq_actor(port: int, noop: Callable[[int], None]) -> Any:
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker = RedisBroker(host="127.0.0.1", port=port)
    broker.add_middleware(
        Results(
            backend=RedisBackend(client=broker.client, use_namespace_prefix_keys=True),
            store_results=True,
        )
    )
    return dramatiq.actor(noop, actor_name="noop", broker=broker)


def dramatiq_worker(port: int, starts: Starts, ready: Any) -> None:
    import dramatiq

    actor = dramatiq_actor(port, marker(starts))
    dramatiq.Worker(actor.broker, worker_threads=8, worker_timeout=int(POLL * 1000)).start()
    ready.release()
    threading.Event().wait()


class Dramatiq(ThreadPeer):
    """64 threads enqueue; two processes of 8 threads, results in Redis, looks every 10 ms."""

    name = "Dramatiq on Redis"
    unscheduled = "its workers hold what is delayed in memory, the first 65,535 by age at the most"

    def __init__(self, server: Redis) -> None:
        self.port = server.port
        self.actor = dramatiq_actor(self.port, UNRUN)
        self.db = self.actor.broker.client

    def work(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        return dramatiq_worker, (self.port,)

    @contextlib.contextmanager
    def clients(self, number: int) -> Iterator[list[Send]]:
        yield [self.actor.send] * number

    def clear(self) -> None:
        self.db.flushall()

    def recorded(self) -> int:
        """One key to a result; a message goes once its result is there."""
        if self.db.hlen("dramatiq:default.msgs"):
            return 0
        return sum(1 for _ in self.db.scan_iter("dramatiq-results:*", count=10_000))


def arq_worker(port: int, starts: Starts, ready: Any) -> None:
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    noop = marker(starts)

    async def task(_: Any, index: int) -> None:
        noop(index)

    async def work() -> None:
        worker = Worker(
            functions=[func(task, name="noop")],
            redis_settings=RedisSettings(port=port),
            handle_signals=False,
            log_results=False,
            max_jobs=CLIENTS,
            poll_delay=POLL,
        )
        asyncio.get_running_loop().call_later(0.2, ready.release)
        await worker.async_run()

    logging.getLogger("arq").setLevel(logging.ERROR)
    run(work())


class Arq(CoroutinePeer):
    """64 coroutines enqueue; one worker of 64 jobs, which looks every 10 ms (half a second is the
    default). A second worker slows the first: both try each job."""

    name = "arq on Redis"
    processes = 1

    def __init__(self, server: Redis) -> None:
        import redis

        self.port = server.port
        self.db = redis.Redis(port=self.port)

    def work(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        return arq_worker, (self.port,)

    @contextlib.asynccontextmanager
    async def clients(self, number: int) -> AsyncIterator[list[AsyncSend]]:
        from arq.connections import RedisSettings, create_pool

        pool = await create_pool(RedisSettings(port=self.port))
        yield [functools.partial(pool.enqueue_job, "noop")] * number
        await pool.aclose()

    def clear(self) -> None:
        self.db.flushall()

    def recorded(self) -> int:
        """A job leaves the queue in the transaction that keeps its result."""
        if self.db.zcard("arq:queue"):
            return 0
        return sum(1 for _ in self.db.scan_iter("arq:result:*", count=10_000))

    def fill(self, pending: int, when: float) -> None:
        self.write(pending, when, "pending-", lambda _: 0)

    def plan(self, due: int, when: float) -> None:
        self.write(due, when, "due-", lambda index: index)

    def write(self, count: int, when: float, prefix: str, argument: Callable[[int], int]) -> None:
        """What enqueue_job writes, without waiting for each."""
        from arq.jobs import serialize_job

        made = int(now() * 1000)
        for first in range(0, count, PIECE):
            pipe = self.db.pipeline(transaction=False)
            for index in range(first, min(first + PIECE, count)):
                job = serialize_job("noop", (argument(index),), {}, None, made)
                pipe.psetex(f"arq:job:{prefix}{index}", 200_000_000, job)
                pipe.zadd("arq:queue", {f"{prefix}{index}": int(when * 1000)})
            pipe.execute()

    def close(self) -> None:
        self.db.close()
