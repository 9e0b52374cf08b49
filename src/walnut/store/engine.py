"""What holds the tables: sorted bytes, written in batches, flushed as a whole or not at all.

Two of these stand under a store, as RocksDB (`rocks`) or as a model of it (`walnut.testing`): one
for all that is copied by backups, one for what must not be (`tables`).

What must stay true: a batch is applied whole; after a crash the engine holds the state after some
batch, with the `applied` LSN that was written in that same batch, and no batch before it missing.
There is no log in here: what was not flushed is gone, and is folded again from the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec

from walnut.log.disk import Disk

APPLIED_KEY: Final = b"\0\0\0\0applied"
"""Where an engine keeps the LSN it has applied; 8 bytes, big-endian."""


class View(Protocol):
    """Something sorted to read from."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of many keys."""

    def walk(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values from `start` up to, not with, `stop`; or the same ones backwards."""


class Batch(msgspec.Struct):
    """Changes to be applied as one: emptied ranges first, then single keys; None deletes."""

    writes: dict[bytes, bytes | None] = {}
    ranges: list[tuple[bytes, bytes]] = []


class Engine(View, Protocol):
    """The place of some tables. One thread writes at a time; any thread reads."""

    def write(self, batch: Batch, applied: int) -> None:
        """Apply a batch, not durably, and move the applied LSN. Raises TablesFailed."""

    def flush(self) -> None:
        """Make all that was written durable. Raises TablesFailed."""

    def snapshot(self) -> View:
        """The state as it is now, whatever is written later."""

    def compact(self, start: bytes, stop: bytes) -> None:
        """Drop from the disk what was deleted in this range."""

    def copy_to(self, path: str) -> None:
        """Put a copy of the flushed state into a new directory, by hard links where possible."""

    def memory_bytes(self) -> int:
        """Bytes of memory that it holds for data not yet flushed, and for caching."""

    def close(self) -> None:
        """Let go of the files, without a flush."""


class OpenEngine(Protocol):
    """Opens an engine: `(disk, path, read_only=...)`. Raises TablesLost if it is damaged."""

    def __call__(self, disk: Disk, path: str, *, read_only: bool) -> Engine:
        """Open, or make, the engine at `path`."""


def applied_lsn(view: View) -> int:
    """The LSN that a view is the state after; 0 for an empty one."""
    return int.from_bytes(view.get(APPLIED_KEY) or b"", "big")
