"""Where a server is.

    http://host:8420   https://host      over TCP
    unix:/path/to/walnut.sock            over a Unix socket
    ./walnut-data                        the socket in a data directory

What must stay true: asking whether a server runs on a directory changes nothing in it.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from walnut.client.errors import BadAddress, Unreachable

SOCKET: Final = "walnut.sock"
"""The server's socket, in its data directory."""
PORT: Final = 8420
_LONGEST_PATH: Final = 100
"""Bytes of a socket's path; the kernel takes some more, on Linux 107."""
_ANSWER_SECONDS: Final = 5.0
"""For a connection on this machine to be taken up; longer means that nobody does."""


class Address(msgspec.Struct, frozen=True):
    """Where a server is: a socket's path, or a host and a port.

    Attributes:
        path: of the Unix socket; empty for TCP.
        tls: whether the connection is encrypted.
        base: what every path begins with, where a proxy serves more than Walnut: "/walnut".
    """

    path: str = ""
    host: str = "localhost"
    port: int = PORT
    tls: bool = False
    base: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}{self.base}"


def is_url(place: str) -> bool:
    """Whether this is an address of a server and not a directory."""
    return place.startswith(("http://", "https://", "unix:"))


def parse(place: str | os.PathLike[str]) -> Address:
    """The address in a URL, or of the server of a data directory. Raises BadAddress."""
    text = os.fspath(place)
    if text.startswith("unix:"):
        return Address(path=unquote(text.removeprefix("unix:").removeprefix("//")))
    if not is_url(text):
        if "://" in text:
            raise BadAddress(
                f"{text!r} is no address of a server: write http://, https:// or unix:"
            )
        path = Path(text)
        return Address(path=str(path if path.suffix == ".sock" else path / SOCKET))
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError as error:
        raise BadAddress(f"{text!r} has a port that is none: {error}") from error
    if not parts.hostname or parts.query or parts.fragment:
        raise BadAddress(f"{text!r} is no address of a server: write http://host:port")
    if parts.username is not None:
        raise BadAddress(
            "a token does not belong into an address, which is shown and logged: give it as the token (WALNUT_TOKEN)"
        )
    tls = parts.scheme == "https"
    return Address(
        host=parts.hostname,
        port=port or (443 if tls else PORT),
        tls=tls,
        base=parts.path.rstrip("/"),
    )


def running(directory: str | os.PathLike[str]) -> Address | None:
    """The server that has this directory open; None if none answers on the socket there.

    Raises Unreachable if there is one and this user may not speak to it."""
    address = Address(path=str(Path(directory) / SOCKET))
    try:
        if not stat.S_ISSOCK(Path(address.path).stat().st_mode):
            return None
        connect_unix(address.path, _ANSWER_SECONDS).close()
    except PermissionError as error:
        raise Unreachable(
            f"{address.path} belongs to another user, as whom the server runs: be that user, or give "
            "its URL and a token"
        ) from error
    except OSError:
        return None  # never made, or left by a server that was killed
    return address


def connect_unix(path: str, timeout: float) -> socket.socket:
    """A connection to a Unix socket. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        if len(os.fsencode(path)) <= _LONGEST_PATH:
            connection.connect(path)
        else:
            _connect_far(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_far(connection: socket.socket, path: str) -> None:
    """By a name of its directory that is short, as Linux has one for every open file."""
    directory = os.open(Path(path).parent, os.O_RDONLY)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{Path(path).name}")
    finally:
        os.close(directory)
