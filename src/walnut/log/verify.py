"""Checking every byte of a log, without a lock and without changing anything.

What must stay true: whatever a reader would refuse is found here, each place by itself, with the
LSNs it takes away; and what a crash may leave behind (a torn tail, a spare) is told from damage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec

from walnut.log.control import CONTROL, DURABLE, Control, read_control, read_mark
from walnut.log.disk import Directory, StrPath
from walnut.log.errors import LogCorrupt, NotALog, SlotLost, disk_errors
from walnut.log.frame import BadFrame, Header, read_frame
from walnut.log.model import FIRST_LSN, LogOptions
from walnut.log.opening import check_path, find_directory
from walnut.log.producers import unpack_notes
from walnut.log.reader import Gone, open_segment
from walnut.log.recovery import (
    Chain,
    begin_chain,
    follow_chain,
    later_frames,
    next_frame,
    torn_bytes,
)
from walnut.log.segment import Segment, read_seal, sort_segments
from walnut.log.slots import list_slots
from walnut.log.truncate import live_segments

SEAL_DAMAGED = "its seal is damaged; no record is lost, finding one in it takes longer"

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes there are."""


class Damage(msgspec.Struct, frozen=True):
    """One damaged place, and the LSNs it takes away: `last_lsn` is None when unknown, both are 0
    where no record is lost."""

    segment: str
    offset: int
    first_lsn: int
    last_lsn: int | None
    reason: str


class VerifyReport(msgspec.Struct, kw_only=True):
    """What was found. `torn_bytes` is the length of a tail that the next open will cut; it was
    never acknowledged and is no damage. The LSNs are those that CONTROL and the segments state."""

    segments: int = 0
    bytes: int = 0
    frames: int = 0
    records: int = 0
    first_lsn: int = FIRST_LSN
    next_lsn: int = FIRST_LSN
    torn_bytes: int = 0
    damages: list[Damage] = msgspec.field(default_factory=list)


