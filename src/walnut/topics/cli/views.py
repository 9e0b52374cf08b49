"""Topics and messages as JSON, and as rows of a table for people.

What must stay true: what a script reads has the same fields in every line, and every byte of a message
can be had back from it.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable
from typing import Any, Final

import click
import msgspec

from walnut.client.place import NAMES, names_at
from walnut.log.cli.records import write_out
from walnut.log.show import console, duration, iso, moment, size
from walnut.store.cli.values import jsonl, rows_table
from walnut.store.remote import StoreReader
from walnut.topics.model import Message, TopicInfo, TopicOptions
from walnut.topics.remote import TopicsReader

FORMATS: Final = ["json", "table"]

format_ = click.option(
    "--format", "form", type=click.Choice(FORMATS),
    help="A line of JSON each, or a table; by itself a table on a terminal.",
)  # fmt: skip


def _topics(directory: str) -> list[str]:
    with StoreReader(directory) as store:
        return [info.name for info in TopicsReader(store).page(store, limit=NAMES).topics]


complete_topic = names_at(_topics, lambda client: (info.name for info in client.topics()))
topic = click.argument("topic", shell_complete=complete_topic)


def is_table(form: str | None) -> bool:
    """A table is asked for, or looked at."""
    return form == "table" or (form is None and sys.stdout.isatty())


def message_line(message: Message) -> dict[str, Any]:
    """A message as JSON has it."""
    return {
        "offset": message.offset,
        "time": iso(message.time),
        **_bytes("key", message.key),
        "headers": message.headers,
        **_bytes("value", message.value),
    }


def _bytes(name: str, data: bytes | None) -> dict[str, str | None]:
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def print_messages(messages: Iterable[Message]) -> None:
    """A table of messages."""
    rows = []
    for message in messages:
        row: dict[str, Any] = {"offset": message.offset, "time": moment(message.time)}
        if message.key is not None:
            row["key"] = _text(message.key)
        row["value"] = _text(message.value)
        if message.headers:
            row["headers"] = message.headers
        rows.append(row)
    console().print(rows_table(rows))


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def topic_line(info: TopicInfo) -> dict[str, Any]:
    """A topic as JSON has it."""
    return {
        "name": info.name,
        "first": info.first,
        "next": info.next,
        "messages": info.messages,
        "bytes": info.bytes,
        "created": iso(info.created),
        "oldest": iso(info.oldest) if info.oldest else None,
        **{name: getattr(info.options, name) for name in TopicOptions.__struct_fields__},
    }


def print_topics(topics: Iterable[TopicInfo], *, table: bool) -> None:
    """Topics as a table, or a line each."""
    if not table:
        for info in topics:
            write_out(jsonl(topic_line(info)))
        return
    rows = [
        {
            "topic": info.name,
            "first": info.first,
            "next": info.next,
            "size": size(info.bytes),
            "oldest": moment(info.oldest) if info.oldest else "",
            "keeps": keeps(info.options),
        }
        for info in topics
    ]
    console().print(rows_table(rows))


def keeps(options: TopicOptions) -> str:
    """How long a topic keeps messages, in words."""
    limits = []
    if options.keep_seconds is not None:
        limits.append(duration(options.keep_seconds))
    if options.keep_bytes is not None:
        limits.append(size(options.keep_bytes))
    if options.keep_messages is not None:
        limits.append(f"{options.keep_messages:,} messages")
    return ", ".join(limits) or "for ever"


def read_message(line: bytes) -> Message:
    """A message that `message_line` made a line of, or one that somebody wrote so. Raises
    msgspec.MsgspecError, ValueError."""
    given = msgspec.json.decode(line, type=_Given)
    return Message(
        _given(given.value, given.value_base64) or b"",
        _given(given.key, given.key_base64),
        given.headers,
    )


def _given(text: str | None, encoded: str | None) -> bytes | None:
    if encoded is not None:
        return base64.b64decode(encoded, validate=True)
    return None if text is None else text.encode()


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    value: str | None = None
    value_base64: str | None = None
    key: str | None = None
    key_base64: str | None = None
    headers: dict[str, str] = {}
    offset: int = 0  # these two are given by the topic: what was read can be appended elsewhere
    time: str = ""
