"""/v1/tokens and /v1/whoami.

What must stay true: no answer holds a secret or its digest but the one that makes a token.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated

from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler, Scope

from walnut.server.access.gate import Gate
from walnut.server.access.tokens import Wanted
from walnut.server.access.views import NewToken, TokenView, Whoami, moment, view
from walnut.web.access import needs, needs_credential
from walnut.web.answer import Answer
from walnut.web.caller import caller_of
from walnut.web.paging import LIMIT, MOST, Page, from_cursor, to_cursor
from walnut.web.positions import REPLAYED_HEADER

_TAGS = ["tokens"]
Limit = Annotated[int, QueryParameter(ge=1, le=MOST)]
"""How many items a page has."""


def routes(gate: Gate) -> Sequence[ControllerRouterHandler]:
    """The routes about tokens."""
    tokens = gate.tokens

    @get("/v1/tokens", opt=needs("tokens:read"), tags=_TAGS)
    async def list_tokens(cursor: FromQuery[str] = "", limit: Limit = LIMIT) -> Page[TokenView]:
        """The tokens there are, by name, without their secrets."""
        after = from_cursor(cursor, str) if cursor else ""
        found = [token for token in tokens if token.name > after]
        items = [view(token, tokens.last_used(token)) for token in found[:limit]]
        return Page(items, to_cursor(items[-1].name) if len(found) > limit else "")

    @get("/v1/tokens/{token:str}", opt=needs("tokens:read", name="token"), tags=_TAGS)
    async def get_token(token: FromPath[str]) -> TokenView:
        """A token, by its id or name, without its secret."""
        found = tokens.find(token)
        return view(found, tokens.last_used(found))

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
        return Answer(view(made.token, 0, made.text), headers=headers)

    @delete("/v1/tokens/{token:str}", opt=needs("tokens:write", name="token"), tags=_TAGS)
    async def revoke_token(token: FromPath[str], scope: Scope) -> None:
        """Take a token back, by its id or name. Nothing is done with it from now on, and what it has
        open is cut."""
        await tokens.revoke(token, caller_of(scope))

    @get("/v1/whoami", opt=needs_credential(), tags=_TAGS)
    async def whoami(scope: Scope) -> Whoami:
        """Whose credential this request came with."""
        caller = caller_of(scope)
        return Whoami(caller.principal, list(caller.scopes), moment(gate.until(caller)))

    return [list_tokens, get_token, create_token, revoke_token, whoami]


def _nanoseconds(moment: dt.datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp()) * 10**9
