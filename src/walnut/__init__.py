"""Walnut: one write-ahead log, and a whole backend that grows on it."""

from walnut.log import Log, LogError, LogOptions, LogReader, Record, Retention, Ticket

__version__ = "0.1.0"

__all__ = ["Log", "LogError", "LogOptions", "LogReader", "Record", "Retention", "Ticket"]
