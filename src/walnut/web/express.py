"""The express lane: hot routes, served at nearly the cost of plain ASGI.

    @express
    @post("/v1/topics/{topic:str}/records", opt=needs("topics:write", name="topic"))
    async def append(topic: FromPath[str], body: RawBody, scope: Scope) -> Answer[Appended]: ...

Such a route is an ordinary one of Litestar's, documented like every other. It is looked up and called
without Litestar's argument machinery, which costs more than an append: docs/decisions/012 has the
figures. It may take

    parameters of its path            `str` and `int`
    parameters of the query           `str`, `int`, `bool`, or one of these or None; with a default
    `body: RawBody`                   the body as it came
    `data: JSONBody[T]`               the body as JSON, checked
    `scope: Scope`                    for whatever else: `caller_of(scope)`, `Conditions(scope)`, ...

What must stay true: nobody can tell the lanes apart but by a clock. So whatever is not plain sailing (a
body or a query that doesn't decode, a path in another spelling, HEAD) is handed to Litestar, with the
body that was read; and errors of a handler are rendered by the one function that both lanes use.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody
from litestar.routes import HTTPRoute
from litestar.serialization import default_serializer

from walnut.web.access import NEED, Access, Need
from walnut.web.answer import Answer
from walnut.web.asgi import Receive, Scope, Send
from walnut.web.bodies import read_body
from walnut.web.caller import KEY
from walnut.web.errors import ClientGone, ExpressUnsupported
from walnut.web.problems import Rendered

Handler = TypeVar("Handler", bound=HTTPRouteHandler)
Render = Callable[[Exception, Mapping[str, Any]], Rendered]

EXPRESS: Final = "walnut.express"
"""Marks a handler, among Litestar's `opt`."""
_JSON: Final = (b"content-type", b"application/json")
_encode: Final = msgspec.json.Encoder(enc_hook=default_serializer).encode
_SIMPLE: Final = {str, int, bool, type(None)}
_OWN: Final = {"body", "data", "scope"}


def express(handler: Handler) -> Handler:
    """Have a handler served by the express lane."""
    handler.opt[EXPRESS] = True
    return handler


class Declined(Exception):
    """The express lane leaves a request to Litestar.

    Attributes:
        body: if it was read already.
    """

    def __init__(self, body: bytes | None = None) -> None:
        super().__init__()
        self.body = body


class Plan(msgspec.Struct, frozen=True):
    """How to call one handler.

    Attributes:
        numbers: names of path parameters that are numbers.
        query: checks the query's parameters, if it takes any.
        wants: which of `_OWN` it takes.
        decode: of `data`.
    """

    function: Callable[..., Awaitable[Any]]
    need: Need
    names: tuple[str, ...]
    numbers: tuple[str, ...]
    query: type[msgspec.Struct] | None
    wants: frozenset[str]
    decode: Callable[[bytes], Any] | None
    status: int

    async def arguments(
        self, scope: Scope, found: dict[str, Any], receive: Receive
    ) -> dict[str, Any]:
        """What to call the handler with. Raises Declined, ClientGone."""
        wants = self.wants
        if self.query is not None and scope["query_string"]:
            found.update(_from_query(scope["query_string"], self.query))
        if "scope" in wants:
            found["scope"] = scope
        if self.decode is not None:
            body = await read_body(receive)
            try:
                found["data"] = self.decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise Declined(body) from error
        elif "body" in wants:
            found["body"] = await read_body(receive)
        return found


class _Node:
    """A place in the tree of paths."""

    __slots__ = ("below", "methods", "named")

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.named: _Node | None = None
        self.methods: dict[str, Plan] = {}


