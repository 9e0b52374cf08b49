"""An HTTP/1.1 connection with limits, which ends without losing a request.

What is different from uvicorn's own, which it is built on:

    a request that is          while draining
    being answered             its answer says `Connection: close`, if it is the last one known of
    pipelined behind it        is answered too; the last answer says it
    half received              is received and answered
    nowhere                    the connection closes once it has been quiet for a moment

    always: limits on headers, on the time to receive them and the body, on pipelining and on clients that do
    not read; a close that does not destroy the last answer by a reset

What must stay true: a request of which a byte has reached this process's kernel buffers is answered; per
connection no more is held than the limits say, 256 KiB received and 64 KiB to be sent.

Times are not timers: `sweep` is called about twice a second and looks at the clock, so that a request
costs none. A small one takes 28.7 µs of processor time in all, uvicorn's 27.4 µs (`python -m bench.serving`).
"""

from __future__ import annotations

import asyncio
import enum
import fcntl
import http
import socket
import struct
import termios
import urllib.parse
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from walnut.shutdown.asgi import CONNECTION, PEER
from walnut.shutdown.inflight import InFlight
from walnut.shutdown.limits import HttpLimits
from walnut.shutdown.uvicorn.writing import Writing

_PEER: Final = struct.Struct("3i")
"""What SO_PEERCRED gives: pid, uid, gid (unix(7))."""
LINGER_BYTES: Final = 1024 * 1024
"""Read and ignored from a client that goes on sending after its last answer."""


Refusal = Callable[[int], tuple[bytes, bytes]]
"""What is said with a status to a request that reaches no application: media type and body."""


def phrase(status: int) -> tuple[bytes, bytes]:
    """A `Refusal` in plain text: the name of the status."""
    return b"text/plain; charset=utf-8", http.HTTPStatus(status).phrase.encode()


def peer_of(transport: asyncio.Transport) -> tuple[int, int, int] | None:
    """Who is at the other end of a Unix socket, as the kernel says: pid, uid, gid. None elsewhere."""
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, gid = _PEER.unpack(credentials)
    return pid, uid, gid


class State(ServerState):
    """What connections share. `released` is called when one of them is gone."""

    def __init__(
        self,
        limits: HttpLimits,
        inflight: InFlight,
        released: Callable[[], None],
        refusal: Refusal,
    ) -> None:
        super().__init__()
        self.refusal = refusal
        self.limits = limits
        self.inflight = inflight
        self.released = released
        self.draining_since: float | None = None


class Stage(enum.Enum):
    """What of a request is being received."""

    NOTHING = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class Refused(Exception):
    """Raised inside the parser to stop it."""

    def __init__(self, status: int) -> None:
        self.status = status


class Cycle(RequestResponseCycle):
    """A request and its answer."""

    connection: Connection
    transport: Outlet  # type: ignore[assignment] # it uses no more than that of a transport

    def send(self, message: Any) -> Coroutine[Any, Any, None]:
        """See ASGI. Decides at the beginning of the answer whether it is the connection's last."""
        if not self.response_started:
            if self.connection.state.inflight.closing and self.keep_alive:
                self.keep_alive = not self.connection.is_last(self)
            self.transport.hold()
        return super().send(message)


