"""Walnut: one write-ahead log, and a whole backend that grows on it."""

from walnut.log import Log, LogError, LogOptions, LogReader, Record, Retention, Ticket
from walnut.store import Meta, Store, StoreError, StoreOptions, StoreReader, Transaction

__version__ = "0.1.0"

__all__ = [
    "Log", "LogError", "LogOptions", "LogReader", "Meta", "Record", "Retention", "Store", "StoreError",
    "StoreOptions", "StoreReader", "Ticket", "Transaction",
]  # fmt: skip
