"""The server's pulse: a look at the store each second, kept for some minutes, for the plots of the overview.

    counters of the store and its log ─▶ Look, each second ─▶ differences of two ─▶ Beat: rates, quantiles

What must stay true: a beat says what happened in its second and not since the start; a look costs a
millisecond and no lock of the writer's, however large the store is.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from walnut.log.errors import LogError
from walnut.store.store import Store

EVERY: Final = 1.0
"""Seconds between looks."""
KEPT: Final = 300
"""Beats kept: five minutes, 60 KiB."""
SLOW_LOOKS: Final = 5
"""One look of so many also reads what takes files: sizes, the oldest record, the disk."""


class Look(msgspec.Struct, frozen=True):
    """Counters as they are, `at` seconds since the Unix epoch."""

    at: float
    transactions: int
    records: int
    frames: int
    waits: Sequence[int]
    syncs: Sequence[int]
    written: int
    durable: int
    applied: int
    checkpoint: int


class Depth(msgspec.Struct, frozen=True):
    """What takes files to know: the log's bytes, its oldest LSN and when that was written (ns), bytes
    free on the disk and in all."""

    log_bytes: int = 0
    first_lsn: int = 0
    oldest: int = 0
    free: int = 0
    total: int = 0


class Beat(msgspec.Struct, frozen=True):
    """What happened between two looks.

    Attributes:
        at: of the second, ms since the Unix epoch.
        commits, records: per second.
        group: records that shared a write and a sync.
        p50, p99: ms from a call to its answer, for the first of each group, who waits longest.
        sync: ms of a sync, p50. All four are None for a second in which nothing was written.
        undurable: records that are not durable yet. unapplied: durable ones that tables miss.
        unflushed: applied ones that a restart would fold again.
        log_bytes, free: on the disk, as of some seconds ago. window: seconds that the log reaches back.
    """

    at: float
    commits: float
    records: float
    group: float | None
    p50: float | None
    p99: float | None
    sync: float | None
    undurable: int
    unapplied: int
    unflushed: int
    log_bytes: int = 0
    free: int = 0
    window: float = 0.0


def look(store: Store, at: float) -> Look:
    """The store's counters now."""
    log, metrics = store.log, store.metrics
    durable = log.durable_lsn
    return Look(
        at,
        metrics.transactions,
        log.metrics.records,
        log.metrics.frames,
        tuple(metrics.durable.counts),
        tuple(log.metrics.sync.counts),
        log.next_lsn - 1,
        durable,
        store.applied_lsn,
        store.checkpoints.lsn,
    )


def beat(before: Look, now: Look, depth: Depth) -> Beat:
    """What happened between two looks."""
    seconds = max(1e-3, now.at - before.at)
    waits = [b - a for a, b in zip(before.waits, now.waits, strict=True)]
    syncs = [b - a for a, b in zip(before.syncs, now.syncs, strict=True)]
    frames, records = now.frames - before.frames, now.records - before.records
    return Beat(
        at=1e3 * now.at,
        commits=(now.transactions - before.transactions) / seconds,
        records=records / seconds,
        group=records / frames if frames else None,
        p50=quantile(waits, 0.5) / 1e3 if any(waits) else None,
        p99=quantile(waits, 0.99) / 1e3 if any(waits) else None,
        sync=quantile(syncs, 0.5) / 1e3 if any(syncs) else None,
        undurable=max(0, now.written - now.durable),
        unapplied=max(0, now.durable - now.applied),
        unflushed=max(0, now.applied - now.checkpoint),
        log_bytes=depth.log_bytes,
        free=depth.free,
        window=max(0.0, now.at - depth.oldest / 1e9) if depth.oldest else 0.0,
    )


def quantile(counts: Sequence[int], q: float) -> float:
    """The q-quantile of values counted by powers of two (`walnut.log.metrics.Histogram`): where it is
    in its bucket is estimated, by a straight line. 0 for no values."""
    wanted = q * sum(counts)
    seen = 0
    for bucket, count in enumerate(counts):
        if count and seen + count >= wanted:
            low = 0.0 if bucket == 0 else float(1 << (bucket - 1))
            high = float(1 << bucket)
            return low + (high - low) * (wanted - seen) / count
        seen += count
    return 0.0


class Pulse:
    """Looks at a store while `run` runs.

    Args:
        data: the directory whose disk is looked at.
        clock: seconds since the Unix epoch.

    Attributes:
        beats: the last ones. depth: as of some seconds ago.
    """

    def __init__(self, store: Store, data: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.beats: deque[Beat] = deque(maxlen=KEPT)
        self.depth = Depth()
        self._store = store
        self._data = data
        self._clock = clock
        self._last = look(store, clock())
        self._number = 0

    async def run(self) -> None:
        """Look each second until cancelled, or until the store is closed."""
        while self._store.log.failure is None:
            if self._number % SLOW_LOOKS == 0:
                try:
                    self.depth = await asyncio.to_thread(self._measure)
                except LogError:
                    return  # closed meanwhile
            await asyncio.sleep(EVERY)
            self.step()

    def step(self) -> Beat:
        """One beat, from the last look to now."""
        now = look(self._store, self._clock())
        found = beat(self._last, now, self.depth)
        self._last = now
        self._number += 1
        self.beats.append(found)
        return found

    def _measure(self) -> Depth:
        log = self._store.log
        stat = log.stat()
        oldest = next(iter(log.read(stop=stat.first_lsn + 1)), None)
        usage = shutil.disk_usage(self._data)
        return Depth(
            stat.bytes,
            stat.first_lsn,
            0 if oldest is None else oldest.time,
            usage.free,
            usage.total,
        )
