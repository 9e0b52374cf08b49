"""`StoreReader`: another process's store, read and followed; here beside its writer in one process."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.store.helpers import SMALL, Guest, Room, guests_of, rooms_of
from walnut.log.disk import Disk
from walnut.log.errors import LsnTruncated, NotALog
from walnut.log.model import Record
from walnut.store import Store, StoreReader, Table, remote
from walnut.store.engine import Engine
from walnut.store.errors import Erased, KeysMissing, SchemaChanged, TablesLost, UnknownTable
from walnut.store.fingerprint import fingerprint


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


def room_id(room: Room) -> str:
    return room.id


def reading(reader: StoreReader) -> Table[Room]:
    return reader.table("rooms", Room, key=room_id)


def test_it_shows_one_durable_state_and_moves_on_when_told(store: Store) -> None:
    rooms = rooms_of(store)
    store.call(rooms.put, Room("r1", "h", 1))
    with StoreReader(store.path, SMALL) as reader:
        theirs = reading(reader)
        assert theirs.get(reader, "r1") == Room("r1", "h", 1)
        store.call(rooms.put, Room("r2", "h", 1))
        store.call(rooms.delete, "r1")
        assert [row.id for row in theirs.scan(reader)] == ["r1"]
        assert reader.refresh() == store.applied_lsn == reader.lsn
        assert [row.id for row in theirs.scan(reader)] == ["r2"]
        assert theirs.get_many(reader, ["r1", "r2"]) == [None, Room("r2", "h", 1)]
        assert reader.refresh() == reader.lsn, "nothing new is no news"


def test_whatever_is_written_it_reads_what_the_writer_reads(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through folding, checkpoints behind its back, and beginning anew from the flushed tables."""
    monkeypatch.setattr(remote, "REBASE", 40)
    chance = random.Random(5)
    rooms = rooms_of(store)
    by_hotel = rooms.index("by_hotel", lambda room: room.hotel)
    with StoreReader(store.path, SMALL) as reader:
        theirs = reading(reader)
        index = reader.index(theirs, "by_hotel", lambda room: room.hotel)
        for _ in range(60):
            for _ in range(chance.randrange(8)):
                room = f"r{chance.randrange(30)}"
                if chance.random() < 0.7:
                    store.call(rooms.put, Room(room, f"h{chance.randrange(4)}", 1))
                else:
                    store.call(rooms.delete, room)
            if chance.random() < 0.2:
                store.checkpoint()
            assert reader.refresh() == store.applied_lsn
            assert list(theirs.scan(reader)) == list(rooms.scan(store))
            backwards = list(index.scan(reader, "h1", reverse=True))
            assert backwards == list(by_hotel.scan(store, "h1", reverse=True))
            assert fingerprint(reader, reader.lsn) == store.fingerprint()


def test_who_was_erased_is_erased_here_too(store: Store) -> None:
    guests = guests_of(store)
    by_email = guests.index("by_email", lambda guest: guest.email)
    for name in ("ann", "bob"):
        store.call(guests.put, Guest(name, f"{name}@x"))
    with StoreReader(store.path, SMALL) as reader:
        theirs = reader.table("guests", Guest, key=lambda row: row.id, subject=lambda row: row.id)
        index = reader.index(theirs, "by_email", lambda guest: guest.email)
        assert index.get(reader, "ann@x") == Guest("ann", "ann@x")
        store.erase("ann")
        reader.refresh()
        with pytest.raises(Erased):
            theirs.get(reader, "ann")
        assert list(theirs.scan(reader)) == [Guest("bob", "bob@x")]
        assert list(index.scan(reader)) == [Guest("bob", "bob@x")] == list(by_email.scan(store))


def test_who_was_erased_is_erased_here_though_the_file_still_has_the_key(
    store: Store, tmp_path: Path
) -> None:
    """The record is durable a moment before the writer destroys the key."""
    guests = guests_of(store)
    store.call(guests.put, Guest("ann", "ann@x"))
    with StoreReader(store.path, SMALL) as reader:
        theirs = reader.table("guests", Guest, key=lambda row: row.id, subject=lambda row: row.id)
        assert theirs.get(reader, "ann") == Guest("ann", "ann@x")
        keys = Path(store.path, "keys")
        shutil.copytree(keys, tmp_path / "before")
        store.erase("ann")
        shutil.rmtree(keys)
        shutil.copytree(tmp_path / "before", keys)
        reader.refresh()
        with pytest.raises(Erased):
            theirs.get(reader, "ann")


