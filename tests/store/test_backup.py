"""Backups, and every moment restored from them."""

from __future__ import annotations

import datetime as dt
import random
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.store.helpers import SMALL, Guest, Room, every_byte, guests_of, rooms_of
from walnut.log.errors import ArchiveError, NotALog
from walnut.store import Store, StoreReader
from walnut.store.care import rebuild, verify
from walnut.store.engine import Batch
from walnut.store.errors import BackupDiffers, BackupError, InvalidSetting, TablesAhead, TablesLost
from walnut.store.keyring import find_keyring


def live(store: Store, rng: random.Random, steps: int) -> dict[int, dict[str, Room]]:
    """A random life of the rooms; what there was after each LSN."""
    rooms = store._declared.declared.get("rooms") or rooms_of(store)
    states: dict[int, dict[str, Room]] = {}
    state = {room.id: room for room in rooms.scan(store)}
    states[store.log.durable_lsn] = dict(state)
    for _ in range(steps):
        name = f"r{rng.randrange(30)}"
        with store.transaction() as tx:
            if rng.random() < 0.3:
                rooms.delete(tx, name)
                state.pop(name, None)
                store.counter("steps").add(tx)
            else:
                state[name] = rooms.put(tx, Room(name, f"h{rng.randrange(5)}", rng.randrange(9)))
        states[store.log.durable_lsn] = dict(state)
    return states


def rooms_in(path: Path) -> dict[str, Room]:
    with Store(path, SMALL) as store:
        rooms = rooms_of(store)
        by_hotel = rooms.index("by_hotel", lambda room: room.hotel)
        found = {room.id: room for room in rooms.scan(store)}
        assert sorted(room.id for room in by_hotel.scan(store)) == sorted(found)
        return found


FORGETFUL = msgspec.structs.replace(
    SMALL,
    window_bytes=0,
    log=msgspec.structs.replace(SMALL.log, segment_bytes=16 * 1024, record_bytes=8192),
)
"""Lets go of the log as soon as the tables are flushed."""
NEVER = dt.datetime.max.replace(tzinfo=dt.UTC)


def test_any_lsn_and_any_time_can_be_restored(tmp_path: Path) -> None:
    rng = random.Random(3)
    states: dict[int, dict[str, Room]] = {}
    times: dict[int, dt.datetime] = {}
    with Store(tmp_path / "data", SMALL) as store:
        rooms_of(store).index("by_hotel", lambda room: room.hotel)
        for _ in range(4):
            states |= live(store, rng, 60)
            store.backup(tmp_path / "backup")
        times = {change.lsn: change.time for change in store.changes()}
    for number, lsn in enumerate(rng.sample(list(states), 100)):
        path = tmp_path / f"new{number}"
        Store.restore(tmp_path / "backup", path, to=lsn, options=SMALL)
        assert rooms_in(path) == states[lsn], f"restored to LSN {lsn}"
        shutil.rmtree(path)
    lsn = rng.choice([lsn for lsn in states if times.get(lsn, NEVER) < times.get(lsn + 1, NEVER)])
    Store.restore(tmp_path / "backup", tmp_path / "then", to=times[lsn], options=SMALL)
    assert rooms_in(tmp_path / "then") == states[lsn]
    Store.restore(tmp_path / "backup", tmp_path / "all", options=SMALL)
    assert rooms_in(tmp_path / "all") == states[max(states)]


def test_a_second_backup_stores_what_is_new(tmp_path: Path) -> None:
    with Store(tmp_path / "data", SMALL) as store:
        live(store, random.Random(1), 50)
        first = store.backup(tmp_path / "backup")
        second = store.backup(tmp_path / "backup")
        assert second.new_files < second.files == first.files
        assert second.new_bytes < first.new_bytes


