"""A disk that is full: who is refused is told, nothing refused shows, what was answered is there, and
with space it goes on."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.log.processes import child
from tests.log.test_full_disk import small_disk_or_limit
from tests.store.children import OPTIONS, Shop
from tests.store.helpers import Room, rooms_of
from walnut.log.errors import LogError, LogFull
from walnut.log.model import LogOptions
from walnut.store import Store, StoreError, StoreOptions, Transaction
from walnut.store.errors import TablesFailed
from walnut.store.execution import Answer
from walnut.testing.disk import SimDisk
from walnut.testing.engine import OpenModel

CHILDREN = Path(__file__).with_name("children.py")


def test_under_a_file_size_limit(tmp_path: Path) -> None:
    with child("limited", tmp_path / "data", file=CHILDREN) as writer:
        lines = writer.hear_all()
        assert writer.end() == 0
    answered = {line[1] for line in lines if line[0] == "ack"}
    refused = {line[1] for line in lines if line[0] == "refused"}
    assert len(answered) >= 50
    assert refused
    assert not answered & refused
    assert ["items", str(len(answered - {"after"}))] in [line[:2] for line in lines]
    with Store(tmp_path / "data", OPTIONS) as store:
        shop = Shop(store)
        names = {item.name for item in shop.items.scan(store)}
        assert answered <= names
        assert len(names) == shop.counter.value(store) == shop.visitors.count(store)
        assert len(names - answered) <= 1, "what was refused is there"


@pytest.mark.parametrize("room", [30, 150, 400, 700])
def test_on_a_disk_that_others_fill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Whether it is the log or the tables that meet the end of the disk first."""
    disk, answered = tmp_path / "disk", set[str]()
    with small_disk_or_limit(disk, monkeypatch, size=6000):
        store = Store(disk / "data", OPTIONS)
        rooms, stock = rooms_of(store), store.counter("rooms")

        def enter(tx: Transaction, name: str) -> None:
            # Nothing that compresses: tables have to grow, however fast the log is truncated.
            rooms.put(tx, Room(name, os.urandom(1000).hex(), 1))
            stock.add(tx)

        def work(names: range) -> int:
            refused = 0
            for number in names:
                try:
                    store.call(enter, f"r{number}")
                except (LogError, StoreError):
                    refused += 1
                else:
                    answered.add(f"r{number}")
            return refused

        assert work(range(50)) == 0
        ballast = disk / "ballast"
        used = sum(file.stat().st_blocks for file in disk.rglob("*")) // 2
        with ballast.open("wb") as file:
            try:
                file.write(bytes(max(0, 6000 - used - room) << 10))
            except OSError:
                file.truncate()
        assert work(range(50, 1000)), "the disk was to be full"
        assert {room.id for room in rooms.scan(store)} == answered
        assert stock.value(store) == len(answered)
        ballast.unlink()
        if store.log.failure is not None or work(range(1000, 1010)):
            with suppress(TablesFailed):
                store.close()
            store = Store(disk / "data", OPTIONS)
            rooms, stock = rooms_of(store), store.counter("rooms")
        assert work(range(2000, 2050)) == 0, "there is space again"
        with suppress(TablesFailed):  # RocksDB remembers; opening folds what its tables miss
            store.close()
        with Store(disk / "data", OPTIONS) as store:
            found = {room.id for room in rooms_of(store).scan(store)}
            assert answered <= found
            assert len(found) == store.counter("rooms").value(store)
            assert len(found - answered) <= 1, "what was refused is there"


def test_who_has_read_what_is_then_refused_is_not_answered() -> None:
    disk = SimDisk(1)
    log = LogOptions(background=False, disk=disk, segment_bytes=1 << 16)
    store = Store("sim/store", StoreOptions(log=log, engine=OpenModel(1, 0.0)))
    rooms = rooms_of(store)

    def refused_meanwhile(tx: Transaction, answer: Answer[Room]) -> Room | None:
        seen = rooms.get(tx, "r1")
        with pytest.raises(LogFull):
            answer.wait()
        return seen

    disk.faults.capacity = disk.used()
    answer = store.submit(rooms.put, Room("r1", "h" * (1 << 16), 2))  # needs another segment
    with pytest.raises(LogFull):
        store.call(refused_meanwhile, answer)
    assert rooms.get(store, "r1") is None
    disk.crashed = True
