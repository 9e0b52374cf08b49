"""How a peer of `walnut.jobs` is measured; `bench/jobs_peers.py` gathers them.

    this process                          the peer's workers: processes of their own
    ────────────                          ─────────────────────────────────────────
    64 clients ── enqueue(index) ──▶ the peer's queue ──▶ noop(index)
         │                                                    │ starts[index] = now
         └── waits until starts is full  ◀── shared memory ───┘
             and recorded() says that every result is kept

A job is told its index and writes the time it started at there. One clock serves all processes, so
starts[index] less the time of the call that enqueued is the latency, the durable commit included.
Workers are up, and have settled, before a clock starts. Nothing here keeps a job's result: a peer
does, in its own store, with its own fsync."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, NamedTuple, TypeVar

from bench.measure import in_threads

CLIENTS = 64
"""Who enqueue at once, where a figure does not say."""

POLL = 0.01
"""Seconds between looks of a worker that has no notification. Ten to five hundred times as often as
the peers' defaults: it favours their latency and costs them little."""

SETTLE = 0.5
"""Seconds from the last worker's word that it is ready: listeners connect a moment later."""

LIMIT = 600.0
"""Seconds after which a measure is given up, with a TimeoutError."""

PATIENCE = 60.0
"""Seconds that jobs which are due may be late: some peers look at all that is pending for each."""

FAR = 86_400.0
"""Seconds until the jobs that are only pending would be due."""

now = time.time

Starts = Any  # ctypes' array of doubles, which type checkers do not know by name
Send = Callable[[int], object]
AsyncSend = Callable[[int], Awaitable[object]]
T = TypeVar("T")

SPAWN = multiprocessing.get_context("spawn")


def marker(starts: Starts) -> Callable[[int], None]:
    """The no-op job of a worker process."""

    def noop(index: int) -> None:
        starts[index] = now()

    return noop


UNRUN = marker(None)
"""The job as those who only enqueue know it."""


class Latency(NamedTuple):
    """Seconds."""

    p50: float
    p99: float


class Lateness(NamedTuple):
    """Seconds after the time they were due for, and how many a second were started."""

    p50: float
    p99: float
    rate: float


