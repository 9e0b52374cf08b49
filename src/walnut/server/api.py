"""The server's own routes: /metrics and /v1/status. Health has none: `front` answers it.

What must stay true: both take a credential. Metrics tell how much goes on where, which is nobody's
business; give Prometheus a token with the scope metrics:read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from litestar import Request, get
from litestar.types import ControllerRouterHandler

from walnut.server.exposition import Exposition
from walnut.server.status import Status
from walnut.web.access import needs
from walnut.web.answer import Answer

if TYPE_CHECKING:
    from walnut.server.server import Server


def routes(server: Server) -> Sequence[ControllerRouterHandler]:
    """The routes of this server."""
    exposition = Exposition(server)

    @get("/v1/status", opt=needs("server:read"), tags=["server"])
    async def status() -> Status:
        """The server at a glance: its state, its LSNs, its disk, each of its subsystems."""
        return await asyncio.to_thread(server.status)

    @get("/metrics", opt=needs("metrics:read"), tags=["server"], media_type="text/plain")
    async def metrics(request: Request[Any, Any, Any]) -> Answer[bytes]:
        """What everything counts, as Prometheus text or OpenMetrics, by `Accept`."""
        accept = request.headers.get("accept", "")
        body, kind = await asyncio.to_thread(exposition.render, accept)
        return Answer(body, media_type=kind)

    return [status, metrics]
