"""What a client may ask of an HTTP server, in one place.

What must stay true: each thing that a client can make long, large or many has a limit here.
"""

from __future__ import annotations

import msgspec

from walnut.shutdown.errors import InvalidBudget


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits on connections. Seconds are checked about twice a second.

    Beyond what is said of each, the connection is closed.
    """

    connections: int = 4096
    """At once. Beyond it nothing is accepted: who comes waits in the kernel's backlog, which is bounded."""
    header_bytes: int = 32 * 1024
    """Request line and headers of a request: 431."""
    headers: int = 100
    """Headers of a request: 431."""
    pipelined: int = 128
    """Requests that wait behind one on the same connection: 503 for the one too many."""
    headers_seconds: float = 10.0
    """From the first byte, or the connection, to the end of the headers: 408."""
    body_seconds: float = 30.0
    """For a body, plus what it takes at the lowest rate: 408."""
    body_bytes_per_second: int = 1024
    """The lowest rate at which a body may come in."""
    idle_seconds: float = 75.0
    """Of a connection between two requests. Longer than the 60 s of common load balancers, so that they
    close first and never write into a connection that we are closing."""
    write_seconds: float = 30.0
    """In which a client has to take what is written for it (64 KiB), or its connection is cut."""
    handshake_seconds: float = 10.0
    """For TLS."""
    linger_seconds: float = 2.0
    """For a client that still sends when its last answer is out: it is read from and ignored, since a
    reset could destroy the answer on its way."""
    quiet_seconds: float = 1.0
    """While draining, an idle connection is closed once it has been quiet for so long; a client that sends
    one request after another gets `Connection: close` with an answer instead."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise InvalidBudget(
                    f"the limit {name!r} is {getattr(self, name)!r}; it has to be above 0"
                )
