"""What the log counts about itself, always.

Everything here is updated once per flush or rarer, never once per record, which is what makes it
cheap enough to have no switch.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

_BUCKETS: Final = 40

_SORT_EVERY: Final = 1024
"""Flushes remembered before they are sorted into distributions."""


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


class Flush(NamedTuple):
    """What one flush took: records, and microseconds of write, sync, the whole, and the wait."""

    records: int
    write: float
    sync: float
    whole: float
    wait: float


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
    _distributions: dict[str, Histogram] = msgspec.field(
        default_factory=lambda: {name: Histogram() for name in Flush._fields}
    )
    _unsorted: list[Flush] = msgspec.field(default_factory=list)

    def observe(self, flush: Flush) -> None:
        """Remember a flush; sorted into the distributions later, many at a time."""
        self._unsorted.append(flush)
        if len(self._unsorted) >= _SORT_EVERY:
            self._sort()

    def _sort(self) -> None:
        flushes, self._unsorted = self._unsorted, []
        for flush in flushes:
            for name, value in zip(Flush._fields, flush, strict=True):
                self._distributions[name].observe(value)

    def _distribution(self, name: str) -> Histogram:
        self._sort()
        return self._distributions[name]

    @property
    def batch(self) -> Histogram:
        """Records per flush."""
        return self._distribution("records")

    @property
    def write(self) -> Histogram:
        """Microseconds per flush to encode and write the frame."""
        return self._distribution("write")

    @property
    def sync(self) -> Histogram:
        """Microseconds per flush to sync it; 0 where the policy is not to."""
        return self._distribution("sync")

    @property
    def flush(self) -> Histogram:
        """Microseconds per flush in all."""
        return self._distribution("whole")

    @property
    def wait(self) -> Histogram:
        """Microseconds from the first submission to a flush until it was done, its time in the
        queue with it: the longest that one of its callers waited."""
        return self._distribution("wait")
