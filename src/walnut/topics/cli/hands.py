"""Who reads and changes topics for a command: itself, or the server.

    open_to_read(DIR)     a store that is read from its files, whoever has it open
    open_to_read(URL)     a server
    open_to_write(DIR) ─┬─ nobody has it open ─▶ the store
                        └─ a server has it ────▶ the server, through its socket

What must stay true: commands do not know which it is; what they print is the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from walnut.client import topic as told
from walnut.client.address import is_url, parse
from walnut.client.client import Client
from walnut.client.errors import NotThere
from walnut.client.place import client_of, server_of
from walnut.store.cli.arguments import open_to_write as open_store
from walnut.store.record import Meta
from walnut.store.remote import StoreReader
from walnut.store.store import Store
from walnut.topics.errors import UnknownTopic
from walnut.topics.model import (
    MESSAGE_BYTES,
    Message,
    Position,
    Start,
    TopicInfo,
    TopicOptions,
)
from walnut.topics.remote import TopicsReader
from walnut.topics.topics import Topics

PAGE: Final = 500
"""Topics read at once."""


class ToRead(Protocol):
    """Topics that are read. All raise UnknownTopic."""

    def all(self) -> Iterator[TopicInfo]:
        """All topics, by name."""

    def info(self, topic: str) -> TopicInfo:
        """A topic at a glance."""

    def positions(self, topic: str) -> list[Position]:
        """How far its groups have read."""

    def messages(self, topic: str, start: Start) -> Iterator[Message]:
        """Its messages from there on, up to the last there is now."""

    def follow(self, topic: str, start: Start) -> Iterator[Message]:
        """The same, and those that come."""


class ToWrite(Protocol):
    """Topics that are changed."""

    longest: int
    """Bytes of the largest message."""

    def ready(self, topic: str, *, new: bool) -> None:
        """Make a topic that is not there, if it is to be new. Raises UnknownTopic if it is not."""

    def create(self, topic: str, options: TopicOptions) -> None:
        """Make a topic."""

    def append(self, topic: str, messages: Sequence[bytes | Message]) -> None:
        """Append messages, all or none."""

    def truncate(self, topic: str, before: int) -> TopicInfo:
        """Let go of messages below an offset."""

    def delete(self, topic: str) -> TopicInfo:
        """Delete a topic; what it was."""


@contextmanager
def open_to_read(place: str) -> Iterator[ToRead]:
    """The topics at a place."""
    if is_url(place):
        with client_of(parse(place)) as client:
            yield There(client)
        return
    with StoreReader(place) as store:
        yield Files(TopicsReader(store))


@contextmanager
def open_to_write(
    place: str, principal: str, reason: str, *, new: bool = False
) -> Iterator[ToWrite]:
    """Whoever can change the topics at a place; the store is made if it may be new."""
    address = server_of(place)
    if address is not None:
        with client_of(address, principal=principal, reason=reason) as client:
            yield There(client)
        return
    with Store(place) if new else open_store(place) as store:
        yield Here(store, Meta(principal, reason))


class Files:
    """The topics in a store's files."""

    def __init__(self, topics: TopicsReader) -> None:
        self._topics = topics

    def all(self) -> Iterator[TopicInfo]:
        """See `ToRead.all`."""
        cursor = None
        while True:
            page = self._topics.page(self._topics.store, limit=PAGE, cursor=cursor)
            yield from page.topics
            cursor = page.cursor
            if cursor is None:
                return

    def info(self, topic: str) -> TopicInfo:
        """See `ToRead.info`."""
        return self._topics.info(self._topics.store, topic)

    def positions(self, topic: str) -> list[Position]:
        """See `ToRead.positions`."""
        return self._topics.positions(self._topics.store, topic)

    def messages(self, topic: str, start: Start) -> Iterator[Message]:
        """See `ToRead.messages`."""
        while (part := self._topics.read(self._topics.store, topic, start)).messages:
            yield from part.messages
            start = part.next

    def follow(self, topic: str, start: Start) -> Iterator[Message]:
        """See `ToRead.follow`."""
        return self._topics.follow(topic, start)


