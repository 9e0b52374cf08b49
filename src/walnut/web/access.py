"""What a route needs and what a caller has; the seam at which a policy decides.

    @get("/v1/topics/{topic:str}", opt=needs("topics:read", name="topic"))

    a scope       AREA:VERB[:PATTERN]     topics:read   tables:write:orders-*   *:read   *
    verbs         read < write < admin    the greater includes the smaller

A pattern (as of `fnmatch`) grants what is named so, and nothing that is not about one named thing.

What must stay true: every route declares its need, and whoever handles it runs after `Access.decide`
has let the caller pass. Decisions are made from memory, so that none can hang.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from walnut.web.caller import Caller, caller_of
from walnut.web.errors import Forbidden, InvalidScope

NEED: Final = "walnut.need"
"""Where a route's need is among Litestar's `opt`."""
ACCESS: Final = "walnut.access"
"""Where the one that decides is in an ASGI scope."""
EVERYTHING: Final = "*"
VERBS: Final = {"read": 0, "write": 1, "admin": 2}
SCOPE_LENGTH: Final = 256
"""Characters; a longer scope is a mistake."""
_REMEMBERED: Final = 8192
"""Decisions kept in memory: some megabytes at most."""


class Need(msgspec.Struct, frozen=True):
    """What a caller of a route has to be allowed to do.

    Attributes:
        area: of the API: "topics". Empty: whoever is authenticated may.
        verb: "read", "write" or "admin".
        name: the path parameter that names the thing; empty if the route is not about one thing.
        each: the route itself calls `permit` for each thing it touches; it is entered by whoever may
            touch any.
    """

    area: str
    verb: str
    name: str = ""
    each: bool = False

    def __str__(self) -> str:
        return f"{self.area}:{self.verb}" if self.area else "any credential"

    def resource(self, parameters: Mapping[str, Any]) -> str:
        """What is asked for, by the parameters of the path."""
        return str(parameters[self.name]) if self.name else ""


class Access(Protocol):
    """Who is let in, and to what. Both are asked on the event loop for every request: be quick, and
    wait for nothing."""

    def authenticate(self, scope: Mapping[str, Any]) -> Caller:
        """Who sends the request or opens the WebSocket of this ASGI scope.

        Raises Unauthenticated, TooManyAttempts, CrossOrigin."""

    def decide(self, caller: Caller, need: Need, resource: str) -> None:
        """Let the caller do it, or raise Forbidden. `resource` is empty if it is not about one."""

    def still_good(self, caller: Caller) -> bool:
        """Whether a caller that was let in before would be let in again. Asked of open streams."""


def needs(scope: str, *, name: str = "", each: bool = False) -> dict[str, Any]:
    """A route's need, for `opt=`: see `Need`. Raises InvalidScope."""
    area, verb, pattern = parse_scope(scope)
    if pattern or EVERYTHING in (area, verb):
        raise InvalidScope(f"a route needs AREA:VERB, not {scope!r}: name the thing with `name=`")
    return {NEED: Need(area, verb, name, each)}


def needs_credential() -> dict[str, Any]:
    """The need of a route that is for whoever is authenticated, with whatever scopes."""
    return {NEED: Need("", "")}


def permit(scope: Mapping[str, Any], need: str, resource: str) -> None:
    """Ask whether the sender of this ASGI scope's request may do this to one thing, as routes do that
    are declared with `each=True`. Raises Forbidden, InvalidScope."""
    area, verb, _ = parse_scope(need)
    access: Access = scope[ACCESS]
    access.decide(caller_of(scope), Need(area, verb), resource)


@lru_cache(maxsize=_REMEMBERED)
def parse_scope(scope: str) -> tuple[str, str, str]:
    """Area, verb and pattern (empty for all) of a scope. Raises InvalidScope."""
    if scope == EVERYTHING:
        return EVERYTHING, "admin", ""
    area, _, rest = scope.partition(":")
    verb, colon, pattern = rest.partition(":")
    if (
        verb not in VERBS
        or not (area == EVERYTHING or area.replace("-", "").isalnum())
        or (colon and not pattern)
        or len(scope) > SCOPE_LENGTH
        or not scope.isprintable()
    ):
        raise InvalidScope(
            f"{scope[:SCOPE_LENGTH]!r} is no scope: write AREA:VERB or AREA:VERB:PATTERN with a verb of "
            f"{', '.join(VERBS)} (as topics:read or tables:write:orders-*), or * for everything"
        )
    return area, verb, "" if pattern == EVERYTHING else pattern


@lru_cache(maxsize=_REMEMBERED)
def grants(scopes: tuple[str, ...], need: Need, resource: str) -> bool:
    """Whether one of the scopes allows this."""
    if not need.area:
        return True
    wanted = VERBS[need.verb]
    for scope in scopes:
        area, verb, pattern = parse_scope(scope)
        if area not in (EVERYTHING, need.area) or VERBS[verb] < wanted:
            continue
        if not pattern or need.each or (resource and fnmatchcase(resource, pattern)):
            return True
    return False


def within(scope: str, scopes: tuple[str, ...]) -> bool:
    """Whether everything that `scope` allows is allowed by one of `scopes`, so that a token with these
    may hand it on. A pattern is within itself, and within one that is the same up to a final `*`.

    Raises InvalidScope."""
    area, verb, pattern = parse_scope(scope)
    for other in scopes:
        their_area, their_verb, theirs = parse_scope(other)
        if their_area in (EVERYTHING, area) and VERBS[their_verb] >= VERBS[verb]:
            if not theirs or theirs == pattern:
                return True
            literal = theirs[:-1]
            if (
                theirs.endswith("*")
                and not set(literal) & set("*?[")
                and pattern.startswith(literal)
            ):
                return True
    return False


def require(scopes: tuple[str, ...], caller: Caller, need: Need, resource: str) -> None:
    """Raise Forbidden, naming what is missing, unless the scopes allow it."""
    if not grants(scopes, need, resource):
        raise Forbidden(caller.principal, f"{need}:{resource}" if resource else str(need))
