"""Messages as JSON.

    {"value": any JSON, "key": "...", "headers": {...}}     a message whose value is JSON
    {"text": "..."}   {"bytes": "<base64>"}                 one whose value is text, or neither
    ... "offset", "time"                                    as well, where it comes out

What must stay true: what comes out can be given in again and is the same message, byte for byte but for
white space in JSON.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from walnut.store.record import utc
from walnut.topics.errors import InvalidMessage
from walnut.topics.model import Message

RAW: Final = msgspec.json.Decoder(msgspec.Raw)
"""Sees whether bytes are JSON, and makes nothing of them. 0.2 us for a hundred bytes."""
_NEWLINES: Final = (b"\n", b"\r")


class Given(msgspec.Struct, forbid_unknown_fields=True):
    """A message that comes in: its value as JSON, as text, or as bytes in base64; one of these."""

    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    text: str | None = None
    bytes: str | None = None
    key: str | None = None
    key_bytes: str | None = None
    headers: dict[str, str] = {}
    offset: int | None = None
    time: str | None = None


class Shown(msgspec.Struct, omit_defaults=True):
    """A message that goes out. Of `value`, `text` and `bytes` it has the first that fits; likewise of
    `key` and `key_bytes`. The time is when it was appended."""

    offset: int
    time: str
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    text: str | None = None
    bytes: str | None = None
    key: str | None = None
    key_bytes: str | None = None
    headers: dict[str, str] = {}


def message_of(given: Given) -> Message:
    """What is to be appended. Its offset and time are not looked at. Raises InvalidMessage."""
    values = [
        *([bytes(given.value)] if isinstance(given.value, msgspec.Raw) else []),
        *([given.text.encode()] if given.text is not None else []),
        *([from_base64("bytes", given.bytes)] if given.bytes is not None else []),
    ]
    if len(values) != 1:
        raise InvalidMessage(
            f"a message has one of value (any JSON), text and bytes (base64), and this has {len(values)}"
        )
    key = given.key.encode() if given.key is not None else None
    if given.key_bytes is not None:
        key = from_base64("key_bytes", given.key_bytes)
    return Message(values[0], key, given.headers)


def from_base64(name: str, text: str) -> bytes:
    """The bytes that a field holds in base64. Raises InvalidMessage."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidMessage(f"{name} is not in base64: {error}") from error


def shown(message: Message) -> Shown:
    """A message as JSON has it."""
    out = Shown(message.offset, utc(message.time).isoformat(), headers=message.headers)
    value = message.value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        out.bytes = base64.b64encode(value).decode()
    else:
        if is_json(value):
            one_line = any(end in value for end in _NEWLINES)
            out.value = msgspec.Raw(msgspec.json.format(value, indent=-1) if one_line else value)
        else:
            out.text = text
    if message.key is not None:
        try:
            out.key = message.key.decode()
        except UnicodeDecodeError:
            out.key_bytes = base64.b64encode(message.key).decode()
    return out


def encoded(message: Message) -> bytes:
    """A message as a line of JSON."""
    return msgspec.json.encode(shown(message))


def is_json(value: bytes) -> bool:
    """Whether UTF-8 is JSON, not nested too deeply for those who read it."""
    try:
        RAW.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