def verify(
    path: StrPath,
    options: LogOptions | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Check every frame of every segment, the seals, CONTROL and the slots.

    A log that is being written is checked as far as it is durable.

    Raises:
        NotALog: nothing here is a log.
        UnknownFormat: a newer Walnut wrote it.
    """
    text = check_path(path)
    directory = find_directory(text, options or LogOptions(), create=False)
    with disk_errors(f"verifying {text}"):
        return Verifier(text, directory).run(progress)


class Verifier:
    """One pass over a log."""

    def __init__(self, path: str, directory: Directory) -> None:
        self.report = VerifyReport()
        self._path = path
        self._directory = directory
        self._expected: Chain | None = None
        """Where the segment before ended, which the next one has to continue."""

    def run(self, progress: Progress | None) -> VerifyReport:
        """Check all of it."""
        report = self.report
        control = self._check_small_files(has_segments=bool(sort_segments(self._directory.names())))
        durable = self._durable(control)
        segments = sort_segments(self._directory.names())  # after the mark: it may only have grown
        if control is not None:
            report.first_lsn = report.next_lsn = control.first_lsn
            segments = live_segments(segments, control.first_lsn)
        elif segments:
            report.first_lsn = segments[0].first_lsn
        created = control is None or control.epoch > 0
        if created and (not segments or segments[0].first_lsn > report.first_lsn):
            last = segments[0].first_lsn - 1 if segments else None
            where = segments[0].name if segments else CONTROL
            self._damaged(where, 0, report.first_lsn, last, "the segments from here on are missing")
        report.segments = len(segments)
        total = sum(self._size(segment) for segment in segments)
        for place, segment in enumerate(segments):
            end = segments[place + 1].first_lsn if place + 1 < len(segments) else None
            self._check_segment(segment, end, durable)
            if progress is not None:
                progress(report.bytes, total)
        return report

    def _size(self, segment: Segment) -> int:
        try:
            return self._directory.open(segment.name).size()
        except FileNotFoundError:  # truncated meanwhile
            return 0

    def _damaged(self, name: str, offset: int, first: int, last: int | None, reason: str) -> None:
        self.report.damages.append(Damage(name, offset, first, last, reason))

    def _check_small_files(self, *, has_segments: bool) -> Control | None:
        control = None
        try:
            control = read_control(self._directory)
            if control is None and not has_segments:
                raise NotALog(f"{self._path} holds no log")
            if control is None:
                self._damaged(CONTROL, 0, FIRST_LSN, None, "it is missing, and there are segments")
        except LogCorrupt as error:
            self._damaged(error.segment, 0, FIRST_LSN, None, error.reason)
        for slot in list_slots(self._directory):
            try:
                with contextlib.suppress(SlotLost):  # dropped meanwhile
                    _ = slot.lsn
            except LogCorrupt as error:
                self._damaged(error.segment, 0, 0, 0, error.reason)
        return control

    def _durable(self, control: Control | None) -> int:
        """The highest LSN that the small files say was durable."""
        clean = control.clean.next_lsn - 1 if control and control.clean else 0
        fence = control.fence if control else 0  # without CONTROL the mark is all there is
        try:
            mark = read_mark(self._directory.open(DURABLE))
        except FileNotFoundError:
            return clean
        return max(clean, mark.lsn if mark.epoch >= fence else 0)

    def _check_segment(self, segment: Segment, end: int | None, durable: int) -> None:
        """Check one segment; `end` is the first LSN of the next, None for the last one."""
        report, name, before = self.report, segment.name, self._expected
        if before is not None and before.next_lsn != segment.first_lsn:
            lost = (before.next_lsn, segment.first_lsn - 1)
            self._damaged(name, 0, *lost, "the segment that leads to it is missing")
            before = None
        try:
            view, header = open_segment(self._directory, segment, copy=end is None)
        except Gone:  # truncated meanwhile
            self._expected = None
            return
        except LogCorrupt as error:
            self._damaged(name, 0, segment.first_lsn, end and end - 1, error.reason)
            self._expected = None
            return
        report.bytes += len(view)
        chain = begin_chain(header)
        self._expected = chain
        if before is not None and before.prev_crc != header.prev_crc:
            lsn = header.first_lsn
            self._damaged(name, 0, lsn, lsn, "it does not follow the one before it")
        self._follow(segment, view, header.seed, chain, last=None if end is None else end - 1)
        if end is None:
            self._check_end(segment, view, header.seed, chain, durable, recycled=header.recycled)
        elif chain.next_lsn < end and not chain.sealed:
            self._damaged(name, chain.offset, chain.next_lsn, end - 1, chain.problem)
        elif read_seal(view, header.seed) is None:
            self._damaged(name, chain.offset, 0, 0, SEAL_DAMAGED)
        report.next_lsn = chain.next_lsn

    def _follow(
        self, segment: Segment, view: memoryview, seed: int, chain: Chain, last: int | None
    ) -> None:
        """Follow the chain over damaged places as far as valid frames go."""
        report = self.report

        def on_frame(header: Header, offset: int) -> None:
            report.records += header.count
            try:
                unpack_notes(read_frame(view, offset, seed).notes)
            except (BadFrame, msgspec.MsgspecError) as problem:
                self._damaged(
                    segment.name, offset, header.first_lsn, header.next_lsn - 1, str(problem)
                )

        while True:
            follow_chain(view, seed, chain, on_frame)
            found = None if chain.sealed else next_frame(view, chain.offset + 1, seed)
            if found is None or (last is None and not _was_durable(view, chain, seed)):
                report.frames += chain.frames
                return
            header, offset = found
            lost = (chain.next_lsn, max(chain.next_lsn, header.first_lsn - 1))
            self._damaged(segment.name, chain.offset, *lost, chain.problem)
            chain.offset, chain.next_lsn = offset, header.first_lsn
            chain.prev_crc, chain.epoch = header.prev_crc, header.epoch

    def _check_end(
        self,
        segment: Segment,
        view: memoryview,
        seed: int,
        chain: Chain,
        durable: int,
        *,
        recycled: bool,
    ) -> None:
        """The last segment may end in a torn frame, but not before what was durable."""
        stated, end = (0, 0) if chain.sealed else later_frames(view, chain.offset, seed)
        durable = max(durable, chain.durable, stated)
        if chain.next_lsn <= durable:
            reason = chain.problem or "it ends here, though more was durable"
            self._damaged(segment.name, chain.offset, chain.next_lsn, durable, reason)
        elif not chain.sealed:
            torn = torn_bytes(view, chain, recycled=recycled)
            self.report.torn_bytes = max(torn, end - chain.offset)


def _was_durable(view: memoryview, chain: Chain, seed: int) -> bool:
    """A frame behind the gap states that what the gap held was durable."""
    return later_frames(view, chain.offset, seed)[0] >= chain.next_lsn
