"""Archive and restore: a log's segments in a directory or any object store.

    manifest.json                       what is here, with checksums; replaced last
    segments/<segment>.zst              a sealed segment, as its file is
    tail/<segment>-<last crc>.zst       the active segment, as far as it was durable

What must stay true: the manifest names only objects that were stored whole before it, so a push
that is cut short leaves the archive as it was; and nothing goes in or comes out without every frame
checked. The format is described in docs/archive-format.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
import zstandard

from walnut.log.control import Control, write_control
from walnut.log.disk import Directory, StrPath, write_fully
from walnut.log.errors import ArchiveError, InvalidOption, LogCorrupt, NotALog, disk_errors
from walnut.log.log import Log
from walnut.log.model import MAX_FRAME_BYTES, LogOptions
from walnut.log.opening import check_path, find_directory
from walnut.log.place import Place
from walnut.log.reader import Gone, Position, open_segment
from walnut.log.recovery import Chain, begin_chain, follow_chain
from walnut.log.segment import Segment, SegmentHeader, parse_name, read_header
from walnut.log.truncate import live_segments

MANIFEST: Final = "manifest.json"
VERSION: Final = 1
ZSTD_LEVEL: Final = 3
TEMPORARY: Final = ".tmp"

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes there are."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One archived segment.

    Attributes:
        segment: its file name. key: its object. sealed: whole; else the durable part of the tail.
        first_lsn, next_lsn: its records, half open. last_time: of its last frame, ns.
        last_crc: checksum of its last frame, where the next one goes on.
        raw_bytes, stored_bytes: before and after compression. sha256: of the object, in hex.
    """

    segment: str
    key: str
    sealed: bool
    first_lsn: int
    next_lsn: int
    last_time: int
    last_crc: int
    raw_bytes: int
    stored_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive holds, in order of LSN."""

    version: int = VERSION
    log_id: str
    epoch: int
    first_lsn: int
    entries: tuple[Entry, ...]

    @property
    def next_lsn(self) -> int:
        """The LSN after the last archived record."""
        return self.entries[-1].next_lsn if self.entries else self.first_lsn


class PushReport(msgspec.Struct, frozen=True):
    """What a push stored, and the LSN after the last archived record."""

    uploaded: int
    stored_bytes: int
    next_lsn: int


class RestoreReport(msgspec.Struct, frozen=True):
    """What a restore made: records [first_lsn, next_lsn)."""

    first_lsn: int
    next_lsn: int


class Readable(Protocol):
    """What of a `Log` or `LogReader` an archive needs."""

    @property
    def log_id(self) -> str:
        """See `Log.log_id`."""

    @property
    def epoch(self) -> int:
        """See `Log.epoch`."""

    @property
    def directory(self) -> Directory:
        """Where its files are."""

    def position(self) -> Position:
        """Its ends."""

    def segments(self) -> list[Segment]:
        """Its files."""


class Archive:
    """An archive at a directory's path, or at a URL that obstore knows: s3://, gs://, az://, ...

    Raises ArchiveError for a URL that is none."""

    def __init__(self, url: StrPath) -> None:
        self.place = Place(url)
        self.url = self.place.url

    # -- in -------------------------------------------------------------------------------------

    def push(
        self, log: Readable, *, tail: bool = True, progress: Progress | None = None
    ) -> PushReport:
        """Store what is not there yet: sealed segments and, with `tail`, the active one as far as
        it is durable. While a log forgets by itself, hold it back with a slot that is advanced to
        `report.next_lsn`.

        Raises:
            ArchiveError: the archive belongs to another log, or to another history of this one, or
                segments between it and the log are gone.
            LogCorrupt: the log is damaged; nothing of the damaged segment was stored.
        """
        try:
            return self._push(log, tail=tail, progress=progress)
        except Gone as error:
            raise ArchiveError(
                f"the log was truncated while it was archived to {self.url}, which is as it was: push "
                "again, and hold the log back with a slot"
            ) from error

    def _push(self, log: Readable, *, tail: bool, progress: Progress | None) -> PushReport:
        old = self.manifest()
        position = log.position()
        segments = live_segments(log.segments(), position.first_lsn)
        self._check_history(old, log, segments, position)
        kept = [entry for entry in old.entries if entry.sealed] if old else []
        have = {entry.segment for entry in kept}
        wanted = [s for s in segments[:-1] if s.name not in have]
        if position.durable_lsn >= segments[-1].first_lsn:
            before = [e for e in old.entries if e.segment == segments[-1].name] if old else []
            # Without `tail` too: a push takes nothing back that an earlier one stored.
            wanted += [segments[-1]] if tail or before else []
        stored = 0
        for done, segment in enumerate(wanted):
            entry, data = self._pack(
                log.directory, segment, position, sealed=segment != segments[-1]
            )
            self.place.put(entry.key, data)
            kept.append(entry)
            stored += entry.stored_bytes
            if progress is not None:
                progress(done + 1, len(wanted))
        kept.sort(key=lambda entry: (entry.first_lsn, entry.next_lsn))
        first_lsn = old.first_lsn if old and old.entries else position.first_lsn
        manifest = Manifest(
            log_id=log.log_id, epoch=log.epoch, first_lsn=first_lsn, entries=tuple(kept)
        )
        self.place.put(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        for entry in old.entries if old else ():
            if entry.key not in {kept_entry.key for kept_entry in kept}:
                self.place.delete(entry.key)
        return PushReport(len(wanted), stored, manifest.next_lsn)

    def _check_history(
        self, old: Manifest | None, log: Readable, segments: list[Segment], position: Position
    ) -> None:
        if old is None:
            return
        if old.log_id != log.log_id:
            raise ArchiveError(
                f"{self.url} holds log {old.log_id[:8]} and this is {log.log_id[:8]}: use another place"
            )
        sealed = [entry for entry in old.entries if entry.sealed]
        archived = sealed[-1].next_lsn if sealed else old.first_lsn
        if segments[0].first_lsn > archived:
            raise ArchiveError(
                f"LSN {archived} to {segments[0].first_lsn - 1} are neither in {self.url} nor in the log "
                "any more: start another archive, and hold the log back with a slot"
            )
        here = {segment.name: segment for segment in segments}
        following = dict(zip(here, segments[1:], strict=False))
        for entry in sealed:
            after = following.get(entry.segment)
            changed = entry.segment in here and (
                after is None
                or after.first_lsn != entry.next_lsn
                or self._header(log.directory, after).prev_crc != entry.last_crc
            )
            if changed or entry.next_lsn > position.durable_lsn + 1:
                raise ArchiveError(
                    f"the log was cut back since it was archived: {entry.segment} is not what it was. "
                    "Start another archive; this one still restores the history before the cut"
                )

    @staticmethod
    def _header(directory: Directory, segment: Segment) -> SegmentHeader:
        return open_segment(directory, segment)[1]

    @staticmethod
    def _pack(
        directory: Directory, segment: Segment, position: Position, *, sealed: bool
    ) -> tuple[Entry, bytes]:
        """A segment's object, from a file that was checked frame by frame."""
        view, header = open_segment(directory, segment, copy=not sealed)
        chain, size = _durable_chain(view, header, position.durable_lsn, sealed=sealed)
        if sealed and not chain.sealed:
            raise LogCorrupt(segment.name, chain.offset, chain.next_lsn, None, chain.problem)
        raw = bytes(view[:size])
        data = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(raw)
        name = segment.name.removesuffix(".wal")
        # Two tails that differ never share a key, though one log was cut back and has as many
        # records again: the manifest in place may still name the other.
        return Entry(
            segment=segment.name,
            key=f"segments/{name}.zst" if sealed else f"tail/{name}-{chain.prev_crc:08x}.zst",
            sealed=sealed,
            first_lsn=segment.first_lsn,
            next_lsn=chain.next_lsn,
            last_time=chain.last_time,
            last_crc=chain.prev_crc,
            raw_bytes=len(raw),
            stored_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        ), data

    # -- out ------------------------------------------------------------------------------------

    def manifest(self) -> Manifest | None:
        """What the archive holds, or None if it is empty. Raises ArchiveError."""
        data = self.place.get(MANIFEST)
        if data is None:
            return None
        try:
            version = msgspec.json.decode(data).get("version")
            if version != VERSION:
                raise ArchiveError(
                    f"{self.url} has format version {version} and this Walnut knows {VERSION}: "
                    "use the Walnut that wrote it"
                )
            return msgspec.json.decode(data, type=Manifest)
        except (msgspec.MsgspecError, AttributeError) as error:
            raise ArchiveError(f"{MANIFEST} in {self.url} is damaged: {error}") from error

    def check(self, progress: Progress | None = None) -> Manifest:
        """Read everything back and check every frame. Raises ArchiveError, LogCorrupt."""
        manifest = self._some_manifest()
        total = sum(entry.stored_bytes for entry in manifest.entries)
        done, before = 0, None
        for entry in manifest.entries:
            self._unpack(entry, before)
            before, done = entry, done + entry.stored_bytes
            if progress is not None:
                progress(done, total)
        return manifest

    def _some_manifest(self) -> Manifest:
        manifest = self.manifest()
        if manifest is None or not manifest.entries:
            raise ArchiveError(f"{self.url} holds no archive: check the place, or push a log to it")
        return manifest

    def _unpack(self, entry: Entry, before: Entry | None) -> bytes:
        """The file of an entry, checked whole and against the one before it."""

        def damaged(reason: str) -> ArchiveError:
            return ArchiveError(
                f"{entry.key} in {self.url} {reason}: LSN {entry.first_lsn} to {entry.next_lsn - 1} "
                "can't be restored from here"
            )

        data = self.place.get(entry.key)
        if data is None:
            raise damaged("is missing")
        if (
            hashlib.sha256(data).hexdigest() != entry.sha256
            or entry.raw_bytes > 2 * MAX_FRAME_BYTES
        ):
            raise damaged("is damaged (its checksum does not match)")
        segment = parse_name(entry.segment)
        if segment is None:
            raise damaged("has a name that is no segment's")
        try:
            raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=entry.raw_bytes)
            header = read_header(segment, memoryview(raw))
        except (zstandard.ZstdError, LogCorrupt) as error:
            raise damaged(f"is damaged ({error})") from error
        chain = follow_chain(memoryview(raw), header.seed, begin_chain(header))
        ends = (chain.next_lsn, chain.prev_crc, chain.sealed)
        if ends != (entry.next_lsn, entry.last_crc, entry.sealed):
            raise damaged(
                f"does not hold what the manifest says ({chain.problem or 'other frames'})"
            )
        if before is not None and (header.first_lsn, header.prev_crc) != (
            before.next_lsn,
            before.last_crc,
        ):
            raise damaged(f"does not follow {before.key}")
        return raw


