"""Every write of the API, sent twice under one Idempotency-Key: it is done once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.server.asking import Asking
from tests.server.process import Process, token_of

TOPIC = "/v1/topics/{topic}"
IN_ORDER: list[tuple[str, str, str, Any]] = [
    ("post", "/v1/tables", "/v1/tables", {"name": "notes"}),
    ("put", "/v1/tables/{table}/rows/{key}", "/v1/tables/notes/rows/a", {"value": 1}),
    ("post", "/v1/transaction", "/v1/transaction", {"operations": [{"op": "add", "counter": "c", "amount": 1}]}),
    ("delete", "/v1/tables/{table}/rows/{key}", "/v1/tables/notes/rows/a", None),
    ("post", "/v1/log/slots", "/v1/log/slots", {"name": "s", "lsn": 1}),
    ("put", "/v1/log/slots/{slot}", "/v1/log/slots/s", {"lsn": 2}),
    ("delete", "/v1/log/slots/{slot}", "/v1/log/slots/s", None),
    ("post", "/v1/backups/{place}", "/v1/backups/here", {}),
    ("post", "/v1/backups/{place}/check", "/v1/backups/here/check", {}),
    ("post", "/v1/checkpoint", "/v1/checkpoint", None),
    ("post", "/v1/tokens", "/v1/tokens", {"name": "ci", "scopes": ["topics:read"]}),
    ("delete", "/v1/tokens/{token}", "/v1/tokens/ci", None),
    ("post", "/v1/topics", "/v1/topics", {"name": "t"}),
    ("post", TOPIC + "/messages", "/v1/topics/t/messages", {"n": 1}),
    ("post", TOPIC + "/batch", "/v1/topics/t/batch", [{"value": 1}]),
    ("patch", TOPIC, "/v1/topics/t", {}),
    ("put", TOPIC + "/groups/{group}", "/v1/topics/t/groups/g", {"offset": 1}),
    ("delete", TOPIC + "/groups/{group}", "/v1/topics/t/groups/g", None),
    ("post", TOPIC + "/truncate", "/v1/topics/t/truncate", {"before": 1}),
    ("delete", TOPIC, "/v1/topics/t", None),
    ("post", "/v1/jobs/queues/{queue}/pause", "/v1/jobs/queues/mail/pause", None),
    ("post", "/v1/jobs/queues/{queue}/resume", "/v1/jobs/queues/mail/resume", None),
]  # fmt: skip
"""Method, path in the document, path that is asked, body."""
ELSEWHERE = {
    ("post", TOPIC + "/stream"),  # many transactions: goes by its producer's sequence
    # They need a job, which only programs make; each is one `write`, as pause and resume are.
    ("post", "/v1/jobs/{job}/retry"),
    ("post", "/v1/jobs/{job}/cancel"),
    ("delete", "/v1/jobs/{job}"),
}
WRITES = {"post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    path: Path = tmp_path_factory.mktemp("writes")
    file = path / "walnut.toml"
    file.write_text(f'[store.backups]\nhere = "{path / "backups"}"\n')
    with Process(path / "data", "--config", str(file)) as server:
        server.ready()
        asking = Asking(server.port, token_of(server))
        yield asking
        asking.connection.close()
        assert server.stop() == 0


def test_every_write_is_done_once_under_its_key(ask: Asking) -> None:
    wrong: list[Any] = []
    for number, (method, _, path, body) in enumerate(IN_ORDER):
        key = f"key-{number}"
        if path.endswith("/check"):
            _wait_for_backup(ask)
        first = ask(method, path, body, Idempotency_Key=key)
        again = ask(method, path, body, Idempotency_Key=key)
        other = ask("post", "/v1/tables", {"name": "another"}, Idempotency_Key=key)
        if (
            first[0] >= 300
            or again[0] != first[0]
            or (other[0], b"key-reused" in other[2]) != (422, True)
        ):
            wrong.append((method, path, first, again, other[2]))
        elif path == "/v1/tokens":
            told, repeated = json.loads(first[2]), json.loads(again[2])
            assert told.pop("token").startswith("walnut_")
            repeated.pop("token", None)
            assert repeated == told
            assert again[1]["idempotency-replayed"] == "true"
        elif again[2] != first[2]:
            wrong.append((method, path, first, again))
    assert wrong == []


def _wait_for_backup(ask: Asking) -> None:
    """The check would be refused while it is under way."""
    for _ in range(1000):
        if json.loads(ask("get", "/v1/backups/here")[2])["backup"].get("ended"):
            return
        time.sleep(0.02)
    raise AssertionError("the backup did not end")


def test_every_write_of_the_document_is_among_them(ask: Asking) -> None:
    document = msgspec.json.decode(ask("get", "/schema")[2])
    there = {
        (method, path)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in WRITES and operation["tags"] != ["booking"]
    }
    assert there == {(method, path) for method, path, _, _ in IN_ORDER} | ELSEWHERE
