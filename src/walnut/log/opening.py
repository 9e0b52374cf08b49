"""From a path to a log that is locked, recovered and announced under a new epoch.

    lock ─▶ CONTROL ─▶ finish what was interrupted ─▶ find the end ─▶ CONTROL with epoch + 1

What must stay true: each step can be interrupted and repeated; nothing is changed in a directory
that is not a log; the new epoch is durable before a frame of it can be.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import msgspec

from walnut.log.control import (
    CONTROL,
    DURABLE,
    LOCK,
    SPARE,
    Control,
    read_control,
    read_mark,
    write_control,
    write_mark,
)
from walnut.log.disk import Directory, File, StrPath, write_fully
from walnut.log.errors import LogCorrupt, LogLocked, NotALog, disk_errors
from walnut.log.model import FIRST_LSN, LogOptions, Recovery
from walnut.log.recovery import Found, find_end, missing_segment
from walnut.log.segment import Segment, SegmentHeader, check_consecutive, parse_name, sort_segments
from walnut.log.slots import PREFIX
from walnut.log.truncate import droppable, finish_cut, prepare_cut, remove_segments
from walnut.log.writer import begin_segment, make_spare

TEMPORARY = ".tmp"
LOG_ID_BYTES = 16

FIRST_ZEROED = 1 << 20
"""Bytes of the very first segment that are written with zeros: a new log opens at once, and its
first megabyte of small records goes at full speed. Later segments are prepared whole, ahead."""


class Opened(msgspec.Struct, kw_only=True):
    """An open log: what `Log` is made of."""

    directory: Directory
    lock: File
    mark: File
    control: Control
    segments: list[Segment]
    found: Found
    recovery: Recovery


def check_path(path: StrPath) -> str:
    """The path as a string. Raises NotALog for one that is empty or no path."""
    text = path.__fspath__() if hasattr(path, "__fspath__") else path
    if not isinstance(text, str) or not text or "\0" in text:
        raise NotALog(f"{text!r:.80} can't be the path of a log: give the directory that holds it")
    return text


def find_directory(path: str, options: LogOptions, *, create: bool) -> Directory:
    """The directory at `path`. Raises NotALog."""
    try:
        return options.disk.directory(path, create=create)
    except FileNotFoundError:
        raise NotALog(f"{path} does not exist: give the directory of a log") from None
    except (NotADirectoryError, FileExistsError):
        raise NotALog(f"{path} is not a directory: a log is a directory of its own") from None


def check_is_log(path: str, names: list[str], *, has_control: bool) -> None:
    """Raises NotALog or LogCorrupt for a directory that can't be opened as a log or made one."""
    if has_control:
        return
    strange = sorted(name for name in names if not _is_ours(name))
    if strange:
        raise NotALog(
            f"{path} holds {strange[0]!r} and no Walnut log: give an empty or new directory"
        )
    if any(parse_name(name) for name in names):
        raise LogCorrupt(CONTROL, 0, FIRST_LSN, None, "it is missing, and there are segments")


def _is_ours(name: str) -> bool:
    known = name in {CONTROL, DURABLE, LOCK, SPARE} or name.startswith(PREFIX)
    return known or name.endswith(TEMPORARY) or parse_name(name) is not None


@contextlib.contextmanager
def locked(path: str, directory: Directory, options: LogOptions) -> Iterator[File]:
    """Hold the writer's lock; let go of it again only if the block fails. Raises LogLocked."""
    try:
        file = directory.open(LOCK, write=True)
    except FileNotFoundError:
        file = directory.create(LOCK)
    if not file.lock(exclusive=True):
        holder = file.read(20, 0).decode("ascii", "replace").strip() or "unknown"
        file.close()
        raise LogLocked(
            f"{path} is open for writing in process {holder}: close it there, or read it with "
            "walnut.LogReader, which needs no lock"
        )
    try:
        write_fully(file, [f"{options.disk.process():<19}\n".encode()], 0)
        yield file
    except BaseException:
        file.close()
        raise


