"""`Tokens`: which tokens there are. A table, folded over the log like all others, and the same rows in
memory, since every request asks.

    create ─▶ transaction ─▶ durable ─▶ `after`: memory ─▶ the creator is told
    revoke ─▶ transaction ─▶ durable ─▶ `after`: memory ─▶ no request passes any more, no stream goes on

What must stay true: memory changes once a change is durable and before whoever made it is answered; a
secret leaves this module once, as `create` returns; a token grants nothing that its creator did not
have, and is taken away by nobody who has less than it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
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
from walnut.store.remember import fingerprinted
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.web.access import EVERYTHING, parse_scope, within
from walnut.web.caller import Caller

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
        self._table.index("by_name", lambda token: token.name, unique=True)
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

    async def create(self, wanted: Wanted, caller: Caller, until: int = 0) -> Made:
        """Make a token, for a caller who has all that it grants, himself until `until` (ns since the
        Unix epoch; 0: for ever).

        Raises InvalidToken, MoreThanOwn, NameTaken, TooManyTokens; InvalidScope; as `Store.run`."""
        credential, token = self._prepare(wanted, caller, until)
        insert = fingerprinted(self._insert, fingerprint_of(wanted))
        return _made(credential, await self._store.by(meta_of(caller)).run(insert, token))

    def create_now(self, wanted: Wanted, caller: Caller, until: int = 0) -> Made:
        """`create` for threads, and for what a program does once, as it starts. Raises as `create`."""
        credential, token = self._prepare(wanted, caller, until)
        insert = fingerprinted(self._insert, fingerprint_of(wanted))
        store = self._store.by(meta_of(caller))
        return _made(credential, store.call_at_start(insert, token))

    async def revoke(self, name: str, caller: Caller) -> Token:
        """Take a token back, by its id or name: nothing is done with it from now on.

        Raises UnknownToken, MoreThanOwn; as `Store.run`."""
        remove = fingerprinted(self._remove, name)
        return await self._store.by(meta_of(caller)).run(remove, name, caller)

    def revoke_now(self, name: str, caller: Caller) -> Token:
        """`revoke` for threads. Raises as `revoke`."""
        remove = fingerprinted(self._remove, name)
        return self._store.by(meta_of(caller)).call_at_start(remove, name, caller)

    def _prepare(self, wanted: Wanted, caller: Caller, until: int) -> tuple[Credential, Token]:
        check_wanted(wanted, self._clock())
        for scope in wanted.scopes:
            if not within(scope, caller.scopes):
                raise MoreThanOwn(
                    f"{caller.principal} has not got {scope} himself, and so can't grant it: leave it "
                    "out, or ask someone who has"
                )
        if until and wanted.expires > until:
            raise MoreThanOwn(
                f"the token of {caller.principal} expires before the one it would make: choose an "
                "earlier expiry, or none, which makes it the same"
            )
        credential = self._chance()
        return credential, Token(
            credential.id,
            wanted.name,
            credential.digest,
            wanted.scopes,
            wanted.description,
            0,
            caller.principal,
            wanted.expires or until,
        )

    def _insert(self, tx: Transaction, token: Token) -> Token:
        if len(self._known) >= MOST_TOKENS:
            raise TooManyTokens(
                f"{MOST_TOKENS} tokens exist: revoke some that are not used any more"
            )
        token = msgspec.structs.replace(token, created=tx.time)
        try:
            self._table.put(tx, token)
        except NotUnique as error:
            raise NameTaken(
                f"a token is called {token.name!r} already: choose another name, or revoke that one"
            ) from error
        tx.after(self._known.__setitem__, token.id, token)
        return token

    def _remove(self, tx: Transaction, name: str, caller: Caller) -> Token:
        token = self._table.get(tx, name) or self._table.indexes["by_name"].get(tx, name)
        if token is None:
            raise UnknownToken(f"there is no token {name!r}: it may have been revoked already")
        for scope in token.scopes:
            if not within(scope, caller.scopes):
                raise MoreThanOwn(
                    f"{token.name} has the scope {scope}, which {caller.principal} has not: ask someone "
                    "who has to revoke it"
                )
        self._table.delete(tx, token.id)
        tx.after(self._forget, token.id)
        return token

    def _forget(self, id_: str) -> None:
        self._known.pop(id_, None)
        self._used.pop(id_, None)


def _made(credential: Credential, token: Token) -> Made:
    """What was stored may be what an earlier request with the same key stored."""
    return Made(token, credential.text if token.id == credential.id else "")


def first_token(tokens: Tokens) -> str | None:
    """On a first start, make the operator's token and return its text, to be told once; None if there
    are tokens already. Raises as `Tokens.create`."""
    if len(tokens):
        return None
    wanted = Wanted(
        name=OPERATOR, scopes=(EVERYTHING,), description="Made by the first start of this server."
    )
    return tokens.create_now(wanted, Caller("server", (EVERYTHING,), "")).text


def meta_of(caller: Caller) -> Meta:
    """What is kept of a caller with what it does."""
    return Meta(caller.principal, caller.reason, caller.request_id, caller.idempotency_key)


def fingerprint_of(wanted: Wanted) -> str:
    """What of a request has to be the same under the same idempotency key."""
    return hashlib.blake2b(msgspec.json.encode(wanted), digest_size=16).hexdigest()


def check_wanted(wanted: Wanted, now: int) -> None:
    """Raise InvalidToken or InvalidScope for what can't be a token."""
    if not _NAME.fullmatch(wanted.name):
        raise InvalidToken(
            f"a token can't be called {wanted.name[:80]!r}: use 1 to 64 letters, digits, '.', '_', '-'"
        )
    if not 1 <= len(wanted.scopes) <= MOST_SCOPES:
        raise InvalidToken(
            f"a token has 1 to {MOST_SCOPES} scopes and this has {len(wanted.scopes)}"
        )
    for scope in wanted.scopes:
        parse_scope(scope)
    if len(wanted.description) > DESCRIPTION_LENGTH or not wanted.description.isprintable():
        raise InvalidToken(f"a description is one line of at most {DESCRIPTION_LENGTH} characters")
    if wanted.expires and wanted.expires <= now:
        raise InvalidToken("a token can't expire before it is made: choose a later expiry, or none")
