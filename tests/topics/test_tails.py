"""Following topics, in threads and coroutines."""

import asyncio
import threading
from pathlib import Path

import pytest

from tests.store.helpers import SMALL
from tests.topics.helpers import topics_in, values
from walnut.log import LogOptions
from walnut.log.errors import LogError, LogFailed
from walnut.store import Store, StoreOptions, StoreReader
from walnut.testing.disk import SimDisk
from walnut.testing.engine import OpenModel
from walnut.topics import OffsetTruncated, Topics, TopicsReader
from walnut.topics.errors import UnknownTopic

MANY = 300


def test_tails_begin_anywhere_and_get_every_message_once(tmp_path: Path) -> None:
    async def run(topics: Topics) -> None:
        store = topics.store
        await store.run(topics.create, "t")
        await topics.publish("t", [b"%d" % number for number in range(MANY)])

        async def tail(start: object) -> list[bytes]:
            found: list[bytes] = []
            async for message in topics.afollow("t", start):  # type: ignore[arg-type]
                found.append(message.value)
                if message.value == b"end":
                    break
            return found

        tails = [asyncio.create_task(tail(start)) for start in ("earliest", 10, MANY, "latest") * 5]
        while topics.metrics.tails < len(tails):
            await asyncio.sleep(0)
        for number in range(MANY, 2 * MANY):
            await topics.publish("t", b"%d" % number)
        await topics.publish("t", b"end")
        for number, found in enumerate(await asyncio.gather(*tails)):
            start = (0, 10, MANY, MANY)[number % 4]
            assert found == [*(b"%d" % number for number in range(start, 2 * MANY)), b"end"]
        while topics.metrics.tails:  # generators end when the loop comes to it
            await asyncio.sleep(0)
        assert not topics._tails.wakes._loops

    with topics_in(tmp_path) as topics:
        asyncio.run(run(topics))


def test_threads_follow_as_coroutines_do_and_end_with_the_store(tmp_path: Path) -> None:
    found: dict[str, list[bytes]] = {}
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "t")
        topics.store.call(topics.append, "t", [b"a", b"b"])

        def tail(name: str, start: int) -> None:
            for message in topics.follow("t", start):
                found[name].append(message.value)

        for start in (0, 1, 2):
            found[f"tail {start}"] = []
        threads = [
            threading.Thread(target=tail, args=(f"tail {start}", start)) for start in (0, 1, 2)
        ]
        for thread in threads:
            thread.start()
        while topics.metrics.tails < len(threads):
            threading.Event().wait(0.001)
        topics.store.call(topics.append, "t", b"c")
        assert list(topics.follow("t", 2, timeout=0)) == topics.read(topics.store, "t", 2).messages
        while not all(values[-1:] == [b"c"] for values in found.values()):
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert found["tail 0"] == [b"a", b"b", b"c"]


def test_a_tail_begins_where_the_topic_ended_when_it_was_made(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "t")
        topics.store.call(topics.append, "t", b"before")
        tail = topics.follow("t", timeout=0)
        with StoreReader(tmp_path, SMALL) as beside:
            other = TopicsReader(beside).follow("t", timeout=60)
            topics.store.call(topics.append, "t", b"after")
            assert [message.value for message in tail] == [b"after"]
            assert next(other).value == b"after"


def test_a_tail_sees_nothing_that_is_not_durable_and_only_its_topic(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "t")
        topics.store.call(topics.create, "other")
        tail = topics.slices("t", 0, timeout=0.05)
        with topics.store.transaction() as tx:
            topics.append(tx, "t", b"a")
            topics.append(tx, "other", b"b")
            assert topics.read(tx, "t").messages
            assert not topics.read(topics.store, "t").messages
        assert [message.value for message in next(tail).messages] == [b"a"]
        topics.store.call(topics.append, "other", b"c")
        assert next(tail, None) is None


def test_a_tail_that_was_overtaken_by_truncation_says_where_to_go_on(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "t")
        topics.store.call(topics.append, "t", [b"%d" % number for number in range(10)])
        tail = topics.slices("t", 0, limit=2, timeout=60)
        assert next(tail).next == 2
        topics.store.call(topics.truncate, "t", 6)
        topics.sweep()
        with pytest.raises(OffsetTruncated) as gone:
            next(tail)
        assert gone.value.first == 6
        on = topics.slices("t", gone.value.first, timeout=0)
        assert [message.value for part in on for message in part.messages] == [
            b"6", b"7", b"8", b"9",
        ]  # fmt: skip


def test_a_tail_of_a_topic_that_is_deleted_is_told_so(tmp_path: Path) -> None:
    async def run(topics: Topics) -> None:
        for again in (False, True):
            await topics.store.run(topics.create, "t")
            tail = topics.aslices("t")
            waiting = asyncio.ensure_future(anext(tail))
            while not topics.metrics.tails:
                await asyncio.sleep(0)

            def replace(tx: object, again: bool) -> None:  # noqa: FBT001
                topics.delete(tx, "t")  # type: ignore[arg-type]
                if again:
                    topics.create(tx, "t")  # type: ignore[arg-type]

            await topics.store.run(replace, again)
            with pytest.raises(UnknownTopic, match="another one" if again else "there is no topic"):
                await waiting

    with topics_in(tmp_path) as topics:
        asyncio.run(run(topics))


def test_a_slow_tail_holds_up_nobody_and_no_messages(tmp_path: Path) -> None:
    async def run(topics: Topics) -> None:
        await topics.store.run(topics.create, "t")
        slow = topics.aslices("t", 0, limit=5)
        await topics.publish("t", b"0")
        assert len((await anext(slow)).messages) == 1
        for number in range(1, MANY):
            await topics.publish("t", b"%d" % number)
        assert not topics._tails.wakes._loops  # it is nowhere listed
        part = await anext(slow)
        assert [message.value for message in part.messages] == [b"1", b"2", b"3", b"4", b"5"]
        assert part.end == MANY

    with topics_in(tmp_path) as topics:
        asyncio.run(run(topics))


def test_tails_are_told_when_the_log_fails(tmp_path: Path) -> None:
    del tmp_path
    disk = SimDisk()
    options = StoreOptions(log=LogOptions(disk=disk, background=False), engine=OpenModel(1, 0.0))
    store = Store("sim/store", options)
    topics = Topics(store)
    store.call(topics.create, "t")
    raised: list[BaseException] = []

    def tail() -> None:
        try:
            next(topics.follow("t"))
        except LogError as error:
            raised.append(error)

    thread = threading.Thread(target=tail)
    thread.start()
    while not topics._tails.wakes._threads:
        threading.Event().wait(0.001)
    disk.faults.fail_sync_after = 0
    with pytest.raises(LogFailed):
        store.call(topics.append, "t", b"x")
    thread.join(30)
    assert not thread.is_alive()
    assert [type(error) for error in raised] == [LogFailed]
    store.close()


def test_tails_on_an_event_loop_are_refused_where_they_would_stop_it(tmp_path: Path) -> None:
    async def run(topics: Topics) -> None:
        await topics.store.run(topics.create, "t")
        for call in (lambda: topics.slices("t"), topics.sweep, lambda: next(topics.follow("t"))):
            with pytest.raises(LogError, match="would block this event loop"):
                call()
        assert values(topics, "t") == []
        with pytest.raises(UnknownTopic):
            topics.aslices("nope")

    with topics_in(tmp_path) as topics:
        asyncio.run(run(topics))
