"""Opening: from whatever a crash left behind to a log that can be written.

Only the last segment is scanned; the ones before it were sealed and synced before it got its name.
The scan follows the chain of frames to the first bytes that don't continue it, and then has to
tell two things apart:

    torn tail     never acknowledged: a write or a sync was cut short. Cut it off and say so.
    corruption    was durable once. Refuse to open, and name the place.

The evidence is every statement about durability that survived: the DURABLE mark, the clean end in
CONTROL, and the durable LSN that each later frame carries. If any of them covers an LSN that the
chain does not reach, that LSN was durable. What must stay true: nothing is served that is not on
the disk. A valid frame read here may exist only in the page cache of a kernel that failed to write
it, so whatever no evidence covers is written again and synced before the log is open.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec

from walnut.log.control import CONTROL, Control
from walnut.log.disk import Directory, write_fully
from walnut.log.errors import LogCorrupt
from walnut.log.frame import (
    MAGIC_BYTES,
    BadFrame,
    Header,
    Kind,
    read_frame,
    read_header,
)
from walnut.log.model import LogOptions
from walnut.log.producers import Producers, unpack_notes
from walnut.log.segment import (
    Index,
    Segment,
    SegmentHeader,
    read_seal,
    unpack_seal,
)
from walnut.log.segment import read_header as read_segment_header
from walnut.log.writer import End

REWRITE_CHUNK = 4 << 20
SEARCH_CHUNK = 1 << 18
_ZEROS = bytes(SEARCH_CHUNK + len(MAGIC_BYTES))


class Chain(msgspec.Struct, kw_only=True):
    """How far the frames of a segment follow one another, and what ended them.

    Attributes:
        offset, next_lsn, prev_crc: where the next frame would go on.
        epoch, first_time, last_time: of the last, first and last frame.
        durable: the highest durable LSN that a frame states.
        frames: how many.
        sealed: a SEAL frame ended it; it begins at `offset`.
        problem: otherwise, what is wrong with the bytes at `offset`.
    """

    offset: int
    next_lsn: int
    prev_crc: int
    epoch: int
    first_time: int = 0
    last_time: int = 0
    durable: int = 0
    frames: int = 0
    sealed: bool = False
    problem: str = ""


def begin_chain(segment: SegmentHeader) -> Chain:
    """The chain before the first frame of a segment."""
    return Chain(
        offset=segment.start,
        next_lsn=segment.first_lsn,
        prev_crc=segment.prev_crc,
        epoch=segment.epoch,
    )


def follow_chain(
    view: memoryview,
    seed: int,
    chain: Chain,
    on_frame: Callable[[Header, int], None] | None = None,
) -> Chain:
    """Check frame after frame, from where `chain` is to where it ends. Raises UnknownFormat."""
    while True:
        try:
            header = read_header(view, chain.offset, seed)
        except BadFrame as problem:
            chain.problem = str(problem)
            return chain
        chained = header.first_lsn == chain.next_lsn and header.prev_crc == chain.prev_crc
        if not chained or header.epoch < chain.epoch:
            chain.problem = "the frame here does not follow the one before it"
            return chain
        chain.durable = max(chain.durable, header.durable_lsn)
        if header.kind == Kind.SEAL:
            chain.sealed = True
            return chain
        if on_frame is not None:
            on_frame(header, chain.offset)
        chain.first_time = chain.first_time or header.time
        chain.last_time = header.time
        chain.epoch = header.epoch
        chain.prev_crc = header.crc
        chain.next_lsn = header.next_lsn
        chain.frames += 1
        chain.offset += header.size


def next_frame(view: memoryview, offset: int, seed: int) -> tuple[Header, int] | None:
    """The next valid frame of this segment at or after `offset`, and where it is."""
    for at in _magics(view, offset):
        with contextlib.suppress(BadFrame):
            return read_header(view, at, seed), at
    return None


def _magics(view: memoryview, offset: int) -> Iterator[int]:
    """Every place at or after `offset` where a frame's magic stands. Looks at little first, as one
    frame mostly follows another, and then at more and more, as the rest is mostly zeros."""
    size = 4096
    while offset < len(view):
        chunk = bytes(view[offset : offset + size + len(MAGIC_BYTES) - 1])
        at = -1 if _blank(chunk) else chunk.find(MAGIC_BYTES)
        while at >= 0:
            yield offset + at
            at = chunk.find(MAGIC_BYTES, at + 1)
        offset += size
        size = min(size * 2, SEARCH_CHUNK)


def _blank(chunk: bytes) -> bool:
    """All zeros: as most of a segment is, and compared far faster than searched."""
    return _ZEROS.startswith(chunk)


def later_frames(view: memoryview, offset: int, seed: int) -> tuple[int, int]:
    """Valid frames of this segment behind a gap: the highest durable LSN they state, and where
    the last of them ends; (0, `offset`) for none. Cost: one search over the rest of the file."""
    durable, last = 0, offset
    while (found := next_frame(view, last, seed)) is not None:
        header, at = found
        durable = max(durable, header.durable_lsn)
        last = at + header.size
    return durable, last


class Found(msgspec.Struct, kw_only=True):
    """What recovery found at the end of the log."""

    end: End
    producers: Producers
    scanned_bytes: int = 0
    scanned_frames: int = 0
    cut_bytes: int = 0
    cut_reason: str = ""
    rewritten_bytes: int = 0


def find_end(
    directory: Directory,
    segments: list[Segment],
    control: Control,
    durable: int,
    options: LogOptions,
) -> Found:
    """Find the end of the log, make it whole and durable.

    Args:
        segments: all of them, in order; at least one.
        durable: what the DURABLE mark covers.

    Raises:
        LogCorrupt: durable data is damaged or missing.
        UnknownFormat: a newer Walnut wrote it.
    """
    segment = segments[-1]
    file = directory.open(segment.name, write=True)
    view = file.map()
    header = read_segment_header(segment, view)
    _check_previous(directory, segments, header)
    producers = Producers(options.producers, header.producers)
    end = End(
        segment=segment,
        header=header,
        file=file,
        capacity=len(view),
        offset=header.start,
        next_lsn=header.first_lsn,
        prev_crc=header.prev_crc,
    )
    clean = control.clean
    file.lock(exclusive=False)
    if clean is not None:
        durable = max(durable, clean.next_lsn - 1)
    found = None
    if clean is not None and clean.segment == segment.name:
        found = _clean_end(view, clean.offset, end, options)
    if found is None or found.end.next_lsn <= durable:
        found = Found(end=end, producers=producers)
        _scan(view, control, durable, found)
    _blank_seal(view, end)
    file.sync()
    return found


def noting(
    view: memoryview, seed: int, producers: Producers, index: Index | None = None
) -> Callable[[Header, int], None]:
    """What `follow_chain` does with each frame to remember producers, and to index."""

    def note(header: Header, offset: int) -> None:
        if index is not None:
            index.add(header.first_lsn, offset)
        if header.notes:
            for position, name, sequence in unpack_notes(read_frame(view, offset, seed).notes):
                producers.add(name, sequence, header.first_lsn + position)

    return note


def _check_previous(directory: Directory, segments: list[Segment], header: SegmentHeader) -> None:
    """The last sealed segment, if there is one, must lead to the active one. Its seal is enough to
    know; only if that is damaged its frames are asked."""
    for segment in segments[-2:-1]:
        view = directory.open(segment.name).map()
        before = read_segment_header(segment, view)
        read = read_seal(view, before.seed)
        chain = begin_chain(before)
        if read is not None:
            chain.next_lsn, chain.prev_crc = read[0].next_lsn, read[0].prev_crc
        else:
            follow_chain(view, before.seed, chain)
        if (chain.next_lsn, chain.prev_crc) != (header.first_lsn, header.prev_crc):
            raise LogCorrupt(
                segment.name, chain.offset, chain.next_lsn, header.first_lsn - 1,
                chain.problem or "it does not lead to the segment after it",
            )  # fmt: skip


def _clean_end(view: memoryview, offset: int, end: End, options: LogOptions) -> Found | None:
    """The end as the SEAL frame of a clean close tells it, or None if that is not readable."""
    try:
        frame = read_frame(view, offset, end.header.seed)
        if frame.header.kind != Kind.SEAL:
            return None
        seal = unpack_seal(frame)
    except BadFrame:
        return None
    end.offset = offset
    end.next_lsn = seal.next_lsn
    end.prev_crc = seal.prev_crc
    end.first_time = seal.first_time
    end.last_time = seal.last_time
    end.index = Index(seal.index_lsns, seal.index_offsets)
    return Found(end=end, producers=Producers(options.producers, seal.producers))


def _blank_seal(view: memoryview, end: End) -> None:
    """Zero the SEAL frame where the next frame goes, which would else look like a torn one."""
    try:
        header = read_header(view, end.offset, end.header.seed)
    except BadFrame:
        return
    write_fully(end.file, [bytes(header.size)], end.offset)


def _scan(view: memoryview, control: Control, durable: int, found: Found) -> None:
    end = found.end
    index = Index()

    seed = end.header.seed
    chain = follow_chain(
        view, seed, begin_chain(end.header), noting(view, seed, found.producers, index)
    )
    stated, last = later_frames(view, chain.offset, seed)
    durable = max(durable, chain.durable, stated)
    if chain.next_lsn <= max(durable, control.first_lsn - 1):
        raise LogCorrupt(
            end.segment.name, chain.offset, chain.next_lsn, max(durable, control.first_lsn - 1),
            f"{chain.problem or 'it ends here'}, though it was durable",
        )  # fmt: skip
    end.offset, end.next_lsn, end.prev_crc = chain.offset, chain.next_lsn, chain.prev_crc
    end.first_time, end.last_time, end.index = chain.first_time, chain.last_time, index
    found.scanned_bytes, found.scanned_frames = chain.offset, chain.frames
    _rewrite(view, durable, found)
    if not chain.sealed:
        _cut(view, chain, last, found)


def _rewrite(view: memoryview, durable: int, found: Found) -> None:
    """Write again what is not known to be durable; the caller syncs."""
    end = found.end
    if durable >= end.next_lsn - 1:
        return
    start = end.index.find(durable + 1) or end.header.start
    for offset in range(start, end.offset, REWRITE_CHUNK):
        chunk = bytes(view[offset : min(offset + REWRITE_CHUNK, end.offset)])
        write_fully(end.file, [chunk], offset)
    found.rewritten_bytes = end.offset - start


def _cut(view: memoryview, chain: Chain, last: int, found: Found) -> None:
    """Cut off what follows the chain, if that is the remains of a write and not the empty or
    recycled rest of the file."""
    end = found.end
    torn = torn_bytes(view, chain, recycled=end.header.recycled)
    found.cut_bytes = max(torn, last - chain.offset)
    if not found.cut_bytes:
        return
    found.cut_reason = (
        f"never acknowledged: {chain.problem}, and nothing says that LSN {chain.next_lsn} "
        "was ever durable"
    )
    end.file.truncate(chain.offset)
    end.file.allocate(end.capacity)


def torn_bytes(view: memoryview, chain: Chain, *, recycled: bool) -> int:
    """How much of a torn frame lies behind the chain."""
    if not recycled:
        for stop in range(len(view), chain.offset, -SEARCH_CHUNK):
            start = max(chain.offset, stop - SEARCH_CHUNK)
            chunk = bytes(view[start:stop])
            if not _blank(chunk):
                return start + len(chunk.rstrip(b"\0")) - chain.offset
        return 0
    if bytes(view[chain.offset : chain.offset + 4]) != MAGIC_BYTES:
        return 0
    lsn = int.from_bytes(view[chain.offset + 8 : chain.offset + 16], "little")
    return len(view) - chain.offset if lsn == chain.next_lsn else 0


def missing_segment(control: Control) -> LogCorrupt:
    """The error for a log whose CONTROL says that there are segments and there are none."""
    return LogCorrupt(
        CONTROL, 0, control.first_lsn, None, "the log was in use, and its segments are missing"
    )
