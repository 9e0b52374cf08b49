"""Conditional requests (RFC 9110, section 13): entity tags, If-Match, If-None-Match.

What must stay true: a tag is strong and made from the bytes of the row alone, so that two rows with
one tag are the same row, whenever and through whichever route it is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from walnut.web.caller import header
from walnut.web.errors import PreconditionFailed

TAG_BYTES: Final = 12
"""Of a digest: 96 bits, which two rows share by accident once in 2^48 rows."""


def etag_of(data: bytes) -> str:
    """The entity tag, with its quotes, of what is stored as these bytes."""
    return f'"{hashlib.blake2b(data, digest_size=TAG_BYTES).hexdigest()}"'


def not_modified(scope: Mapping[str, Any], tag: str) -> bool:
    """Whether the sender of a read has what has this tag already, so that 304 is the answer."""
    given = header(scope, b"if-none-match")
    return given is not None and _names(given, tag, weak=True)


class Conditions:
    """What a write wants to find, to be checked inside its transaction."""

    __slots__ = ("_match", "_none")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._match = header(scope, b"if-match")
        self._none = header(scope, b"if-none-match")

    def __bool__(self) -> bool:
        return self._match is not None or self._none is not None

    def check(self, tag: str | None) -> None:
        """Go on if the row is as wanted; None: there is none. Raises PreconditionFailed."""
        if self._match is not None and (tag is None or not _names(self._match, tag, weak=False)):
            raise PreconditionFailed(
                f"If-Match asks for {self._match[:100]} and the row is {tag or 'not there'}: read it "
                "again, and decide anew"
            )
        if self._none is not None and tag is not None and _names(self._none, tag, weak=True):
            raise PreconditionFailed(
                f"If-None-Match asks that there is no {self._none[:100]} and the row is {tag}: read it "
                "again, and decide anew"
            )


def _names(field: str, tag: str, *, weak: bool) -> bool:
    if field.strip() == "*":
        return True
    tags = (entry.strip() for entry in field.split(","))
    return any((entry.removeprefix("W/") if weak else entry) == tag for entry in tags)
