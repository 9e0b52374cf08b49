"""Walnut: one write-ahead log, and a whole backend that grows on it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from walnut.log import Log, LogError, LogOptions, LogReader, Record, Retention, Ticket

if TYPE_CHECKING:
    from walnut.jobs import Jobs
    from walnut.store import Meta, Store, StoreError, StoreOptions, StoreReader, Transaction

__version__ = "0.1.0"

__all__ = [
    "Jobs", "Log", "LogError", "LogOptions", "LogReader", "Meta", "Record", "Retention", "Store", "StoreError",
    "StoreOptions", "StoreReader", "Ticket", "Transaction",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Names above the log, once they are asked for: who only wants a log does not load RocksDB."""
    if name == "Jobs":
        return import_module("walnut.jobs").Jobs
    if name in __all__:
        return getattr(import_module("walnut.store"), name)
    raise AttributeError(f"module 'walnut' has no attribute {name!r}")
