"""Topics: all of them, one of them, one message.

topics                          all, by name
topics?topic=orders             messages, newest first, and following
topics?topic=orders&find=...    from an offset or a time
topics?topic=orders&offset=17   one message
"""

from __future__ import annotations

import datetime as dt
import functools
from html import escape
from typing import Any, Final

import msgspec
from nicegui import ui

from walnut.console.errors import InvalidInput
from walnut.console.parts.asking import confirm, dialog
from walnut.console.parts.elements import actions, badge, button, heading, html, pairs, tag
from walnut.console.parts.empty import empty
from walnut.console.parts.follow import Follow, News
from walnut.console.parts.grid import Batch, Column, Grid, Line
from walnut.console.parts.jsonview import json_view
from walnut.console.parts.tiles import Tile, tiles
from walnut.console.reading import reading
from walnut.console.shell import acting, go
from walnut.console.visit import Visit, link
from walnut.console.words import ago, count, moment, number, read_moment, size, span
from walnut.store.notation import text_of
from walnut.store.record import Meta
from walnut.subsystem.model import Page
from walnut.topics.errors import OffsetTruncated
from walnut.topics.model import Message, TopicInfo, TopicOptions
from walnut.topics.topics import Topics

MESSAGES: Final = 100
"""Of one fetch."""
GROUPS: Final = 50
"""Groups of consumers that are shown."""
SHOWN: Final = 300
"""Characters of a message in a row."""
DAY: Final = 86_400


async def topics_page(visit: Visit) -> None:
    """Draw the page that the address asks for."""
    topics = visit.resources.find(Topics)
    name = visit.query.get("topic", "")
    if not name:
        await _all(visit, topics)
        return
    visit.require("topics:read", name)
    info = await reading(topics.info, topics.store, name)
    if "offset" in visit.query:
        await _message(topics, info, visit.number("offset", 0))
    else:
        await _topic(visit, topics, info)


PAGES: Final = (Page("topics", "Topics", "forum", topics_page, "topics:read"),)


# -- all topics ---------------------------------------------------------------------------------


async def _all(visit: Visit, topics: Topics) -> None:
    async def fetch(cursor: str | None) -> Batch:
        page = await reading(topics.page, topics.store, limit=MESSAGES, cursor=cursor)
        now = topics.store.log.options.clock()
        return Batch([_info_line(info, now) for info in page.topics], page.cursor)

    with heading(
        "Topics",
        "Messages in order, each topic with offsets of its own from 0. Append to one, follow it, or read it "
        "in a group that keeps its place in the same transaction as its effects.",
    ):
        if visit.may("topics:admin", any_=True):
            _new(visit, topics)
    first = await fetch(None)
    with tag("section", "w-panel flush"):
        if not first.lines:
            empty(
                "forum",
                "No topics yet",
                "Make one with New topic, or from a shell or over HTTP:",
                "walnut topics create orders --keep 7d\nwalnut topics append orders 'hello'",
            )
            return
        grid = Grid(
            "Topics",
            [
                Column("Topic", "minmax(160px, 1.4fr)"),
                Column("Messages", "110px", right=True),
                Column("Next offset", "120px", right=True),
                Column("Size", "100px", right=True),
                Column("Oldest", "130px"),
                Column("Keeps", "minmax(140px, 1fr)"),
            ],
            fetch,
            least=760,
        )
        await grid.load()


def _info_line(info: TopicInfo, now: int) -> Line:
    return Line(
        (
            f"<b>{escape(info.name)}</b>",
            number(info.messages),
            number(info.next),
            size(info.bytes),
            ago(info.oldest, now),
            keeps(info.options),
        ),
        link("topics", topic=info.name),
    )


def keeps(options: TopicOptions) -> str:
    """How long a topic keeps its messages, in words."""
    said = []
    if options.keep_seconds is not None:
        said.append(span(options.keep_seconds))
    if options.keep_bytes is not None:
        said.append(size(options.keep_bytes))
    if options.keep_messages is not None:
        said.append(count(options.keep_messages, "message"))
    return ", ".join(said) or "everything"


