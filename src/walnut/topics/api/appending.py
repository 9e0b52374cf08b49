"""Routes that append: one message as it is, or many as a JSON array.

    POST messages ─▶ publish ─┐
    POST messages ─▶ publish ─┼─▶ one transaction, one write to the disk        concurrent ones share it
    POST messages ─▶ publish ─┘

What must stay true: an answer is sent when its messages are durable; of a batch all are there or none.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import post
from litestar.params import FromPath, FromQuery, RawBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.store.api.asking import write
from walnut.store.api.rows import check_depth
from walnut.store.record import Meta
from walnut.store.transaction import Transaction
from walnut.topics.api.messages import Given, message_of
from walnut.topics.errors import InvalidMessage
from walnut.topics.model import Appended, Message, Producer
from walnut.topics.topics import Topics
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.caller import caller_of, header
from walnut.web.errors import InvalidRequest, MalformedBody
from walnut.web.express import express
from walnut.web.openapi import sends
from walnut.web.positions import LSN_HEADER
from walnut.web.streams import NDJSON

TAGS: Final = ["topics"]
CONTENT_TYPE: Final = "content-type"
"""The header of a message that says what its value is."""
_COMMON: Final = (
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",  # what curl says when it is told nothing
)
_batch: Final = msgspec.json.Decoder(list[Given])


class AppendedShown(msgspec.Struct, omit_defaults=True):
    """Where messages were put.

    Attributes:
        first, next: their offsets: from, up to and not with. lsn: of the transaction.
        repeated: they had been appended before, by the same producer under the same sequence.
    """

    first: int
    next: int
    lsn: int
    repeated: bool = False


def routes(topics: Topics) -> list[ControllerRouterHandler]:
    """The routes that append to these topics."""

    async def append(
        scope: Scope, topic: str, body: bytes, messages: Any
    ) -> Answer[AppendedShown] | Answer[bytes]:
        producer = producer_of(scope)
        caller = caller_of(scope)
        if not caller.idempotency_key:
            # Without the request's id, as those share a transaction who have the same Meta.
            meta = Meta(caller.principal, caller.reason)
            return _answer(await topics.publish(topic, messages, producer, meta=meta))
        function = partial(_append, topics, topic, messages, producer)
        done = await write(topics.store, scope, body, Appended, function)
        answer = _answer(done.result)
        answer.headers.update(done.headers)
        return answer

    @express
    @post(
        "/v1/topics/{topic:str}/messages",
        tags=TAGS,
        summary="Append a message",
        opt={**needs("topics:write", name="topic"), **sends(bytes, "application/octet-stream")},
    )
    async def append_one(
        topic: FromPath[str], body: RawBody, scope: Scope, key: FromQuery[str | None] = None
    ) -> Answer[AppendedShown]:
        """Append the body, whatever it is, as one message; `?key=` is its key. A `Content-Type` that is
        not JSON or octet-stream becomes a header of the message.

        With `Walnut-Producer` (a name) and `Walnut-Sequence` (a number from 0, one more each time) a
        message that is sent again is not appended again. Concurrent appends share a transaction, so the
        audit trail has who and why of each and not its request id; with an `Idempotency-Key` it has a
        transaction of its own."""
        return await append(scope, topic, body, _one(body, key, scope))  # type: ignore[return-value]

    @express
    @post(
        "/v1/topics/{topic:str}/batch",
        tags=TAGS,
        summary="Append many messages",
        opt={**needs("topics:write", name="topic"), **sends(list[dict[str, Any]])},
    )
    async def append_many(
        topic: FromPath[str], body: RawBody, scope: Scope
    ) -> Answer[AppendedShown]:
        """Append a JSON array of messages, all or none: `[{"value": {"any": "JSON"}, "key": "k",
        "headers": {"a": "b"}}, {"text": "..."}, {"bytes": "<base64>"}]`. Producers as for one message:
        the array is one append."""
        return await append(scope, topic, body, messages_in(body))  # type: ignore[return-value]

    return [append_one, append_many]


def _append(
    topics: Topics, topic: str, messages: Any, producer: Producer | None, tx: Transaction
) -> Appended:
    return topics.append(tx, topic, messages, producer)


def _answer(done: Appended) -> Answer[Any]:
    repeated = b',"repeated":true' if done.repeated else b""
    body = b'{"first":%d,"next":%d,"lsn":%d%b}' % (done.first, done.next, done.lsn, repeated)
    return Answer(body, headers={LSN_HEADER: str(done.lsn)})


def _one(body: bytes, key: str | None, scope: Scope) -> bytes | Message:
    kind = header(scope, b"content-type")
    if kind is None or kind.startswith(_COMMON):
        return body if key is None else Message(body, key_bytes(scope))
    if kind.startswith(NDJSON):
        raise InvalidMessage(
            "this is a stream of lines, and here one message is appended: POST it to .../stream"
        )
    return Message(body, None if key is None else key_bytes(scope), {CONTENT_TYPE: kind})


def key_bytes(scope: Scope) -> bytes:
    """The key in the query, as the bytes that were meant, UTF-8 or not."""
    for pair in scope["query_string"].split(b"&"):
        name, _, value = pair.partition(b"=")
        if name == b"key":
            return unquote_to_bytes(value.replace(b"+", b" "))
    return b""


def messages_in(body: bytes) -> list[bytes | Message]:
    """The messages of a JSON array. Raises InvalidRequest, MalformedBody, InvalidMessage."""
    check_depth(body)
    try:
        given = _batch.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error), {"at": "body", "message": str(error)}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBody(f"the body is no JSON: {error}") from error
    return [*map(message_of, given)]


def producer_of(scope: Scope) -> Producer | None:
    """The producer that a request names, and its sequence. Raises InvalidRequest."""
    name = header(scope, b"walnut-producer")
    text = header(scope, b"walnut-sequence")
    if name is None and text is None:
        return None
    if name is None or text is None or not (text.isascii() and text.isdecimal()) or len(text) > 19:
        what = "Walnut-Producer (a name) and Walnut-Sequence (a number from 0) go together"
        raise InvalidRequest(what, {"at": "header.Walnut-Sequence", "message": what})
    return name, int(text)
