"""Walnut: one write-ahead log, and a whole backend that grows on it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from walnut.jobs import Jobs
    from walnut.log import Log, LogError, LogOptions, LogReader, Record, Retention, Ticket
    from walnut.store import Meta, Store, StoreError, StoreOptions, StoreReader, Transaction
    from walnut.topics import Topics

__version__ = "0.1.0"

__all__ = [
    "Jobs", "Log", "LogError", "LogOptions", "LogReader", "Meta", "Record", "Retention", "Store",
    "StoreError", "StoreOptions", "StoreReader", "Ticket", "Topics", "Transaction",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """A name, once it is asked for: who only wants a log does not load RocksDB, and a child process
    that runs a task loads neither."""
    if name in __all__:
        for place in ("walnut.log", "walnut.store", "walnut.jobs", "walnut.topics"):
            module = import_module(place)
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module 'walnut' has no attribute {name!r}")
