"""Truncation at both ends.

At the front, whole segments go once CONTROL says that the log begins after them; at the back, the
log is cut to an LSN under a new epoch. What must stay true: each is announced durably in CONTROL
before any file is touched and every step may be repeated, so that a crash in between is finished
by the next open.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import Final

from walnut.log.disk import Directory, write_fully
from walnut.log.errors import LogCorrupt
from walnut.log.frame import BadFrame, Kind, encode, read_frame
from walnut.log.producers import pack_notes, unpack_notes
from walnut.log.segment import Segment, read_header, sort_segments

CUT: Final = "CUT.tmp"


def droppable(segments: list[Segment], first_lsn: int) -> list[Segment]:
    """The segments that hold nothing from `first_lsn` on; never the last one."""
    return [
        segment
        for segment, following in itertools.pairwise(segments)
        if following.first_lsn <= first_lsn
    ]


def live_segments(segments: list[Segment], first_lsn: int) -> list[Segment]:
    """The others: a kill may leave files behind that were truncated, and whatever is in them."""
    return segments[len(droppable(segments, first_lsn)) :]


def remove_segments(directory: Directory, segments: list[Segment]) -> None:
    """Unlink segments, oldest first, durably."""
    for segment in segments:
        with contextlib.suppress(FileNotFoundError):
            directory.remove(segment.name)
    if segments:
        directory.sync()


def prepare_cut(directory: Directory, cutting: int, segment_bytes: int) -> None:
    """Write the new end of the log beside the old one: all that needs space, before the cut is
    announced. Raises OSError, LogCorrupt."""
    segments = sort_segments(directory.names())
    keep = cutting + 1
    last = [segments[0], *(s for s in segments[1:] if s.first_lsn < keep)][-1]
    _write_cut(directory, last, keep, segment_bytes)


def finish_cut(directory: Directory, cutting: int) -> None:
    """Remove every segment after LSN `cutting` and put the prepared one in place."""
    segments = sort_segments(directory.names())
    while len(segments) > 1 and segments[-1].first_lsn > cutting:
        directory.remove(segments.pop().name)
        directory.sync()  # one after another: a crash must not leave a gap
    directory.rename(CUT, segments[-1].name)
    directory.sync()


def _write_cut(directory: Directory, segment: Segment, keep: int, segment_bytes: int) -> None:
    """A copy of the segment that ends before LSN `keep`.

    A new file, so that whoever has the old one mapped goes on seeing what was there."""
    view = directory.open(segment.name).map()
    header = read_header(segment, view)
    parts = [bytes(view[: header.start])]
    offset, lsn, crc = header.start, segment.first_lsn, header.prev_crc
    while lsn < keep:
        try:
            frame = read_frame(view, offset, header.seed)
        except BadFrame as problem:
            raise LogCorrupt(segment.name, offset, lsn, keep - 1, str(problem)) from problem
        if frame.header.kind == Kind.SEAL:
            break
        end = offset + frame.header.size
        if frame.header.next_lsn <= keep:
            parts.append(bytes(view[offset:end]))
            crc = frame.header.crc
        else:
            count = keep - lsn
            notes = [note for note in unpack_notes(frame.notes) if note[0] < count]
            head, payload, crc = encode(
                frame.records()[:count],
                first_lsn=lsn,
                time=frame.time,
                durable_lsn=frame.header.durable_lsn,
                epoch=frame.header.epoch,
                prev_crc=crc,
                seed=header.seed,
                notes=pack_notes(notes),
            )
            parts += [head, payload]
        offset, lsn = end, frame.header.next_lsn
    file = directory.create(CUT)
    try:
        end = write_fully(file, [b"".join(parts)], 0)
        file.allocate(max(end, segment_bytes))
        file.sync()
    finally:
        file.close()