class Express:
    """All express routes of an app, found by method and path."""

    def __init__(self, routes: list[Any], access: Access, render: Render) -> None:
        self._root = _Node()
        self._access = access
        self._render = render
        for route in routes:
            if isinstance(route, HTTPRoute):
                self._add(route)

    def _add(self, route: HTTPRoute) -> None:
        """Also of what is not express, so that a path means the same in both lanes."""
        node = self._root
        for component in route.path_components:
            if isinstance(component, str):
                node = node.below.setdefault(component, _Node())
            else:
                node.named = node.named or _Node()
                node = node.named
        for handler in route.route_handlers:
            if handler.opt.get(EXPRESS):
                plan = compile_plan(handler, route)
                node.methods.update(dict.fromkeys(map(str, handler.http_methods), plan))

    def find(self, method: str, path: str) -> tuple[Plan, dict[str, Any]] | None:
        """The plan for a request and the parameters of its path; None: it is for Litestar."""
        node = self._root
        values = []
        for part in path[1:].split("/"):
            below = node.below.get(part)
            if below is None:
                below = node.named
                if below is None or not part:
                    return None
                values.append(part)
            node = below
        plan = node.methods.get(method)
        if plan is None:
            return None
        found: dict[str, Any] = dict(zip(plan.names, values, strict=True))
        for name in plan.numbers:
            if not found[name].isdecimal() or not found[name].isascii():
                return None
            found[name] = int(found[name])
        return plan, found

    async def serve(
        self, plan: Plan, found: dict[str, Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a request. Raises Declined if it is for Litestar after all."""
        try:
            need = plan.need
            resource = str(found[need.name]) if need.name else ""
            self._access.decide(scope[KEY], need, resource)
            result = await plan.function(**await plan.arguments(scope, found, receive))
        except (Declined, ClientGone):
            raise
        except Exception as error:
            rendered = self._render(error, scope)
            await _send(send, rendered.status, rendered.headers, rendered.body)
            return
        if isinstance(result, Answer):
            content = result.content
            body = content if isinstance(content, bytes) else _encode(content)
            kind = result.media_type
            headers = [_JSON if kind is None else (b"content-type", kind.encode())]
            headers += [
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in result.headers.items()
            ]
            status = result.status_code or plan.status
        else:
            body, headers, status = _encode(result), [_JSON], plan.status
        headers.append((b"content-length", b"%d" % len(body)))
        await _send(send, status, headers, body)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _from_query(query: bytes, kind: type[msgspec.Struct]) -> dict[str, Any]:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    given = dict(pairs)
    if len(given) != len(pairs):
        raise Declined
    try:
        return msgspec.structs.asdict(msgspec.convert(given, kind, strict=False))
    except msgspec.ValidationError as error:
        raise Declined from error


def compile_plan(handler: HTTPRouteHandler, route: HTTPRoute) -> Plan:
    """How to call a handler. Raises ExpressUnsupported for what it takes and can't have here."""
    function = handler.fn
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    path = [part for part in route.path_components if not isinstance(part, str)]
    kinds = {part.name: part.type for part in path}
    query = []
    for name, parameter in parameters.items():
        hint = hints.get(name)
        plain = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
        if name in kinds or name in _OWN:
            fits = name not in kinds or kinds[name] in (str, int)
            fits = fits and (name != "body" or plain in {bytes, RawBody})
        else:
            fits = plain in _SIMPLE or set(typing.get_args(plain)) <= _SIMPLE != set()
            fits = fits and parameter.default is not inspect.Parameter.empty
            query.append((name, hint, parameter.default))
        if not fits:
            raise ExpressUnsupported(
                f"{handler} takes {name}: {hint}, which express routes can't have (see walnut.web."
                "express): take it from `scope`, or leave the route to the ordinary lane"
            )
    if not inspect.iscoroutinefunction(function):
        raise ExpressUnsupported(f"{handler} is express and not a coroutine function: make it one")
    return Plan(
        function=function,
        need=handler.opt[NEED],
        names=tuple(part.name for part in path),
        numbers=tuple(part.name for part in path if part.type is int),
        query=msgspec.defstruct("Query", query) if query else None,
        wants=frozenset(_OWN & set(parameters)),
        decode=msgspec.json.Decoder(hints["data"]).decode if "data" in parameters else None,
        status=handler.status_code,
    )
