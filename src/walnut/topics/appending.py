"""Appending: messages become chunks, as a part of a transaction.

    wanted ─┐                                    ┌▶ chunk, chunk, ...
    wanted ─┼─▶ columns, one set for each topic ─┤
    wanted ─┘                                    └▶ the topic's row

What must stay true: offsets are dense and in the order of the appends; each append is there whole or
not at all, and one that can't be is as if it had not been asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from walnut.store.transaction import Transaction
from walnut.topics.columns import Columns
from walnut.topics.errors import TopicsError
from walnut.topics.model import KIB, Appended, Metrics, Producer
from walnut.topics.producers import Producers
from walnut.topics.rows import Chunk, Rows, Topic

CHUNK_BYTES: Final = 256 * KIB
"""A chunk takes no message more if it would hold more than this: it is read whole, for one message too.
A larger message is a chunk by itself."""

CHUNK_MESSAGES: Final = 1024
"""Messages of a chunk at most, likewise."""

ROW_COST: Final = 16 * KIB
"""Bytes of a chunk's row beside what its messages count for, at most: ten for each, and its fields."""


class Wanted(msgspec.Struct, gc=False):
    """Messages to be appended."""

    topic: str
    columns: Columns
    producer: Producer | None


class Growth:
    """What a transaction appends to one topic."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.columns: Columns | None = None
        self.appends = 0
        self._own = False

    def add(self, columns: Columns, lsn: int) -> Appended:
        """Put messages behind those that are there."""
        held = 0
        self.appends += 1
        if self.columns is None:
            self.columns = columns
        else:
            held = len(self.columns.values)
            # Not into those that were given: the transaction may be run again.
            self.columns = self.columns.add(columns, own=self._own)
            self._own = True
        first = self.topic.next + held
        return Appended(first, first + len(columns.values), lsn)


class Appender:
    """Appends, as parts of transactions.

    Args:
        find: gives the topic of a name, or makes it.
        landed: called with a topic's number, appends, messages and bytes, once they are durable.
        chunk_bytes: of a chunk at most.
    """

    def __init__(
        self,
        rows: Rows,
        producers: Producers,
        find: Callable[[Transaction, str], Topic],
        landed: Callable[[int, int, int, int], None],
        chunk_bytes: int,
        metrics: Metrics,
    ) -> None:
        self._rows = rows
        self._producers = producers
        self._find = find
        self._landed = landed
        self._chunk_bytes = chunk_bytes
        self._metrics = metrics

    def append(self, tx: Transaction, one: Wanted) -> Appended:
        """Append messages. Raises UnknownTopic, SequenceGap, StaleSequence."""
        growth = Growth(self._find(tx, one.topic))
        done = self._add(tx, growth, one)
        self._write(tx, growth)
        return done

    def append_all(self, tx: Transaction, all_of: Iterable[Wanted]) -> list[Appended | TopicsError]:
        """Append the messages of several; for each what came of it."""
        growths: dict[str, Growth] = {}
        results: list[Appended | TopicsError] = []
        for one in all_of:
            try:
                growth = growths.get(one.topic)
                if growth is None:
                    growth = growths[one.topic] = Growth(self._find(tx, one.topic))
                results.append(self._add(tx, growth, one))
            except TopicsError as error:
                results.append(error)
        for growth in growths.values():
            self._write(tx, growth)
        return results

    def _add(self, tx: Transaction, growth: Growth, one: Wanted) -> Appended:
        if one.producer is None:
            return growth.add(one.columns, tx.lsn)
        done = self._producers.find(tx, growth.topic, one.producer)
        if done is not None:
            self._metrics.repeats += 1
            return done
        done = growth.add(one.columns, tx.lsn)
        self._producers.add(tx, growth.topic, one.producer, done)
        return done

    def _write(self, tx: Transaction, growth: Growth) -> None:
        columns, topic = growth.columns, growth.topic
        if columns is None:
            return
        if topic.first == topic.next:
            topic.oldest = tx.time
        if columns.bytes <= self._chunk_bytes and len(columns.values) <= CHUNK_MESSAGES:
            self._put(tx, topic, columns)
        else:
            for start, stop in self._cuts(columns.sizes()):
                self._put(tx, topic, columns.part(start, stop))
        topic.bytes += columns.bytes
        self._rows.topics.put(tx, topic)
        tx.after(self._landed, topic.id, growth.appends, len(columns.values), columns.bytes)

    def _put(self, tx: Transaction, topic: Topic, part: Columns) -> None:
        self._rows.chunks.put(
            tx, Chunk(topic.id, topic.next, tx.time, part.values, part.keys, part.headers)
        )
        topic.next += len(part.values)

    def _cuts(self, sizes: list[int]) -> Iterable[tuple[int, int]]:
        """Where messages of these sizes are cut into chunks: [from, to)."""
        start, held = 0, 0
        for number, size in enumerate(sizes):
            full = held + size > self._chunk_bytes or number - start == CHUNK_MESSAGES
            if full and number > start:
                yield start, number
                start, held = number, 0
            held += size
        yield start, len(sizes)
