"""The store as the server runs it: opened in `DATA/store`, provided as `Store`, closed last.

What must stay true: opening and closing happen in a thread, since both may take seconds; the event
loop answers probes meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec
from prometheus_client import Metric

from walnut.log.errors import LogFailed
from walnut.log.model import LogOptions, SlotStat
from walnut.store.backups import Backups
from walnut.store.model import DAY, MIB, Activity, StoreOptions
from walnut.store.problems import PROBLEMS
from walnut.store.store import Store
from walnut.subsystem.metrics import by, counter, gauge, seconds
from walnut.subsystem.model import ServerInfo, Subsystem
from walnut.subsystem.units import Bytes, Seconds
from walnut.web.problems import Kind

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

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
        backups: where backups may go, directories or URLs, by the names they are asked for.
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
    backups: dict[str, str] = {}

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


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The store in `walnut status`.

    Attributes:
        durable_lsn: of the last record that is safe. applied_lsn: that readers see the state after.
        checkpoint_lsn: up to which the tables are flushed; a restart folds what is after it.
        checkpoint_seconds: ago.
        window_lsn: the oldest that is still in the log, and can be restored to.
        window_seconds: its age.
        log_bytes: on disk. memory_bytes: of the engines.
        tables: how many there are.
        slots: who holds back the log, and how far behind they are.
        failure: why nothing is accepted any more; empty while all is well.
        activity: how long commits take, how many share a flush, and which were slow.
    """

    durable_lsn: int
    applied_lsn: int
    checkpoint_lsn: int
    checkpoint_seconds: float
    window_lsn: int
    window_seconds: float
    log_bytes: int
    memory_bytes: int
    tables: int
    transactions: int
    per_second: float
    slots: list[SlotStat]
    failure: str
    activity: Activity


class Service(Subsystem[StoreSettings]):
    """Opens the store and provides it."""

    name: ClassVar = "store"
    settings: ClassVar = StoreSettings

    store: Store | None = None
    backups: Backups | None = None

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
        self.backups = Backups(opened, self.config.backups)
        self.resources.provide(opened)
        self.resources.provide(self.backups)

    async def run(self) -> None:
        """Raise LogFailed once the log, or what is folded from it, has failed for good: a sync that failed
        is final, and only a new start finds out what is on the disk. So the server stops."""
        assert self.store is not None, "it has started"
        log, over, loop = self.store.log, asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:  # from any thread, and once more when the log is closed
            if not loop.is_closed():
                loop.call_soon_threadsafe(over.set)

        log.when_over(wake)
        if log.failure is None:
            await over.wait()
        if isinstance(log.failure, LogFailed):
            raise log.failure

    async def stop(self) -> None:
        """Flush the tables and close the log. Raises as `Store.close`."""
        if self.backups is not None:
            await self.backups.close()
        self.resources.withdraw(Backups)
        self.resources.withdraw(Store)
        if self.store is not None:
            await asyncio.to_thread(self.store.close)

    def routes(self) -> Sequence[ControllerRouterHandler]:
        """See Subsystem."""
        from walnut.store.api import routes  # noqa: PLC0415 -- Litestar, for a server alone

        return routes(self.resources)

    def problems(self) -> Mapping[type[Exception], Kind]:
        """See Subsystem."""
        return PROBLEMS

    def status(self) -> StoreStatus | None:
        """See Subsystem. Reads the seals of the log's segments."""
        store = self.store
        if store is None:
            return None
        stat, log = store.stat(), store.log.stat()
        first, written = stat.window
        assert stat.activity is not None, "it is this process that writes it"
        return StoreStatus(
            durable_lsn=stat.durable_lsn,
            applied_lsn=stat.applied_lsn,
            checkpoint_lsn=stat.checkpoint_lsn,
            checkpoint_seconds=stat.checkpoint_age or 0.0,
            window_lsn=first,
            window_seconds=max(0.0, (time.time_ns() - written) / 1e9) if written else 0.0,
            log_bytes=stat.log_bytes,
            memory_bytes=stat.memory_bytes,
            tables=len(stat.tables),
            transactions=stat.activity.transactions,
            per_second=stat.activity.per_second,
            slots=log.slots,
            failure="" if store.log.failure is None else str(store.log.failure),
            activity=stat.activity,
        )

    def metrics(self) -> Iterator[Metric]:
        """See Subsystem."""
        store = self.store
        if store is not None:
            yield from _log_metrics(store)
            yield from _store_metrics(store)


def _log_metrics(store: Store) -> Iterator[Metric]:
    log, stat = store.log.metrics, store.log.stat()
    yield counter("log_records", "Records appended and durable.", log.records)
    yield counter("log_bytes", "Bytes of them, as given.", log.bytes)
    yield counter("log_frame_bytes", "Bytes written for them.", log.frame_bytes)
    yield counter("log_flushes", "Frames: groups of records with one sync.", log.frames)
    yield counter("log_refused", "Records refused as the disk was full.", log.refused)
    yield counter("log_failures", "Writes or syncs that failed and stopped the log.", log.failures)
    yield counter("log_slots_dropped", "Slots dropped for lagging too far.", log.slots_dropped)
    yield seconds("log_write", "To encode and write a frame.", log.write)
    yield seconds("log_sync", "To sync a frame.", log.sync)
    yield seconds("log_wait", "From the first submission to a flush until it was done.", log.wait)
    yield gauge("log_size_bytes", "Of the log's segments on disk.", stat.bytes)
    yield gauge("log_first_lsn", "The oldest record that is kept.", stat.first_lsn)
    yield gauge("log_durable_lsn", "The newest record that is durable.", stat.durable_lsn)
    yield gauge("log_slots", "Slots there are.", len(stat.slots))
    lag = max((slot.lag for slot in stat.slots), default=0)
    yield gauge("log_slot_lag_records", "Of the slot that is furthest behind.", lag)


def _store_metrics(store: Store) -> Iterator[Metric]:
    metrics = store.metrics
    ends = {
        "committed": metrics.transactions,
        "read_only": metrics.reads,
        "raised": metrics.raised,
        "repeated": metrics.repeats,
        "refused": metrics.refused,
    }
    yield by("end", "store_transactions", "Transactions, by how they ended.", ends, grows=True)
    yield counter("store_slow", "Transactions that took too long.", metrics.slow_count)
    yield counter("store_checkpoints", "Flushes of the tables.", metrics.checkpoints)
    yield seconds("store_turn", "Waiting for the transaction before.", metrics.turn)
    yield seconds("store_function", "In transaction functions.", metrics.function)
    yield seconds(
        "store_durable", "From a function's beginning until it was durable.", metrics.durable
    )
    yield seconds("store_apply", "To write a group to the tables.", metrics.apply)
    yield gauge("store_applied_lsn", "What readers see the state after.", store.applied_lsn)
    yield gauge(
        "store_checkpoint_lsn", "Up to which the tables are flushed.", store.checkpoints.lsn
    )


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
