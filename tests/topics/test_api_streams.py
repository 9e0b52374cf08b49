"""Topics over HTTP as streams: lines in, tails and WebSockets out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from litestar.exceptions import WebSocketDisconnect

from tests.store.helpers import SMALL
from tests.store.test_api_feed import events_of
from tests.store.test_api_tables import slug
from tests.topics.apis import ALL_PROBLEMS, opened, routes_of, with_topics
from tests.web.asgi import Call, app_of
from walnut.log.errors import LogFull
from walnut.store.store import Store
from walnut.topics.api import lines, messages, reading
from walnut.topics.topics import Topics

SSE = {"accept": "text/event-stream"}


def app_for(store: Store) -> tuple[Any, Topics]:
    """The routes of topics as an app, and the topics."""
    resources = with_topics(store)
    return app_of(routes_of(resources), *ALL_PROBLEMS), resources.find(Topics)


def values_in(http: Any, topic: str = "t") -> list[Any]:
    """The values of a topic, all JSON."""
    text = http.get(f"/v1/topics/{topic}/tail?start=earliest&follow=false").text
    return [json.loads(line)["value"] for line in text.splitlines()]


# -- lines in -----------------------------------------------------------------------------------


def test_each_line_is_a_message(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        body = b'{"n":0}\n\n{"n":1}\r\n  \n{"n":2}'
        done = http.post("/v1/topics/t/stream", content=body)
        assert done.status_code == 201
        assert {**done.json(), "lsn": 0} == {"committed": 3, "first": 0, "next": 3, "lsn": 0}
        assert values_in(http) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert http.post("/v1/topics/t/stream", content=b"").json()["committed"] == 0


def test_lines_may_be_whole_messages(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        body = b'{"value": 1, "key": "a"}\n{"text": "x", "headers": {"h": "v"}}\n'
        http.post("/v1/topics/t/stream?lines=messages", content=body)
        exported = http.get("/v1/topics/t/tail?start=0&follow=false").content
        http.post("/v1/topics/u/stream?lines=messages", content=exported)
        one, other = (http.get(f"/v1/topics/{name}/messages").json()["items"] for name in "tu")
        for item in [*one, *other]:
            del item["time"]
        assert one == other


def test_what_ends_a_stream_says_exactly_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BATCH_LINES", 3)
    monkeypatch.setattr(lines, "LONGEST", 1000)
    with opened(tmp_path / "s") as http:
        for number, (bad, mode, problem) in enumerate(
            (
                (b"nope", "values", "invalid-message"),
                (b"[" * 900, "values", "invalid-message"),
                (b'"' + b"x" * 2000 + b'"', "values", "message-too-large"),
                (b'{"valu": 1}', "messages", "invalid-message"),
                (b'{"value": NaN}', "messages", "invalid-message"),
            )
        ):
            topic = f"t{number}"
            good = [b'{"value": %d}' % n for n in range(7)]
            body = b"\n".join([*good, bad, b'{"value": 99}'])
            answer = http.post(f"/v1/topics/{topic}/stream?lines={mode}", content=body)
            assert slug(answer) == problem
            assert "line 8" in answer.json()["detail"]
            assert answer.json()["committed"] == 7
            found = values_in(http, topic)
            assert found == [n if mode == "messages" else {"value": n} for n in range(7)]


def test_a_failing_store_ends_a_stream_behind_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BATCH_LINES", 2)

    async def run(store: Store) -> None:
        app, topics = app_for(store)
        publish, calls = topics.publish, []

        async def fails_later(*args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            if len(calls) == 3:
                raise LogFull("no room: free space")
            return await publish(*args, **kwargs)

        monkeypatch.setattr(topics, "publish", fails_later)
        async with Call(app, "/v1/topics/t/stream", method="POST") as call:
            call.body(b"".join(b"%d\n" % number for number in range(12)))
            assert await call.head() == 507
            problem = json.loads(await call.rest())
            assert problem["type"].endswith("disk-full")
            assert problem["committed"] == 4
        assert topics.info(store, "t").next == 4
        assert len(calls) == 3, "nothing was sent behind what failed"

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store))


def test_lines_are_committed_while_the_body_arrives_and_no_more_is_read_than_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BATCH_LINES", 2)

    async def run(store: Store) -> None:
        app, topics = app_for(store)
        async with Call(app, "/v1/topics/t/stream", method="POST") as call:
            call.body(b"0\n1\n2\n", more=True)
            await topics_at(topics, 3)  # though the body has not ended
            go_on = asyncio.Event()
            publish = topics.publish

            async def slow(*args: Any, **kwargs: Any) -> Any:
                await go_on.wait()
                return await publish(*args, **kwargs)

            monkeypatch.setattr(topics, "publish", slow)
            for number in range(3, 53):
                call.body(b"%d\n%d\n" % (number, number), more=True)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert call._in.qsize() >= 47, "a batch under way and one that waits, no more"
            go_on.set()
            call.body(b"")
            assert await call.head() == 201
            assert json.loads(await call.rest())["committed"] == 103

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store))


async def topics_at(topics: Topics, offset: int) -> None:
    """Wait until a topic has so many messages."""
    while not topics.exists(topics.store, "t") or topics.info(topics.store, "t").next < offset:
        await asyncio.sleep(0.001)


def test_a_client_that_hangs_up_leaves_whole_lines_behind(tmp_path: Path) -> None:
    async def run(store: Store) -> None:
        app, topics = app_for(store)
        async with Call(app, "/v1/topics/t/stream", method="POST") as call:
            call.body(b'1\n2\n"half a li', more=True)
            await topics_at(topics, 2)
            call.hang_up()
            assert call.task is not None
            await asyncio.gather(call.task, return_exceptions=True)
        assert [message.value for message in topics.read(store, "t").messages] == [b"1", b"2"]

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store))


def test_a_stream_that_the_server_stops_says_what_was_committed(tmp_path: Path) -> None:
    async def run(store: Store) -> None:
        app, topics = app_for(store)
        async with Call(app, "/v1/topics/t/stream", method="POST") as call:
            call.body(b"1\n2\n3\nha", more=True)
            await topics_at(topics, 3)
            call.draining.set()
            assert await call.head() == 503
            problem = json.loads(await call.rest())
            assert (problem["type"].split(":")[-1], problem["committed"]) == ("stopping", 3)

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store))


def test_a_stream_in_which_nothing_comes_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "IDLE_SECONDS", 0.05)

    async def run(store: Store) -> None:
        app, topics = app_for(store)
        async with Call(app, "/v1/topics/t/stream", method="POST") as call:
            call.body(b"1\n", more=True)
            assert await call.head() == 408
            assert json.loads(await call.rest())["committed"] == 1
        assert topics.info(store, "t").next == 1

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store))


def test_each_transaction_of_a_producers_stream_is_its_next_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BATCH_LINES", 2)
    with opened(tmp_path / "s") as http:
        headers = {"Walnut-Producer": "p", "Walnut-Sequence": "0"}
        body = b"1\n2\n3\n4\n"
        first = http.post("/v1/topics/t/stream", content=body, headers=headers).json()
        again = http.post("/v1/topics/t/stream", content=body, headers=headers).json()
        assert again == {**first, "repeated": 4}
        assert values_in(http) == [1, 2, 3, 4]


# -- tails --------------------------------------------------------------------------------------


def test_a_tail_cut_off_anywhere_goes_on_without_loss_or_repetition(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/batch", json=[{"value": n} for n in range(6)])
    with opened(tmp_path / "s") as http:  # a restart later
        http.post("/v1/topics/t/batch", json=[{"value": n} for n in range(6, 10)])
        for cut in range(-1, 10):
            headers = {**SSE, "Last-Event-ID": str(cut)}
            text = http.get("/v1/topics/t/tail?follow=false", headers=headers).text
            events = events_of(text)
            assert [event["value"] for _, event in events] == list(range(cut + 1, 10))
            assert [int(position) for position, _ in events] == list(range(cut + 1, 10))


def test_a_tail_from_the_end_is_told_where_it_is_before_anything_comes(tmp_path: Path) -> None:
    """So that a reader that is cut off before the first message goes on there, and not at a later end."""

    async def run(store: Store) -> None:
        app, topics = app_for(store)
        await topics.publish("t", b"0")
        async with Call(app, "/v1/topics/t/tail", headers=SSE) as call:
            await call.head()
            assert "id: 0\n\n" in await call.until("still here")
            await topics.publish("t", b"1")
            await call.until('"value":1')
        await topics.publish("t", b"2")
        async with Call(app, "/v1/topics/t/tail", headers={**SSE, "Last-Event-ID": "0"}) as call:
            await call.head()
            await call.until('"value":2')
            assert [event["value"] for _, event in events_of(call.text)] == [1, 2]

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store))


def test_many_tails_get_every_message_and_share_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = messages.encoded

    def counting(message: Any) -> bytes:
        encoded.append(message.offset)
        return encode(message)

    monkeypatch.setattr(reading, "encoded", counting)

    async def run(store: Store) -> None:
        app, topics = app_for(store)
        await store.run(topics.create, "t")
        waiting = asyncio.Semaphore(0)

        async def follow() -> None:
            async with Call(app, "/v1/topics/t/tail", headers=SSE) as call:
                await call.head()
                waiting.release()
                text = await call.until('"value":"end"')
                values = [event["value"] for _, event in events_of(text)]
                assert values == [*range(50), "end"]

        async with asyncio.TaskGroup() as group:
            for _ in range(30):
                group.create_task(follow())
            for _ in range(30):
                await waiting.acquire()
            for number in range(50):
                await topics.publish("t", b"%d" % number)
            await topics.publish("t", b'"end"')
        assert sorted(encoded) == list(range(51)), "each message was encoded once for all of them"

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store))


def test_a_tail_of_a_topic_that_is_deleted_says_so(tmp_path: Path) -> None:
    async def run(store: Store) -> None:
        app, topics = app_for(store)
        await topics.publish("t", b"1")
        async with Call(app, "/v1/topics/t/tail?start=0") as call:
            await call.head()
            await call.until('"value":1')
            await store.run(topics.delete, "t")
            end = json.loads((await call.rest()).splitlines()[-1])["end"]
            assert (end["reason"], end["position"]) == ("failed", "0")
            assert end["problem"]["type"].endswith("unknown-topic")

    with Store(tmp_path / "s", SMALL) as store:
        asyncio.run(run(store))


def test_what_was_truncated_is_not_told_from_memory(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/batch", json=[{"value": n} for n in range(5)])
        assert values_in(http) == list(range(5))
        http.post("/v1/topics/t/truncate", json={"before": 3})
        assert slug(http.get("/v1/topics/t/tail?start=0&follow=false")) == "offset-truncated"
        assert values_in(http) == [3, 4]


def test_where_a_tail_begins_is_checked(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/messages", content=b"1")
        for seen in ("x", "-2", "latest", "1.5", "9" * 30):
            headers = {"Last-Event-ID": seen}
            assert slug(http.get("/v1/topics/t/tail", headers=headers)) == "invalid-request"
        assert slug(http.get("/v1/topics/t/tail?start=2")) == "offset-unknown"
        assert slug(http.get("/v1/topics/nope/tail")) == "unknown-topic"


def test_a_tail_far_behind_reads_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "COLD", 5)
    monkeypatch.setattr(reading, "READ_AT_ONCE", 7)
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/batch", json=[{"value": n} for n in range(100)])
        assert values_in(http) == list(range(100))


# -- WebSocket ----------------------------------------------------------------------------------


def test_a_socket_tells_messages_and_takes_appends(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/batch", json=[{"value": n} for n in range(3)])
        with http.websocket_connect("/v1/topics/t/socket?start=1") as socket:
            assert [socket.receive_json()["value"] for _ in range(2)] == [1, 2]
            socket.send_json({"append": [{"value": 3}, {"text": "x"}], "id": "a"})
            said = [socket.receive_json() for _ in range(3)]
            (answer,) = [each for each in said if "appended" in each]
            assert answer["id"] == "a"
            assert (answer["appended"]["first"], answer["appended"]["next"]) == (3, 5)
            assert [each["offset"] for each in said if "offset" in each] == [3, 4]


def test_a_socket_answers_what_it_can_not_take_and_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/messages", content=b"0")
        with http.websocket_connect("/v1/topics/t/socket") as socket:
            for text, problem in (
                ("", "malformed"),
                ("[" * 9999, "malformed"),
                ("7", "invalid-request"),
                ('{"append": [{}], "id": 1}', "invalid-message"),
                ('{"append": [], "id": 1}', "invalid-message"),
                ('{"appendix": 1}', "invalid-request"),
            ):
                socket.send_text(text)
                assert socket.receive_json()["problem"]["type"].endswith(problem), text
            socket.send_json({"append": [{"value": 1}]})
            assert {"appended", "offset"} & socket.receive_json().keys()


def test_a_window_holds_back_what_the_client_has_no_room_for(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/batch", json=[{"value": n} for n in range(10)])
        with http.websocket_connect("/v1/topics/t/socket?start=0&window=3") as socket:
            assert [socket.receive_json()["value"] for _ in range(3)] == [0, 1, 2]
            socket.send_json({"append": []})
            assert "problem" in socket.receive_json(), "and not the fourth message"
            socket.send_json({"seen": 1})
            assert [socket.receive_json()["value"] for _ in range(2)] == [3, 4]


def test_a_socket_needs_what_it_does(tmp_path: Path) -> None:
    with opened(tmp_path / "s", scopes=("topics:read",)) as http:
        with Store(tmp_path / "other", SMALL) as store:
            Topics(store)
        http.post("/v1/topics/t/messages", content=b"0")
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/messages", content=b"0")
    with opened(tmp_path / "s", scopes=("topics:read",)) as http:
        with http.websocket_connect("/v1/topics/t/socket") as socket:
            socket.send_json({"append": [{"value": 1}], "id": 9})
            answer = socket.receive_json()
            assert answer["problem"]["type"].endswith("forbidden")
            assert answer["id"] == 9
        with (
            pytest.raises(WebSocketDisconnect),
            http.websocket_connect("/v1/topics/nope/socket") as socket,
        ):
            socket.receive_json()
    with (
        opened(tmp_path / "s", scopes=("topics:read:other",)) as http,
        pytest.raises(WebSocketDisconnect),
        http.websocket_connect("/v1/topics/t/socket") as socket,
    ):
        socket.receive_json()


def test_a_socket_says_that_its_topic_is_gone(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as http:
        http.post("/v1/topics/t/messages", content=b"0")
        with http.websocket_connect("/v1/topics/t/socket?start=0") as socket:
            assert socket.receive_json()["value"] == 0
            http.delete("/v1/topics/t")
            end = socket.receive_json()["end"]
            assert (end["reason"], end["position"]) == ("failed", "0")
            with pytest.raises(WebSocketDisconnect):
                socket.receive_json()