class Here:
    """The topics of a store that this process has open."""

    def __init__(self, store: Store, meta: Meta) -> None:
        self._topics = Topics(store)
        self._store = store
        self._caller = store.by(meta)
        self.longest = self._topics.options.message_bytes

    def ready(self, topic: str, *, new: bool) -> None:
        """See `ToWrite.ready`."""
        if new and not self._topics.exists(self._store, topic):
            self._caller.call(self._topics.create, topic)
        self._topics.info(self._store, topic)

    def create(self, topic: str, options: TopicOptions) -> None:
        """See `ToWrite.create`."""
        self._caller.call(self._topics.create, topic, options)

    def append(self, topic: str, messages: Sequence[bytes | Message]) -> None:
        """See `ToWrite.append`."""
        self._caller.call(self._topics.append, topic, messages)

    def truncate(self, topic: str, before: int) -> TopicInfo:
        """See `ToWrite.truncate`."""
        info = self._caller.call(self._topics.truncate, topic, before)
        self._topics.sweep()
        return info

    def delete(self, topic: str) -> TopicInfo:
        """See `ToWrite.delete`."""
        info = self._caller.call(self._topics.delete, topic)
        self._topics.sweep()
        return info


class There:
    """The topics of a server. What it refuses is told in its words, which are those of the same errors."""

    longest = MESSAGE_BYTES

    def __init__(self, client: Client) -> None:
        self._client = client

    def all(self) -> Iterator[TopicInfo]:
        """See `ToRead.all`."""
        return map(_info, self._client.topics())

    def info(self, topic: str) -> TopicInfo:
        """See `ToRead.info`."""
        return _info(self._client.topic(topic).info())

    def positions(self, topic: str) -> list[Position]:
        """See `ToRead.positions`."""
        groups = self._client.topic(topic).groups()
        return [Position(one.group, one.offset, one.time, one.lag) for one in groups]

    def messages(self, topic: str, start: Start) -> Iterator[Message]:
        """See `ToRead.messages`."""
        return map(_message, self._client.topic(topic).messages(start))

    def follow(self, topic: str, start: Start) -> Iterator[Message]:
        """See `ToRead.follow`."""
        return map(_message, self._client.topic(topic).follow(start))

    def ready(self, topic: str, *, new: bool) -> None:
        """See `ToWrite.ready`."""
        try:
            self.info(topic)
        except NotThere as error:
            if error.slug != "unknown-topic" or not new:
                raise UnknownTopic(str(error)) from error
            self._client.create_topic(topic)

    def create(self, topic: str, options: TopicOptions) -> None:
        """See `ToWrite.create`."""
        keeping = told.Keeping(
            keep_seconds=options.keep_seconds,
            keep_bytes=options.keep_bytes,
            keep_messages=options.keep_messages,
        )
        self._client.create_topic(topic, keeping)

    def append(self, topic: str, messages: Sequence[bytes | Message]) -> None:
        """See `ToWrite.append`."""
        self._client.topic(topic).append(
            [
                one if isinstance(one, bytes) else told.Message(one.value, one.key, one.headers)
                for one in messages
            ]
        )

    def truncate(self, topic: str, before: int) -> TopicInfo:
        """See `ToWrite.truncate`."""
        return _info(self._client.topic(topic).truncate(before))

    def delete(self, topic: str) -> TopicInfo:
        """See `ToWrite.delete`."""
        return _info(self._client.topic(topic).delete())


def _info(info: told.TopicInfo) -> TopicInfo:
    return TopicInfo(
        name=info.name,
        created=info.created,
        options=TopicOptions(
            keep_seconds=info.options.keep_seconds,
            keep_bytes=info.options.keep_bytes,
            keep_messages=info.options.keep_messages,
        ),
        first=info.first,
        next=info.next,
        bytes=info.bytes,
        oldest=info.oldest,
    )


def _message(message: told.Message) -> Message:
    moment = dt.datetime.fromisoformat(message.time)
    ns = (moment - _EPOCH) // dt.timedelta(microseconds=1) * 1000
    return Message(message.value, message.key, message.headers, message.offset, ns)


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
