"""Making, appending to and reading topics."""

import asyncio
import datetime as dt
import threading
from pathlib import Path

import msgspec
import pytest

from tests.store.helpers import SMALL, Room, rooms_of
from tests.topics.helpers import SECOND, held, topics_in, values
from walnut.store import Meta, Store, StoreReader, Transaction
from walnut.testing.disk import SimClock
from walnut.topics import (
    Message,
    OffsetTruncated,
    TopicOptions,
    Topics,
    TopicsOptions,
    TopicsReader,
)
from walnut.topics.appending import CHUNK_BYTES, CHUNK_MESSAGES
from walnut.topics.errors import (
    InvalidMessage,
    InvalidName,
    InvalidTopicOption,
    MessageTooLarge,
    NoTopics,
    OffsetUnknown,
    PositionMoved,
    TooManyTopics,
    TopicExists,
    UnknownTopic,
)


def test_messages_come_back_with_dense_offsets_and_the_time_of_their_transaction(
    tmp_path: Path,
) -> None:
    with topics_in(tmp_path) as topics:
        call = topics.store.call
        call(topics.create, "orders")
        one = call(topics.append, "orders", b"first")
        full = Message(b"second", b"key", {"trace": "7"})
        two = call(topics.append, "orders", [full, b"third"])
        assert (one.first, one.next, two.first, two.next) == (0, 1, 1, 3)
        assert two.lsn == one.lsn + 1
        found = topics.read(topics.store, "orders")
        assert (found.next, found.end) == (3, 3)
        assert [(m.offset, m.value, m.key, m.headers) for m in found.messages] == [
            (0, b"first", None, {}),
            (1, b"second", b"key", {"trace": "7"}),
            (2, b"third", None, {}),
        ]
        times = [message.time for message in found.messages]
        assert times[0] < times[1] == times[2]
    with topics_in(tmp_path) as topics:
        assert topics.read(topics.store, "orders") == found


