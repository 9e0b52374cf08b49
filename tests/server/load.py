"""Clients that write rows over HTTP and note, of each request, what became of it.

acknowledged    answered 2xx: has to be there afterwards
refused         answered otherwise
unanswered      the connection ended after the request was sent, and before its answer
not connected   nobody listened
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

PATIENCE: Final = 30.0
TABLE: Final = "notes"


class Api:
    """One client, with one connection that is kept, and opened again when it was closed."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}"}
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and document of an answer. Raises OSError, HTTPException as http.client does."""
        connection = self._connection
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            connection.connect()
            self._connection = connection
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, self._headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if answer.will_close:
            self.close()
        return answer.status, json.loads(data) if data else None

    def connect(self) -> None:
        """Have a connection, without asking anything. Raises OSError."""
        if self._connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            connection.connect()
            self._connection = connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def ask(port: int, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request on a connection of its own."""
    api = Api(port, token)
    try:
        return api.ask(method, path, body)
    finally:
        api.close()


class Load:
    """Some clients that write one row after another until they are told to stop."""

    def __init__(self, port: int, token: str, clients: int = 4) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[tuple[str, int]] = []
        self.unanswered: list[str] = []
        self.not_connected = 0
        self._enough = threading.Event()
        self._news = threading.Condition()
        self._threads = [
            threading.Thread(target=self._write, args=(Api(port, token), number), daemon=True)
            for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, api: Api, client: int) -> None:
        number = 0
        while not self._enough.is_set():
            number += 1
            key = f"{client}-{number}"
            try:
                api.connect()
            except OSError:
                self.not_connected += 1
                self._enough.wait(0.01)
                continue
            try:
                status, _ = api.ask(
                    "PUT", f"/v1/tables/{TABLE}/rows/{key}", {"key": key, "value": number}
                )
            except (OSError, http.client.HTTPException):
                self.unanswered.append(key)
                continue
            if status < 300:
                with self._news:
                    self.acknowledged.append(key)
                    self._news.notify_all()
            else:
                self.refused.append((key, status))
        api.close()

    def wait_for(self, more: int) -> None:
        """Until so many more rows were acknowledged."""
        wanted = len(self.acknowledged) + more
        with self._news:
            assert self._news.wait_for(lambda: len(self.acknowledged) >= wanted, PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def make_table(api: Api) -> None:
    status, answer = api.ask("POST", "/v1/tables", {"name": TABLE})
    assert status < 300, answer


def rows_missing(api: Api, keys: Iterable[str]) -> list[str]:
    """Those of the keys that no row has."""
    found: set[str] = set()
    cursor = ""
    while True:
        status, page = api.ask("GET", f"/v1/tables/{TABLE}/rows?limit=1000{cursor}")
        assert status == 200, page
        found.update(item["row"]["key"] if "row" in item else item["key"] for item in page["items"])
        if not page.get("next"):
            return sorted(set(keys) - found)
        cursor = f"&cursor={page['next']}"
