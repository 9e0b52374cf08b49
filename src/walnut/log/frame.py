"""The frame codec: the records of one flush, with one header and one checksum.

    | header 64 B | lengths column | notes | record | record | ... |
                  '---------------- payload -----------------------'

A frame is the unit of atomicity: it is read whole or not at all. What must stay true: no bytes
whatever make `read_frame` serve a record that was not written, and a frame that was valid in
another file, or in an earlier life of this file, is not valid here. Three things see to that: the
checksum starts from a seed that belongs to this segment (`segment.seed`), each frame carries the
checksum of the one before it, and LSNs are dense.

The cost is per frame, not per record: lengths are one packed column of the narrowest width (none
at all when all are equal), records are joined once, and the CRC32C runs once over the result.
The format is specified to the byte in docs/log-format.md.
"""

from __future__ import annotations

import enum
import functools
import itertools
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import zstandard
from crc32c import crc32c

from walnut.log.errors import UnknownFormat
from walnut.log.model import MAX_FRAME_BYTES, MAX_LSN, Record

MAGIC: Final = 0x464E4C57  # b"WLNF"
MAGIC_BYTES: Final = MAGIC.to_bytes(4, "little")
HEADER: Final = struct.Struct("<II QqQ IIIIII BBBB I")
HEADER_BYTES: Final = HEADER.size
_UNCHECKED: Final = struct.Struct("<II")  # the magic and the checksum
_CHECKED: Final = struct.Struct("<QqQ IIIIII BBBB I")
CHECKED_FROM: Final = _UNCHECKED.size
"""The checksum covers everything from here to the end of the payload."""

MIN_COMPRESSED: Final = 256
"""Smaller payloads are not worth a compressor's start."""
MIN_SAVED: Final = 8
"""Compression is kept when it saves at least one part in this many."""
ZSTD_LEVEL: Final = 1

_WIDTHS: Final = {1: "B", 2: "H", 4: "I"}

if sys.byteorder != "little":
    raise ImportError(
        "walnut.log packs its columns in the machine's order, which must be little-endian"
    )


class Kind(enum.IntEnum):
    """What a frame holds."""

    RECORDS = 1
    SEAL = 2  # the end of a segment; its payload is a `segment.Seal`, and it takes no LSN


class Flag(enum.IntFlag):
    """How the payload is stored."""

    ZSTD = 1
    ENCRYPTED = 2  # reserved: this version writes none and refuses to read it


_KNOWN_FLAGS: Final = int(Flag.ZSTD | Flag.ENCRYPTED)  # of an IntFlag, ~ would drop unknown bits


class BadFrame(Exception):
    """The bytes here are not a valid frame of this segment; the message says why."""


class Header(msgspec.Struct, frozen=True, gc=False):
    """A frame's header, in the order of the bytes."""

    magic: int
    crc: int
    first_lsn: int
    time: int
    durable_lsn: int
    epoch: int
    count: int
    stored: int
    prev_crc: int
    raw: int
    notes: int
    kind: int
    flags: int
    width: int
    reserved: int
    length: int

    @property
    def next_lsn(self) -> int:
        """The LSN after this frame's last record."""
        return self.first_lsn + self.count

    @property
    def size(self) -> int:
        """Bytes the frame takes in the file."""
        return HEADER_BYTES + self.stored


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame that was read and checked. `payload` is uncompressed."""

    header: Header
    payload: memoryview

    @property
    def first_lsn(self) -> int:
        """LSN of the first record."""
        return self.header.first_lsn

    @property
    def time(self) -> int:
        """When it was written, ns since the Unix epoch."""
        return self.header.time

    @property
    def notes(self) -> memoryview:
        """The notes section: who produced which records (`producers`)."""
        start = self.header.count * self.header.width
        return self.payload[start : start + self.header.notes]

    def records(self) -> Sequence[bytes]:
        """All records as bytes: the fastest way through a log of small records (about 20 ns each
        when they are of equal length, 70 when not; `python -m bench --only replay`)."""
        header = self.header
        if header.width == 0 and header.count <= _CACHED_COUNT:
            return _fixed_layout(header.count, header.length).unpack_from(
                self.payload, header.notes
            )
        bounds = self._bounds()
        data = bytes(self.payload)
        return [data[a:b] for a, b in itertools.pairwise(bounds)]

    def views(self) -> Iterator[Record]:
        """Each record as a `Record` whose data is a view into the payload."""
        bounds = self._bounds()
        header = self.header
        slices = map(slice, bounds, itertools.islice(bounds, 1, None))
        views = map(self.payload.__getitem__, slices)
        return map(Record, itertools.count(header.first_lsn), itertools.repeat(header.time), views)

    def _bounds(self) -> Sequence[int]:
        header = self.header
        start = header.count * header.width + header.notes
        if header.width == 0:
            step = header.length
            return (
                range(start, start + step * header.count + 1, step)
                if step
                else [start] * (header.count + 1)
            )
        return list(itertools.accumulate(lengths(header, self.payload), initial=start))


_CACHED_COUNT: Final = 4096
"""Layouts of frames with more records are not worth their memory in the cache."""


@functools.lru_cache(maxsize=64)
def _fixed_layout(count: int, length: int) -> struct.Struct:
    return struct.Struct(f"{length}s" * count)


def lengths(header: Header, payload: memoryview) -> Sequence[int]:
    """The lengths column of a frame."""
    if header.width == 0:
        return [header.length] * header.count
    column = array(_WIDTHS[header.width])
    column.frombytes(payload[: header.count * header.width])
    return column


def _pack_lengths(sizes: list[int]) -> tuple[int, int, bytes]:
    """The column's width, the common length when the width is 0, and the column itself."""
    if sizes.count(sizes[0]) == len(sizes):
        return 0, sizes[0], b""
    longest = max(sizes)
    if longest < 1 << 8:
        return 1, 0, bytes(sizes)
    width = 2 if longest < 1 << 16 else 4
    column = array(_WIDTHS[width], sizes)
    return width, 0, column.tobytes()