def open_log(path: str, options: LogOptions) -> Opened:
    """Create, or recover and open. Raises as `walnut.Log` does."""
    started = time.perf_counter()
    directory = find_directory(path, options, create=True)
    names = directory.names()
    check_is_log(path, names, has_control=CONTROL in names)
    with locked(path, directory, options) as lock:
        with disk_errors(f"opening {path}"):
            opened = _recover(directory, options, lock)
        recovery = msgspec.structs.replace(opened.recovery, seconds=time.perf_counter() - started)
        opened.recovery = recovery
        return opened


def _recover(directory: Directory, options: LogOptions, lock: File) -> Opened:
    finished: list[str] = []
    control = read_control(directory)
    created = control is None or control.epoch == 0
    if control is None:
        control = Control(log_id=options.disk.entropy(LOG_ID_BYTES).hex())
        write_control(directory, control)
    _remove_leftovers(directory)
    if control.epoch == 0:
        _create_first_segment(directory, control, options)
    if control.cutting is not None:
        prepare_cut(directory, control.cutting, options.segment_bytes)
        finish_cut(directory, control.cutting)
        finished.append(f"truncate_after({control.cutting})")
    segments = sort_segments(directory.names())
    gone = droppable(segments, control.first_lsn)
    if gone:
        remove_segments(directory, gone)
        finished.append(f"truncate_before({control.first_lsn})")
    segments = [segment for segment in segments if segment not in gone]
    if not segments:
        raise missing_segment(control)
    check_consecutive(segments)
    if segments[0].first_lsn > control.first_lsn:
        raise LogCorrupt(
            segments[0].name, 0, control.first_lsn, segments[0].first_lsn - 1,
            "the segments before it are missing",
        )  # fmt: skip
    mark_file = _open_mark(directory)
    mark = read_mark(mark_file)
    durable = mark.lsn if mark.epoch >= control.fence else 0
    found = find_end(directory, segments, control, durable, options)
    report = Recovery(
        created=created,
        clean=control.clean is not None and not found.scanned_frames,
        scanned_bytes=found.scanned_bytes,
        scanned_frames=found.scanned_frames,
        cut_bytes=found.cut_bytes,
        cut_reason=found.cut_reason,
        cut_segment=segments[-1].name if found.cut_bytes else "",
        cut_offset=found.end.offset if found.cut_bytes else 0,
        rewritten_bytes=found.rewritten_bytes,
        finished=tuple(finished),
    )
    control = msgspec.structs.replace(control, epoch=control.epoch + 1, clean=None, cutting=None)
    write_control(directory, control)
    write_mark(mark_file, control.epoch, found.end.next_lsn - 1)
    return Opened(
        directory=directory,
        lock=lock,
        mark=mark_file,
        control=control,
        segments=segments,
        found=found,
        recovery=report,
    )


def _remove_leftovers(directory: Directory) -> None:
    """A spare, and files half written under a temporary name, mean nothing to a new writer."""
    for name in directory.names():
        if name == SPARE or name.endswith(TEMPORARY):
            directory.remove(name)


def _create_first_segment(directory: Directory, control: Control, options: LogOptions) -> None:
    for segment in sort_segments(directory.names()):  # of a creation that was cut short
        directory.remove(segment.name)
    header = SegmentHeader(
        log_id=bytes.fromhex(control.log_id),
        number=1,
        first_lsn=FIRST_LSN,
        created=options.clock(),
        epoch=1,
        prev_crc=0,
        recycled=False,
        producers=b"",
    )
    file = make_spare(directory, options.segment_bytes, zeroed=FIRST_ZEROED)
    begin_segment(directory, file, Segment(1, FIRST_LSN), header)
    file.close()


def _open_mark(directory: Directory) -> File:
    try:
        return directory.open(DURABLE, write=True)
    except FileNotFoundError:
        return directory.create(DURABLE)
