"""What goes to a server and comes back, as data. No I/O.

What must stay true: fields that a newer server adds are ignored, so that an older client reads it.
"""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from typing import Any, Generic, TypeVar

import msgspec

Row = TypeVar("Row")

Part = str | int | float | bool | None | bytes | uuid.UUID | dt.datetime | dt.date
Key = Part | tuple["Part | tuple[Any, ...]", ...]
"""A key of a row: one part, or several as a tuple."""


class Item(msgspec.Struct, Generic[Row], frozen=True):
    """A row, its key as JSON has it, and its entity tag, for conditions."""

    key: Any
    etag: str
    row: Row


class Stored(msgspec.Struct, frozen=True):
    """A row was stored.

    Attributes:
        created: there was none with its key.
        etag: of it; None for rows about subjects, which have a new one each time they are written.
        lsn: of the transaction. repeated: it had been done before, under the same idempotency key.
    """

    created: bool
    etag: str | None = None
    lsn: int = 0
    repeated: bool = False


class Committed(msgspec.Struct, frozen=True):
    """A transaction was committed: what each operation gave, in their order."""

    lsn: int
    results: list[Any]
    repeated: bool = False


class TableInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A table at a glance.

    Attributes:
        schema: number of its newest rows' fields.
        documents: its rows are `{"key": text, "value": any JSON}`.
        owner: the subsystem that keeps it, which alone writes it.
        writable: through the API.
    """

    name: str
    schema: int
    documents: bool = False
    subjects: bool = False
    before: bool = False
    owner: str | None = None
    writable: bool = False
    indexes: list[dict[str, Any]] = []


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction did to one row.

    Attributes:
        position: where to go on behind it: give it as `since`.
        time: when the transaction was decided, as ISO 8601.
        key: as JSON has it.
        after, before: the row; None for none (before: also for tables that do not keep it), and
            `{"erased": true}` for what nobody can read any more.
        principal, reason, request_id: by whom, why, and under which request.
    """

    position: str
    lsn: int
    time: str
    table: str
    key: Any
    after: Any = None
    before: Any = None
    principal: str = ""
    reason: str = ""
    request_id: str = ""


def key_json(key: Any) -> Any:
    """A key as the API writes it in JSON."""
    match key:
        case tuple() | list():
            return [key_json(part) for part in key]
        case uuid.UUID():
            return {"uuid": str(key)}
        case bytes():
            return {"bytes": base64.b64encode(key).decode()}
        case dt.datetime():
            return {"time": key.isoformat()}
        case dt.date():
            return {"date": key.isoformat()}
    return key


def key_text(key: Any) -> str:
    """A key as a parameter: JSON, which means the same for every kind of table."""
    return msgspec.json.encode(key_json(key)).decode()


def is_word(text: str) -> bool:
    """Whether text is no JSON, and so stands for itself wherever a key is expected."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return True
    except RecursionError:
        return False
    return False
