"""A server process from its command line to its exit code.

What must stay true: a refusal at the start is one line that says what to do, and no traceback; the exit
code tells a clean stop from a forced one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog
import uvloop

from walnut.server import collecting, logs
from walnut.server.config.load import Settings
from walnut.server.config.model import LoggingSection
from walnut.server.server import Server
from walnut.server.subsystems import AnySubsystem
from walnut.shutdown.errors import StartFailed
from walnut.shutdown.model import ExitCode

log = structlog.get_logger("walnut.server")


def run(
    read: Callable[[], Settings],
    classes: Mapping[str, type[AnySubsystem]],
    command: Sequence[str],
    *,
    started: int,
    observe: Callable[[Server], object] | None = None,
) -> int:
    """Serve until a signal; returns the exit code (`walnut.shutdown.model.ExitCode`).

    Args:
        read: the settings in force; called again at each reload.
        command: starts a successor.
        started: when the process began, ns since the Unix epoch.
        observe: given the server before it starts.

    Raises ServerError, ShutdownError: it did not start.
    """
    collecting.hold()
    settings = read()
    logs.configure(settings.of(LoggingSection))

    async def life() -> int:
        server = Server(settings, classes, reread=read, command=command, started=started)
        if observe is not None:
            observe(server)
        report = await server.serve()
        level = "error" if report.exit_code is ExitCode.BROKEN else "info"
        log.log(logs.LEVELS[level], "stopped", report=str(report))
        return int(report.exit_code)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(life())
        except StartFailed as failed:
            named = failed.__cause__
            if named is not None and type(named).__module__.startswith("walnut."):
                raise named from failed  # it says itself what happened, and what to do
            log.exception("this is a mistake of Walnut's")
            raise
