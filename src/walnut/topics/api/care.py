"""Routes of topics themselves, and of the positions of groups.

What must stay true: each change is one transaction, in its sender's name, once for each idempotency key.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import msgspec
from litestar import delete, get, patch, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.log.model import MAX_LSN
from walnut.store.api.asking import checked, page_size, reached, write
from walnut.store.transaction import Transaction
from walnut.topics.api.appending import TAGS
from walnut.topics.model import Position, TopicInfo, TopicOptions
from walnut.topics.topics import Topics
from walnut.web.access import needs, permit
from walnut.web.answer import Answer
from walnut.web.errors import Forbidden
from walnut.web.openapi import takes
from walnut.web.paging import LIMIT, Page
from walnut.web.positions import position

GROUPS: Final = 1000
"""Groups of a topic that are listed."""


class NewTopic(msgspec.Struct, forbid_unknown_fields=True):
    """A topic to be made. Without options it has those that walnut.toml says."""

    name: str
    options: TopicOptions | None = None


class Truncate(msgspec.Struct, forbid_unknown_fields=True):
    """Let go of all messages with offsets below `before`."""

    before: int


class Commit(msgspec.Struct, forbid_unknown_fields=True):
    """A group reads on from `offset`; only if it is at `expected` now, where that is given."""

    offset: int
    expected: int | None = None


class At(msgspec.Struct):
    """Where a group is: the offset of the next message that it reads."""

    group: str
    offset: int


class Forgotten(msgspec.Struct):
    """Whether the group had a position."""

    forgotten: bool


def routes(topics: Topics) -> Iterator[ControllerRouterHandler]:
    """The routes of these topics."""
    yield from _topics(topics)
    yield from _groups(topics)


def _topics(topics: Topics) -> Iterator[ControllerRouterHandler]:
    store = topics.store

    @get("/v1/topics", tags=TAGS, summary="List topics", opt=needs("topics:read", each=True))
    async def list_topics(
        scope: Scope, limit: FromQuery[int] = LIMIT, cursor: FromQuery[str | None] = None
    ) -> Page[TopicInfo]:
        """The topics that the caller may read, by name. A page may have fewer than `limit` and yet a
        `next`."""
        page = topics.page(store, limit=page_size(limit), cursor=cursor or None)
        return Page(
            [each for each in page.topics if _may_read(scope, each.name)], page.cursor or ""
        )

    @post("/v1/topics", tags=TAGS, summary="Make a topic", opt=needs("topics:write", each=True))
    async def create_topic(data: JSONBody[NewTopic], scope: Scope) -> Answer[TopicInfo]:
        """Make a topic. 409 if there is one of its name."""
        permit(scope, "topics:write", data.name)
        create = partial(_create, topics, data)
        done = await write(store, scope, msgspec.json.encode(data), TopicInfo, create)
        return Answer(done.result, headers=done.headers)

    @get(
        "/v1/topics/{topic:str}",
        tags=TAGS,
        summary="Describe a topic",
        opt={**needs("topics:read", name="topic"), **takes("at_least")},
    )
    async def describe(topic: FromPath[str], at_least: FromQuery[int] = 0) -> Answer[TopicInfo]:
        """Its options, offsets and size."""
        lsn = await reached(store, at_least)
        return Answer(topics.info(store, topic), headers=position(lsn))

    @patch(
        "/v1/topics/{topic:str}",
        tags=TAGS,
        summary="Change how long a topic keeps messages",
        opt=needs("topics:write", name="topic"),
    )
    async def configure(
        topic: FromPath[str], data: JSONBody[TopicOptions], scope: Scope
    ) -> Answer[TopicInfo]:
        """What is left out is no limit. From the next sweep on, some seconds from now."""
        change = partial(_configure, topics, topic, data)
        done = await write(store, scope, msgspec.json.encode(data), TopicInfo, change)
        return Answer(done.result, headers=done.headers)

    @delete(
        "/v1/topics/{topic:str}",
        tags=TAGS,
        summary="Delete a topic",
        status_code=200,
        opt=needs("topics:admin", name="topic"),
    )
    async def delete_topic(topic: FromPath[str], scope: Scope) -> Answer[TopicInfo]:
        """Delete a topic with all it holds; the answer says what it was."""
        done = await write(store, scope, b"", TopicInfo, partial(_delete, topics, topic))
        return Answer(done.result, headers=done.headers)

    @post(
        "/v1/topics/{topic:str}/truncate",
        tags=TAGS,
        summary="Let go of messages",
        status_code=200,
        opt=needs("topics:admin", name="topic"),
    )
    async def truncate(
        topic: FromPath[str], data: JSONBody[Truncate], scope: Scope
    ) -> Answer[TopicInfo]:
        """Let go of all messages before an offset; they can't be read from now on."""
        before = checked("before", data.before, 0, MAX_LSN)
        change = partial(_truncate, topics, topic, before)
        done = await write(store, scope, msgspec.json.encode(data), TopicInfo, change)
        return Answer(done.result, headers=done.headers)

    yield from (list_topics, create_topic, describe, configure, delete_topic, truncate)


