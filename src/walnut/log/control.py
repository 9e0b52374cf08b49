"""The two small files beside the segments: CONTROL and DURABLE.

CONTROL says what the log is and where its ends are; it is replaced atomically and durably. DURABLE
says how far the log is durable right now; it is overwritten in place after every sync and never
synced itself. What must stay true: whatever DURABLE says was durable when it was written. So after
a crash an old mark is still a lower bound, and a reader in another process that stops at the mark
never sees what a crash could take back.
"""

from __future__ import annotations

import struct
from typing import Final, TypeVar

import msgspec
from crc32c import crc32c

from walnut.log.disk import Directory, File, read_file, replace_file, write_fully
from walnut.log.errors import LogCorrupt, UnknownFormat

CONTROL: Final = "CONTROL"
DURABLE: Final = "DURABLE"
LOCK: Final = "LOCK"
SPARE: Final = "SPARE"
VERSION: Final = 1


class CleanEnd(msgspec.Struct, frozen=True):
    """Where the last writer, which closed the log, left the SEAL frame of the open segment."""

    segment: str
    offset: int
    next_lsn: int


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """What the log is.

    Attributes:
        version: of this file and of all others.
        log_id: 32 hex digits, the same in every segment.
        epoch: of the current or last writer; 0 until the log has been created completely.
        fence: durable marks from epochs before this one are void (a `truncate_after` came since).
        first_lsn: where the log begins; older records were truncated.
        clean: set while closed cleanly.
        cutting: the LSN after which a `truncate_after` that has begun removes everything.
    """

    version: int = VERSION
    log_id: str
    epoch: int = 0
    fence: int = 0
    first_lsn: int = 1
    clean: CleanEnd | None = None
    cutting: int | None = None


def read_control(directory: Directory) -> Control | None:
    """The CONTROL file, or None if there is none.

    Raises:
        LogCorrupt: it is damaged.
        UnknownFormat: a newer Walnut wrote it.
    """
    data = read_file(directory, CONTROL)
    if data is None:
        return None
    body = checked_line(CONTROL, data)
    version = decoded(CONTROL, body, _Version).version
    if version != VERSION:
        raise UnknownFormat(
            f"{CONTROL} has format version {version} and this Walnut knows {VERSION}: "
            "open the log with the Walnut that wrote it"
        )
    return decoded(CONTROL, body, Control)


class _Version(msgspec.Struct, frozen=True):
    version: int


def checked_line(name: str, data: bytes) -> bytes:
    """The first line of a small file, if the second is its checksum. Raises LogCorrupt."""
    body, _, crc = data.rstrip(b"\n").rpartition(b"\n")
    if not body or crc != b"%08x" % crc32c(body):
        raise LogCorrupt(name, 0, 1, None, "its checksum does not match")
    return body


def with_checksum(body: bytes) -> bytes:
    """A small file: one line, and a line with its checksum."""
    return b"%s\n%08x\n" % (body, crc32c(body))


T = TypeVar("T")


def decoded(name: str, body: bytes, kind: type[T]) -> T:
    """The JSON of a small file. Raises LogCorrupt."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise LogCorrupt(name, 0, 1, None, f"it is not what it should be ({error})") from error


def write_control(directory: Directory, control: Control) -> None:
    """Replace CONTROL, atomically and durably."""
    replace_file(directory, CONTROL, with_checksum(msgspec.json.encode(control)))


_MARK: Final = struct.Struct("<4s I Q Q")
_MARK_MAGIC: Final = b"WLND"


class Mark(msgspec.Struct, frozen=True):
    """What DURABLE says: the epoch of the writer and the last durable LSN."""

    epoch: int
    lsn: int


NO_MARK: Final = Mark(0, 0)


def write_mark(file: File, epoch: int, lsn: int) -> None:
    """Put the mark in place; one write of one sector."""
    body = _MARK.pack(_MARK_MAGIC, 0, epoch, lsn)
    write_fully(file, [_MARK.pack(_MARK_MAGIC, crc32c(body[8:]), epoch, lsn)], 0)


def read_mark(file: File) -> Mark:
    """The mark, or `NO_MARK` where it is unreadable: it is only a lower bound."""
    data = file.read(_MARK.size, 0)
    if len(data) < _MARK.size:
        return NO_MARK
    magic, crc, epoch, lsn = _MARK.unpack(data)
    return Mark(epoch, lsn) if magic == _MARK_MAGIC and crc == crc32c(data[8:]) else NO_MARK
