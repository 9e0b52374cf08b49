"""What the machine itself can do: the bare disk, and memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from bench.measure import rate

ZEROS = bytes(4 << 20)


def bare_disk(path: Path, size: int, count: int) -> float:
    """pwrite + fdatasync of `size` bytes one after another, into a file that was written with zeros."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        total = size * count + 4096
        for offset in range(0, total, len(ZEROS)):
            os.pwrite(fd, ZEROS[: total - offset], offset)
        os.fsync(fd)
        data = os.urandom(size)

        def work() -> None:
            for number in range(count):
                os.pwrite(fd, data, 4096 + number * size)
                os.fdatasync(fd)

        return rate(count, work)
    finally:
        os.close(fd)


def memory_copy(path: Path, size: int) -> float:
    """Bytes a second copied out of a warm mapping, 4 KiB at a time."""
    path.write_bytes(os.urandom(1 << 20) * (size >> 20))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        bytes(view)

        def work() -> None:
            for offset in range(0, size, 4096):
                bytes(view[offset : offset + 4096])

        speed = rate(size, work)
        view.release()
        return speed
