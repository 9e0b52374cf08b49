"""Keys and rows between JSON and the store.

    "r1"   7   true   null             themselves
    ["h9", 2]                          a key of several parts
    {"uuid": "..."}  {"bytes": "<base64>"}  {"time": "2026-..Z"}  {"date": "2026-..."}

What must stay true: a key that is shown can be given back and means the same.
"""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any, Final

import msgspec

from walnut.store.errors import InvalidKey
from walnut.store.keys import Key, Part

_READERS: Final[dict[str, Callable[[str], Part]]] = {
    "uuid": uuid.UUID,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "time": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
}


def key_of(value: Any) -> Key:
    """The key that decoded JSON stands for. Raises InvalidKey."""
    match value:
        case list():
            try:
                return tuple(map(key_of, value))
            except RecursionError as error:
                raise InvalidKey("the lists in the key are too deep: use flatter ones") from error
        case dict() if len(value) == 1 and (read := _READERS.get(next(iter(value)))):
            (content,) = value.values()
            try:
                return read(content)
            except (TypeError, ValueError) as error:
                raise InvalidKey(f"{content!r:.80} is no {next(iter(value))}: {error}") from error
        case dict():
            kinds = ", ".join(sorted(_READERS))
            raise InvalidKey(f'a key part in {{"...": "..."}} is one of: {kinds}')
    return value  # type: ignore[no-any-return]


def key_of_text(text: str) -> Key:
    """The key that text stands for: JSON, or a word that is no JSON and stands for itself.

    Raises InvalidKey."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
    except RecursionError as error:
        raise InvalidKey("the lists in the key are too deep: use flatter ones") from error
    return key_of(value)


def shown(key: Key) -> Any:
    """A key as JSON has it."""
    match key:
        case tuple():
            return [shown(part) for part in key]
        case uuid.UUID():
            return {"uuid": str(key)}
        case bytes():
            return {"bytes": base64.b64encode(key).decode()}
        case dt.datetime():
            return {"time": key.isoformat()}
        case dt.date():
            return {"date": key.isoformat()}
    return key


def plain(value: Any) -> Any:
    """What a row of a table that nobody declared holds, as JSON can have it."""
    match value:
        case dict():
            return {
                key if isinstance(key, str) else msgspec.json.encode(plain(key)).decode(): plain(
                    part
                )
                for key, part in value.items()
            }
        case list():
            return [plain(part) for part in value]
        case msgspec.msgpack.Ext():
            return {"extension": value.code, "bytes": base64.b64encode(value.data).decode()}
    return value


def text_of(data: bytes) -> Any:
    """Bytes for people: as text if they are that, else {"bytes": "<base64>"}."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"bytes": base64.b64encode(data).decode()}
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return {"bytes": base64.b64encode(data).decode()}
