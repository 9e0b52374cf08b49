"""The server's own sections of walnut.toml. Those of subsystems are their `settings`.

What must stay true: every field has a default that is safe on a machine that others can reach, and a
line in the docstring, which becomes its comment in the default file.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from walnut.subsystem.units import Bytes, Seconds

FILE: Final = "walnut.toml"
DATA: Final = "walnut-data"
PORT: Final = 8420

Positive = Annotated[int, msgspec.Meta(ge=1)]


class ServerSection(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server lives and listens.

    Attributes:
        data: the data directory, made on first start, for its owner only. Relative to this file.
        host: the address to listen on. Anything but loopback needs [tls], or `plaintext`.
        port: the TCP port; 0 takes a free one.
        plaintext: listen beyond this machine without TLS, because something in front brings it.
    """

    data: str = DATA
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = PORT
    plaintext: bool = False


class TlsSection(msgspec.Struct, frozen=True, kw_only=True):
    """TLS, on when both files are named. They are read again at a reload (SIGHUP).

    Attributes:
        certificate: a PEM file with the certificate and what leads up to its root.
        key: a PEM file with its private key.
        minimum: the oldest version that is spoken.
    """

    certificate: str = ""
    key: str = ""
    minimum: Literal["1.2", "1.3"] = "1.2"

    def __post_init__(self) -> None:
        """Refuse half a pair."""
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key go together: name both or neither")


class LimitsSection(msgspec.Struct, frozen=True, kw_only=True):
    """What one server takes on at once. What is over is refused, and told when to come back.

    Attributes:
        connections: open at once; further ones wait in the kernel's queue.
        requests: under way at once, streams not counted.
        streams: long answers at once: feeds, tails, WebSockets.
        body: the largest body of a request.
        header: the largest head of a request.
        request_time: for one request, streams not counted.
        idle: after which a connection that says nothing is closed.
    """

    connections: Positive = 10_000
    requests: Positive = 1000
    streams: Positive = 1000
    body: Bytes = 16 << 20
    header: Bytes = 64 << 10
    request_time: Seconds = 60.0
    idle: Seconds = 75.0


class AccessSection(msgspec.Struct, frozen=True, kw_only=True):
    """Who may come in.

    Attributes:
        operator_token_file: the first start writes the operator's token there, readable by its owner
            only. Empty: it is shown once on the terminal, or without one written to operator-token in
            the data directory.
    """

    operator_token_file: str = ""


class ConsoleSection(msgspec.Struct, frozen=True, kw_only=True):
    """The console in the browser, at /console.

    Attributes:
        enabled: serve it.
    """

    enabled: bool = True


class LoggingSection(msgspec.Struct, frozen=True, kw_only=True):
    """The server's own log, on standard error.

    Attributes:
        level: of what is written.
        format: JSON for machines, text for people; "auto" is text if it is a terminal.
        requests: a line for every request, and not only for those that failed.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    requests: bool = False


class ShutdownSection(msgspec.Struct, frozen=True, kw_only=True):
    """How long each part of a stop may take; what one leaves unused goes to the next.

    Attributes:
        start: for the start, with recovery after a crash.
        grace: after readiness fails and before anything closes: as long as load balancers need to
            notice. 0 without one.
        close: to close the listening sockets.
        drain: for what is under way to end.
        stop: for the subsystems to stop.
        flush: for the last things after that.
        restart: for a successor to become ready in a hot restart.
    """

    start: Seconds = 300.0
    grace: Seconds = 0.0
    close: Seconds = 1.0
    drain: Seconds = 15.0
    stop: Seconds = 10.0
    flush: Seconds = 1.0
    restart: Seconds = 60.0


SECTIONS: Final[dict[str, type[msgspec.Struct]]] = {
    "server": ServerSection,
    "tls": TlsSection,
    "access": AccessSection,
    "limits": LimitsSection,
    "logging": LoggingSection,
    "console": ConsoleSection,
    "shutdown": ShutdownSection,
}
