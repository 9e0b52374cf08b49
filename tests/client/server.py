"""A server that answers as a test tells it to: good, bad, or by hanging up."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

Reply = bytes | None
"""What is sent back before the connection is closed (if it says so); None: hang up at once."""


class Request(msgspec.Struct):
    """What came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def answer(
    body: object = b"", status: int = 200, headers: Mapping[str, str] | None = None, *, cut: int = 0
) -> bytes:
    """An answer; `cut` bytes of its body are missing, after which the server hangs up."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    told = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
    if cut:
        told["Connection"] = "close"
        data = data[:-cut]
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status} Some\r\n{head}\r\n".encode() + data


def problem(slug: str, status: int, detail: str = "", retry_after: int | None = None) -> bytes:
    """A refusal."""
    headers = {"Content-Type": "application/problem+json"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    document = {"type": f"urn:walnut:problem:{slug}", "status": status, "title": slug}
    return answer({**document, "detail": detail, "request_id": "r1"}, status, headers)


def events(*lines: str) -> bytes:
    """A stream of Server-Sent Events, after which the server hangs up."""
    body = "".join(f"{line}\n\n" for line in lines).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body


class Scripted:
    """Gives the replies in turn, then goes on with the last. Remembers what was asked."""

    def __init__(
        self, replies: Sequence[Reply | Callable[[Request], Reply]], path: Path | None = None
    ) -> None:
        self._replies = list(replies)
        self.requests: list[Request] = []
        if path is None:
            self._socket = socket.create_server(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        else:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(str(path))
            self._socket.listen()
            self.url = f"unix:{path}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for connection in [self._socket, *self._open]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # The client, or the end of the test, may hang up at any moment.
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as file:
            while True:
                request = _read(file)
                if request is None:
                    return
                self.requests.append(request)
                reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
                if callable(reply):
                    reply = reply(request)
                if reply is None:
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                connection.sendall(reply)
                if b"Connection: close" in reply:
                    connection.shutdown(socket.SHUT_RDWR)
                    return


def _read(file: object) -> Request | None:
    line = file.readline()  # type: ignore[attr-defined]
    if not line:
        return None
    method, path, _ = line.decode().split(" ")
    headers = {}
    while (line := file.readline().decode().rstrip("\r\n")) != "":  # type: ignore[attr-defined]
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    body = file.read(int(headers.get("content-length", 0)))  # type: ignore[attr-defined]
    return Request(method, path, headers, body)
