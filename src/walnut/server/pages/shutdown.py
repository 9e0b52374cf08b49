"""Stopping: each step of it, what is still under way, and doing it.

What must stay true: whoever asks for a stop is allowed to, has said so twice, and is named in the log.
"""

from __future__ import annotations

import functools
import os
import signal
from typing import Final

import structlog
from nicegui import ui

from walnut.console.parts.asking import confirm
from walnut.console.parts.elements import Tag, button, heading, html, pairs, tag
from walnut.console.parts.tiles import Tile, tiles
from walnut.console.shell import acting
from walnut.console.visit import Visit
from walnut.console.words import number
from walnut.shutdown.lifecycle import Lifecycle
from walnut.shutdown.model import Phase

log = structlog.get_logger("walnut.console")
LOOK_SECONDS: Final = 0.5

STEPS: Final = (
    (Phase.RUNNING, "Running", "Everything is served."),
    (Phase.NOT_READY, "Not ready", "Readiness fails, so that load balancers look elsewhere."),
    (Phase.GRACE, "Grace", "They have time to notice; everything is served as before."),
    (Phase.CLOSE, "Accept no more", "New connections are refused, or go to the successor."),
    (Phase.DRAIN, "Drain", "Requests, streams and jobs that are under way come to their end."),
    (Phase.STOP, "Stop subsystems", "Each after all that need it; the log last."),
    (Phase.FLUSH, "Flush", "Nothing that was acknowledged is anywhere but on disk."),
)


async def shutdown_page(visit: Visit) -> None:
    """Draw it."""
    life = visit.resources.find(Lifecycle)
    with heading(
        "Shutdown",
        "A stop loses nothing: what was accepted is answered, what was acknowledged is on disk. These are its "
        "steps; this page shows them as they happen, until its own connection is closed as well.",
    ):
        if visit.may("server:admin"):
            _acts(visit, life)
    with tiles():
        kinds = {
            name: Tile(title)
            for name, title in (
                ("requests", "Requests under way"), ("streams", "Streams"),
                ("websockets", "WebSockets"), ("tasks", "Background tasks"),
            )
        }  # fmt: skip
    with tag("section", "w-panel"):
        tag("h2", "", "Steps")
        steps = _steps()
    with tag("section", "w-panel"):
        tag("h2", "", "Components")
        tag("p", "muted small", "They start in this order, and stop the other way round.")
        html(" → ".join(f"<b>{name}</b>" for name in life.order)).style("margin-top:8px")
        pairs([("Process", str(os.getpid()))]).style("margin-top:10px")

    def draw() -> None:
        counts = life.inflight.counts
        for name, tile in kinds.items():
            tile.show(number(getattr(counts, name)))
        _show(steps, life.state)

    draw()
    ui.timer(LOOK_SECONDS, draw)


def _steps() -> dict[Phase, Tag]:
    made = {}
    with tag("div", "w-phases", role="list"):
        for phase, title, told in STEPS:
            with tag("div", "w-phase", role="listitem") as row:
                tag("span", "dot")
                with tag("div"):
                    tag("b", "", title)
                    tag("div", "muted small", told)
                made[phase] = row
    return made


def _show(steps: dict[Phase, Tag], now: Phase) -> None:
    order = list(Phase)
    for phase, row in steps.items():
        state = "now" if phase is now else "done" if order.index(phase) < order.index(now) else ""
        row.classes(replace=f"w-phase {state}")
        if state == "now":
            row.props["aria-current"] = "step"
        else:
            row.props.pop("aria-current", None)


def _acts(visit: Visit, life: Lifecycle) -> None:
    async def stop() -> None:
        caller = visit.require("server:admin")
        log.warning("a stop was asked for in the console", principal=caller.principal)
        life.stop(f"asked for in the console by {caller.principal}")

    async def restart() -> None:
        caller = visit.require("server:admin")
        log.warning("a hot restart was asked for in the console", principal=caller.principal)
        life.signal(signal.SIGUSR2)
        ui.notify(
            "A successor is being started: log in again once it has taken over.", type="positive"
        )

    told = "A new process takes over the listening sockets: no connection is refused. Settings are read anew."
    ask = functools.partial(
        confirm, "Restart without a gap?", told, "Restart", acting(visit, restart)
    )
    button("Hot restart", ask, key="")
    told = "The server ends, and this console with it. Somebody has to start it again."
    ask = functools.partial(
        confirm, "Stop the server?", told, "Stop it", acting(visit, stop), typed="stop"
    )
    button("Stop", ask, "danger")
