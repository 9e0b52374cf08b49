"""`LogReader`: the log of another process, read and followed through its files alone.

It takes no lock and writes nothing, except slots. What must stay true: it shows nothing past the
DURABLE mark. Where there is no usable mark (a power cut took it, or the log was just cut back), it
falls back to what the frames themselves state to be durable, which is older, never newer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType
from typing import Self

from walnut.log.control import (
    CONTROL,
    DURABLE,
    NO_MARK,
    Control,
    Mark,
    read_control,
    read_mark,
)
from walnut.log.disk import File, StrPath
from walnut.log.errors import DiskError, LogClosed, LsnTruncated, NotALog, disk_errors
from walnut.log.log import stat_sealed
from walnut.log.model import LogOptions, LogStat, SegmentStat, SlotStat, check_lsn
from walnut.log.opening import check_is_log, check_path, find_directory
from walnut.log.readable import Readable
from walnut.log.reader import LOOKS, Gone, Position, open_segment
from walnut.log.recovery import begin_chain, follow_chain
from walnut.log.segment import Index, Segment, sort_segments
from walnut.log.slots import Slot, slot_lsns
from walnut.log.tail import poll_delays
from walnut.log.truncate import live_segments


class LogReader(Readable):
    """A log that is, or was, written elsewhere. `read`, `read_frames`, `tail`, `atail`, `slot`,
    `stat` and the LSNs are those of `walnut.Log`.

    Raises NotALog, LogCorrupt, UnknownFormat."""

    def __init__(self, path: StrPath, options: LogOptions | None = None) -> None:
        self.path = check_path(path)
        super().__init__(find_directory(self.path, options or LogOptions(), create=False))
        names = self._directory.names()
        check_is_log(self.path, names, has_control=CONTROL in names)
        self._closed = False
        self._mark_file: File | None = None
        self._stated: tuple[Segment, int] | None = None
        self._seen = Position(0, 0, -1)
        self._control()

    # -- the ends -------------------------------------------------------------------------------

    @property
    def first_lsn(self) -> int:
        """See `Log.first_lsn`."""
        return self._control().first_lsn

    @property
    def durable_lsn(self) -> int:
        """See `Log.durable_lsn`."""
        return self.position().durable_lsn

    @property
    def next_lsn(self) -> int:
        """The LSN after the last one that can be read."""
        return self.durable_lsn + 1

    @property
    def epoch(self) -> int:
        """See `Log.epoch`."""
        return self._control().epoch

    @property
    def log_id(self) -> str:
        """See `Log.log_id`."""
        return self._control().log_id

    def position(self) -> Position:
        """What may be read now. Raises LogClosed."""
        control = self._control()
        mark = self._read_mark()
        durable = control.first_lsn - 1
        if mark.epoch >= control.fence and mark is not NO_MARK:
            durable = max(durable, mark.lsn)
        elif control.clean is not None:
            durable = max(durable, control.clean.next_lsn - 1)
        else:
            durable = max(durable, self._stated_lsn())
        if control.cutting is not None:
            durable = min(durable, control.cutting)
        if (
            control.fence == self._seen.generation
        ):  # the mark may be torn, or its file not there yet
            durable = max(durable, self._seen.durable_lsn)
        self._seen = Position(control.first_lsn, durable, control.fence)
        return self._seen

    def _control(self) -> Control:
        if self._closed:
            raise LogClosed(f"this reader of {self.path} was closed: make another to go on")
        with disk_errors(f"reading {self.path}"):
            control = read_control(self._directory)
        if control is None:
            raise NotALog(f"{self.path} holds no log (yet): open it with walnut.Log first")
        return control

    def _read_mark(self) -> Mark:
        if self._mark_file is None:
            try:
                self._mark_file = self._directory.open(DURABLE)
            except FileNotFoundError:
                return NO_MARK
        with disk_errors(f"reading {self.path}"):
            return read_mark(self._mark_file)

    def _stated_lsn(self) -> int:
        """What the frames of the last segment state to be durable."""
        segments = self.segments()
        if not segments:
            return 0
        segment = segments[-1]
        if self._stated is None or self._stated[0] != segment:
            view, header = open_segment(self._directory, segment, copy=True)
            chain = follow_chain(view, header.seed, begin_chain(header))
            self._stated = segment, max(chain.durable, segment.first_lsn - 1)
        return self._stated[1]

    def segments(self) -> list[Segment]:
        """The segment files, oldest first."""
        return sort_segments(self._directory.names())

    def live_index(self, segment: Segment) -> Index | None:
        """None: the writer's index is in another process."""
        del segment
        return None

    # -- for readers -----------------------------------------------------------------------------

    def wait_for(self, lsn: int, timeout: float | None = None) -> bool:
        """See `Log.wait_for`; looks at the mark every 20 ms at the most."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for delay in poll_delays():
            if self._closed or self.durable_lsn >= lsn:
                break
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(delay)
        return not self._closed

    async def await_for(self, lsn: int, timeout: float | None = None) -> bool:
        """See `Log.await_for`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for delay in poll_delays():
            if self._closed or self.durable_lsn >= lsn:
                break
            if deadline is not None and time.monotonic() >= deadline:
                return False
            await asyncio.sleep(delay)
        return not self._closed

    def slot(self, name: str, start: int | None = None) -> Slot:
        """See `Log.slot`."""
        slot = Slot(self._directory, name)
        slot.create(max(self.first_lsn, 1 if start is None else check_lsn(start)))
        return slot

    def existing_slot(self, name: str) -> Slot:
        """The named slot, which is not made if it is not there: using it then raises SlotLost."""
        return Slot(self._directory, name)

    # -- about the log --------------------------------------------------------------------------

    def stat(self) -> LogStat:
        """See `Log.stat`."""
        for _ in range(LOOKS):
            with contextlib.suppress(Gone, LsnTruncated):  # truncated under our eyes: look again
                return self._stat()
        raise DiskError(f"{self.path} changes faster than it can be looked at: try again")

    def _stat(self) -> LogStat:
        control, position = self._control(), self.position()
        segments = live_segments(self.segments(), control.first_lsn)
        stats = [stat_sealed(self._directory, segment) for segment in segments[:-1]]
        stats += [self._stat_active(segment, position) for segment in segments[-1:]]
        return LogStat(
            path=self.path,
            log_id=control.log_id,
            epoch=control.epoch,
            first_lsn=position.first_lsn,
            next_lsn=position.durable_lsn + 1,
            durable_lsn=position.durable_lsn,
            bytes=sum(stat.bytes for stat in stats),
            segments=stats,
            slots=[
                SlotStat(name, at, max(0, position.durable_lsn + 1 - at))
                for name, at in slot_lsns(self._directory).items()
            ],
        )

    def _stat_active(self, segment: Segment, position: Position) -> SegmentStat:
        durable = position.durable_lsn
        seen = durable >= max(segment.first_lsn, position.first_lsn)
        last_time = max((r.time for r in self.read(durable)), default=0) if seen else 0
        size = len(open_segment(self._directory, segment)[0])
        return SegmentStat(
            segment.name, segment.first_lsn, durable + 1, size, last_time, sealed=False
        )

    def close(self) -> None:
        """Let go of the files; tails end."""
        self._closed = True
        if self._mark_file is not None:
            self._mark_file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
