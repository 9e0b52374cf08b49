"""fsync on the event loop froze every other task (reyn#1753, hermes-webui#2096): ours is never
there, not even when the disk is slow, full of rolls, or the buffer is full."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from walnut.log import Log, LogError, LogOptions
from walnut.log.errors import BufferFull


def slow_disk(monkeypatch: pytest.MonkeyPatch, seconds: float) -> set[int]:
    """Slow fdatasync and fsync down; gives the ids of the threads that call them, from now on."""
    threads: set[int] = set()

    def slowed(call: Callable[[int], None]) -> Callable[[int], None]:
        def sync(fd: int) -> None:
            threads.add(threading.get_ident())
            time.sleep(seconds)
            call(fd)

        return sync

    monkeypatch.setattr(os, "fdatasync", slowed(os.fdatasync))
    monkeypatch.setattr(os, "fsync", slowed(os.fsync))
    return threads


def test_other_tasks_run_while_the_disk_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = 0
    beats_during_waits: list[int] = []

    async def heartbeat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    async def work(log: Log) -> None:
        for _ in range(4):
            before = beats
            await log.submit(bytes(1000))
            beats_during_waits.append(beats - before)

    async def main(log: Log) -> None:
        heart = asyncio.create_task(heartbeat())
        await asyncio.gather(*[work(log) for _ in range(20)])
        heart.cancel()

    options = LogOptions(segment_bytes=32 * 1024)
    with Log(tmp_path, options) as log:
        threads = slow_disk(monkeypatch, 0.05)
        asyncio.run(main(log))
        monkeypatch.undo()
        assert log.metrics.rolls
        assert threads
        assert threading.get_ident() not in threads
        assert len(beats_during_waits) == 80
        assert min(beats_during_waits) > 3, "the loop turned while each of them waited"


def test_a_full_buffer_never_makes_the_loop_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(log: Log) -> int:
        refused = 0
        tickets = []
        for _ in range(200):
            try:
                ticket = log.submit(bytes(900))
            except BufferFull:
                refused += 1
            else:
                tickets.append(ticket)
        for ticket in tickets:
            await ticket
        return refused

    options = LogOptions(record_bytes=10_000, buffer_bytes=20_000)
    with Log(tmp_path, options) as log:
        threads = slow_disk(monkeypatch, 0.01)
        assert asyncio.run(main(log))
        monkeypatch.undo()
        assert threads
        assert threading.get_ident() not in threads


def test_two_loops_and_threads_share_one_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops: set[int] = set()
    lsns: list[int] = []

    async def work(log: Log) -> None:
        loops.add(threading.get_ident())
        for _ in range(20):
            lsns.append(await log.submit(b"x"))

    async def main(log: Log) -> None:
        await asyncio.gather(*[work(log) for _ in range(10)])

    def append(log: Log) -> None:
        lsns.extend(log.append(b"y") for _ in range(20))

    with Log(tmp_path) as log:
        threads = slow_disk(monkeypatch, 0.001)
        callers = [threading.Thread(target=lambda: asyncio.run(main(log))) for _ in range(2)]
        callers += [threading.Thread(target=append, args=(log,)) for _ in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)
            assert not caller.is_alive()
        monkeypatch.undo()
        assert sorted(lsns) == list(range(1, 461))
        assert len(loops) == 2
        assert not loops & threads


def test_what_would_block_the_loop_is_refused_by_name(tmp_path: Path) -> None:
    async def main(log: Log) -> None:
        ticket = log.submit(b"x")
        calls: dict[str, Callable[[], object]] = {
            "append ": lambda: log.append(b"x"),
            "append_many ": lambda: log.append_many([b"x"]),
            "sync ": log.sync,
            "tail ": lambda: next(iter(log.tail(1))),
            "truncate_before ": lambda: log.truncate_before(1),
            "truncate_after ": lambda: log.truncate_after(0),
            "waiting for a ticket ": ticket.wait,
        }
        for name, call in calls.items():
            with pytest.raises(LogError, match=f"^{name}.*event loop.*use `"):
                call()
        assert await ticket == 1
        assert ticket.wait() == 1, "there is nothing to wait for"

    with Log(tmp_path) as log:
        asyncio.run(main(log))
        assert log.next_lsn == 2, "nothing of what was refused was kept"


def test_a_loop_does_not_wait_for_the_turn_of_another_one(tmp_path: Path) -> None:
    submitted, answered = threading.Event(), threading.Event()

    async def long_turn(log: Log) -> None:
        ticket = log.submit(b"by a turn that goes on")
        submitted.set()
        assert answered.wait(30), "the other loop waited for this turn to end"
        await ticket

    async def main(log: Log) -> int:
        return await asyncio.wait_for(asyncio.ensure_future(wait(log)), 20)

    async def wait(log: Log) -> int:
        return await log.submit(b"in the same batch")

    with Log(tmp_path) as log:
        other = threading.Thread(target=lambda: asyncio.run(long_turn(log)))
        other.start()
        assert submitted.wait(30)
        try:
            assert asyncio.run(main(log)) == 2
        finally:
            answered.set()
            other.join(30)


def test_a_deferred_record_is_flushed_for_a_coroutine_that_awaits_it(tmp_path: Path) -> None:
    async def main(log: Log) -> int:
        return await asyncio.wait_for(asyncio.ensure_future(wait(log)), 20)

    async def wait(log: Log) -> int:
        return await log.submit(b"x", defer=True)

    with Log(tmp_path) as log:
        assert asyncio.run(main(log)) == 1
        assert log.durable_lsn == 1
