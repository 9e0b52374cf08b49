"""Scans, pages and indexes against sorted lists, through transactions, snapshots and the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.helpers import SMALL
from walnut.store import Index, Store, Table


class Row(msgspec.Struct, frozen=True):
    a: int
    b: str
    c: int


KEYS = st.tuples(st.integers(-3, 3), st.sampled_from(["", "a", "ab", "b"]))
WRITES = st.lists(st.tuples(KEYS, st.none() | st.integers(0, 5)), max_size=12)


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Store, Table[Row], Index[Row]]]:
    with tempfile.TemporaryDirectory() as path, Store(path, SMALL) as store:
        table = store.table("t", Row, key=lambda row: (row.a, row.b))
        yield store, table, table.index("by_c", lambda row: row.c)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    durable=WRITES, waiting=WRITES, own=WRITES, prefix=st.integers(-3, 3), limit=st.integers(1, 4)
)
def test_a_scan_is_what_a_sorted_list_says(
    place: tuple[Store, Table[Row], Index[Row]],
    durable: list[tuple[tuple[int, str], int | None]],
    waiting: list[tuple[tuple[int, str], int | None]],
    own: list[tuple[tuple[int, str], int | None]],
    prefix: int,
    limit: int,
) -> None:
    store, table, by_c = place
    model: dict[tuple[int, str], Row] = {}

    def write(tx: object, writes: list[tuple[tuple[int, str], int | None]]) -> None:
        for key, value in writes:
            if value is None:
                table.delete(tx, key)  # type: ignore[arg-type]
                model.pop(key, None)
            else:
                model[key] = table.put(tx, Row(*key, value))  # type: ignore[arg-type]

    with store.transaction() as tx:
        for row in list(table.scan(tx)):
            table.delete(tx, (row.a, row.b))
        write(tx, durable)
    check(table, by_c, store, model, prefix, limit)
    answer = store.submit(write, waiting)
    with store.transaction() as tx:
        write(tx, own)
        check(table, by_c, tx, model, prefix, limit)
    answer.wait()
    with store.snapshot() as seen:
        check(table, by_c, seen, model, prefix, limit)


def check(
    table: Table[Row],
    by_c: Index[Row],
    reader: object,
    model: dict[tuple[int, str], Row],
    prefix: int,
    limit: int,
) -> None:
    rows = [model[key] for key in sorted(model)]
    assert list(table.scan(reader)) == rows  # type: ignore[arg-type]
    assert list(table.scan(reader, reverse=True)) == rows[::-1]  # type: ignore[arg-type]
    assert list(table.scan(reader, limit=limit)) == rows[:limit]  # type: ignore[arg-type]
    some = [row for row in rows if row.a == prefix]
    assert list(table.scan(reader, prefix)) == some  # type: ignore[arg-type]
    ranged = [row for row in some if "a" <= row.b < "b"]
    assert list(table.scan(reader, prefix, start="a", stop="b")) == ranged  # type: ignore[arg-type]
    from_b = [row for row in rows if row.a >= prefix]
    assert list(table.scan(reader, start=prefix)) == from_b  # type: ignore[arg-type]
    for reverse in (False, True):
        paged, cursor = list[Row](), None
        while True:
            page = table.page(reader, limit=limit, cursor=cursor, reverse=reverse)  # type: ignore[arg-type]
            paged, cursor = paged + page.rows, page.cursor
            if cursor is None:
                break
        assert paged == (rows[::-1] if reverse else rows)
    by_index = sorted(rows, key=lambda row: (row.c, row.a, row.b))
    assert list(by_c.scan(reader)) == by_index  # type: ignore[arg-type]
    assert list(by_c.scan(reader, 3, reverse=True)) == [  # type: ignore[arg-type]
        row for row in reversed(by_index) if row.c == 3
    ]
    assert by_c.count(reader) == len(rows)  # type: ignore[arg-type]
