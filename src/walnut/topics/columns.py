"""Messages as columns: what is given to an append, checked, and as it is stored.

    [b"a", Message(b"b", key=b"k")]  ─▶  values: a, b     keys: None, k     headers: -

What must stay true: what passes here can be stored and be read again; columns of keys and headers are as
long as the one of values, or empty where no message has any.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from walnut.topics.errors import InvalidMessage, MessageTooLarge
from walnut.topics.model import APPEND_BYTES, HEADERS, Message, Messages

HEADER_COST: Final = 10
"""Bytes that a header counts for beside its text: what MessagePack puts around it at most."""

T = TypeVar("T")
_VALUES: Final = {bytes}


class Columns(msgspec.Struct, gc=False):
    """Messages, and what they count for in bytes."""

    values: list[bytes]
    keys: list[bytes | None]
    headers: list[dict[str, str] | None]
    bytes: int

    def add(self, more: Columns, *, own: bool) -> Columns:
        """These messages and others behind them: in these columns, if they are `own`, or in new ones."""
        both = self if own else Columns([*self.values], [*self.keys], [*self.headers], self.bytes)
        if both.keys or more.keys:
            both.keys = _padded(both.keys, both.values) + _padded(more.keys, more.values)
        if both.headers or more.headers:
            both.headers = _padded(both.headers, both.values) + _padded(more.headers, more.values)
        both.values += more.values
        both.bytes += more.bytes
        return both

    def part(self, start: int, stop: int) -> Columns:
        """Those from `start` up to, not with, `stop`."""
        part = Columns(
            self.values[start:stop], self.keys[start:stop], self.headers[start:stop], 0
        ).trimmed()
        part.bytes = sum(part.sizes())
        return part

    def trimmed(self) -> Columns:
        """The same without columns that hold nothing."""
        if self.keys and not any(key is not None for key in self.keys):
            self.keys = []
        if self.headers and not any(self.headers):
            self.headers = []
        return self

    def sizes(self) -> list[int]:
        """What each message counts for."""
        return sizes_of(self.values, self.keys, self.headers)


def sizes_of(
    values: list[bytes], keys: list[bytes | None], headers: list[dict[str, str] | None]
) -> list[int]:
    """What messages of these columns count for."""
    sizes = list(map(len, values))
    for number, key in enumerate(keys):
        sizes[number] += len(key or b"")
    for number, named in enumerate(headers):
        if named:
            sizes[number] += sum(
                len(name.encode()) + len(text.encode()) + HEADER_COST
                for name, text in named.items()
            )
    return sizes


def _padded(column: list[T | None], values: list[bytes]) -> list[T | None]:
    return column or [None] * len(values)


def columns_of(messages: Messages, limit: int) -> Columns:
    """Messages as columns, none of which counts for more than `limit` bytes.

    Raises InvalidMessage, MessageTooLarge."""
    if type(messages) is bytes:
        columns = Columns([messages], [], [], len(messages))
    elif isinstance(messages, Message):
        columns = _mixed([messages])
    elif not isinstance(messages, list | tuple):
        raise InvalidMessage(
            f"messages are bytes, a Message, or a list of these, not a {type(messages).__name__}"
        )
    elif {*map(type, messages)} == _VALUES:
        columns = Columns([*messages], [], [], sum(map(len, messages)))
    else:
        columns = _mixed(messages)
    if columns.bytes > limit and (largest := max(columns.sizes())) > limit:
        raise MessageTooLarge(
            f"a message takes {largest} bytes with its key and headers and may take {limit}: keep large "
            "values elsewhere, and their places in messages"
        )
    if columns.bytes > APPEND_BYTES:
        raise MessageTooLarge(
            f"{len(columns.values)} messages take {columns.bytes} bytes and one append {APPEND_BYTES}: "
            "append them in several"
        )
    return columns


def _mixed(messages: list[bytes | Message] | tuple[bytes | Message, ...]) -> Columns:
    if not messages:
        raise InvalidMessage("there is nothing to append: give at least one message")
    columns = Columns([], [], [], 0)
    for message in messages:
        if isinstance(message, bytes):
            message = Message(message)  # noqa: PLW2901  the same, with a name
        elif not isinstance(message, Message):
            raise InvalidMessage(f"a message is bytes or a Message, not a {type(message).__name__}")
        _check(message)
        columns.values.append(message.value)
        columns.keys.append(message.key)
        columns.headers.append(message.headers or None)
    try:
        columns.trimmed().bytes = sum(columns.sizes())
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"a header is not Unicode ({error.reason})") from error
    return columns


def _check(message: Message) -> None:
    value, key, headers = message.value, message.key, message.headers
    if not isinstance(value, bytes) or not (key is None or isinstance(key, bytes)):
        raise InvalidMessage(
            f"a message has a value of bytes and a key of bytes or None, not {type(value).__name__} and "
            f"{type(key).__name__}"
        )
    if not isinstance(headers, dict) or not {*map(type, headers), *map(type, headers.values())} <= {
        str
    }:
        raise InvalidMessage(f"headers are a dict of text by text, not {headers!r:.80}")
    if len(headers) > HEADERS:
        raise InvalidMessage(f"a message has {len(headers)} headers and may have {HEADERS}")
