"""`walnut topics`."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.topics.helpers import topics_in
from walnut.cli import walnut
from walnut.topics import Message


def run(*args: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(
        walnut, ["topics", *map(str, args)], input=stdin, prog_name="walnut", catch_exceptions=False
    )


def lines(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0
    return [msgspec.json.decode(line) for line in result.stdout.splitlines()]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A store with a topic of three messages, one of them not text, and an empty one."""
    with topics_in(tmp_path / "shop") as topics:
        topics.store.call(topics.create, "orders")
        topics.store.call(topics.create, "empty")
        full = Message(b"\xff", b"k", {"h": "v"})
        topics.store.call(topics.append, "orders", [b"one", full, b"three"])
        topics.store.call(topics.commit, "mail", "orders", 1)
    return tmp_path / "shop"


def test_lines_go_in_and_messages_come_out(tmp_path: Path) -> None:
    store = tmp_path / "new"
    done = run("append", "--new", store, "t", stdin="a\nb\n\nc")
    assert (done.exit_code, done.stdout) == (0, "4 messages appended to t\n")
    assert [line["value"] for line in lines(run("read", store, "t"))] == ["a", "b", "", "c"]
    (tmp_path / "many").write_bytes(b"x\n" * 2500)
    assert run("append", store, "t", tmp_path / "many").stdout == "2,500 messages appended to t\n"
    found = lines(run("read", store, "t", "--start", 2500))
    assert [line["offset"] for line in found] == [2500, 2501, 2502, 2503]


def test_what_was_read_as_json_can_be_appended_to_another_topic(shop: Path) -> None:
    copied = run("append", shop, "empty", "--json", stdin=run("read", shop, "orders").stdout)
    assert copied.stdout == "3 messages appended to empty\n"
    with topics_in(shop) as topics:
        messages = [
            [(m.value, m.key, m.headers) for m in topics.read(topics.store, name).messages]
            for name in ("orders", "empty")
        ]
    assert messages[0] == messages[1]
    refused = run("append", shop, "empty", "--json", stdin='{"value": "x"}\n{"valu": "y"}\n')
    assert refused.exit_code == 1
    assert "line 2 is no message" in refused.stderr


def test_topics_are_listed_shown_truncated_and_deleted(shop: Path) -> None:
    assert [(line["name"], line["messages"]) for line in lines(run("list", shop))] == [
        ("empty", 0), ("orders", 3),
    ]  # fmt: skip
    assert "for ever" in run("list", shop, "--format", "table").stdout
    (stat,) = lines(run("stat", shop, "orders", "--json"))
    assert (stat["next"], stat["positions"][0]["lag"]) == (3, 2)  # type: ignore[index]
    assert "3 messages" in run("stat", shop, "orders").stdout
    assert run("truncate", shop, "orders", 2).stdout == "orders begins at offset 2\n"
    assert [line["value"] for line in lines(run("read", shop, "orders"))] == ["three"]
    assert "begins" not in run("read", shop, "orders", "--start", 1).stdout
    assert "no longer kept" in run("read", shop, "orders", "--start", 1).stderr
    assert run("delete", shop, "orders").stdout == "orders deleted; it held 1 message\n"
    assert run("read", shop, "orders").exit_code == 1
    made = run("create", shop, "short", "--keep-messages", 5, "--keep-seconds", 3600)
    assert made.stdout.startswith("short made; keeps messages within ")


def test_reading_begins_and_ends_where_it_is_told(shop: Path) -> None:
    def offsets(*args: object) -> list[object]:
        return [line["offset"] for line in lines(run(*args))]

    assert offsets("read", shop, "orders", "--start", 1, "--limit", 1) == [1]
    assert offsets("read", shop, "orders", "--start", "latest") == []
    assert offsets("read", shop, "orders", "--start", "2000-01-01") == [0, 1, 2]
    assert offsets("read", shop, "orders", "--start", "2999-01-01") == []
    assert offsets("tail", shop, "orders", "-n", 2) == [1, 2]
    assert offsets("tail", shop, "empty") == []
    assert "three" in run("tail", shop, "orders", "--format", "table").stdout
    assert run("read", shop, "orders", "--start", "soon").exit_code == 2


def test_a_mistake_is_one_line_that_says_what_to_do(shop: Path, tmp_path: Path) -> None:
    for args, words in (
        (("read", shop, "nope"), "there is no topic 'nope'"),
        (("append", shop, "nope", "--json"), "there is no topic 'nope'"),
        (("create", shop, "orders"), "there is a topic orders already"),
        (("create", shop, "no name"), "can't be called"),
        (("create", shop, "t", "--keep-bytes", "0"), "keep_bytes is 0"),
        (("list", tmp_path / "nowhere"), "nowhere"),
        (("append", tmp_path / "nowhere", "t"), "nowhere"),
        (("truncate", shop, "orders", "9"), "has no offset 9"),
    ):
        result = run(*args, stdin="")
        assert result.exit_code == 1
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
