"""`Log`: the durable log, put together.

    Log ── GroupCommit ── Writer ── Directory         who flushes, what is written, where
     ├──── Reader, tail                               records back
     ├──── truncate, retention, slots                 forgetting
     └──── Flusher, Housekeeper                       threads

What must stay true: `durable_lsn` is raised only after a sync that covers it returned, and every
path by which a record leaves the log goes through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self, cast

import msgspec

from walnut.log.background import Flusher, Housekeeper
from walnut.log.commit import RECORD_COST, Batch, GroupCommit, Ticket, refuse_event_loop
from walnut.log.control import CleanEnd, Control, write_control
from walnut.log.disk import Directory, StrPath, on_fork
from walnut.log.errors import (
    InvalidOption,
    InvalidRecord,
    LogClosed,
    LogError,
    LogFailed,
    LogFull,
    LsnUnknown,
    RecordTooLarge,
    SlotLost,
    disk_errors,
)
from walnut.log.metrics import Flush, Metrics
from walnut.log.model import (
    Bytes,
    LogOptions,
    LogStat,
    Producer,
    Recovery,
    SegmentStat,
    SlotStat,
    check_lsn,
)
from walnut.log.opening import Opened, check_path, open_log
from walnut.log.readable import Readable
from walnut.log.reader import Position, open_segment
from walnut.log.recovery import find_end
from walnut.log.retention import decide
from walnut.log.segment import Index, Segment, read_seal
from walnut.log.slots import Slot, list_slots, slot_lsns
from walnut.log.tail import Arrivals
from walnut.log.truncate import droppable, finish_cut, prepare_cut
from walnut.log.writer import Writer


class Follower(Protocol):
    """Whoever folds the log as it grows. Called by the thread that flushes, one call at a time."""

    def durable(self, lsn: int) -> None:
        """Every record up to `lsn` is durable."""

    def refused(self, lsn: int) -> None:
        """The records from `lsn` on, none of them durable, are refused: the disk is full. Called
        under a lock of the log's, so it must not call the log."""


HOUSEKEEPING_SECONDS = 5.0
"""How often retention is looked at when nothing else calls for it."""


