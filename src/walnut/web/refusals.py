"""What the HTTP framework refuses by itself, in the words of our problems.

What must stay true: a caller can't tell from a refusal which framework is beneath.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from litestar.exceptions import HTTPException, ValidationException

from walnut.web.problems import INVALID, MALFORMED, OF_STATUS, REFUSED, Problems, Rendered, rendered

_PLACE: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<at>[^`]*)`)?$", re.DOTALL)
"""What a type error of msgspec looks like: "Expected `int`, got `str` - at `$.parts[0]`"."""


def render(error: Exception, scope: Mapping[str, Any], problems: Problems) -> Rendered:
    """The answer to an error that a route, or the framework before it, has raised."""
    if isinstance(error, ValidationException):
        return _invalid(error, scope)
    if not isinstance(error, HTTPException) or error.status_code >= 500:
        return problems.render(error.__cause__ or error if _wraps(error) else error, scope)
    kind = OF_STATUS.get(error.status_code, REFUSED)
    headers = [(k.lower().encode(), str(v).encode()) for k, v in (error.headers or {}).items()]
    if error.status_code == 400:
        return _unreadable(error.detail, scope)
    detail = f"{scope.get('method', 'WEBSOCKET')} {scope['path']}: see /schema for what there is"
    return rendered(kind, detail, scope, {}, headers)


def _wraps(error: Exception) -> bool:
    """A failure of the framework's own that only passes on another's."""
    return isinstance(error, HTTPException)


def _invalid(error: ValidationException, scope: Mapping[str, Any]) -> Rendered:
    entries: Any = error.extra
    found = entries if isinstance(entries, list) else []
    errors = [
        {"at": _place(entry), "message": str(entry.get("message", ""))}
        for entry in found
        if isinstance(entry, dict)
    ]
    words = "; ".join(f"{entry['at']}: {entry['message']}" for entry in errors)
    return rendered(INVALID, words or error.detail, scope, {"errors": errors})


def _place(entry: Mapping[str, Any]) -> str:
    """Where something is wrong: "query.limit", "body.parts[0]"."""
    source, key = entry.get("source", "body"), str(entry.get("key", ""))
    source = str(getattr(source, "value", source))
    return f"{source}.{key}" if key and (source, key) != ("body", "data") else source


def _unreadable(detail: str, scope: Mapping[str, Any]) -> Rendered:
    """A body that is no JSON, or whose JSON is not of the right shape."""
    match = _PLACE.match(detail)
    assert match is not None, "the pattern matches anything"
    what, at = match["what"], match["at"]
    if at is None and not what.startswith(("Expected", "Object", "Invalid")):
        return rendered(MALFORMED, detail, scope, {})
    place = f"body{at or ''}"
    return rendered(
        INVALID, f"{place}: {what}", scope, {"errors": [{"at": place, "message": what}]}
    )
