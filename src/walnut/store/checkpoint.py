"""Checkpoints: flushing the tables while writers go on, and letting go of the log behind them.

What must stay true: the slot `tables` never passes an LSN that the tables have not flushed, so the log
keeps whatever a crash would have to fold again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from walnut.log import Log
from walnut.log.background import Housekeeper
from walnut.log.errors import LogError
from walnut.store.errors import StoreError
from walnut.store.model import Metrics, StoreOptions
from walnut.store.tables import Tables

SLOT = "tables"
"""The log's slot that keeps what the tables have not flushed."""
LOOK_SECONDS = 5.0
"""How often it is looked at whether a checkpoint is due."""


class Checkpoints:
    """Takes them: by bytes, by time, when asked, and at the end.

    Args:
        after: the tables have flushed what is up to this LSN.
        forget: run after each one that was due, to drop what nobody needs any more.

    Attributes:
        lsn: everything up to it is flushed.
        error: why the last one in the background failed; None if it did not.
    """

    def __init__(
        self,
        log: Log,
        tables: Tables,
        options: StoreOptions,
        metrics: Metrics,
        after: int,
        forget: Callable[[], object],
    ) -> None:
        self.lsn = after
        self.error: Exception | None = None
        self._log = log
        self._tables = tables
        self._options = options
        self._metrics = metrics
        self._forget = forget
        self._slot = log.slot(SLOT, max(log.first_lsn, after + 1))
        self._lock = threading.Lock()
        self._taken = time.monotonic()
        self._written = log.metrics.frame_bytes
        seconds = min(LOOK_SECONDS, options.checkpoint_seconds)
        self._keeper = Housekeeper(self._keep, seconds) if options.log.background else None

    @property
    def age(self) -> float:
        """Seconds since the last one, or since the store was opened."""
        return time.monotonic() - self._taken

    def take(self) -> int:
        """Flush the tables; returns the LSN up to which. Raises TablesFailed."""
        with self._lock:
            written = self._log.metrics.frame_bytes
            self.lsn = self._tables.flush()
            self._slot.advance(self.lsn + 1)
            self._taken, self._written = time.monotonic(), written
            self._metrics.checkpoints += 1
            return self.lsn

    def _keep(self) -> None:
        grown = self._log.metrics.frame_bytes - self._written
        due = grown > self._options.checkpoint_bytes or self.age > self._options.checkpoint_seconds
        if not due or self._tables.applied <= self.lsn:
            return
        try:
            self.take()
            self._forget()
        except (StoreError, LogError) as error:
            self.error = error
        else:
            self.error = None

    def stop(self) -> None:
        """No more in the background."""
        if self._keeper is not None:
            self._keeper.stop()
