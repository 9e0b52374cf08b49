"""`Sessions`: logins of the console. A random id in a cookie; all else stays here.

    token ─▶ open ─▶ cookie: walnut_session=...; HttpOnly; SameSite=Strict; Path=/console [; Secure]
    cookie ─▶ token_id: the token, as long as it is good, until the session is too old or too quiet

They live in memory: after a restart people log in again. A session has no rights of its own but those
of its token, as they are at each request.

What must stay true: the id itself is not kept, only its digest; a session ends with its token; and a
cookie is good for the console alone, so that no page of another site can have the API do anything.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from walnut.web.errors import CrossOrigin

COOKIE: Final = "walnut_session"
PATH: Final = "/console"
OLDEST_SECONDS: Final = 12 * 3600.0
"""Whoever has worked for a day logs in again."""
QUIET_SECONDS: Final = 3600.0
"""Without a request. A page that is open asks every few seconds."""
MOST_SESSIONS: Final = 1000
"""The one that was quiet longest makes room."""
ID_BYTES: Final = 32
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PORTS: Final = {"http": 80, "https": 443}


class Session(msgspec.Struct):
    """A login.

    Attributes:
        token: the id of its token.
        opened, seen: seconds, by the clock of `Sessions`.
    """

    token: str
    opened: float
    seen: float


class Sessions:
    """Which sessions there are. For one event loop. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def open(self, token: str) -> str:
        """A new session for the token of this id; returns the session's own id, for the cookie."""
        id_ = secrets.token_urlsafe(ID_BYTES)
        now = self._clock()
        self._sessions[name_of(id_)] = Session(token, now, now)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return id_

    def token_id(self, name: str, *, touch: bool = True) -> str | None:
        """The token of the session with this name, if it is still open."""
        session = self._sessions.get(name)
        if session is None:
            return None
        now = self._clock()
        if now - session.opened >= OLDEST_SECONDS or now - session.seen >= QUIET_SECONDS:
            del self._sessions[name]
            return None
        if touch:
            session.seen = now
            self._sessions.move_to_end(name)
        return session.token

    def close(self, id_: str) -> None:
        """End a session."""
        self._sessions.pop(name_of(id_), None)

    def __len__(self) -> int:
        return len(self._sessions)


def name_of(id_: str) -> str:
    """What is kept of a session's id."""
    return hashlib.sha256(id_.encode("utf-8", "surrogateescape")).hexdigest()


def session_id(scope: Mapping[str, Any]) -> str | None:
    """The session's id in a request's cookies; None if there is not exactly one."""
    found = [
        value.strip()
        for name, line in scope["headers"]
        if name == b"cookie"
        for key, _, value in (part.partition("=") for part in line.decode("latin-1").split(";"))
        if key.strip() == COOKIE
    ]
    return found[0] if len(found) == 1 else None


def cookie(id_: str, *, secure: bool) -> str:
    """The `Set-Cookie` that begins a session; an empty id ends it."""
    age = f"Max-Age={OLDEST_SECONDS:.0f}" if id_ else "Max-Age=0"
    flags = f"{age}; HttpOnly; SameSite=Strict; Path={PATH}"
    return f"{COOKIE}={id_}; {flags}" + ("; Secure" if secure else "")


def check_origin(scope: Mapping[str, Any]) -> None:
    """Go on if a request that may change something comes from a page of this very server. Browsers say
    where it comes from, and let no page say otherwise. Raises CrossOrigin."""
    if scope["type"] == "http" and scope["method"] in _SAFE:
        return
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    if origin is not None:
        if _place(origin.decode("latin-1")) == _host(scope, headers):
            return
    elif headers.get(b"sec-fetch-site") == b"same-origin":
        return
    raise CrossOrigin(
        f"the browser says this was sent by {(origin or b'nobody').decode('latin-1')[:200]}, not by a "
        "page of this server: open the console at the address it is reached by"
    )


def _place(origin: str) -> tuple[str | None, int | None] | None:
    try:
        parts = urlsplit(origin)
        return parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None


def _host(scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Any:
    """Where the browser thinks it is. Behind a proxy that ends TLS the scheme is not ours: a host
    without a port is then that of the origin's scheme, which the browser has just told us."""
    host = headers.get(b"host", b"").decode("latin-1")
    origin = headers.get(b"origin", b"").decode("latin-1")
    del scope
    return _place(f"{origin.partition(':')[0]}://{host}") if host else None
