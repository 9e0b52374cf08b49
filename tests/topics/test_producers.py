"""Idempotent producers."""

from pathlib import Path

import pytest

from tests.topics.helpers import SECOND, topics_in, values
from walnut.testing.disk import SimClock
from walnut.topics import TopicsOptions
from walnut.topics.errors import InvalidName, InvalidTopicOption, SequenceGap, StaleSequence
from walnut.topics.producers import WINDOW
from walnut.topics.rows import HOUR


def test_a_repeat_answers_where_the_first_one_went_also_after_a_restart(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "t")
        first = topics.store.call(topics.append, "t", [b"a", b"b"], ("shop", 0))
        second = topics.store.call(topics.append, "t", b"c", ("shop", 1))
    with topics_in(tmp_path) as topics:
        again = [
            topics.store.call(topics.append, "t", [b"a", b"b"], ("shop", 0)),
            topics.store.call(topics.append, "t", b"c", ("shop", 1)),
        ]
        assert [one.repeated for one in again] == [True, True]
        assert [(one.first, one.next, one.lsn) for one in again] == [
            (one.first, one.next, one.lsn) for one in (first, second)
        ]
        assert values(topics, "t") == [b"a", b"b", b"c"]
        assert topics.metrics.repeats == 2


def test_a_gap_and_what_is_too_old_to_tell_are_refused(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        call = topics.store.call
        call(topics.create, "t")
        with pytest.raises(SequenceGap, match="go on with a new name") as gap:
            call(topics.append, "t", b"x", ("p", 1))
        assert gap.value.expected == 0
        for number in range(WINDOW + 1):
            call(topics.append, "t", b"%d" % number, ("p", number))
        with pytest.raises(SequenceGap, match="send what is missing first"):
            call(topics.append, "t", b"x", ("p", WINDOW + 2))
        assert call(topics.append, "t", b"1", ("p", 1)).first == 1
        with pytest.raises(StaleSequence):
            call(topics.append, "t", b"0", ("p", 0))
        assert len(values(topics, "t")) == WINDOW + 1


def test_producers_of_two_topics_and_two_names_are_apart(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        for name in ("a", "b"):
            topics.store.call(topics.create, name)
            for producer in ("p", "q"):
                done = topics.store.call(topics.append, name, producer.encode(), (producer, 0))
                assert not done.repeated


def test_producers_that_are_idle_are_forgotten_and_busy_ones_are_not(tmp_path: Path) -> None:
    clock = SimClock()
    with topics_in(tmp_path, TopicsOptions(producer_seconds=7200), clock=clock) as topics:
        call = topics.store.call
        call(topics.create, "t")
        for producer in ("idle", "busy"):
            call(topics.append, "t", b"0", (producer, 0))
        clock.now += 7200 * SECOND
        call(topics.append, "t", b"1", ("busy", 1))
        assert topics.sweep().producers == 0
        clock.now += HOUR
        assert topics.sweep().producers == 1
        assert topics.metrics.forgotten_producers == 1
        assert call(topics.append, "t", b"1", ("busy", 1)).repeated
        with pytest.raises(SequenceGap):
            call(topics.append, "t", b"1", ("idle", 1))


def test_what_is_no_producer_is_refused(tmp_path: Path) -> None:
    with topics_in(tmp_path) as topics:
        topics.store.call(topics.create, "t")
        for wrong in (("p", -1), ("p", True), ("p", 1 << 63), ("p", "0"), "p", ("p", 0, 0), 7):
            with pytest.raises(InvalidTopicOption):
                topics.store.call(topics.append, "t", b"x", wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidName):
            topics.store.call(topics.append, "t", b"x", ("no name", 0))
