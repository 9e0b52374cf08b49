"""The log, its slots, and backups over HTTP."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.store.apis import opened, serving
from tests.store.helpers import SMALL
from tests.store.test_api_tables import slug
from walnut.store.store import Store


def filled(http: httpx.Client, rows: int) -> None:
    """Put so many notes."""
    http.post("/v1/tables", json={"name": "notes"})
    for number in range(rows):
        http.put(f"/v1/tables/notes/rows/{number}", json={"value": number})


def test_records_are_read_in_pages_and_described(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        filled(http, 6)
        found, cursor = [], ""
        while True:
            query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
            page = http.get("/v1/log/records", params=query).json()
            found += page["items"]
            if not (cursor := page.get("next", "")):
                break
        assert [record["lsn"] for record in found] == list(range(1, len(found) + 1))
        assert {record["kind"] for record in found} == {"transaction"}
        assert found[-1]["tables"] == [{"table": "notes", "written": 1, "deleted": 0}]
        assert found[-1]["principal"] == "token:test"
        some = http.get("/v1/log/records?start=2&upto=3").json()["items"]
        assert [record["lsn"] for record in some] == [2, 3]


def test_a_record_is_found_by_its_time(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        filled(http, 5)
        items = http.get("/v1/log/records").json()["items"]
        wanted = items[3]
        first = next(record for record in items if record["time"] == wanted["time"])
        found = http.get("/v1/log/records", params={"at": wanted["time"], "limit": "1"}).json()
        assert found["items"][0]["lsn"] == first["lsn"]
        late = http.get("/v1/log/records", params={"at": "2999-01-01T00:00:00Z"}).json()
        assert late["items"] == []


def test_records_of_a_program_that_are_no_transactions_say_so(tmp_path: Path) -> None:
    with Store(tmp_path / "s", SMALL) as store:
        store.log.append(b"\x7fmine")
        store.log.append(b"\x01damaged")
        with serving(store) as http:
            kinds = [record["kind"] for record in http.get("/v1/log/records").json()["items"]]
            assert kinds == ["other", "damaged"]


def test_a_hostile_query_of_records_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        filled(http, 1)
        for query, problem in (
            ("start=0", "invalid-request"),
            ("start=-5", "invalid-request"),
            (f"start={10**30}", "invalid-request"),
            ("start=1000", "lsn-unknown"),
            ("at=yesterday", "invalid-request"),
            ("at=2026-01-01T00:00:00", "invalid-request"),
            ("start=1&at=2026-01-01T00:00:00Z", "invalid-request"),
            ("limit=100000", "invalid-request"),
            ("cursor=x", "invalid-cursor"),
        ):
            assert slug(http.get(f"/v1/log/records?{query}")) == problem, query


def test_a_slot_is_made_moved_and_dropped(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        filled(http, 5)
        assert http.post("/v1/log/slots", json={"name": "mine", "lsn": 2}).json()["lsn"] == 2
        assert http.put("/v1/log/slots/mine", json={"lsn": 4}).json()["lsn"] == 4
        assert slug(http.put("/v1/log/slots/mine", json={"lsn": 3})) == "invalid-argument"
        assert slug(http.put("/v1/log/slots/mine", json={"lsn": 1000})) == "lsn-unknown"
        names = [slot["name"] for slot in http.get("/v1/log/slots").json()["items"]]
        assert names == ["mine", "tables"]
        assert http.delete("/v1/log/slots/mine").status_code == 204
        assert slug(http.delete("/v1/log/slots/mine")) == "unknown-slot"


def test_a_slot_has_a_name_that_a_file_can_have_and_is_not_the_stores(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        for name in ("", "..", "a/b", "tables", "x" * 100, "\0"):
            assert slug(http.post("/v1/log/slots", json={"name": name})) == "invalid-argument"
        assert slug(http.put("/v1/log/slots/tables", json={"lsn": 1})) == "invalid-argument"
        assert slug(http.delete("/v1/log/slots/tables")) == "invalid-argument"


def ended(http: httpx.Client, place: str, what: str) -> dict[str, Any]:
    """The last backup or check of a place, once it has ended."""
    while True:
        run: dict[str, Any] = http.get(f"/v1/backups/{place}").json()[what]
        if run.get("ended"):
            return run


def test_a_backup_is_taken_listed_and_checked(tmp_path: Path) -> None:
    places = {"here": str(tmp_path / "backup")}
    with opened(tmp_path / "s", places=places) as http:
        filled(http, 5)
        assert http.post("/v1/backups/here").status_code == 202
        run = ended(http, "here", "backup")
        assert run["stored"]["lsn"] == 6
        kept = http.get("/v1/backups/here").json()["kept"]
        assert [point["lsn"] for point in kept["points"]] == [6]
        assert (kept["first_lsn"], kept["next_lsn"]) == (1, 7)
        assert http.post("/v1/backups/here/check", json={}).status_code == 202
        assert ended(http, "here", "check")["found"]["compared_lsn"] == 6
        (place,) = http.get("/v1/backups").json()["items"]
        assert place["place"] == "here"
        assert str(tmp_path) not in http.get("/v1/backups").text, (
            "a place is told by its name alone"
        )
    Store.restore(places["here"], tmp_path / "restored")
    with Store(tmp_path / "restored") as store:
        assert "notes" in store.tables()


def test_a_place_that_was_not_configured_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    with opened(tmp_path / "s", places={"here": str(tmp_path / "b")}) as http:
        for place in (
            "there",
            "%2Fetc",
            "..%2Fb",
            str(tmp_path).replace("/", "%2F"),
            "file:%2F%2Fx",
        ):
            answer = http.post(f"/v1/backups/{place}")
            assert answer.status_code in {404, 405}
        assert slug(http.post("/v1/backups/there/check")) == "unknown-backup"
        assert slug(http.get("/v1/backups/there")) == "unknown-backup"
        url = http.post("/v1/backups/here", json={"hold": False, "url": "/tmp/x"})
        assert slug(url) == "invalid-request"


def test_one_copy_is_under_way_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, begun = threading.Event(), threading.Event()
    with Store(tmp_path / "s", SMALL) as store:
        back_up = store.backup

        def waits(*args: Any, **kwargs: Any) -> Any:
            begun.set()
            go_on.wait()
            return back_up(*args, **kwargs)

        monkeypatch.setattr(store, "backup", waits)
        places = {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}
        with serving(store, places=places) as http:
            http.post("/v1/backups/a")
            begun.wait()
            for path in ("/v1/backups/a", "/v1/backups/b", "/v1/backups/a/check"):
                assert slug(http.post(path)) == "backup-running"
            go_on.set()
            assert ended(http, "a", "backup")["stored"]
            assert http.post("/v1/backups/b").status_code == 202
            ended(http, "b", "backup")


def test_a_backup_that_fails_says_why(tmp_path: Path) -> None:
    with opened(tmp_path / "s", places={"in": str(tmp_path / "s" / "log")}) as http:
        filled(http, 1)
        http.post("/v1/backups/in")
        while not (run := http.get("/v1/backups").json()["items"][0]["backup"]).get("ended"):
            pass
        assert "same place as the store" in run["error"]


def test_a_checkpoint_is_taken(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        filled(http, 3)
        assert http.post("/v1/checkpoint").json() == {"lsn": 4}
        assert http.get("/v1/log/stat").json()["durable_lsn"] == 4


def test_each_area_has_a_scope_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path / "s", scopes=("tables:admin", "topics:admin")) as http:
        for path in ("/v1/log/stat", "/v1/log/records", "/v1/log/slots", "/v1/backups"):
            assert slug(http.get(path)) == "forbidden"
        for path in ("/v1/checkpoint", "/v1/backups/a"):
            assert slug(http.post(path)) == "forbidden"
