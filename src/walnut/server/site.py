"""What is behind `Front`: access, the API of all subsystems, and the console.

    Guarded (access) ─┬─ /console ─▶ Console    NiceGUI, loaded once all else works
                      └─ all else ─▶ Api        routes of the server and its subsystems

What must stay true: there is no way to the API or the console but through `Guarded`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from walnut.console.app import PREFIX, Console
from walnut.console.login import login_page
from walnut.server import api, collecting
from walnut.server.access.api import routes as token_routes
from walnut.server.access.gate import Gate
from walnut.server.access.limits import Limits
from walnut.server.access.login import TO_CONSOLE, Login, wants_console
from walnut.server.access.middleware import Guarded
from walnut.server.access.problems import PROBLEMS
from walnut.server.access.tokens import Tokens, first_token
from walnut.server.checks import token_file_unusable
from walnut.server.config.load import Settings
from walnut.server.config.model import (
    AccessSection,
    ConsoleSection,
    LimitsSection,
    LoggingSection,
)
from walnut.server.directory import OPERATOR_TOKEN
from walnut.server.logs import LEVELS
from walnut.server.pulse import Pulse
from walnut.store.store import Store
from walnut.web.access import ACCESS
from walnut.web.app import Api
from walnut.web.asgi import App, Receive, Scope, Send
from walnut.web.problems import Problems

if TYPE_CHECKING:
    from walnut.server.server import Server

log = structlog.get_logger("walnut.server")
TAGS: Final = {
    "server": "The server itself: its state and its figures.",
    "tokens": "Credentials: who may do what, and until when.",
    "tables": "Rows and transactions.",
    "changes": "What was written, as it is written.",
    "log": "The write-ahead log: its records, segments and slots.",
    "backups": "Copies elsewhere, and whether they are good; checkpoints.",
    "topics": "Messages in order, and how far their readers are.",
    "jobs": "Work that is done in the background, and by hand what has become of it.",
    "booking": "Resources, and who has which part of them when.",
}
"""What the groups of routes are, for the OpenAPI document."""
WAIT_SECONDS: Final = 0.5
"""Before the console is loaded: whoever waited for the server to be ready is served first."""


class Site:
    """The app behind `Front`, for a server whose subsystems have started. `start` it first.

    Raises RouteUndeclared, ExpressUnsupported: a subsystem's routes are not as they have to be.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        settings = server.settings
        self._gate = Gate(Tokens(server.resources.find(Store)))
        server.resources.provide(self._gate)
        self._problems = problems = Problems(
            PROBLEMS, *(one.problems() for one in server.subsystems)
        )
        server.resources.provide(problems)
        self._api = Api(
            [
                *api.routes(server),
                *token_routes(self._gate),
                *(route for one in server.subsystems for route in one.routes()),
            ],
            self._gate,
            problems,
            TAGS,
        )
        self._console: Console | None = None
        self._pulse = Pulse(server.resources.find(Store), server.info.data)
        server.resources.provide(self._pulse)
        self._login: Login | None = None
        self._inside: App = self._api
        if settings.of(ConsoleSection).enabled:
            self._console = Console(
                lambda: import_module("walnut.server.pages").sections(
                    tuple(one.name for one in server.subsystems)
                ),
                server.resources,
                name=server.info.data.name,
                state=lambda: server.lifecycle.state.value,
            )
            self._inside = _Split(self._console, self._api, self._gate)
            self._login = Login(self._gate, login_page)
        self._doors = {
            first: app for one in server.subsystems for first, app in one.doors().items()
        }
        self.app: App = self._guarded(settings)

    def limit(self, settings: Settings) -> None:
        """From now on `app` has the limits of these settings. Those who are in are not counted by it,
        so that a change of limits is a change for whoever comes next."""
        self.app = self._guarded(settings)

    def _guarded(self, settings: Settings) -> App:
        limits = settings.of(LimitsSection)
        return Guarded(
            self._inside,
            self._gate,
            self._problems,
            Limits(
                requests=limits.requests,
                streams=limits.streams,
                body=limits.body,
                request_seconds=limits.request_time,
            ),
            login=self._login,
            doors=self._doors,
            log_all=settings.of(LoggingSection).requests,
        )

    async def start(self) -> None:
        """On a first start, make the operator's token and tell it. Raises TokenFileUnusable."""
        if len(self._gate.tokens) == 0:
            file = self._server.settings.of(AccessSection).operator_token_file
            path = self._server.beside / file if file else None
            await asyncio.to_thread(
                _tell_operator, self._gate.tokens, path, self._server.info.data / OPERATOR_TOKEN
            )

    async def load_console(self) -> None:
        """Load the console, in the background of whatever else goes on. What is wrong with it is
        logged: it must not end a server that others work with."""
        if self._console is not None:
            await asyncio.sleep(WAIT_SECONDS)
            try:
                await self._console.start()
            except Exception:
                log.exception("the console can't be loaded; all else goes on without it")
                return
            collecting.settle()
            log.info("console loaded", url=f"{self._server.url}{PREFIX}")
            await self._pulse.run()

    async def stop(self) -> None:
        """Let go of the console's pages."""
        if self._console is not None:
            await self._console.stop()


class _Split:
    """The console below /console, the API elsewhere."""

    def __init__(self, console: Console, api_: Api, gate: Gate) -> None:
        self._console = console
        self._api = api_
        self._gate = gate

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """See ASGI."""
        path = scope["path"]
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            scope[ACCESS] = self._gate
            return self._console(scope, receive, send)
        if path == "/" and scope.get("method") in {"GET", "HEAD"} and wants_console(scope):
            return _to_console(send)
        return self._api(scope, receive, send)


async def _to_console(send: Send) -> None:
    where = TO_CONSOLE
    await send({"type": "http.response.start", "status": where.status, "headers": where.headers})
    await send({"type": "http.response.body", "body": where.body})


def _tell_operator(tokens: Tokens, asked: Path | None, ours: Path) -> None:
    """Make the operator's token, and tell it once: in the file that was asked for, else to the person at
    the terminal, else in a file of the data directory. Never in the log, which others collect."""
    if asked is None and sys.stderr.isatty():
        token = first_token(tokens)
        sys.stderr.write(f"\noperator token (shown this once): {token}\n\n")
        sys.stderr.flush()
        return
    path = asked or ours
    try:
        if asked is None:
            path.unlink(
                missing_ok=True
            )  # of a first start that was interrupted: there is no token yet
        # Before there is a token: one that can't be told is lost.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise token_file_unusable(path, error.strerror or "") from error
    with os.fdopen(descriptor, "w") as opened:
        opened.write(f"{first_token(tokens)}\n")
    level = "info" if asked else "warning"  # nobody has asked for this one, and it is not to stay
    log.log(
        LEVELS[level], "the operator's token was written: read it, and move it away", file=str(path)
    )
