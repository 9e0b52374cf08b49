"""Refusals as RFC 9457 problem documents (`application/problem+json`), each of a stable type.

What must stay true: a type, once published, keeps its meaning; the words of `detail` are the error's
own and may change.
"""

from __future__ import annotations

from typing import Final

import msgspec

MEDIA_TYPE: Final = "application/problem+json"
PREFIX: Final = "urn:walnut:problem:"


class Kind(msgspec.Struct, frozen=True):
    """What an error means to a caller.

    Attributes:
        slug: the end of the problem's type: "unknown-table".
        status: of the answer.
        title: the same for every problem of the type.
        retry_after: seconds after which trying again makes sense, if it does.
    """

    slug: str
    status: int
    title: str
    retry_after: int | None = None


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The document. Members that a type adds of its own are in `more`, beside these, when encoded."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    request_id: str = ""
