"""`Api`: the routes of all subsystems as one ASGI app.

    request with a Caller ─▶ Express ─── plain sailing ──▶ the handler
                                 └ all else ─▶ Litestar ─▶ the handler

What must stay true: an app with a route that does not declare its need does not start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from litestar import Litestar, Request, Response, Router, get
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Tag
from litestar.routes import HTTPRoute
from litestar.types import ControllerRouterHandler

from walnut.web import refusals
from walnut.web.access import ACCESS, NEED, Access, needs_credential
from walnut.web.asgi import App, Receive, Scope, Send
from walnut.web.bodies import again, whole_body
from walnut.web.caller import caller_of
from walnut.web.errors import ClientGone, RouteUndeclared
from walnut.web.express import Declined, Express
from walnut.web.head import answer_head
from walnut.web.openapi import describe
from walnut.web.problems import Problems

TITLE: Final = "Walnut"
VERSION: Final = "1"
"""Of the API, as its paths begin: /v1/."""


class Api:
    """An ASGI app of routes. Whoever is in front of it puts a `Caller` into each scope.

    Args:
        routes: of all subsystems.
        access: decides.
        problems: what errors mean; that of each subsystem is in it.
        tags: what the groups of routes are, by name, for the document.

    Raises RouteUndeclared, ExpressUnsupported.
    """

    def __init__(
        self,
        routes: Sequence[ControllerRouterHandler],
        access: Access,
        problems: Problems | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.problems = problems or Problems()
        self._access = access
        self.litestar = Litestar(
            route_handlers=[*routes, self._schema_route()],
            guards=[self._guard],
            exception_handlers={Exception: self._refuse},
            openapi_config=OpenAPIConfig(
                title=TITLE,
                version=VERSION,
                description="One write-ahead log, and the backend that grows on it.",
                use_handler_docstrings=True,
                openapi_router=_NoRoutes("/schema", route_handlers=[]),
                tags=[Tag(name, words) for name, words in (tags or {}).items()],
            ),
            logging_config=None,
            request_max_body_size=None,  # whoever is in front of it has a limit
        )
        self._ordinary: App = cast("App", self.litestar)
        check_declared(self.litestar)
        self._express = Express(
            self.litestar.routes,
            access,
            lambda error, scope: refusals.render(error, scope, self.problems),
        )
        self.document: Final = describe(self.litestar, self.problems.kinds)
        """The OpenAPI document, as /schema answers it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        scope[ACCESS] = self._access
        if scope["type"] == "http":
            if scope["method"] == "HEAD":
                return await answer_head(self, scope, receive, send)
            route = self._express.find(scope["method"], scope["path"])
            if route is not None:
                try:
                    return await self._express.serve(*route, scope, receive, send)
                except Declined as declined:
                    if declined.body is not None:
                        receive = again(declined.body, receive)
                except ClientGone:
                    return None
            receive = whole_body(receive)
        return await self._ordinary(scope, receive, send)

    def _guard(
        self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        need = handler.opt.get(NEED)
        if need is not None:  # else it is Litestar's own answer to OPTIONS
            resource = need.resource(connection.path_params)
            self._access.decide(caller_of(connection.scope), need, resource)

    def _refuse(self, request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        rendered = refusals.render(error, request.scope, self.problems)
        headers = {k.decode(): v.decode() for k, v in rendered.headers if k != b"content-length"}
        kind = headers.pop("content-type")
        return Response(
            rendered.body, status_code=rendered.status, headers=headers, media_type=kind
        )

    def _schema_route(self) -> ControllerRouterHandler:
        @get(
            ["/schema", "/schema/openapi.json"],
            opt=needs_credential(),
            include_in_schema=False,
            sync_to_thread=False,
        )
        def schema() -> dict[str, Any]:
            return self.document

        return schema


class _NoRoutes(Router):
    """Litestar's own pages of the document load scripts from elsewhere, and answer in HTML."""

    def register(self, value: ControllerRouterHandler) -> list[Any]:
        del value
        return []


def check_declared(app: Litestar) -> None:
    """Raise RouteUndeclared for a route without a need, or one that names what its path has not."""
    for route in app.routes:
        handlers: list[BaseRouteHandler]
        if isinstance(route, HTTPRoute):
            handlers = [each for each in route.route_handlers if each.http_methods != {"OPTIONS"}]
        else:
            handlers = [route.route_handler]
        for handler in handlers:
            need = handler.opt.get(NEED)
            if need is None:
                raise RouteUndeclared(
                    f"{handler} at {route.path} does not say what its callers need: add "
                    '`opt=needs("AREA:VERB")`'
                )
            if need.name and need.name not in route.path_parameters:
                raise RouteUndeclared(
                    f"{handler} needs {need} of what {need.name!r} names, and {route.path} has no such "
                    "parameter"
                )