class Outlet:
    """What a cycle takes for its transport: writes are the transport's, closing is the connection's.

    The head of an answer goes out with the beginning of its body, as ASGI has it: one packet and one
    system call instead of two."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.is_closing = transport.is_closing
        self._write = transport.write
        self._close = close
        self._holds = False
        self._head = b""

    def hold(self) -> None:
        """Let what is written next wait for what is written after it."""
        self._holds = True

    def write(self, data: bytes) -> None:
        """Write this, and what waits for it."""
        if self._holds:
            self._holds = False
            self._head += data
        elif self._head:
            head, self._head = self._head, b""
            self._write(head + data)
        else:
            self._write(data)

    def flush(self) -> None:
        """Write what waits: nothing comes after it."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """The last answer is out."""
        self.flush()
        self._close()


class Connection(Writing, HttpToolsProtocol):
    """See the module. One per client."""

    def __init__(
        self,
        config: Config,
        state: State,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(config, state, app_state, loop)
        self.state = state
        self._header_bytes = state.limits.header_bytes
        self._headers = state.limits.headers
        self.pipeline: deque[Any] = deque()
        self._outlet: Any = None
        self._active: Cycle | None = None
        self._stage = Stage.NOTHING
        self._progress = False
        self._pending_bytes = 0
        self._served = False
        self._since = 0.0
        self._head_bytes = 0
        self._hosts = 0
        self._body_bytes = 0
        self._deaf = False
        self._lingers = False
        self._ignored = 0
        self._refusal = 0
        self._why = 0

    # -- the connection itself ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._outlet = Outlet(transport, self._finish)
        self._since = self.loop.time()
        peer = peer_of(transport)
        if peer is not None:
            self.app_state = {**self.app_state, PEER: peer}

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        for cycle in (self._active, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)
        self.state.released()

    def shutdown(self) -> None:
        """End it now, whatever is under way."""
        self.transport.abort()

    def _finish(self) -> None:
        """Close after the last answer. A close while the client still sends would be a reset, which can
        overtake the answer: so the client's remaining bytes are read, and ignored, for a moment."""
        if self.transport.is_closing() or self._lingers:
            return
        self._refusal = 0
        more_to_come = self._stage is not Stage.NOTHING or self.pipeline or self._unread()
        if more_to_come and self.transport.can_write_eof():
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        self._deaf = self._lingers = True
        self._since = self.loop.time()
        self.pipeline.clear()
        self.transport.write_eof()
        self.flow.resume_reading()

    def _unread(self) -> bool:
        """Whether bytes wait in the kernel."""
        if self.transport.is_closing():
            return False
        ours = self.transport.get_extra_info("socket")
        waiting = fcntl.ioctl(ours.fileno(), termios.FIONREAD, bytes(4))
        return bool(struct.unpack("i", waiting)[0])

    # -- draining and time ----------------------------------------------------------------------

    def is_last(self, cycle: Cycle) -> bool:
        """Whether nothing has been received behind a request."""
        return (
            cycle is self.cycle
            and self._stage is not Stage.HEAD
            and (self._stage is Stage.BODY or not self._unread())
        )

    @property
    def _busy(self) -> bool:
        return self._active is not None and not self._active.response_complete

    def sweep(self, now: float) -> None:
        """Look at the clock: end what takes too long."""
        limits = self.state.limits
        if self.stuck(now, limits.write_seconds):
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._deaf:
            if self._lingers and now - self._since > limits.linger_seconds:
                self.transport.close()
        elif self._stage is Stage.HEAD:
            if not self._busy and now - self._since > limits.headers_seconds:
                self._refuse(408)
        elif self._stage is Stage.BODY:
            self._sweep_body(now)
        elif not self._busy:
            self._sweep_idle(now)

    def _sweep_body(self, now: float) -> None:
        limits = self.state.limits
        if self.flow.read_paused:  # the application is slow, not the client
            self._since, self._body_bytes = now, 0
        elif (
            now - self._since
            > limits.body_seconds + self._body_bytes / limits.body_bytes_per_second
        ):
            self._refuse(408)

    def _sweep_idle(self, now: float) -> None:
        limits = self.state.limits
        if now - self._since > (limits.idle_seconds if self._served else limits.headers_seconds):
            self.transport.close()
        elif self.state.draining_since is not None:
            quiet = now - max(self._since, self.state.draining_since)
            if quiet > limits.quiet_seconds and not self._unread():
                self.transport.close()

    # -- receiving --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._deaf:
            self._ignored += len(data)
            if self._ignored > LINGER_BYTES:
                self.transport.abort()
            return
        self._progress = False
        super().data_received(data)
        if self._progress or self._stage is Stage.NOTHING or self._deaf:
            self._pending_bytes = 0
        else:  # a header, trailer or chunk extension that never ends is told to nobody
            self._pending_bytes += len(data)
            if self._pending_bytes > self._header_bytes:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """See httptools."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,  # type: ignore[typeddict-item] # as uvicorn
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "extensions": {CONNECTION: {}},
        }
        self._stage = Stage.HEAD
        self._progress = True
        self._since = self.loop.time()
        self._head_bytes = self._hosts = 0

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self._head_bytes += len(url)
        if self._head_bytes > self._header_bytes:
            self._stop_parsing(431)
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        if self._stage is Stage.BODY:
            return  # a trailer: nobody asked for it, and what came before was judged without it
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._header_bytes or len(self.headers) >= self._headers:
            self._stop_parsing(431)
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def _stop_parsing(self, status: int) -> None:
        self._why = status
        raise Refused(status)

    def on_headers_complete(self) -> None:
        """See httptools. As uvicorn's, with a cycle of our own and a limit on pipelining."""
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        if self._hosts != 1 and (version == "1.1" or self._hosts):  # RFC 9112, section 3.2
            self._stop_parsing(400)
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if parser.should_upgrade() and self._should_upgrade():
            if self._busy:
                self._stop_parsing(400)
            self._stage = Stage.BODY
            return
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["path"] = self.root_path + (urllib.parse.unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + url.path
        scope["query_string"] = url.query or b""
        if len(self.pipeline) >= self.state.limits.pipelined:
            self._stop_parsing(503)
        cycle = Cycle(
            scope=scope,
            transport=self._outlet,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        cycle.connection = self
        self.cycle = cycle
        self._stage = Stage.BODY
        self._progress = True
        self._body_bytes = 0
        if self._busy:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
            self._start(cycle)

    def _start(self, cycle: Cycle) -> None:
        self._active = cycle
        self._start_asgi_task(cycle, self.app)

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body_bytes += len(body)
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        super().on_message_complete()
        self._stage = Stage.NOTHING
        self._since = self.loop.time()

    # -- answering --------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """An answer is out: the next request's turn."""
        self.server_state.total_requests += 1
        self._served = True
        self._outlet.flush()
        if self.transport.is_closing() or self._lingers:
            return
        self._since = self.loop.time()
        if self.pipeline:
            cycle, _ = self.pipeline.pop()
            self._start(cycle)
        elif self._refusal:
            self._say(self._refusal)
        elif not self._deaf:
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- uvicorn passes it
        """The parser stopped: because of what the client sent, or because we made it."""
        self._refuse(self._why or 400)

    def _refuse(self, status: int) -> None:
        """Answer a request that is not served, after those before it, and close."""
        active = self._active
        own_body = self._stage is Stage.BODY and active is not None and self.cycle is active
        if own_body and active is not None:
            if active.response_started:
                self.transport.close()
                return
            active.disconnected = True
            active.message_event.set()
        elif self._busy:
            if self.pipeline and self._stage is Stage.BODY and self.pipeline[0][0] is self.cycle:
                self.pipeline.popleft()
            self._deaf = True
            self._refusal = status
            return
        self._say(status)

    def _say(self, status: int) -> None:
        self._refusal = 0
        kind, text = self.state.refusal(status)
        head = [STATUS_LINE[status], b"content-type: %b\r\n" % kind]
        head += [
            name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers
        ]
        if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            head.append(b"retry-after: 1\r\n")
        head.append(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(text))
        self.transport.write(b"".join(head) + text)
        if self.transport.can_write_eof():
            self._linger()
        else:
            self.transport.close()
