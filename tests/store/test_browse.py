"""Looking at a store as a person does."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from walnut.console.errors import Conflict, InvalidInput
from walnut.log.seek import lsn_at
from walnut.store import browse
from walnut.store.browse import Scan
from walnut.store.document import Document, key_of
from walnut.store.errors import InvalidKey, UnknownTable
from walnut.store.notation import text_of
from walnut.store.outline import Outlines
from walnut.store.page.row import change, parse
from walnut.store.record import Meta
from walnut.store.store import Store


class Room(msgspec.Struct):
    id: str
    hotel: str
    beds: int
    note: bytes = b""


class Guest(msgspec.Struct):
    id: str
    name: str


def filled(path: Path) -> Store:
    store = Store(path / "data")
    rooms = store.table("rooms", Room, key=lambda room: room.id, before=True)
    rooms.index("by_hotel", lambda room: (room.hotel, room.beds))
    for number in range(10):
        store.call(rooms.put, Room(f"r{number}", "h1" if number % 2 else "h2", number))
    return store


def keys(page: browse.RowPage) -> list[object]:
    return [row.key for row in page.rows]


def test_rows_come_by_pages_in_the_order_of_keys(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        first = browse.rows(store, "rooms", Scan(), limit=4)
        assert keys(first) == ["r0", "r1", "r2", "r3"]
        second = browse.rows(store, "rooms", Scan(), limit=4, cursor=first.cursor)
        assert keys(second) == ["r4", "r5", "r6", "r7"]
        last = browse.rows(store, "rooms", Scan(), limit=4, cursor=second.cursor)
        assert (keys(last), last.cursor) == (["r8", "r9"], None)
        backwards = browse.rows(store, "rooms", Scan(reverse=True), limit=3)
        assert keys(backwards) == ["r9", "r8", "r7"]
        more = browse.rows(store, "rooms", Scan(reverse=True), limit=3, cursor=backwards.cursor)
        assert keys(more) == ["r6", "r5", "r4"]
        assert keys(browse.rows(store, "rooms", Scan(start="r3", stop="r6"))) == ["r3", "r4", "r5"]


def test_rows_come_by_an_index_too(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        assert keys(browse.rows(store, "rooms", Scan(index="by_hotel", prefix="h1"))) == [
            "r1", "r3", "r5", "r7", "r9",
        ]  # fmt: skip
        with pytest.raises(UnknownTable, match="no index"):
            browse.rows(store, "rooms", Scan(index="by_colour"))


def test_a_cursor_of_another_scan_is_refused(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        cursor = browse.rows(store, "rooms", Scan(), limit=4).cursor
        with pytest.raises(InvalidKey, match="another scan"):
            browse.rows(store, "rooms", Scan(start="r9"), cursor=cursor)
        for bad in ("x", "%%%", "cjE=x", "é"):
            with pytest.raises(InvalidKey, match="not one that a page gave"):
                browse.rows(store, "rooms", Scan(), cursor=bad)
            with pytest.raises(InvalidKey, match="not one that a page gave"):
                store.declared("rooms").page(store, cursor=bad)


def test_rows_of_a_table_that_nobody_declared_are_shown_by_their_fields(tmp_path: Path) -> None:
    with filled(tmp_path):
        pass
    with Store(tmp_path / "data") as store:
        page = browse.rows(store, "rooms", Scan(index="by_hotel", prefix="h2"), limit=1)
        assert page.rows[0].value == {"id": "r0", "hotel": "h2", "beds": 0, "note": b""}


def test_an_erased_row_is_there_and_says_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "data") as store:
        guests = store.table("guests", Guest, key=lambda one: one.id, subject=lambda one: one.id)
        store.call(guests.put, Guest("g1", "Ann"))
        store.erase("g1")
        (seen,) = browse.rows(store, "guests", Scan()).rows
        assert (seen.key, seen.data, seen.value) == ("g1", b"", None)
        newest = browse.versions(store, "guests", "g1", store.log.durable_lsn).found[0]
        assert newest.value is None


def test_versions_are_found_a_stretch_at_a_time_newest_first(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        rooms = store.declared("rooms")
        ann = Meta("ann", "more beds")
        store.by(ann).call(rooms.put, Room("r3", "h1", 30))
        store.call(rooms.delete, "r3")
        top = store.log.durable_lsn
        found = browse.versions(store, "rooms", "r3", top)
        assert [version.value and version.value["beds"] for version in found.found] == [None, 30, 3]
        assert (found.found[0].data, found.upto) == (None, None)
        assert found.found[1].meta == ann
        some = browse.versions(store, "rooms", "r3", top, records=2)
        assert [version.lsn for version in some.found] == [top, top - 1]
        assert some.upto == top - 2
        assert browse.versions(store, "rooms", "r3", top - 2).found == found.found[2:]


def test_a_record_is_told_in_a_line(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        rooms = store.declared("rooms")
        with store.by(Meta("ann", "tidying")).transaction() as tx:
            rooms.delete(tx, "r1")
            rooms.put(tx, Room("r2", "h9", 2))
        store.log.append(b"\x7fsomebody else's")
        mine, other = list(
            Outlines(store).between(store.log.durable_lsn - 1, store.log.durable_lsn + 1)
        )
        assert mine.meta == Meta("ann", "tidying")
        assert (mine.tables["rooms"].put, mine.tables["rooms"].deleted) == (1, 1)
        assert mine.others == 3  # an entry of the index went, another came, and one went before it
        assert (other.meta, other.tables) == (None, {})


def test_a_change_is_refused_if_the_row_is_not_what_was_seen(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        rooms = store.declared("rooms")
        seen = browse.row(store, store, "rooms", "r1")
        assert seen is not None
        store.call(rooms.put, Room("r1", "h1", 99))
        with pytest.raises(Conflict, match="changed by somebody else"):
            store.call(change, rooms, "r1", seen.data, Room("r1", "h1", 2))
        with pytest.raises(Conflict):
            store.call(change, rooms, "r1", None, Room("r1", "h1", 2))  # it was to be new
        with pytest.raises(InvalidInput, match="key would be r7"):
            store.call(change, rooms, "r1", seen.data, Room("r7", "h1", 2))
        now = browse.row(store, store, "rooms", "r1")
        assert now is not None
        assert now.value["beds"] == 99
        store.call(change, rooms, "r1", now.data, None)
        assert rooms.get(store, "r1") is None


def test_text_that_is_no_row_is_refused_by_what_is_wrong_with_it(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        rooms = store.declared("rooms")
        assert parse(rooms, '{"id": "a", "hotel": "h", "beds": 1}') == Room("a", "h", 1)
        for text, why in (
            ("{", "no row"),
            ('{"id": "a"}', "hotel"),
            ('{"id": "a", "hotel": "h", "beds": 1, "colour": 2}', "no field colour"),
        ):
            with pytest.raises(InvalidInput, match=why):
                parse(rooms, text)


def test_bytes_are_text_where_they_can_be() -> None:
    assert text_of(b"hello\nworld") == "hello\nworld"
    assert text_of(b"\xff\x00") == {"bytes": "/wA="}
    assert text_of(b"a\x1bb") == {"bytes": "YRti"}


def test_an_lsn_is_found_by_its_time(tmp_path: Path) -> None:
    with Store(tmp_path / "data") as store:
        notes = store.table("notes", Document, key=key_of)
        for number in range(20):
            store.call(notes.put, Document(f"n{number}", number))
        for record in store.log.read():
            lsn = lsn_at(store.log, record.time)
            (found,) = store.log.read(lsn, lsn + 1)
            assert found.time == record.time
            assert lsn <= record.lsn
        assert lsn_at(store.log, 0) == 1
        assert lsn_at(store.log, 1 << 62) == store.log.durable_lsn + 1
