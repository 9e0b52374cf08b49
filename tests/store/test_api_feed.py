"""The change feed and the log's tail over HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.store.apis import opened, resources_of, serving
from tests.store.helpers import SMALL, Guest, guests_of
from tests.store.test_api_tables import slug
from tests.web.asgi import Call, app_of
from walnut.store.api import feed, routes
from walnut.store.document import Document
from walnut.store.problems import PROBLEMS
from walnut.store.store import Store
from walnut.store.table import Table
from walnut.store.transaction import Transaction
from walnut.web import streams

SSE = {"accept": "text/event-stream"}


def notes_of(store: Store) -> Table[Document]:
    """A table of documents."""
    return store.table("notes", Document, key=lambda row: row.key)


def put_all(tx: Transaction, table: Table[Document], *keys: str) -> None:
    """Put several notes in one transaction."""
    for key in keys:
        table.put(tx, Document(key, tx.lsn))


def app_for(store: Store) -> Any:
    """The routes of a store as an app."""
    return app_of([*routes(resources_of(store))], PROBLEMS)


def events_of(text: str) -> list[tuple[str, Any]]:
    """The events in a stream of Server-Sent Events that are not its end or a heartbeat."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if "data" in fields and "event" not in fields:
            found.append((fields["id"], json.loads(fields["data"])))
    return found


def test_the_feed_has_every_change_in_order_with_who_and_why(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/tables", json={"name": "notes"})
        for number in range(3):
            http.put(f"/v1/tables/notes/rows/{number}", json={"value": number})
        http.delete("/v1/tables/notes/rows/1", headers={"Walnut-Reason": "over"})
        answer = http.get("/v1/changes?since=0&follow=false")
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [line["key"] for line in lines] == ["0", "1", "2", "1"]
        assert lines[-1]["after"] is None
        assert lines[-1]["reason"] == "over"
        assert {line["principal"] for line in lines} == {"token:test"}
        assert [line["lsn"] for line in lines] == sorted(line["lsn"] for line in lines)
        since = lines[1]["position"]
        rest = http.get(f"/v1/changes?since={since}&follow=false").text.splitlines()
        assert [json.loads(line)["key"] for line in rest] == ["2", "1"]
        upto = http.get(f"/v1/changes?since=0&upto={since}").text.splitlines()
        assert [json.loads(line)["key"] for line in upto] == ["0", "1"]


def test_a_reader_cut_off_anywhere_goes_on_without_loss_or_repetition(tmp_path: Path) -> None:
    """Also in the middle of a transaction, and across a restart of the store."""
    expected = []
    with Store(tmp_path / "s", SMALL) as store:
        notes = notes_of(store)
        for turn in range(4):
            keys = [f"{turn}.{number}" for number in range(turn + 1)]
            store.call(put_all, notes, *keys)
            expected += keys
        with serving(store) as http:
            whole = events_of(http.get("/v1/changes?since=0&follow=false", headers=SSE).text)
    assert [event["key"] for _, event in whole] == expected
    with opened(tmp_path / "s") as http:
        for cut in range(1, len(whole)):
            last = {**SSE, "Last-Event-ID": whole[cut - 1][0]}
            rest = events_of(http.get("/v1/changes?follow=false", headers=last).text)
            assert [event["key"] for _, event in rest] == expected[cut:]
            since = f"/v1/changes?follow=false&since={whole[cut - 1][0]}"
            lines = http.get(since).text.splitlines()
            assert [json.loads(line)["key"] for line in lines] == expected[cut:]


def test_a_position_means_the_same_whatever_a_stream_leaves_out(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        for name in ("a", "b"):
            http.post("/v1/tables", json={"name": name})
        operations = [
            {"op": "put", "table": table, "row": {"key": key, "value": 1}}
            for key in "12"
            for table in "ab"
        ]
        http.post("/v1/transaction", json={"operations": operations})
        only_a = events_of(http.get("/v1/changes?since=0&follow=false&tables=a", headers=SSE).text)
        assert [event["key"] for _, event in only_a] == ["1", "2"]
        after_first = {**SSE, "Last-Event-ID": only_a[0][0]}
        both = events_of(http.get("/v1/changes?follow=false", headers=after_first).text)
        rest = [(event["table"], event["key"]) for _, event in both]
        assert rest == [("b", "1"), ("a", "2"), ("b", "2")]


def test_followers_get_changes_as_they_become_durable_and_share_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    encode = feed.encoded

    def counting(change: Any, number: int, *, last: bool) -> bytes:
        read.append(change.lsn)
        return encode(change, number, last=last)

    monkeypatch.setattr(feed, "encoded", counting)

    async def run(store: Store, notes: Table[Document]) -> None:
        app = app_for(store)
        async with asyncio.TaskGroup() as group:

            async def follow() -> None:
                async with Call(app, "/v1/changes", headers=SSE) as call:
                    assert await call.head() == 200
                    waiting.release()
                    text = await call.until('"key":"c"')
                    assert [event["key"] for _, event in events_of(text)] == ["a", "b", "c"]

            waiting = asyncio.Semaphore(0)
            for _ in range(20):
                group.create_task(follow())
            for _ in range(20):
                await waiting.acquire()
            for key in "abc":
                await store.run(put_all, notes, key)
        assert len(read) == 3, "each change was encoded once for all twenty"

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store, notes_of(store)))


