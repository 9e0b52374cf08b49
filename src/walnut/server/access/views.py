"""Tokens as they are told of: the documents of /v1/tokens, which the command line reads and shows too.

What must stay true: none of them can hold a digest, and a secret only where a token was just made.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec

from walnut.server.access.tokens import Token


class TokenView(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A token, as it is told of.

    Attributes:
        token: its whole text, in the answer that makes it, and never again.
        last_used: since the server started.
    """

    id: str
    name: str
    scopes: list[str]
    created: dt.datetime
    created_by: str
    description: str = ""
    expires: dt.datetime | None = None
    last_used: dt.datetime | None = None
    token: str = ""


class NewToken(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A token to be made.

    Attributes:
        name: its principal will be "token:NAME".
        scopes: AREA:VERB or AREA:VERB:PATTERN, or * for everything.
        expires: without it, when its creator's does.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64, examples=["ci"])]
    scopes: Annotated[
        list[str], msgspec.Meta(min_length=1, max_length=64, examples=[["topics:read"]])
    ]
    description: Annotated[str, msgspec.Meta(max_length=500)] = ""
    expires: Annotated[dt.datetime, msgspec.Meta(tz=True)] | None = None


class Whoami(msgspec.Struct, omit_defaults=True):
    """Whose credential this is, and what it allows."""

    principal: str
    scopes: list[str]
    expires: dt.datetime | None = None


def view(token: Token, last_used: int, text: str = "") -> TokenView:
    """A token, to be told of; last used then (ns since the Unix epoch); with its text if it was just
    made."""
    return TokenView(
        id=token.id,
        name=token.name,
        scopes=list(token.scopes),
        created=_at(token.created),
        created_by=token.created_by,
        description=token.description,
        expires=moment(token.expires),
        last_used=moment(last_used),
        token=text,
    )


def moment(nanoseconds: int) -> dt.datetime | None:
    """A time in ns since the Unix epoch, to the second; None for 0, which is none."""
    return _at(nanoseconds) if nanoseconds else None


def _at(nanoseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(nanoseconds // 10**9, dt.UTC)
