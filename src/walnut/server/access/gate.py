"""`Gate`: who sends a request, and whether he may. The one that `walnut.trust` will take the place of.

    Authorization: Bearer ...   the token, whatever else there is
    the local socket            its user, who may do everything
    the console's cookie        below /console only: the session's token

What must stay true: of several credentials the one that was sent on purpose counts, and if it is no good
the request is refused, not tried with another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from walnut.server.access.attempts import AttemptLimits, Attempts
from walnut.server.access.credentials import read_credential
from walnut.server.access.peers import local_principal
from walnut.server.access.sessions import PATH, Sessions, check_origin, name_of, session_id
from walnut.server.access.tokens import Token, Tokens
from walnut.web.access import EVERYTHING, Need, parse_scope, require
from walnut.web.caller import Caller, request_id_of
from walnut.web.errors import Forbidden, InvalidRequest, TooManyAttempts, Unauthenticated, WebError
from walnut.web.idempotency import checked_key

_log = structlog.get_logger("walnut.access")
REASON_LENGTH: Final = 1024
"""Bytes of the header Walnut-Reason: it is kept with every transaction."""
_TOKEN: Final = "token:"  # noqa: S105  a kind of credential, and none
_SESSION: Final = "session:"
_WANTED: Final = frozenset({
    b"authorization", b"cookie", b"idempotency-key", b"walnut-reason", b"request-id", b"x-request-id",
    b"traceparent", b"content-length", b"content-encoding",
})  # fmt: skip
HEADERS: Final = "walnut.headers"
"""Where `Guarded` leaves the headers it has looked for, in the scope."""
_ONCE: Final = frozenset(
    {b"authorization", b"idempotency-key", b"walnut-reason", b"content-length", b"content-encoding"}
)


def sorted_out(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Those of the headers that the access layer looks at; under b"" one that came twice and must not."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _WANTED:
            if name in found and name in _ONCE:
                found[b""] = name
            found[name] = value
    return found


class Gate:
    """Lets in by tokens, the local socket and the console's sessions; see `walnut.web.access.Access`.

    Args:
        clock: in seconds, for how fast attempts come and how old sessions are.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        attempts: AttemptLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tokens = tokens
        self.sessions = Sessions(clock)
        self.attempts = Attempts(attempts or AttemptLimits(), clock)

    # -- Access ---------------------------------------------------------------------------------

    def authenticate(self, scope: Mapping[str, Any]) -> Caller:
        """See `Access`. 4 µs with a token: `python -m bench.access`."""
        headers = scope.get(HEADERS)
        if headers is None:
            headers = sorted_out(scope["headers"])
        if b"" in headers:
            raise _twice(headers[b""])
        given = headers.get(b"authorization")
        if given is not None:
            token = self.check(_bearer(given), scope)
            who, scopes, credential = token.principal, token.scopes, _TOKEN + token.id
        elif (local := local_principal(scope)) is not None:
            who, scopes, credential = local, (EVERYTHING,), ""
        else:
            token, credential = self._session(scope)
            who, scopes = token.principal, token.scopes
        key, reason = headers.get(b"idempotency-key"), headers.get(b"walnut-reason")
        return Caller(
            who,
            scopes,
            request_id_of(scope),
            "" if key is None else checked_key(key.decode("latin-1")),
            "" if reason is None else _reason(reason),
            credential,
        )

    def decide(self, caller: Caller, need: Need, resource: str) -> None:
        """See `Access`."""
        require(caller.scopes, caller, need, resource)

    def still_good(self, caller: Caller) -> bool:
        """See `Access`."""
        credential = caller.credential
        if not credential:
            return True
        token = self.token_of(caller)
        return token is not None and token.scopes == caller.scopes

    # -- for who asks more closely --------------------------------------------------------------

    def token_of(self, caller: Caller) -> Token | None:
        """The token that a caller came with; None if it is no good any more, or it came without."""
        kind, _, id_ = caller.credential.partition(":")
        if kind == "session":
            id_ = self.sessions.token_id(id_, touch=False) or ""
        return self.tokens.current(id_)

    def until(self, caller: Caller) -> int:
        """When the caller's own credential expires, ns since the Unix epoch; 0: it does not."""
        token = self.token_of(caller)
        return token.expires if token is not None else 0

    def allowed(self, caller: Caller, need: str, name: str = "") -> bool:
        """Whether the caller may do this, as "tables:write", to what has this name."""
        area, verb, _ = parse_scope(need)
        try:
            self.decide(caller, Need(area, verb), name)
        except Forbidden:
            return False
        return True

    async def again(self, scope: Mapping[str, Any]) -> Caller | None:
        """Who sends requests with the credentials of this scope, now; None: nobody any more."""
        try:
            return self.authenticate(scope)
        except WebError:
            return None

    def check(self, text: str, scope: Mapping[str, Any]) -> Token:
        """The token of this text. Wrong ones are counted and logged.

        Raises Unauthenticated, TooManyAttempts."""
        address = client_of(scope)
        credential = read_credential(text)
        id_ = "" if credential is None else credential.id
        if self.attempts.blocked(address, id_):
            raise _too_many(address)
        token = self.tokens.check(credential)
        if token is None:
            within = self.attempts.wrong(address)
            if not within:
                raise _too_many("all addresses together")
            _log.warning(
                "wrong credential",
                client=address,
                token=id_ or None,
                request_id=request_id_of(scope),
            )
            raise Unauthenticated(
                "this token is not good, or not any more: it may have expired or been revoked. "
                "`walnut token list` shows those there are"
            )
        self.attempts.good(address, id_)
        return token

    def _session(self, scope: Mapping[str, Any]) -> tuple[Token, str]:
        path = scope["path"]
        id_ = session_id(scope) if path == PATH or path.startswith(PATH + "/") else None
        if id_ is None:
            raise Unauthenticated(
                "no credential was sent: send `Authorization: Bearer TOKEN`, with a token as `walnut "
                "token create` makes them"
            )
        name = name_of(id_)
        token = self.tokens.current(self.sessions.token_id(name) or "")
        if token is None:
            raise Unauthenticated("this session has ended: log in again")
        check_origin(scope)
        return token, _SESSION + name


def client_of(scope: Mapping[str, Any]) -> str:
    """The address that a request comes from; empty over a local socket."""
    client = scope.get("client")
    return client[0] if client else ""


def _too_many(whose: str) -> TooManyAttempts:
    return TooManyAttempts(
        f"too many wrong credentials came from {whose or 'the local socket'}: wait a little, and see that "
        "the token is right"
    )


def _twice(name: bytes) -> WebError:
    if name == b"authorization":
        return Unauthenticated("two Authorization headers were sent: send one")
    return InvalidRequest(f"the header {name.decode()} was sent twice: send it once")


def _bearer(value: bytes) -> str:
    """The token in an Authorization header. Raises Unauthenticated for another kind of it."""
    kind, _, text = value.partition(b" ")
    if kind.lower() != b"bearer":
        raise Unauthenticated(
            "Authorization is not of the kind `Bearer TOKEN`, the only one there is"
        )
    return text.strip().decode("latin-1")


def _reason(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if len(value) > REASON_LENGTH or not text.isprintable():
        raise InvalidRequest(
            f"Walnut-Reason is one line of UTF-8 with at most {REASON_LENGTH} bytes, and this is not"
        )
    return text
