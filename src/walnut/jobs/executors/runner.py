"""What the dispatcher asks of an executor."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from walnut.jobs.call import Call, Limits, Tell
from walnut.jobs.outcome import Outcome


class Runner(Protocol):
    """Runs attempts."""

    slots: int

    def start(self, call: Call, limits: Limits, tell: Tell) -> Future[Outcome]:
        """Begin."""

    def cancel(self, call: Call) -> None:
        """Ask."""

    def kill(self, call: Call) -> None:
        """Force."""

    def close(self, timeout: float) -> None:
        """End."""