def test_opening_is_tried_again_while_the_writer_replaces_files(store: Store) -> None:
    rooms = rooms_of(store)
    store.call(rooms.put, Room("r1", "h", 1))
    tries = []

    def opener(disk: Disk, path: str, *, read_only: bool) -> Engine:
        tries.append(path)
        if len(tries) in {1, 3}:  # the public tables, then the private ones
            raise TablesLost("No such file or directory: 000018.sst")
        return SMALL.engine(disk, path, read_only=read_only)

    with StoreReader(store.path, msgspec.structs.replace(SMALL, engine=opener)) as reader:
        assert reading(reader).get(reader, "r1") == Room("r1", "h", 1)

    def lost(disk: Disk, path: str, *, read_only: bool) -> Engine:
        raise TablesLost(f"{disk}, {path}, {read_only}")

    with pytest.raises(TablesLost):
        StoreReader(store.path, msgspec.structs.replace(SMALL, engine=lost))


def test_a_log_truncated_while_it_is_read_leaves_the_state_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = rooms_of(store)
    store.call(rooms.put, Room("r1", "h", 1))
    with StoreReader(store.path, SMALL) as reader:
        theirs = reading(reader)
        store.call(rooms.put, Room("r1", "h", 2))
        store.call(rooms.put, Room("r1", "h", 3))
        read = reader.log.read

        def truncated(start: int, stop: int) -> Iterator[Record]:
            yield from itertools.islice(read(start, stop), 1)
            raise LsnTruncated(start + 1, stop)

        with monkeypatch.context() as patched:
            patched.setattr(reader.log, "read", truncated)
            with pytest.raises(TablesLost, match="truncated while"):
                reader.refresh()
        assert theirs.get(reader, "r1") == Room("r1", "h", 1)
        reader.refresh()
        assert theirs.get(reader, "r1") == Room("r1", "h", 3)


def test_changes_are_read_and_followed(store: Store) -> None:
    rooms = rooms_of(store)
    store.call(rooms.put, Room("r1", "h", 1))

    async def follow(reader: StoreReader) -> list[Any]:
        return [change.key async for change in reader.afollow(0, timeout=0.2)]

    with StoreReader(store.path, SMALL) as reader:
        assert [change.key for change in reader.changes()] == ["r1"]
        store.call(guests_of(store).put, Guest("g1", "e"))
        seen = [(change.table, change.key) for change in reader.follow(0, timeout=0.2)]
        assert seen == [("rooms", "r1"), ("guests", "g1")]
        assert asyncio.run(follow(reader)) == ["r1", "g1"]
        assert list(reader.follow(timeout=0.05)) == []


def test_a_reader_left_behind_by_truncation_says_so_and_can_begin_again(tmp_path: Path) -> None:
    options = msgspec.structs.replace(
        SMALL,
        window_bytes=0,
        log=msgspec.structs.replace(SMALL.log, segment_bytes=1 << 14, record_bytes=8192),
    )
    with Store(tmp_path, options) as store:
        rooms = rooms_of(store)
        store.call(rooms.put, Room("r1", "h", 1))
        with StoreReader(tmp_path, options) as reader:
            for number in range(400):
                store.call(rooms.put, Room("r1", "h" * 50, number))
            store.checkpoint()
            store.log.housekeep()
            with pytest.raises(TablesLost, match="open the store to read again"):
                reader.refresh()
        with StoreReader(tmp_path, options) as reader:
            found = reading(reader).get(reader, "r1")
            assert found is not None
            assert found.beds == 399


def test_what_is_not_there_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotALog):
        StoreReader(tmp_path / "nowhere", SMALL)
    rooms = rooms_of(store)
    store.call(rooms.put, Room("r1", "h", 1))
    with StoreReader(store.path, SMALL) as reader:
        with pytest.raises(UnknownTable, match="there are: rooms"):
            reader.table("room", Room, key=room_id)
        with pytest.raises(SchemaChanged):
            reader.table("rooms", Guest, key=lambda row: row.id)
        with pytest.raises(UnknownTable, match="no index 'by_beds'"):
            reader.index(reading(reader), "by_beds", lambda room: room.beds)
    shutil.copytree(f"{store.path}/log", tmp_path / "half" / "log")
    shutil.copytree(f"{store.path}/tables", tmp_path / "half" / "tables")
    with pytest.raises(KeysMissing, match="there are no keys in"):
        StoreReader(tmp_path / "half", SMALL)
    (tmp_path / "half" / "keys").mkdir()
    with pytest.raises(KeysMissing, match="there are no keys in"):
        StoreReader(tmp_path / "half", SMALL)
    store.backup(tmp_path / "backup")
    with pytest.raises(KeysMissing, match="there are no keys in"):
        Store.restore(tmp_path / "backup", tmp_path / "new", keys=tmp_path / "typo", options=SMALL)
    assert not (tmp_path / "new").exists()
