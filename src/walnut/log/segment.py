"""Segment files: their names, their header, and the seal at the end of a full one.

    0000000007-0000000000000123456.wal
    ^ number   ^ first LSN

    | header 4096 B | frame | frame | ... | SEAL frame |      a sealed segment, cut to its length
    | header 4096 B | frame | frame | 0000000000000000 |      the active one, allocated to the end

Numbers are consecutive, so a listing shows that a file is missing; names hold the first LSN, so a
listing is the index over segments. What must stay true: a segment has its final name only once
its header is durable, and frames go into it only once that name is.
"""

from __future__ import annotations

import bisect
import itertools
import struct
from array import array
from typing import Final

import msgspec
from crc32c import crc32c

from walnut.log.errors import LogCorrupt, UnknownFormat
from walnut.log.frame import BadFrame, Frame, Kind, encode, read_frame

MAGIC: Final = b"WALNUTLG"
VERSION: Final = 1
HEADER_BYTES: Final = 4096
"""A header takes whole pages, so that writing the first frame never rewrites its last sector. One
page is enough for as many producers as most logs ever have."""

_HEADER: Final = struct.Struct("<8s I H ? x 16s Q Q q I I I")
_CRC_FROM: Final = 12
_NAME: Final = "{:010d}-{:019d}.wal"
_NAME_LENGTH: Final = len(_NAME.format(0, 0))
_TRAILER: Final = struct.Struct("<Q8s")
_TRAILER_MAGIC: Final = b"WALNSEAL"

INDEX_STEP: Final = 64 << 10
"""Bytes between two entries of a segment's index: a find walks at most this far."""


class Segment(msgspec.Struct, frozen=True, order=True):
    """A segment as its name tells it."""

    number: int
    first_lsn: int

    @property
    def name(self) -> str:
        """Its file name."""
        return _NAME.format(self.number, self.first_lsn)


def parse_name(name: str) -> Segment | None:
    """The segment of this file name, or None if it is not one."""
    if len(name) != _NAME_LENGTH or not name.endswith(".wal"):
        return None
    number, _, lsn = name[:-4].partition("-")
    if not (number.isdecimal() and lsn.isdecimal()):
        return None
    segment = Segment(int(number), int(lsn))
    return segment if segment.name == name else None


def sort_segments(names: list[str]) -> list[Segment]:
    """The segments among these names, in order."""
    return sorted(segment for name in names if (segment := parse_name(name)))


def check_consecutive(segments: list[Segment]) -> None:
    """Raises LogCorrupt if a segment in the middle is missing."""
    for before, after in itertools.pairwise(segments):
        if after.number != before.number + 1:
            missing = Segment(before.number + 1, before.first_lsn)
            raise LogCorrupt(
                missing.name, 0, before.first_lsn, after.first_lsn - 1,
                f"between {before.name} and {after.name} a segment is missing",
            )  # fmt: skip


