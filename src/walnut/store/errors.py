"""Every error the store raises on purpose.

Each message says what happened, to what, and what to do about it. All of them are `StoreError`;
what the log refuses (`LogFull`, `LogFailed`, ...) comes through as the log names it.
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of every error raised by `walnut.store`."""


class NestedTransaction(StoreError):
    """A transaction was begun inside another one of the same thread."""


class TransactionFinished(StoreError):
    """A transaction was used after its block or function had ended."""


class AwaitInTransaction(StoreError, TypeError):
    """A coroutine function was given where a plain one runs alone and without awaits."""


class UnknownTable(StoreError, LookupError):
    """No table of this name exists in the store."""


class UnknownRow(StoreError, LookupError):
    """No row has the key that was asked for."""


class UnknownIndex(StoreError, LookupError):
    """The table has no index of this name, or none that this process declared."""


class UnknownBackup(StoreError, LookupError):
    """No place for backups has this name, or the place holds no such backup."""


class TableNotWritable(StoreError):
    """A table was to be written by somebody who does not know what must hold in it."""


class BackupRunning(StoreError):
    """A backup to a place was asked for while another one to it is under way."""


class AlreadyDefined(StoreError):
    """A table or an index of this name was declared before, and differently."""


class WrongType(StoreError, TypeError):
    """A row is not of its table's type, or a type can't be the type of rows."""


class InvalidKey(StoreError, ValueError):
    """A key holds something that keys can't hold, or is too long."""


class ValueTooLarge(StoreError, ValueError):
    """A row, or all that a transaction wrote, is over the configured maximum."""


class InvalidSetting(StoreError, ValueError):
    """An option or an argument is out of its range."""


class NotUnique(StoreError):
    """A row would have the same key in a unique index as another row.

    Attributes:
        index: the index, as table.index.
        other: the key of the row that has it.
    """

    def __init__(self, index: str, other: object) -> None:
        super().__init__(
            f"{index} is unique and the row {other!r} has this key already: change that row first, "
            "or give this one another key"
        )
        self.index = index
        self.other = other


class SchemaChanged(StoreError):
    """The fields of a table's type are not those its stored rows were written with."""


class UnknownSchema(StoreError):
    """A stored row has a schema number that this program has no upgrader for."""


class RowDamaged(StoreError):
    """A stored row does not decode as its schema says."""


class KeyReused(StoreError):
    """An idempotency key was used for another function than the first time."""


class Erased(StoreError, LookupError):
    """The row was about a subject that has been erased: nobody can read it any more."""


class KeysMissing(StoreError):
    """The file with the keys of subjects is missing, damaged or belongs to another store."""


class ReadOnly(StoreError):
    """A row was to be changed through something to read from, and not through a transaction."""


class StoreClosed(StoreError):
    """The store was closed."""


class TablesLost(StoreError):
    """The tables are missing, damaged, or older than the log reaches back: rebuild them."""


class TablesAhead(StoreError):
    """The tables hold what the log does not: they do not belong together."""


class TablesFailed(StoreError):
    """RocksDB failed. `__cause__` says how. Close the store and open it again to recover."""


class BackupError(StoreError):
    """A backup is missing, incomplete, damaged, or does not reach the moment asked for."""


class BackupDiffers(BackupError):
    """What a backup restores is not what its store is: one of them is not as it was."""


class NotReached(StoreError, TimeoutError):
    """The store has not applied the LSN that was asked for within the time given."""


class NotRewindable(StoreError):
    """A range of the log can't be undone: before-images are missing, or rows changed since."""