def test_appending_is_a_part_of_a_transaction_with_table_rows(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        store = topics.store
        rooms = rooms_of(store)
        store.call(topics.create, "rooms")

        def build(tx: Transaction, name: str, *, fail: bool = False) -> int:
            rooms.put(tx, Room(name, "h", 1))
            done = topics.append(tx, "rooms", name.encode())
            again = topics.append(tx, "rooms", b"again")
            assert topics.read(tx, "rooms", done.first).messages[1].value == b"again"
            if fail:
                raise ValueError("on purpose")
            return again.next

        assert store.call(build, "r1") == 2
        with pytest.raises(ValueError, match="on purpose"):
            store.call(build, "r2", fail=True)
        assert values(topics, "rooms") == [b"r1", b"again"]
        assert rooms.get(store, "r2") is None
        with store.snapshot() as before:
            store.call(build, "r3")
            assert topics.info(before, "rooms").next == 2
            assert len(topics.read(before, "rooms").messages) == 2


def test_an_idempotency_key_of_the_store_gives_the_first_answer(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "orders")
        caller = topics.store.by(Meta(principal="shop", key="k1"))
        first = caller.call(topics.append, "orders", b"once")
        assert caller.call(topics.append, "orders", b"once") == first
        assert values(topics, "orders") == [b"once"]


def test_large_appends_are_cut_into_chunks_and_read_back_whole(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        call = topics.store.call
        call(topics.create, "t")
        many = [b"%d" % number for number in range(2 * CHUNK_MESSAGES + 5)]
        call(topics.append, "t", many)
        assert held(topics) == 3
        wide = [bytes([number]) * (CHUNK_BYTES // 2 + 1) for number in range(3)]
        call(topics.append, "t", wide)
        assert held(topics) == 6
        huge = bytes(topics.options.message_bytes)
        mixed: list[bytes | Message] = [
            Message(b"a", headers={"n": "1"}),
            huge,
            b"b",
            Message(b"c", b"k"),
        ]
        call(topics.append, "t", mixed)
        expected = [*many, *wide, b"a", huge, b"b", b"c"]
        assert values(topics, "t") == expected
        last = topics.read(topics.store, "t", len(expected) - 4, bytes=10**7).messages
        assert [(m.key, m.headers) for m in last] == [
            (None, {"n": "1"}), (None, {}), (None, {}), (b"k", {}),
        ]  # fmt: skip
        info = topics.info(topics.store, "t")
        assert info.messages == len(expected)
        assert info.bytes == sum(map(len, expected)) + len("n1") + 10 + len("k")


def test_a_read_stops_at_its_limits_and_gives_at_least_one_message(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "t")
        topics.store.call(topics.append, "t", [b"%d" % number * 10 for number in range(10)])

        def read(start: int, **limits: int) -> list[int]:
            return [m.offset for m in topics.read(topics.store, "t", start, **limits).messages]

        assert read(3, limit=4) == [3, 4, 5, 6]
        assert read(3, bytes=11) == [3, 4]
        assert read(3, bytes=20) == [3, 4]
        assert read(3, bytes=1) == [3]
        assert read(10) == []
        with pytest.raises(InvalidTopicOption, match="limit is 0"):
            read(0, limit=0)
        with pytest.raises(OffsetUnknown, match="next message gets 10") as unknown:
            read(11)
        assert unknown.value.next == 10


def test_reading_begins_at_a_time(tmp_path: Path) -> None:
    clock = SimClock()
    with topics_in(tmp_path, clock=clock) as topics:
        topics.store.call(topics.create, "t")
        began = clock.now
        for number in range(20):
            clock.now = began + (number + 1) * SECOND
            topics.store.call(topics.append, "t", [b"%d" % number] * (number % 3 + 1))
        start = dt.datetime.fromtimestamp(began // SECOND, dt.UTC)
        for number in range(-1, 22):
            moment = start + dt.timedelta(seconds=number + 0.5)
            expected = sum(earlier % 3 + 1 for earlier in range(max(0, min(number, 20))))
            assert topics.offset_of(topics.store, "t", moment) == expected
            found = topics.read(topics.store, "t", moment, limit=1).messages
            assert [m.offset for m in found] == [expected] * (number < 20)
        for wrong in (-1, True, "newest", dt.datetime(2030, 1, 1), None):  # noqa: DTZ001
            with pytest.raises(InvalidTopicOption, match="start is"):
                topics.offset_of(topics.store, "t", wrong)  # type: ignore[arg-type]


def test_topics_are_listed_by_name_a_page_at_a_time(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        with topics.store.transaction() as tx:
            for number in range(25):
                topics.create(tx, f"t{number:02}", TopicOptions(keep_messages=number + 1))
        names: list[str] = []
        cursor = None
        while True:
            page = topics.page(topics.store, limit=10, cursor=cursor)
            names += [topic.name for topic in page.topics]
            cursor = page.cursor
            if cursor is None:
                break
        assert names == [f"t{number:02}" for number in range(25)]
        assert topics.info(topics.store, "t07").options.keep_messages == 8


def test_what_is_no_topic_and_no_message_is_refused_by_name(tmp_path: Path) -> None:
    with topics_in(tmp_path, TopicsOptions(topics=2)) as topics:
        call = topics.store.call
        call(topics.create, "a.b-c_D9")
        with pytest.raises(TopicExists):
            call(topics.create, "a.b-c_D9")
        for name in ("", ".a", "-a", "a/b", "ä", "a b", "x" * 201, "a\n", None, 7):
            with pytest.raises(InvalidName):
                call(topics.create, name)  # type: ignore[arg-type]
        call(topics.create, "second")
        with pytest.raises(TooManyTopics):
            call(topics.create, "third")
        call(topics.delete, "second")
        call(topics.create, "third")
        for name in ("nope", "", None):
            with pytest.raises(UnknownTopic):
                call(topics.append, name, b"x")  # type: ignore[arg-type]
        with pytest.raises(InvalidMessage, match="nothing to append"):
            call(topics.append, "third", [])
        for wrong in (
            "text",
            [b"a", "text"],
            bytearray(b"x"),
            Message("text"),  # type: ignore[arg-type]
            Message(b"v", "key"),  # type: ignore[arg-type]
            Message(b"v", None, {"a": 1}),  # type: ignore[dict-item]
            Message(b"v", None, {"a": "\ud800"}),
            Message(b"v", None, dict.fromkeys(map(str, range(65)), "")),
        ):
            with pytest.raises(InvalidMessage):
                call(topics.append, "third", wrong)  # type: ignore[arg-type]
        with pytest.raises(MessageTooLarge, match="1000001 bytes"):
            call(topics.append, "third", [b"small", bytes(1_000_001)])
        with pytest.raises(MessageTooLarge, match="several"):
            call(topics.append, "third", [bytes(1_000_000)] * 9)
        assert topics.info(topics.store, "third").next == 0
        with pytest.raises(InvalidTopicOption, match="keep_bytes is 0"):
            TopicOptions(keep_bytes=0)
        with pytest.raises(InvalidTopicOption, match="topics is 0"):
            TopicsOptions(topics=0)


def test_the_largest_rows_of_the_store_bound_messages(tmp_path: Path) -> None:
    with Store(tmp_path, msgspec.structs.replace(SMALL, value_bytes=100_000)) as store:
        with pytest.raises(InvalidTopicOption, match="rows have room for messages of 83616"):
            Topics(store)
        topics = Topics(store, TopicsOptions(message_bytes=83_616))
        store.call(topics.create, "t")
        headers = {f"h{number}": "x" * 10 for number in range(64)}
        every = [Message(b"v" * 10, b"k", headers)] * 200
        store.call(topics.append, "t", [*every, bytes(83_616)])
        assert topics.info(store, "t").next == 201
        assert values(topics, "t")[-1] == bytes(83_616)


def test_the_first_append_makes_a_topic_if_that_is_allowed(tmp_path: Path) -> None:
    options = TopicsOptions(create=True, default=TopicOptions(keep_messages=3))
    with topics_in(tmp_path, options) as topics:
        assert topics.store.call(topics.append, "new", b"x").first == 0
        assert topics.info(topics.store, "new").options.keep_messages == 3
        with pytest.raises(InvalidName):
            topics.store.call(topics.append, "no name", b"x")


def test_a_topic_made_again_under_its_name_is_another_one(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        call = topics.store.call
        call(topics.create, "t")
        call(topics.append, "t", [b"a", b"b"], ("p", 0))
        call(topics.commit, "g", "t", 1)
        assert call(topics.delete, "t").next == 2
        assert not topics.exists(topics.store, "t")
        call(topics.create, "t")
        assert topics.info(topics.store, "t").next == 0
        assert topics.position(topics.store, "g", "t") is None
        assert call(topics.append, "t", b"new", ("p", 0)).first == 0
        assert topics.sweep().messages == 2
        assert held(topics) == 1
        assert values(topics, "t") == [b"new"]
        assert topics.store.declared("topics.producers").count(topics.store) == 1
        assert topics.store.declared("topics.positions").count(topics.store) == 0
        assert topics.store.declared("topics.dropped").count(topics.store) == 0


def test_positions_are_committed_with_the_effects_of_what_was_read(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        store = topics.store
        seen = store.counter("seen")
        store.call(topics.create, "t")
        store.call(topics.append, "t", [b"x"] * 10)

        def consume(tx: Transaction, at: int, count: int) -> None:
            seen.add(tx, count)
            topics.commit(tx, "g", "t", at + count, expected=at)

        assert topics.position(store, "g", "t") is None
        store.call(consume, 0, 4)
        with pytest.raises(PositionMoved, match="go on from 4") as moved:
            store.call(consume, 0, 4)  # another consumer of the group read the same
        assert moved.value.offset == 4
        store.call(consume, 4, 6)
        assert seen.value(store) == 10
        store.call(topics.commit, "late", "t", 3)
        store.call(topics.truncate, "t", 5)
        found = {p.group: (p.offset, p.lag) for p in topics.positions(store, "t")}
        assert found == {"g": (10, 0), "late": (3, 5)}
        with pytest.raises(OffsetUnknown):
            store.call(topics.commit, "g", "t", 11)
        with pytest.raises(InvalidName):
            store.call(topics.commit, "", "t", 1)
        assert store.call(topics.forget, "late", "t")
        assert not store.call(topics.forget, "late", "t")


def test_publishes_of_one_turn_share_a_transaction_and_fail_alone(tmp_path: Path) -> None:
    async def publish(topics: Topics) -> None:
        store = topics.store
        await store.run(topics.create, "a")
        await store.run(topics.create, "b")
        lsn = store.log.next_lsn
        tries = [
            topics.publish("a", b"1"),
            topics.publish("nope", b"2"),
            topics.publish("b", [b"3", Message(b"4", b"k")]),
            topics.publish("a", Message(b"5", headers={"h": "v"})),
            topics.publish("a", b"6", ("p", 0)),
            topics.publish("a", b"6", ("p", 0)),
            topics.publish("a", b"7", ("p", 5)),
            topics.publish("a", [b"8", b"9"]),
        ]
        done = await asyncio.gather(*tries, return_exceptions=True)
        places = [
            type(one).__name__ if isinstance(one, BaseException) else (one.first, one.next)
            for one in done
        ]
        assert places == [
            (0, 1), "UnknownTopic", (0, 2), (1, 2), (2, 3), (2, 3), "SequenceGap", (3, 5),
        ]  # fmt: skip
        assert store.log.next_lsn == lsn + 1
        assert values(topics, "a") == [b"1", b"5", b"6", b"8", b"9"]
        assert values(topics, "b") == [b"3", b"4"]
        assert held(topics) == 2
        assert (topics.metrics.publishes, topics.metrics.batches) == (8, 1)
        assert (topics.metrics.appends, topics.metrics.messages) == (5, 7)
        assert topics.metrics.repeats == 1

    with topics_in(tmp_path) as topics:
        asyncio.run(publish(topics))


def test_publishes_are_kept_with_who_made_them(tmp_path: Path) -> None:
    async def publish(topics: Topics) -> None:
        await topics.store.run(topics.create, "a")
        names = ["ann", "bob", "ann"]
        done = await asyncio.gather(
            *(topics.publish("a", b"x", meta=Meta(principal=name)) for name in names)
        )
        assert done[0].lsn == done[2].lsn != done[1].lsn
        changes = topics.store.changes(done[0].lsn - 1, tables=["topics.chunks"])
        assert [change.meta.principal for change in changes] == ["ann", "bob"]
        with pytest.raises(InvalidTopicOption, match="idempotency key"):
            await topics.publish("a", b"x", meta=Meta(key="k"))

    with topics_in(tmp_path) as topics:
        asyncio.run(publish(topics))


def test_publishes_of_one_turn_that_are_large_together_take_several_transactions(
    tmp_path: Path,
) -> None:
    async def publish(topics: Topics) -> None:
        await topics.store.run(topics.create, "a")
        large = [bytes(900_000)] * 3
        done = await asyncio.gather(*(topics.publish("a", large) for _ in range(8)))
        assert [one.first for one in done] == list(range(0, 24, 3))
        assert len({one.lsn for one in done}) == 3

    with topics_in(tmp_path) as topics:
        asyncio.run(publish(topics))


def test_publishes_keep_their_order_while_threads_are_in_their_transactions(tmp_path: Path) -> None:
    async def publish(topics: Topics) -> None:
        store = topics.store
        await store.run(topics.create, "a")
        inside, leave = threading.Event(), threading.Event()

        def slow(tx: Transaction) -> None:
            topics.append(tx, "a", b"slow")
            inside.set()
            leave.wait(30)

        thread = threading.Thread(target=store.call, args=(slow,))
        thread.start()
        inside.wait(30)
        tries = []
        for number in range(20):  # one producer that does not wait for answers
            tries.append(asyncio.ensure_future(topics.publish("a", b"%d" % number, ("p", number))))
            await asyncio.sleep(0)
            if number == 10:
                leave.set()
        await asyncio.gather(*tries)
        thread.join()
        assert values(topics, "a") == [b"slow", *(b"%d" % number for number in range(20))]

    with topics_in(tmp_path) as topics:
        asyncio.run(publish(topics))


def test_a_publish_that_is_cancelled_harms_none_of_the_others(tmp_path: Path) -> None:
    async def publish(topics: Topics) -> None:
        await topics.store.run(topics.create, "a")
        tries = [asyncio.ensure_future(topics.publish("a", b"%d" % n)) for n in range(3)]
        await asyncio.sleep(0)
        tries[1].cancel()
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert isinstance(done[1], asyncio.CancelledError)
        assert values(topics, "a") == [b"0", b"1", b"2"]

    with topics_in(tmp_path) as topics:
        asyncio.run(publish(topics))


def test_topics_are_in_backups_and_are_restored_to_a_moment(tmp_path: Path) -> None:
    with topics_in(tmp_path / "data") as topics:
        topics.store.call(topics.create, "t")
        moment = topics.store.call(topics.append, "t", [b"a", b"b"], ("p", 0)).lsn
        topics.store.call(topics.append, "t", b"c", ("p", 1))
        topics.store.backup(tmp_path / "backup")
    Store.restore(tmp_path / "backup", tmp_path / "then", to=moment, options=SMALL)
    with topics_in(tmp_path / "then") as topics:
        assert values(topics, "t") == [b"a", b"b"]
        assert topics.store.call(topics.append, "t", b"other", ("p", 1)).first == 2


def test_another_process_reads_topics_beside_the_writer(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        with StoreReader(tmp_path, SMALL) as beside, pytest.raises(NoTopics):
            TopicsReader(beside)
        topics = Topics(store)
        store.call(topics.create, "t")
        store.call(topics.append, "t", [b"a", b"b"])
        with StoreReader(tmp_path, SMALL) as beside:
            reader = TopicsReader(beside)
            assert reader.info(beside, "t") == topics.info(store, "t")
            tail = reader.follow("t", 1, timeout=60)
            assert next(tail).value == b"b"
            store.call(topics.append, "t", b"c")
            assert next(tail).value == b"c"
            store.call(topics.truncate, "t", 3)
            beside.refresh()
            with pytest.raises(OffsetTruncated):
                reader.read(beside, "t", 0)
            assert not list(reader.follow("t", timeout=0))
