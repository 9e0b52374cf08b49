"""/v1/tokens and /v1/whoami.

What must stay true: no answer holds a secret or its digest but the one that makes a token.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.server.access.gate import Gate
from walnut.server.access.tokens import Token, Tokens, Wanted
from walnut.web.access import needs, needs_credential
from walnut.web.answer import Answer
from walnut.web.caller import caller_of
from walnut.web.paging import Page
from walnut.web.positions import REPLAYED_HEADER

_TAGS = ["tokens"]


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


def view(token: Token, tokens: Tokens, text: str = "") -> TokenView:
    """A token, to be told of; with its text if it was just made."""
    return TokenView(
        id=token.id,
        name=token.name,
        scopes=list(token.scopes),
        created=_at(token.created),
        created_by=token.created_by,
        description=token.description,
        expires=_moment(token.expires),
        last_used=_moment(tokens.last_used(token)),
        token=text,
    )


def routes(gate: Gate) -> Sequence[ControllerRouterHandler]:
    """The routes about tokens."""
    tokens = gate.tokens

    @get("/v1/tokens", opt=needs("tokens:read"), tags=_TAGS)
    async def list_tokens() -> Page[TokenView]:
        """All tokens there are, by name, without their secrets."""
        return Page([view(token, tokens) for token in tokens])

    @get("/v1/tokens/{token:str}", opt=needs("tokens:read", name="token"), tags=_TAGS)
    async def get_token(token: FromPath[str]) -> TokenView:
        """A token, by its id or name, without its secret."""
        return view(tokens.find(token), tokens)

    @post("/v1/tokens", opt=needs("tokens:write"), tags=_TAGS)
    async def create_token(data: JSONBody[NewToken], scope: Scope) -> Answer[TokenView]:
        """Make a token. Its text is in this answer only; it grants nothing that the caller has not.

        Sent again under the same Idempotency-Key, the answer is the same token without its text."""
        caller = caller_of(scope)
        wanted = Wanted(
            name=data.name,
            scopes=tuple(data.scopes),
            description=data.description,
            expires=_nanoseconds(data.expires),
        )
        made = await tokens.create(wanted, caller, gate.until(caller))
        headers = {"cache-control": "no-store"}
        if not made.text:
            headers[REPLAYED_HEADER] = "true"
        return Answer(view(made.token, tokens, made.text), headers=headers)

    @delete("/v1/tokens/{token:str}", opt=needs("tokens:write", name="token"), tags=_TAGS)
    async def revoke_token(token: FromPath[str], scope: Scope) -> None:
        """Take a token back, by its id or name. Nothing is done with it from now on, and what it has
        open is cut."""
        await tokens.revoke(token, caller_of(scope))

    @get("/v1/whoami", opt=needs_credential(), tags=_TAGS)
    async def whoami(scope: Scope) -> Whoami:
        """Whose credential this request came with."""
        caller = caller_of(scope)
        return Whoami(caller.principal, list(caller.scopes), _moment(gate.until(caller)))

    return [list_tokens, get_token, create_token, revoke_token, whoami]


def _moment(nanoseconds: int) -> dt.datetime | None:
    return _at(nanoseconds) if nanoseconds else None


def _at(nanoseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(nanoseconds // 10**9, dt.UTC)


def _nanoseconds(moment: dt.datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp()) * 10**9
