"""What is behind `Front`: access, the API of all subsystems, and the console.

    Guarded (access) ─┬─ /console ─▶ Console    NiceGUI, loaded once all else works
                      └─ all else ─▶ Api        routes of the server and its subsystems

What must stay true: there is no way to the API or the console but through `Guarded`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from walnut.console.app import Console
from walnut.server.api import routes
from walnut.testing.web import Admitted, ByScopes
from walnut.web.app import Api
from walnut.web.asgi import App
from walnut.web.problems import Problems

if TYPE_CHECKING:
    from walnut.server.server import Server

log = structlog.get_logger("walnut.server")


class Site:
    """The app behind `Front`, for a server whose subsystems have started."""

    def __init__(self, server: Server) -> None:
        self._server = server
        access = ByScopes("nobody", ())
        self._api = Api(
            [*routes(server), *(route for one in server.subsystems for route in one.routes())],
            access,
            Problems(*(one.problems() for one in server.subsystems)),
        )
        self._console: Console | None = None
        self.app: App = Admitted(self._api, access)

    async def start(self) -> None:
        """"""

    async def load_console(self) -> None:
        """Load the console and begin to show it."""

    async def stop(self) -> None:
        """Let go of the console's pages."""
        if self._console is not None:
            await self._console.stop()
