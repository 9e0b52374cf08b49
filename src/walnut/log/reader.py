"""Reading: from any LSN, over the segment files as they lie, by the writer's process or another.

A segment is mapped, and records are slices of the mapping: nothing is copied, and a slow reader
costs no memory. What must stay true: no record past the durable LSN is ever shown, every frame's
checksum is verified on every read, and a view that was given out stays what it was: a mapping
holds a shared lock on its file, without which a truncated segment is not recycled.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections.abc import Iterator
from typing import Final, Protocol

import msgspec

from walnut.log.disk import Directory
from walnut.log.errors import LogCorrupt, LsnTruncated, LsnUnknown, disk_errors
from walnut.log.frame import BadFrame, Frame, Kind, read_frame, read_header
from walnut.log.model import Record
from walnut.log.segment import Index, Segment, SegmentHeader, read_seal
from walnut.log.segment import read_header as read_segment_header


class Position(msgspec.Struct, frozen=True):
    """What a reader may see at a moment.

    Attributes:
        first_lsn, durable_lsn: the ends; nothing outside them is shown.
        generation: changes when files that were there are replaced (`truncate_after`).
    """

    first_lsn: int
    durable_lsn: int
    generation: int


class Source(Protocol):
    """Where a reader learns how far it may read: the writer, or the files of one elsewhere."""

    def position(self) -> Position:
        """The ends of the log now. Raises LogClosed."""

    def segments(self) -> list[Segment]:
        """All segments in order, as they are now."""

    def live_index(self, segment: Segment) -> Index | None:
        """The index of the segment being written, if it is kept by someone here."""

    def wait_for(self, lsn: int, timeout: float | None) -> bool:
        """Sleep until `lsn` is durable; False when the time is over or the log was closed."""

    async def await_for(self, lsn: int, timeout: float | None) -> bool:
        """The same for a coroutine."""


class Mapped(msgspec.Struct, gc=False):
    """A mapped segment. `index` grows as the segment is read when nobody else keeps it; `end` is
    the first LSN of the next segment, 0 while there is none."""

    segment: Segment
    view: memoryview
    seed: int
    start: int
    index: Index
    end: int


LOOKS: Final = 100
"""How often a file that goes while it is being opened is looked for anew."""


class Gone(Exception):
    """The segment's file was taken away, or made into another, while it was being opened."""