def _durable_chain(
    view: memoryview, header: SegmentHeader, durable_lsn: int, *, sealed: bool
) -> tuple[Chain, int]:
    """The frames of a segment as far as they are durable, and the bytes they take."""
    chain = begin_chain(header)
    if sealed:
        follow_chain(view, header.seed, chain)
        return chain, len(view)
    ends: list[int] = []
    follow_chain(
        view, header.seed, chain,
        lambda frame, offset: ends.append(offset + frame.size if frame.next_lsn <= durable_lsn + 1 else 0),
    )  # fmt: skip
    size = max([header.start, *ends])
    durable = begin_chain(header)
    return follow_chain(view[:size], header.seed, durable), size


def restore(
    url: StrPath,
    path: StrPath,
    *,
    to_lsn: int | None = None,
    to_time_ns: int | None = None,
    options: LogOptions | None = None,
    progress: Progress | None = None,
) -> RestoreReport:
    """Make a log from an archive, in a new or empty directory.

    Args:
        to_lsn: the last record to restore. to_time_ns: restore frames written until then.
            Neither: all there is.

    Raises:
        ArchiveError: missing, damaged, or the wanted moment is not in it.
        NotALog: the directory is not empty.
    """
    archive = Archive(url)
    manifest = archive._some_manifest()  # noqa: SLF001  the other half of this file
    last = manifest.next_lsn - 1
    if to_lsn is not None and to_time_ns is not None:
        raise InvalidOption("restore to an LSN or to a time, not to both")
    if to_lsn is not None and not manifest.first_lsn - 1 <= to_lsn <= last:
        raise ArchiveError(
            f"LSN {to_lsn} is not in {archive.url}, which holds {manifest.first_lsn} to {last}"
        )
    options = options or LogOptions()
    text = check_path(path)
    directory = find_directory(text, options, create=True)
    if any(not name.endswith(TEMPORARY) for name in directory.names()):
        raise NotALog(f"{text} is not empty: restore into a new directory")
    wanted = [e for e in manifest.entries if to_lsn is None or e.first_lsn <= max(to_lsn, 1)]
    total, done = sum(entry.stored_bytes for entry in wanted), 0
    with disk_errors(f"restoring into {text}"):
        before = None
        for entry in wanted:
            _store_file(directory, entry.segment + TEMPORARY, archive._unpack(entry, before))  # noqa: SLF001
            before, done = entry, done + entry.stored_bytes
            if progress is not None:
                progress(done, total)
        for entry in wanted:
            directory.rename(entry.segment + TEMPORARY, entry.segment)
        directory.sync()
        write_control(
            directory,
            Control(log_id=manifest.log_id, epoch=manifest.epoch, first_lsn=manifest.first_lsn),
        )
    with Log(text, options) as log:
        if to_time_ns is not None:
            frames = log.read_frames() if log.durable_lsn >= log.first_lsn else iter(())
            ends = [f.header.next_lsn - 1 for f in frames if f.time <= to_time_ns]
            to_lsn = max(ends, default=log.first_lsn - 1)
        if to_lsn is not None and to_lsn < log.durable_lsn:
            log.truncate_after(to_lsn)
        return RestoreReport(log.first_lsn, log.next_lsn)


def _store_file(directory: Directory, name: str, data: bytes) -> None:
    file = directory.create(name)
    try:
        write_fully(file, [data], 0)
        file.sync()
    finally:
        file.close()