def test_a_slot_keeps_the_log_from_one_backup_to_the_next(tmp_path: Path) -> None:
    with Store(tmp_path / "data", FORGETFUL) as store:
        states: dict[int, dict[str, Room]] = {}
        for slot in (None, "nightly", "nightly"):
            states |= live(store, random.Random(len(states)), 300)
            store.checkpoint()
            store.log.housekeep()
            store.backup(tmp_path / f"backup {slot}", slot=slot)
        states |= live(store, random.Random(9), 300)
        with pytest.raises(ArchiveError, match="neither in"):
            store.checkpoint()
            store.log.housekeep()
            store.backup(tmp_path / "backup None")
        store.backup(tmp_path / "backup nightly", slot="nightly")
        with pytest.raises(InvalidSetting, match="store's own"):
            store.backup(tmp_path / "backup nightly", slot="tables")
    lsn = sorted(states)[700]
    Store.restore(tmp_path / "backup nightly", tmp_path / "new", to=lsn, options=FORGETFUL)
    assert rooms_in(tmp_path / "new") == states[lsn]


def test_a_damaged_or_foreign_backup_is_refused_by_name(tmp_path: Path) -> None:
    with Store(tmp_path / "data", SMALL) as store:
        live(store, random.Random(1), 20)
        report = store.backup(tmp_path / "backup")
    with (
        Store(tmp_path / "other", SMALL) as store,
        pytest.raises(BackupError, match="another store"),
    ):
        store.backup(tmp_path / "backup")
    with pytest.raises((BackupError, ArchiveError), match=str(report.lsn + 1000)):
        Store.restore(tmp_path / "backup", tmp_path / "new1", to=report.lsn + 1000, options=SMALL)
    with pytest.raises(BackupError, match="time zone"):
        here = dt.datetime(2030, 1, 1)  # noqa: DTZ001
        Store.restore(tmp_path / "backup", tmp_path / "new3", to=here, options=SMALL)
    with pytest.raises(NotALog, match="not empty"):
        Store.restore(tmp_path / "backup", tmp_path / "data", options=SMALL)
    with pytest.raises(ArchiveError):
        Store.restore(tmp_path / "nothing", tmp_path / "new4", options=SMALL)
    victim = max((tmp_path / "backup" / "files").iterdir(), key=lambda file: file.stat().st_size)
    victim.write_bytes(b"x" + victim.read_bytes()[1:])
    with pytest.raises(BackupError, match=f"{victim.name}.*damaged"):
        Store.restore(tmp_path / "backup", tmp_path / "new5", options=SMALL)
    victim.unlink()
    with pytest.raises(BackupError, match=f"{victim.name}.*missing"):
        Store.restore(tmp_path / "backup", tmp_path / "new6", options=SMALL)


@pytest.mark.parametrize("moment", ["x", 1.5, True, dt.date(2030, 1, 1)])
def test_what_is_no_moment_is_refused_by_name(tmp_path: Path, moment: Any) -> None:
    with pytest.raises(InvalidSetting, match="no moment"):
        Store.restore(tmp_path / "backup", tmp_path / "new", to=moment, options=SMALL)
    assert not list(tmp_path.iterdir()), "and nothing is made"


def test_a_backup_in_the_place_of_the_store_itself_is_refused(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "log" / "data", tmp_path / "elsewhere"
    elsewhere.mkdir()
    path.mkdir(parents=True)
    (path / "log").symlink_to(elsewhere)
    with Store(path, SMALL) as store:
        before = sorted(tmp_path.rglob("*"))
        for place in (path, path / "log", path / "log" / "x", f"file://{path}/x", elsewhere,
                      path / ".." / "data" / "keys", tmp_path):  # fmt: skip
            with pytest.raises(InvalidSetting, match="the store"):
                store.backup(place)
        with pytest.raises(InvalidSetting):
            store.clone(path / "x")
        assert sorted(tmp_path.rglob("*")) == before
        store.call(store.counter("n").add)
        store.backup(f"file://{tmp_path}/backup")
    Store.restore(tmp_path / "backup", tmp_path / "new", options=SMALL)


def test_a_moment_before_all_tables_and_the_log_of_a_backup_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "data", FORGETFUL) as store:
        live(store, random.Random(2), 300)
        store.checkpoint()
        store.log.housekeep()
        first = store.log.first_lsn
        assert first > 1
        report = store.backup(tmp_path / "backup")
        assert first < report.lsn
    with pytest.raises(BackupError, match=f"it has those at: {report.lsn}"):
        Store.restore(tmp_path / "backup", tmp_path / "new", to=first, options=FORGETFUL)
    assert not any((tmp_path / "new").iterdir()), "what was begun is taken away"
    Store.restore(tmp_path / "backup", tmp_path / "new", to=report.lsn, options=FORGETFUL)


