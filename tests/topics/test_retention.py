"""Retention, truncation, and what a sweep costs."""

from pathlib import Path
from unittest.mock import patch

import pytest

from tests.topics.helpers import SECOND, held, topics_in, values
from walnut.testing.disk import SimClock
from walnut.topics import OffsetTruncated, TopicOptions, sweeping
from walnut.topics.errors import OffsetUnknown
from walnut.topics.rows import Rows


def test_messages_beyond_the_number_kept_go_with_the_next_sweep(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "t", TopicOptions(keep_messages=5))
        for number in range(4):
            topics.store.call(topics.append, "t", [b"%d%d" % (number, k) for k in range(3)])
        assert topics.info(topics.store, "t").messages == 12
        swept = topics.sweep()
        assert (swept.messages, swept.chunks, swept.bytes, swept.more) == (6, 2, 12, False)
        assert values(topics, "t", 7) == [b"21", b"22", b"30", b"31", b"32"]
        info = topics.info(topics.store, "t")
        assert (info.first, info.next, info.bytes) == (7, 12, 12)  # bytes: those of whole chunks
        with pytest.raises(OffsetTruncated) as gone:
            topics.read(topics.store, "t", 6)
        assert gone.value.first == 7
        assert topics.sweep().chunks == 0


def test_messages_of_an_age_go_and_younger_ones_stay(tmp_path: Path) -> None:
    clock = SimClock()
    with topics_in(tmp_path, clock=clock) as topics:
        topics.store.call(topics.create, "t", TopicOptions(keep_seconds=60))
        began = clock.now
        for number in range(10):
            clock.now = began + 10 * number * SECOND
            topics.store.call(topics.append, "t", b"%d" % number)
        clock.now = began + 125 * SECOND
        assert topics.sweep().messages == 7
        assert values(topics, "t", 7) == [b"7", b"8", b"9"]
        clock.now = began + 1000 * SECOND
        assert topics.sweep().messages == 3
        info = topics.info(topics.store, "t")
        assert (info.first, info.next, info.bytes, info.oldest) == (10, 10, 0, 0)
        assert topics.store.call(topics.append, "t", b"on").first == 10
        assert topics.sweep().messages == 0
        assert values(topics, "t", 10) == [b"on"]


def test_a_topic_keeps_its_bytes_and_not_less(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "t", TopicOptions(keep_bytes=1000))
        for _ in range(20):
            topics.store.call(topics.append, "t", [bytes(90)] * 2)
        swept = topics.sweep()
        assert swept.bytes == 14 * 180
        assert topics.info(topics.store, "t").bytes == 6 * 180
        topics.store.call(topics.append, "t", bytes(990))
        topics.sweep()
        assert (
            topics.info(topics.store, "t").bytes == 990 + 180
        )  # 990 alone would be less than kept


def test_truncation_is_seen_at_once_and_deleted_by_a_sweep(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        call = topics.store.call
        call(topics.create, "t")
        for number in range(10):
            call(topics.append, "t", [b"%d" % number] * 10)
        assert call(topics.truncate, "t", 25).first == 25
        assert held(topics) == 10
        with pytest.raises(OffsetTruncated):
            topics.read(topics.store, "t", 24)
        assert topics.read(topics.store, "t", "earliest", limit=1).messages[0].offset == 25
        assert call(topics.truncate, "t", 3).first == 25  # nothing comes back
        assert call(topics.truncate, "t", 47).first == 47
        assert topics.sweep().chunks == 4
        assert values(topics, "t", 47) == [b"4"] * 3 + [
            b"%d" % n for n in range(5, 10) for _ in range(10)
        ]
        with pytest.raises(OffsetUnknown):
            call(topics.truncate, "t", 101)
        assert call(topics.truncate, "t", 100).messages == 0
        topics.sweep()
        assert held(topics) == 0
        assert topics.info(topics.store, "t").bytes == 0


def test_topics_at_their_limit_do_not_keep_a_sweep_from_those_over_it(tmp_path: Path) -> None:
    with patch.object(sweeping, "SWEEP_TRANSACTIONS", 4), topics_in(tmp_path) as topics:
        call = topics.store.call
        for name in ("a", "b", "c", "d", "e"):  # each is over by less than a chunk, and stays so
            call(topics.create, name, TopicOptions(keep_bytes=15))
            for _ in range(2):
                call(topics.append, name, bytes(10))
        call(topics.create, "z", TopicOptions(keep_messages=1))
        call(topics.append, "z", [b"1", b"2"])
        call(topics.append, "z", b"3")
        swept = topics.sweep()
        assert (swept.messages, swept.more) == (2, False)
        assert not topics.sweep().more


def test_a_sweep_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    with (
        patch.object(sweeping, "SWEEP_CHUNKS", 3),
        patch.object(sweeping, "SWEEP_TRANSACTIONS", 4),
        topics_in(tmp_path) as topics,
    ):
        call = topics.store.call
        for name in ("a", "b"):
            call(topics.create, name, TopicOptions(keep_bytes=30))
            for number in range(20):
                call(topics.append, name, b"%10d" % number)
        sweeps = 0
        while topics.sweep().more:
            sweeps += 1
            assert sweeps < 40
        for _ in range(10):
            topics.sweep()
        assert sweeps > 3
        assert held(topics) == 6
        for name in ("a", "b"):
            assert values(topics, name, 17) == [b"%10d" % number for number in (17, 18, 19)]


def test_a_sweep_reads_no_chunk_of_topics_within_their_limits(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        with topics.store.transaction() as tx:
            for number in range(50):
                topics.create(tx, f"t{number}", TopicOptions(keep_messages=2, keep_bytes=100))
                topics.append(tx, f"t{number}", b"x")
            topics.append(tx, "t7", [b"y", b"z"])
        read: list[int] = []
        honest = Rows.chunk_with

        def chunk_with(self: Rows, reader: object, topic: int, offset: int) -> object:
            read.append(topic)
            return honest(self, reader, topic, offset)  # type: ignore[arg-type]

        with patch.object(Rows, "chunk_with", chunk_with):
            assert topics.sweep().messages == 1
        assert len(set(read)) == 1


def test_limits_that_are_changed_count_from_the_next_sweep_on(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "t")
        topics.store.call(topics.append, "t", [b"a", b"b", b"c"])
        assert topics.sweep().messages == 0
        topics.store.call(topics.configure, "t", TopicOptions(keep_messages=1))
        topics.sweep()
        assert values(topics, "t", 2) == [b"c"]
