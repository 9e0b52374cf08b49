"""Tables over HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from tests.store.apis import opened, resources_of, serving
from tests.store.helpers import guests_of, rooms_of
from tests.web.asgi import app_of
from walnut.store.api import routes
from walnut.store.document import Document
from walnut.store.problems import PROBLEMS
from walnut.store.record import Meta
from walnut.store.store import Store

JSON = {"content-type": "application/json"}
ODD_KEYS = [
    "a/b", "/a", "a//b", "a/", "%", "%2F", "a%20b", " ", "..", ".", "\0", "a\0b", "caf\u00e9", "\U0001f330",
    "?x=1", "#", "7", "true", '"quoted"', "\n", "rows", "a+b", "{}", "[1]",
]  # fmt: skip


def slug(answer: httpx.Response) -> str:
    """The end of a problem's type."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return str(answer.json()["type"]).removeprefix("urn:walnut:problem:")


def test_a_row_is_made_read_changed_and_deleted(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        assert http.post("/v1/tables", json={"name": "notes"}).status_code == 201
        assert http.post("/v1/tables", json={"name": "notes"}).status_code == 200
        made = http.put("/v1/tables/notes/rows/n1", json={"value": {"done": False}})
        assert made.status_code == 201
        read = http.get("/v1/tables/notes/rows/n1")
        assert read.json() == {"key": "n1", "value": {"done": False}}
        assert read.headers["etag"] == made.headers["etag"]
        assert int(read.headers["walnut-lsn"]) >= int(made.headers["walnut-lsn"])
        again = http.put("/v1/tables/notes/rows/n1", json=read.json())
        assert again.status_code == 200, "what was read can be put"
        assert http.delete("/v1/tables/notes/rows/n1").json() == {"deleted": True}
        assert slug(http.get("/v1/tables/notes/rows/n1")) == "unknown-row"
        assert slug(http.delete("/v1/tables/notes/rows/n1")) == "unknown-row"


def asking(store: Store) -> httpx.AsyncClient:
    """A client that sends paths as they are given."""
    transport = httpx.ASGITransport(app_of([*routes(resources_of(store))], PROBLEMS))
    return httpx.AsyncClient(transport=transport, base_url="http://walnut")


def test_any_text_is_a_key(tmp_path: Path) -> None:
    async def run(store: Store) -> None:
        async with asking(store) as http:
            await http.post("/v1/tables", json={"name": "notes"})
            for key in ODD_KEYS:
                path = "/v1/tables/notes/rows/" + "".join(f"%{byte:02X}" for byte in key.encode())
                assert (await http.put(path, json={"value": 1})).status_code == 201, path
                assert (await http.get(path)).json() == {"key": key, "value": 1}
                (item,) = (await http.get("/v1/tables/notes/rows")).json()["items"]
                assert item["key"] == key
                assert (await http.delete(path)).json() == {"deleted": True}

    with Store(tmp_path / "s") as store:
        asyncio.run(run(store))


def test_a_key_that_has_no_path_is_not_mistaken_for_the_table(tmp_path: Path) -> None:
    async def run(store: Store) -> None:
        async with asking(store) as http:
            await http.post("/v1/tables", json={"name": "notes"})
            assert slug(await http.get("/v1/tables/notes/rows/%2F%2F")) == "invalid-key"
            assert slug(await http.get("/v1/tables/notes/rows/%ff")) == "invalid-key"
            answer = await http.put("/v1/tables/notes/rows/%2F", json={"value": 1})
            assert answer.status_code == 405
            put = {"op": "put", "table": "notes", "row": {"key": "//", "value": 1}}
            get = {"op": "get", "table": "notes", "key": "//"}
            done = await http.post("/v1/transaction", json={"operations": [put, get]})
            assert done.json()["results"][1]["row"] == {"key": "//", "value": 1}

    with Store(tmp_path / "s") as store:
        asyncio.run(run(store))


def test_a_read_that_has_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        tag = http.put("/v1/tables/notes/rows/a", json={"value": 1}).headers["etag"]
        unchanged = http.get("/v1/tables/notes/rows/a", headers={"If-None-Match": tag})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        http.put("/v1/tables/notes/rows/a", json={"value": 2})
        assert (
            http.get("/v1/tables/notes/rows/a", headers={"If-None-Match": tag}).status_code == 200
        )


def test_conditions_are_held(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        row = "/v1/tables/notes/rows/a"
        new = {"If-None-Match": "*"}
        tag = http.put(row, json={"value": 1}, headers=new).headers["etag"]
        assert slug(http.put(row, json={"value": 2}, headers=new)) == "precondition-failed"
        newer = http.put(row, json={"value": 2}, headers={"If-Match": tag}).headers["etag"]
        assert slug(http.put(row, json={"value": 3}, headers={"If-Match": tag})) == (
            "precondition-failed"
        )
        assert slug(http.delete(row, headers={"If-Match": tag})) == "precondition-failed"
        assert http.get(row).json()["value"] == 2
        assert http.delete(row, headers={"If-Match": newer}).status_code == 200


def test_of_many_who_change_what_they_read_exactly_one_wins(tmp_path: Path) -> None:
    async def run(store: Store) -> None:
        async with asking(store) as http:
            await http.post("/v1/tables", json={"name": "notes"})
            row = "/v1/tables/notes/rows/a"
            tag = (await http.put(row, json={"value": -1})).headers["etag"]
            for turn in range(5):
                answers = await asyncio.gather(
                    *(
                        http.put(row, json={"value": [turn, one]}, headers={"If-Match": tag})
                        for one in range(20)
                    )
                )
                winners = [n for n, one in enumerate(answers) if one.status_code == 200]
                assert len(winners) == 1
                assert {one.status_code for one in answers} == {200, 412}
                tag = answers[winners[0]].headers["etag"]
                assert (await http.get(row)).json()["value"] == [turn, winners[0]]

    with Store(tmp_path / "s") as store:
        asyncio.run(run(store))


def test_a_write_that_is_sent_again_is_done_once(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        key = {"Idempotency-Key": "k1"}
        first = http.put("/v1/tables/notes/rows/a", json={"value": 1}, headers=key)
        http.put("/v1/tables/notes/rows/a", json={"value": 2})
        again = http.put("/v1/tables/notes/rows/a", json={"value": 1}, headers=key)
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert again.headers["walnut-lsn"] == first.headers["walnut-lsn"]
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers
        assert http.get("/v1/tables/notes/rows/a").json()["value"] == 2
        other = http.put("/v1/tables/notes/rows/a", json={"value": 3}, headers=key)
        assert slug(other) == "key-reused"
        assert "another request" in other.json()["detail"]
        assert "_stored" not in other.json()["detail"]
        assert (
            slug(http.put("/v1/tables/notes/rows/b", json={"value": 1}, headers=key))
            == "key-reused"
        )


def test_what_is_remembered_of_a_write_names_it_and_not_its_row(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store, serving(store) as http:
        http.post("/v1/tables", json={"name": "notes"})
        http.put(
            "/v1/tables/notes/rows/a", json={"value": "seldom"}, headers={"Idempotency-Key": "k"}
        )
        done = store._declared.done.get(store, ("token:test", "k"))
        assert done is not None
        assert done.function.startswith("_stored of ")
        assert "seldom" not in repr(done)


def test_who_and_why_are_kept_with_a_write(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store, serving(store, principal="token:ann") as http:
        http.post("/v1/tables", json={"name": "notes"})
        http.put("/v1/tables/notes/rows/a", json={"value": 1}, headers={"Walnut-Reason": "because"})
        (change,) = store.changes()
        assert change.meta == Meta("token:ann", "because", "request-of-a-test")
        first = http.get("/v1/log/records?limit=1").json()["items"][0]
        assert first["principal"] == "token:ann", "the table was made in its name too"


def test_a_scan_goes_through_all_pages_in_order(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        for number in range(25):
            http.put(f"/v1/tables/notes/rows/n{number:02}", json={"value": number})
        for reverse in (False, True):
            found, cursor = [], ""
            while True:
                query = {"limit": 10, "reverse": reverse} | ({"cursor": cursor} if cursor else {})
                page = http.get("/v1/tables/notes/rows", params=query).json()
                found += [item["row"]["value"] for item in page["items"]]
                if not (cursor := page.get("next", "")):
                    break
            assert found == sorted(range(25), reverse=reverse)
        some = http.get("/v1/tables/notes/rows?start=n03&stop=n05").json()["items"]
        assert [item["key"] for item in some] == ["n03", "n04"]


def test_a_page_is_bounded_by_its_bytes_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("walnut.store.api.rows.PAGE_BYTES", 2000)
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        for number in range(5):
            http.put(f"/v1/tables/notes/rows/{number}", json={"value": "x" * 900})
        page = http.get("/v1/tables/notes/rows").json()
        assert len(page["items"]) == 3
        assert len(http.get(f"/v1/tables/notes/rows?cursor={page['next']}").json()["items"]) == 2


def test_rows_of_a_program_are_read_by_key_and_index_and_not_written(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        rooms = rooms_of(store)
        rooms.index("by_beds", lambda room: room.beds)
        with store.transaction() as tx:
            for number in range(4):
                rooms.put(tx, rooms.codec.row(f"r{number}", "h1", 4 - number))
    with opened(tmp_path / "s") as http:  # which does not know what a room is
        assert http.get("/v1/tables/rooms/rows/r1").json() == {"id": "r1", "hotel": "h1", "beds": 3}
        by_beds = http.get("/v1/tables/rooms/rows?index=by_beds&limit=2").json()
        assert [item["row"]["beds"] for item in by_beds["items"]] == [1, 2]
        more = http.get(f"/v1/tables/rooms/rows?index=by_beds&cursor={by_beds['next']}").json()
        assert [item["row"]["beds"] for item in more["items"]] == [3, 4]
        three = http.get("/v1/tables/rooms/rows?index=by_beds&prefix=3").json()["items"]
        assert [item["key"] for item in three] == ["r1"]
        assert slug(http.get("/v1/tables/rooms/rows?index=by_name")) == "unknown-index"
        room = {"id": "r1", "hotel": "h1", "beds": 9}
        assert slug(http.put("/v1/tables/rooms/rows/r1", json=room)) == "table-not-writable"
        assert slug(http.delete("/v1/tables/rooms/rows/r1")) == "table-not-writable"
        about = http.get("/v1/tables/rooms").json()
        assert about["writable"] is False
        assert about["indexes"] == [{"name": "by_beds", "unique": False}]


def test_a_table_that_is_declared_here_is_written_through_its_type(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        rooms = rooms_of(store)
        by_beds = rooms.index("by_beds", lambda room: room.beds)
        with serving(store) as http:
            room = {"id": "r1", "hotel": "h1", "beds": 2}
            assert http.put("/v1/tables/rooms/rows/r1", json=room).status_code == 201
            assert by_beds.get(store, 2) is not None, "its index was kept"
            wrong = http.put("/v1/tables/rooms/rows/r1", json={**room, "beds": "two"})
            assert (wrong.status_code, slug(wrong)) == (422, "invalid-row")
            assert wrong.json()["errors"][0]["at"] == "body.beds"
            unknown = http.put("/v1/tables/rooms/rows/r1", json={**room, "stars": 5})
            assert unknown.json()["errors"][0]["at"] == "body.stars"
            assert slug(http.put("/v1/tables/rooms/rows/r2", json=room)) == "invalid-key"
            schema = http.get("/v1/tables/rooms").json()["row_schema"]
            assert set(schema["$defs"]["Room"]["properties"]) == {"id", "hotel", "beds"}


def test_rows_about_somebody_who_was_erased_are_gone(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        guests = guests_of(store)
        with store.transaction() as tx:
            for name in ("ann", "bob"):
                guests.put(tx, guests.codec.row(name, f"{name}@example.org"))
        with serving(store) as http:
            assert http.get("/v1/tables/guests/rows/ann").status_code == 200
            store.erase("ann")
            gone = http.get("/v1/tables/guests/rows/ann")
            assert (gone.status_code, slug(gone)) == (410, "erased")
            items = http.get("/v1/tables/guests/rows").json()["items"]
            assert [item["key"] for item in items] == ["bob"]


def test_what_a_subsystem_keeps_is_for_administrators_to_read_and_for_nobody_to_write(
    tmp_path: Path,
) -> None:
    with Store(tmp_path / "s") as store:
        store.table("jobs.secrets", Document, key=lambda row: row.key)
        with serving(store) as http:
            assert http.get("/v1/tables/jobs.secrets").json()["owner"] == "jobs"
            put = http.put("/v1/tables/jobs.secrets/rows/a", json={"value": 1})
            assert slug(put) == "table-not-writable"
            assert slug(http.post("/v1/tables", json={"name": "jobs.mine"})) == "table-not-writable"
        with serving(store, scopes=("tables:write",)) as http:
            assert http.get("/v1/tables").json()["items"] == []
            assert slug(http.get("/v1/tables/jobs.secrets/rows")) == "forbidden"
            get = {"op": "get", "table": "jobs.secrets", "key": "a"}
            assert slug(http.post("/v1/transaction", json={"operations": [get]})) == "forbidden"
            assert slug(http.get("/v1/changes?tables=jobs.secrets")) == "forbidden"


def test_a_token_sees_and_touches_the_tables_that_it_is_for(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        with serving(store) as http:
            for name in ("mine", "theirs"):
                http.post("/v1/tables", json={"name": name})
        with serving(store, scopes=("tables:write:mine*",)) as http:
            assert [each["name"] for each in http.get("/v1/tables").json()["items"]] == ["mine"]
            assert http.put("/v1/tables/mine/rows/a", json={"value": 1}).status_code == 201
            assert slug(http.put("/v1/tables/theirs/rows/a", json={"value": 1})) == "forbidden"
            assert slug(http.post("/v1/tables", json={"name": "others"})) == "forbidden"
            put = {"op": "put", "table": "theirs", "row": {"key": "a", "value": 1}}
            assert slug(http.post("/v1/transaction", json={"operations": [put]})) == "forbidden"
            assert slug(http.get("/v1/changes?follow=false")) == "forbidden"
            assert http.get("/v1/changes?since=0&follow=false&tables=mine").status_code == 200


HOSTILE_ROWS = [
    (b"", "malformed"),
    (b"{", "malformed"),
    (b'{"value": NaN}', "malformed"),
    (b'{"value": "\xff"}', "malformed"),
    (b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed"),
    (b'{"value": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}", "malformed"),
    (b'{"value": 1, "more": 2}', "invalid-row"),
    (b'{"value": 1, "key": 7}', "invalid-row"),
    (b'{"value": 1, "key": "other"}', "invalid-key"),
    (b'["value"]', "invalid-row"),
    (b'{"value": 1' + b"0" * 40 + b"}", "wrong-type"),
    (b'{"value": "' + b"x" * (1 << 20) + b'"}', "row-too-large"),
]


def test_a_hostile_row_is_refused_by_name(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        for body, problem in HOSTILE_ROWS:
            answer = http.put("/v1/tables/notes/rows/a", content=body, headers=JSON)
            assert slug(answer) == problem, body[:80]
            assert 400 <= answer.status_code < 500
            assert http.get("/v1/tables/notes/rows").json()["items"] == []


def test_brackets_in_text_are_not_nesting(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        text = '["\\' * 500
        assert http.put("/v1/tables/notes/rows/a", json={"value": text}).status_code == 201
        assert http.get("/v1/tables/notes/rows/a").json()["value"] == text


HOSTILE_QUERIES = [
    "limit=0", "limit=-1", "limit=1001", f"limit={10**30}", "limit=x", "at_least=-1",
    f"at_least={10**30}", "at_least=NaN", "cursor=%00", "cursor=AAAA", "reverse=maybe",
    "prefix={}", 'prefix={"uuid":"x"}', "prefix=" + "[" * 3000, "start=" + "x" * 5000,
    f"prefix={10**30}", "prefix=" + "[" * 100 + "]" * 100, "stop=%ff",
]  # fmt: skip


def test_a_hostile_query_is_refused_or_finds_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        http.put("/v1/tables/notes/rows/a", json={"value": 1})
        for query in HOSTILE_QUERIES:
            answer = http.get(f"/v1/tables/notes/rows?{query}")
            if answer.status_code == 200:
                assert not answer.json()["items"] or query == "stop=%ff", query
            else:
                assert 400 <= answer.status_code < 500, (query, answer.text)
                slug(answer)


def test_a_table_can_not_be_called_just_anything(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        for name in ("", "walnut.x", "x" * 201, "a\nb", "\0"):
            assert slug(http.post("/v1/tables", json={"name": name})) == "invalid-argument"
        assert http.get("/v1/tables").json()["items"] == []


def test_a_table_keeps_before_images_if_it_was_made_so(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes", "before": True})
        assert slug(http.post("/v1/tables", json={"name": "notes"})) == "already-defined"
        http.put("/v1/tables/notes/rows/a", json={"value": 1})
        http.put("/v1/tables/notes/rows/a", json={"value": 2})
    with opened(tmp_path / "s") as http:  # declared anew, as whoever writes first does
        http.put("/v1/tables/notes/rows/a", json={"value": 3})
        lines = http.get("/v1/changes?since=0&follow=false").text.splitlines()
        assert [json.loads(line).get("before") for line in lines] == [
            None,
            {"key": "a", "value": 1},
            {"key": "a", "value": 2},
        ]


def test_a_size_is_of_what_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        for number in range(5):
            http.put(f"/v1/tables/notes/rows/{number}", json={"value": number})
        size = http.get("/v1/tables/notes?size=true").json()["size"]
        assert (size["rows"], size["whole"]) == (5, True)
        monkeypatch.setattr("walnut.store.api.tables.COUNTED_ROWS", 3)
        size = http.get("/v1/tables/notes?size=true").json()["size"]
        assert (size["rows"], size["whole"]) == (3, False)


def test_a_read_waits_for_the_lsn_that_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("walnut.store.api.asking.REACH_SECONDS", 0.05)
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        lsn = http.put("/v1/tables/notes/rows/a", json={"value": 1}).headers["walnut-lsn"]
        assert http.get(f"/v1/tables/notes/rows/a?at_least={lsn}").status_code == 200
        late = http.get("/v1/tables/notes/rows/a?at_least=1000000")
        assert (late.status_code, slug(late)) == (504, "not-reached")


def test_tables_are_listed_in_pages(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        for name in ("c", "a", "b"):
            http.post("/v1/tables", json={"name": name})
        page = http.get("/v1/tables?limit=2").json()
        assert [each["name"] for each in page["items"]] == ["a", "b"]
        rest = http.get(f"/v1/tables?limit=2&cursor={page['next']}").json()
        assert [each["name"] for each in rest["items"]] == ["c"]
        assert "next" not in rest
