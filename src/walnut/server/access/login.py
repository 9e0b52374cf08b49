"""Logging in to the console, and out: the two requests by which a session begins and ends.

    GET  /console/login     the page, drawn by whoever gave `draw`
    POST /console/login     token=...  ─▶ 303 to the console, with the session's cookie
    POST /console/logout    ─▶ 303 to the login page; the session is over, here and everywhere

What must stay true: a token is sent in the body of a POST from this server's own page and nowhere else,
so that it stands in no address, history or log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qs, quote

from walnut.server.access.gate import Gate
from walnut.server.access.sessions import PATH, check_origin, cookie, session_id
from walnut.web.asgi import App, Receive, Scope, Send
from walnut.web.bodies import read_body
from walnut.web.caller import header
from walnut.web.errors import ClientGone, CrossOrigin, Unauthenticated, WebError
from walnut.web.problems import KINDS, Rendered

LOGIN: Final = f"{PATH}/login"
LOGOUT: Final = f"{PATH}/logout"
FORM_BYTES: Final = 4096
"""Of a login: a token has 63 characters."""

Draw = Callable[[str], bytes]
"""Draws the login page, with what is wrong about the last try, or ""."""


class Login:
    """The login page and what it sends to. `Guarded` is given it."""

    def __init__(self, gate: Gate, draw: Draw) -> None:
        self._gate = gate
        self._draw = draw

    def paths(self) -> Mapping[str, App]:
        """What is reached without a credential."""
        return {LOGIN: self.log_in, LOGOUT: self.log_out}

    def instead(self, error: WebError, scope: Scope) -> Rendered | None:
        """Where to send somebody who looks at the console without a session; None: nowhere."""
        path = scope["path"]
        looks = isinstance(error, Unauthenticated) and scope.get("method") in {"GET", "HEAD"}
        if looks and wants_console(scope):
            return TO_CONSOLE
        if not looks or not (path == PATH or path.startswith(f"{PATH}/")):
            return None
        if "text/html" not in (header(scope, b"accept") or ""):
            return None
        query = scope["query_string"].decode("latin-1")
        next_ = quote(f"{path}?{query}" if query else path, safe="/")
        where = f"{LOGIN}?next={next_}" if path != PATH else LOGIN
        return Rendered(
            303, [(b"location", where.encode("ascii")), (b"content-length", b"0"), *_HEADERS], b""
        )

    async def log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The login page, or a try to log in."""
        if scope["method"] != "POST":
            await self._page(send, 200, "")
            return
        try:
            check_origin(scope)
            form = parse_qs((await read_body(receive, FORM_BYTES)).decode("utf-8", "replace"))
            token = self._gate.check(form.get("token", [""])[0].strip(), scope)
        except ClientGone:
            return
        except WebError as error:
            await self._page(send, KINDS[_known(error)].status, str(error))
            return
        id_ = self._gate.sessions.open(token.id)
        await _go(send, _wanted(scope), cookie(id_, secure=scope["scheme"] in {"https", "wss"}))

    async def log_out(self, scope: Scope, receive: Receive, send: Send) -> None:
        """End the session."""
        del receive
        if scope["method"] != "POST":
            await _go(send, LOGIN, None)
            return
        try:
            check_origin(scope)
        except CrossOrigin as error:
            await self._page(send, 403, str(error))
            return
        if (id_ := session_id(scope)) is not None:
            self._gate.sessions.close(id_)
        await _go(send, LOGIN, cookie("", secure=scope["scheme"] in {"https", "wss"}))

    async def _page(self, send: Send, status: int, wrong: str) -> None:
        body = self._draw(wrong)
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            *_HEADERS,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def wants_console(scope: Scope) -> bool:
    """Whether a browser asks for "/", as a person types it. What it is answered then, `TO_CONSOLE`, is the
    same whoever asks, and opens nothing: the console asks for the login."""
    return scope["path"] == "/" and "text/html" in (header(scope, b"accept") or "")


_POLICY: Final = (
    b"default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; form-action 'self'; "
    b"frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", _POLICY),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)


TO_CONSOLE: Final = Rendered(
    303, [(b"location", f"{PATH}/".encode()), (b"content-length", b"0"), *_HEADERS], b""
)


def _known(error: WebError) -> type[WebError]:
    return next(kind for kind in type(error).__mro__ if kind in KINDS)


def _wanted(scope: Scope) -> str:
    """The page of the console that somebody wanted to see: `?next=/console/topics`."""
    given = parse_qs(scope["query_string"].decode("latin-1")).get("next", [""])[0]
    inside = given.startswith(f"{PATH}/") and "\\" not in given and given.isprintable()
    return quote(given, safe="/?=&%") if inside else PATH


async def _go(send: Send, where: str, set_cookie: str | None) -> None:
    headers = [(b"location", where.encode("ascii")), (b"content-length", b"0"), *_HEADERS]
    if set_cookie is not None:
        headers.append((b"set-cookie", set_cookie.encode("ascii")))
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
