"""What a request can be refused for, by name, whatever subsystem it is for.

Each message says what happened, to what, and what to do; it becomes the `detail` of the problem
(`problems`), so that none of them may hold a secret.
"""

from __future__ import annotations


class WebError(Exception):
    """Base of what is raised by `walnut.web`."""


class RouteUndeclared(WebError):
    """A route says nothing of what a caller needs, or what can't be read."""


class ExpressUnsupported(WebError):
    """A handler was marked as express and asks for what the express lane does not do."""


class InvalidScope(WebError, ValueError):
    """A scope is not AREA:VERB, AREA:VERB:PATTERN or *."""


class Unauthenticated(WebError):
    """A request came without a credential, or with one that is not good (any more)."""


class Forbidden(WebError):
    """The caller may not do this.

    Attributes:
        scope: that is missing.
    """

    def __init__(self, principal: str, scope: str) -> None:
        super().__init__(
            f"{principal} may not do this: it takes the scope {scope}. Use a token that has it, or "
            "have one made with `walnut token create`"
        )
        self.scope = scope


class TooManyAttempts(WebError):
    """Too many credentials were tried that were no good."""


class Overloaded(WebError):
    """As many requests as the server takes at a time are under way."""


class TooManyRequests(WebError):
    """As many requests as one principal may have at a time are under way."""


class BodyTooLarge(WebError):
    """A request's body is larger than the server takes."""


class ContentEncoded(WebError, ValueError):
    """A request's body is compressed, or encoded otherwise, which no route takes."""


class BodyTimeout(WebError):
    """A request's body did not come in time."""


class RequestTimeout(WebError):
    """A request could not be answered in time. What it asked for may have been done all the same."""


class ClientGone(WebError):
    """The client hung up before its request was there."""


class InvalidRequest(WebError, ValueError):
    """A request's parameters or body are not as the route wants them.

    Attributes:
        errors: what is wrong, and where.
    """

    def __init__(self, detail: str, *errors: dict[str, str]) -> None:
        super().__init__(detail)
        self.errors = list(errors)


class MalformedBody(WebError, ValueError):
    """A request's body can't be read as its media type says."""


class InvalidIdempotencyKey(WebError, ValueError):
    """The header Idempotency-Key is too long, or holds what is not visible ASCII."""


class InvalidCursor(WebError, ValueError):
    """A cursor is not one that was handed out by this route."""


class PreconditionFailed(WebError):
    """The row is not as the request's If-Match or If-None-Match says."""


class CrossOrigin(WebError):
    """A browser sent a request with its session's cookie from another site's page."""
