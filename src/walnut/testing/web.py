"""Routes in memory: an app of a few routes, and a client that is whoever a test says.

    with client(routes, scopes=("topics:read",)) as http:
        assert http.get("/v1/topics").status_code == 200

What must stay true: requests go through the same `Api` that the server runs; only who calls is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from litestar.testing import TestClient
from litestar.types import ControllerRouterHandler

from walnut.web.access import EVERYTHING, Need, require
from walnut.web.app import Api
from walnut.web.asgi import Receive, Scope, Send
from walnut.web.caller import KEY, REQUEST_ID, Caller, header
from walnut.web.idempotency import idempotency_key
from walnut.web.problems import Kind, Problems


class ByScopes:
    """Lets in whoever it is told, to what the caller's scopes say."""

    def __init__(self, principal: str, scopes: tuple[str, ...]) -> None:
        self.principal = principal
        self.scopes = scopes

    def authenticate(self, scope: Mapping[str, Any]) -> Caller:
        """See `Access`."""
        return Caller(
            self.principal,
            self.scopes,
            "request-of-a-test",
            idempotency_key(scope),
            header(scope, b"walnut-reason") or "",
        )

    def decide(self, caller: Caller, need: Need, resource: str) -> None:
        """See `Access`."""
        require(caller.scopes, caller, need, resource)

    def still_good(self, caller: Caller) -> bool:
        """See `Access`."""
        del caller
        return True


class Admitted:
    """An ASGI app in front of an `Api` that puts a caller into each scope."""

    def __init__(self, api: Api, access: ByScopes) -> None:
        self.api = api
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "lifespan":
            caller = self.access.authenticate(scope)
            scope[KEY] = caller
            scope[REQUEST_ID] = caller.request_id
        await self.api(scope, receive, send)


def client(
    routes: Sequence[ControllerRouterHandler],
    *problems: Mapping[type[Exception], Kind],
    principal: str = "token:test",
    scopes: tuple[str, ...] = (EVERYTHING,),
) -> TestClient[Any]:
    """A client of an app with these routes, in the name of this principal. Close it, or use `with`."""
    access = ByScopes(principal, scopes)
    api = Api(routes, access, Problems(*problems))
    return TestClient(Admitted(api, access), raise_server_exceptions=False)
