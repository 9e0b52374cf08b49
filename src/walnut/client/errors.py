"""Every error the client raises on purpose.

    ClientError
    ├─ BadAddress          what was given is no place where a server can be
    ├─ Unreachable         no server answers there; nothing has changed
    ├─ OutcomeUnknown      the connection was lost before the answer: ask again with the same key
    ├─ BadAnswer           what answered is no Walnut, or one of another version
    └─ Refused             the server said no, as a problem document of a stable type
       ├─ NotAuthenticated, NotAllowed, NotThere, Conflict, Changed, Gone, Invalid, TooLarge
       └─ Busy, ServerFailed

What must stay true: `Refused` means that this request changed nothing, and `OutcomeUnknown` that it
may have; nothing else is raised for a request that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PREFIX: Final = "urn:walnut:problem:"


class ClientError(Exception):
    """Base of every error raised by `walnut.client`."""


class BadAddress(ClientError, ValueError):
    """What was given is no URL, socket or data directory."""


class Unreachable(ClientError):
    """No server answers at this address. The request has changed nothing."""


class OutcomeUnknown(ClientError):
    """The connection was lost after a write was sent and before it was answered.

    Attributes:
        key: the idempotency key of the write. Sent again with it, the write is done once in all.
    """

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


class BadAnswer(ClientError):
    """What answered does not speak as a Walnut of this version does."""


class Refused(ClientError):
    """The server refused.

    Attributes:
        slug: the end of the problem's type, which is stable: "unknown-table".
        status: of the HTTP answer.
        title: what any problem of the type is.
        request_id: under which the server's log has more.
        retry_after: seconds after which trying again makes sense; None if it does not by itself.
        more: the document's other members.
    """

    def __init__(self, status: int, document: Mapping[str, Any], retry_after: float | None) -> None:
        self.status = status
        self.slug = str(document.get("type", "")).removeprefix(PREFIX)
        self.title = str(document.get("title", f"HTTP status {status}"))
        self.request_id = str(document.get("request_id", ""))
        self.retry_after = retry_after
        self.more = {name: value for name, value in document.items() if name not in _KNOWN}
        super().__init__(str(document.get("detail") or self.title))


_KNOWN: Final = frozenset({"type", "title", "status", "detail", "instance", "request_id"})


class NotAuthenticated(Refused):
    """The token is missing, wrong, expired or revoked."""


class NotAllowed(Refused):
    """The token does not allow this."""


class NotThere(Refused, LookupError):
    """There is no such table, row, topic, job, ..."""


class Conflict(Refused):
    """What is there does not go together with it."""


class Changed(Refused):
    """The row is not as the condition said."""


class Gone(Refused, LookupError):
    """It was there and is no longer: truncated, or erased."""


class Invalid(Refused, ValueError):
    """The request is not what the server takes, or its key was used for another one."""


class TooLarge(Refused, ValueError):
    """More than may be sent or written at once."""


class Busy(Refused):
    """The server has too much to do, is starting or stopping, or a disk is full: try again later."""


class ServerFailed(Refused):
    """Something went wrong in the server, or behind it."""


_OF_STATUS: Final[Mapping[int, type[Refused]]] = {
    400: Invalid, 401: NotAuthenticated, 403: NotAllowed, 404: NotThere, 405: Invalid, 408: Busy,
    409: Conflict, 410: Gone, 412: Changed, 413: TooLarge, 422: Invalid, 429: Busy, 431: TooLarge,
    503: Busy, 504: Busy, 507: Busy,
}  # fmt: skip


def refusal(status: int, document: Mapping[str, Any], retry_after: float | None) -> Refused:
    """The error that a problem document tells."""
    kind = _OF_STATUS.get(status, ServerFailed if status >= 500 else Refused)
    return kind(status, document, retry_after)
