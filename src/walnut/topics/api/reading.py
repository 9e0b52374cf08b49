"""Routes that read: pages of messages, one message as it is, tails.

    topic ─▶ Recent: each message read and encoded once ─▶ TopicSource, one for each tail ─▶ frames

A tail's position is the offset of the last message it told, so -1 before the first.

What must stay true: whoever goes on from the last position he saw misses nothing and gets nothing twice;
a message that a topic no longer keeps is not told from memory.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery
from litestar.types import ControllerRouterHandler, Scope

from walnut.log.errors import LogClosed
from walnut.log.model import MAX_LSN, MIB
from walnut.store.api.asking import checked, page_size, reached
from walnut.store.problems import PROBLEMS as STORE_PROBLEMS
from walnut.topics.api.appending import CONTENT_TYPE, TAGS
from walnut.topics.api.messages import Shown, encoded, shown
from walnut.topics.errors import InvalidTopicOption, OffsetUnknown
from walnut.topics.model import READ_BYTES, Start
from walnut.topics.problems import PROBLEMS
from walnut.topics.tails import COLD, Following
from walnut.topics.topics import Topics
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.caller import header
from walnut.web.errors import InvalidRequest
from walnut.web.express import express
from walnut.web.openapi import takes
from walnut.web.paging import LIMIT, from_cursor, to_cursor
from walnut.web.positions import position
from walnut.web.problems import Problems
from walnut.web.streams import SSE, Event, Recent, Streamed, framing_of

SHARED: Final = 256
"""Topics of which the last messages are kept in memory for tails: those that were followed last."""
SHARED_BYTES: Final = MIB
READ_AT_ONCE: Final = 1000
"""Messages of one read for a tail."""


_INERT: Final = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "content-disposition": "attachment",
}
"""Somebody's HTML is not to run as a page of this server's, beside the console."""


class MessagesShown(msgspec.Struct, omit_defaults=True):
    """Messages in a row.

    Attributes:
        items: the messages.
        next: what to give as `cursor` to read on; left out at the end of the topic.
        offset: where to read on. end: the offset that the topic's next message gets.
    """

    items: list[Shown]
    offset: int
    end: int
    next: str = ""


class Shared:
    """The last messages of topics that are followed, encoded, for all who follow them."""

    def __init__(self, topics: Topics) -> None:
        self.topics = topics
        self._recent: OrderedDict[int, Recent] = OrderedDict()

    def recent(self, tail: Following) -> Recent:
        """Of the topic of this tail."""
        found = self._recent.get(tail.topic)
        if found is None:
            tails, name, number = self.topics.tails, tail.name, tail.topic

            def read(start: int, budget: int) -> list[tuple[int, Any, int]]:
                piece = tails.read(Following(name, number, start, READ_AT_ONCE, budget))
                if piece is None:
                    raise LogClosed("the server stops: go on when it is back")
                lines = [(message.offset, encoded(message)) for message in piece.messages]
                return [(offset, data, len(data)) for offset, data in lines]

            found = self._recent[tail.topic] = Recent(read, SHARED_BYTES)
            if len(self._recent) > SHARED:
                self._recent.popitem(last=False)
        else:
            self._recent.move_to_end(tail.topic)
        return found


class TopicSource:
    """A `Source` of messages: a tail from an offset on."""

    def __init__(self, shared: Shared, topic: str, start: Start, upto: int = MAX_LSN) -> None:
        tails = shared.topics.tails
        self._shared = shared
        self._tails = tails
        self._tail = tails.begin(topic, start, READ_AT_ONCE, READ_BYTES)
        self._upto = upto
        row = tails.row_of(self._tail)
        if self._tail.offset > row.next:
            raise OffsetUnknown(topic, self._tail.offset, row.next)

    @property
    def position(self) -> str:
        """See `Source`."""
        return str(self._tail.offset - 1)

    async def take(self) -> Sequence[Event]:
        """See `Source`. Raises UnknownTopic, OffsetTruncated."""
        tail = self._tail
        row = self._tails.row_of(tail)
        end = min(row.next, self._upto)
        if tail.offset >= end:
            return ()
        recent = self._shared.recent(tail)
        if row.next - tail.offset > COLD:
            found = await asyncio.to_thread(recent.read_past, tail.offset)
        else:
            found = recent.take(tail.offset)
        events = [Event(str(offset), data) for offset, data, _ in found if offset < end]
        tail.offset += len(events)
        return events

    async def wait(self, timeout: float) -> bool:
        """See `Source`. Raises LogFailed."""
        return await self._tails.grown(self._tail, timeout)


def start_of(text: str, name: str = "query.start") -> Start:
    """Where to read from: an offset, "earliest", "latest", or a moment (RFC 3339).

    Raises InvalidRequest."""
    if text in {"earliest", "latest"}:
        return text  # type: ignore[return-value]
    if text.isascii() and text.isdecimal() and len(text) < 20:
        return checked("start", int(text), 0, MAX_LSN)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        what = (
            f"{name} is {text[:40]!r}: it is an offset, earliest, latest, or a moment with its time zone, "
            "as 2026-01-31T08:00:00Z"
        )
        raise InvalidRequest(what, {"at": name, "message": what})
    return moment


def tail_start(scope: Scope, start: str) -> Start:
    """Where a tail begins: behind `Last-Event-ID` if the request has one. Raises InvalidRequest."""
    seen = header(scope, b"last-event-id")
    if not seen:
        return start_of(start)
    if seen == "-1":
        return 0
    given = start_of(seen, "Last-Event-ID")
    if not isinstance(given, int):
        what = f"Last-Event-ID is {seen[:40]!r}: it is the offset of the last message that was seen"
        raise InvalidRequest(what, {"at": "Last-Event-ID", "message": what})
    return given + 1


def routes(topics: Topics) -> list[ControllerRouterHandler]:
    """The routes that read these topics."""
    store = topics.store
    shared = Shared(topics)
    problems = Problems(STORE_PROBLEMS, PROBLEMS)
    reads = {**needs("topics:read", name="topic"), **takes("at_least")}

    @get("/v1/topics/{topic:str}/messages", tags=TAGS, summary="Read messages", opt=reads)
    async def read(
        topic: FromPath[str],
        start: FromQuery[str] = "earliest",
        limit: FromQuery[int] = LIMIT,
        cursor: FromQuery[str | None] = None,
        at_least: FromQuery[int] = 0,
    ) -> Answer[MessagesShown]:
        """Messages from `start` on: an offset, `earliest`, `latest`, or a moment (RFC 3339: the first
        message appended then or later). A value that is JSON is in `value`, other text in `text`, the
        rest in `bytes`, as base64."""
        begin = from_cursor(cursor, int) if cursor else start_of(start)
        size = page_size(limit)
        await reached(store, at_least)
        with store.snapshot() as snapshot:
            piece = await asyncio.to_thread(topics.read, snapshot, topic, begin, limit=size)
            more = to_cursor(piece.next) if piece.next < piece.end else ""
            items = [*map(shown, piece.messages)]
            return Answer(
                MessagesShown(items, piece.next, piece.end, more), headers=position(snapshot.lsn)
            )

    @express
    @get(
        "/v1/topics/{topic:str}/messages/{offset:int}",
        tags=TAGS,
        summary="Read a message as it is",
        opt=needs("topics:read", name="topic"),
    )
    async def read_one(topic: FromPath[str], offset: FromPath[int]) -> Answer[bytes]:
        """The value of one message, as it was appended, with its `Content-Type` if it has one."""
        if offset < 0:
            raise InvalidTopicOption(f"offset is {offset}: offsets are from 0")
        lsn = store.applied_lsn
        found = topics.read(store, topic, offset, limit=1).messages
        if not found:
            raise OffsetUnknown(topic, offset, offset)
        kind = found[0].headers.get(CONTENT_TYPE, "application/octet-stream")
        if not kind.isascii() or not kind.isprintable():
            kind = "application/octet-stream"
        headers = {**position(lsn), **_INERT}
        return Answer(found[0].value, media_type=kind, headers=headers)

    @get(
        "/v1/topics/{topic:str}/tail",
        tags=TAGS,
        summary="Follow a topic",
        media_type=SSE,
        opt={**needs("topics:read", name="topic"), **takes("Last-Event-ID")},
    )
    async def tail(
        topic: FromPath[str],
        scope: Scope,
        start: FromQuery[str] = "latest",
        *,
        follow: FromQuery[bool] = True,
    ) -> Streamed:
        """Messages from `start` on as they become durable: as Server-Sent Events, whose ids are offsets,
        if `Accept` asks for them, else as lines of JSON. It goes on behind `Last-Event-ID`.
        `follow=false` makes it end with the message that is the last one now."""
        begin = tail_start(scope, start)
        upto = MAX_LSN if follow else topics.info(store, topic).next
        source = TopicSource(shared, topic, begin, upto)
        framing = framing_of(header(scope, b"accept") or "")
        return Streamed(source, framing, problems, follow=follow)

    return [read, read_one, tail]
