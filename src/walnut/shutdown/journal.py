"""What has happened in a life so far: the phase it is in, how those before it went, what failed.

What must stay true: whoever watches can't stop what is watched: an observer that raises is reported to the
loop's exception handler, and the rest is told all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from walnut.shutdown.inflight import InFlight
from walnut.shutdown.model import Event, EventKind, Failure, Phase, PhaseReport, Report
from walnut.shutdown.notify import Notifier

Observer = Callable[[Event], object]


class Journal:
    """Writes down, and tells observers and the service manager.

    Attributes:
        phase: the one that goes on now.
    """

    def __init__(self, inflight: InFlight, notify: Notifier) -> None:
        self.phase = Phase.STARTING
        self.observers: list[Observer] = []
        self._inflight = inflight
        self._notify = notify
        self._entered = 0.0
        self._overran: list[str] = []
        self._phases: list[PhaseReport] = []
        self._failures: list[Failure] = []

    def enter(self, phase: Phase) -> None:
        """The phase before it is over."""
        now = asyncio.get_running_loop().time()
        if self.phase is not phase:
            report = PhaseReport(self.phase, now - self._entered, tuple(self._overran))
            self._phases.append(report)
        self.phase = phase
        self._entered = now
        self._overran = []
        self.tell("phase")
        self._notify.status(phase.value)

    def overran(self, name: str) -> None:
        """Something was cut short."""
        self._overran.append(name)
        self.tell("overran", name)

    def failed(self, name: str, while_: Any, error: BaseException) -> None:
        """A component raised; see Failure."""
        self._failures.append(Failure(name, while_, say(error)))
        self.tell("failed", name, detail=f"{while_}: {say(error)}")

    def progress(self) -> None:
        """How much is in flight."""
        counts = self._inflight.counts
        self.tell("progress", detail=str(counts))
        self._notify.status(f"draining: {counts}")

    def tell(
        self, kind: EventKind, component: str = "", *, detail: str = "", seconds: float = 0.0
    ) -> None:
        """Tell all observers."""
        event = Event(
            kind=kind,
            phase=self.phase,
            component=component,
            detail=detail,
            seconds=seconds,
            counts=self._inflight.counts,
        )
        for observer in tuple(self.observers):
            try:
                observer(event)
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"an observer of {kind!r} failed", "exception": error}
                )

    def report(self, reason: str) -> Report:
        """All of it."""
        return Report(reason, tuple(self._phases), tuple(self._failures))


def say(error: BaseException) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
