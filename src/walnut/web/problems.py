"""Refusals as RFC 9457 problem documents (`application/problem+json`), each of a stable type.

    error ─▶ Kind, by its class or the nearest one above ─▶ status, title, Retry-After
                └ none ─▶ 500 internal: logged with its traceback, its words kept from the caller

What must stay true: a type, once published, keeps its meaning; the words of `detail` are the error's
own and may change; an error that nobody has mapped says nothing of itself outside.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from walnut.web import errors
from walnut.web.caller import request_id_of

MEDIA_TYPE: Final = "application/problem+json"
PREFIX: Final = "urn:walnut:problem:"
_DETAIL: Final = 2000
"""Characters of an error's own words: it may quote what a caller sent."""
_logger = logging.getLogger("walnut.web")
_encode: Final = msgspec.json.Encoder().encode


class Kind(msgspec.Struct, frozen=True):
    """What an error means to a caller.

    Attributes:
        slug: the end of the problem's type: "unknown-table".
        status: of the answer.
        title: the same for every problem of the type.
        retry_after: seconds after which trying again makes sense, if it does.
        members: attributes of the error that the document has as well.
    """

    slug: str
    status: int
    title: str
    retry_after: int | None = None
    members: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """The problem's type, a URN."""
        return PREFIX + self.slug


class Problem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The document. Members that a type adds of its own stand beside these when encoded."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    request_id: str = ""


