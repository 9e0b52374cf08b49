"""One topic of a server: append, read, follow, and how far groups have read.

What must stay true: bytes that are appended come back as they were, but for white space in JSON of several
lines; a producer's append is in the topic once, however often it was sent.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from walnut.client.feed import Feed
from walnut.client.transport import Answer, Query, Transport, part

READ: Final = 1000
"""Messages of one read: the most the server gives."""
_JSON: Final = {"Content-Type": "application/json"}

Start = int | dt.datetime | Literal["earliest", "latest"]
"""Where to read from: an offset; the first message of a moment or later; the first that is kept; the
next one to come."""


class Message(msgspec.Struct, frozen=True):
    """A message. Whoever appends one gives its content; the topic gives it offset and time.

    Attributes:
        value: its content. `json()` reads it as JSON.
        key: what it is about.
        headers: more about it.
        offset: its place in the topic, from 0. time: when it was appended, as ISO 8601.
    """

    value: bytes
    key: bytes | None = None
    headers: dict[str, str] = {}
    offset: int = -1
    time: str = ""

    def json(self) -> Any:
        """Its value, which is JSON. Raises msgspec.DecodeError."""
        return msgspec.json.decode(self.value)


Messages = bytes | Message | Sequence[bytes | Message]


class Appended(msgspec.Struct, frozen=True):
    """Where messages were put: offsets [first, next), by the transaction of this LSN.

    `repeated`: they had been before, by the same producer under the same sequence."""

    first: int
    next: int
    lsn: int
    repeated: bool = False


class Slice(msgspec.Struct, frozen=True):
    """Messages in a row; `next` is where to read on, and `end` the offset the next message gets."""

    messages: list[Message]
    next: int
    end: int


class Keeping(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How long a topic keeps messages: while none of these limits is passed. None is no limit."""

    keep_seconds: float | None = None
    keep_bytes: int | None = None
    keep_messages: int | None = None


class TopicInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A topic at a glance.

    Attributes:
        created, oldest: when it was made, and its oldest message was appended; ns since the Unix epoch.
        first, next: the first offset that is kept, and the one that the next message gets.
        bytes: of what is kept.
    """

    name: str
    created: int
    options: Keeping
    first: int
    next: int
    bytes: int
    oldest: int = 0

    @property
    def messages(self) -> int:
        """How many are kept."""
        return self.next - self.first


class Position(msgspec.Struct, frozen=True):
    """How far a group has read: its next offset, when it said so (ns), and messages it has not read."""

    group: str
    offset: int
    time: int = 0
    lag: int = 0


class Topic:
    """A topic. Made by `Client.topic`. Any number of threads may use it.

    Everything raises Refused in one of its kinds, Unreachable, BadAnswer; writes also OutcomeUnknown.
    """

    def __init__(self, transport: Transport, name: str) -> None:
        self.name = name
        self._transport = transport
        self._path = f"/v1/topics/{part(name)}"

    def info(self) -> TopicInfo:
        """The topic at a glance. Raises NotThere."""
        return msgspec.json.decode(self._transport.request("GET", self._path).body, type=TopicInfo)

    # -- to append ----------------------------------------------------------------------------

    def append(
        self, messages: Messages, *, producer: tuple[str, int] | None = None, key: str | None = None
    ) -> Appended:
        """Append a message, or several together: all of them, once, durable when this returns.

        Args:
            producer: a name, and the number of this append among its own, from 0; then it needs no
                idempotency key, and shares its transaction with others that come at the same time.
            key: the idempotency key; one is made if none is given."""
        many = [messages] if isinstance(messages, bytes | Message) else messages
        body = msgspec.json.encode([given(message) for message in many])
        headers = dict(_JSON)
        if producer is not None:
            headers["Walnut-Producer"], headers["Walnut-Sequence"] = producer[0], str(producer[1])
        answer = self._transport.request(
            "POST", f"{self._path}/batch", body=body, headers=headers, key=key,
            keyed=producer is None,
        )  # fmt: skip
        done = msgspec.json.decode(answer.body, type=Appended)
        return msgspec.structs.replace(done, repeated=True) if answer.repeated else done

    # -- to read ------------------------------------------------------------------------------

    def read(
        self, start: Start = "earliest", *, limit: int = READ, at_least: int | None = None
    ) -> Slice:
        """Messages from `start` on, so many at most; none at the end. Raises Gone, NotThere."""
        query: Query = {"start": _start(start), "limit": limit, "at_least": at_least}
        answer = self._transport.request("GET", f"{self._path}/messages", query=query)
        found = msgspec.json.decode(answer.body, type=_Page)
        return Slice([_message(shown) for shown in found.items], found.offset, found.end)

    def follow(self, start: Start = "latest") -> Iterator[Message]:
        """Messages from `start` on as they become durable, each once; gone on with where the stream was
        cut. Whoever remembers `message.offset + 1` goes on from there later.

        Raises Gone: the topic keeps less than whoever is slow has yet to read."""
        return self._tail(start, follow=True)

    def messages(self, start: Start = "earliest") -> Iterator[Message]:
        """Messages from `start` up to the last there is now."""
        return self._tail(start, follow=False)

    def _tail(self, start: Start, *, follow: bool) -> Iterator[Message]:
        query: Query = {"start": _start(start), "follow": follow}
        for data in Feed(self._transport, f"{self._path}/tail", query):
            yield _message(msgspec.json.decode(data, type=_Shown))

    # -- groups -------------------------------------------------------------------------------

    def groups(self) -> list[Position]:
        """How far groups have read."""
        answer = self._transport.request("GET", f"{self._path}/groups")
        return msgspec.json.decode(answer.body, type=_Groups).items

    def position(self, group: str) -> int:
        """The offset that a group reads next; 0 if it never committed one."""
        answer = self._transport.request("GET", f"{self._path}/groups/{part(group)}")
        return msgspec.json.decode(answer.body, type=Position).offset

    def commit(
        self, group: str, offset: int, *, expected: int | None = None, key: str | None = None
    ) -> int:
        """Note that a group reads on from `offset`; the LSN.

        Args:
            expected: refused (Changed) if the group is not there, so that of two consumers who read the
                same only one has an effect."""
        wanted = {"offset": offset} | ({} if expected is None else {"expected": expected})
        return self._write("PUT", f"/groups/{part(group)}", wanted, key).lsn

    def forget(self, group: str, *, key: str | None = None) -> int:
        """Forget a group's position; the LSN."""
        return self._write("DELETE", f"/groups/{part(group)}", None, key).lsn

    # -- the topic itself ---------------------------------------------------------------------

    def keep(self, options: Keeping, *, key: str | None = None) -> TopicInfo:
        """Change how long it keeps messages."""
        answer = self._write("PATCH", "", options, key)
        return msgspec.json.decode(answer.body, type=TopicInfo)

    def truncate(self, before: int, *, key: str | None = None) -> TopicInfo:
        """Let go of all messages with offsets below `before`."""
        answer = self._write("POST", "/truncate", {"before": before}, key)
        return msgspec.json.decode(answer.body, type=TopicInfo)

    def delete(self, *, key: str | None = None) -> TopicInfo:
        """Delete it with all it holds; what it was."""
        return msgspec.json.decode(self._write("DELETE", "", None, key).body, type=TopicInfo)

    def _write(self, method: str, path: str, content: Any, key: str | None) -> Answer:
        body = None if content is None else msgspec.json.encode(content)
        headers = _JSON if body else {}
        return self._transport.request(
            method, self._path + path, body=body, headers=headers, key=key
        )


