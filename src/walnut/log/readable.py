"""`Readable`: what `Log` and `LogReader` have in common, which is everything that only reads.

What must stay true: nothing here knows who writes; all it knows is a `Position`, asked for anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator

from walnut.log.commit import refuse_event_loop
from walnut.log.disk import Directory
from walnut.log.frame import Frame
from walnut.log.model import MAX_LSN, Record, check_lsn
from walnut.log.reader import Position, Reader
from walnut.log.segment import Index, Segment
from walnut.log.tail import atail, tail


class Readable(ABC):
    """A log to read from. Each iterator is for one thread; make as many as you like."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    @property
    def directory(self) -> Directory:
        """Where the files are, for what works on them directly (`archive`)."""
        return self._directory

    @abstractmethod
    def position(self) -> Position:
        """What may be read now. Raises LogClosed."""

    @abstractmethod
    def segments(self) -> list[Segment]:
        """The segment files, oldest first."""

    @abstractmethod
    def live_index(self, segment: Segment) -> Index | None:
        """The index that the writer keeps of `segment`, if it is active and the writer is here."""

    @abstractmethod
    def wait_for(self, lsn: int, timeout: float | None = None) -> bool:
        """Block until `lsn` is durable: True; False after `timeout` seconds, or once the log is
        closed. Raises LogFailed."""

    @abstractmethod
    async def await_for(self, lsn: int, timeout: float | None = None) -> bool:
        """`wait_for` for coroutines."""

    def read(self, start: int | None = None, stop: int | None = None) -> Iterator[Record]:
        """The durable records from `start` (the first, if None) up to, not with, `stop`, as far
        as they are durable now.

        Raises LsnTruncated, LsnUnknown, LogCorrupt, LogClosed, InvalidOption."""
        if stop is not None:
            check_lsn(stop)
        begin = self.position().first_lsn if start is None else check_lsn(start)
        return Reader(self._directory, self).read(begin, stop)

    def read_frames(self, start: int | None = None) -> Iterator[Frame]:
        """The durable frames from the one that holds `start`: `frame.first_lsn`, `frame.time`,
        `frame.records()`. The fastest way through a log; the first may begin before `start`.

        Raises as `read`."""
        begin = self.position().first_lsn if start is None else check_lsn(start)
        return Reader(self._directory, self).frames(begin, MAX_LSN)

    def tail(self, start: int | None = None, *, timeout: float | None = None) -> Iterator[Record]:
        """Records from `start` (the next one, if None) as they become durable. Ends when the log
        is closed, or when none comes for `timeout` seconds. Raises as `read`, and LogFailed."""
        refuse_event_loop("tail", "`async for record in log.atail()`")
        begin = self.position().durable_lsn + 1 if start is None else check_lsn(start)
        return tail(Reader(self._directory, self), self, begin, timeout)

    def atail(
        self, start: int | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[Record]:
        """`tail` for coroutines."""
        begin = self.position().durable_lsn + 1 if start is None else check_lsn(start)
        return atail(Reader(self._directory, self), self, begin, timeout)
