"""The log's types: what goes in, what comes out, and the limits of both. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from walnut.log.disk import Disk, RealDisk
from walnut.log.errors import InvalidOption

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

FIRST_LSN: Final = 1
"""The LSN of the first record a log ever holds."""

MAX_LSN: Final = 2**63 - 1
MAX_FRAME_BYTES: Final = GIB
"""No frame is larger, so a reader can refuse a length that makes no sense before it allocates."""

Bytes = bytes | bytearray | memoryview
"""What may be appended; anything but `bytes` is copied when it is accepted."""

Producer = tuple[str, int]
"""Who appends, and that producer's own ever-increasing number for this append."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as it is read.

    Attributes:
        lsn: its log sequence number.
        time: when its frame was written, in nanoseconds since the Unix epoch; never decreases.
        data: a read-only view into the segment file. `bytes(record.data)` keeps it for long.
    """

    lsn: int
    time: int
    data: memoryview


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What the log may forget by itself, whole segments at a time, oldest first.

    Attributes:
        bytes: keep at most about this much, or no limit if None.
        seconds: keep records at least this long and drop them after, or for ever if None.
        slot_bytes: a slot that holds back more than this is dropped, and reported; None never.
    """

    bytes: int | None = None
    seconds: float | None = None
    slot_bytes: int | None = None


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a log behaves. The defaults are safe; each line says what changing it costs.

    Attributes:
        sync: "always": a record is acknowledged once it is on disk. "interval": acknowledged once
            the operating system has it, and on disk within `sync_seconds`: a power cut may take
            that much. "os": the operating system decides when. `durable_lsn` is true under all.
        sync_seconds: the longest time between two syncs under "interval".
        linger_seconds: how long a flush waits for company. 0: not at all, which is right unless
            the disk is far slower than its callers.
        segment_bytes: size of a segment file. Larger: fewer files; smaller: finer truncation.
        frame_bytes: a flush takes at most this much, unless one group is larger.
        record_bytes: the largest record accepted.
        buffer_bytes: bound on what is accepted and not yet written, and on one atomic group.
        compression: "zstd" compresses each frame that gets smaller by it, for CPU time.
        retention: what may be forgotten; nothing by default.
        producers: how many producers are remembered for idempotence; the longest silent goes.
        background: threads flush and keep house. False: nothing happens by itself, and the caller
            runs `sync()` and `housekeep()`; for simulators.
        disk: where files are; `walnut.testing` has one in memory.
        clock: nanoseconds since the Unix epoch, stamped on frames.
    """

    sync: Literal["always", "interval", "os"] = "always"
    sync_seconds: float = 0.1
    linger_seconds: float = 0.0
    segment_bytes: int = 64 * MIB
    frame_bytes: int = 4 * MIB
    record_bytes: int = 16 * MIB
    buffer_bytes: int = 64 * MIB
    compression: Literal["zstd"] | None = None
    retention: Retention = Retention()
    producers: int = 10_000
    background: bool = True
    disk: Disk = msgspec.field(default_factory=RealDisk)
    clock: Callable[[], int] = time.time_ns

    def __post_init__(self) -> None:
        """Refuse what can't work, by name."""
        if self.sync not in {"always", "interval", "os"}:
            raise InvalidOption(f"sync is {self.sync!r}: use 'always', 'interval' or 'os'")
        if self.compression not in {None, "zstd"}:
            raise InvalidOption(f"compression is {self.compression!r}: use 'zstd' or None")
        if not isinstance(self.retention, Retention):
            raise InvalidOption(f"retention is {self.retention!r:.80}: give a walnut.Retention")
        bounds: list[tuple[str, float | None, float, float]] = [
            ("sync_seconds", self.sync_seconds, 0.001, 3600),
            ("linger_seconds", self.linger_seconds, 0, 60),
            ("segment_bytes", self.segment_bytes, 16 * KIB, GIB),
            ("frame_bytes", self.frame_bytes, 1, MAX_FRAME_BYTES // 4),
            ("record_bytes", self.record_bytes, 1, MAX_FRAME_BYTES // 4),
            ("buffer_bytes", self.buffer_bytes, self.record_bytes, MAX_FRAME_BYTES // 2),
            ("producers", self.producers, 1, 1_000_000),
            ("retention.bytes", self.retention.bytes, 0, 2**63),
            ("retention.seconds", self.retention.seconds, 0, 2**33),
            ("retention.slot_bytes", self.retention.slot_bytes, 0, 2**63),
        ]
        for name, value, low, high in bounds:
            if value is None and name.startswith("retention."):
                continue
            kind = (int, float) if name.endswith("seconds") else int
            if not isinstance(value, kind) or not low <= value <= high:
                word = "a number" if name.endswith("seconds") else "a whole number"
                raise InvalidOption(
                    f"{name} is {value!r:.80}: it must be {word} from {low} to {high}"
                )


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What opening the log found and did.

    Attributes:
        created: the log was new.
        clean: the last writer closed it; nothing had to be scanned.
        scanned_bytes, scanned_frames: how much of the last segment was checked.
        cut_bytes: length of the torn tail that was cut; 0 for none.
        cut_reason: why it can't have been acknowledged, and what was wrong with it; "" for none.
        cut_segment, cut_offset: where the cut was made.
        rewritten_bytes: valid bytes not known to be durable that were written and synced again.
        finished: interrupted operations that were completed, in words.
        seconds: how long opening took.
    """

    created: bool = False
    clean: bool = False
    scanned_bytes: int = 0
    scanned_frames: int = 0
    cut_bytes: int = 0
    cut_reason: str = ""
    cut_segment: str = ""
    cut_offset: int = 0
    rewritten_bytes: int = 0
    finished: tuple[str, ...] = ()
    seconds: float = 0.0


class SegmentStat(msgspec.Struct, frozen=True):
    """One segment: its file, its records [first_lsn, next_lsn), its bytes on disk, the time of its
    last frame in ns (0 for none), and whether it is sealed."""

    name: str
    first_lsn: int
    next_lsn: int
    bytes: int
    last_time: int
    sealed: bool


class SlotStat(msgspec.Struct, frozen=True):
    """A slot: the next LSN its reader needs, and how many records it is behind."""

    name: str
    lsn: int
    lag: int


class LogStat(msgspec.Struct, frozen=True, kw_only=True):
    """A log at a glance. `bytes` is what the segments take on disk."""

    path: str
    log_id: str
    epoch: int
    first_lsn: int
    next_lsn: int
    durable_lsn: int
    bytes: int
    segments: list[SegmentStat]
    slots: list[SlotStat]


def check_lsn(lsn: int) -> int:
    """The LSN, if it can be one. Raises InvalidOption."""
    if not isinstance(lsn, int) or not 1 <= lsn <= MAX_LSN:
        raise InvalidOption(f"an LSN is a number from 1, not {lsn!r:.80}")
    return lsn