class Producer:
    """Appends to topics under a name, numbering its appends, so that none is there twice.

    For one thread. A name is for one run of a program: what a new one is called, no other was.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._next: dict[str, int] = {}

    def append(self, topic: Topic, messages: Messages) -> Appended:
        """`Topic.append` with the next number. After OutcomeUnknown, the same append given again is
        the same."""
        number = self._next.get(topic.name, 0)
        done = topic.append(messages, producer=(self.name, number))
        self._next[topic.name] = number + 1
        return done


class _Shown(msgspec.Struct):
    offset: int
    time: str
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    text: str | None = None
    bytes: str | None = None
    key: str | None = None
    key_bytes: str | None = None
    headers: dict[str, str] = {}


class _Page(msgspec.Struct):
    items: list[_Shown]
    offset: int
    end: int


class _Groups(msgspec.Struct):
    items: list[Position]


def _message(shown: _Shown) -> Message:
    if isinstance(shown.value, msgspec.Raw):
        value = bytes(shown.value)
    elif shown.text is not None:
        value = shown.text.encode()
    else:
        value = base64.b64decode(shown.bytes or "")
    key = None if shown.key is None else shown.key.encode()
    if shown.key_bytes is not None:
        key = base64.b64decode(shown.key_bytes)
    return Message(value, key, shown.headers, shown.offset, shown.time)


def given(message: bytes | Message) -> dict[str, Any]:
    """A message as the API takes it, byte for byte."""
    if isinstance(message, bytes):
        return _bytes_as(message, "text", "bytes")
    given = _bytes_as(message.value, "text", "bytes")
    if message.key is not None:
        given |= _bytes_as(message.key, "key", "key_bytes")
    return given | ({"headers": message.headers} if message.headers else {})


def _bytes_as(data: bytes, text: str, binary: str) -> dict[str, Any]:
    try:
        return {text: data.decode()}
    except UnicodeDecodeError:
        return {binary: base64.b64encode(data).decode()}


def _start(start: Start) -> str:
    if isinstance(start, dt.datetime):
        return start.astimezone(dt.UTC).isoformat()
    return str(start)
