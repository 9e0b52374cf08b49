"""What the store's errors mean to a caller over HTTP.

What must stay true: every error of `walnut.store.errors` is here or in `INTERNAL`
(`tests/test_problems.py`), and a slug that was published keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from walnut.store import errors
from walnut.web.problems import Kind

PROBLEMS: Final[Mapping[type[Exception], Kind]] = {
    errors.UnknownTable: Kind("unknown-table", 404, "There is no table of this name"),
    errors.UnknownRow: Kind("unknown-row", 404, "There is no row with this key"),
    errors.UnknownIndex: Kind("unknown-index", 404, "The table has no index of this name"),
    errors.UnknownBackup: Kind("unknown-backup", 404, "No place or backup of this name"),
    errors.TableNotWritable: Kind("table-not-writable", 409, "Others write this table"),
    errors.ConditionFailed: Kind("condition-failed", 412, "It is not as it was said to be"),
    errors.AlreadyDefined: Kind("already-defined", 409, "It is there already, and different"),
    errors.WrongType: Kind("invalid-row", 422, "The row is not what its table takes"),
    errors.InvalidKey: Kind("invalid-key", 422, "This can't be a key, or a cursor"),
    errors.InvalidSetting: Kind("invalid-argument", 422, "An argument is out of its range"),
    errors.ValueTooLarge: Kind("too-large", 413, "More than may be written at once"),
    errors.NotUnique: Kind("not-unique", 409, "Another row has this key in a unique index"),
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
}

INTERNAL: Final[frozenset[type[Exception]]] = frozenset(
    {errors.NestedTransaction, errors.TransactionFinished, errors.AwaitInTransaction}
)
"""Misuse by the server's own code: answered as `internal`, and logged."""
