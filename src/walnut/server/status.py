"""The server at a glance: for `walnut status`, the console, and whoever watches it by JSON.

What must stay true: it only reads, and holds nobody up: routes call it in a thread.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from walnut.shutdown.model import Counts
from walnut.subsystem.model import ServerInfo


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """Where the data directory is.

    Attributes:
        free, total: bytes of the file system; `free` for us, without what is reserved for root.
        used: bytes that the data directory takes.
    """

    free: int
    total: int
    used: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The server at a glance.

    Attributes:
        state: of its lifecycle: "running", "drain", ...
        version: of Walnut. python: that runs it.
        pid: of its process.
        data: its data directory. addresses: that it listens on.
        started: ns since the Unix epoch. uptime_seconds: since then.
        inflight: what is under way. connections: that are open.
        disk: where its data is.
        subsystems: those that run, each with a status of its own type.
    """

    state: str
    version: str
    python: str
    pid: int
    data: str
    addresses: Sequence[str]
    started: int
    uptime_seconds: float
    inflight: Counts
    connections: int
    disk: Disk
    subsystems: dict[str, Any]


def disk_of(path: Path) -> Disk:
    """The disk beneath a directory."""
    usage = shutil.disk_usage(path)
    return Disk(free=usage.free, total=usage.total, used=_used(path))


def uptime(info: ServerInfo) -> float:
    """Seconds since the process began."""
    return max(0.0, (time.time_ns() - info.started) / 1e9)


def python_version() -> str:
    """As "3.12.4"."""
    return sys.version.split()[0]


def _used(path: Path) -> int:
    used = 0
    for one in path.rglob("*"):
        try:
            stat = one.lstat()
        except OSError:
            continue  # removed meanwhile
        used += stat.st_blocks * 512
    return used
