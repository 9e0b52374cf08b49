"""What the errors of the store, and of the log beneath it, mean to a caller over HTTP.

What must stay true: every error of `walnut.store.errors` and `walnut.log.errors` is here or in
`INTERNAL` (`tests/store/test_problems.py`), and a slug that was published keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from walnut.log import errors as log
from walnut.store import errors
from walnut.web.errors import InvalidRequest
from walnut.web.problems import Kind


class InvalidRow(InvalidRequest):
    """A row's fields are not those of its table."""


RETRY_SECONDS: Final = 5
"""After which trying again makes sense where somebody has to act first, as on a full disk."""

PROBLEMS: Final[Mapping[type[Exception], Kind]] = {
    errors.UnknownTable: Kind("unknown-table", 404, "There is no table of this name"),
    errors.UnknownRow: Kind("unknown-row", 404, "There is no row with this key"),
    errors.UnknownIndex: Kind("unknown-index", 404, "The table has no index of this name"),
    errors.UnknownBackup: Kind("unknown-backup", 404, "No place or backup of this name"),
    errors.TableNotWritable: Kind("table-not-writable", 409, "Others write this table"),
    InvalidRow: Kind(
        "invalid-row", 422, "The row's fields are not those of its table", members=("errors",)
    ),
    errors.AlreadyDefined: Kind("already-defined", 409, "It is there already, and different"),
    errors.WrongType: Kind("wrong-type", 422, "The row can't be stored"),
    errors.InvalidKey: Kind("invalid-key", 422, "This can't be a key, or a cursor"),
    errors.InvalidSetting: Kind("invalid-argument", 422, "An argument is out of its range"),
    errors.ValueTooLarge: Kind("row-too-large", 413, "The row is larger than rows may be"),
    errors.NotUnique: Kind(
        "not-unique", 409, "Another row has this key in a unique index", members=("index",)
    ),
    errors.KeyReused: Kind("key-reused", 422, "The idempotency key was used for something else"),
    errors.Erased: Kind("erased", 410, "The row was about somebody who has been erased"),
    errors.NotReached: Kind("not-reached", 504, "The LSN was not reached in time", 1),
    errors.NotRewindable: Kind("not-rewindable", 409, "This can't be undone"),
    errors.BackupRunning: Kind("backup-running", 409, "A backup to this place is under way", 5),
    errors.BackupDiffers: Kind("backup-differs", 500, "A backup is not what the store is"),
    errors.BackupError: Kind("backup-failed", 502, "A backup can't be made or read"),
    errors.ReadOnly: Kind("read-only", 409, "This can only be read"),
    errors.StoreClosed: Kind("stopping", 503, "The server is stopping", 1),
    errors.UnknownSchema: Kind("unknown-schema", 500, "The row has a schema nobody here knows"),
    errors.RowDamaged: Kind("row-damaged", 500, "The row does not decode"),
    errors.KeysMissing: Kind("keys-missing", 500, "The keys of subjects are not there"),
    errors.TablesFailed: Kind("tables-failed", 503, "The tables' engine failed", 30),
    errors.SchemaChanged: Kind("schema-changed", 500, "The table is not as it was declared"),
    errors.TablesLost: Kind("tables-lost", 500, "The tables are missing or damaged"),
    errors.TablesAhead: Kind("tables-ahead", 500, "Tables and log do not belong together"),
    log.LsnTruncated: Kind(
        "lsn-truncated", 410, "The log no longer holds this LSN", members=("first_lsn",)
    ),
    log.LsnUnknown: Kind("lsn-unknown", 404, "The log has no such LSN yet"),
    log.SlotLost: Kind("unknown-slot", 404, "There is no slot of this name"),
    log.InvalidOption: Kind("invalid-argument", 422, "An argument is out of its range"),
    log.InvalidRecord: Kind("invalid-record", 422, "This can't be a record"),
    log.RecordTooLarge: Kind("record-too-large", 413, "More than may be written at once"),
    log.StaleSequence: Kind("stale-sequence", 409, "The sequence number is too old to tell"),
    log.EndMoved: Kind("contended", 503, "Others wrote all the time meanwhile", 1),
    log.WaitTimeout: Kind("not-durable-yet", 504, "Not durable within the time given"),
    log.BufferFull: Kind("buffer-full", 503, "More is waiting to be written than may wait", 1),
    log.LogFull: Kind("disk-full", 507, "No room on the disk", RETRY_SECONDS),
    log.LogFailed: Kind("log-failed", 503, "A write failed: the log takes no more", 30),
    log.LogClosed: Kind("stopping", 503, "The server is stopping", 1),
    log.DiskError: Kind("disk-error", 500, "The disk failed to do something"),
    log.LogCorrupt: Kind("log-corrupt", 500, "What was durable is damaged or missing"),
    log.ArchiveError: Kind("archive-failed", 502, "An archive can't be written or read"),
    log.LogLocked: Kind("log-locked", 500, "Another process has the log open"),
    log.NotALog: Kind("not-a-log", 500, "There is no log where one should be"),
    log.UnknownFormat: Kind("unknown-format", 500, "Written by a Walnut of another version"),
}

INTERNAL: Final[frozenset[type[Exception]]] = frozenset(
    {errors.NestedTransaction, errors.TransactionFinished, errors.AwaitInTransaction}
)
"""Misuse by the server's own code: answered as `internal`, and logged."""
