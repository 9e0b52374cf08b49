"""Making a damaged log usable again, without deleting anything.

The log is cut where the first damage begins: records up to there stay, and every file that held
anything behind it is moved, whole, into a directory of its own beside the segments. What must stay
true: what is set aside can be read by hand and put back; a repair that is interrupted is finished
by running it again.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import Final

import msgspec
from msgspec import structs

from walnut.log.control import CONTROL, DURABLE, Control, read_control, write_control, write_mark
from walnut.log.disk import Directory, StrPath, replace_file, write_fully
from walnut.log.errors import LogCorrupt, disk_errors
from walnut.log.model import FIRST_LSN, LogOptions
from walnut.log.opening import LOG_ID_BYTES, check_path, find_directory, locked
from walnut.log.producers import Producers
from walnut.log.recovery import begin_chain, follow_chain, next_frame, noting
from walnut.log.segment import (
    Index,
    Seal,
    Segment,
    parse_name,
    read_header,
    seal_frame,
    sort_segments,
)
from walnut.log.slots import PREFIX
from walnut.log.truncate import finish_cut, live_segments, prepare_cut
from walnut.log.verify import Damage, Verifier

ASIDE: Final = "damaged-{:04d}"
"""Directory for what one repair set aside."""

CHUNK: Final = 4 << 20

EPOCHS_SPARED: Final = 1_000_000
"""Added to the epoch of the oldest readable segment when CONTROL, which knew the last one, is lost:
more than any number of openings since."""


class RepairReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair found, moved and lost.

    Attributes:
        damages: as `verify` found them; empty if there was nothing to do.
        directory, set_aside: where the damaged files are now, and their names.
        lost: ranges of LSNs, both ends included, that are no longer in the log.
        first_lsn, next_lsn: what the log holds now.
    """

    damages: list[Damage]
    directory: str
    set_aside: list[str]
    lost: list[tuple[int, int]]
    first_lsn: int
    next_lsn: int


def repair(
    path: StrPath, options: LogOptions | None = None, *, dry_run: bool = False
) -> RepairReport:
    """Cut the log before its first damage, setting aside the files that held it and what follows.

    With `dry_run`, only tell what would be done. The repaired log opens as usual.

    Raises:
        NotALog, LogLocked, UnknownFormat.
    """
    options = options or LogOptions()
    text = check_path(path)
    directory = find_directory(text, options, create=False)
    with disk_errors(f"repairing {text}"), locked(text, directory, options) as lock:
        try:
            found = Verifier(text, directory).run(None)
            if not found.damages:
                ends = (found.first_lsn, found.next_lsn)
                return RepairReport(
                    damages=[], directory="", set_aside=[], lost=[],
                    first_lsn=ends[0], next_lsn=ends[1],
                )  # fmt: skip
            return _Repair(text, directory, options).run(found.damages, dry_run=dry_run)
        finally:
            lock.close()


