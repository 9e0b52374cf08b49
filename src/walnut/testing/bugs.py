"""Deliberate bugs of the log, to prove that the simulator can fail; `store_bugs`, `jobs_bugs`,
`topics_bugs` and `booking_bugs` have the others'.

Each takes away one line of defence that the log's design claims to need. If the simulator still
passes with one switched on, either the defence is not needed or the simulator does not look.

Not here: the seed of checksums and the chain. Each of the two alone, with dense LSNs and epochs,
refuses every stale frame the simulator makes, so taking one away shows nothing. tests/log/test_chain.py
holds a frame against the chain alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from walnut.log import control, opening, reader, recovery, segment, truncate, writer
from walnut.log import frame as frames
from walnut.log.commit import Batch, GroupCommit
from walnut.log.errors import LogFull
from walnut.log.log import Log
from walnut.log.producers import Producers
from walnut.log.remote import LogReader
from walnut.testing.booking_bugs import BOOKING_BUGS
from walnut.testing.disk import SimDirectory, SimFile
from walnut.testing.jobs_bugs import JOBS_BUGS
from walnut.testing.store_bugs import STORE_BUGS
from walnut.testing.topics_bugs import TOPICS_BUGS

Patches = list[Any]


def _no_directory_sync() -> Patches:
    """Names are never made durable."""
    return [patch.object(SimDirectory, "sync", lambda _: None)]


def _acknowledge_before_sync() -> Patches:
    """Records are answered when they are written."""
    honest = writer.Writer.sync

    def sync(self: writer.Writer) -> int:
        with patch.object(SimFile, "sync", lambda _: None):
            return honest(self)

    return [patch.object(writer.Writer, "sync", sync)]


def _no_checksum() -> Patches:
    """Frames are believed without looking at their checksum."""

    class Anything(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    return [patch.object(frames, "crc32c", lambda *_: Anything(0))]


def _retry_after_failed_sync() -> Patches:
    """A sync that failed is tried again, and then taken for good."""
    honest = SimFile.sync

    def sync(self: SimFile) -> None:
        try:
            honest(self)
        except OSError:
            honest(self)

    return [patch.object(SimFile, "sync", sync)]


def _unsynced_tail_is_served() -> Patches:
    """What recovery finds in the page cache is believed to be on disk."""
    return [patch.object(recovery, "_rewrite", lambda *_: None)]


def _control_is_not_synced() -> Patches:
    """CONTROL gets its new name before its contents are on disk."""

    def replace(directory: Any, name: str, data: bytes) -> None:
        file = directory.create(name + ".tmp")
        file.write([data], 0)
        directory.rename(name + ".tmp", name)
        directory.sync()

    return [patch.object(control, "replace_file", replace)]


def _cut_is_not_announced() -> Patches:
    """truncate_after removes files without having said so in CONTROL."""
    honest = Log._set_control

    def quiet(self: Log, **changes: Any) -> None:
        if changes.get("cutting") is None:
            honest(self, **changes)

    return [patch.object(Log, "_set_control", quiet)]


def _records_behind_a_refused_one_stay_queued() -> Patches:
    """A full disk turns away one batch, and those behind it keep their LSNs."""

    def refuse(self: GroupCommit, batch: Batch, error: LogFull) -> None:
        self._answer([batch], error)

    return [patch.object(GroupCommit, "_refuse", refuse)]


def _groups_are_split() -> Patches:
    """A large group goes out in two frames."""
    honest = writer.Writer.write

    def write(self: writer.Writer, records: Any, notes: Any) -> None:
        half = len(records) // 2
        if half:
            honest(self, records[:half], [])
        honest(self, records[half:], notes)

    return [patch.object(writer.Writer, "write", write)]


def _reader_ignores_the_mark() -> Patches:
    """A reader in another process shows whatever frames it finds."""
    honest = LogReader.position

    def position(self: LogReader) -> reader.Position:
        at = honest(self)
        last = self.segments()[-1]
        view = self._directory.open(last.name).map()
        header = segment.read_header(last, view)
        found = recovery.follow_chain(view, header.seed, recovery.begin_chain(header))
        return reader.Position(at.first_lsn, found.next_lsn - 1, at.generation)

    return [patch.object(LogReader, "position", position)]


def _producers_are_forgotten() -> Patches:
    """The table of producers is not restored on open."""
    return [patch.object(Producers, "find", lambda *_: None)]


def _segments_go_before_they_are_announced() -> Patches:
    """A truncated segment is removed although CONTROL still says that the log begins in it."""
    return [patch.object(opening, "droppable", lambda segments, _: segments[:-1])]


def _cut_does_not_reach_into_a_frame() -> Patches:
    """truncate_after keeps a frame whole that it should cut in two."""

    def encode(records: Any, **fields: Any) -> Any:
        return frames.encode([*records, b"kept"], **fields)

    return [patch.object(truncate, "encode", encode)]


def _stale_mark_is_believed() -> Patches:
    """A durable mark from before a truncate_after still counts."""
    return [
        patch.object(
            opening, "read_mark", lambda file: control.Mark(2**32, control.read_mark(file).lsn)
        )
    ]


BUGS: Final[dict[str, Callable[[], Patches]]] = {
    name.removeprefix("_").replace("_", "-"): bug
    for name, bug in list(globals().items())
    if name.startswith("_") and callable(bug) and not name.startswith("__")
}
"""Every deliberate bug by name; its docstring says what it is."""


@contextmanager
def switched_on(name: str | None) -> Iterator[None]:
    """Have a bug of any of them for the length of a block; None for none."""
    every = BUGS | STORE_BUGS | JOBS_BUGS | TOPICS_BUGS | BOOKING_BUGS
    patches = every[name]() if name else []
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in reversed(patches):
            each.stop()