class Log(Readable):
    """A durable, ordered sequence of records, numbered from 1. Use it from any thread, and from
    any event loop; one process may have it open for writing at a time.

    Opening creates the directory, or recovers what is in it; `recovery` tells what that took.

    Raises:
        NotALog, LogLocked, LogCorrupt, UnknownFormat, LogFull: see `walnut.log.errors`.
    """

    def __init__(self, path: StrPath, options: LogOptions | None = None) -> None:
        self.options = options or LogOptions()
        self.path = check_path(path)
        self.metrics = Metrics()
        opened = open_log(self.path, self.options)
        self.recovery: Recovery = opened.recovery
        super().__init__(opened.directory)
        self._lock_file = opened.lock
        self._control: Control = opened.control
        self._segments: list[Segment] = opened.segments
        self._segments_lock = threading.Lock()
        self._admin = threading.RLock()
        self._arrivals = Arrivals()
        self._closed = False
        self._writer = self._make_writer(opened)
        self._durable = self._writer.durable_lsn
        self._follower: Follower | None = None
        self._when_over: list[Callable[[], object]] = []
        background = self.options.background
        self._flusher = Flusher(self._lead) if background else None
        self._commit = GroupCommit(
            self.options,
            next_lsn=self._durable + 1,
            producers=opened.found.producers,
            write=self._write,
            flusher=self._flusher,
            metrics=self.metrics,
            refused=self._tell_refused,
            stopped=self._tell_over,
        )
        seconds = (
            self.options.sync_seconds if self.options.sync == "interval" else HOUSEKEEPING_SECONDS
        )
        self._keeper = Housekeeper(self._keep, seconds) if background else None
        on_fork(self)
        self.housekeeping_error: LogError | None = None
        """What the housekeeper last met: a full disk while preparing, a directory it can't list."""

    def _make_writer(self, opened: Opened) -> Writer:
        return Writer(
            opened.directory,
            self.options,
            epoch=opened.control.epoch,
            end=opened.found.end,
            mark=opened.mark,
            producers=opened.found.producers,
            metrics=self.metrics,
        )

    # -- the ends -------------------------------------------------------------------------------

    @property
    def first_lsn(self) -> int:
        """LSN of the oldest record that was not truncated (or `next_lsn`, if there is none)."""
        return self._control.first_lsn

    @property
    def next_lsn(self) -> int:
        """The LSN that the next submitted record gets."""
        return self._commit.next_lsn

    @property
    def durable_lsn(self) -> int:
        """Every record up to this LSN is on disk. 0 for none."""
        return self._durable

    @property
    def failure(self) -> LogError | None:
        """Why nothing is accepted any more: LogFailed, LogClosed; None as long as it is."""
        return self._commit.failure

    @property
    def epoch(self) -> int:
        """Raised by every open for writing and by `truncate_after`."""
        return self._control.epoch

    @property
    def log_id(self) -> str:
        """32 hex digits that tell this log from all others."""
        return self._control.log_id

    # -- writing --------------------------------------------------------------------------------

    def append(self, data: Bytes, *, producer: Producer | None = None) -> int:
        """Append one record; returns its LSN once it is durable (as `options.sync` has it).

        With `producer`, a pair that was appended before is not appended again: the first LSN is
        returned.

        Raises:
            LogFull: no room; the record was not kept.
            LogFailed, LogClosed: the log accepts nothing.
            RecordTooLarge, InvalidRecord, StaleSequence: the record was refused.
        """
        refuse_event_loop("append", "`await log.submit(data)`")
        if producer is None:
            return self._commit.submit(self._accept(data), schedule=False).wait()
        return self._commit.submit_group([self._accept(data)], producer, schedule=False).wait()

    def append_many(self, records: Iterable[Bytes], *, producer: Producer | None = None) -> int:
        """Append a group that is there whole or not at all; returns the first record's LSN.

        Raises as `append`."""
        refuse_event_loop("append_many", "`await log.submit_many(records)`")
        ticket = self._commit.submit_group(self._accept_group(records), producer, schedule=False)
        return ticket.wait()

    def submit(
        self,
        data: Bytes,
        *,
        producer: Producer | None = None,
        at: int | None = None,
        defer: bool = False,
    ) -> Ticket:
        """Queue one record and return at once. `await` the ticket, or `wait` for it, or don't.

        With `at`, it is queued only if that is the LSN it gets: for those who decide from what the
        log held before it. With `defer`, its flush is left to whoever waits for the ticket,
        which had better do so at once.

        When the buffer is full a thread blocks until there is room. An event loop does not: there
        a coroutine that awaits its ticket is held back by that, and one that goes on submitting
        without awaiting is refused with BufferFull.

        Raises as `append`, BufferFull, and EndMoved."""
        if type(data) is not bytes or len(data) > self.options.record_bytes:
            data = self._accept(data)
        if producer is None:
            return self._commit.submit(data, at=at, schedule=not defer)
        return self._commit.submit_group([data], producer, at=at, schedule=not defer)

    def submit_many(self, records: Iterable[Bytes], *, producer: Producer | None = None) -> Ticket:
        """Queue a group that is there whole or not at all; the ticket has the first LSN.

        Raises as `submit`."""
        return self._commit.submit_group(self._accept_group(records), producer)

    def sync(self) -> int:
        """Flush and sync everything submitted so far, whatever the policy; returns `durable_lsn`.

        Raises LogFull if some of it was refused for lack of room; LogFailed, LogClosed."""
        refuse_event_loop("sync", "`await asyncio.to_thread(log.sync)`")
        with self._commit.exclusive():
            self._commit.flush_all()
            self._sync_written()
        self._arrivals.announce()
        return self._durable

    def _accept(self, data: Bytes) -> bytes:
        if not isinstance(data, bytes):
            if not isinstance(data, bytearray | memoryview):
                raise InvalidRecord(
                    f"a record is bytes, bytearray or memoryview, not {type(data).__name__}: encode it"
                )
            data = bytes(data)
        if len(data) > self.options.record_bytes:
            raise RecordTooLarge(
                f"the record has {len(data)} bytes and the log takes {self.options.record_bytes}: "
                "split it, or open the log with a larger record_bytes"
            )
        return data

    def _accept_group(self, records: Iterable[Bytes]) -> list[bytes]:
        single = isinstance(records, bytes | bytearray | memoryview | str)
        if single or not isinstance(records, Iterable):
            raise InvalidRecord("a group is a list of records; use append for a single one")
        given = list(records)
        if not given:
            raise InvalidRecord("a group has at least one record, and this one is empty")
        if set(map(type, given)) == {bytes} and max(map(len, given)) <= self.options.record_bytes:
            group = cast("list[bytes]", given)
        else:
            group = [self._accept(record) for record in given]
        size = sum(map(len, group))
        if size > self.options.buffer_bytes:
            raise RecordTooLarge(
                f"the group has {size} bytes and an atomic group at most "
                f"{self.options.buffer_bytes}: split it, or raise buffer_bytes"
            )
        return group

    def _lead(self) -> None:
        self._commit.lead()

    def _write(self, batch: Batch) -> None:
        """Write a batch as the policy wants. Called by the leader, one at a time."""
        started = time.perf_counter()
        writer = self._writer
        writer.write(batch.records, batch.notes)
        if writer.end.segment != self._segments[-1]:
            with self._segments_lock:
                self._segments = [*self._segments, writer.end.segment]
            if self._keeper is not None:
                self._keeper.nudge()
        elif self._keeper is not None and writer.wants_spare():
            self._keeper.nudge()
        written = synced = time.perf_counter()
        if self.options.sync == "always":
            writer.sync()
            synced = time.perf_counter()
        if writer.durable_lsn > self._durable:  # a roll syncs under every policy
            self._advance(writer.durable_lsn)
            self._arrivals.announce()
        metrics, count = self.metrics, len(batch.records)
        metrics.records += count
        metrics.bytes += batch.cost - RECORD_COST * count
        metrics.observe(
            Flush(
                count,
                1e6 * (written - started),
                1e6 * (synced - written),
                1e6 * (synced - started),
                1e6 * (synced - (batch.begun or started)),
            )
        )

    def _advance(self, lsn: int) -> None:
        if self._follower is not None:
            self._follower.durable(lsn)
        self._durable = lsn

    def _tell_refused(self, lsn: int) -> None:
        if self._follower is not None:
            self._follower.refused(lsn)

    def follow(self, follower: Follower) -> None:
        """Have `follower` told of every record that becomes durable or is refused, in order, before
        anyone who waits for it. One follower; what it raises stops the log as a failed sync does."""
        with self._commit.exclusive():
            self._follower = follower

    def when_over(self, function: Callable[[], object]) -> None:
        """Have `function()` called when the log was closed or has failed, perhaps more than once: for
        waking those who wait for what will not come. It is quick, and raises nothing."""
        self._when_over.append(function)

    def _tell_over(self) -> None:
        self._arrivals.announce()
        for function in self._when_over:
            function()

    def _sync_written(self) -> None:
        """Sync what was written, as the leader. Raises LogFailed, LogClosed."""
        if self._commit.failure is None and self._writer.written_lsn > self._durable:
            try:
                self._advance(self._writer.sync())
            except BaseException as error:
                self._commit.fail(error)
                if not isinstance(error, Exception):
                    raise
        if self._commit.failure is not None:
            raise self._commit.failure

    # -- for readers -----------------------------------------------------------------------------

    def position(self) -> Position:
        """What may be read now. Raises LogClosed."""
        if self._closed:
            raise LogClosed(f"{self.path} was closed: open it again to go on")
        control = self._control
        return Position(control.first_lsn, self._durable, control.fence)

    def segments(self) -> list[Segment]:
        """The segment files, oldest first."""
        return self._segments

    def live_index(self, segment: Segment) -> Index | None:
        """The index that the writer keeps of `segment`, if it is the active one."""
        end = self._writer.end
        return end.index if end.segment == segment else None

    def wait_for(self, lsn: int, timeout: float | None = None) -> bool:
        """Block until `lsn` is durable: True; False after `timeout` seconds, or once the log is
        closed. Raises LogFailed."""
        return self._arrivals.wait(lambda: self._ended(lsn), timeout) and not self._closed

    async def await_for(self, lsn: int, timeout: float | None = None) -> bool:
        """`wait_for` for coroutines."""
        arrived = await self._arrivals.async_wait(lambda: self._ended(lsn), timeout)
        return arrived and not self._closed

    def _ended(self, lsn: int) -> bool:
        if self._durable >= lsn or self._closed:
            return True
        if isinstance(self._commit.failure, LogFailed):
            raise self._commit.failure
        return False

    # -- forgetting -----------------------------------------------------------------------------

    def truncate_before(self, lsn: int) -> int:
        """Forget the records before `lsn`, as far as slots allow; returns the new `first_lsn`.

        Files go when nothing in them is needed. Raises LsnUnknown, InvalidOption, LogClosed."""
        refuse_event_loop("truncate_before", "`await asyncio.to_thread(log.truncate_before, lsn)`")
        check_lsn(lsn)
        with self._admin:
            self._check_writable()
            if lsn > self._durable + 1:
                raise LsnUnknown(
                    f"LSN {lsn} is past the next durable one, {self._durable + 1}: there is nothing "
                    "to forget there yet"
                )
            lsn = min([lsn, *slot_lsns(self._directory).values()])
            if lsn > self._control.first_lsn:
                with disk_errors(f"truncating {self.path}"):
                    self._set_control(first_lsn=lsn)
                    self._drop_segments(lsn)
            return self._control.first_lsn

    def _drop_segments(self, first_lsn: int) -> None:
        with self._segments_lock:
            gone = droppable(self._segments, first_lsn)
            self._segments = self._segments[len(gone) :]
        for segment in gone:
            if segment is not gone[-1] or not self._writer.recycle(segment):
                self._directory.remove(segment.name)
        if gone:
            self._directory.sync()
            self.metrics.removed += len(gone)

    def truncate_after(self, lsn: int) -> None:
        """Remove every record after `lsn`, under a new epoch. For rewinding a log whose end was
        never to be: readers that are past it get LsnUnknown, slots past it are moved back.

        Raises LsnUnknown, LsnTruncated, LogFailed, LogClosed."""
        refuse_event_loop("truncate_after", "`await asyncio.to_thread(log.truncate_after, lsn)`")
        if lsn != 0:
            check_lsn(lsn)
        with self._admin, self._commit.exclusive():
            self._check_writable()
            if self._follower is not None:
                raise InvalidOption(
                    "this log is folded into tables, which can't be taken back: restore them to "
                    f"LSN {lsn} from a backup instead of cutting the log after it"
                )
            self._commit.flush_all()
            self._sync_written()
            if not self.first_lsn - 1 <= lsn <= self._durable:
                raise LsnUnknown(
                    f"can't cut after LSN {lsn}: the log holds {self.first_lsn} to {self._durable}"
                )
            with disk_errors(f"cutting {self.path}"):
                prepare_cut(self._directory, lsn, self.options.segment_bytes)
            for slot in list_slots(self._directory):
                with contextlib.suppress(SlotLost):  # dropped meanwhile, perhaps by another process
                    slot.rewind(lsn + 1)
            try:
                self._cut(lsn)
            except OSError as error:
                self._commit.fail(error)
                self._check_writable()
            except BaseException as error:
                self._commit.fail(error)
                raise

    def _cut(self, lsn: int) -> None:
        epoch = self._control.epoch + 1
        self._durable = self._writer.durable_lsn = lsn
        self._set_control(epoch=epoch, fence=epoch, cutting=lsn)
        self._writer.release_segments()
        finish_cut(self._directory, lsn)
        with self._segments_lock:
            self._segments = [
                s for i, s in enumerate(self._segments) if not i or s.first_lsn <= lsn
            ]
        found = find_end(self._directory, self._segments, self._control, lsn, self.options)
        self._writer.restart(epoch, found.end, found.producers)
        self._commit.restart(lsn + 1, found.producers)
        self._set_control(cutting=None)

    def slot(self, name: str, start: int | None = None) -> Slot:
        """The named slot, made at `start` (the first LSN, if None) if it is not there yet.

        Raises InvalidOption for a name no file can have."""
        with self._admin:
            self._check_writable()
            slot = Slot(self._directory, name)
            slot.create(max(self.first_lsn, 1 if start is None else check_lsn(start)))
            return slot

    def housekeep(self) -> None:
        """What the housekeeper thread does every now and then: sync under the policy "interval",
        prepare the next segment's file, forget what retention says may go.

        Raises LogFull, DiskError, LogFailed, LogClosed."""
        if self.options.sync == "interval":
            with self._commit.exclusive():
                self._sync_written()
            self._arrivals.announce()
        with self._admin:
            self._check_writable()
            if self._writer.wants_spare():
                with disk_errors("preparing the next segment"):
                    self._writer.prepare_spare()
            if self.options.retention != type(self.options.retention)():
                self._retain()

    def _retain(self) -> None:
        stat = self.stat()
        decision = decide(stat.segments, stat.slots, self.options.retention, self.options.clock())
        for slot in decision.drop:
            with contextlib.suppress(LogError):  # dropped by hand meanwhile
                Slot(self._directory, slot.name).drop()
                self.metrics.slots_dropped += 1
        if decision.first_lsn > self.first_lsn:
            self.truncate_before(min(decision.first_lsn, self._durable + 1))

    def _keep(self) -> None:
        """One round of the housekeeper thread: what goes wrong is kept for people to see."""
        try:
            self.housekeep()
        except LogError as error:
            self.housekeeping_error = error
        else:
            self.housekeeping_error = None

    def _set_control(self, **changes: object) -> None:
        control = msgspec.structs.replace(self._control, **changes)
        write_control(self._directory, control)
        self._control = control

    def _check_writable(self) -> None:
        if self._commit.failure is not None:
            raise self._commit.failure

    # -- about the log --------------------------------------------------------------------------

    def stat(self) -> LogStat:
        """The log at a glance: its ends, segments and slots. Reads the seal of each segment."""
        self.position()
        with self._admin:
            segments = [self._stat_segment(segment) for segment in self._segments]
            slots = [
                SlotStat(name, at, max(0, self._durable + 1 - at))
                for name, at in slot_lsns(self._directory).items()
            ]
            return LogStat(
                path=self.path,
                log_id=self.log_id,
                epoch=self.epoch,
                first_lsn=self.first_lsn,
                next_lsn=self.next_lsn,
                durable_lsn=self._durable,
                bytes=sum(segment.bytes for segment in segments),
                segments=segments,
                slots=slots,
            )

    def _stat_segment(self, segment: Segment) -> SegmentStat:
        end = self._writer.end
        if end.segment == segment:
            first = segment.first_lsn
            return SegmentStat(
                segment.name, first, end.next_lsn, end.capacity, end.last_time, sealed=False
            )
        return stat_sealed(self._directory, segment)

    # -- closing --------------------------------------------------------------------------------

    def close(self) -> None:
        """Flush, sync, seal, and let go of the directory. Closing twice is nothing.

        Raises LogFailed if that fails, LogFull if the last records were refused for lack of room;
        the log is closed all the same."""
        with self._admin, self._commit.exclusive():
            if self._closed:
                return
            self._closed = True
            try:
                self._finish()
            finally:
                self._commit.stop(LogClosed(f"{self.path} was closed: open it again to go on"))
                self._writer.close()
                self._lock_file.close()
                self._tell_over()
        for thread in (self._keeper, self._flusher):
            if thread is not None:
                thread.stop()

    def _finish(self) -> None:
        try:
            self._commit.flush_all()
        finally:
            self._seal()

    def _seal(self) -> None:
        if self._commit.failure is not None:
            return
        self._sync_written()
        end = self._writer.end
        try:
            self._writer.seal(trim=False)
            with disk_errors(f"closing {self.path}"):
                self._set_control(clean=CleanEnd(end.segment.name, end.offset, end.next_lsn))
        except LogFull:
            return  # all is durable; the next open scans the last segment instead
        except OSError as error:
            self._commit.fail(error)
            raise self._commit.failure or error from error

    def after_fork(self) -> None:
        """In a forked child the log is closed: it belongs to the parent."""
        self._closed = True
        self._admin = threading.RLock()
        self._segments_lock = threading.Lock()
        self._commit.after_fork(
            LogClosed(
                f"{self.path} was opened before a fork: the log belongs to the parent process"
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"<walnut.Log {self.path!r} {self.first_lsn}..{self.durable_lsn}>"


def stat_sealed(directory: Directory, segment: Segment) -> SegmentStat:
    """What a sealed segment says of itself. Raises Gone, if it was truncated meanwhile."""
    view, header = open_segment(directory, segment)
    read = read_seal(view, header.seed)
    return SegmentStat(
        segment.name,
        segment.first_lsn,
        read[0].next_lsn if read else segment.first_lsn,
        len(view),
        read[0].last_time if read else 0,
        sealed=read is not None,
    )
