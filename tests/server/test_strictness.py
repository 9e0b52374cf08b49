"""HTTP as it has to be: HEAD, encoded bodies, and what is refused before it is a request."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from tests.server.asking import Asking
from tests.server.process import PATIENCE, Process, token_of


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with Process(tmp_path_factory.mktemp("strict") / "data") as server:
        server.ready()
        asking = Asking(server.port, token_of(server))
        yield asking
        asking.connection.close()
        assert server.stop() == 0


@pytest.mark.parametrize("path", ["/v1/whoami", "/v1/changes", "/v1/tables/none", "/schema"])
def test_head_answers_like_get_without_a_body(ask: Asking, path: str) -> None:
    status, headers, body = ask("head", path)
    assert body == b""
    if path == "/v1/changes":  # which does not end
        assert (status, headers["content-type"]) == (200, "application/x-ndjson")
        return
    got, had, _ = ask("get", path)
    same = ("content-type", "content-length")
    assert (status, *map(headers.get, same)) == (got, *map(had.get, same))


def test_a_body_that_is_encoded_is_refused_and_told_what_is_taken(ask: Asking) -> None:
    status, headers, body = ask("post", "/v1/tables", {"name": "zipped"}, Content_Encoding="gzip")
    assert (status, headers["accept-encoding"]) == (415, "identity")
    assert json.loads(body)["type"] == "urn:walnut:problem:encoded"
    assert ask("post", "/v1/tables", {"name": "plain"}, Content_Encoding="identity")[0] == 201


@pytest.mark.parametrize(
    ("head", "status", "slug"),
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", 400, "refused"),
        (b"GET /livez HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, "refused"),
        (b"GET /livez HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431, "head-too-large"),
    ],
)  # fmt: skip
def test_what_the_parser_refuses_is_a_problem_too(
    ask: Asking, head: bytes, status: int, slug: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", ask.connection.port, timeout=PATIENCE)
    connection.connect()
    connection.sock.sendall(head)
    answer = http.client.HTTPResponse(connection.sock)
    answer.begin()
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    document = json.loads(answer.read())
    assert (document["type"], document["status"]) == (f"urn:walnut:problem:{slug}", status)
    connection.close()
