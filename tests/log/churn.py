"""A writer that truncates, rolls and recycles, to read against."""

import random

from tests.log.children import payload
from walnut.log import Log, LogOptions

QUIET = LogOptions(segment_bytes=16 * 1024, background=False)


def churn(log: Log, count: int, rng: random.Random, keep: int = 250) -> None:
    """Append, roll, truncate and so recycle. Each record can be told from its LSN."""
    for _ in range(count):
        first = log.next_lsn
        size = rng.randrange(1, 8)
        assert log.append_many([payload(0, first + n) for n in range(size)]) == first
        if rng.random() < 0.1:
            log.truncate_before(max(1, log.durable_lsn - rng.randrange(20, keep)))