class Peer:
    """One contestant. What differs is below the line."""

    name: str
    processes = 2
    unscheduled = ""  # why it has no `scheduled`

    def enqueue(self, count: int, clients: int) -> float:
        """Durable single enqueues a second."""
        self.clear()
        begun, ended = self.flood(count // clients, clients)
        return count // clients * clients / (ended - begun)

    def complete(self, count: int) -> float:
        """No-op jobs a second, from the first enqueue to the last recorded result."""
        self.clear()
        count = count // CLIENTS * CLIENTS
        with self.workers(count) as starts:
            begun, _ = self.flood(count // CLIENTS, CLIENTS)
            wait(lambda: 0.0 not in starts)
            wait(lambda: self.recorded() >= count)
            return count / (now() - begun)

    def start_latency(self, count: int, rate: float) -> Latency:
        """From the call that enqueues to the job's first line, at so many a second."""
        self.clear()
        with self.workers(count) as starts:
            sent = self.pace(count, rate)
            wait(lambda: 0.0 not in starts)
            took = [start - at for start, at in zip(starts, sent, strict=True)]
        return Latency(*percentiles(took))

    def scheduled(self, pending: int, due: int) -> Lateness:
        """How late `due` jobs of one due time start, with `pending` more for tomorrow. One that has
        not started after `PATIENCE` counts as that late, which is then a lower bound."""
        assert not self.unscheduled, self.unscheduled
        self.clear()
        self.fill(pending, now() + FAR)
        with self.workers(due) as starts:
            when = now() + 5 + due / 200
            self.plan(due, when)
            if now() > when:
                raise RuntimeError(f"{self.name}: planning {due} jobs took too long")
            wait(lambda: 0.0 not in starts or now() > when + PATIENCE)
            given_up = now()
            started = sum(1 for start in starts if start)
            late = [(start or given_up) - when for start in starts]
        return Lateness(*percentiles(late), started / max(late))

    @contextlib.contextmanager
    def workers(self, count: int) -> Iterator[Starts]:
        """The peer's workers, ready; and the array their jobs write to."""
        starts, ready = SPAWN.RawArray("d", count), SPAWN.Semaphore(0)
        work, arguments = self.work()
        running = [
            SPAWN.Process(target=child, args=(work, *arguments, starts, ready), daemon=True)
            for _ in range(self.processes)
        ]
        try:
            for process in running:
                process.start()
            for _ in running:
                if not ready.acquire(timeout=60):
                    raise RuntimeError(f"{self.name}: a worker did not start")
            time.sleep(SETTLE)
            yield starts
        finally:
            for process in running:
                process.kill()
                process.join()

    # ---- what each peer brings

    def work(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        """A worker's function and its first arguments; then follow starts and ready."""
        raise NotImplementedError

    def clear(self) -> None:
        """Nothing is queued and nothing recorded."""
        raise NotImplementedError

    def recorded(self) -> int:
        """How many results are kept."""
        raise NotImplementedError

    def flood(self, each: int, clients: int) -> tuple[float, float]:
        """Enqueue from so many clients; when it began and ended."""
        raise NotImplementedError

    def pace(self, count: int, rate: float) -> list[float]:
        """Enqueue from one client at so many a second; when each call began."""
        raise NotImplementedError

    def fill(self, pending: int, when: float) -> None:
        """So many jobs for that time, by whatever is quickest."""
        raise NotImplementedError

    def plan(self, due: int, when: float) -> None:
        """Jobs 0 to `due` for that time, by the peer's own means."""
        raise NotImplementedError

    def close(self) -> None:
        """What is held open."""


class ThreadPeer(Peer):
    """Clients are threads."""

    def clients(self, number: int) -> AbstractContextManager[list[Send]]:
        """What each client calls to enqueue."""
        raise NotImplementedError

    def flood(self, each: int, clients: int) -> tuple[float, float]:
        with self.clients(clients) as sends:

            def client(number: int) -> None:
                for index in range(number * each, (number + 1) * each):
                    sends[number](index)

            begun = now()
            in_threads(clients, client)
            return begun, now()

    def pace(self, count: int, rate: float) -> list[float]:
        sent = []
        with self.clients(1) as (send,):
            begun = now()
            for index in range(count):
                time.sleep(max(0.0, begun + index / rate - now()))
                sent.append(now())
                send(index)
        return sent


class CoroutinePeer(Peer):
    """Clients are coroutines."""

    def clients(self, number: int) -> AbstractAsyncContextManager[list[AsyncSend]]:
        """What each client awaits to enqueue."""
        raise NotImplementedError

    def flood(self, each: int, clients: int) -> tuple[float, float]:
        async def all_of_them() -> tuple[float, float]:
            async with self.clients(clients) as sends:

                async def client(number: int) -> None:
                    for index in range(number * each, (number + 1) * each):
                        await sends[number](index)

                begun = now()
                await asyncio.gather(*[client(number) for number in range(clients)])
                return begun, now()

        return run(all_of_them())

    def pace(self, count: int, rate: float) -> list[float]:
        async def one() -> list[float]:
            sent = []
            async with self.clients(1) as (send,):
                begun = now()
                for index in range(count):
                    await asyncio.sleep(max(0.0, begun + index / rate - now()))
                    sent.append(now())
                    await send(index)
            return sent

        return run(one())


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """On the fastest loop that is here."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    result: T = uvloop.run(coroutine)
    return result


def child(work: Callable[..., None], *arguments: Any) -> None:
    """A process that does not outlive its parent, killed or not."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    work(*arguments)


def wait(done: Callable[[], bool]) -> None:
    """Look every 20 ms until it is so."""
    until = now() + LIMIT
    while not done():
        if now() > until:
            raise TimeoutError(f"not done in {LIMIT:.0f} s")
        time.sleep(0.02)


def percentiles(values: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[len(ordered) * 99 // 100]
