"""The client against a real server: tables, transactions, the feed, restarts, tokens."""

from __future__ import annotations

import datetime as dt
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from walnut.client import Client
from walnut.client.client import Operations
from walnut.client.errors import (
    Changed,
    Conflict,
    Invalid,
    NotAllowed,
    NotAuthenticated,
    NotThere,
    Unreachable,
)
from walnut.store import Store
from walnut.testing.serving import Serving, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("running") / "data") as running:
        yield running


@pytest.fixture
def client(server: Serving) -> Iterator[Client]:
    with Client(server.data) as made:
        yield made


def fresh() -> str:
    """A name that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"


class Note(msgspec.Struct):
    key: str
    value: int


# -- tables ---------------------------------------------------------------------------------------


def test_rows_are_put_read_scanned_and_deleted(client: Client) -> None:
    name = fresh()
    info = client.create_table(name)
    assert (info.documents, info.writable) == (True, True)
    notes = client.table(name, Note)
    stored = notes.put(Note("n1", 1))
    assert (stored.created, stored.repeated) == (True, False)
    assert notes.get("n1", at_least=stored.lsn) == Note("n1", 1)
    assert notes.get("n2") is None
    client.transaction(
        [{"op": "put", "table": name, "row": Note(f"k{n:04}", n)} for n in range(999)]
    )
    assert [note.value for note in notes.scan(prefix=None, start="k0010", limit=3)] == [10, 11, 12]
    assert len(list(notes.scan())) == 1000
    assert [note.key for note in notes.scan(reverse=True, limit=2)] == ["n1", "k0998"]
    assert notes.delete("n1") > stored.lsn
    with pytest.raises(NotThere) as caught:
        notes.delete("n1")
    assert caught.value.slug == "unknown-row"
    assert name in [table.name for table in client.tables()]


@pytest.mark.parametrize("key", ["a/b", "7", "true", "ä ö", '"q"', "%2F", "..", "a?b#c", "{}"])
def test_a_key_of_any_characters_is_the_row_that_it_names(client: Client, key: str) -> None:
    name = fresh()
    client.create_table(name)
    notes = client.table(name)
    notes.put({"key": key, "value": 1})
    assert notes.get(key) == {"key": key, "value": 1}
    notes.delete(key)
    assert notes.get(key) is None


def test_a_condition_that_does_not_hold_changes_nothing(client: Client) -> None:
    name = fresh()
    client.create_table(name)
    notes = client.table(name, Note)
    first = notes.put(Note("n", 1), new=True)
    with pytest.raises(Changed):
        notes.put(Note("n", 2), new=True)
    second = notes.put(Note("n", 2), if_match=first.etag)
    with pytest.raises(Changed):
        notes.put(Note("n", 3), if_match=first.etag)
    with pytest.raises(Changed):
        notes.delete("n", if_match=first.etag)
    found = notes.find("n")
    assert found is not None
    assert (found.row, found.etag) == (Note("n", 2), second.etag)


def test_a_transaction_does_all_or_nothing(client: Client) -> None:
    name, counter = fresh(), fresh()
    client.create_table(name)
    wanted = Operations().put(name, Note("a", 1)).add(counter, 2).get(name, "a")
    done = client.transaction(wanted)
    assert done.results[1:] == [
        {"value": 2},
        {"found": True, "etag": done.results[0]["etag"], "row": {"key": "a", "value": 1}},
    ]
    with pytest.raises(Changed):
        client.transaction(Operations().delete(name, "a").add(counter, 5, at_most=6))
    assert client.table(name).get("a") == {"key": "a", "value": 1}
    client.transaction(Operations().check(name, "b", None).check(name, "a", "*").delete(name, "a"))
    assert client.table(name).get("a") is None


def test_a_write_under_a_key_is_done_once(client: Client) -> None:
    name = fresh()
    client.create_table(name)
    wanted = Operations().add(name, 1)
    first = client.transaction(wanted, key=name)
    again = client.transaction(wanted, key=name)
    assert (first.repeated, again.repeated) == (False, True)
    assert (first.lsn, first.results) == (again.lsn, again.results)
    with pytest.raises(Invalid) as caught:
        client.transaction(Operations().add(name, 2), key=name)
    assert caught.value.slug == "key-reused"


def test_what_is_refused_says_so_by_its_type(client: Client) -> None:
    name = fresh()
    with pytest.raises(NotThere) as caught:
        client.table(name).put({"key": "a", "value": 1})
    assert caught.value.slug == "unknown-table"
    client.create_table(name)
    with pytest.raises(Invalid):
        client.table(name).put({"nonsense": 1})
    with pytest.raises(Conflict):
        client.create_table(name, before=True)
    with pytest.raises(Conflict) as owned:
        client.table("jobs").put({"id": "x"})
    assert owned.value.slug == "table-not-writable"


def test_keys_that_are_no_text_are_those_of_the_library(tmp_path: Path) -> None:
    class Room(msgspec.Struct):
        hotel: str
        id: uuid.UUID
        since: dt.datetime

    room = Room("h 1", uuid.uuid4(), dt.datetime(2026, 1, 31, 8, tzinfo=dt.UTC))
    with Store(tmp_path / "data" / "store") as store:
        rooms = store.table("rooms", Room, key=lambda room: (room.hotel, room.id, room.since))
        with store.transaction() as tx:
            rooms.put(tx, room)
    (tmp_path / "data" / "walnut.json").write_text('{"format":1,"made_by":"test"}')
    with serving(tmp_path / "data") as server, Client(server.data) as client:
        table = client.table("rooms", Room)
        assert table.get((room.hotel, room.id, room.since)) == room
        assert list(table.scan(prefix=("h 1",), start=room.id)) == [room]
        assert list(table.scan(prefix="h 2")) == []


# -- the feed -------------------------------------------------------------------------------------


def test_changes_are_told_in_order_and_gone_on_with(client: Client) -> None:
    name, other = fresh(), fresh()
    for each in (name, other):
        client.create_table(each)
    since = client.transaction(Operations().put(name, Note("a", 1)).put(other, Note("x", 1))).lsn
    client.table(name).delete("a")
    found = list(client.changes(since - 1, tables=[name, other]))
    assert [(change.table, change.key, change.after and 1) for change in found] == [
        (name, "a", 1), (other, "x", 1), (name, "a", None),
    ]  # fmt: skip
    assert found[0].principal.startswith("local:")
    rest = client.changes(found[0].position, tables=[name, other])
    assert list(rest) == found[1:]


def test_reasons_go_with_what_is_changed(server: Serving) -> None:
    name = fresh()
    with Client(server.data, reason="because of tests") as client:
        client.create_table(name)
        lsn = client.table(name).put(Note("a", 1)).lsn
        (change,) = client.changes(lsn - 1, upto=lsn, tables=[name])
    assert change.reason == "because of tests"


# -- who may --------------------------------------------------------------------------------------


def test_over_tcp_a_token_is_needed_and_says_what_is_allowed(server: Serving) -> None:
    url = re.findall(r'"url":"([^"]+)"', server.log.read_text())[0]
    with Client(url) as nobody, pytest.raises(NotAuthenticated):
        nobody.status()
    with Client(url, token="walnut_wrong_token") as wrong, pytest.raises(NotAuthenticated):
        wrong.status()
    with Client(url, token=server.token) as operator:
        assert operator.status()["state"] == "running"
        operator.create_table(fresh())
        body = msgspec.json.encode({"name": fresh(), "scopes": ["tables:read"]})
        made = operator.transport.request(
            "POST", "/v1/tokens", body=body, headers={"Content-Type": "application/json"}
        )
        reader = msgspec.json.decode(made.body)["token"]
    with Client(url, token=reader) as reads:
        assert list(reads.tables())
        with pytest.raises(NotAllowed) as caught:
            reads.create_table(fresh())
    assert "tables:write" in str(caught.value)


# -- restarts -------------------------------------------------------------------------------------


def test_writers_and_followers_go_on_across_restarts_and_crashes(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server, Client(server.data) as client:
        client.create_table("notes")
        notes = client.table("notes", Note)
        ending = threading.Event()
        written: list[int] = []
        seen: list[int] = []

        def write() -> None:
            while not ending.is_set():
                notes.put(Note(str(len(written)), len(written)))
                written.append(len(written))
            notes.put(Note("end", -1))

        def follow() -> None:
            with Client(server.data) as follower:
                for change in follower.changes(0, tables=["notes"], follow=True):
                    seen.append(change.after["value"])
                    if change.key == "end":
                        return

        def goes_on() -> None:
            reached = len(seen) + 50
            while len(seen) < reached:
                ending.wait(0.01)

        threads = [threading.Thread(target=each) for each in (write, follow)]
        for thread in threads:
            thread.start()
        goes_on()
        server.stop()
        server.start()
        goes_on()
        server.kill()
        server.start()
        goes_on()
        server.restart()
        goes_on()
        ending.set()
        for thread in threads:
            thread.join()
        assert seen == [*written, -1]
        server.stop()
        with Client(server.data) as late, pytest.raises(Unreachable, match="walnut serve"):
            late.status()
