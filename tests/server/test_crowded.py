"""A small server with more clients than it takes, over real sockets; and what is open when a token ends."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
import socket
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from tests.server.asking import Asking
from tests.server.process import PATIENCE, Process, token_of

TAIL = "/v1/topics/orders/tail"


class Server:
    def __init__(self, process: Process) -> None:
        self.port = process.port
        self.token = token_of(process)
        self.closing = contextlib.ExitStack()
        self.ask = self.asking(self.token)

    def asking(self, token: str) -> Asking:
        """A connection of its own."""
        made = Asking(self.port, token)
        self.closing.callback(made.connection.close)
        return made

    def token_for(self, name: str, **more: str) -> str:
        wanted = {"name": name, "scopes": ["topics:write", "topics:read"], **more}
        made: str = json.loads(self.ask("post", "/v1/tokens", wanted)[2])["token"]
        return made

    def half_sent(self, token: str) -> socket.socket:
        """A request that is under way until its body is there. The server has taken it up, as it says so."""
        opened = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        self.closing.callback(opened.close)
        opened.sendall(
            b"POST /v1/topics/orders/messages HTTP/1.1\r\nhost: w\r\nexpect: 100-continue\r\n"
            b"authorization: Bearer %b\r\ncontent-length: 2\r\n\r\n" % token.encode()
        )
        assert opened.recv(100).startswith(b"HTTP/1.1 100")
        return opened

    def stream(self, token: str) -> http.client.HTTPResponse:
        """A stream that has begun."""
        connection = self.asking(token).connection
        connection.request("GET", TAIL, headers={"Authorization": f"Bearer {token}"})
        return self.closing.enter_context(connection.getresponse())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    few = {"WALNUT_LIMITS__REQUESTS": "3", "WALNUT_LIMITS__STREAMS": "3"}
    with Process(tmp_path_factory.mktemp("crowded") / "data", env=few) as process:
        made = Server(process.ready())
        assert made.ask("post", "/v1/topics", {"name": "orders"})[0] == 201
        with made.closing:
            yield made
        assert process.stop() == 0


def test_requests_over_the_limit_are_told_to_come_again_and_then_served(server: Server) -> None:
    one, two = server.token_for("one"), server.token_for("two")
    waiting = [server.half_sent(one), server.half_sent(one)]
    status, headers, body = server.asking(one)("get", "/v1/whoami")
    assert (status, headers["retry-after"], b"too-many-requests" in body) == (429, "1", True)
    waiting.append(server.half_sent(two))
    status, headers, body = server.ask("get", "/v1/whoami")
    assert (status, headers["retry-after"], b"overloaded" in body) == (503, "1", True)
    for each in waiting:
        each.sendall(b"{}")
        assert each.recv(1000).startswith(b"HTTP/1.1 20")
        each.close()
    assert server.ask("get", "/v1/whoami")[0] == 200
    assert server.asking(one)("get", "/v1/whoami")[0] == 200


def test_streams_over_the_limit_are_told_to_come_again_and_then_served(server: Server) -> None:
    three, four = server.token_for("three"), server.token_for("four")
    opened = [server.stream(three), server.stream(three)]
    refused = server.stream(three)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    refused.read()
    opened.append(server.stream(four))
    assert [each.status for each in opened] == [200] * 3
    refused = server.stream(server.token)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    refused.read()
    assert server.ask("get", "/v1/whoami")[0] == 200  # streams take no place of requests
    for token in ("three", "four"):
        assert server.ask("delete", f"/v1/tokens/{token}")[0] == 204
    for each in opened:
        with pytest.raises(http.client.IncompleteRead):
            each.read()
    assert server.stream(server.token).status == 200


def test_what_is_open_ends_when_its_token_expires(server: Server) -> None:
    end = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=4)
    token = server.token_for("short", expires=end.isoformat())
    headers = {"Authorization": f"Bearer {token}"}
    with connect(
        f"ws://127.0.0.1:{server.port}/v1/topics/orders/socket?start=0", additional_headers=headers
    ) as opened:
        stream = server.stream(token)
        assert stream.status == 200
        with pytest.raises(http.client.IncompleteRead):
            stream.read()
        assert dt.datetime.now(dt.UTC) >= end
        with pytest.raises(ConnectionClosedError) as closed:
            while True:
                opened.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert server.asking(token)("get", "/v1/whoami")[0] == 401


def test_a_websocket_tells_what_is_there_takes_appends_and_tells_them_too(server: Server) -> None:
    assert server.ask("post", "/v1/topics", {"name": "talk"})[0] == 201
    assert server.ask("post", "/v1/topics/talk/batch", [{"value": n} for n in range(3)])[0] == 201
    with connect(
        f"ws://127.0.0.1:{server.port}/v1/topics/talk/socket?start=1",
        additional_headers={"Authorization": f"Bearer {server.token}"},
    ) as opened:
        assert [json.loads(opened.recv(PATIENCE))["value"] for _ in range(2)] == [1, 2]
        opened.send(json.dumps({"append": [{"value": 3}, {"value": 4}], "id": "a"}))
        said = [json.loads(opened.recv(PATIENCE)) for _ in range(3)]
        (answer,) = [each for each in said if "appended" in each]
        assert (answer["id"], answer["appended"]["first"], answer["appended"]["next"]) == (
            "a",
            3,
            5,
        )
        assert [each["value"] for each in said if "offset" in each] == [3, 4]
        assert server.ask("post", "/v1/topics/talk/messages", 5)[0] == 201
        assert json.loads(opened.recv(PATIENCE))["value"] == 5
