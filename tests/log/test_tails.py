"""Following a log: every record once, in order, however many follow and however slowly."""

import asyncio
import random
import threading
import tracemalloc
from pathlib import Path

import pytest

from tests.log.helpers import SMALL
from walnut.log import Log, LogOptions, LogReader, frame, reader
from walnut.log.segment import INDEX_STEP
from walnut.log.tail import COLD

COUNT = 2000
FOLLOWERS = 6


def append_in_groups(log: Log, count: int, seed: int) -> None:
    rng = random.Random(seed)
    while log.next_lsn <= count:
        size = min(rng.randrange(1, 40), count + 1 - log.next_lsn)
        first = log.next_lsn
        log.append_many([b"%d" % (first + n) * rng.randrange(1, 9) for n in range(size)])


def check(seen: list[tuple[int, bytes]], start: int, count: int) -> None:
    assert [lsn for lsn, _ in seen] == list(range(start, count + 1))
    for lsn, data in seen:
        assert data.startswith(b"%d" % lsn)


def test_many_tails_each_see_every_record_once_and_in_order(tmp_path: Path) -> None:
    """Threads, coroutines and readers by file, from different starts; all end with the log."""
    seen: dict[str, list[tuple[int, bytes]]] = {}
    starts: dict[str, int] = {}
    problems: list[BaseException] = []

    def follow(name: str, start: int) -> None:
        mine = seen.setdefault(name, [])
        try:
            for record in log.tail(start):
                mine.append((record.lsn, bytes(record.data)))
        except BaseException as error:
            problems.append(error)

    def follow_files(name: str, start: int) -> None:
        mine = seen.setdefault(name, [])
        try:
            with LogReader(tmp_path) as elsewhere:
                for record in elsewhere.tail(start):
                    mine.append((record.lsn, bytes(record.data)))
                    if record.lsn == COUNT:
                        return
        except BaseException as error:
            problems.append(error)

    async def afollow(name: str, start: int) -> None:
        mine = seen.setdefault(name, [])
        async for record in log.atail(start):
            mine.append((record.lsn, bytes(record.data)))

    async def afollow_all() -> None:
        await asyncio.gather(*[afollow(f"a{n}", starts[f"a{n}"]) for n in range(FOLLOWERS)])

    def run() -> None:
        try:
            asyncio.run(afollow_all())
        except BaseException as error:
            problems.append(error)

    with Log(tmp_path, SMALL) as log:
        append_in_groups(log, 200, 1)
        for n in range(FOLLOWERS):
            starts |= {f"t{n}": 1 + n * 40, f"a{n}": 1 + n * 40, f"r{n}": 1 + n * 40}
        threads = [threading.Thread(target=run)]
        for n in range(FOLLOWERS):
            threads.append(threading.Thread(target=follow, args=(f"t{n}", starts[f"t{n}"])))
            if n < 2:
                threads.append(
                    threading.Thread(target=follow_files, args=(f"r{n}", starts[f"r{n}"]))
                )
        for thread in threads:
            thread.start()
        append_in_groups(log, COUNT, 2)
        while not problems and any(not s or s[-1][0] < COUNT for s in seen.values()):
            threading.Event().wait(0.002)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert problems == []
    assert len(seen) == 2 * FOLLOWERS + 2
    for name, records in seen.items():
        check(records, starts[name], COUNT)


def test_tails_that_sleep_end_when_the_log_closes(tmp_path: Path) -> None:
    ended: list[str] = []
    asleep = threading.Semaphore(0)
    log = Log(tmp_path)
    log.append(b"x")

    def follow() -> None:
        for _ in log.tail(1):
            asleep.release()
        ended.append("thread")

    async def afollow() -> None:
        async for _ in log.atail(1):
            asleep.release()
        ended.append("coroutine")

    async def both() -> None:
        await asyncio.gather(afollow(), afollow())

    threads = [threading.Thread(target=follow) for _ in range(3)]
    threads.append(threading.Thread(target=lambda: asyncio.run(both())))
    for thread in threads:
        thread.start()
    for _ in range(5):
        assert asleep.acquire(timeout=60)
    log.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert sorted(ended) == ["coroutine"] * 2 + ["thread"] * 3


