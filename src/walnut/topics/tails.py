"""Following a topic: slices of it as they become durable, for threads and for coroutines.

    read ─▶ a slice ─▶ whoever follows ─▶ read ...        nothing there: sleep until the topic has grown

What must stay true: a tail holds a place and no messages, so one that is slow costs no memory and holds
up nobody; it never spins.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Final

import msgspec

from walnut.log.errors import LogFailed
from walnut.store.errors import StoreClosed
from walnut.store.store import Store
from walnut.topics.errors import OffsetTruncated, UnknownTopic
from walnut.topics.model import Message, Metrics, Slice, Start
from walnut.topics.reading import Reading
from walnut.topics.rows import Rows, Topic
from walnut.topics.wakes import Wakes

COLD: Final = 10_000
"""Messages behind the end from where a coroutine's reading moves to a thread: rows that far back may
have to come from the disk."""


def each(slices: Iterator[Slice]) -> Iterator[Message]:
    """The messages of slices, one by one."""
    for part in slices:
        yield from part.messages


async def aeach(slices: AsyncGenerator[Slice, None]) -> AsyncGenerator[Message, None]:
    """The same for coroutines."""
    async with aclosing(slices):
        async for part in slices:
            for message in part.messages:
                yield message


class Following(msgspec.Struct):
    """A tail: which topic it follows, and where it is."""

    name: str
    topic: int
    offset: int
    limit: int
    bytes: int


class Tails:
    """Tails of the topics of one store."""

    def __init__(self, store: Store, rows: Rows, reading: Reading, metrics: Metrics) -> None:
        self.wakes = Wakes()
        self._store = store
        self._rows = rows
        self._reading = reading
        self._metrics = metrics
        self._lock = threading.Lock()
        store.log.when_over(self.wakes.announce_all)

    def begin(self, name: str, start: Start, limit: int, most: int) -> Following:
        """A tail from `start` on. Raises UnknownTopic, InvalidTopicOption."""
        row = self._rows.need(self._store, name)
        offset = self._reading.offset_of(self._store, name, start)
        return Following(name, row.id, offset, limit, most)

    def slices(self, tail: Following, timeout: float | None) -> Iterator[Slice]:
        """Slices as they come; ends when the store is closed, or none came for `timeout` seconds."""
        self._count(1)
        try:
            while self.wakes.wait(tail.topic, self._grown(tail), timeout):
                found = self.read(tail)
                if found is None:
                    return
                yield found
        finally:
            self._count(-1)

    async def aslices(self, tail: Following, timeout: float | None) -> AsyncGenerator[Slice, None]:
        """The same for coroutines."""
        self._count(1)
        behind = COLD + 1  # where it begins may be far back
        try:
            while await self.grown(tail, timeout):
                cold = behind > COLD
                found = await asyncio.to_thread(self.read, tail) if cold else self.read(tail)
                if found is None:
                    return
                yield found
                behind = found.end - found.next
        finally:
            self._count(-1)

    async def grown(self, tail: Following, timeout: float | None) -> bool:
        """Wait until there is something for a tail to read; False after `timeout` seconds without.
        Raises LogFailed."""
        return await self.wakes.async_wait(tail.topic, self._grown(tail), timeout)

    def _count(self, change: int) -> None:
        with self._lock:
            self._metrics.tails += change

    def _grown(self, tail: Following) -> Callable[[], bool]:
        """Whether there is something for a tail to do. Raises LogFailed."""

        def grown() -> bool:
            if isinstance(self._store.log.failure, LogFailed):
                raise self._store.log.failure
            try:
                row = self._rows.topics.get(self._store, tail.name)
            except StoreClosed:
                return True
            return row is None or row.id != tail.topic or row.next != tail.offset

        return grown

    def row_of(self, tail: Following) -> Topic:
        """The topic that a tail follows, as it is now. Raises UnknownTopic, OffsetTruncated."""
        row = self._rows.need(self._store, tail.name)
        if row.id != tail.topic:
            raise UnknownTopic(
                f"the topic {tail.name} that was followed was deleted, and another one made in its "
                "place: follow that, from 'earliest'"
            )
        if tail.offset < row.first:
            raise OffsetTruncated(tail.name, tail.offset, row.first)
        return row

    def read(self, tail: Following) -> Slice | None:
        """What is next, or None if the store was closed. Raises UnknownTopic, OffsetTruncated,
        OffsetUnknown."""
        try:
            row = self.row_of(tail)
            found = self._reading.read_from(self._store, row, tail.offset, tail.limit, tail.bytes)
        except StoreClosed:
            return None
        tail.offset = found.next
        return found
