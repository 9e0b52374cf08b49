"""One connection to a server, kept, in the name of a token."""

from __future__ import annotations

import http.client
import json
from typing import Any

from tests.server.process import PATIENCE


class Asking:
    def __init__(self, port: int, token: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.token = token

    def __call__(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        sent = None if body is None else json.dumps(body)
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        given["Authorization"] = f"Bearer {self.token}"
        self.connection.request(method.upper(), path, sent, given)
        answer = self.connection.getresponse()
        told = {key.lower(): value for key, value in answer.getheaders()}
        return answer.status, told, answer.read()
