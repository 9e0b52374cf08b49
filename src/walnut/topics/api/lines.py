"""Appending a stream of lines (NDJSON), of any length, while it arrives.

    chunks of the body ─▶ whole lines ─▶ waiting ─▶ a batch of all that wait ─▶ publish, until durable
         └ not read on while as many wait as a batch may hold ◀────────────────────────┘

Not reading is the backpressure: a batch is being committed and one waits, no more.

What must stay true: lines are committed in their order, and none waits for another one to come; whatever
ends the stream, the answer says how many of its first lines are committed, and nothing behind them is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, Literal, cast

import msgspec
from litestar import Request, post
from litestar.params import FromPath, FromQuery
from litestar.types import ControllerRouterHandler, Scope

from walnut.log.model import KIB, MIB
from walnut.store.errors import StoreClosed
from walnut.store.problems import PROBLEMS as STORE_PROBLEMS
from walnut.store.record import Meta
from walnut.topics.api.appending import TAGS, producer_of
from walnut.topics.api.messages import Given, is_json, message_of
from walnut.topics.errors import InvalidMessage, MessageTooLarge
from walnut.topics.model import Message, Producer, check_name
from walnut.topics.problems import PROBLEMS
from walnut.topics.topics import Topics
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.bodies import take_any_length
from walnut.web.caller import caller_of
from walnut.web.errors import BodyTimeout
from walnut.web.openapi import sends
from walnut.web.positions import LSN_HEADER
from walnut.web.problems import Problems, rendered
from walnut.web.streams import draining

BATCH_BYTES: Final = 512 * KIB
BATCH_LINES: Final = 4096
"""Of one transaction at most, about: it takes what there is when the one before is durable."""
LONGEST: Final = MIB
"""Bytes of a line: more than a message may have by default."""

IDLE_SECONDS: Final = 60.0
"""A client that sends nothing for so long gave up, or should: it takes a place that others may need."""

_given: Final = msgspec.json.Decoder(Given)


class Streamed(msgspec.Struct, omit_defaults=True):
    """What became of a stream of lines.

    Attributes:
        committed: lines that are durable: the first so many of the stream, empty ones not counted.
        first, next: offsets of the first of them, and behind the last. Others may have appended in between.
        lsn: of the last transaction.
        repeated: lines of these that had been appended before, by the same producer.
    """

    committed: int
    first: int
    next: int
    lsn: int
    repeated: int = 0


class Committing:
    """Commits lines in batches, one after another: all that wait when the one before is durable."""

    def __init__(self, topics: Topics, topic: str, meta: Meta, producer: Producer | None) -> None:
        self.done = Streamed(0, -1, -1, 0)
        self._topics = topics
        self._topic = topic
        self._meta = meta
        self._producer = producer
        self._waiting: list[bytes | Message] = []
        self._bytes = 0
        self._closed = False
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()

    def offer(self, message: bytes | Message, size: int) -> None:
        """Commit this behind those before."""
        self._waiting.append(message)
        self._bytes += size
        self._arrived.set()

    @property
    def full(self) -> bool:
        """As many lines wait as a batch may have."""
        return self._bytes >= BATCH_BYTES or len(self._waiting) >= BATCH_LINES

    async def room(self) -> None:
        """Wait until there is room for more."""
        while self.full:
            self._taken.clear()
            await self._taken.wait()

    def close(self) -> None:
        """There is no more to come."""
        self._closed = True
        self._arrived.set()

    async def run(self) -> None:
        """Commit until there is no more to come. Raises what an append does."""
        while True:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                self._bytes = 0
                self._taken.set()
                await self._append(batch)
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def _append(self, messages: list[bytes | Message]) -> None:
        producer, done = self._producer, self.done
        appended = await self._topics.publish(self._topic, messages, producer, meta=self._meta)
        if producer is not None:
            self._producer = producer[0], producer[1] + 1
        if not done.committed:
            done.first = appended.first
        done.committed += len(messages)
        done.next = max(done.next, appended.next)
        done.lsn = max(done.lsn, appended.lsn)
        done.repeated += len(messages) if appended.repeated else 0


def routes(topics: Topics) -> list[ControllerRouterHandler]:
    """The route that appends streams to these topics."""
    problems = Problems(STORE_PROBLEMS, PROBLEMS)

    @post(
        "/v1/topics/{topic:str}/stream",
        tags=TAGS,
        summary="Append a stream of lines",
        opt={**needs("topics:write", name="topic"), **sends(bytes, "application/x-ndjson")},
        request_max_body_size=None,
    )
    async def append_stream(
        topic: FromPath[str],
        request: Request[Any, Any, Any],
        lines: FromQuery[Literal["values", "messages"]] = "values",
    ) -> Answer[Any]:
        """Append each line of the body (JSON, as `application/x-ndjson` has it) as a message while it
        arrives, in transactions of bounded size. Of `lines=messages` each is `{"value": ..., "key": ...}`
        as they are read; else it is the value itself.

        The body may have any length; it is read as fast as it can be committed. The answer says how many
        lines were: all, or, if one is refused or the disk is full, so many of the first ones (`committed`
        in the problem), so that the rest can be sent again. With `Walnut-Producer` and `Walnut-Sequence`
        each transaction is an append with the next number; where they are cut depends on how the lines
        arrive, so a stream that broke off goes on behind what was committed, and is not sent as a whole
        again."""
        scope = request.scope
        check_name("a topic", topic)
        caller = caller_of(scope)
        take_any_length(cast("dict[str, Any]", scope))
        meta = Meta(caller.principal, caller.reason)
        committing = Committing(topics, topic, meta, producer_of(scope))
        try:
            reading = _read(request.stream(), committing, whole=lines == "messages")
            await _commit_all(reading, committing, draining(scope))
        except Exception as error:
            return _failed(error, committing.done, problems, scope)
        return Answer(committing.done, headers={LSN_HEADER: str(committing.done.lsn)})

    return [append_stream]


async def _commit_all(
    reading: Coroutine[Any, Any, None], committing: Committing, stop: asyncio.Event
) -> None:
    """Commit lines as they come, until there are no more or the server stops. Raises what ended it, once
    the lines before are committed."""
    committer = asyncio.ensure_future(committing.run())
    reader = asyncio.ensure_future(reading)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({committer, reader, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not committer.done():  # else it failed, and the rest of the body is of no use
            committing.close()
        await committer
        if not reader.done():
            raise StoreClosed("the server stops: go on behind the last line that was committed")
        await reader
    finally:
        for task in (committer, reader, stopping):
            task.cancel()
        await asyncio.gather(committer, reader, stopping, return_exceptions=True)


async def _read(chunks: AsyncIterator[bytes], committing: Committing, *, whole: bool) -> None:
    """Offer the lines of a body. Raises what is wrong with one."""
    rest = b""
    number = 0
    while (chunk := await _next(chunks)) is not None:
        *lines, rest = (rest + chunk).split(b"\n")
        for number, line in enumerate(lines, number + 1):  # noqa: B020  it counts on
            if (message := _message(line, number, whole=whole)) is not None:
                committing.offer(message, len(line))
                if committing.full:
                    await committing.room()
        if len(rest) > LONGEST:
            raise _too_long(number + 1)
    if (message := _message(rest, number + 1, whole=whole)) is not None:
        committing.offer(message, len(rest))


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    """More of the body; None at its end. Raises BodyTimeout."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await anext(chunks, None)
    except TimeoutError as error:
        raise BodyTimeout(
            f"nothing came for {IDLE_SECONDS:g} s: go on behind the last line that was committed"
        ) from error