class _Repair:
    """What one repair does, worked out before anything is touched."""

    def __init__(self, path: str, directory: Directory, options: LogOptions) -> None:
        self._path = path
        self._directory = directory
        self._options = options
        self._segments = sort_segments(directory.names())

    def run(self, damages: list[Damage], *, dry_run: bool) -> RepairReport:
        ends = [d.first_lsn for d in damages if parse_name(d.segment) and d.first_lsn]
        control = self._sound_control()
        self._segments = live_segments(self._segments, control.first_lsn)
        head = self._segments[0].first_lsn if self._segments else FIRST_LSN
        cut = min((lsn for lsn in ends if lsn >= head), default=None)
        affected = [
            s for s, following in itertools.zip_longest(self._segments, self._segments[1:])
            if cut is not None and (following is None or following.first_lsn > cut)
        ]  # fmt: skip
        reseal = [
            s for s in self._segments
            if s not in affected and any(d.segment == s.name for d in damages)
        ]  # fmt: skip
        small = {d.segment for d in damages if d.segment == CONTROL or d.segment.startswith(PREFIX)}
        moved = [s.name for s in (*reseal, *affected)] + sorted(
            small & set(self._directory.names())
        )
        last = self._last_lsn(damages)
        aside = self._aside()
        if not dry_run:
            self._set_aside(aside, moved)
            for segment in reseal:
                self._reseal(segment)
            for name in small - {CONTROL}:
                self._directory.remove(name)
            self._cut(control, cut, head)
        next_lsn = last + 1 if cut is None else cut
        if not self._segments:
            head = next_lsn = FIRST_LSN
        lost = [(control.first_lsn, head - 1)] if head > control.first_lsn else []
        lost += [] if cut is None or last < cut else [(cut, last)]
        return RepairReport(
            damages=damages,
            directory=f"{self._path}/{aside}" if moved else "",
            set_aside=moved,
            lost=lost,
            first_lsn=min(max(control.first_lsn, head), next_lsn),
            next_lsn=next_lsn,
        )

    def _sound_control(self) -> Control:
        """CONTROL or, where it is damaged, what the segments let us say in its place."""
        with contextlib.suppress(LogCorrupt):
            control = read_control(self._directory)
            if control is not None:
                return control
        for segment in self._segments:
            with contextlib.suppress(LogCorrupt):
                header = read_header(segment, self._directory.open(segment.name).map())
                epoch = header.epoch + EPOCHS_SPARED
                return Control(
                    log_id=header.log_id.hex(), epoch=epoch, first_lsn=self._segments[0].first_lsn
                )
        return Control(log_id=self._options.disk.entropy(LOG_ID_BYTES).hex())

    def _last_lsn(self, damages: list[Damage]) -> int:
        """The last LSN that the log is known to have had."""
        known = [d.last_lsn or d.first_lsn for d in damages]
        for segment in self._segments[-1:]:
            known.append(segment.first_lsn - 1)
            with contextlib.suppress(LogCorrupt):
                view = self._directory.open(segment.name).map()
                header = read_header(segment, view)
                offset = header.start
                while found := next_frame(view, offset, header.seed):
                    known.append(found[0].next_lsn - 1)
                    offset = found[1] + found[0].size
        return max(known, default=0)

    def _aside(self) -> str:
        names = self._directory.names()
        return next(name for n in itertools.count(1) if (name := ASIDE.format(n)) not in names)

    def _set_aside(self, aside: str, names: list[str]) -> None:
        """Copy files, durably; what becomes of the originals is decided after."""
        target = self._directory.subdirectory(aside)
        for name in names:
            source, copy = self._directory.open(name), target.create(name)
            size = source.size()
            for offset in range(0, size, CHUNK):
                write_fully(copy, [source.read(min(CHUNK, size - offset), offset)], offset)
            copy.sync()
        target.sync()

    def _reseal(self, segment: Segment) -> None:
        """Write the segment anew with a seal made from its frames."""
        view = self._directory.open(segment.name).map()
        header = read_header(segment, view)
        producers = Producers(self._options.producers, header.producers)
        index = Index()
        note = noting(view, header.seed, producers, index)
        chain = follow_chain(view, header.seed, begin_chain(header), note)
        lsns, offsets = index.columns()
        seal = Seal(
            first_lsn=segment.first_lsn,
            next_lsn=chain.next_lsn,
            first_time=chain.first_time,
            last_time=chain.last_time,
            prev_crc=chain.prev_crc,
            index_lsns=lsns,
            index_offsets=offsets,
            producers=producers.pack(chain.next_lsn),
        )
        sealed = seal_frame(seal, chain.offset, header.seed, epoch=chain.epoch)
        replace_file(self._directory, segment.name, bytes(view[: chain.offset]) + sealed)

    def _cut(self, control: Control, cut: int | None, head: int) -> None:
        epoch = control.epoch + 1
        first_lsn = max(control.first_lsn, head)
        if cut is None and self._segments:
            sound = structs.replace(control, epoch=epoch, first_lsn=first_lsn, clean=None)
            write_control(self._directory, sound)
            return
        if cut is None or (cut == head and not self._header_is_sound(self._segments[0])):
            # Nothing readable is left: the log begins anew, as one that was never opened.
            for segment in reversed(self._segments):
                self._directory.remove(segment.name)
            with contextlib.suppress(FileNotFoundError):
                self._directory.remove(DURABLE)
            self._directory.sync()
            write_control(self._directory, Control(log_id=control.log_id))
            return
        control = structs.replace(
            control,
            epoch=epoch,
            fence=epoch,
            first_lsn=min(first_lsn, cut),
            clean=None,
            cutting=cut - 1,
        )
        write_control(self._directory, control)
        prepare_cut(self._directory, cut - 1, self._options.segment_bytes)
        finish_cut(self._directory, cut - 1)
        write_control(self._directory, structs.replace(control, cutting=None))
        mark = self._directory.create(DURABLE)
        write_mark(mark, epoch, cut - 1)  # all of it was synced by the cut
        mark.close()

    def _header_is_sound(self, segment: Segment) -> bool:
        try:
            read_header(segment, self._directory.open(segment.name).map())
        except LogCorrupt:
            return False
        return True
