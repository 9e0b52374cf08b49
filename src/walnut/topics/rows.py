"""What is stored of topics: five tables, and where their rows are.

    topics               name              a topic: its number, ends, size, options
    topics.chunks        (topic, first)    messages that were appended together, from offset `first`
    topics.producers     (topic, name)     what a producer sent last, and where that went
    topics.positions     (topic, group)    how far a group has read
    topics.dropped       topic             offsets that were let go of, until their chunks are deleted

What must stay true: a topic's number is never given again, so rows of one that was deleted are never
taken for those of another; the chunks of a topic follow one another without a gap from the one that
holds its first offset, or that `topics.dropped` says, to its end; `bytes` is what all of them hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import msgspec

from walnut.store.keys import Key
from walnut.store.table import Table
from walnut.store.transaction import Reader
from walnut.topics.errors import UnknownTopic
from walnut.topics.model import TopicInfo, TopicOptions

HOUR: Final = 3_600_000_000_000
"""Producers are found by the hour (of nanoseconds) they last sent in, so that most appends leave that
index alone."""

Row = TypeVar("Row", bound=msgspec.Struct)


class Topic(msgspec.Struct, omit_defaults=True):
    """A topic.

    Attributes:
        id: its number. created: when, ns since the Unix epoch.
        first, next: offsets it has: from, up to and not with. bytes: that its chunks hold.
        oldest: the time of the chunk with its first offset.
    """

    name: str
    id: int
    created: int
    options: TopicOptions
    first: int = 0
    next: int = 0
    bytes: int = 0
    oldest: int = 0

    @property
    def messages(self) -> int:
        """How many it has."""
        return self.next - self.first

    def info(self) -> TopicInfo:
        """What people are told of it."""
        return TopicInfo(
            name=self.name,
            created=self.created,
            options=self.options,
            first=self.first,
            next=self.next,
            bytes=self.bytes,
            oldest=self.oldest if self.next > self.first else 0,
        )


class Chunk(msgspec.Struct, omit_defaults=True, gc=False):
    """Messages with the offsets from `first` on, a column for each part of them.

    Attributes:
        time: when all of them were appended, ns since the Unix epoch.
        keys, headers: empty if none of them has any.
    """

    topic: int
    first: int
    time: int
    values: list[bytes]
    keys: list[bytes | None] = []
    headers: list[dict[str, str] | None] = []

    @property
    def next(self) -> int:
        """The offset after its last message."""
        return self.first + len(self.values)


class Sent(msgspec.Struct, array_like=True, frozen=True):
    """Where an append went: offsets [first, next), in the transaction `lsn`."""

    first: int
    next: int
    lsn: int


class ProducerRow(msgspec.Struct, frozen=True):
    """A producer: its last sequence, and where that append and those before it went, oldest first."""

    topic: int
    name: str
    sequence: int
    hour: int
    sent: list[Sent]


class PositionRow(msgspec.Struct, frozen=True):
    """How far a group has read, and since when."""

    topic: int
    group: str
    offset: int
    time: int


class Dropped(msgspec.Struct, frozen=True):
    """Offsets [first, next) of a topic, which may be deleted itself: their chunks are to be."""

    topic: int
    name: str
    first: int
    next: int


class Home(Protocol):
    """Where tables are declared, or found."""

    def table(self, name: str, row: type[Row], *, key: Callable[[Row], Key]) -> Table[Row]:
        """See `Store.table`."""


class Rows:
    """The tables, as a store or a reader of one has them."""

    def __init__(self, home: Home) -> None:
        self.topics = home.table("topics", Topic, key=lambda topic: topic.name)
        self.chunks = home.table(
            "topics.chunks", Chunk, key=lambda chunk: (chunk.topic, chunk.first)
        )
        self.producers = home.table(
            "topics.producers", ProducerRow, key=lambda row: (row.topic, row.name)
        )
        self.positions = home.table(
            "topics.positions", PositionRow, key=lambda row: (row.topic, row.group)
        )
        self.dropped = home.table("topics.dropped", Dropped, key=lambda row: row.topic)

    def need(self, reader: Reader, name: str) -> Topic:
        """A topic by name. Raises UnknownTopic."""
        topic = self.topics.get(reader, name) if isinstance(name, str) else None
        if topic is None:
            raise UnknownTopic(
                f"there is no topic {name!r:.220}: `create` makes one, and `page` gives those there are"
            )
        return topic

    def chunk_with(self, reader: Reader, topic: int, offset: int) -> Chunk | None:
        """The chunk that holds an offset of the topic with this number; None if it is gone.

        Chunks go from the front, so this comes upon no row that was deleted while there is one."""
        # Whoever reads on asks for the beginning of a chunk, which takes a fourth of a scan.
        chunk = self.chunks.get(reader, (topic, offset))
        if chunk is None:
            before = self.chunks.scan(reader, topic, stop=offset + 1, reverse=True, limit=1)
            chunk = next(before, None)
        return chunk if chunk is not None and chunk.first <= offset < chunk.next else None