class Rendered(msgspec.Struct, frozen=True):
    """An answer, ready to be sent: its status, its headers and its body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


INTERNAL: Final = Kind("internal", 500, "Something in Walnut went wrong")
NOT_FOUND: Final = Kind("not-found", 404, "There is nothing at this address")
METHOD_NOT_ALLOWED: Final = Kind("method-not-allowed", 405, "This address does not know the method")
REFUSED: Final = Kind("refused", 400, "The request can't be served")
INVALID: Final = Kind(
    "invalid-request", 400, "The request is not as this route wants it", members=("errors",)
)
MALFORMED: Final = Kind("malformed", 400, "The body can't be read")
UNAUTHENTICATED: Final = Kind("unauthenticated", 401, "A credential is needed")
FORBIDDEN: Final = Kind("forbidden", 403, "This credential does not allow it", members=("scope",))
TOO_LARGE: Final = Kind("too-large", 413, "The body is too large")
BODY_TIMEOUT: Final = Kind("body-timeout", 408, "The body did not come in time")
OVERLOADED: Final = Kind("overloaded", 503, "The server has as much to do as it takes", 1)
HEAD_TOO_LARGE: Final = Kind("head-too-large", 431, "The request's head is too large")
ENCODED: Final = Kind("encoded", 415, "Bodies are taken only as they are")

KINDS: Final[Mapping[type[Exception], Kind]] = {
    errors.Unauthenticated: UNAUTHENTICATED,
    errors.Forbidden: FORBIDDEN,
    errors.CrossOrigin: Kind("cross-origin", 403, "A page of another site sent this"),
    errors.TooManyAttempts: Kind("too-many-attempts", 429, "Too many wrong credentials", 10),
    errors.Overloaded: OVERLOADED,
    errors.TooManyRequests: Kind("too-many-requests", 429, "Too many requests at a time", 1),
    errors.BodyTooLarge: TOO_LARGE,
    errors.ContentEncoded: ENCODED,
    errors.BodyTimeout: BODY_TIMEOUT,
    errors.RequestTimeout: Kind("timeout", 503, "The request took too long", 1),
    errors.ClientGone: Kind("client-gone", 400, "The client hung up"),  # told to nobody
    errors.InvalidRequest: INVALID,
    errors.MalformedBody: MALFORMED,
    errors.InvalidIdempotencyKey: Kind("invalid-idempotency-key", 400, "This can't be a key"),
    errors.InvalidCursor: Kind("invalid-cursor", 400, "This cursor was not handed out here"),
    errors.InvalidScope: Kind("invalid-scope", 400, "This is not a scope"),
    errors.PreconditionFailed: Kind("precondition-failed", 412, "It is not as you think it is"),
}
"""What the errors of this package mean."""

_UNPARSED: Final = {
    400: (
        REFUSED,
        "This is not HTTP/1.1 as it has to be: one Host, and a body whose end is clear.",
    ),
    408: (BODY_TIMEOUT, "The request was not there in time: send it again."),
    431: (
        HEAD_TOO_LARGE,
        "Address and headers are more than limits.header, or too many: send less.",
    ),
    503: (OVERLOADED, "More requests wait on this connection than may: read answers first."),
}
"""What the HTTP parser refuses, by status; a request that is not there has no path and no id."""

OF_STATUS: Final = {
    kind.status: kind
    for kind in (INVALID, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE)
}
"""What a refusal of the HTTP framework means."""


class Problems:
    """All that can go wrong, as callers are told. Raises AssertionError for one slug of two meanings."""

    def __init__(self, *mappings: Mapping[type[Exception], Kind]) -> None:
        self._kinds: dict[type[BaseException], Kind | None] = {}
        for mapping in (KINDS, *mappings):
            self._kinds.update(mapping.items())
        known: dict[str, Kind] = {
            kind.slug: kind for kind in (INTERNAL, REFUSED, HEAD_TOO_LARGE, *OF_STATUS.values())
        }
        for kind in self._kinds.values():
            assert kind is not None
            assert known.setdefault(kind.slug, kind) == kind, f"{kind.slug} has two meanings"
        self.kinds: list[Kind] = sorted(known.values(), key=lambda kind: (kind.status, kind.slug))
        """Every type there is."""

    def kind_of(self, error: BaseException) -> Kind | None:
        """What an error means, by the nearest of its classes; None if nobody has said."""
        exact = type(error)
        if exact not in self._kinds:
            near = (cls for cls in exact.__mro__ if cls in self._kinds)
            self._kinds[exact] = self._kinds[found] if (found := next(near, None)) else None
        return self._kinds[exact]

    def render(self, error: BaseException, scope: Mapping[str, Any]) -> Rendered:
        """The answer that tells an error. One that nobody mapped is logged."""
        kind = self.kind_of(error)
        if kind is None:
            return self._internal(error, scope)
        more = {name: getattr(error, name) for name in kind.members}
        return rendered(kind, str(error), scope, more)

    def _internal(self, error: BaseException, scope: Mapping[str, Any]) -> Rendered:
        request_id = request_id_of(scope)
        _logger.error(
            "%s %s failed (request %s)",
            scope.get("method", "WEBSOCKET"), scope["path"], request_id, exc_info=error,
        )  # fmt: skip
        detail = f"The server's log has more, under the request id {request_id}."
        return rendered(INTERNAL, detail, scope, {})


def unparsed(status: int) -> tuple[bytes, bytes]:
    """Media type and body of a refusal of what could not be read as a request."""
    kind, detail = _UNPARSED[status]
    problem = Problem(type=kind.type, title=kind.title, status=status, detail=detail)
    return MEDIA_TYPE.encode(), _encode(problem)


def rendered(
    kind: Kind,
    detail: str,
    scope: Mapping[str, Any],
    more: Mapping[str, Any],
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> Rendered:
    """The answer of a kind, in these words, with these members and headers as well."""
    problem = Problem(
        type=kind.type,
        title=kind.title,
        status=kind.status,
        detail=detail[:_DETAIL],
        instance=scope["path"],
        request_id=request_id_of(scope),
    )
    body = _encode({**msgspec.to_builtins(more), **msgspec.to_builtins(problem)})
    lines = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    if kind.retry_after is not None:
        lines.append((b"retry-after", b"%d" % kind.retry_after))
    if kind is UNAUTHENTICATED:
        lines.append((b"www-authenticate", b'Bearer realm="walnut"'))
    if kind is ENCODED:
        lines.append((b"accept-encoding", b"identity"))
    if kind is FORBIDDEN and "scope" in more:
        scope_text = str(more["scope"]).encode("ascii", "replace").replace(b'"', b"'")
        lines.append(
            (b"www-authenticate", b'Bearer error="insufficient_scope", scope="%b"' % scope_text)
        )
    return Rendered(kind.status, [*lines, *headers], body)
