"""Reading: slices of a topic from an offset on, and finding the offset.

    offset 7 ─▶ the chunk at 7, or the last one before it ─▶ its rest ─▶ the chunk at its end ─▶ ...

What must stay true: a slice has every message from where it begins to where it ends, in order, and costs
no more memory than it was asked for and one chunk; what is gone is an error that says so, never a gap.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from walnut.store.errors import RowDamaged
from walnut.store.transaction import Reader
from walnut.topics.errors import InvalidTopicOption, OffsetTruncated, OffsetUnknown
from walnut.topics.model import (
    READ_BYTES,
    READ_MESSAGES,
    Message,
    Position,
    Slice,
    Start,
    TopicInfo,
    TopicPage,
)
from walnut.topics.rows import Chunk, PositionRow, Rows, Topic

_MICROSECOND: Final = dt.timedelta(microseconds=1)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Reading:
    """What can be read of topics, through whatever tables are read through: a transaction, a snapshot,
    the store itself, or a reader of it."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def info(self, reader: Reader, topic: str) -> TopicInfo:
        """A topic at a glance. Raises UnknownTopic."""
        return self._rows.need(reader, topic).info()

    def exists(self, reader: Reader, topic: str) -> bool:
        """There is a topic of this name."""
        return self._rows.topics.get(reader, topic) is not None

    def page(self, reader: Reader, *, limit: int = 100, cursor: str | None = None) -> TopicPage:
        """At most `limit` topics by name, and a cursor for the next ones. Raises InvalidKey,
        InvalidSetting (of the store)."""
        page = self._rows.topics.page(reader, limit=limit, cursor=cursor)
        return TopicPage([topic.info() for topic in page.rows], page.cursor)

    def read(
        self,
        reader: Reader,
        topic: str,
        start: Start = "earliest",
        *,
        limit: int = READ_MESSAGES,
        bytes: int = READ_BYTES,  # noqa: A002  the name it has everywhere
    ) -> Slice:
        """Messages from `start` on: at most `limit`, and none more once they have so many `bytes`
        (without keys and headers). None at the end of the topic.

        Raises UnknownTopic, OffsetTruncated, OffsetUnknown, InvalidTopicOption."""
        if limit < 1 or bytes < 1:
            raise InvalidTopicOption(f"limit is {limit} and bytes {bytes}: both are from 1")
        return self.read_from(reader, self._rows.need(reader, topic), start, limit, bytes)

    def read_from(self, reader: Reader, topic: Topic, start: Start, limit: int, most: int) -> Slice:
        """`read`, of a topic's row that was just read. Raises OffsetTruncated, OffsetUnknown."""
        begin = offset = self._resolve(reader, topic, start)
        if offset > topic.next:
            raise OffsetUnknown(topic.name, offset, topic.next)
        messages: list[Message] = []
        held = 0
        while offset < topic.next and len(messages) < limit and held < most:
            chunk = (
                None if offset < topic.first else self._rows.chunk_with(reader, topic.id, offset)
            )
            if chunk is None:
                if messages:
                    break
                raise self._gone(reader, topic, begin)
            found = _messages(chunk, offset, chunk.first + len(chunk.values), limit - len(messages))
            for number, message in enumerate(found, 1):
                held += len(message.value)
                if held >= most:
                    del found[number:]
                    break
            messages += found
            offset += len(found)
        return Slice(messages, offset, topic.next)

    def _gone(self, reader: Reader, topic: Topic, offset: int) -> Exception:
        """Why there is no chunk with an offset that there was a moment ago, or never is."""
        now = self._rows.need(reader, topic.name)
        if now.id != topic.id or offset >= now.first:
            if now.id == topic.id:
                return RowDamaged(
                    f"{topic.name} has no chunk with offset {offset}, between {now.first} and "
                    f"{now.next}: check the store by `walnut store verify`"
                )
            return OffsetUnknown(topic.name, offset, now.next)
        return OffsetTruncated(topic.name, offset, now.first)

    def offset_of(self, reader: Reader, topic: str, start: Start) -> int:
        """The offset that `start` means now.

        Raises UnknownTopic, InvalidTopicOption."""
        return self._resolve(reader, self._rows.need(reader, topic), start)

    def _resolve(self, reader: Reader, topic: Topic, start: Start) -> int:
        match start:
            case "earliest":
                return topic.first
            case "latest":
                return topic.next
            case dt.datetime() if start.tzinfo is not None:
                return offset_at(self._rows, reader, topic, (start - _EPOCH) // _MICROSECOND * 1000)
            case int() if start >= 0 and start is not True and start is not False:
                return start
        raise InvalidTopicOption(
            f"start is {start!r:.80}: it is an offset, an aware datetime, 'earliest' or 'latest'"
        )

    # -- positions ------------------------------------------------------------------------------

    def position(self, reader: Reader, group: str, topic: str) -> int | None:
        """The offset that a group reads next; None if it never committed one. Raises UnknownTopic."""
        row = self._rows.positions.get(reader, (self._rows.need(reader, topic).id, group))
        return None if row is None else row.offset

    def positions(self, reader: Reader, topic: str, *, limit: int = 1000) -> list[Position]:
        """How far groups have read a topic, by name, `limit` of them at most. Raises UnknownTopic."""
        about = self._rows.need(reader, topic)
        rows = self._rows.positions.scan(reader, about.id, limit=limit)
        return [_position(about, row) for row in rows]


def offset_at(rows: Rows, reader: Reader, topic: Topic, time: int) -> int:
    """The first offset of a topic whose time is not before `time` (ns), by bisection over chunks."""
    low, high = topic.first, topic.next  # the answer is in [low, high]
    while low < high:
        chunk = rows.chunk_with(reader, topic.id, (low + high) // 2)
        if chunk is None:  # swept meanwhile
            low = (low + high) // 2 + 1
        elif chunk.time < time:
            low = chunk.next
        else:
            high = max(low, chunk.first)
    return low


def _position(topic: Topic, row: PositionRow) -> Position:
    return Position(row.group, row.offset, row.time, topic.next - max(row.offset, topic.first))


def _messages(chunk: Chunk, start: int, stop: int, limit: int) -> list[Message]:
    """At most `limit` messages of a chunk from the offset `start` on. 0.15 us each."""
    stop = min(stop, start + limit)
    begin, end = start - chunk.first, stop - chunk.first
    time, values, keys, headers = chunk.time, chunk.values, chunk.keys, chunk.headers
    if not keys and not headers:
        return [
            Message(value, None, {}, offset, time)
            for offset, value in enumerate(values[begin:end], start)
        ]
    return [
        Message(
            values[at],
            keys[at] if keys else None,
            (headers[at] if headers else None) or {},
            chunk.first + at,
            time,
        )
        for at in range(begin, end)
    ]