class SegmentHeader(msgspec.Struct, frozen=True):
    """What a segment file says of itself.

    Attributes:
        log_id: 16 bytes, the same in every file of one log.
        number, first_lsn: as in the name.
        created: ns since the Unix epoch.
        epoch: of the writer that began it.
        prev_crc: checksum of the last frame before it, where the chain goes on; 0 at the start.
        recycled: the file had an earlier life, so what follows its last frame need not be zeros.
        producers: what is remembered for idempotence at the start of this segment (`producers`),
            so that it outlives the segments before.
    """

    log_id: bytes
    number: int
    first_lsn: int
    created: int
    epoch: int
    prev_crc: int
    recycled: bool
    producers: bytes

    def pack(self) -> bytes:
        """The header's bytes, whole pages long."""
        numbers = (self.number, self.first_lsn, self.created, self.epoch, self.prev_crc)
        body = (VERSION, self.recycled, self.log_id, *numbers, len(self.producers))
        checked = _HEADER.pack(MAGIC, 0, *body)[_CRC_FROM:] + self.producers
        header = _HEADER.pack(MAGIC, crc32c(checked), *body) + self.producers
        return header.ljust(self.start, b"\0")

    @property
    def start(self) -> int:
        """Offset of the first frame: the header's length."""
        return -(-(_HEADER.size + len(self.producers)) // HEADER_BYTES) * HEADER_BYTES

    @property
    def seed(self) -> int:
        """Where this segment's checksums start, so that no frame of another segment, or of an
        earlier life of a recycled file, is valid in it."""
        return crc32c(self.log_id + self.number.to_bytes(8, "little"))


def read_header(segment: Segment, view: memoryview) -> SegmentHeader:
    """The header of `segment` from its file.

    Raises:
        LogCorrupt: it is damaged, or belongs to another segment.
        UnknownFormat: a newer Walnut wrote it.
    """

    def damaged(reason: str) -> LogCorrupt:
        return LogCorrupt(segment.name, 0, segment.first_lsn, None, reason)

    if len(view) < HEADER_BYTES:
        raise damaged("it is too short for a segment header")
    magic, crc, version, recycled, log_id, *rest, length = _HEADER.unpack_from(view)
    if magic != MAGIC:
        raise damaged("the segment header is not one of Walnut's")
    if version > VERSION:
        raise UnknownFormat(
            f"{segment.name} has format version {version} and this Walnut knows up to {VERSION}: "
            "open it with the newer Walnut that wrote it"
        )
    checked = bytes(view[_CRC_FROM : _HEADER.size + length])
    if crc32c(checked) != crc or len(checked) != _HEADER.size + length - _CRC_FROM:
        raise damaged("the segment header's checksum does not match")
    number, first_lsn, created, epoch, prev_crc = rest
    header = SegmentHeader(
        log_id, number, first_lsn, created, epoch, prev_crc, recycled,
        producers=checked[_HEADER.size - _CRC_FROM :],
    )  # fmt: skip
    if (header.number, header.first_lsn) != (segment.number, segment.first_lsn):
        raise damaged("the header belongs to another segment: the file was renamed")
    return header


class Index:
    """Where frames are in one segment: LSN to offset, an entry per `INDEX_STEP` bytes.

    Grows at the end while others search it, so an entry is complete once it can be found."""

    __slots__ = ("_lsns", "_offsets")

    def __init__(self, lsns: bytes = b"", offsets: bytes = b"") -> None:
        self._lsns = array("Q", lsns)
        self._offsets = array("I", offsets)

    def add(self, lsn: int, offset: int) -> None:
        """Tell of the frame at `offset`; kept if it is far enough from the last one kept."""
        if not self._offsets or offset >= self._offsets[-1] + INDEX_STEP:
            self._offsets.append(offset)
            self._lsns.append(lsn)

    def find(self, lsn: int) -> int:
        """Offset of a frame at or before the one that holds `lsn`; 0 if none is known."""
        at = bisect.bisect_right(self._lsns, lsn) - 1
        return self._offsets[at] if at >= 0 else 0

    def columns(self) -> tuple[bytes, bytes]:
        """Both columns in bytes: LSNs as u64, offsets as u32."""
        return self._lsns.tobytes(), self._offsets.tobytes()


class Seal(msgspec.Struct, frozen=True, array_like=True):
    """What the last frame of a finished segment holds, as MessagePack.

    Attributes:
        first_lsn, next_lsn: the records in the segment, half open.
        first_time, last_time: of its first and last frame, ns.
        prev_crc: checksum of the last frame of records, where the chain goes on.
        index_lsns, index_offsets: the index.
        producers: what is remembered for idempotence at the end of this segment (`producers`).
    """

    first_lsn: int
    next_lsn: int
    first_time: int
    last_time: int
    prev_crc: int
    index_lsns: bytes
    index_offsets: bytes
    producers: bytes

    def pack(self, offset: int) -> bytes:
        """The payload of the SEAL frame that begins at `offset`; ends with a trailer that says
        so, which makes it findable from the end of the file."""
        return msgspec.msgpack.encode(self) + _TRAILER.pack(offset, _TRAILER_MAGIC)


def seal_frame(seal: Seal, offset: int, seed: int, *, epoch: int) -> bytes:
    """The SEAL frame that goes to `offset`. It is not part of the chain of checksums, so that the
    log goes on in its place when a closed log is opened again."""
    head, payload, _ = encode(
        [seal.pack(offset)],
        first_lsn=seal.next_lsn,
        time=seal.last_time,
        durable_lsn=seal.next_lsn - 1,
        epoch=epoch,
        prev_crc=seal.prev_crc,
        seed=seed,
        kind=Kind.SEAL,
    )
    return head + payload


def unpack_seal(frame: Frame) -> Seal:
    """The seal in a SEAL frame. Raises BadFrame."""
    try:
        return msgspec.msgpack.decode(frame.payload[: -_TRAILER.size], type=Seal)
    except msgspec.MsgspecError as error:
        raise BadFrame(f"the seal is not readable ({error})") from error


def read_seal(view: memoryview, seed: int) -> tuple[Seal, int] | None:
    """The seal of a finished segment and the offset of its frame, or None if it has none."""
    if len(view) < HEADER_BYTES + _TRAILER.size:
        return None
    offset, magic = _TRAILER.unpack_from(view, len(view) - _TRAILER.size)
    if magic != _TRAILER_MAGIC or not HEADER_BYTES <= offset < len(view):
        return None
    try:
        frame = read_frame(view, offset, seed)
        if frame.header.kind != Kind.SEAL or offset + frame.header.size != len(view):
            return None
        return unpack_seal(frame), offset
    except BadFrame:
        return None
