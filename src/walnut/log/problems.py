"""What the log's errors mean to a caller over HTTP.

What must stay true: every error of `walnut.log.errors` is here (`tests/test_problems.py`), and a slug
that was published keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from walnut.log import errors
from walnut.web.problems import Kind

RETRY_SECONDS: Final = 5
"""After which trying again makes sense where somebody has to act first, as on a full disk."""

PROBLEMS: Final[Mapping[type[Exception], Kind]] = {
    errors.LsnTruncated: Kind("lsn-truncated", 410, "The log no longer holds this LSN"),
    errors.LsnUnknown: Kind("lsn-unknown", 404, "The log has no such LSN yet"),
    errors.SlotLost: Kind("unknown-slot", 404, "There is no slot of this name"),
    errors.InvalidOption: Kind("invalid-argument", 422, "An argument is out of its range"),
    errors.InvalidRecord: Kind("invalid-record", 422, "This can't be a record"),
    errors.RecordTooLarge: Kind("too-large", 413, "More than may be written at once"),
    errors.StaleSequence: Kind("stale-sequence", 409, "The sequence number is too old to tell"),
    errors.EndMoved: Kind("contended", 503, "Others wrote all the time meanwhile", 1),
    errors.WaitTimeout: Kind("not-durable-yet", 504, "Not durable within the time given"),
    errors.BufferFull: Kind("overloaded", 503, "More is waiting to be written than may wait", 1),
    errors.LogFull: Kind("disk-full", 507, "No room on the disk", RETRY_SECONDS),
    errors.LogFailed: Kind("log-failed", 503, "A write failed: the log takes no more", 30),
    errors.LogClosed: Kind("stopping", 503, "The server is stopping", 1),
    errors.DiskError: Kind("disk-error", 500, "The disk failed to do something"),
    errors.LogCorrupt: Kind("log-corrupt", 500, "What was durable is damaged or missing"),
    errors.ArchiveError: Kind("archive-failed", 502, "An archive can't be written or read"),
    errors.LogLocked: Kind("log-locked", 500, "Another process has the log open"),
    errors.NotALog: Kind("not-a-log", 500, "There is no log where one should be"),
    errors.UnknownFormat: Kind("unknown-format", 500, "Written by a Walnut of another version"),
}
