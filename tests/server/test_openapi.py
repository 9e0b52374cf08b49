"""The OpenAPI document of the assembled server, and the server against it (schemathesis)."""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server.process import Process, token_of
from walnut.web.problems import MEDIA_TYPE

EXAMPLES = int(os.environ.get("WALNUT_EXAMPLES", "4"))
"""Of each operation, of which there are some 90."""
SECONDS = 20.0
ENDLESS = {"/v1/changes", "/v1/log/tail", "/v1/topics/{topic}/tail"}
"""Streams, which go on: tests/server/access has them end."""


@schemathesis.serializer("application/x-ndjson")
def lines(ctx: Any, value: Any) -> bytes:
    """Whatever bytes were made up; schemathesis knows no NDJSON."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


class Running:
    def __init__(self, process: Process) -> None:
        self.process = process
        self.headers = {"Authorization": f"Bearer {token_of(process)}"}
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=SECONDS)
        connection.request("GET", "/schema", headers=self.headers)
        self.document: dict[str, Any] = msgspec.json.decode(connection.getresponse().read())
        connection.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Process(tmp_path_factory.mktemp("openapi") / "data") as process:
        yield Running(process.ready())
        assert process.stop() == 0


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def test_every_operation_says_what_it_takes_and_how_it_refuses(running: Running) -> None:
    document = running.document
    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["security"] == [{"token": []}]
    ids = []
    for method, path, operation in operations(document):
        where = (method, path)
        assert re.fullmatch(
            r"any credential|[a-z-]+:(read|write|admin)", operation["x-walnut-scope"]
        )
        assert operation.get("tags"), where
        assert operation.get("description"), where
        for status in ("401", "403", "429", "503", "4XX", "5XX"):
            assert MEDIA_TYPE in operation["responses"][status]["content"], where
        names = [one.get("name") or one["$ref"] for one in operation.get("parameters", ())]
        assert len(names) == len(set(names)), where
        writes = method in {"post", "put", "patch", "delete"}
        assert writes == ("#/components/parameters/Idempotency-Key" in names), where
        ids.append(operation["operationId"])
    assert len(ids) == len(set(ids))


def test_each_group_of_routes_is_described(running: Running) -> None:
    used = {tag for _, _, operation in operations(running.document) for tag in operation["tags"]}
    assert used == {tag["name"] for tag in running.document["tags"] if tag["description"]}


def test_every_reference_leads_somewhere(running: Running) -> None:
    text = msgspec.json.encode(running.document).decode()
    for reference in set(re.findall(r'"#/([^"]+)"', text)):
        place: Any = running.document
        for part in reference.split("/"):
            place = place[part]


def test_the_server_answers_as_its_document_says(running: Running) -> None:
    schema = schemathesis.openapi.from_dict(running.document)
    schema.config.update(base_url=f"http://127.0.0.1:{running.process.port}")
    asked = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if operation.path in ENDLESS:
            continue
        asked += 1
        strategy: st.SearchStrategy[Any] = operation.as_strategy()

        @seed(5)
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(strategy)
        def conforms(case: Any) -> None:
            if isinstance(case.query.get("at_least"), int):  # it would wait for an LSN to come
                case.query["at_least"] = min(case.query["at_least"], 1)
            response: Response = case.call(headers=running.headers, timeout=SECONDS)
            assert response.status_code < 500 or response.status_code in {503, 504}, response.text
            assert response.headers["request-id"]
            case.validate_response(
                response,
                checks=[
                    status_code_conformance, content_type_conformance, response_schema_conformance,
                ],
            )  # fmt: skip

        conforms()
    assert asked > 40
