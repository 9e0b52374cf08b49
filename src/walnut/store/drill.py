"""A backup is verified by restoring it.

    backup ──▶ restored in a scratch directory ──▶ folded on with the store's own log ──▶ the same?

What was restored is folded on to what the store is now, so that both are of one LSN however much was
written since: then their fingerprints are one, or the backup is not good. Where the store's log no
longer reaches back to the backup, all of it is restored and read, and nothing is there to compare.

What must stay true: neither the backup nor the store is changed, their keys neither, which stay where
they are; and nothing of what was restored is left.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

import msgspec

from walnut.log import Log, LogReader
from walnut.log.archive import Archive
from walnut.log.disk import StrPath
from walnut.log.errors import LsnTruncated
from walnut.log.place import Place
from walnut.store.backup import restore_files
from walnut.store.errors import BackupDiffers, TablesLost
from walnut.store.fingerprint import fingerprint
from walnut.store.keyring import Keyring, find_keyring
from walnut.store.model import StoreOptions
from walnut.store.redo import Progress, redo
from walnut.store.rocks import remove_tables
from walnut.store.snapshot import Snapshot
from walnut.store.tables import Tables
from walnut.store.transaction import Reader


class BackupCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was restored and found good.

    Attributes:
        lsn: it was restored up to this LSN.
        base_lsn: from the tables that the backup has of this LSN.
        transactions: folded into them from the backup's log.
        compared_lsn: at this LSN it is the same as the store; None if the store's log no longer
            reaches back to `lsn`, so that all was read and nothing compared.
        fingerprint: of all that was read.
        seconds: that it took.
    """

    lsn: int
    base_lsn: int
    transactions: int
    compared_lsn: int | None
    fingerprint: str
    seconds: float


def check_backup(
    url: StrPath,
    path: str,
    log: Log | LogReader,
    live: Callable[[], tuple[Reader, int]],
    options: StoreOptions,
    to: int | dt.datetime | None,
    progress: Progress | None,
) -> BackupCheck:
    """Restore a backup of the store at `path`, whose log is given, and compare it with `live`: what
    reads that store, and the LSN it is of. See `Store.check_backup`."""
    started = time.perf_counter()
    manifest = Archive(Place(url).inside("log")).manifest()
    if manifest is not None and manifest.log_id != log.log_id:
        raise BackupDiffers(f"{url} holds a backup of another store ({manifest.log_id[:8]})")
    scratch, disk = f"{path}/tables.checking", options.log.disk
    remove_tables(scratch)  # of a check that was killed
    try:
        restore_files(url, scratch, to, options.log, progress)
        # What is erased in the backup's log is forgotten here and not in the file, which has it done.
        keyring = find_keyring(disk, f"{path}/keys")
        with Log(f"{scratch}/log", options.log) as restored:
            tables = Tables(disk, f"{scratch}/tables", options.engine, keyring, read_only=False)
            try:
                redone = redo(restored, tables, keyring, progress=progress)
                reader = _fold_on(url, log, tables, keyring, live, progress)
                found, lsn = _read_all(tables, keyring)
            finally:
                tables.close()
        if reader is not None and (theirs := fingerprint(reader, lsn)) != found:
            raise BackupDiffers(
                f"what {url} restores ({found}) is not the store ({theirs}) at LSN {lsn}: find out "
                "which is wrong by `walnut store verify`, and take a new backup in another place"
            )
        return BackupCheck(
            lsn=redone.upto,
            base_lsn=redone.after,
            transactions=redone.transactions,
            compared_lsn=None if reader is None else lsn,
            fingerprint=found,
            seconds=time.perf_counter() - started,
        )
    finally:
        remove_tables(scratch)


def _read_all(tables: Tables, keyring: Keyring) -> tuple[str, int]:
    view, lsn = tables.snapshot()
    return fingerprint(Snapshot(view, lsn, keyring), lsn), lsn


def _fold_on(
    url: StrPath,
    log: Log | LogReader,
    tables: Tables,
    keyring: Keyring,
    live: Callable[[], tuple[Reader, int]],
    progress: Progress | None,
) -> Reader | None:
    """Fold into the tables what the store has and they have not; gives what they are to be compared
    with, or None if the log no longer has all of it. Raises BackupDiffers."""
    durable = log.position().durable_lsn
    if tables.newest > durable:
        raise BackupDiffers(
            f"{url} restores LSN {tables.newest} and the store ends at {durable}: the store has lost "
            "what its backup has, or went another way since"
        )
    try:
        reader, lsn = live()
        redo(log, tables, keyring, upto=lsn, progress=progress)
    except (TablesLost, LsnTruncated):
        return None
    return reader
