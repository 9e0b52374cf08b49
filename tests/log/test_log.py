"""What a caller of `Log` sees."""

import asyncio
import threading
import tracemalloc
from pathlib import Path

import pytest

from tests.log.helpers import SMALL, abandon, contents, segment_files
from walnut.log import Log, LogOptions, LogReader
from walnut.log.errors import (
    LogClosed,
    LogFailed,
    LsnTruncated,
    LsnUnknown,
    StaleSequence,
    WaitTimeout,
)
from walnut.testing.disk import SimDisk


def test_lsns_are_dense_from_one_and_survive_a_reopen(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        assert (log.first_lsn, log.next_lsn, log.durable_lsn) == (1, 1, 0)
        assert log.append(b"a") == 1
        assert log.append_many([b"b", b"", b"c"]) == 2
        assert log.append(bytearray(b"d")) == 5
        assert (log.next_lsn, log.durable_lsn) == (6, 5)
    with Log(tmp_path / "log") as log:
        assert log.recovery.clean
        assert contents(log) == {1: b"a", 2: b"b", 3: b"", 4: b"c", 5: b"d"}
        assert log.append(b"e") == 6


def test_an_unclean_stop_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    log = Log(tmp_path, SMALL)
    expected = {log.append(b"%d" % n): b"%d" % n for n in range(300)}
    abandon(log)
    with Log(tmp_path, SMALL) as again:
        assert not again.recovery.clean
        assert not again.recovery.cut_bytes
        assert contents(again) == expected


def test_epochs_rise_with_every_open(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        assert log.epoch == 1
    with Log(tmp_path) as log:
        assert log.epoch == 2


def test_a_ticket_is_waited_for_in_a_thread_and_awaited_in_a_coroutine(tmp_path: Path) -> None:
    async def submit(log: Log) -> int:
        return await log.submit(b"from a coroutine")

    with Log(tmp_path) as log:
        ticket = log.submit(b"fast")
        assert ticket.lsn == 1
        assert ticket.wait(timeout=5) == 1
        assert ticket.done
        assert asyncio.run(submit(log)) == 2


def test_a_ticket_that_was_answered_can_be_awaited_again(tmp_path: Path) -> None:
    async def twice(log: Log) -> tuple[int, int, int]:
        ticket = log.submit(b"x")
        return await ticket, await ticket, await log.submit_many([b"y", b"z"])

    with Log(tmp_path) as log:
        assert asyncio.run(twice(log)) == (1, 1, 2)


def test_tickets_that_are_kept_do_not_keep_their_records(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        tracemalloc.start()
        try:
            tickets = [log.submit(bytes(10_000)) for _ in range(500)]
            log.sync()
            assert tracemalloc.get_traced_memory()[0] < 1_000_000
        finally:
            tracemalloc.stop()
        assert all(ticket.done for ticket in tickets)


def test_what_one_turn_of_an_event_loop_submits_shares_a_frame(tmp_path: Path) -> None:
    async def many(log: Log) -> None:
        await asyncio.gather(*[wait(log) for _ in range(50)])

    async def wait(log: Log) -> None:
        await log.submit(b"x")

    with Log(tmp_path) as log:
        asyncio.run(many(log))
        assert log.metrics.frames == 1
        assert log.metrics.records == 50


def test_waiting_can_time_out_and_the_record_still_becomes_durable(tmp_path: Path) -> None:
    held, let = threading.Event(), threading.Event()

    def hold(log: Log) -> None:
        with log._commit.exclusive():
            held.set()
            assert let.wait(30)

    with Log(tmp_path) as log:
        other = threading.Thread(target=hold, args=(log,))
        other.start()
        assert held.wait(30)
        ticket = log.submit(b"slow")
        with pytest.raises(WaitTimeout, match="may still become"):
            ticket.wait(timeout=0.01)
        let.set()
        assert ticket.wait(timeout=5) == 1
        other.join(30)


def test_threads_share_flushes(tmp_path: Path) -> None:
    seen: list[int] = []

    def work(log: Log) -> None:
        seen.extend(log.append(b"%d" % n) for n in range(50))

    with Log(tmp_path) as log:
        threads = [threading.Thread(target=work, args=(log,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seen) == list(range(1, 801))
        assert log.metrics.frames < 800


def test_read_takes_a_range(tmp_path: Path) -> None:
    with Log(tmp_path, SMALL) as log:
        for n in range(1, 501):
            log.submit(b"%d" % n)
        log.sync()
        assert [r.lsn for r in log.read(100, 103)] == [100, 101, 102]
        assert [bytes(r.data) for r in log.read(499)] == [b"499", b"500"]
        assert list(log.read(501)) == []
        assert [r for frame in log.read_frames(1) for r in frame.records()][41] == b"42"
        times = [r.time for r in log.read()]
        assert times == sorted(times)
        with pytest.raises(LsnUnknown):
            log.read(502)


def test_every_lsn_can_be_found(tmp_path: Path) -> None:
    with Log(tmp_path, SMALL) as log:
        for n in range(1, 1001):
            log.submit(b"%d" % n * 20)
            if n % 7 == 0:
                log.sync()
        log.sync()
        assert len(segment_files(tmp_path)) > 5
        for lsn in range(1, 1001):
            assert bytes(next(iter(log.read(lsn))).data) == b"%d" % lsn * 20


def test_truncate_before_forgets_exactly_and_frees_whole_segments(tmp_path: Path) -> None:
    with Log(tmp_path, SMALL) as log:
        for n in range(1, 1001):
            log.append(b"%d" % n * 20)
        files = len(segment_files(tmp_path))
        assert log.truncate_before(700) == 700
        assert log.first_lsn == 700
        assert len(segment_files(tmp_path)) < files
        with pytest.raises(LsnTruncated, match="begins at 700"):
            log.read(699)
        assert min(contents(log)) == 700
        assert log.truncate_before(3) == 700
        with pytest.raises(LsnUnknown):
            log.truncate_before(1002)
    with Log(tmp_path, SMALL) as log:
        assert log.first_lsn == 700
        assert len(contents(log)) == 301


def test_truncated_segments_are_reused(tmp_path: Path) -> None:
    options = LogOptions(segment_bytes=16 * 1024, background=False)
    with Log(tmp_path, options) as log:
        for n in range(1000):
            log.append(b"%d" % n * 10)
            log.truncate_before(log.durable_lsn)
        assert log.metrics.recycled > 3
        expected = contents(log)
    with Log(tmp_path, options) as log:
        assert contents(log) == expected


def test_truncate_after_cuts_anywhere_and_the_log_goes_on(tmp_path: Path) -> None:
    with Log(tmp_path, SMALL) as log:
        expected = {}
        for n in range(200):
            first = log.append_many([b"%d-%d" % (n, k) for k in range(5)])
            expected.update({first + k: b"%d-%d" % (n, k) for k in range(5)})
        epoch = log.epoch
        for cut in (997, 500, 13, 3):
            log.truncate_after(cut)
            assert contents(log) == {lsn: data for lsn, data in expected.items() if lsn <= cut}
            assert log.next_lsn == cut + 1
        assert log.epoch == epoch + 4
        assert log.append(b"new") == 4
    with Log(tmp_path, SMALL) as log:
        assert list(contents(log).values()) == [b"0-0", b"0-1", b"0-2", b"new"]
        log.truncate_after(0)
        assert contents(log) == {}
        assert log.append(b"again") == 1


def test_a_retried_append_returns_the_first_lsn_also_after_a_reopen(tmp_path: Path) -> None:
    with Log(tmp_path, SMALL) as log:
        assert log.append(b"a", producer=("orders", 1)) == 1
        assert log.append(b"a", producer=("orders", 1)) == 1
        assert log.append_many([b"b", b"c"], producer=("orders", 5)) == 2
        assert log.append(b"d", producer=("other", 1)) == 4
        assert log.metrics.duplicates == 1
    with Log(tmp_path, SMALL) as log:
        assert log.append(b"a", producer=("orders", 1)) == 1
        for _ in range(500):
            log.append(b"filler" * 20)
        abandon(log)
    with Log(tmp_path, SMALL) as log:
        assert log.append_many([b"b", b"c"], producer=("orders", 5)) == 2
        with pytest.raises(StaleSequence, match="orders"):
            log.append(b"late", producer=("orders", 3))
        log.truncate_after(1)
        assert log.append_many([b"b", b"c"], producer=("orders", 5)) == 2
        assert log.next_lsn == 4


def test_a_retry_of_what_is_still_in_the_buffer_waits_for_the_same_flush(tmp_path: Path) -> None:
    with Log(tmp_path, LogOptions(background=False)) as log:
        first = log.submit(b"x", producer=("p", 7))
        second = log.submit(b"x", producer=("p", 7))
        assert (first.lsn, second.lsn, log.next_lsn) == (1, 1, 2)
        assert not second.done
        log.sync()
        assert second.done


def test_tail_follows_and_ends_with_the_log(tmp_path: Path) -> None:
    seen: list[bytes] = []
    with Log(tmp_path) as log:
        log.append(b"before")
        started = threading.Event()

        def follow() -> None:
            for record in log.tail(1):
                seen.append(bytes(record.data))
                started.set()

        thread = threading.Thread(target=follow)
        thread.start()
        started.wait(5)
        for n in range(100):
            log.append(b"%d" % n)
        log.wait_for(101)
        while len(seen) < 101:
            threading.Event().wait(0.001)
    thread.join(5)
    assert not thread.is_alive()
    assert seen == [b"before", *(b"%d" % n for n in range(100))]


def test_atail_follows_in_a_coroutine(tmp_path: Path) -> None:
    async def main(log: Log) -> list[int]:
        seen = []

        async def follow() -> None:
            async for record in log.atail(1):
                seen.append(record.lsn)
                if len(seen) == 300:
                    return

        task = asyncio.create_task(follow())
        for _ in range(300):
            await log.submit(b"x")
        await task
        return seen

    with Log(tmp_path) as log:
        assert asyncio.run(main(log)) == list(range(1, 301))


def test_tail_with_a_timeout_ends_when_nothing_comes(tmp_path: Path) -> None:
    async def main(log: Log) -> list[int]:
        return [record.lsn async for record in log.atail(1, timeout=0.01)]

    with Log(tmp_path) as log:
        log.append_many([b"a", b"b"])
        assert [record.lsn for record in log.tail(1, timeout=0.01)] == [1, 2]
        assert asyncio.run(main(log)) == [1, 2]


def test_compression_is_kept_when_it_helps(tmp_path: Path) -> None:
    with Log(tmp_path, LogOptions(compression="zstd")) as log:
        log.append_many([b"the same words again and again"] * 1000)
        small = log.metrics.frame_bytes
        assert small < 3000
        log.append(b"ab")
        assert len(contents(log)) == 1001
    with Log(tmp_path) as log:
        assert contents(log)[1000] == b"the same words again and again"


@pytest.mark.parametrize("sync", ["interval", "os"])
def test_lazy_policies_acknowledge_early_but_durable_lsn_does_not_lie(
    tmp_path: Path, sync: str
) -> None:
    options = LogOptions(sync=sync, background=False)  # type: ignore[arg-type]
    with Log(tmp_path, options) as log, LogReader(tmp_path) as reader:
        assert log.append(b"x") == 1
        assert log.durable_lsn == 0
        assert contents(log) == contents(reader) == {}
        assert log.sync() == 1
        assert contents(log) == contents(reader) == {1: b"x"}
        log.append(b"y")
        log.housekeep()
        assert log.durable_lsn == (2 if sync == "interval" else 1)


def test_the_housekeeper_syncs_by_itself(tmp_path: Path) -> None:
    with Log(tmp_path, LogOptions(sync="interval", sync_seconds=0.002)) as log:
        log.append(b"x")
        assert log.wait_for(1, timeout=30)


def test_linger_gathers_company(tmp_path: Path) -> None:
    with Log(tmp_path, LogOptions(linger_seconds=0.02)) as log:
        tickets = [log.submit(b"%d" % n) for n in range(100)]
        for ticket in tickets:
            ticket.wait()
        assert log.metrics.frames <= 3


def test_a_record_larger_than_a_segment_gets_a_segment_of_its_own(tmp_path: Path) -> None:
    big = bytes(range(256)) * 200
    with Log(tmp_path, SMALL) as log:
        log.append(b"small")
        assert log.append(big) == 2
        log.append(b"small again")
        expected = {1: b"small", 2: big, 3: b"small again"}
        assert contents(log) == expected
        abandon(log)
    with Log(tmp_path, SMALL) as log:
        assert contents(log) == expected


def test_using_a_closed_log_says_so(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append(b"x")
    log.close()
    log.close()
    with pytest.raises(LogClosed, match="open it again"):
        log.append(b"y")
    with pytest.raises(LogClosed):
        log.submit(b"y")
    with pytest.raises(LogClosed):
        log.read()
    with pytest.raises(LogClosed):
        log.sync()


def test_views_outlive_the_log(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append(b"kept")
        record = next(iter(log.read()))
    assert bytes(record.data) == b"kept"
    assert record.data.readonly


def test_an_async_with_block_closes_in_a_thread(tmp_path: Path) -> None:
    async def main() -> int:
        async with Log(tmp_path) as log:
            return await log.submit(b"x")

    assert asyncio.run(main()) == 1
    with Log(tmp_path) as log:
        assert log.recovery.clean


def test_stat_tells_ends_segments_and_slots(tmp_path: Path) -> None:
    with Log(tmp_path, SMALL) as log:
        for n in range(500):
            log.append(b"%d" % n * 20)
        log.slot("indexer", 100)
        with LogReader(tmp_path) as reader:
            for stat in (log.stat(), reader.stat()):
                assert (stat.first_lsn, stat.next_lsn, stat.durable_lsn) == (1, 501, 500)
                assert [s.sealed for s in stat.segments][-2:] == [True, False]
                assert stat.segments[0].next_lsn == stat.segments[1].first_lsn
                assert stat.bytes == sum(f.stat().st_size for f in segment_files(tmp_path))
                assert [(s.name, s.lsn, s.lag) for s in stat.slots] == [("indexer", 100, 401)]


def test_whoever_asks_is_told_when_the_log_is_closed_or_has_failed(tmp_path: Path) -> None:
    told: list[str] = []
    with Log(tmp_path / "closed", SMALL) as log:
        log.when_over(lambda: told.append("closed"))
        log.append(b"x")
        assert not told
    assert {*told} == {"closed"}
    disk = SimDisk()
    failing = Log("sim", LogOptions(disk=disk, background=False))
    failing.when_over(lambda: told.append("failed"))
    disk.faults.fail_sync_after = 0
    with pytest.raises(LogFailed):
        failing.append(b"x")
    assert told[-1] == "failed"
    failing.close()
