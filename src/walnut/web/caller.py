"""Who calls: put into the ASGI scope once a request was let in, read by routes.

What must stay true: a route is only reached with a `Caller` in its scope; there is no anonymous one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

KEY: Final = "walnut.caller"
"""Where it is in an ASGI scope."""
REQUEST_ID: Final = "walnut.request_id"
"""Where the request's id is, from the beginning, also of requests that are not let in."""


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Whoever sent a request.

    Attributes:
        principal: who, as authenticated: "token:ci", "local:root". It goes into the audit trail.
        scopes: what it may do: "AREA:VERB" or "AREA:VERB:PATTERN"; "*" is everything (`access`).
        request_id: of this request; answered as `Request-Id` and kept with what it changes.
        idempotency_key: as the request brought it in `Idempotency-Key`, or empty.
        reason: why, from the header `Walnut-Reason`, or empty.
        credential: which one it came with, for `Access.still_good`: "token:ID"; never a secret.
    """

    principal: str
    scopes: tuple[str, ...]
    request_id: str
    idempotency_key: str = ""
    reason: str = ""
    credential: str = ""


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """Who sent the request of this ASGI scope."""
    caller: Caller = scope[KEY]
    return caller


def request_id_of(scope: Mapping[str, Any]) -> str:
    """The id of the request of this ASGI scope; empty before it has one."""
    found: str = scope.get(REQUEST_ID, "")
    return found


def header(scope: Mapping[str, Any], name: bytes) -> str | None:
    """The first header of this name (in lower case), or None."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None
