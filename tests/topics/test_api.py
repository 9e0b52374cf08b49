"""Topics over HTTP: topics, messages, groups."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.store.helpers import SMALL
from tests.store.test_api_tables import slug
from tests.topics.apis import ALL_PROBLEMS, opened, routes_of, with_topics
from tests.web.asgi import app_of
from walnut.store.store import Store
from walnut.topics.model import TopicsOptions
from walnut.topics.topics import Topics

VALUES = [
    b"", b"hello", b'{"a": 1}', b"\xff\x00", b"7", b'"text"', b"null", b"NaN", b"[1,", b'{"a":\n 1}\r\n',
    "caf\u00e9".encode(), b'"\xff"', b"[" * 5000, b"[" * 150 + b"]" * 150, b'{"a":"x\\ny"}', b" 1 ",
]  # fmt: skip


def raw_of(item: dict[str, Any]) -> bytes | None:
    """The value of a message that is text or bytes; None if it is JSON."""
    if "bytes" in item:
        return base64.b64decode(item["bytes"])
    return item["text"].encode() if "text" in item else None


def test_what_is_appended_is_read_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        for number, value in enumerate(VALUES):
            done = http.post("/v1/topics/t/messages", content=value)
            assert (done.status_code, done.json()["first"]) == (201, number)
        for number, value in enumerate(VALUES):
            assert http.get(f"/v1/topics/t/messages/{number}").content == value
        items = http.get("/v1/topics/t/messages").json()["items"]
        assert [item["offset"] for item in items] == list(range(len(VALUES)))
        for item, value in zip(items, VALUES, strict=True):
            assert raw_of(item) in {value, None}
            assert ("value" in item) == (raw_of(item) is None)


def test_what_is_read_can_be_appended_again_and_is_the_same(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        for value in VALUES:
            http.post("/v1/topics/t/messages?key=k%ff%20", content=value)
        http.post("/v1/topics/t/messages", content=b"<p>", headers={"content-type": "text/html"})
        items = http.get("/v1/topics/t/messages").json()["items"]
        assert http.post("/v1/topics/u/batch", json=items).status_code == 201
        again = http.get("/v1/topics/u/messages").json()["items"]
        times = {item.pop("time") for item in [*items, *again]}
        assert times
        assert again == items


def test_a_message_of_somebodys_html_is_no_page_of_ours(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post(
            "/v1/topics/t/messages", content=b"<script>", headers={"content-type": "text/html"}
        )
        answer = http.get("/v1/topics/t/messages/0")
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-security-policy"].startswith("sandbox")
        assert answer.headers["content-disposition"] == "attachment"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_producer_that_sends_again_appends_once(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:

        def send(sequence: int, value: bytes = b"1") -> httpx.Response:
            headers = {"Walnut-Producer": "p", "Walnut-Sequence": str(sequence)}
            return http.post("/v1/topics/t/messages", content=value, headers=headers)

        first = send(0).json()
        assert send(0).json() == {**first, "repeated": True}
        assert send(1).json()["first"] == 1
        gap = send(5)
        assert (slug(gap), gap.json()["expected"]) == ("sequence-gap", 2)
        assert http.get("/v1/topics/t").json()["next"] == 2


def test_half_a_producer_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        for headers in (
            {"Walnut-Producer": "p"},
            {"Walnut-Sequence": "1"},
            {"Walnut-Producer": "p", "Walnut-Sequence": "-1"},
            {"Walnut-Producer": "p", "Walnut-Sequence": "x"},
            {"Walnut-Producer": "p", "Walnut-Sequence": "9" * 40},
        ):
            answer = http.post("/v1/topics/t/messages", content=b"1", headers=headers)
            assert slug(answer) == "invalid-request"
        headers = {"Walnut-Producer": "a b", "Walnut-Sequence": "0"}
        assert (
            slug(http.post("/v1/topics/t/messages", content=b"1", headers=headers))
            == "invalid-name"
        )


def test_an_append_under_an_idempotency_key_is_done_once(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        key = {"Idempotency-Key": "k"}
        first = http.post("/v1/topics/t/messages", content=b"1", headers=key)
        again = http.post("/v1/topics/t/messages", content=b"1", headers=key)
        assert again.json() == first.json()
        assert again.headers["idempotency-replayed"] == "true"
        assert slug(http.post("/v1/topics/t/messages", content=b"2", headers=key)) == "key-reused"
        assert slug(http.post("/v1/topics/u/messages", content=b"1", headers=key)) == "key-reused"
        assert http.get("/v1/topics/t").json()["next"] == 1


def test_concurrent_appends_share_transactions_and_keep_who(tmp_path: Path) -> None:
    async def run(store: Store) -> None:
        resources = with_topics(store)
        app = app_of(routes_of(resources), *ALL_PROBLEMS)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://walnut") as http:
            answers = await asyncio.gather(
                *(http.post("/v1/topics/t/messages", content=b"%d" % n) for n in range(100))
            )
            assert sorted(each.json()["first"] for each in answers) == list(range(100))
            topics = resources.find(Topics)
            assert topics.metrics.batches < 100
            for number, answer in enumerate(answers):
                read = await http.get(f"/v1/topics/t/messages/{answer.json()['first']}")
                assert read.content == b"%d" % number
        principals = {change.meta.principal for change in store.changes(tables=["topics.chunks"])}
        assert principals == {"token:test"}

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store))


def test_a_batch_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        good: list[Any] = [{"value": {"n": n}, "key": "k", "headers": {"h": "v"}} for n in range(3)]
        assert http.post("/v1/topics/t/batch", json=good).json()["next"] == 3
        for bad, problem in (
            ({}, "invalid-message"),
            ({"value": 1, "text": "x"}, "invalid-message"),
            ({"bytes": "?"}, "invalid-message"),
            ({"value": 1, "more": 2}, "invalid-request"),
            ({"value": 1, "headers": {"a": 1}}, "invalid-request"),
            ({"text": "x" * 1_000_001}, "message-too-large"),
            ({"value": 1, "headers": {str(n): "" for n in range(65)}}, "invalid-message"),
        ):
            assert slug(http.post("/v1/topics/t/batch", json=[*good, bad])) == problem
        assert slug(http.post("/v1/topics/t/batch", json=[])) == "invalid-message"
        assert slug(http.post("/v1/topics/t/batch", json={"value": 1})) == "invalid-request"
        assert slug(http.post("/v1/topics/t/batch", content=b"[" * 9999)) == "malformed"
        assert slug(http.post("/v1/topics/t/batch", content=b'[{"value": NaN}]')) == "malformed"
        assert http.get("/v1/topics/t").json()["next"] == 3


def test_appending_is_a_part_of_transactions(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        append = {"op": "append", "topic": "t", "messages": [{"value": 1}, {"text": "x"}]}
        put = {"op": "put", "table": "notes", "row": {"key": "a", "value": 1}}
        done = http.post("/v1/transaction", json={"operations": [put, append]}).json()
        assert done["results"][1] == {"first": 0, "next": 2}
        refused = {"op": "check", "table": "notes", "key": "a", "etag": None}
        http.post("/v1/transaction", json={"operations": [append, refused]})
        assert http.get("/v1/topics/t").json()["next"] == 2, "all or nothing"
    with opened(tmp_path / "s", scopes=("tables:write",)) as http:
        assert slug(http.post("/v1/transaction", json={"operations": [append]})) == "forbidden"


def test_messages_are_read_from_anywhere_in_pages(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/batch", json=[{"value": n} for n in range(5)])
        http.post("/v1/topics/t/batch", json=[{"value": n} for n in range(5, 10)])
        later = http.get("/v1/topics/t/messages?start=7&limit=1").json()["items"][0]["time"]
        found: list[int] = []
        cursor = ""
        while True:
            query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
            page = http.get("/v1/topics/t/messages", params=query).json()
            found += [item["value"] for item in page["items"]]
            assert (page["offset"], page["end"]) == (len(found), 10)
            if not (cursor := page.get("next", "")):
                break
        assert found == list(range(10))
        since = http.get("/v1/topics/t/messages", params={"start": later}).json()["items"]
        assert [item["value"] for item in since] == list(range(5, 10))
        assert http.get("/v1/topics/t/messages?start=latest").json()["items"] == []


def test_where_to_read_from_is_checked(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/messages", content=b"1")
        for query, problem in (
            ("start=-1", "invalid-request"),
            ("start=soon", "invalid-request"),
            (f"start={10**30}", "invalid-request"),
            ("start=2026-01-01T00:00:00", "invalid-request"),
            ("start=2", "offset-unknown"),
            ("limit=0", "invalid-request"),
            ("limit=1001", "invalid-request"),
            ("cursor=x", "invalid-cursor"),
        ):
            assert slug(http.get(f"/v1/topics/t/messages?{query}")) == problem, query
        assert slug(http.get("/v1/topics/t/messages/1")) == "offset-unknown"
        assert slug(http.get("/v1/topics/nope/messages")) == "unknown-topic"
        http.post("/v1/topics/t/messages", content=b"2")
        http.post("/v1/topics/t/truncate", json={"before": 1})
        gone = http.get("/v1/topics/t/messages?start=0")
        assert (gone.status_code, slug(gone), gone.json()["first"]) == (410, "offset-truncated", 1)


def test_a_topic_is_made_changed_and_deleted(tmp_path: Path) -> None:
    with opened(tmp_path / "s", TopicsOptions()) as http:
        assert slug(http.post("/v1/topics/t/messages", content=b"1")) == "unknown-topic"
        made = http.post("/v1/topics", json={"name": "t", "options": {"keep_messages": 5}})
        assert (made.status_code, made.json()["options"]) == (201, {"keep_messages": 5})
        assert slug(http.post("/v1/topics", json={"name": "t"})) == "topic-exists"
        assert http.patch("/v1/topics/t", json={"keep_bytes": 9}).json()["options"] == {
            "keep_bytes": 9
        }
        http.post("/v1/topics/t/messages", content=b"1")
        assert http.delete("/v1/topics/t").json()["next"] == 1
        assert slug(http.get("/v1/topics/t")) == "unknown-topic"
        for name in ("", "a b", "../x", "a/b", "x" * 201, "-x", "\0"):
            assert slug(http.post("/v1/topics", json={"name": name})) == "invalid-name"
        for options in ({"keep_messages": 0}, {"keep_seconds": -1}):
            answer = http.post("/v1/topics", json={"name": "u", "options": options})
            assert 400 <= answer.status_code < 500, answer.text


def test_a_topic_that_is_made_again_under_its_key_is_the_same_answer(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        key = {"Idempotency-Key": "k"}
        first = http.post("/v1/topics", json={"name": "t"}, headers=key)
        again = http.post("/v1/topics", json={"name": "t"}, headers=key)
        assert (again.status_code, again.json()) == (201, first.json())


def test_groups_commit_and_one_of_two_wins(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/batch", json=[{"value": n} for n in range(5)])
        at = "/v1/topics/t/groups/g"
        assert http.get(at).json() == {"group": "g", "offset": 0}
        assert http.put(at, json={"offset": 3, "expected": 0}).status_code == 200
        lost = http.put(at, json={"offset": 4, "expected": 0})
        assert (lost.status_code, slug(lost), lost.json()["offset"]) == (412, "position-moved", 3)
        (group,) = http.get("/v1/topics/t/groups").json()["items"]
        assert (group["offset"], group["lag"]) == (3, 2)
        assert slug(http.put(at, json={"offset": 6})) == "offset-unknown"
        assert slug(http.put(at, json={"offset": -1})) == "invalid-request"
        assert http.delete(at).json() == {"forgotten": True}
        assert http.delete(at).json() == {"forgotten": False}


def test_a_token_sees_and_touches_the_topics_that_it_is_for(tmp_path: Path) -> None:
    with Store(tmp_path / "s", SMALL) as store:
        store_topics = Topics(store, TopicsOptions(create=True))
        for name in ("mine-1", "theirs"):
            store.call(store_topics.create, name)
    with opened(tmp_path / "s", scopes=("topics:write:mine-*",)) as http:
        assert [each["name"] for each in http.get("/v1/topics").json()["items"]] == ["mine-1"]
        assert http.post("/v1/topics/mine-2/messages", content=b"1").status_code == 201
        for path in ("messages", "batch", "stream"):
            assert slug(http.post(f"/v1/topics/theirs/{path}", content=b"[]")) == "forbidden"
        for path in ("theirs", "theirs/messages", "theirs/tail", "theirs/messages/0"):
            assert slug(http.get(f"/v1/topics/{path}")) == "forbidden"
        assert slug(http.delete("/v1/topics/mine-1")) == "forbidden", "which takes topics:admin"
        assert slug(http.post("/v1/topics", json={"name": "other"})) == "forbidden"


@pytest.mark.parametrize("path", ["messages", "batch", "stream"])
def test_a_topic_can_not_be_called_just_anything(tmp_path: Path, path: str) -> None:
    with opened(tmp_path / "s") as http:
        for name in ("a%20b", "%00", "x" * 201, "-x"):
            answer = http.post(f"/v1/topics/{name}/{path}", content=b'[{"value":1}]')
            assert slug(answer) == "invalid-name"


def test_lines_sent_to_the_route_of_one_message_are_told_where_to_go(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        headers = {"content-type": "application/x-ndjson"}
        answer = http.post("/v1/topics/t/messages", content=b"1\n2\n", headers=headers)
        assert slug(answer) == "invalid-message"
        assert ".../stream" in answer.json()["detail"]
