"""Topics against a model of lists: any sequence of calls, closing and crashing included."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from walnut.log import LogOptions
from walnut.store import Store, StoreOptions
from walnut.testing.disk import SimClock, SimDisk
from walnut.testing.engine import OpenModel
from walnut.topics import Message, OffsetTruncated, TopicOptions, Topics
from walnut.topics.errors import (
    SequenceGap,
    StaleSequence,
    TopicExists,
    TopicsError,
    UnknownTopic,
)
from walnut.topics.producers import WINDOW

NAMES = st.sampled_from(["a", "b", "c"])
MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.builds(
            Message,
            st.binary(max_size=20),
            st.none() | st.binary(max_size=5),
            st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
        ),
    ),
    min_size=1,
    max_size=8,
)
Content = tuple[bytes, bytes | None, dict[str, str]]


def content(message: bytes | Message) -> Content:
    """What a message has of its own."""
    if isinstance(message, bytes):
        return message, None, {}
    return message.value, message.key, message.headers


class Model:
    """A topic: every message there ever was, and from where on they are kept."""

    def __init__(self, keep: int | None) -> None:
        self.messages: list[Content] = []
        self.first = 0
        self.keep = keep
        self.sent: dict[str, list[tuple[int, int]]] = {}
        self.positions: dict[str, int] = {}


class TopicsAgainstLists(RuleBasedStateMachine):
    """Every answer is the model's."""

    @initialize()
    def begin(self) -> None:
        self.disk = SimDisk(1)
        self.clock = SimClock()
        self.models: dict[str, Model] = {}
        self.open()

    def open(self) -> None:
        log = LogOptions(
            disk=self.disk, background=False, clock=self.clock, segment_bytes=1 << 16,
            record_bytes=1 << 15, buffer_bytes=1 << 17,
        )  # fmt: skip
        self.store = Store("sim", StoreOptions(log=log, engine=OpenModel(1, 0.2)))
        self.topics = Topics(self.store)

    @rule(name=NAMES, keep=st.none() | st.integers(1, 10))
    def create(self, name: str, keep: int | None) -> None:
        options = TopicOptions(keep_messages=keep)
        if name in self.models:
            with pytest.raises(TopicExists):
                self.store.call(self.topics.create, name, options)
            return
        self.store.call(self.topics.create, name, options)
        self.models[name] = Model(keep)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if self.models.pop(name, None) is None:
            with pytest.raises(UnknownTopic):
                self.store.call(self.topics.delete, name)
            return
        self.store.call(self.topics.delete, name)

    @rule(name=NAMES, messages=MESSAGES)
    def append(self, name: str, messages: list[bytes | Message]) -> None:
        if name not in self.models:
            with pytest.raises(UnknownTopic):
                self.store.call(self.topics.append, name, messages)
            return
        done = self.store.call(self.topics.append, name, messages)
        self.appended(name, messages, (done.first, done.next))

    def appended(self, name: str, messages: list[bytes | Message], place: tuple[int, int]) -> None:
        held = self.models[name].messages
        assert place == (len(held), len(held) + len(messages))
        held += map(content, messages)

    @rule(batches=st.lists(st.tuples(NAMES, MESSAGES), max_size=5))
    def publish(self, batches: list[tuple[str, list[bytes | Message]]]) -> None:
        # What `publish` does with those of one turn; nothing flushes for coroutines here.
        wanted = [self.topics._wanted(name, messages, None) for name, messages in batches]
        results = self.store.call(self.topics._appender.append_all, wanted)
        for (name, messages), done in zip(batches, results, strict=True):
            if isinstance(done, TopicsError):
                assert isinstance(done, UnknownTopic)
                assert name not in self.models
            else:
                self.appended(name, messages, (done.first, done.next))

    @precondition(lambda self: self.models)
    @rule(data=st.data(), messages=MESSAGES, back=st.integers(-2, WINDOW + 2))
    def send(self, data: st.DataObject, messages: list[bytes | Message], back: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.models)))
        sent = self.models[name].sent.setdefault("p", [])
        sequence = max(0, len(sent) - back)
        again = len(sent) - sequence
        if again < 0:
            with pytest.raises(SequenceGap):
                self.store.call(self.topics.append, name, messages, ("p", sequence))
        elif again > WINDOW:
            with pytest.raises(StaleSequence):
                self.store.call(self.topics.append, name, messages, ("p", sequence))
        else:
            done = self.store.call(self.topics.append, name, messages, ("p", sequence))
            assert done.repeated == bool(again)
            if again:
                assert (done.first, done.next) == sent[sequence]
            else:
                self.appended(name, messages, (done.first, done.next))
                sent.append((done.first, done.next))

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.models)))
        model = self.models[name]
        before = data.draw(st.integers(0, len(model.messages)))
        model.first = max(model.first, before)
        assert self.store.call(self.topics.truncate, name, before).first == model.first

    @precondition(lambda self: self.models)
    @rule(data=st.data(), group=st.sampled_from(["g", "h"]))
    def commit(self, data: st.DataObject, group: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.models)))
        model = self.models[name]
        offset = data.draw(st.integers(0, len(model.messages)))
        expected = model.positions.get(group, 0)
        self.store.call(self.topics.commit, group, name, offset, expected=expected)
        model.positions[group] = offset

    @rule()
    def sweep(self) -> None:
        self.topics.sweep()
        for model in self.models.values():
            if model.keep is not None:
                model.first = max(model.first, len(model.messages) - model.keep)
        held = self.store.declared("topics.chunks").count(self.store)
        if not any(len(model.messages) > model.first for model in self.models.values()):
            assert held == 0

    @rule(crash=st.sampled_from(["close", "kill", "power cut"]))
    def reopen(self, crash: str) -> None:
        if crash == "close":
            self.store.close()
        else:
            (self.disk.kill if crash == "kill" else self.disk.power_cut)()
        self.open()

    @invariant()
    def everything_is_as_in_the_lists(self) -> None:
        page = self.topics.page(self.store)
        assert [info.name for info in page.topics] == sorted(self.models)
        for info in page.topics:
            model = self.models[info.name]
            assert (info.first, info.next) == (model.first, len(model.messages))
            found = self.topics.read(self.store, info.name).messages
            assert [(m.value, m.key, m.headers) for m in found] == model.messages[model.first :]
            assert [m.offset for m in found] == list(range(model.first, len(model.messages)))
            times = [m.time for m in found]
            assert times == sorted(times)
            positions = self.topics.positions(self.store, info.name)
            assert {p.group: p.offset for p in positions} == model.positions
            if model.first:
                with pytest.raises(OffsetTruncated) as gone:
                    self.topics.read(self.store, info.name, model.first - 1)
                assert gone.value.first == model.first

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


TestTopicsAgainstLists = TopicsAgainstLists.TestCase
TestTopicsAgainstLists.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, derandomize=True
)