def test_a_filter_that_leaves_out_all_still_moves_its_reader_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.01)

    async def run(store: Store, notes: Table[Document]) -> None:
        async with Call(app_for(store), "/v1/changes?tables=quiet", headers=SSE) as call:
            await call.head()
            for key in "abc":
                await store.run(put_all, notes, key)
            await call.until(f"id: {store.applied_lsn}\n")

    with Store(tmp_path / "s", SMALL) as store:
        store.table("quiet", Document, key=lambda row: row.key)
        asyncio.run(run(store, notes_of(store)))


def test_a_feed_that_is_drained_says_where_to_go_on(tmp_path: Path) -> None:
    async def run(store: Store, notes: Table[Document]) -> None:
        await store.run(put_all, notes, "a", "b")
        async with Call(app_for(store), "/v1/changes?since=0") as call:
            await call.head()
            await call.until('"key":"b"')
            call.draining.set()
            end = json.loads((await call.rest()).splitlines()[-1])["end"]
            assert end == {"reason": "draining", "position": str(store.applied_lsn)}

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store, notes_of(store)))


def test_what_the_log_no_longer_has_is_gone_and_says_what_is_left(tmp_path: Path) -> None:
    with Store(tmp_path / "s", SMALL) as store:
        notes = notes_of(store)
        for key in "abcdef":
            store.call(put_all, notes, key)
        store.checkpoint()
        store.log.truncate_before(5)
        with serving(store) as http:
            for query in ("since=1", "since=3.1"):
                gone = http.get(f"/v1/changes?{query}&follow=false")
                assert (gone.status_code, slug(gone)) == (410, "lsn-truncated")
                assert gone.json()["first_lsn"] == 5
            first = http.get("/v1/changes?since=0&follow=false").text.splitlines()[0]
            assert json.loads(first)["lsn"] == 5
            assert http.get("/v1/changes?since=4&follow=false").status_code == 200


def test_a_position_that_is_none_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        for since in ("-1", "x", "1.x", "1.2.3", "9" * 30, "1e5", "%00", "\u0663"):
            answer = http.get("/v1/changes", params={"since": since, "follow": "false"})
            assert slug(answer) == "invalid-request", since
        assert slug(http.get("/v1/changes?since=1000&follow=false")) == "lsn-unknown"
        assert slug(http.get("/v1/changes?tables=nope&follow=false")) == "unknown-table"
        assert slug(http.get("/v1/changes?tables=,&follow=false")) == "invalid-request"
        answer = http.get("/v1/changes?follow=false", headers={"Last-Event-ID": "x"})
        assert slug(answer) == "invalid-request"


def test_who_was_erased_is_not_told_from_memory(tmp_path: Path) -> None:
    with Store(tmp_path / "s", SMALL) as store:
        guests = guests_of(store)
        with store.transaction() as tx:
            guests.put(tx, Guest("ann", "ann@example.org"))
        with serving(store) as http:
            assert "ann@example.org" in http.get("/v1/changes?since=0&follow=false").text
            store.erase("ann")
            told = http.get("/v1/changes?since=0&follow=false").text
            assert "ann@example.org" not in told
            assert json.loads(told.splitlines()[0])["after"] == {"erased": True}


def test_what_a_subsystem_keeps_is_in_the_feed_of_administrators_alone(tmp_path: Path) -> None:
    with Store(tmp_path / "s", SMALL) as store:
        secrets = store.table("jobs.secrets", Document, key=lambda row: row.key)
        store.call(put_all, secrets, "s")
        with serving(store) as http:
            assert "jobs.secrets" in http.get("/v1/changes?since=0&follow=false").text
        with serving(store, scopes=("tables:read",)) as http:
            assert http.get("/v1/changes?since=0&follow=false").text == ""


def test_a_feed_far_behind_reads_in_bounded_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "COLD", 5)
    monkeypatch.setattr(feed, "BATCH_BYTES", 1000)
    with Store(tmp_path / "s", SMALL) as store:
        notes = notes_of(store)
        for number in range(60):
            store.call(put_all, notes, str(number))
        with serving(store) as http:
            lines = http.get("/v1/changes?since=0&follow=false").text.splitlines()
            assert [json.loads(line)["key"] for line in lines] == [str(n) for n in range(60)]


def test_the_logs_tail_describes_records_and_shows_no_row(tmp_path: Path) -> None:
    async def run(store: Store, notes: Table[Document]) -> None:
        async with Call(app_for(store), "/v1/log/tail?since=1", headers=SSE) as call:
            await call.head()
            await store.run(put_all, notes, "secret-key", "b")
            text = await call.until('"written":2')
            lsn, record = events_of(text)[-1]
            assert int(lsn) == record["lsn"]
            assert record["tables"] == [{"table": "notes", "written": 2, "deleted": 0}]
            assert "secret-key" not in text

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store, notes_of(store)))