def test_a_slow_tail_costs_no_memory(tmp_path: Path) -> None:
    """It pulls: what it has not asked for yet is in the files and nowhere else."""
    with Log(tmp_path, LogOptions(segment_bytes=1 << 20)) as log:
        tails = [log.tail(1) for _ in range(20)]
        log.append(b"first")
        for tail in tails:
            assert next(tail).lsn == 1
        data = bytes(1000)
        for _ in range(50):  # whatever is made once is made now
            log.append(data)
        tracemalloc.start()
        try:
            for _ in range(20):
                log.append_many([data] * 400)
            grown = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert grown < 2 << 20, "8 MB were appended"
        for lsn in range(2, 200):
            for tail in tails:
                assert next(tail).lsn == lsn


def test_a_coroutine_far_behind_reads_cold_records_and_the_rest(tmp_path: Path) -> None:
    count = COLD + 3000

    async def follow(log: Log) -> None:
        lsn = 1
        async for record in log.atail(1):
            assert record.lsn == lsn
            lsn += 1
            if lsn == count:
                assert await log.submit(b"the last") == count + 1
            if lsn == count + 2:
                break

    with Log(tmp_path, LogOptions(segment_bytes=64 * 1024)) as log:
        for _ in range(count // 100):
            log.append_many([b"x"] * 100)
        asyncio.run(follow(log))


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_cancelled_tail_leaves_the_log_working(tmp_path: Path, *, elsewhere: bool) -> None:
    async def main(log: Log, source: Log | LogReader) -> None:
        async def follow() -> None:
            async for _ in source.atail(1):
                pass

        tasks = [asyncio.create_task(follow()) for _ in range(10)]
        await log.submit(b"a")
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await log.submit(b"b")
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert await log.submit(b"c") == 3

    with Log(tmp_path) as log, LogReader(tmp_path) as reader:
        asyncio.run(main(log, reader if elsewhere else log))


def test_a_tail_elsewhere_finds_its_place_without_starting_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that is being written has no index yet: what a reader learned of it is kept."""
    looked = 0
    honest = frame.read_header

    def counted(view: memoryview, offset: int, seed: int) -> frame.Header:
        nonlocal looked
        looked += 1
        return honest(view, offset, seed)

    monkeypatch.setattr(reader, "read_header", counted)
    frames, size = 200, 4096
    with Log(tmp_path) as log, LogReader(tmp_path) as elsewhere:
        for _ in range(frames):
            log.append(bytes(size))
        records = elsewhere.tail(log.append(b"first"))
        assert bytes(next(records).data) == b"first"
        assert looked >= frames
        looked = 0
        for n in range(20):
            log.append(b"%d" % n)
            assert bytes(next(records).data) == b"%d" % n
        assert looked <= 20 * (INDEX_STEP // size + 20)


def test_tails_of_a_quiet_log_leave_nothing_behind(tmp_path: Path) -> None:
    async def look(log: Log) -> None:
        for _ in range(5):
            assert [_ async for _ in log.atail(2, timeout=0.001)] == []
        cancelled = asyncio.create_task(log.await_for(2))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)

    with Log(tmp_path) as log:
        log.append(b"x")
        for _ in range(5):
            assert list(log.tail(2, timeout=0.001)) == []
        asyncio.run(look(log))
        assert not log._arrivals._waiting


def test_a_loop_that_was_closed_under_a_tail_does_not_stop_the_log(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(log.await_for(1))
        loop.run_until_complete(asyncio.sleep(0.01))
        with pytest.MonkeyPatch.context() as patch:
            # It looked open, and was closed before it could be called.
            patch.setattr(loop, "is_closed", lambda: False)
            loop.close()
            assert log.append(b"x") == 1
            assert log.append(b"y") == 2
        del waiting
