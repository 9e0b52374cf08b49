"""The end of the log: frames go out here, and segments follow one another.

    spare ──activate──▶ active ──seal──▶ sealed ──recycle──▶ spare

What must stay true: the `Writer` is only ever entered by one thread at a time (the leader of the
current flush, see `commit`), nothing is durable before `sync` says so, and what `sync` could not
write is never tried again: after a failure the pages in memory no longer tell what the disk holds.
Room for a segment is taken while the one before it is being filled, so that a full disk is met by
preparation and not by a commit.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

import msgspec

from walnut.log.control import SPARE, write_mark
from walnut.log.disk import Directory, File, write_fully, write_zeros
from walnut.log.errors import NO_SPACE, LogFull
from walnut.log.frame import HEADER_BYTES as FRAME_HEADER_BYTES
from walnut.log.frame import encode
from walnut.log.metrics import Metrics
from walnut.log.model import LogOptions
from walnut.log.producers import Note, Producers, pack_notes
from walnut.log.segment import HEADER_BYTES, Index, Seal, Segment, SegmentHeader, seal_frame


class End(msgspec.Struct, kw_only=True):
    """Where the next frame goes. Made by recovery or by a roll, moved on by each frame.

    Attributes:
        segment, header, file: the active segment, its header, and its file open for writing.
        capacity: bytes allocated to the file.
        offset: of the next frame.
        next_lsn: of the next record.
        prev_crc: checksum of the last frame.
        first_time, last_time: of the segment's first and of the log's last frame, ns; 0 for none.
        index: of this segment.
    """

    segment: Segment
    header: SegmentHeader
    file: File
    capacity: int
    offset: int
    next_lsn: int
    prev_crc: int
    first_time: int = 0
    last_time: int = 0
    index: Index = msgspec.field(default_factory=Index)


class Spare(msgspec.Struct, frozen=True):
    """A file that is ready to become the next segment: all zeros, or the remains of a truncated
    segment, which no checksum of the next one can match."""

    file: File
    size: int
    recycled: bool


class Writer:
    """Writes frames at the end of the log, syncs them, and rolls segments."""

    def __init__(
        self,
        directory: Directory,
        options: LogOptions,
        *,
        epoch: int,
        end: End,
        mark: File,
        producers: Producers,
        metrics: Metrics,
    ) -> None:
        self.end = end
        self.epoch = epoch
        self.producers = producers
        self.durable_lsn = end.next_lsn - 1
        self._directory = directory
        self._options = options
        self._mark = mark
        self._metrics = metrics
        self._spare: Spare | None = None
        self._spare_lock = threading.Lock()

    @property
    def written_lsn(self) -> int:
        """The last LSN handed to the operating system."""
        return self.end.next_lsn - 1

    def write(self, records: Sequence[bytes], notes: list[Note]) -> None:
        """Write one frame with these records, not yet durable.

        Raises:
            LogFull: no room, and nothing was written.
            OSError: the disk failed; what it holds now is unknown.
        """
        time = max(self._options.clock(), self.end.last_time)
        header, payload, crc = self._encode(records, notes, time)
        if self.end.offset + len(header) + len(payload) > self.end.capacity:
            self._roll(len(header) + len(payload))
            header, payload, crc = self._encode(records, notes, time)
        end = self.end
        offset = write_fully(end.file, [header, payload], end.offset)
        end.index.add(end.next_lsn, end.offset)
        end.prev_crc = crc
        end.first_time = end.first_time or time
        end.last_time = time
        end.offset = offset
        end.next_lsn += len(records)
        self._metrics.frames += 1
        self._metrics.frame_bytes += FRAME_HEADER_BYTES + len(payload)

    def _encode(
        self, records: Sequence[bytes], notes: list[Note], time: int
    ) -> tuple[bytes, bytes, int]:
        end = self.end
        return encode(
            records,
            first_lsn=end.next_lsn,
            time=time,
            durable_lsn=self.durable_lsn,
            epoch=self.epoch,
            prev_crc=end.prev_crc,
            seed=end.header.seed,
            notes=pack_notes(notes),
            compress=self._options.compression == "zstd",
        )

    def sync(self) -> int:
        """Make all that was written durable and say so in the mark; returns the durable LSN.

        Raises OSError: nothing since the last sync is known to be durable, and won't ever be."""
        written = self.written_lsn
        self.end.file.sync()
        self._metrics.syncs += 1
        self.durable_lsn = written
        write_mark(self._mark, self.epoch, written)
        return written

    def _roll(self, need: int) -> None:
        """Seal the active segment and begin the next, with room for a frame of `need` bytes.

        Raises LogFull with nothing changed."""
        table = len(self.producers.pack(self.end.next_lsn))
        size = max(self._options.segment_bytes, 2 * HEADER_BYTES + table + need)
        with _room_for(f"the next segment of {size} bytes"):
            self._ensure_spare(size)
        self.seal(trim=True)
        self._activate_spare()
        self._metrics.rolls += 1

    def seal(self, *, trim: bool) -> None:
        """Write the SEAL frame after the last frame, durably; `trim` cuts the file behind it.

        Raises:
            LogFull: no room, and the log still ends where it did.
            OSError: the disk failed, which a sync also says with ENOSPC (on thin volumes, over
                quota): what was written before is no less lost for that.
        """
        end = self.end
        lsns, offsets = end.index.columns()
        seal = Seal(
            first_lsn=end.header.first_lsn,
            next_lsn=end.next_lsn,
            first_time=end.first_time,
            last_time=end.last_time,
            prev_crc=end.prev_crc,
            index_lsns=lsns,
            index_offsets=offsets,
            producers=self.producers.pack(end.next_lsn),
        )
        self.sync()
        frame = seal_frame(seal, end.offset, end.header.seed, epoch=self.epoch)
        with _room_for("the seal of a segment"):
            offset = write_fully(end.file, [frame], end.offset)
        if trim:
            end.file.truncate(offset)
        end.file.sync()

    def _activate_spare(self) -> None:
        # The lock is held to the end: while the spare is getting its name, no other may be made.
        with self._spare_lock:
            assert self._spare is not None
            self._begin(self._spare)
            self._spare = None

    def _begin(self, spare: Spare) -> None:
        old = self.end
        segment = Segment(old.segment.number + 1, old.next_lsn)
        header = SegmentHeader(
            log_id=old.header.log_id,
            number=segment.number,
            first_lsn=segment.first_lsn,
            created=self._options.clock(),
            epoch=self.epoch,
            prev_crc=old.prev_crc,
            recycled=spare.recycled,
            producers=self.producers.pack(old.next_lsn),
        )
        begin_segment(self._directory, spare.file, segment, header)
        old.file.close()
        self.end = End(
            segment=segment,
            header=header,
            file=spare.file,
            capacity=spare.size,
            offset=header.start,
            next_lsn=old.next_lsn,
            prev_crc=old.prev_crc,
            last_time=old.last_time,
        )

    def wants_spare(self) -> bool:
        """The active segment is half full and nothing is ready to follow it."""
        return self._spare is None and self.end.offset * 2 > self.end.capacity

    def prepare_spare(self) -> None:
        """Have the next segment's file ready. Raises OSError when there is no room."""
        self._ensure_spare(self._options.segment_bytes)

    def _ensure_spare(self, size: int) -> None:
        with self._spare_lock:
            if self._spare is not None and self._spare.size < size:
                self._spare.file.close()
                self._spare = None
            if self._spare is None:
                self._spare = Spare(
                    make_spare(self._directory, size, zeroed=size), size, recycled=False
                )

    def recycle(self, segment: Segment) -> bool:
        """Make a truncated segment the spare; False where it can't be: there is a spare already,
        or a reader still has the file mapped."""
        with self._spare_lock:
            if self._spare is not None:
                return False
            file = self._directory.open(segment.name, write=True)
            if not file.lock(exclusive=True):
                file.close()
                return False
            size = self._options.segment_bytes
            try:
                # A reader that opened the file just before this finds no header, and looks again.
                write_fully(file, [bytes(HEADER_BYTES)], 0)
                file.truncate(min(size, file.size()))
                file.allocate(size)
            except OSError as error:
                file.close()
                if error.errno in NO_SPACE:
                    return False
                raise
            self._directory.rename(segment.name, SPARE)
            self._spare = Spare(file, size, recycled=True)
            self._metrics.recycled += 1
            return True

    def restart(self, epoch: int, end: End, producers: Producers) -> None:
        """Go on at another end, found after `release_segments`, as another epoch."""
        self.epoch = epoch
        self.end = end
        self.producers = producers
        self.durable_lsn = end.next_lsn - 1
        write_mark(self._mark, epoch, self.durable_lsn)

    def release_segments(self) -> None:
        """Let go of the active segment and the spare."""
        with self._spare_lock:
            if self._spare is not None:
                self._spare.file.close()
                self._spare = None
                with contextlib.suppress(FileNotFoundError):
                    self._directory.remove(SPARE)
        self.end.file.close()

    def close(self) -> None:
        """Let go of all files."""
        self.release_segments()
        self._mark.close()


@contextlib.contextmanager
def _room_for(what: str) -> Iterator[None]:
    """Raises LogFull where the block meets a full disk. Not for syncs: see `Writer.seal`."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise LogFull(
            f"no room for {what} ({error.strerror}): "
            "free space on the log's disk or truncate the log; nothing was written"
        ) from error


def make_spare(directory: Directory, size: int, *, zeroed: int) -> File:
    """A file of zeros, allocated and synced, under the name SPARE; the first `zeroed` bytes are
    written, the others only reserved. Raises OSError."""
    file = directory.create(SPARE)
    try:
        file.allocate(size)
        write_zeros(file, 0, min(zeroed, size))
        file.sync()
    except OSError:
        file.close()
        directory.remove(SPARE)
        raise
    return file


def begin_segment(
    directory: Directory, file: File, segment: Segment, header: SegmentHeader
) -> None:
    """Turn the spare into `segment`, durably: first the header, then the name."""
    write_fully(file, [header.pack()], 0)
    file.sync()
    directory.rename(SPARE, segment.name)
    directory.sync()
    file.lock(exclusive=False)
