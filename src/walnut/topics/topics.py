"""`Topics`: named sequences of messages on a store, put together.

    Topics ─┬─ Appender ── Producers         append, in a transaction
            ├─ Publisher                     publish: appends that share transactions
            ├─ Reading                       read, info, page, positions
            ├─ Tails ── Wakes                follow
            └─ Sweeper                       truncate, delete, sweep

What must stay true: a topic is rows of the store and nothing else, so whatever is true of a store's
transactions, backups and readers is true of topics.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Final

from walnut.log.commit import refuse_event_loop
from walnut.store.record import NOBODY, Meta
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.topics.appending import CHUNK_BYTES, ROW_COST, Appender, Wanted
from walnut.topics.columns import columns_of
from walnut.topics.errors import (
    InvalidTopicOption,
    OffsetUnknown,
    PositionMoved,
    TooManyTopics,
    TopicExists,
)
from walnut.topics.model import (
    READ_BYTES,
    READ_MESSAGES,
    Appended,
    Message,
    Messages,
    Metrics,
    Producer,
    Slice,
    Start,
    Swept,
    TopicInfo,
    TopicOptions,
    TopicsOptions,
    check_name,
)
from walnut.topics.producers import Producers, check_producer
from walnut.topics.publishing import Publisher
from walnut.topics.reading import Reading
from walnut.topics.rows import PositionRow, Rows, Topic
from walnut.topics.sweeping import Sweeper
from walnut.topics.tails import Tails, aeach, each

SEQUENCE: Final = "topics"
"""The store's sequence that numbers topics, and its counter that counts them."""


