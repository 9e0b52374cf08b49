"""Graceful shutdown, for any asyncio program or ASGI application. `docs/shutdown.md` teaches it."""

from walnut.shutdown.asgi import Draining, draining
from walnut.shutdown.component import Component, Listener, Part
from walnut.shutdown.errors import ShutdownError, StartFailed
from walnut.shutdown.handover import Predecessor, Successor, telling_predecessor
from walnut.shutdown.inflight import InFlight
from walnut.shutdown.lifecycle import Lifecycle
from walnut.shutdown.limits import HttpLimits
from walnut.shutdown.model import (
    Budgets,
    Counts,
    Event,
    ExitCode,
    Failure,
    Phase,
    PhaseReport,
    Report,
)
from walnut.shutdown.notify import Notifier
from walnut.shutdown.probes import Probes
from walnut.shutdown.sockets import Listening, activated, listen, listen_unix

__all__ = [
    "Budgets", "Component", "Counts", "Draining", "Event", "ExitCode", "Failure", "HttpLimits",
    "InFlight", "Lifecycle", "Listener", "Listening", "Notifier", "Part", "Phase", "PhaseReport",
    "Predecessor", "Probes", "Report", "ShutdownError", "StartFailed", "Successor", "activated",
    "draining", "listen", "listen_unix", "telling_predecessor",
]  # fmt: skip