class Limits:
    """Fields for how long a topic keeps its messages."""

    def __init__(self, options: TopicOptions) -> None:
        days = None if options.keep_seconds is None else options.keep_seconds / DAY
        mib = None if options.keep_bytes is None else options.keep_bytes / (1 << 20)
        self._days = _number("Days", days)
        self._mib = _number("MiB", mib)
        self._messages = _number("Messages", options.keep_messages)

    def options(self) -> TopicOptions:
        """What was typed; what is empty is no limit. Raises InvalidTopicOption."""
        days, mib, messages = self._days.value, self._mib.value, self._messages.value
        return TopicOptions(
            keep_seconds=None if days is None else days * DAY,
            keep_bytes=None if mib is None else int(mib * (1 << 20)),
            keep_messages=None if messages is None else int(messages),
        )


def _number(label: str, value: float | None) -> ui.number:
    field = ui.number(label, value=value, placeholder="no limit", min=0)
    return field.props("outlined dense stack-label clearable")


def _new(visit: Visit, topics: Topics) -> None:
    async def make() -> None:
        name = str(field.value or "").strip()
        meta = _meta(visit, "topics:admin", name, "made a topic")
        await topics.store.by(meta).run(topics.create, name, limits.options())
        go(link("topics", topic=name))

    with dialog(
        "New topic", "It keeps its messages while none of these limits is passed."
    ) as shown:
        field = ui.input("Name").props("outlined dense autofocus")
        limits = Limits(TopicOptions())
        with actions():
            button("Cancel", shown.close)
            button("Make topic", acting(visit, make), "main")
    button("New topic", shown.open, "main", key="n")


def _meta(visit: Visit, need: str, name: str, reason: str) -> Meta:
    caller = visit.require(need, name)
    return Meta(caller.principal, f"console: {reason}", caller.request_id)


# -- one topic ----------------------------------------------------------------------------------


async def _topic(visit: Visit, topics: Topics, info: TopicInfo) -> None:
    with heading(info.name, "", [("Topics", link("topics"))]):
        if visit.may("topics:write", info.name):
            _append(visit, topics, info)
        if visit.may("topics:admin", info.name):
            _keep(visit, topics, info)
            _delete(visit, topics, info)
    now = topics.store.log.options.clock()
    with tiles():
        Tile("Messages kept", number(info.messages), f"offsets {info.first:,} to {info.next:,}")
        Tile("Size", size(info.bytes), "values, keys and headers")
        Tile(
            "Oldest message", ago(info.oldest, now), moment(info.oldest)[:-4] if info.oldest else ""
        )
        Tile("Keeps", keeps(info.options), f"made {ago(info.created, now)}")
    await _groups(topics, info)
    with tag("section", "w-panel flush"):
        await _messages(visit, topics, info)


async def _groups(topics: Topics, info: TopicInfo) -> None:
    positions = await reading(topics.positions, topics.store, info.name, limit=GROUPS)
    if not positions:
        return
    now = topics.store.log.options.clock()
    with tag("section", "w-panel flush"):
        with tag("div", "w-panel-head"):
            tag("h2", "", "Who reads it")
        grid = Grid(
            "Groups of consumers",
            [
                Column("Group", "minmax(140px, 1fr)"),
                Column("Next offset", "130px", right=True),
                Column("Behind", "110px", right=True),
                Column("Committed", "150px"),
            ],
            least=520,
        )
        grid.add(
            [
                Line((escape(one.group), number(one.offset), number(one.lag), ago(one.time, now)))
                for one in positions
            ]
        )


