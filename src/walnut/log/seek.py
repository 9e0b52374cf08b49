"""Finding a place in a log by time, by bisection: some twenty reads, however long the log is.

What must stay true: no record is read but those that are looked at; the answer is a place in the log as it
is now, though writers go on.
"""

from __future__ import annotations

from walnut.log.readable import Readable


def lsn_at(log: Readable, time: int) -> int:
    """The LSN of the first record written at this time (ns since the Unix epoch) or later; the next one,
    if there is none. Raises LsnTruncated if the log forgets meanwhile what is looked at."""
    position = log.position()
    low, high = position.first_lsn, position.durable_lsn + 1
    while low < high:
        middle = (low + high) // 2
        record = next(iter(log.read(middle, middle + 1)))
        low, high = (low, middle) if record.time >= time else (middle + 1, high)
    return low
