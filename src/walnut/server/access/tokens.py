"""`Tokens`: which tokens there are. A table, folded over the log like all others, and the same rows in
memory, since every request asks.

    create ─▶ transaction ─▶ durable ─▶ `after`: memory ─▶ the creator is told
    revoke ─▶ transaction ─▶ durable ─▶ `after`: memory ─▶ no request passes any more, no stream goes on

What must stay true: memory changes once a change is durable and before whoever made it is answered; a
secret leaves this module once, as `create` returns; a token grants nothing that its creator did not
have, and is taken away by nobody who has less than it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from walnut.server.access.credentials import NO_DIGEST, Credential, new_credential, same
from walnut.server.access.errors import (
    InvalidToken,
    MoreThanOwn,
    NameTaken,
    TooManyTokens,
    UnknownToken,
)
from walnut.store.errors import NotUnique
from walnut.store.record import Meta
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.web.access import EVERYTHING, parse_scope, within
from walnut.web.caller import Caller
from walnut.web.errors import InvalidScope

TABLE: Final = "server.tokens"
OPERATOR: Final = "operator"
"""The name of the token that the first start makes."""
MOST_TOKENS: Final = 10_000
"""All are in memory, at about 1 KiB each."""
MOST_SCOPES: Final = 64
"""Of one token: each is looked at once per kind of request."""
DESCRIPTION_LENGTH: Final = 500
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class Token(msgspec.Struct, frozen=True):
    """A token as it is stored, without its secret.

    Attributes:
        id: the first part of its text.
        name: its principal is "token:NAME".
        digest: SHA-256 of its secret.
        created, expires: ns since the Unix epoch; 0: it does not expire.
        created_by: a principal.
    """

    id: str
    name: str
    digest: bytes
    scopes: tuple[str, ...]
    description: str
    created: int
    created_by: str
    expires: int = 0

    @property
    def principal(self) -> str:
        """Who acts by it."""
        return f"token:{self.name}"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is to be made.

    Attributes:
        name: letters, digits, `.`, `_` and `-`; at most 64.
        scopes: at least one.
        expires: ns since the Unix epoch; 0: when its creator's token does, or never.
    """

    name: str
    scopes: tuple[str, ...]
    description: str = ""
    expires: int = 0


class Made(msgspec.Struct, frozen=True):
    """A token that was made. `text` is to be had here only; empty if it was made by an earlier request
    with the same idempotency key, as nobody knows it any more."""

    token: Token
    text: str


class Tokens:
    """The tokens of a store. For the event loop and for threads.

    Args:
        clock: ns since the Unix epoch.
        chance: makes credentials.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], int] = time.time_ns,
        chance: Callable[[], Credential] = new_credential,
    ) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._table = store.table(TABLE, Token, key=lambda token: token.id)
        self._by_name = store_index = None
        del store_index
        self._by_name = self._table.index("by_name", lambda token: token.name, unique=True)
        self._known: dict[str, Token] = {token.id: token for token in self._table.scan(store)}
        self._used: dict[str, int] = {}

    # -- asking ---------------------------------------------------------------------------------

    def check(self, credential: Credential | None) -> Token | None:
        """The token of a credential, if it is good now."""
        token = None if credential is None else self._known.get(credential.id)
        digest = NO_DIGEST if credential is None else credential.digest
        if not same(digest, NO_DIGEST if token is None else token.digest) or token is None:
            return None
        now = self._clock()
        if token.expires and token.expires <= now:
            return None
        self._used[token.id] = now
        return token

    def current(self, id_: str) -> Token | None:
        """The token of this id, if it has been neither revoked nor outlived."""
        token = self._known.get(id_)
        if token is None or (token.expires and token.expires <= self._clock()):
            return None
        return token

    def find(self, name: str) -> Token:
        """A token by its id or its name. Raises UnknownToken."""
        found = self._known.get(name) or next(
            (token for token in self._known.values() if token.name == name), None
        )
        if found is None:
            raise UnknownToken(f"there is no token {name!r}: list them to see those there are")
        return found

    def last_used(self, token: Token) -> int:
        """When it was last used since this process began, ns since the Unix epoch; 0: not."""
        return self._used.get(token.id, 0)

    def __iter__(self) -> Iterator[Token]:
        return iter(sorted(self._known.values(), key=lambda token: token.name))

    def __len__(self) -> int:
        return len(self._known)

    # -- making and revoking --------------------------------------------------------------------

    async def create(self, wanted: Wanted, caller: Caller) -> Made:
        """Make a token, for a caller who has all that it grants.

        Raises InvalidToken, MoreThanOwn, NameTaken, TooManyTokens."""
        return self._made(*await self._run_create(wanted, caller))
