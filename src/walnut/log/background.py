"""The log's two threads: one flushes, one keeps house.

Neither decides anything: the flusher leads when group commit hands it the lead, the housekeeper
calls `Log.housekeep` now and then. What must stay true: both end before `stop` returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Flusher:
    """A thread that leads flushes for event loops and for whoever does not wait."""

    def __init__(self, lead: Callable[[], None]) -> None:
        self._lead = lead
        self._wake = threading.Semaphore(0)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="walnut-log-flusher", daemon=True)
        self._thread.start()

    def __call__(self) -> None:
        """Hand the lead to the thread."""
        self._wake.release()

    def stop(self) -> None:
        """End the thread; it leads nothing now."""
        self._stopping = True
        self._wake.release()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            if self._stopping:
                return
            self._lead()


class Housekeeper:
    """A thread that runs `keep` every `seconds`, and soon after `nudge`."""

    def __init__(self, keep: Callable[[], None], seconds: float) -> None:
        self._keep = keep
        self._seconds = seconds
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="walnut-log-keeper", daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """Something is due."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread, after what it is doing."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._seconds)
            self._wake.clear()
            if not self._stopping:
                self._keep()