async def _messages(visit: Visit, topics: Topics, info: TopicInfo) -> None:
    name = info.name
    begin, said = await _find(topics, info, visit.query.get("find", ""))
    bar = tag("div", "w-panel-head")
    grid = Grid(
        f"Messages of {name}",
        [
            Column("Offset", "110px", right=True),
            Column("Time (UTC)", "205px"),
            Column("Key", "minmax(90px, .5fr)"),
            Column("Value", "minmax(220px, 2fr)"),
            Column("Size", "90px", right=True),
        ],
        lambda cursor: _older(topics, name, begin if cursor is None else int(cursor)),
        least=760,
    )
    with bar:
        with tag("form", "w-controls", method="get", action=link("topics"), role="search"):
            tag("input", type="hidden", name="topic", value=name)
            with tag("label", "w-field"):
                tag("span", "", "Find an offset or a time")
                tag(
                    "input", "mono", name="find", value=visit.query.get("find", ""), size=32,
                    placeholder="42  or  12:30:05  or  5min ago", **{"data-key": "/"},
                )  # fmt: skip
            tag("button", "w-submit", "Find", type="submit")
        tag("div", "w-grow")
        if begin == info.next:
            Follow(grid, info.next - 1, lambda place, most: _newer(topics, name, place, most))
        else:
            tag("a", "", "Newest", href=link("topics", topic=name))
        if said:
            tag("p", "small muted", said).style("flex-basis:100%")
    if not await grid.load():
        with grid.body:
            empty(
                "forum",
                "No messages here",
                "What is appended shows up while Follow is on.",
                f"walnut topics append {name} 'hello'",
            )


async def _find(topics: Topics, info: TopicInfo, text: str) -> tuple[int, str]:
    """The offset behind the newest message to show for what was typed, and what is to be said of it."""
    text = text.strip().replace(",", "")
    if not text:
        return info.next, ""
    if text.isascii() and text.isdigit():
        return min(info.next, int(text) + 1), ""
    time = read_moment(text, dt.datetime.now(dt.UTC))
    if time is None:
        return info.next, f"{text!r} is neither an offset nor a time."
    offset = await reading(topics.offset_of, topics.store, info.name, time)
    return (
        min(info.next, offset + 1),
        f"Offset {offset:,} is the first that was appended at {time:%Y-%m-%d %H:%M:%S} UTC or later.",
    )


async def _older(topics: Topics, name: str, stop: int) -> Batch:
    """The messages before offset `stop`, newest first."""
    messages, first = await reading(_read, topics, name, stop - MESSAGES, stop)
    lines = [_line(name, message) for message in reversed(messages)]
    start = messages[0].offset if messages else first
    return Batch(lines, str(start) if start > first else None)


async def _newer(topics: Topics, name: str, place: int, most: int) -> News:
    info = await reading(topics.info, topics.store, name)
    if info.next <= place + 1:
        return News([], 0, place)
    start = max(place + 1, info.next - most)
    messages, _ = await reading(_read, topics, name, start, info.next)
    lines = [_line(name, message) for message in reversed(messages)]
    return News(lines, start - place - 1, info.next - 1)


def _read(topics: Topics, name: str, start: int, stop: int) -> tuple[list[Message], int]:
    """Messages [start, stop) as far as they are kept, and the first offset that is."""
    with topics.store.snapshot() as moment_:
        first = topics.info(moment_, name).first
        start = max(start, first)
        if start >= stop:
            return [], first
        try:
            part = topics.read(moment_, name, start, limit=stop - start)
        except OffsetTruncated:  # swept by whoever does that, and the snapshot is older
            return [], first
        return part.messages, first


def _line(name: str, message: Message) -> Line:
    value = text_of(message.value)
    shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    key = "" if message.key is None else text_of(message.key)
    key = key if isinstance(key, str) else msgspec.json.encode(key).decode()
    return Line(
        (
            f'<b class="mono">{message.offset:,}</b>',
            f'<span class="mono">{moment(message.time)}</span>',
            f'<span class="mono">{escape(key[:SHOWN])}</span>',
            f'<span class="mono">{escape(shown[:SHOWN])}</span>',
            size(len(message.value)),
        ),
        link("topics", topic=name, offset=message.offset),
        f"Message {message.offset}",
    )


