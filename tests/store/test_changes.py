"""The feed says what happened; rewinding takes it back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.helpers import SMALL, Guest, Room, guests_of, rooms_of
from walnut.store import Change, Meta, Store
from walnut.store.errors import NotRewindable, UnknownTable
from walnut.store.record import utc


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path, SMALL) as store:
        yield store


def brief(change: Change) -> tuple[str, object, object, object]:
    return change.table, change.key, change.before, change.after


def test_every_change_is_told_with_who_and_why(store: Store) -> None:
    rooms = rooms_of(store)
    by_hotel = rooms.index("by_hotel", lambda room: room.hotel)
    start = store.log.durable_lsn
    who = Meta(principal="ann", reason="new wing", request_id="q1")
    with store.by(who).transaction() as tx:
        rooms.put(tx, Room("r1", "h", 1))
        rooms.put(tx, Room("r2", "h", 1))
        time = tx.time
    with store.transaction() as tx:
        rooms.put(tx, Room("r1", "h", 2))
        rooms.delete(tx, "r2")
        store.counter("n").add(tx)
    changes = list(store.changes(start))
    assert list(map(brief, changes)) == [
        ("rooms", "r1", None, Room("r1", "h", 1)),
        ("rooms", "r2", None, Room("r2", "h", 1)),
        ("rooms", "r1", Room("r1", "h", 1), Room("r1", "h", 2)),
        ("rooms", "r2", Room("r2", "h", 1), None),
    ]
    assert changes[0].meta == who
    assert changes[0].lsn == start + 1
    assert changes[0].time == utc(time)
    assert changes[2].meta == Meta()
    assert list(store.changes(start + 1, upto=start + 1)) == []
    assert list(store.changes(start, upto=start + 1)) == changes[:2]
    assert by_hotel.count(store) == 1


def test_only_some_tables(store: Store) -> None:
    rooms, guests = rooms_of(store), guests_of(store)
    with store.transaction() as tx:
        rooms.put(tx, Room("r1", "h", 1))
        guests.put(tx, Guest("g1", "a@x"))
    assert [change.table for change in store.changes(tables=["guests"])] == ["guests"]
    assert [change.table for change in store.changes()] == ["rooms", "guests"]
    with pytest.raises(UnknownTable, match="halls"):
        store.changes(tables=["halls"])


def test_rows_of_undeclared_tables_are_dicts(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        rooms = rooms_of(store)
        with store.transaction() as tx:
            rooms.put(tx, Room("r1", "h", 1))
    with Store(tmp_path, SMALL) as store:
        assert [change.after for change in store.changes()] == [
            {"id": "r1", "hotel": "h", "beds": 1}
        ]


def test_following(store: Store) -> None:
    rooms = rooms_of(store)
    seen: list[Change] = []

    def follow() -> None:
        for change in store.follow(0, timeout=60):
            seen.append(change)
            if len(seen) == 5:
                break

    following = threading.Thread(target=follow)
    following.start()
    for number in range(5):
        with store.transaction() as tx:
            rooms.put(tx, Room(f"r{number}", "h", 1))
    following.join()
    assert [change.key for change in seen] == [f"r{number}" for number in range(5)]

    async def main() -> list[object]:
        return [change.key async for change in store.afollow(0, timeout=0.1)]

    assert asyncio.run(main()) == [f"r{number}" for number in range(5)]


def test_a_range_can_be_taken_back(store: Store) -> None:
    rooms = rooms_of(store)
    by_hotel = rooms.index("by_hotel", lambda room: room.hotel)
    with store.transaction() as tx:
        rooms.put(tx, Room("r1", "h1", 1))
        rooms.put(tx, Room("r2", "h1", 1))
    good = store.log.durable_lsn
    with store.transaction() as tx:  # a bad import
        rooms.put(tx, Room("r1", "h2", 9))
        rooms.delete(tx, "r2")
    with store.transaction() as tx:
        rooms.put(tx, Room("r1", "h3", 9))
        rooms.put(tx, Room("r3", "h3", 9))
    bad = store.log.durable_lsn
    with store.transaction() as tx:
        rooms.put(tx, Room("r9", "h9", 9))
    plan = store.rewind(good + 1, bad)
    assert [change.key for change in plan.changes] == ["r3", "r1", "r2", "r1"]
    assert rooms.get(store, "r3") is not None, "looking at a plan changes nothing"
    assert store.by(Meta(reason="undo the import")).call(plan.apply) == 3
    assert list(rooms.scan(store)) == [
        Room("r1", "h1", 1), Room("r2", "h1", 1), Room("r9", "h9", 9),
    ]  # fmt: skip
    assert [room.id for room in by_hotel.scan(store, "h1")] == ["r1", "r2"]


def test_what_can_not_be_taken_back_is_refused(store: Store) -> None:
    rooms, guests = rooms_of(store), guests_of(store)
    with store.transaction() as tx:
        rooms.put(tx, Room("r1", "h", 1))
    lsn = store.log.durable_lsn
    plan = store.rewind(lsn, lsn)
    with store.transaction() as tx:
        rooms.put(tx, Room("r1", "h", 2))
    with pytest.raises(NotRewindable, match="changed again"):
        store.call(plan.apply)
    with store.transaction() as tx:
        guests.put(tx, Guest("g1", "a@x"))
    lsn = store.log.durable_lsn
    with pytest.raises(NotRewindable, match="before=True"):
        store.rewind(lsn, lsn)
