"""The write-ahead log. `docs/log.md` teaches it, `docs/log-format.md` specifies its files."""

from walnut.log.commit import Ticket
from walnut.log.errors import LogError
from walnut.log.log import Log
from walnut.log.model import LogOptions, LogStat, Record, Recovery, Retention
from walnut.log.remote import LogReader
from walnut.log.slots import Slot

__all__ = [
    "Log",
    "LogError",
    "LogOptions",
    "LogReader",
    "LogStat",
    "Record",
    "Recovery",
    "Retention",
    "Slot",
    "Ticket",
]
