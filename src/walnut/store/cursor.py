"""Cursors: where a page of a scan ends, and the next one begins.

    "… r1 r2 r3" ─▶ the full key of r3, in the order that is scanned, as base64url ─▶ "r4 r5 …"

What must stay true: a cursor is where something was, and not how many were before it: it stays good
whatever is written meanwhile, and is refused by a scan that it can't be of.
"""

from __future__ import annotations

import base64
import binascii

from walnut.store.errors import InvalidKey


def cursor_at(last: bytes) -> str:
    """The cursor of a page whose last row is at this full key."""
    return base64.urlsafe_b64encode(last).decode()


def rest(begin: bytes, end: bytes, cursor: str | None, *, reverse: bool) -> tuple[bytes, bytes]:
    """What is left of a scan of the full keys [begin, end) behind a cursor; all of it without one.

    Raises InvalidKey, also for a cursor of another scan."""
    if not cursor:
        return begin, end
    try:
        at = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidKey("the cursor is not one that a page gave: begin without one") from error
    if not begin <= at <= end:
        raise InvalidKey("the cursor belongs to another scan: begin without one")
    return (begin, at) if reverse else (at + b"\0", end)
