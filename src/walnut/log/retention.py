"""What may be forgotten: a decision over segments, slots and limits, as a pure function.

What must stay true: nothing a slot still needs is given up, unless that slot lags past its bound
and is dropped by name.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from walnut.log.model import Retention, SegmentStat, SlotStat


class Decision(msgspec.Struct, frozen=True):
    """Where the log may begin, and which slots to drop for that."""

    first_lsn: int
    drop: list[SlotStat]


def decide(
    segments: Sequence[SegmentStat], slots: Sequence[SlotStat], retention: Retention, now: int
) -> Decision:
    """Whole segments go, oldest first, never the last.

    Args:
        segments: in order, at least one.
        now: ns since the Unix epoch.
    """
    total = sum(segment.bytes for segment in segments)
    first = segments[0].first_lsn
    for segment in segments[:-1]:
        too_many = retention.bytes is not None and total > retention.bytes
        too_old = retention.seconds is not None and segment.last_time < now - int(
            retention.seconds * 1e9
        )
        if not (too_many or too_old):
            break
        total -= segment.bytes
        first = segment.next_lsn
    bound = retention.slot_bytes
    drop = [slot for slot in slots if bound is not None and _held_back(segments, slot) > bound]
    held = [slot.lsn for slot in slots if slot not in drop]
    return Decision(min([first, *held]), drop)


def _held_back(segments: Sequence[SegmentStat], slot: SlotStat) -> int:
    """Bytes of the segments that this slot keeps, without the one being written."""
    return sum(segment.bytes for segment in segments[:-1] if segment.next_lsn > slot.lsn)
