"""What several tests of the store need."""

from __future__ import annotations

from pathlib import Path

import msgspec

from walnut.log import LogOptions
from walnut.store import RocksOptions, Store, StoreOptions, Table

MIB = 1 << 20

SMALL = StoreOptions(
    log=LogOptions(segment_bytes=MIB),
    engine=RocksOptions(memtable_bytes=MIB, cache_bytes=MIB),
    window_seconds=None,
)
"""Little memory and small segments, so that opening costs little."""


class Room(msgspec.Struct):
    """A row."""

    id: str
    hotel: str
    beds: int


class Guest(msgspec.Struct):
    """A row about somebody."""

    id: str
    email: str
    name: str = ""


def rooms_of(store: Store) -> Table[Room]:
    """The table of rooms, with before-images."""
    return store.table("rooms", Room, key=lambda room: room.id, before=True)


def guests_of(store: Store) -> Table[Guest]:
    """The table of guests, which are subjects."""
    return store.table("guests", Guest, key=lambda guest: guest.id, subject=lambda guest: guest.id)


def every_byte(path: Path) -> bytes:
    """Everything in all files under a directory."""
    return b"\n".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())
