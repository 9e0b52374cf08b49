"""What the machine itself can do: the bare disk, memory, and threads that wake each other."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path

from bench.measure import in_threads, rate

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


def thread_wakes(threads: int, each: int) -> float:
    """Wakes a second when the last thread to arrive wakes all the others, and nothing else is
    done: what the interpreter lets threads do that wait for each other, with no disk at all."""
    lock = threading.Lock()
    asleep: list[threading.Lock] = []

    def work(_: int) -> None:
        for _ in range(each):
            mine = threading.Lock()
            mine.acquire()
            with lock:
                asleep.append(mine)
                everybody = asleep[:] if len(asleep) == threads else []
                if everybody:
                    asleep.clear()
            for sleeper in everybody:
                sleeper.release()
            mine.acquire()

    return rate(threads * each, lambda: in_threads(threads, work))
