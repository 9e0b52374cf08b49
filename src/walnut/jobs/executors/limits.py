"""How much memory and processor time an attempt in a child process may use.

Memory is RLIMIT_DATA, set to what the process has plus what the attempt may have: it counts what is
allocated (the heap, private writable mappings), where RLIMIT_AS would count address space as well,
of which an innocent `import numpy` reserves gigabytes, and mapped files, which cost nothing. Over it,
allocation fails: MemoryError in Python, whatever a C library makes of it elsewhere. Linux only: other
systems do not enforce it.

Processor time is RLIMIT_CPU, in whole seconds, rounded up. Its signal is left to do what it does by
default, which is to end the process: so it works inside C code too, and no `except` gets around it.

What must stay true: only soft limits are changed, and put back, so that a child serves again.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from walnut.jobs.call import Limits
from walnut.jobs.errors import LimitExceeded
from walnut.jobs.outcome import Failure, Outcome, failure

LINUX: Final[bool] = sys.platform == "linux"
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MAXRSS_UNIT: Final = 1024 if LINUX else 1
_RESIDENT, _DATA = 1, 5  # fields of /proc/self/statm, in pages


@contextmanager
def within(limits: Limits) -> Iterator[None]:
    """Hold the process to these while an attempt runs."""
    data, cpu = (resource.getrlimit(one) for one in (resource.RLIMIT_DATA, resource.RLIMIT_CPU))
    try:
        if limits.memory_bytes is not None and LINUX:
            _lower(resource.RLIMIT_DATA, data, _pages()[_DATA] * PAGE + limits.memory_bytes)
        if limits.cpu_seconds is not None:
            _lower(resource.RLIMIT_CPU, cpu, math.ceil(time.process_time() + limits.cpu_seconds))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, cpu)
        resource.setrlimit(resource.RLIMIT_DATA, data)


def named(outcome: Outcome, limits: Limits) -> Outcome:
    """The outcome of an attempt within limits, with the limit named if that is what it ran into."""
    if limits.memory_bytes is None or not isinstance(outcome, Failure):
        return outcome
    if "MemoryError" not in outcome.kinds:
        return outcome
    exceeded = failure(LimitExceeded(f"it needed more than {limits.memory_bytes} bytes of memory"))
    return msgspec.structs.replace(
        exceeded, kinds=[*exceeded.kinds, *outcome.kinds], trace=outcome.trace
    )


def holds_over(limit: int) -> bool:
    """Whether this process has more memory than so many bytes. Asked after each attempt: 1 us, as long
    as it never had; the most it had may be its parent's, so that alone proves nothing."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT
    return most > limit and (not LINUX or _pages()[_RESIDENT] * PAGE > limit)


def _lower(which: int, now: tuple[int, int], to: int) -> None:
    hard = now[1]
    resource.setrlimit(which, (to if hard == resource.RLIM_INFINITY else min(to, hard), hard))


def _pages() -> list[int]:
    fd = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return [int(field) for field in os.read(fd, 256).split()]
    finally:
        os.close(fd)
