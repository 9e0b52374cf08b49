"""Topics through the client, against a real server."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from walnut.client import Client
from walnut.client.client import Operations
from walnut.client.errors import Changed, Conflict, Gone, NotThere, Refused
from walnut.client.topic import Keeping, Message, Producer
from walnut.testing.serving import Serving, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("topics") / "data") as running:
        yield running


@pytest.fixture
def client(server: Serving) -> Iterator[Client]:
    with Client(server.data) as made:
        yield made


def fresh() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


VALUES = [
    b"",
    b"text",
    "Grüße".encode(),
    b"\xff\x00",
    b'{"a": [1, 2]}',
    b"7",
    b"null",
    b"two\nlines",
]


def test_bytes_come_back_as_they_were(client: Client) -> None:
    topic = client.topic(fresh())
    message = Message(b"v", b"\xfe", {"h": "1"})
    appended = topic.append([*VALUES, message])
    assert (appended.first, appended.next) == (0, len(VALUES) + 1)
    read = topic.read(at_least=appended.lsn)
    assert [found.value for found in read.messages] == [*VALUES, b"v"]
    assert (read.messages[-1].key, read.messages[-1].headers) == (b"\xfe", {"h": "1"})
    assert (read.next, read.end) == (len(VALUES) + 1, len(VALUES) + 1)
    assert [found.value for found in topic.messages(3)] == [*VALUES[3:], b"v"]
    assert topic.read(4, limit=1).messages[0].json() == {"a": [1, 2]}
    assert topic.read(dt.datetime(2020, 1, 1, tzinfo=dt.UTC), limit=1).messages[0].offset == 0
    assert topic.read("latest").messages == []


def test_an_append_of_a_producer_or_under_a_key_is_there_once(client: Client) -> None:
    topic = client.topic(fresh())
    first = topic.append(b"a", producer=("p", 0))
    again = topic.append(b"a", producer=("p", 0))
    assert (first.repeated, again.repeated, again.first) == (False, True, first.first)
    assert not topic.append(b"b", key="k").repeated
    assert topic.append(b"b", key="k").repeated
    producer = Producer(fresh())
    for value in (b"c", b"d"):
        producer.append(topic, value)
    with pytest.raises(Refused):
        topic.append(b"gap", producer=(producer.name, 7))
    assert [message.value for message in topic.messages()] == [b"a", b"b", b"c", b"d"]


def test_a_topic_is_made_changed_truncated_and_deleted(client: Client) -> None:
    name = fresh()
    assert client.create_topic(name, Keeping(keep_messages=10)).options.keep_messages == 10
    with pytest.raises(Conflict):
        client.create_topic(name)
    topic = client.topic(name)
    assert topic.keep(Keeping(keep_bytes=1 << 20)).options == Keeping(keep_bytes=1 << 20)
    topic.append([b"a", b"b", b"c"])
    assert topic.truncate(2).first == 2
    with pytest.raises(Gone):
        topic.read(0)
    assert topic.info().messages == 1
    assert name in [info.name for info in client.topics()]
    topic.delete()
    with pytest.raises(NotThere):
        topic.info()


def test_groups_move_only_from_where_they_are(client: Client) -> None:
    topic = client.topic(fresh())
    topic.append([b"a", b"b", b"c"])
    topic.commit("readers", 2, expected=0)
    with pytest.raises((Changed, Conflict)):
        topic.commit("readers", 3, expected=0)
    assert topic.position("readers") == 2
    assert [(group.group, group.lag) for group in topic.groups()] == [("readers", 1)]
    topic.forget("readers")
    assert topic.position("readers") == 0


def test_an_append_can_be_a_part_of_a_transaction(client: Client) -> None:
    name, table = fresh(), fresh()
    client.create_table(table)
    client.create_topic(name)
    wanted = Operations().put(table, {"key": "a", "value": 1}).append(name, [b"a is there"])
    client.transaction(wanted)
    assert [message.value for message in client.topic(name).messages()] == [b"a is there"]


def test_a_follower_misses_nothing_across_restarts(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server, Client(server.data) as client:
        client.create_topic("orders")
        topic = client.topic("orders")
        seen: list[bytes] = []

        def follow() -> None:
            with Client(server.data) as follower:
                for message in follower.topic("orders").follow("earliest"):
                    seen.append(message.value)
                    if message.value == b"end":
                        return

        follower = threading.Thread(target=follow)
        follower.start()
        producer = Producer("p")
        for number in range(3):
            for part in range(20):
                producer.append(topic, b"%d.%d" % (number, part))
            if number == 0:
                server.stop()
                server.start()
            elif number == 1:
                server.kill()
                server.start()
        producer.append(topic, b"end")
        follower.join()
        assert seen == [b"%d.%d" % (number, part) for number in range(3) for part in range(20)] + [
            b"end"
        ]
