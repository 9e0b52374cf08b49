"""Pages of a list: `?cursor=&limit=` in, `{"items": [...], "next": "..."}` out.

What must stay true: a cursor says where to go on by the last item's key and not by a number, so that
nothing is left out or told twice because of what others write between two pages.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, Generic, TypeVar

import msgspec

from walnut.web.errors import InvalidCursor

Item = TypeVar("Item")
Position = TypeVar("Position")

LIMIT: Final = 100
"""Items of a page, if the request does not say."""
MOST: Final = 1000
"""Items of the largest page: keeps an answer to some megabytes and its making to milliseconds."""
CURSOR_LENGTH: Final = 4096
"""Characters: a key of the store (at most 1,024 bytes) as JSON in base 64, with room."""


class Page(msgspec.Struct, Generic[Item], omit_defaults=True):
    """A page of a list.

    Attributes:
        items: in order.
        next: what to give as `cursor` for the page after this one; empty (left out) on the last.
    """

    items: list[Item]
    next: str = ""


def to_cursor(position: object) -> str:
    """An opaque cursor that holds a position: anything that JSON can hold."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def from_cursor(cursor: str, kind: type[Position]) -> Position:
    """The position in a cursor. Raises InvalidCursor."""
    try:
        if len(cursor) > CURSOR_LENGTH:
            raise ValueError(f"{len(cursor)} characters")  # noqa: TRY301  told with the others
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(data, type=kind)
    except (ValueError, binascii.Error, msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise InvalidCursor(
            f"this cursor was not handed out by this route ({error}): begin again without one"
        ) from error