def _append(visit: Visit, topics: Topics, info: TopicInfo) -> None:
    async def append() -> None:
        text = str(value.value or "")
        if not text:
            raise InvalidInput("a message needs a value: type one")
        message = Message(text.encode(), str(key.value).encode() if key.value else None)
        meta = _meta(visit, "topics:write", info.name, "appended a message")
        done = await topics.publish(info.name, message, meta=meta)
        shown.close()
        value.value = ""
        ui.notify(f"Appended at offset {done.first:,}.", type="positive")

    with dialog(f"Append to {info.name}") as shown:
        key = ui.input("Key", placeholder="none").props("outlined dense stack-label")
        value = ui.textarea("Value").props("outlined autofocus")
        with actions():
            button("Cancel", shown.close)
            button("Append", acting(visit, append), "main")
    button("Append", shown.open, "main", key="n")


def _keep(visit: Visit, topics: Topics, info: TopicInfo) -> None:
    async def keep() -> None:
        meta = _meta(visit, "topics:admin", info.name, "changed how long messages are kept")
        await topics.store.by(meta).run(topics.configure, info.name, limits.options())
        ui.navigate.reload()

    told = "Messages beyond any of these are let go of, the oldest first. There is no way back."
    with dialog("How long messages are kept", told) as shown:
        limits = Limits(info.options)
        with actions():
            button("Cancel", shown.close)
            button("Keep so", acting(visit, keep), "main")
    button("Retention", shown.open)


def _delete(visit: Visit, topics: Topics, info: TopicInfo) -> None:
    async def delete() -> None:
        meta = _meta(visit, "topics:admin", info.name, "deleted a topic")
        await topics.store.by(meta).run(topics.delete, info.name)
        go(link("topics"))

    told = f"{count(info.messages, 'message')} and the places of all groups go with it."
    ask = functools.partial(
        confirm, f"Delete {info.name}?", told, "Delete", acting(visit, delete), typed=info.name
    )
    button("Delete", ask, "danger")


# -- one message --------------------------------------------------------------------------------


async def _message(topics: Topics, info: TopicInfo, offset: int) -> None:
    crumbs = [("Topics", link("topics")), (info.name, link("topics", topic=info.name, find=offset))]
    with heading(f"Message {offset:,}", "", crumbs):
        if offset > info.first:
            tag("a", "w-button", "Older", href=link("topics", topic=info.name, offset=offset - 1))
        if offset + 1 < info.next:
            tag("a", "w-button", "Newer", href=link("topics", topic=info.name, offset=offset + 1))
    messages, _ = await reading(_read, topics, info.name, offset, offset + 1)
    if not messages:
        with tag("section", "w-panel"):
            empty(
                "search_off",
                "Not here",
                f"{info.name} keeps offsets {info.first:,} up to {info.next:,}, not with it.",
            )
        return
    message = messages[0]
    now = topics.store.log.options.clock()
    key = None if message.key is None else text_of(message.key)
    facts = [
        (
            "Appended",
            f"{moment(message.time)} UTC <span class='muted'>({ago(message.time, now)})</span>",
        ),
        ("Key", f'<span class="mono">{escape(str(key))}</span>' if key is not None else "none"),
        ("Size", size(len(message.value))),
    ]
    facts += [(f"Header {name}", escape(text)) for name, text in message.headers.items()]
    with tag("section", "w-panel"):
        pairs(facts)
    value, kind = _value(message.value)
    with tag("section", "w-panel"):
        html(f'<h2 style="margin-bottom:10px">Value {badge(kind)}</h2>')
        json_view(value)


def _value(data: bytes) -> tuple[Any, str]:
    try:
        return msgspec.json.decode(data), "JSON"
    except (msgspec.DecodeError, RecursionError):
        value = text_of(data)
        return value, "text" if isinstance(value, str) else "bytes"
