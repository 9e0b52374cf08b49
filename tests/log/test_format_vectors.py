"""The worked examples in docs/log-format.md are what the code writes and reads, bit for bit."""

from pathlib import Path

import pytest

from walnut.log import control
from walnut.log.errors import UnknownFormat
from walnut.log.frame import BadFrame, encode, read_frame
from walnut.log.producers import pack_notes, unpack_notes
from walnut.log.segment import Segment, SegmentHeader, read_header
from walnut.testing import SimDisk

SPEC = (Path(__file__).parents[2] / "docs" / "log-format.md").read_text()
UNEQUAL, NOTES, MARK = (
    bytes.fromhex(block) for block in SPEC.split("```")[1::2] if not block.strip().startswith("|")
)
SEED = 7


def test_a_frame_of_unequal_records() -> None:
    header, payload, _ = encode(
        [b"a", b"bcd", b""], first_lsn=1, time=5, durable_lsn=0, epoch=1, prev_crc=0, seed=SEED
    )
    assert header + payload == UNEQUAL
    frame = read_frame(memoryview(UNEQUAL), 0, SEED)
    assert [(r.lsn, r.time, bytes(r.data)) for r in frame.views()] == [
        (1, 5, b"a"),
        (2, 5, b"bcd"),
        (3, 5, b""),
    ]


def test_a_frame_of_equal_records_with_a_note() -> None:
    header, payload, _ = encode(
        [b"abc", b"abc"],
        first_lsn=4,
        time=6,
        durable_lsn=3,
        epoch=1,
        prev_crc=0,
        seed=SEED,
        notes=pack_notes([(0, "p", 9)]),
    )
    assert header + payload == NOTES
    frame = read_frame(memoryview(NOTES), 0, SEED)
    assert list(frame.records()) == [b"abc", b"abc"]
    assert unpack_notes(frame.notes) == [(0, "p", 9)]


def test_the_durable_mark() -> None:
    directory = SimDisk().directory("d", create=True)
    file = directory.create("DURABLE")
    control.write_mark(file, 3, 99)
    assert file.read(100, 0) == MARK
    assert control.read_mark(file) == control.Mark(3, 99)


@pytest.mark.parametrize("vector", [UNEQUAL, NOTES])
def test_every_flipped_bit_is_refused(vector: bytes) -> None:
    for bit in range(len(vector) * 8):
        broken = bytearray(vector)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadFrame):
            read_frame(memoryview(bytes(broken)), 0, SEED)
    for size in range(len(vector)):
        with pytest.raises(BadFrame):
            read_frame(memoryview(vector[:size]), 0, SEED)
    with pytest.raises(BadFrame):
        read_frame(memoryview(vector), 0, SEED + 1)


@pytest.mark.parametrize(("offset", "value"), [(56, 3), (57, 4), (57, 2)])
def test_an_unknown_kind_or_flag_is_refused_as_new_and_not_as_broken(
    offset: int, value: int
) -> None:
    from crc32c import crc32c

    future = bytearray(UNEQUAL)
    future[offset] = value
    future[4:8] = crc32c(bytes(future[8:]), SEED).to_bytes(4, "little")
    with pytest.raises(UnknownFormat):
        read_frame(memoryview(bytes(future)), 0, SEED)


def test_a_segment_header_round_trips_and_a_future_one_is_refused() -> None:
    header = SegmentHeader(bytes(16), 7, 123, 5, 2, 99, recycled=True, producers=b"x" * 5000)
    packed = header.pack()
    assert len(packed) == header.start == 8192
    assert read_header(Segment(7, 123), memoryview(packed)) == header
    future = bytearray(packed)
    future[12] = 2
    with pytest.raises(UnknownFormat, match="version 2"):
        read_header(Segment(7, 123), memoryview(bytes(future)))
