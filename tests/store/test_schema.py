"""Rows outlive the programs that wrote them."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.store.helpers import SMALL, Guest, guests_of
from walnut.store import Store, Table
from walnut.store.errors import AlreadyDefined, RowDamaged, SchemaChanged, UnknownSchema, WrongType
from walnut.store.schema import Codec

Old: Any = msgspec.defstruct("Old", [("id", str), ("name", str)])
New: Any = msgspec.defstruct("New", [("id", str), ("first", str), ("last", str)])
Newest: Any = msgspec.defstruct("Newest", [("id", str), ("full", str)])


def split(row: dict[str, Any]) -> dict[str, Any]:
    first, _, last = row["name"].partition(" ")
    return {"id": row["id"], "first": first, "last": last}


def join(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "full": f"{row['first']} {row['last']}"}


def people(store: Store, row: Any, **more: Any) -> Table[Any]:
    return store.table("people", row, key=lambda person: person.id, **more)


def test_old_rows_are_lifted_when_read_and_rewritten_by_a_backfill(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        table = people(store, Old)
        with store.transaction() as tx:
            for number in range(25):
                table.put(tx, Old(f"p{number:02}", f"Ann {number}"))
    with Store(tmp_path, SMALL) as store:
        table = people(store, New, schema=2, upgrade={1: split})
        assert table.get(store, "p07") == New("p07", "Ann", "7")
    with Store(tmp_path, SMALL) as store:
        table = people(store, Newest, schema=3, upgrade={1: split, 2: join})
        by_name = table.index("by_name", lambda person: person.full)
        assert by_name.get(store, "Ann 7") == Newest("p07", "Ann 7")
        before = store.log.next_lsn
        store.backfill(table, batch=10)
        assert store.log.next_lsn == before + 3
        store.backfill(table, batch=100)
        assert store.log.next_lsn == before + 3, "there is nothing left to lift"
        assert len(list(table.scan(store))) == 25


def test_rows_about_subjects_are_lifted_too(tmp_path: Path) -> None:
    bigger: Any = msgspec.defstruct("Guest", [("id", str), ("mail", str)])
    with Store(tmp_path, SMALL) as store:
        guests = guests_of(store)
        with store.transaction() as tx:
            guests.put(tx, Guest("g1", "a@x"))
            guests.put(tx, Guest("g2", "b@x"))
        store.erase("g2")
    with Store(tmp_path, SMALL) as store:
        table = store.table(
            "guests",
            bigger,
            key=lambda row: row.id,
            subject=lambda row: row.id,
            schema=2,
            upgrade={1: lambda row: {"id": row["id"], "mail": row["email"]}},
        )
        assert table.get(store, "g1") == bigger("g1", "a@x")
        store.backfill(table)
        assert list(table.scan(store)) == [bigger("g1", "a@x")]


def test_an_upgrade_that_leaves_an_unknown_field_is_refused(tmp_path: Path) -> None:
    """Or what it forgot to carry over would be gone after the backfill."""
    with Store(tmp_path, SMALL) as store:
        store.call(people(store, Old).put, Old("p", "Ann Smith"))
    with Store(tmp_path, SMALL) as store:
        table = people(store, New, schema=2, upgrade={1: lambda row: split(row) | row})
        with pytest.raises(UnknownSchema, match="New has not"):
            table.get(store, "p")
        with pytest.raises(UnknownSchema):
            store.backfill(table)


def test_a_row_whose_fields_are_not_what_its_type_says_is_not_stored(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        table, numbers = people(store, Old), store.counter("n")
        table.index("by_name", lambda person: person.name)
        with store.transaction() as tx:
            with pytest.raises(WrongType, match="Expected `str`, got `int`"):
                table.put(tx, Old("p", 7))
            with pytest.raises(WrongType):
                numbers.add(tx, 1.5)  # type: ignore[arg-type]
        assert table.count(store) == numbers.value(store) == 0


def test_keys_and_entries_are_of_the_row_as_it_will_be_read(tmp_path: Path) -> None:
    """A whole number in a float's place is another key, until it is stored and read again."""
    reading: Any = msgspec.defstruct("Reading", [("id", float), ("level", float)])
    with Store(tmp_path, SMALL) as store:
        table = store.table("readings", reading, key=lambda row: row.id)
        by_level = table.index("by_level", lambda row: row.level)
        store.call(table.put, reading(1, 7))
        assert by_level.get(store, 7.0) == table.get(store, 1.0) == reading(1.0, 7.0)
        store.call(table.put, reading(1.0, 8.0))
        assert by_level.count(store) == table.count(store) == 1
        store.call(table.delete, 1.0)
        assert by_level.count(store) == table.count(store) == 0


def test_changed_fields_need_a_new_number_and_an_upgrade(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        people(store, Old)
    with Store(tmp_path, SMALL) as store:
        with pytest.raises(SchemaChanged, match="schema=2"):
            people(store, New)
        with pytest.raises(UnknownSchema, match="upgrade from 1"):
            people(store, New, schema=2)
        people(store, New, schema=2, upgrade={1: split})
    with Store(tmp_path, SMALL) as store:
        with pytest.raises(UnknownSchema, match="newer"):
            people(store, Old)
        with pytest.raises(UnknownSchema, match="65535"):
            people(store, Old, schema=0)
        with pytest.raises(AlreadyDefined, match="subjects"):
            people(store, New, schema=2, upgrade={1: split}, subject=lambda person: person.id)


def test_the_digest_sees_nested_types_and_not_docstrings() -> None:
    class Colour(enum.Enum):
        RED = "red"

    def digest(**fields: Any) -> str:
        return Codec("t", msgspec.defstruct("T", list(fields.items()))).digest()

    inner: Any = msgspec.defstruct("Inner", [("a", int)])
    other = msgspec.defstruct("Inner", [("a", str)])
    documented = msgspec.defstruct("Inner", [("a", int)], namespace={"__doc__": "Words."})
    assert digest(x=inner) == digest(x=documented)
    assert len({digest(x=kind) for kind in (inner, other, Colour, list[inner], int)}) == 5
    with pytest.raises(WrongType, match="stored"):
        digest(x=object)
    recursive: Any = msgspec.defstruct("Node", [("next", "Node | None")], namespace={})
    recursive.__annotations__["next"] = recursive | None
    assert Codec("t", recursive).digest()


def test_bytes_that_are_not_a_row_are_refused_by_name(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        table = people(store, Old)
        with store.transaction() as tx:
            table.put(tx, Old("p", "n"))
            full = next(iter(tx.writes))
            tx.write(full, b"\x00\x00\x01garbage")
        with pytest.raises(RowDamaged, match="people"):
            table.get(store, "p")
        with store.transaction() as tx:
            tx.write(full, b"\x00\x00\x09\x80")
        with pytest.raises(UnknownSchema, match="schema 9"):
            table.get(store, "p")
