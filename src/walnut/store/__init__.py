"""The store: tables folded from the log. `docs/store.md` teaches it, `docs/store-format.md` specifies
what it writes."""

from walnut.store.changes import ERASED, Change
from walnut.store.drill import BackupCheck
from walnut.store.errors import StoreError
from walnut.store.model import StoreOptions, StoreStat
from walnut.store.record import Meta
from walnut.store.remote import StoreReader
from walnut.store.rocks import RocksOptions
from walnut.store.snapshot import Snapshot
from walnut.store.store import Store
from walnut.store.table import Index, Page, Table
from walnut.store.transaction import Reader, Transaction

__all__ = [
    "ERASED",
    "BackupCheck",
    "Change",
    "Index",
    "Meta",
    "Page",
    "Reader",
    "RocksOptions",
    "Snapshot",
    "Store",
    "StoreError",
    "StoreOptions",
    "StoreReader",
    "StoreStat",
    "Table",
    "Transaction",
]
