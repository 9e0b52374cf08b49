"""The OpenAPI document: what Litestar finds in the routes, and the conventions that all of them have.

What must stay true: a client made from the document alone can log in, can tell every refusal, and
knows of each route which scope it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute

from walnut.web.access import NEED
from walnut.web.problems import MEDIA_TYPE, Kind

TAKES: Final = "walnut.takes"
"""Names of conventional parameters that a route reads from its scope, among Litestar's `opt`."""

SENDS: Final = "walnut.sends"
"""What the body is of a route that reads it itself, among Litestar's `opt`."""

_STRING: Final = {"type": "string"}
PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "Idempotency-Key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A write that is sent again under the same key is not done again; its first "
        "answer is given. The same key for another request is refused (key-reused).",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        "example": "0198c3a0-6f5e-7bb3-9d6c-0a8f2f0c1d2e",
    },
    "Walnut-Reason": {
        "name": "Walnut-Reason",
        "in": "header",
        "description": "Why it is done; kept in the audit trail.",
        "schema": {"type": "string", "maxLength": 1024, "pattern": "^[ -~]*$"},
    },
    "at_least": {
        "name": "at_least",
        "in": "query",
        "description": "The answer shows the state after this LSN or a later one; waited for some "
        "seconds, then refused (not-reached). Give the Walnut-LSN of a write to read that write.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "If-Match": {
        "name": "If-Match",
        "in": "header",
        "description": "Only if the row has this entity tag; * : only if there is one.",
        "schema": _STRING,
    },
    "If-None-Match": {
        "name": "If-None-Match",
        "in": "header",
        "description": "Only if the row has another entity tag; * : only if there is none.",
        "schema": _STRING,
    },
    "Last-Event-ID": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Where a stream of events goes on: the id of the last event that was seen.",
        "schema": _STRING,
    },
}
"""Parameters that mean the same wherever they are taken."""
_STREAMS: Final = ("application/x-ndjson", "text/event-stream")
"""How streams are sent: as the first, or as `Accept` asks."""
_WRITES: Final = ("post", "put", "patch", "delete")
_REFUSALS: Final = {
    "401": "No credential, or one that is not good (any more).",
    "403": "The credential does not allow it; `scope` says what is missing.",
    "429": "Too many requests at a time, or too many wrong credentials. See Retry-After.",
    "503": "Starting, stopping, or as busy as can be. See Retry-After.",
    "4XX": "Refused.",
    "5XX": "Failed.",
}


def takes(*names: str) -> dict[str, Any]:
    """What of `PARAMETERS` a route reads from its scope, for `opt={**needs(...), **takes(...)}`."""
    assert set(names) <= set(PARAMETERS), f"{names}: `PARAMETERS` has those there are"
    return {TAKES: names}


def sends(kind: Any, media_type: str = "application/json") -> dict[str, Any]:
    """What the body is that a route takes as bytes (`RawBody`, or from its scope), for `opt=`: a type that
    msgspec knows, or `bytes` for anything."""
    return {SENDS: {media_type: kind}}


def describe(app: Litestar, kinds: Sequence[Kind]) -> dict[str, Any]:
    """The document of an app whose problems are these."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _problem(kinds)
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token as `walnut token create` makes them: walnut_ID_SECRET.",
        }
    }
    components["parameters"] = dict(PARAMETERS)
    components["responses"] = {
        "Problem": {
            "description": "What is wrong (RFC 9457).",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    document["security"] = [{"token": []}]
    for route in app.routes:
        if isinstance(route, HTTPRoute) and route.path_format in document.get("paths", {}):
            item = document["paths"][route.path_format]
            for handler in route.route_handlers:
                for method in handler.http_methods:
                    if (operation := item.get(str(method).lower())) is not None:
                        _complete(operation, str(method).lower(), handler.opt)
                        _describe_body(operation, handler.opt, components["schemas"])
    return document


def _complete(operation: dict[str, Any], method: str, opt: Mapping[str, Any]) -> None:
    """Add to one operation what all have. Two handlers may share it, whose paths differ in a type."""
    names = [*opt.get(TAKES, ())]
    if method in _WRITES:
        names += ["Idempotency-Key", "Walnut-Reason"]
    references = [{"$ref": f"#/components/parameters/{name}"} for name in names]
    own = [
        one
        for one in operation.get("parameters", ())
        if one.get("name") not in names and one not in references
    ]
    if own or references:
        operation["parameters"] = [*own, *references]
    operation["x-walnut-scope"] = str(opt[NEED])
    responses = operation.setdefault("responses", {})
    if "400" in responses:  # Litestar's own, which is not what it looks like here
        responses["400"] = _refusal("The request is not as this route wants it.")
    for status, words in _REFUSALS.items():
        responses.setdefault(status, _refusal(words))
    if "Last-Event-ID" in names:
        responses["200"]["content"] = {kind: {"schema": _STRING} for kind in _STREAMS}


def _describe_body(
    operation: dict[str, Any], opt: Mapping[str, Any], schemas: dict[str, Any]
) -> None:
    content = {}
    for media_type, kind in opt.get(SENDS, {}).items():
        schema: dict[str, Any] = {"type": "string", "format": "binary"}
        if kind is not bytes:
            (schema,), more = msgspec.json.schema_components(
                [kind], ref_template="#/components/schemas/{name}"
            )
            for name, one in more.items():
                schemas.setdefault(name, one)
        content[media_type] = {"schema": schema}
    if content:
        operation["requestBody"] = {"required": True, "content": content}


def _refusal(words: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {MEDIA_TYPE: {"schema": schema}}}


def _problem(kinds: Sequence[Kind]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A problem document. Tell problems apart by `type`; `detail` is for people.",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "enum": [kind.type for kind in kinds]},
            "title": _STRING,
            "status": {"type": "integer"},
            "detail": _STRING,
            "instance": _STRING,
            "request_id": _STRING,
        },
        "additionalProperties": True,
        "example": {
            "type": kinds[0].type,
            "title": kinds[0].title,
            "status": kinds[0].status,
            "detail": "What happened, to what, and what to do.",
            "instance": "/v1/topics/orders",
            "request_id": "0198c3a06f5e7bb39d6c0a8f2f0c1d2e",
        },
    }
