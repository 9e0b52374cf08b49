"""Tables made a second time: in place of lost ones, and to compare with those there are.

What must stay true: nothing here changes a store that is in use; what is made anew is made beside it and
checked before it takes a place.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from walnut.log import Log
from walnut.log.disk import StrPath
from walnut.log.opening import find_directory
from walnut.log.place import Place
from walnut.store.backup import fetch_base
from walnut.store.engine import OpenEngine
from walnut.store.errors import TablesLost
from walnut.store.fingerprint import fingerprint
from walnut.store.model import Redo, StoreOptions
from walnut.store.redo import Progress, redo
from walnut.store.rocks import remove_tables
from walnut.store.snapshot import Snapshot
from walnut.store.store import Store
from walnut.store.tables import Tables


class Verified(msgspec.Struct, frozen=True):
    """The fingerprints of a store's tables and of what its log makes, at the same LSN."""

    lsn: int
    tables: str
    log: str

    @property
    def same(self) -> bool:
        """They are one and the same."""
        return self.tables == self.log


def rebuild(
    path: StrPath,
    *,
    backup: StrPath | None = None,
    options: StoreOptions | None = None,
    progress: Progress | None = None,
) -> Redo:
    """Make the tables of a store anew: from its whole log, or from a base in a backup and the log
    after it. The old ones are set aside as `tables.old`.

    Raises TablesLost if the log alone does not reach back to the beginning; BackupError, LogLocked."""
    options = options or StoreOptions()
    find_directory(f"{path}/log", options.log, create=False)
    with Log(f"{path}/log", options.log) as log:  # nobody else may have it
        first, last, log_id = log.first_lsn, log.durable_lsn, log.log_id
    tables = Path(path) / "tables"
    fresh = Path(f"{path}/tables.new")
    remove_tables(str(fresh))
    fresh.mkdir()
    if backup is not None:
        fetch_base(Place(backup), first - 1, last, log_id, str(fresh / "public"))
    elif first > 1:
        raise TablesLost(
            f"the log begins at LSN {first}, so it can't make the tables alone: give a backup, whose "
            "tables it goes on from"
        )
    aside = tables.with_name("tables.old")
    remove_tables(str(aside))
    if tables.exists():
        tables.rename(aside)
    fresh.rename(tables)
    with Store(path, options, progress=progress) as store:
        return store.redo


def verify(
    store: Store, *, backup: StrPath | None = None, progress: Progress | None = None
) -> Verified:
    """Fold the log into second tables and compare them with the store's, at the same LSN. Others go
    on meanwhile.

    Args:
        backup: where to begin, if the log no longer reaches back to the beginning.

    Raises TablesLost, BackupError."""
    scratch = f"{store.path}/tables.verifying"
    remove_tables(scratch)
    Path(scratch).mkdir()
    try:
        if backup is not None:
            fetch_base(Place(backup), 0, store.applied_lsn, store.log.log_id, f"{scratch}/public")
        return verify_tables(store, store.options.engine, scratch, progress)
    finally:
        remove_tables(scratch)


def verify_tables(
    store: Store, engine: OpenEngine, scratch: str, progress: Progress | None = None
) -> Verified:
    """`verify` with the second tables in `scratch`, which may hold a base already."""
    snapshot = store.snapshot()
    second = Tables(store.options.log.disk, scratch, engine, store.keyring, read_only=False)
    try:
        redo(store.log, second, store.keyring, upto=snapshot.lsn, progress=progress)
        view, lsn = second.snapshot()
        theirs = fingerprint(Snapshot(view, lsn, store.keyring), lsn)
        return Verified(snapshot.lsn, fingerprint(snapshot, snapshot.lsn), theirs)
    finally:
        second.close()
