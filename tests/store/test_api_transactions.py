"""Transactions over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.store.apis import opened, serving
from tests.store.helpers import guests_of
from tests.store.test_api_tables import JSON, slug
from walnut.store.store import Store


def put(key: str, value: Any, **more: Any) -> dict[str, Any]:
    """An operation that puts a note."""
    return {"op": "put", "table": "notes", "row": {"key": key, "value": value}, **more}


def get(key: str) -> dict[str, Any]:
    """An operation that reads a note."""
    return {"op": "get", "table": "notes", "key": key}


def test_operations_see_what_those_before_them_did_and_answer_in_order(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        operations = [
            get("a"),
            put("a", 1),
            get("a"),
            {"op": "add", "counter": "notes", "amount": 2},
            {"op": "add", "counter": "notes"},
            {"op": "delete", "table": "notes", "key": "a"},
            {"op": "delete", "table": "notes", "key": "a"},
            {"op": "check", "table": "notes", "key": "a", "etag": None},
        ]
        answer = http.post("/v1/transaction", json={"operations": operations})
        results = answer.json()["results"]
        assert results[0] == {"found": False}
        assert results[1]["created"] is True
        assert results[2]["row"] == {"key": "a", "value": 1}
        assert results[2]["etag"] == results[1]["etag"]
        assert results[3:] == [
            {"value": 2},
            {"value": 3},
            {"deleted": True},
            {"deleted": False},
            {},
        ]
        assert answer.headers["walnut-lsn"] == str(answer.json()["lsn"])


def test_what_one_operation_finds_wrong_undoes_them_all(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        for wrong in (
            put("b", 1, if_match='"no"'),
            {"op": "check", "table": "notes", "key": "b", "etag": "*"},
            {"op": "add", "counter": "stock", "amount": -1, "at_least": 0},
            {"op": "add", "counter": "stock", "amount": 1 << 63},
        ):
            answer = http.post("/v1/transaction", json={"operations": [put("a", 1), wrong]})
            assert 400 <= answer.status_code < 500, answer.text
            assert http.get("/v1/tables/notes/rows").json()["items"] == []
        answer = http.post(
            "/v1/transaction", json={"operations": [put("a", 1), put("a", 2, if_none_match="*")]}
        )
        assert slug(answer) == "precondition-failed"
        assert answer.json()["detail"].startswith("operation 1: ")


def test_a_counter_stays_within_the_limits_of_who_adds(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        take = {"operations": [{"op": "add", "counter": "seats", "amount": 1, "at_most": 3}]}
        answers = [http.post("/v1/transaction", json=take).status_code for _ in range(5)]
        assert answers == [200, 200, 200, 412, 412]


def test_a_counter_of_a_subsystem_is_its_own(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        add = {"operations": [{"op": "add", "counter": "topics"}]}
        assert slug(http.post("/v1/transaction", json=add)) == "table-not-writable"


def test_a_transaction_that_is_sent_again_is_done_once(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        add = {"operations": [{"op": "add", "counter": "orders"}]}
        key = {"Idempotency-Key": "once"}
        first = http.post("/v1/transaction", json=add, headers=key)
        again = http.post("/v1/transaction", json=add, headers=key)
        assert again.json() == first.json()
        assert again.headers["idempotency-replayed"] == "true"
        more = {"operations": [{"op": "add", "counter": "orders", "amount": 2}]}
        assert slug(http.post("/v1/transaction", json=more, headers=key)) == "key-reused"


def test_what_is_about_somebody_is_never_kept_with_an_idempotency_key(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        guests = guests_of(store)
        with serving(store) as http:
            row = {"id": "ann", "email": "ann@example.org"}
            write = {"op": "put", "table": "guests", "row": row}
            read = {"op": "get", "table": "guests", "key": "ann"}
            both = {"operations": [write, read]}
            key = {"Idempotency-Key": "k"}
            assert slug(http.post("/v1/transaction", json=both, headers=key)) == "invalid-request"
            done = http.post("/v1/transaction", json={"operations": [write]}, headers=key).json()
            assert done["results"] == [{"created": True}], "not even a digest of it"
            assert (
                http.post("/v1/transaction", json=both).json()["results"][1]["row"]["id"] == "ann"
            )
        assert guests.get(store, "ann") is not None


HOSTILE = [
    (b"{}", "invalid-request"),
    (b"[]", "invalid-request"),
    (b'{"operations": []}', "invalid-request"),
    (b'{"operations": [{"op": "drop", "table": "notes"}]}', "invalid-request"),
    (b'{"operations": [{"table": "notes", "key": "a"}]}', "invalid-request"),
    (b'{"operations": [{"op": "get", "table": "notes", "key": 7}]}', "invalid-request"),
    (b'{"operations": [{"op": "get", "table": "notes", "key": {"x": 1}}]}', "invalid-key"),
    (b'{"operations": [{"op": "get", "table": "nope", "key": "a"}]}', "unknown-table"),
    (b'{"operations": [{"op": "put", "table": "notes", "row": 7}]}', "invalid-row"),
    (b'{"operations": [{"op": "add", "counter": ""}]}', "invalid-request"),
    (b'{"operations": [{"op": "add", "counter": "c", "amount": 1e400}]}', "invalid-request"),
    (b'{"operations": ' + b"[" * 10_000, "malformed"),
    (b'{"operations": [{"op": "get", "table": "\xff", "key": "a"}]}', "malformed"),
]


def test_a_hostile_transaction_is_refused_by_name(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        for body, problem in HOSTILE:
            answer = http.post("/v1/transaction", content=body, headers=JSON)
            assert slug(answer) == problem, body[:80]


def test_a_transaction_has_a_bounded_number_of_operations(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        add = {"op": "add", "counter": "c"}
        assert http.post("/v1/transaction", json={"operations": [add] * 1000}).status_code == 200
        assert slug(http.post("/v1/transaction", json={"operations": [add] * 1001})) == (
            "invalid-request"
        )