class Unreadable(Exception):
    """No frame with this LSN is at this offset of the mapping."""

    def __init__(self, offset: int, lsn: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.lsn = lsn
        self.reason = reason


class Reader:
    """Iterates frames and records. One is for one thread; making one costs nothing.

    The segment read last stays mapped, with what was learned of its index: a tail that woke up
    would else look for its place from the start of the segment, each time."""

    def __init__(self, directory: Directory, source: Source) -> None:
        self._directory = directory
        self._source = source
        self._mapped: Mapped | None = None
        self._generation = -1

    def read(self, start: int, stop: int | None = None) -> Iterator[Record]:
        """The records from `start` up to, not with, `stop`, or to what is durable now.

        Raises LsnTruncated, LsnUnknown, LogCorrupt."""
        position = self._source.position()
        end = position.durable_lsn + 1
        stop = end if stop is None else min(stop, end)
        frames = self.frames(start, stop)
        return itertools.chain.from_iterable(records_within(frame, start, stop) for frame in frames)

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        """Whole frames that hold the records from `start` up to, not with, `stop`."""
        position = self._source.position()
        if start < position.first_lsn:
            raise LsnTruncated(start, position.first_lsn)
        if start > position.durable_lsn + 1:
            raise LsnUnknown(
                f"LSN {start} is past the end of the log, whose next durable LSN is "
                f"{position.durable_lsn + 1}: tail the log to wait for it"
            )
        return self._frames(start, min(stop, position.durable_lsn + 1))

    def _frames(self, lsn: int, stop: int) -> Iterator[Frame]:
        looked_again = 0
        while lsn < stop:
            mapped = self._map_segment_of(lsn)
            try:
                for frame in self._frames_of(mapped, lsn, stop):
                    lsn = frame.header.next_lsn
                    yield frame
            except Unreadable as place:
                # The writer may have sealed the segment, or gone on past the end of our mapping.
                if mapped.end or looked_again == lsn:
                    raise self._name(mapped, place) from place
                looked_again, self._mapped = lsn, None

    def _frames_of(self, mapped: Mapped, lsn: int, stop: int) -> Iterator[Frame]:
        """The frames of one segment, from the one that holds `lsn`."""
        view, seed, index = mapped.view, mapped.seed, mapped.index
        offset = index.find(lsn) or mapped.start
        at = None
        while lsn < stop and (lsn != mapped.end):
            try:
                if at is None:
                    header = read_header(view, offset, seed)
                    if header.next_lsn <= lsn and header.kind != Kind.SEAL:
                        index.add(header.first_lsn, offset)
                        offset += header.size
                        continue
                    at = header.first_lsn
                frame = read_frame(view, offset, seed)
            except BadFrame as problem:
                raise Unreadable(offset, lsn, str(problem)) from problem
            header = frame.header
            if header.first_lsn != at or header.kind == Kind.SEAL:
                raise Unreadable(offset, lsn, "the frame that should be here is not")
            index.add(at, offset)
            offset += header.size
            at = lsn = header.next_lsn
            yield frame

    def _name(self, mapped: Mapped, place: Unreadable) -> Exception:
        """A frame that should be there is not: it was truncated meanwhile, or it is damaged."""
        self._mapped = None
        offset, lsn, reason = place.offset, place.lsn, place.reason
        position = self._source.position()
        if lsn < position.first_lsn:
            return LsnTruncated(lsn, position.first_lsn)
        if lsn > position.durable_lsn:
            return LsnUnknown(f"LSN {lsn} was cut off by truncate_after: read again from the end")
        last = max(lsn, mapped.end - 1) if mapped.end else position.durable_lsn
        return LogCorrupt(mapped.segment.name, offset, lsn, last, reason)

    def _map_segment_of(self, lsn: int) -> Mapped:
        for _ in range(LOOKS):
            position = self._source.position()
            if lsn < position.first_lsn:
                raise LsnTruncated(lsn, position.first_lsn)
            if position.generation != self._generation:
                self._generation, self._mapped = position.generation, None
            segments = self._source.segments()
            place = bisect.bisect_right(segments, lsn, key=lambda segment: segment.first_lsn) - 1
            if place < 0:  # its file went before we were told so
                continue
            segment = segments[place]
            if self._mapped is not None and self._mapped.segment == segment:
                return self._mapped
            end = segments[place + 1].first_lsn if place + 1 < len(segments) else 0
            with contextlib.suppress(Gone):
                self._mapped = self._map(segment, end)
                return self._mapped
        raise LogCorrupt("a segment", 0, lsn, None, f"no file holds LSN {lsn}, or it is locked")

    def _map(self, segment: Segment, end: int) -> Mapped:
        view, header = open_segment(self._directory, segment)
        index = self._source.live_index(segment)
        if index is None:
            sealed = read_seal(view, header.seed)
            index = Index(sealed[0].index_lsns, sealed[0].index_offsets) if sealed else Index()
        return Mapped(segment, view, header.seed, header.start, index, end)


def open_segment(
    directory: Directory, segment: Segment, *, copy: bool = False
) -> tuple[memoryview, SegmentHeader]:
    """A segment's bytes and its header, as they may be looked at while a writer goes on.

    Mapped, and locked against being recycled as long as the view lives; or, with `copy`, read into
    memory: that is for who looks past the durable end, where the writer may cut the file off.

    Raises Gone, LogCorrupt, UnknownFormat, DiskError."""
    with disk_errors(f"reading {segment.name}"):
        try:
            file = directory.open(segment.name)
        except FileNotFoundError:
            raise Gone from None
        try:
            if not file.lock(exclusive=False):
                raise Gone
            view = memoryview(file.read(file.size(), 0)) if copy else file.map()
        finally:
            file.close()
        try:
            return view, read_segment_header(segment, view)
        except LogCorrupt:
            if segment.name in directory.names():
                raise
            raise Gone from None  # it was recycled between the opening and the lock


def records_within(frame: Frame, start: int, stop: int) -> Iterator[Record]:
    """The records of a frame that lie in [start, stop)."""
    first = frame.first_lsn
    if first >= start and frame.header.next_lsn <= stop:
        return frame.views()
    return itertools.islice(frame.views(), max(0, start - first), stop - first)
