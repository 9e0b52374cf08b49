"""Letting go: of what retention no longer keeps, of what was truncated or deleted, and of producers that
are idle.

         first ──────▶ first                       next
      │ chunk │ chunk │ chunk │ ... │ chunk │ chunk │
      └─ topics.dropped ─┘                              first moves at once; chunks are deleted later

The row of a topic says how much it holds and how old its first chunk is, so a sweep reads one row for
each topic, and chunks only of those that are over a limit.

What must stay true: what `first` has passed can't be read from then on; chunks are deleted from the
front, in transactions of bounded size, and `topics.dropped` says where to go on; a message within every
limit of its topic is not let go of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final

from walnut.store.store import Store
from walnut.store.table import Index
from walnut.store.transaction import Reader, Transaction
from walnut.topics.columns import sizes_of
from walnut.topics.errors import OffsetUnknown
from walnut.topics.model import Swept
from walnut.topics.reading import offset_at
from walnut.topics.rows import HOUR, Chunk, Dropped, ProducerRow, Rows, Topic

SWEEP_CHUNKS: Final = 128
"""Chunks that one transaction reads to know what they hold, while nobody else can write."""

SWEEP_BYTES: Final = 8 << 20
"""Bytes of them, likewise; at least one chunk."""

SWEEP_ROWS: Final = 1000
"""Producers or positions removed by one transaction."""

SWEEP_TRANSACTIONS: Final = 1000
"""Transactions of one sweep that move beginnings, and as many that delete: up to 8 GB, or 128,000 chunks
of single messages."""

SECOND: Final = 1e9


class Sweeper:
    """Lets go, some at a time. `idle_seconds`: producers that appended nothing for so long are forgotten."""

    def __init__(
        self, store: Store, rows: Rows, by_hour: Index[ProducerRow], idle_seconds: float
    ) -> None:
        self._store = store
        self._rows = rows
        self._by_hour = by_hour
        self._idle = int(idle_seconds * SECOND)

    # -- at once --------------------------------------------------------------------------------

    def truncate(self, tx: Transaction, topic: Topic, before: int) -> None:
        """Let go of offsets below `before`. Raises OffsetUnknown."""
        if before > topic.next:
            raise OffsetUnknown(topic.name, before, topic.next)
        if before <= topic.first:
            return
        self._drop(tx, topic, before)
        topic.first = before
        chunk = None if before == topic.next else self._rows.chunk_with(tx, topic.id, before)
        topic.oldest = 0 if chunk is None else chunk.time
        self._rows.topics.put(tx, topic)

    def delete(self, tx: Transaction, topic: Topic) -> None:
        """Let go of a topic and all it holds."""
        self._drop(tx, topic, topic.next)
        self._rows.topics.delete(tx, topic.name)

    def _drop(self, tx: Transaction, topic: Topic, before: int) -> None:
        known = self._rows.dropped.get(tx, topic.id)
        first = topic.first if known is None else known.first
        self._rows.dropped.put(tx, Dropped(topic.id, topic.name, first, before))

    # -- some at a time -------------------------------------------------------------------------

    def sweep(self) -> Swept:
        """Let go of what is to be, as far as one sweep goes. For threads."""
        call, done = self._store.call, Swept()
        now = call(_time)
        with self._store.snapshot() as moment:
            topics = self._rows.topics.scan(moment)
            over = [topic.name for topic in topics if self._over(moment, topic, now)]
        for name in over[:SWEEP_TRANSACTIONS]:
            call(self._retain, name)
        left = SWEEP_TRANSACTIONS
        for dropped in list(islice(self._rows.dropped.scan(self._store), left)):
            left = self._some_at_a_time(partial(call, self._clear_some, dropped.topic), done, left)
        left = self._some_at_a_time(partial(call, self._forget_some), done, left)
        done.more = left == 0 or len(over) > SWEEP_TRANSACTIONS
        return done

    @staticmethod
    def _some_at_a_time(step: Callable[[], Swept], done: Swept, left: int) -> int:
        """Repeat a transaction while it says that there is more, `left` times at most; returns how many
        of these are left."""
        more = True
        while more and left > 0:
            part = step()
            done.messages += part.messages
            done.bytes += part.bytes
            done.chunks += part.chunks
            done.producers += part.producers
            more = part.more
            left -= 1
        return left

    def _over(self, reader: Reader, topic: Topic, now: int) -> bool:
        """A topic holds something that its options do not let it."""
        options = topic.options
        if topic.first == topic.next:
            return False
        if options.keep_messages is not None and topic.messages > options.keep_messages:
            return True
        if options.keep_seconds is not None and now - topic.oldest > options.keep_seconds * SECOND:
            return True
        if options.keep_bytes is None or topic.bytes <= options.keep_bytes:
            return False
        # A topic is nearly always somewhat over this limit: what counts is whether a chunk can go.
        chunk = self._rows.chunk_with(reader, topic.id, topic.first)
        return chunk is not None and topic.bytes - _bytes(chunk) >= options.keep_bytes

    def _retain(self, tx: Transaction, name: str) -> None:
        """Move the first offset of a topic to where its limits say."""
        topic = self._rows.topics.get(tx, name)
        if topic is None:
            return
        options, first = topic.options, topic.first
        if options.keep_messages is not None:
            first = max(first, topic.next - options.keep_messages)
        if options.keep_seconds is not None:
            since = tx.time - int(options.keep_seconds * SECOND)
            first = max(first, offset_at(self._rows, tx, topic, since))
        if options.keep_bytes is not None and self._rows.dropped.get(tx, topic.id) is None:
            first = max(first, self._within(tx, topic, options.keep_bytes))
        self.truncate(tx, topic, first)

    def _within(self, tx: Transaction, topic: Topic, limit: int) -> int:
        """The offset from where on a topic holds about `limit` bytes and not less, or one on the way
        there. (What was let go of before is deleted first, as the topic still counts it.)"""
        offset, held = topic.first, topic.bytes
        for chunk in self._chunks(tx, topic.id, topic.first, topic.next):
            held -= _bytes(chunk)
            if held < limit:
                break
            offset = chunk.next
        return offset

    def _chunks(self, tx: Transaction, topic: int, start: int, stop: int) -> list[Chunk]:
        """Chunks from the one that holds `start` on which end at `stop` or before, as many as a
        transaction may read."""
        chunks: list[Chunk] = []
        held = 0
        while start < stop and len(chunks) < SWEEP_CHUNKS and held < SWEEP_BYTES:
            chunk = self._rows.chunk_with(tx, topic, start)
            if chunk is None or chunk.next > stop:
                break
            chunks.append(chunk)
            held += _bytes(chunk)
            start = chunk.next
        return chunks

    def _clear_some(self, tx: Transaction, number: int) -> Swept:
        """Delete some of the chunks that a topic has let go of."""
        dropped = self._rows.dropped.get(tx, number)
        if dropped is None:
            return Swept()
        chunks = self._chunks(tx, number, dropped.first, dropped.next)
        for chunk in chunks:
            self._rows.chunks.delete(tx, (number, chunk.first))
        part = Swept(
            messages=sum(len(chunk.values) for chunk in chunks),
            bytes=sum(map(_bytes, chunks)),
            chunks=len(chunks),
            more=True,
        )
        topic = self._rows.topics.get(tx, dropped.name)
        alive = topic is not None and topic.id == number
        if topic is not None and alive and chunks:
            topic.bytes -= part.bytes
            self._rows.topics.put(tx, topic)
        if chunks:
            at = chunks[-1].next
            self._rows.dropped.put(tx, Dropped(number, dropped.name, at, dropped.next))
        elif alive or not self._clear_rows(tx, number):
            self._rows.dropped.delete(tx, number)
            part.more = False
        return part

    def _clear_rows(self, tx: Transaction, number: int) -> bool:
        """Delete some producers and positions of a topic that is gone; returns whether there were."""
        producers, positions = self._rows.producers, self._rows.positions
        keys = [(number, row.name) for row in producers.scan(tx, number, limit=SWEEP_ROWS)]
        groups = [(number, row.group) for row in positions.scan(tx, number, limit=SWEEP_ROWS)]
        for key in keys:
            producers.delete(tx, key)
        for key in groups:
            positions.delete(tx, key)
        return bool(keys or groups)

    def _forget_some(self, tx: Transaction) -> Swept:
        """Forget some of the producers that are idle."""
        before = (tx.time - self._idle) // HOUR
        idle = list(self._by_hour.scan(tx, stop=before, limit=SWEEP_ROWS))
        for row in idle:
            self._rows.producers.delete(tx, (row.topic, row.name))
        return Swept(producers=len(idle), more=len(idle) == SWEEP_ROWS)


def _time(tx: Transaction) -> int:
    return tx.time


def _bytes(chunk: Chunk) -> int:
    return sum(sizes_of(chunk.values, chunk.keys, chunk.headers))