class Topics(Reading):
    """Named topics on a store, each with its own offsets from 0. Make one for each store; use it from
    any thread and any event loop.

    What takes a `tx` is a part of that transaction: call it in one, or by itself as
    `store.call(topics.create, "orders")` in threads and `await store.run(...)` in coroutines, also in
    somebody's name and under an idempotency key: `store.by(meta).run(...)`. What takes a `reader` reads
    through whatever tables are read through: the store (the newest durable state), a snapshot, a `tx`.

    Raises InvalidTopicOption: the store takes no rows large enough for such messages."""

    def __init__(self, store: Store, options: TopicsOptions | None = None) -> None:
        self.store = store
        self.options = options or TopicsOptions()
        self.metrics = Metrics()
        """What was done since this was made."""
        room = store.options.value_bytes - ROW_COST
        if self.options.message_bytes > room:
            raise InvalidTopicOption(
                f"message_bytes is {self.options.message_bytes} and the store's rows have room for "
                f"messages of {room}: lower it, or raise the store's value_bytes"
            )
        rows = Rows(store)
        super().__init__(rows)
        producers = Producers(rows)
        by_hour = rows.producers.index("by_hour", lambda row: row.hour)
        self._numbers = store.sequence(SEQUENCE)
        self._count = store.counter(SEQUENCE)
        self._appender = Appender(
            rows, producers, self._find, self._landed, min(CHUNK_BYTES, room), self.metrics
        )
        self._publisher = Publisher(store, self._appender, self.metrics)
        self._tails = Tails(store, rows, self, self.metrics)
        self._sweeper = Sweeper(store, rows, by_hour, self.options.producer_seconds)

    # -- topics ---------------------------------------------------------------------------------

    def create(self, tx: Transaction, topic: str, options: TopicOptions | None = None) -> TopicInfo:
        """Make a topic. Raises TopicExists, TooManyTopics, InvalidName."""
        if self._rows.topics.get(tx, check_name("a topic", topic)) is not None:
            raise TopicExists(f"there is a topic {topic} already: append to it, or choose a name")
        return self._make(tx, topic, options or self.options.default).info()

    def configure(self, tx: Transaction, topic: str, options: TopicOptions) -> TopicInfo:
        """Change how long a topic keeps its messages, from the next sweep on. Raises UnknownTopic."""
        row = self._rows.need(tx, topic)
        row.options = options
        return self._rows.topics.put(tx, row).info()

    def delete(self, tx: Transaction, topic: str) -> TopicInfo:
        """Delete a topic with all it holds, its producers and positions; returns what it was. A topic
        that gets its name later is another one. Raises UnknownTopic."""
        row = self._rows.need(tx, topic)
        self._sweeper.delete(tx, row)
        self._count.add(tx, -1)
        tx.after(self._tails.wakes.announce, row.id)
        return row.info()

    def truncate(self, tx: Transaction, topic: str, before: int) -> TopicInfo:
        """Let go of all messages with offsets below `before`: they can't be read from now on, and the
        next sweeps delete them. Raises UnknownTopic, OffsetUnknown."""
        row = self._rows.need(tx, topic)
        self._sweeper.truncate(tx, row, before)
        return row.info()

    def _find(self, tx: Transaction, name: str) -> Topic:
        if self.options.create and self._rows.topics.get(tx, check_name("a topic", name)) is None:
            return self._make(tx, name, self.options.default)
        return self._rows.need(tx, name)

    def _make(self, tx: Transaction, name: str, options: TopicOptions) -> Topic:
        if self._count.add(tx) > self.options.topics:
            raise TooManyTopics(
                f"there are {self.options.topics} topics, and {name} would be one more: delete one, or "
                "raise TopicsOptions.topics"
            )
        return self._rows.topics.put(tx, Topic(name, self._numbers.next(tx), tx.time, options))

    # -- appending ------------------------------------------------------------------------------

    def append(
        self, tx: Transaction, topic: str, messages: Messages, producer: Producer | None = None
    ) -> Appended:
        """Append messages to a topic, as a part of the transaction.

        Args:
            messages: `bytes`, a `Message`, or a list of them. Offset and time of a message that is
                given are not looked at: it gets the next offset, and the transaction's time.
            producer: its name, and the number of this append among its own, from 0. One that was
                appended before is not again, and answers where it is.

        Raises UnknownTopic, InvalidMessage, MessageTooLarge, SequenceGap, StaleSequence."""
        return self._appender.append(tx, self._wanted(topic, messages, producer))

    async def publish(
        self,
        topic: str,
        messages: Messages,
        producer: Producer | None = None,
        *,
        meta: Meta = NOBODY,
    ) -> Appended:
        """`append` by itself, for coroutines: durable when this returns. Those of one event loop with
        the same `meta` keep their order, share transactions, and cost a fraction of one each. In
        threads: `store.call(topics.append, ...)`.

        Raises as `append`; InvalidTopicOption for a `meta` with an idempotency key, which is for
        `store.by(meta).run(topics.append, ...)`."""
        if meta.key:
            raise InvalidTopicOption(
                "a publish shares its transaction with others, and an idempotency key is for one alone: "
                "use `store.by(meta).run(topics.append, ...)`, or a producer"
            )
        wanted = self._wanted(topic, messages, producer)
        return await self._publisher.publish(wanted, meta)

    def _wanted(self, topic: str, messages: Messages, producer: Producer | None) -> Wanted:
        if producer is not None:
            check_producer(producer)
        return Wanted(topic, columns_of(messages, self.options.message_bytes), producer)

    def _landed(self, topic: int, appends: int, messages: int, size: int) -> None:
        """What was appended to a topic is durable."""
        metrics = self.metrics
        metrics.appends += appends
        metrics.messages += messages
        metrics.bytes += size
        self._tails.wakes.announce(topic)

    # -- following ------------------------------------------------------------------------------

    @property
    def tails(self) -> Tails:
        """What `slices` and `aslices` are made of, for those who wait and read by hand."""
        return self._tails

    def slices(
        self,
        topic: str,
        start: Start = "latest",
        *,
        limit: int = READ_MESSAGES,
        bytes: int = READ_BYTES,  # noqa: A002  as of `read`
        timeout: float | None = None,
    ) -> Iterator[Slice]:
        """Messages from `start` on as they become durable, a `read` at a time, none of them empty. Ends
        when the store is closed, or when none comes for `timeout` seconds. For threads.

        Raises UnknownTopic, also once the topic is deleted; OffsetTruncated when it keeps less than
        whoever is slow has yet to read: go on from its `first`; OffsetUnknown; LogFailed."""
        refuse_event_loop("slices", "`async for slice in topics.aslices()`")
        tail = self._tails.begin(topic, start, limit, bytes)
        return self._tails.slices(tail, timeout)

    def aslices(
        self,
        topic: str,
        start: Start = "latest",
        *,
        limit: int = READ_MESSAGES,
        bytes: int = READ_BYTES,  # noqa: A002  as of `read`
        timeout: float | None = None,
    ) -> AsyncGenerator[Slice, None]:
        """`slices` for coroutines; `contextlib.aclosing` ends it at once when it is left early."""
        tail = self._tails.begin(topic, start, limit, bytes)
        return self._tails.aslices(tail, timeout)

    def follow(
        self, topic: str, start: Start = "latest", *, timeout: float | None = None
    ) -> Iterator[Message]:
        """`slices`, message by message."""
        return each(self.slices(topic, start, timeout=timeout))

    def afollow(
        self, topic: str, start: Start = "latest", *, timeout: float | None = None
    ) -> AsyncGenerator[Message, None]:
        """`aslices`, message by message."""
        return aeach(self.aslices(topic, start, timeout=timeout))

    # -- positions ------------------------------------------------------------------------------

    def commit(
        self, tx: Transaction, group: str, topic: str, offset: int, *, expected: int | None = None
    ) -> None:
        """Note that a group reads on from `offset`, in the transaction that has the effects of what it
        read: both are there, or neither. Anywhere in the topic: also back.

        Args:
            expected: where the group is now (0 if it never committed); refused if it is elsewhere, so
                that of two consumers who read the same only one has an effect.

        Raises UnknownTopic, OffsetUnknown, PositionMoved, InvalidName."""
        row = self._rows.need(tx, topic)
        check_name("a group", group)
        if not 0 <= offset <= row.next:
            raise OffsetUnknown(topic, offset, row.next)
        if expected is not None:
            at = self._rows.positions.get(tx, (row.id, group))
            if (0 if at is None else at.offset) != expected:
                raise PositionMoved(group, topic, expected, 0 if at is None else at.offset)
        self._rows.positions.put(tx, PositionRow(row.id, group, offset, tx.time))

    def forget(self, tx: Transaction, group: str, topic: str) -> bool:
        """Forget a group's position; returns whether there was one. Raises UnknownTopic."""
        return self._rows.positions.delete(tx, (self._rows.need(tx, topic).id, group))

    # -- retention ------------------------------------------------------------------------------

    def sweep(self) -> Swept:
        """Let go of what topics no longer keep, of what was truncated or deleted, and of idle
        producers, in transactions of bounded size: to be called every some seconds, and again at once
        if there is `more`. Costs a row for each topic with a limit, and chunks only of those over it.

        Blocks, so on an event loop: `await asyncio.to_thread(topics.sweep)`. Raises as `Store.call`."""
        refuse_event_loop("sweep", "`await asyncio.to_thread(topics.sweep)`")
        done = self._sweeper.sweep()
        self.metrics.swept_messages += done.messages
        self.metrics.swept_bytes += done.bytes
        self.metrics.forgotten_producers += done.producers
        return done