def _groups(topics: Topics) -> Iterator[ControllerRouterHandler]:
    store = topics.store

    @get(
        "/v1/topics/{topic:str}/groups",
        tags=TAGS,
        summary="List groups",
        opt=needs("topics:read", name="topic"),
    )
    async def list_groups(topic: FromPath[str]) -> Page[Position]:
        """How far groups have read the topic, by name, and how many messages each has yet to read."""
        return Page(topics.positions(store, topic, limit=GROUPS))

    @get(
        "/v1/topics/{topic:str}/groups/{group:str}",
        tags=TAGS,
        summary="Where a group is",
        opt={**needs("topics:read", name="topic"), **takes("at_least")},
    )
    async def group_position(
        topic: FromPath[str], group: FromPath[str], at_least: FromQuery[int] = 0
    ) -> Answer[At]:
        """The offset that the group reads next: 0 if it never committed one."""
        lsn = await reached(store, at_least)
        return Answer(At(group, topics.position(store, group, topic) or 0), headers=position(lsn))

    @put(
        "/v1/topics/{topic:str}/groups/{group:str}",
        tags=TAGS,
        summary="Commit a group's position",
        opt=needs("topics:write", name="topic"),
    )
    async def commit(
        topic: FromPath[str], group: FromPath[str], data: JSONBody[Commit], scope: Scope
    ) -> Answer[At]:
        """Note how far the group has read. With `expected` it is refused (412) if another consumer
        committed meanwhile, so that of two who read the same only one has an effect."""
        offset = checked("offset", data.offset, 0, MAX_LSN)
        change = partial(_commit, topics, group, topic, offset, data.expected)
        done = await write(store, scope, msgspec.json.encode(data), At, change)
        return Answer(done.result, headers=done.headers)

    @delete(
        "/v1/topics/{topic:str}/groups/{group:str}",
        tags=TAGS,
        summary="Forget a group",
        status_code=200,
        opt=needs("topics:write", name="topic"),
    )
    async def forget(topic: FromPath[str], group: FromPath[str], scope: Scope) -> Answer[Forgotten]:
        """Forget the group's position."""
        done = await write(store, scope, b"", Forgotten, partial(_forget, topics, group, topic))
        return Answer(done.result, headers=done.headers)

    yield from (list_groups, group_position, commit, forget)


# What transactions do, by name: it is what the store's metrics and idempotency keys know them by.


def _create(topics: Topics, wanted: NewTopic, tx: Transaction) -> TopicInfo:
    return topics.create(tx, wanted.name, wanted.options)


def _configure(topics: Topics, topic: str, options: TopicOptions, tx: Transaction) -> TopicInfo:
    return topics.configure(tx, topic, options)


def _delete(topics: Topics, topic: str, tx: Transaction) -> TopicInfo:
    return topics.delete(tx, topic)


def _truncate(topics: Topics, topic: str, before: int, tx: Transaction) -> TopicInfo:
    return topics.truncate(tx, topic, before)


def _commit(
    topics: Topics, group: str, topic: str, offset: int, expected: int | None, tx: Transaction
) -> At:
    topics.commit(tx, group, topic, offset, expected=expected)
    return At(group, offset)


def _forget(topics: Topics, group: str, topic: str, tx: Transaction) -> Forgotten:
    return Forgotten(topics.forget(tx, group, topic))


def _may_read(scope: Any, topic: str) -> bool:
    try:
        permit(scope, "topics:read", topic)
    except Forbidden:
        return False
    return True
