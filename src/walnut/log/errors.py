"""Every error the log raises on purpose.

Each message says what happened, to what, and what to do about it. All of them are `LogError`, so
that a caller can catch the log's refusals without catching the bugs of anyone else.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""How an operating system says that there is no room: disk, quota, or file size limit."""


class LogError(Exception):
    """Base of every error raised by `walnut.log`."""


class NotALog(LogError, ValueError):
    """The path is empty, is not a directory, or holds something that is not a Walnut log."""


class UnknownFormat(LogError):
    """A file was written by a Walnut that this one does not know, or with a feature it lacks."""


class LogCorrupt(LogError):
    """Data that was once durable is damaged or missing.

    Attributes:
        segment: file name of the damaged segment (or of the file that is missing).
        offset: byte offset in that file at which reading stopped.
        first_lsn, last_lsn: the LSNs that can't be served; `last_lsn` is None when unknown.
    """

    def __init__(
        self, segment: str, offset: int, first_lsn: int, last_lsn: int | None, reason: str
    ) -> None:
        lost = f"LSN {first_lsn}" + (
            "" if last_lsn == first_lsn else f" to {last_lsn or 'the end'}"
        )
        super().__init__(
            f"{segment} is damaged at byte {offset}: {reason}; {lost} can't be read. "
            "Restore from an archive, or run `walnut log repair` to set the damage aside"
        )
        self.segment = segment
        self.offset = offset
        self.first_lsn = first_lsn
        self.last_lsn = last_lsn
        self.reason = reason


class LogLocked(LogError):
    """Another process (or another `Log` in this one) has the directory open for writing."""


class LogClosed(LogError):
    """The log was closed, or belongs to the parent of this forked process."""


class LogFailed(LogError):
    """A write or a sync failed, so nothing more is accepted: whatever was not acknowledged may or
    may not be on disk. Close the log and open it again to recover. `__cause__` is what failed."""


class LogFull(LogError):
    """No space for the next segment. Nothing of the refused records was kept; readers go on, and
    writing resumes by itself once space is freed."""


class DiskError(LogError, OSError):
    """The operating system failed to do something that is not writing records: opening a file,
    replacing CONTROL, saving a slot. It may or may not have taken effect. `__cause__` says what."""


class BufferFull(LogError):
    """An event loop submitted more than the buffer holds without awaiting any of it."""


class RecordTooLarge(LogError, ValueError):
    """A record, or a group that must be atomic, is over the configured maximum."""


class InvalidRecord(LogError, TypeError):
    """What was given as a record is not bytes-like, or a group is empty."""


class InvalidOption(LogError, ValueError):
    """An option or an argument is out of its range."""


class LsnTruncated(LogError, LookupError):
    """The asked-for LSN lies before `first_lsn`: it was truncated. `first_lsn` says what is left."""

    def __init__(self, lsn: int, first_lsn: int) -> None:
        super().__init__(
            f"LSN {lsn} was truncated: the log begins at {first_lsn}. "
            f"Start from {first_lsn}, or restore an archive that still holds it"
        )
        self.lsn = lsn
        self.first_lsn = first_lsn


class LsnUnknown(LogError, LookupError):
    """The asked-for LSN lies past the end of the log."""


class EndMoved(LogError):
    """A record was to be appended at a certain LSN only, and that is not the next one (any more).
    Nothing was appended; look at what came since and try again."""


class StaleSequence(LogError):
    """A producer sent a sequence number older than those remembered, so it can't be told whether
    it was appended before."""


class SlotLost(LogError, LookupError):
    """The slot does not exist: never made, dropped by hand, or dropped for lagging too far."""


class WaitTimeout(LogError, TimeoutError):
    """The record was not durable within the time given. It may still become so."""


class ArchiveError(LogError):
    """An archive is missing, incomplete, damaged or belongs to another log."""


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Give the operating system's errors their names while `doing` something."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        if error.errno in NO_SPACE:
            raise LogFull(
                f"no room for {doing} ({error.strerror}): free space on the disk"
            ) from error
        raise DiskError(
            f"{doing} failed ({error}): it may or may not have taken effect; look at the disk, "
            "then try again or open the log again"
        ) from error
