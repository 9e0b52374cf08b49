"""A frame that follows another one than the one before it is not taken, however right it is otherwise."""

from __future__ import annotations

import pytest

from walnut.log import frame
from walnut.log.recovery import Chain, follow_chain

SEED = 7


def made(first_lsn: int, prev_crc: int) -> tuple[bytes, int]:
    """A frame of two records, and its checksum."""
    header, payload, crc = frame.encode(
        [b"one", b"two"],
        first_lsn=first_lsn,
        time=1,
        durable_lsn=0,
        epoch=1,
        prev_crc=prev_crc,
        seed=SEED,
    )
    return header + payload, crc


@pytest.mark.parametrize(("off", "taken"), [(0, 3), (1, 2)])
def test_the_checksum_of_the_frame_before_decides(off: int, taken: int) -> None:
    """LSN, epoch, seed and its own checksum fit: only who it says it follows may be wrong."""
    first, first_crc = made(1, 0)
    second, second_crc = made(3, first_crc)
    third, _ = made(5, second_crc + off & 0xFFFFFFFF)
    view = memoryview(first + second + third + bytes(64))
    chain = follow_chain(view, SEED, Chain(offset=0, next_lsn=1, prev_crc=0, epoch=1))
    assert chain.frames == taken
    assert chain.next_lsn == 1 + 2 * taken
    assert ("does not follow" in chain.problem) == bool(off)
