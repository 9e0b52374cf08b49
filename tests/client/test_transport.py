"""Requests through restarts, lost connections and refusals."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.server import Scripted, answer, events, problem
from walnut.client import address
from walnut.client.errors import (
    BadAddress,
    BadAnswer,
    Busy,
    NotAllowed,
    NotAuthenticated,
    NotThere,
    OutcomeUnknown,
    Refused,
    ServerFailed,
    Unreachable,
)
from walnut.client.feed import FRUITLESS, Feed
from walnut.client.transport import Transport


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


MADE: list[Transport] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while MADE:
        MADE.pop().close()


def transport(server: Scripted | str, time: Time | None = None, **settings: Any) -> Transport:
    time = time or Time()
    url = server if isinstance(server, str) else server.url
    made = Transport(
        address.parse(url), clock=time.clock, sleep=time.sleep, chance=lambda: 0.5, **settings
    )
    MADE.append(made)
    return made


# -- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://127.0.0.1:8420", "http://127.0.0.1:8420"),
        ("http://host", "http://host:8420"),
        ("https://host/walnut/", "https://host:443/walnut"),
        ("http://[::1]:1", "http://[::1]:1"),
        ("unix:/run/walnut.sock", "unix:/run/walnut.sock"),
        ("unix:///run/walnut.sock", "unix:/run/walnut.sock"),
        ("data", "unix:data/walnut.sock"),
        ("data/other.sock", "unix:data/other.sock"),
    ],
)
def test_a_url_a_socket_or_a_directory_is_an_address(text: str, shown: str) -> None:
    assert str(address.parse(text)) == shown


@pytest.mark.parametrize(
    "text", ["http://", "http://h:x", "http://h:99999", "ftp://h", "http://h?a=1", "http://t:s@h"]
)
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadAddress) as caught:
        address.parse(text)
    assert "s@h" not in str(caught.value)


def test_a_directory_has_a_server_if_its_socket_answers(tmp_path: Path) -> None:
    assert address.running(tmp_path) is None
    path = tmp_path / address.SOCKET
    with Scripted([answer()], path):
        assert address.running(tmp_path) == address.Address(path=str(path))
    assert path.exists()  # what a server that was killed leaves
    assert address.running(tmp_path) is None
    path.unlink()
    path.write_text("no socket")
    assert address.running(tmp_path) is None


def test_a_socket_in_a_directory_with_a_very_long_name_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.chdir(deep)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address.SOCKET)
        listening.listen()
        assert address.running(deep) is not None


# -- answers --------------------------------------------------------------------------------------


def test_a_token_is_sent_and_one_connection_serves_many_requests() -> None:
    with Scripted([answer({"a": 1}, headers={"Walnut-LSN": "7"})]) as server:
        client = transport(server, token="t0k")
        for _ in range(2):
            client.request("GET", "/v1/x")
        got = client.request("GET", "/v1/x", query={"q": "a b", "none": None, "yes": True})
        assert (got.body, got.lsn) == (b'{"a":1}', 7)
        assert server.requests[2].path == "/v1/x?q=a+b&yes=true"
        assert server.requests[0].headers["authorization"] == "Bearer t0k"
        assert "idempotency-key" not in server.requests[0].headers
        assert len(server._open) == 1
        client.close()


def test_over_a_unix_socket_it_is_the_same(tmp_path: Path) -> None:
    with Scripted([answer(b"[]")], tmp_path / address.SOCKET) as server:
        assert transport(str(tmp_path)).request("GET", "/v1/x").body == b"[]"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("slug", "status", "kind"),
    [
        ("unknown-table", 404, NotThere),
        ("unauthenticated", 401, NotAuthenticated),
        ("forbidden", 403, NotAllowed),
        ("internal", 500, ServerFailed),
        ("teapot", 418, Refused),
    ],
)
def test_a_problem_is_an_error_of_its_status_with_its_slug(
    slug: str, status: int, kind: type[Refused]
) -> None:
    with Scripted([problem(slug, status, "there is none")]) as server:
        with pytest.raises(kind) as caught:
            transport(server).request("GET", "/v1/x")
        error = caught.value
        assert (error.slug, error.status, str(error), error.request_id) == (
            slug, status, "there is none", "r1",
        )  # fmt: skip
        assert len(server.requests) == 1


def test_a_refusal_that_is_no_problem_document_tells_its_status() -> None:
    page = answer(b"<html>", 502, {"Content-Type": "text/html"})
    with Scripted([page]) as server, pytest.raises(ServerFailed, match="answered 502"):
        transport(server).request("GET", "/v1/x")


def test_an_answer_larger_than_any_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("walnut.client.transport.MAX_ANSWER", 3)
    with Scripted([answer(b"1234")]) as server, pytest.raises(BadAnswer):
        transport(server).request("GET", "/v1/x")


# -- tries ----------------------------------------------------------------------------------------


def test_where_no_server_ever_answered_it_says_so_at_once(tmp_path: Path) -> None:
    time = Time()
    with pytest.raises(Unreachable, match="walnut serve"):
        transport(str(tmp_path), time).request("PUT", "/v1/x")
    assert time.waits == []


def test_a_lost_write_is_sent_again_under_the_same_key() -> None:
    with Scripted(
        [None, answer(b"cut off", cut=2), problem("overloaded", 503, retry_after=1), answer(b"1")]
    ) as server:
        time = Time()
        assert transport(server, time).request("POST", "/v1/x", body=b"w").body == b"1"
        keys = {request.headers["idempotency-key"] for request in server.requests}
        assert [request.body for request in server.requests] == [b"w"] * 4
        assert len(keys) == 1
        assert len(next(iter(keys))) == 32
        assert 1.0 in time.waits  # as Retry-After says


def test_a_write_that_is_never_answered_has_an_unknown_outcome_and_tells_its_key() -> None:
    with Scripted([None]) as server:
        time = Time()
        with pytest.raises(OutcomeUnknown) as caught:
            transport(server, time, patience=10.0).request("POST", "/v1/x", key="k1")
        assert caught.value.key == "k1"
        assert "k1" in str(caught.value)
        assert len(server.requests) > 3
        assert time.now < 10.0


def test_a_read_that_is_never_answered_is_unreachable() -> None:
    with Scripted([None]) as server, pytest.raises(Unreachable):
        transport(server, patience=5.0).request("GET", "/v1/x")


def test_a_write_that_was_only_refused_as_too_much_changed_nothing() -> None:
    with Scripted([problem("overloaded", 503, retry_after=1)]) as server:
        with pytest.raises(Busy):
            transport(server, patience=5.0).request("POST", "/v1/x")
        assert len(server.requests) == 5


def test_what_does_not_pass_by_itself_is_not_asked_again() -> None:
    with Scripted([problem("log-failed", 503, retry_after=30)]) as server:
        with pytest.raises(Busy):
            transport(server, patience=1000.0).request("POST", "/v1/x")
        assert len(server.requests) == 1


def test_a_server_that_is_gone_after_it_was_met_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / address.SOCKET
    time = Time()
    client = transport(str(path), time)
    with Scripted([answer(b"1")], path):
        client.request("GET", "/v1/x")
    path.unlink()
    again = Scripted([answer(b"2")], path)
    path.rename(tmp_path / "later")

    def sleep(seconds: float) -> None:
        Time.sleep(time, seconds)
        if len(time.waits) == 3:
            (tmp_path / "later").rename(path)

    client._waiting.sleep = sleep
    with again:
        assert client.request("PUT", "/v1/x").body == b"2"


# -- streams --------------------------------------------------------------------------------------


def follow(server: Scripted, position: str = "", time: Time | None = None) -> Feed:
    return Feed(transport(server, time), "/v1/feed", {}, position)


END = 'event: end\nid: 9\ndata: {"reason":"complete","position":"9"}'


def test_a_stream_that_is_cut_goes_on_behind_its_last_event() -> None:
    with Scripted(
        [events("id: 1\ndata: a", "id: 2\ndata: b"), None, events("id: 3\ndata: c", END)]
    ) as server:
        assert list(follow(server, "0")) == [b"a", b"b", b"c"]
        asked = [request.headers["last-event-id"] for request in server.requests]
        assert asked == ["0", "2", "2"]


def test_an_event_that_is_cut_in_the_middle_is_not_told() -> None:
    cut = events("id: 1\ndata: a", "id: 2\ndata: broken")[:-1]
    with Scripted([cut, events("id: 2\ndata: whole", END)]) as server:
        assert list(follow(server)) == [b"a", b"whole"]


def test_a_server_that_drains_is_asked_again_where_it_ended() -> None:
    drained = events(
        "id: 1\ndata: a", 'event: end\nid: 5\ndata: {"reason":"draining","position":"5"}'
    )
    with Scripted([drained, events(END)]) as server:
        assert list(follow(server)) == [b"a"]
        assert server.requests[1].headers["last-event-id"] == "5"


def test_a_heartbeat_moves_the_position_on() -> None:
    with Scripted([events(": still here\nid: 7"), events(END)]) as server:
        assert list(follow(server)) == []
        assert server.requests[1].headers["last-event-id"] == "7"


def test_a_stream_that_fails_on_the_way_raises_its_problem() -> None:
    failed = 'event: end\nid: 1\ndata: {"reason":"failed","position":"1","problem":{"type":"urn:walnut:problem:lsn-truncated","status":410,"detail":"gone"}}'
    with Scripted([events("id: 1\ndata: a", failed)]) as server:
        feed = iter(follow(server))
        assert next(feed) == b"a"
        with pytest.raises(Refused, match="gone") as caught:
            next(feed)
        assert caught.value.slug == "lsn-truncated"


def test_a_stream_that_is_cut_again_and_again_is_given_up() -> None:
    with Scripted([events()]) as server:
        with pytest.raises(Unreachable, match="in a row"):
            list(follow(server))
        assert len(server.requests) == FRUITLESS
