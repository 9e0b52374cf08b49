"""What the log counts about itself, always.

Everything here is updated once per flush or rarer, never once per record, which is what makes it
cheap enough to have no switch.
"""

from __future__ import annotations

from typing import Final

import msgspec

_BUCKETS: Final = 40


class Histogram(msgspec.Struct):
    """Counts by powers of two: bucket i holds the values from 2**(i-1) up to, not with, 2**i.

    Times are observed in microseconds."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * _BUCKETS)
    count: int = 0
    total: float = 0.0
    maximum: float = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[min(int(value).bit_length(), _BUCKETS - 1)] += 1
        self.count += 1
        self.total += value
        self.maximum = max(self.maximum, value)

    @property
    def mean(self) -> float:
        """The mean of all values, 0 for none."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """An upper bound of the q-quantile, within a factor of two; 0 for no values."""
        wanted, seen = q * self.count, 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(float(1 << bucket), self.maximum)
        return 0.0


class Metrics(msgspec.Struct):
    """Counters since the log was opened, and distributions per flush.

    Attributes:
        records, bytes: appended and acknowledged, as the callers gave them.
        frames, frame_bytes: written, as they are on disk.
        duplicates: appends answered from the producers' memory.
        syncs, failures: of fdatasync; writes or syncs that failed and stopped the log.
        refused: records turned away because the disk was full.
        rolls, recycled, removed: segments begun, reused, and truncated away.
        slots_dropped: slots that lagged past their bound.
        abandoned: waiters whose event loop was closed before their answer came.
        batch: records per flush. write, sync, flush: microseconds of each, per flush.
    """

    records: int = 0
    bytes: int = 0
    frames: int = 0
    frame_bytes: int = 0
    duplicates: int = 0
    syncs: int = 0
    failures: int = 0
    refused: int = 0
    rolls: int = 0
    recycled: int = 0
    removed: int = 0
    slots_dropped: int = 0
    abandoned: int = 0
    batch: Histogram = msgspec.field(default_factory=Histogram)
    write: Histogram = msgspec.field(default_factory=Histogram)
    sync: Histogram = msgspec.field(default_factory=Histogram)
    flush: Histogram = msgspec.field(default_factory=Histogram)
