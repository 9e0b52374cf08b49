"""After a failed sync nobody is told what may not have survived it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.helpers import Room, rooms_of
from walnut.log.errors import LogFailed
from walnut.log.model import LogOptions
from walnut.store import Meta, Store, StoreOptions, Table, Transaction
from walnut.testing.disk import SimDisk
from walnut.testing.engine import OpenModel


@pytest.fixture
def failed() -> Iterator[tuple[Store, Table[Room]]]:
    """A store whose last record was written, and not synced."""
    disk = SimDisk(1)
    log = LogOptions(background=False, disk=disk)
    store = Store("sim/store", StoreOptions(log=log, engine=OpenModel(1, 0.0)))
    rooms = rooms_of(store)
    disk.faults.fail_sync_after = 0
    with pytest.raises(LogFailed):
        store.by(Meta("ann", key="k")).call(_put, rooms)
    yield store, rooms
    disk.crashed = True


def _put(tx: Transaction, rooms: Table[Room]) -> Room:
    return rooms.put(tx, Room("r1", "h9", 2))


def test_a_repeat_under_its_key_is_not_answered(failed: tuple[Store, Table[Room]]) -> None:
    store, rooms = failed
    with pytest.raises(LogFailed):
        store.by(Meta("ann", key="k")).call(_put, rooms)


def test_a_transaction_that_only_reads_is_not_answered(failed: tuple[Store, Table[Room]]) -> None:
    store, rooms = failed
    with pytest.raises(LogFailed):
        store.call(rooms.get, "r1")
    with pytest.raises(LogFailed), store.transaction() as tx:
        rooms.get(tx, "r1")
    assert rooms.get(store, "r1") is None  # what is durable can be read