def compress_payload(payload: bytes) -> bytes | None:
    """The payload compressed, or None where that is not worth it."""
    if len(payload) < MIN_COMPRESSED:
        return None
    small = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(payload)
    return small if len(small) <= len(payload) - len(payload) // MIN_SAVED else None


def encode(
    records: Sequence[bytes],
    *,
    first_lsn: int,
    time: int,
    durable_lsn: int,
    epoch: int,
    prev_crc: int,
    seed: int,
    notes: bytes = b"",
    kind: Kind = Kind.RECORDS,
    compress: bool = False,
) -> tuple[bytes, bytes, int]:
    """Make a frame: its header, its payload as stored, and its checksum.

    A SEAL frame has its one payload in `records` and counts none."""
    if kind is Kind.SEAL:
        count, width, length, payload = 0, 0, 0, records[0]
    else:
        count = len(records)
        width, length, column = _pack_lengths(list(map(len, records)))
        payload = b"".join((column, notes, *records))
    raw = len(payload)
    flags = 0
    if compress and (small := compress_payload(payload)) is not None:
        payload, flags = small, int(Flag.ZSTD)
    fields = (
        first_lsn, time, durable_lsn, epoch, count, len(payload), prev_crc, raw, len(notes),
        kind, flags, width, 0, length,
    )  # fmt: skip
    checked = _CHECKED.pack(*fields)
    crc = crc32c(payload, crc32c(checked, seed))
    return _UNCHECKED.pack(MAGIC, crc) + checked, payload, crc


def read_header(view: memoryview, offset: int, seed: int) -> Header:
    """The header of the frame at `offset`, with its whole frame checked.

    Raises:
        BadFrame: not a valid frame of this segment.
        UnknownFormat: valid, but of a kind or with a flag that this version doesn't know.
    """
    if offset + HEADER_BYTES > len(view):
        raise BadFrame("the file ends inside a frame header")
    header = Header(*HEADER.unpack_from(view, offset))
    if header.magic != MAGIC:
        blank = not any(view[offset : offset + HEADER_BYTES])
        raise BadFrame("no frame here" if blank else "no frame begins here (bad magic)")
    end = offset + HEADER_BYTES + header.stored
    if end > len(view) or header.stored > MAX_FRAME_BYTES:
        raise BadFrame(f"the frame says it is {header.stored} bytes long, past the end of the file")
    if crc32c(view[offset + CHECKED_FROM : end], seed) != header.crc:
        raise BadFrame("the checksum does not match")
    _check_known(header)
    return header


def _check_known(header: Header) -> None:
    """A frame whose checksum is right was written like this: what is odd here is new, not broken."""
    if header.kind not in (Kind.RECORDS, Kind.SEAL) or header.flags & ~_KNOWN_FLAGS:
        raise UnknownFormat(
            f"the frame at LSN {header.first_lsn} has kind {header.kind} and flags "
            f"{header.flags:#x}, which this Walnut does not know: use the newer one that wrote it"
        )
    if header.flags & Flag.ENCRYPTED:
        raise UnknownFormat(
            f"the frame at LSN {header.first_lsn} is encrypted, and this Walnut has no key for frames"
        )
    column = header.count * header.width
    data = header.raw - column - header.notes
    sane = (
        header.width in (0, 1, 2, 4)
        and header.raw <= MAX_FRAME_BYTES
        and header.first_lsn + header.count <= MAX_LSN
        and (header.flags & Flag.ZSTD or header.raw == header.stored)
        and (header.kind == Kind.SEAL or data >= 0)
        and (header.kind == Kind.SEAL or header.width or data == header.count * header.length)
    )
    if not sane:
        raise BadFrame("the header contradicts itself")


def read_frame(view: memoryview, offset: int, seed: int) -> Frame:
    """The frame at `offset`, checked whole. Raises as `read_header` does."""
    header = read_header(view, offset, seed)
    payload = view[offset + HEADER_BYTES : offset + HEADER_BYTES + header.stored]
    if header.flags & Flag.ZSTD:
        payload = memoryview(_decompress(payload, header.raw))
    if header.width and sum(lengths(header, payload)) != (
        header.raw - header.count * header.width - header.notes
    ):
        raise BadFrame("the record lengths do not add up")
    return Frame(header, payload)


def _decompress(payload: memoryview, raw: int) -> bytes:
    try:
        if zstandard.frame_content_size(payload) != raw:
            raise BadFrame("the compressed payload states another length than the header")
        return zstandard.ZstdDecompressor().decompress(payload)
    except zstandard.ZstdError as error:
        raise BadFrame(f"the payload does not decompress ({error})") from error
