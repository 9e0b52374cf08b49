"""A step function: how much is used along a line, as the places where that changes.

    used  2 |      ┌──┐
          1 |  ┌───┘  └─────┐        times   [ 2, 6, 9, 16 ]
          0 |──┘            └──      levels  [ 1, 2, 1,  0 ]
             0 2   6  9     16

One shape for all that is booked: a doctor's day (levels 0 and 1), a pool of cars (up to so many), the
nights of a room type, a row of seats (where a place on the line is a seat).

What must stay true: times ascend, no two neighbouring levels are equal, the last level is 0 and no
level is below it; so what was added and taken away again leaves no trace.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Steps:
    """Levels along a line, 0 before the first time and after the last."""

    __slots__ = ("levels", "times")

    def __init__(self, times: bytes = b"", levels: bytes = b"") -> None:
        """From what `pack` gave."""
        self.times = _array("q", times)
        self.levels = _array("i", levels)

    def pack(self) -> tuple[bytes, bytes]:
        """Times and levels as bytes: little-endian, 8 and 4 each."""
        return _bytes(self.times), _bytes(self.levels)

    def peak(self, start: int, stop: int) -> int:
        """The highest level anywhere in [start, stop). O(log n + steps inside)."""
        times, levels = self.times, self.levels
        at = bisect_right(times, start)
        most = levels[at - 1] if at else 0
        end = len(times)
        while at < end and times[at] < stop:
            most = max(most, levels[at])
            at += 1
        return most

    def add(self, start: int, stop: int, units: int) -> None:
        """Raise the levels in [start, stop), or lower them if `units` is negative."""
        assert start < stop, "an interval has a length"
        times, levels = self.times, self.levels
        first = self._cut(start)
        last = self._cut(stop)
        for at in range(first, last):
            levels[at] += units
            assert levels[at] >= 0, "nothing is given back that was not taken"
        for at in (last, first):
            if levels[at] == (levels[at - 1] if at else 0):
                del times[at], levels[at]

    def _cut(self, time: int) -> int:
        """Where a step at this time is; made if there is none."""
        times, levels = self.times, self.levels
        at = bisect_left(times, time)
        if at == len(times) or times[at] != time:
            times.insert(at, time)
            levels.insert(at, levels[at - 1] if at else 0)
        return at

    def gaps(self, start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, stop), as long as they can be, in which the level is at most `most`."""
        times, levels = self.times, self.levels
        first = bisect_right(times, start)
        free = (levels[first - 1] if first else 0) <= most
        begin = start
        for at in range(first, bisect_left(times, stop)):
            fits = levels[at] <= most
            if fits is free:
                continue
            if free:
                yield begin, times[at]
            else:
                begin = times[at]
            free = fits
        if free and begin < stop:
            yield begin, stop


def _array(code: str, data: bytes) -> array[int]:
    made = array(code, data)
    if sys.byteorder == "big":
        made.byteswap()
    return made


def _bytes(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()