def test_lost_tables_are_made_again_from_the_log(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        guests = guests_of(store)
        guests.index("by_email", lambda guest: guest.email)
        states = live(store, random.Random(2), 40)
        with store.transaction() as tx:
            guests.put(tx, Guest("g1", "a@x"))
        before = store.fingerprint()
    shutil.rmtree(tmp_path / "tables")
    (tmp_path / "tables").mkdir()
    redone = rebuild(tmp_path, options=SMALL)
    assert redone.after == 0
    with Store(tmp_path, SMALL) as store:
        assert store.fingerprint() == before
        assert guests_of(store).index("by_email", lambda guest: guest.email).count(store) == 1
    assert rooms_in(tmp_path) == states[max(states)]
    assert (tmp_path / "tables.old").exists()


def test_where_the_log_does_not_reach_a_backup_helps(tmp_path: Path) -> None:
    options = FORGETFUL
    path = tmp_path / "data"
    with Store(path, options) as store:
        live(store, random.Random(2), 150)
        store.backup(tmp_path / "backup")
        states = live(store, random.Random(4), 150)
        store.checkpoint()
        store.log.housekeep()
        before = store.fingerprint()
        with pytest.raises(TablesLost):
            verify(store)
        first = store.log.first_lsn
        assert first > 1
    shutil.rmtree(path / "tables")
    with pytest.raises(TablesLost, match="backup"):
        Store(path, options)
    with pytest.raises(TablesLost, match="give a backup"):
        rebuild(path, options=options)
    with pytest.raises(BackupError, match="no tables"):
        rebuild(path, backup=tmp_path / "backup", options=options)
    Store.restore(tmp_path / "backup", tmp_path / "new", options=options)
    assert rooms_in(tmp_path / "new") != states[max(states)]
    with Store(tmp_path / "new", options) as store:
        assert store.fingerprint() != before


def test_rebuilding_from_a_backup_whose_base_the_log_still_reaches(tmp_path: Path) -> None:
    with Store(tmp_path / "data", SMALL) as store:
        live(store, random.Random(2), 30)
        store.backup(tmp_path / "backup")
        live(store, random.Random(4), 30)
        before = store.fingerprint()
        assert verify(store, backup=tmp_path / "backup").same
    shutil.rmtree(tmp_path / "data" / "tables")
    redone = rebuild(tmp_path / "data", backup=tmp_path / "backup", options=SMALL)
    assert redone.after > 0
    with Store(tmp_path / "data", SMALL) as store:
        assert store.fingerprint() == before


def test_tables_that_are_ahead_of_their_log_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        live(store, random.Random(2), 10)
    shutil.rmtree(tmp_path / "log")
    with Store(tmp_path / "other", SMALL):
        pass
    shutil.copytree(tmp_path / "other" / "log", tmp_path / "log")
    with pytest.raises(TablesAhead, match="do not belong together"):
        Store(tmp_path, SMALL)


def test_verify_notices_tables_that_are_not_what_the_log_makes(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        live(store, random.Random(2), 10)
        assert verify(store).same
        store._tables.public.write(Batch({b"\0\0\0\x41bad": b"x"}), store.applied_lsn)
        assert not verify(store).same


# -- verified by restoring ------------------------------------------------------------------------


def test_a_backup_is_verified_by_restoring_it(tmp_path: Path) -> None:
    """While the store goes on, and though it erases whom the backup still names."""
    path, backup = tmp_path / "data", tmp_path / "backup"
    with Store(path, SMALL) as store:
        guests = guests_of(store)
        guests.index("by_email", lambda guest: guest.email)
        live(store, random.Random(1), 40)
        store.call(guests.put, Guest("g1", "a@x"))
        base = store.backup(backup).lsn
        store.call(guests.put, Guest("g2", "b@x"))
        live(store, random.Random(2), 40)
        store.erase("g1")
        store.backup(backup)
        end = store.applied_lsn
        found = store.check_backup(backup)
        assert (found.lsn, found.compared_lsn, found.base_lsn) == (end, end, end)
        assert found.fingerprint == store.fingerprint()
        store.erase("g2")
        live(store, random.Random(3), 40)
        keys = every_byte(path / "keys")
        found = store.check_backup(backup, to=base + 5)
        assert (found.lsn, found.base_lsn, found.transactions) == (base + 5, base, 5)
        assert found.compared_lsn == store.applied_lsn
        assert found.fingerprint == store.fingerprint()
        store.log.append(b"\x02a topic's record")
        store.backup(backup)
        with StoreReader(path, SMALL) as reader:
            assert reader.check_backup(backup).compared_lsn == store.log.durable_lsn
        assert every_byte(path / "keys") == keys
        assert not (path / "tables.checking").exists()
        reading = find_keyring(SMALL.log.disk, str(path / "keys"))
        reading.destroy([5])
        assert not reading.knows(5), "forgotten where it is read"
        assert every_byte(path / "keys") == keys, "and nowhere else"


def test_a_backup_that_is_not_what_the_store_is_is_told_by_name(tmp_path: Path) -> None:
    path, backup = tmp_path / "data", tmp_path / "backup"
    with Store(path, SMALL) as store:
        live(store, random.Random(1), 40)
        store.checkpoint()
        shutil.copytree(path, tmp_path / "older")
        live(store, random.Random(2), 40)
        store.backup(backup)
        store._tables.public.write(Batch({b"\0\0\0\x41bad": b"x"}), store.applied_lsn)
        with pytest.raises(BackupDiffers, match=f"at LSN {store.applied_lsn}"):
            store.check_backup(backup)
        victim = max((backup / "files").iterdir(), key=lambda file: file.stat().st_size)
        victim.write_bytes(b"x" + victim.read_bytes()[1:])
        with pytest.raises(BackupError, match=f"{victim.name}.*damaged"):
            store.check_backup(backup)
        assert not (path / "tables.checking").exists()
    with Store(tmp_path / "older", SMALL) as store, pytest.raises(BackupDiffers, match="has lost"):
        store.check_backup(backup, to=60)
    with Store(tmp_path / "other", SMALL) as store, pytest.raises(BackupDiffers, match="another"):
        store.check_backup(backup)


def test_a_backup_that_the_log_no_longer_reaches_is_restored_and_not_compared(
    tmp_path: Path,
) -> None:
    with Store(tmp_path / "data", FORGETFUL) as store:
        live(store, random.Random(1), 100)
        end = store.backup(tmp_path / "backup").lsn
        before = store.fingerprint()
        live(store, random.Random(2), 300)
        store.checkpoint()
        store.log.housekeep()
        assert store.log.first_lsn > end + 1
        found = store.check_backup(tmp_path / "backup")
        assert (found.lsn, found.compared_lsn, found.fingerprint) == (end, None, before)


def test_a_clone_goes_its_own_way(tmp_path: Path) -> None:
    with Store(tmp_path / "data", SMALL) as store:
        guests = guests_of(store)
        with store.transaction() as tx:
            guests.put(tx, Guest("g1", "a@x"))
        store.clone(tmp_path / "copy")
        with Store(tmp_path / "copy", SMALL) as copy:
            guests_there = guests_of(copy)
            assert guests_there.get(copy, "g1") == Guest("g1", "a@x")
            with copy.transaction() as tx:
                guests_there.delete(tx, "g1")
        assert guests.get(store, "g1") == Guest("g1", "a@x")
        with pytest.raises(NotALog):
            store.clone(tmp_path / "copy")
    assert not (tmp_path / "copy.cloning").exists()