def _message(line: bytes, number: int, *, whole: bool) -> bytes | Message | None:
    """What a line says is to be appended; None for an empty one. Raises InvalidMessage."""
    line = line.strip()
    if not line:
        return None
    if len(line) > LONGEST:
        raise _too_long(number)
    if not whole:
        if not is_json(line):
            raise InvalidMessage(f"line {number} is no JSON: {line[:80]!r}")
        return line
    try:
        return message_of(_given.decode(line))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidMessage) as error:
        raise InvalidMessage(f"line {number} is no message: {error}") from error


def _too_long(number: int) -> MessageTooLarge:
    return MessageTooLarge(
        f"line {number} has more than {LONGEST} bytes: keep large values elsewhere"
    )


def _failed(error: Exception, done: Streamed, problems: Problems, scope: Scope) -> Answer[Any]:
    """The problem, and what was committed before it."""
    kind = problems.kind_of(error)
    if kind is None:
        raise error
    more = {"committed": done.committed, "first": done.first, "next": done.next, "lsn": done.lsn}
    answer = rendered(kind, str(error), scope, more)
    headers = {k.decode(): v.decode() for k, v in answer.headers if not k.startswith(b"content-")}
    return Answer(
        answer.body, status=answer.status, headers=headers, media_type="application/problem+json"
    )
