"""The store as the server runs it: opened in `DATA/store`, provided as `Store`, closed last.

What must stay true: opening and closing happen in a thread, since both may take seconds; the event
loop answers probes meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import ClassVar, Final

import msgspec

from walnut.log.model import LogOptions
from walnut.store.model import DAY, MIB, StoreOptions
from walnut.store.store import Store
from walnut.subsystem.model import ServerInfo, Subsystem
from walnut.subsystem.units import Bytes, Seconds

PROGRESS_SECONDS: Final = 2.0
"""Between two lines that say how far recovery is."""

_log = logging.getLogger("walnut.store")


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The log and the tables folded from it. Nearly everything else needs this.

    Attributes:
        window: how long the log is kept behind the last checkpoint: for restoring to any moment in
            it, for feeds and for followers.
        window_size: keep at most about so much of it.
        checkpoint_interval: the tables are flushed so often, or...
        checkpoint_size: ...when the log has grown by so much; a restart has to fold that again.
        idempotency: how long the answer to an Idempotency-Key is remembered.
        row_size: the largest row.
        slow: a transaction that takes longer is counted and named.
        segment_size: of the log's files.
        compression: of the log: each frame that gets smaller by it, for CPU time.
    """

    window: Seconds | None = 7 * DAY
    window_size: Bytes | None = None
    checkpoint_interval: Seconds = 300.0
    checkpoint_size: Bytes = 256 * MIB
    idempotency: Seconds = DAY
    row_size: Bytes = MIB
    slow: Seconds = 0.05
    segment_size: Bytes = 64 * MIB
    compression: bool = False

    @property
    def options(self) -> StoreOptions:
        """The same as a library calls it."""
        return StoreOptions(
            log=LogOptions(
                segment_bytes=self.segment_size, compression="zstd" if self.compression else None
            ),
            window_seconds=self.window,
            window_bytes=self.window_size,
            checkpoint_seconds=self.checkpoint_interval,
            checkpoint_bytes=self.checkpoint_size,
            idempotency_seconds=self.idempotency,
            value_bytes=self.row_size,
            slow_seconds=self.slow,
        )


class Service(Subsystem[StoreSettings]):
    """Opens the store and provides it."""

    name: ClassVar = "store"
    settings: ClassVar = StoreSettings

    store: Store | None = None

    async def start(self) -> None:
        """Open it: recover its log, fold what the tables miss. Raises as `Store`."""
        path = self.resources.find(ServerInfo).data / self.name
        opened = await asyncio.to_thread(Store, path, self.config.options, progress=_Shown().redo)
        self.store = opened
        _log.info(
            "opened: LSN %d, %d transactions folded in %.2f s",
            opened.applied_lsn,
            opened.redo.transactions,
            opened.redo.seconds,
        )
        self.resources.provide(opened)

    async def stop(self) -> None:
        """Flush the tables and close the log. Raises as `Store.close`."""
        self.resources.withdraw(Store)
        if self.store is not None:
            await asyncio.to_thread(self.store.close)


class _Shown:
    """Says now and then how far it is."""

    def __init__(self) -> None:
        self._next = time.monotonic() + PROGRESS_SECONDS

    def redo(self, done: int, total: int) -> None:
        """So many of so many transactions are folded."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_SECONDS
            _log.info("folding the log into the tables: %d of %d", done, total)
