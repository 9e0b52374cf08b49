"""Accepting connections so that none is lost when it ends.

    listening socket ─▶ accept, up to BURST in a turn ─▶ connect_accepted_socket ─▶ a protocol
          │ full: not watched; clients wait in the kernel's backlog
          ▼
    stop(): what has reached our kernel is accepted first; then the socket closes

asyncio's own servers close the socket they listen on, and drop what they accepted in the same turn.

What must stay true: a connection that was accepted gets its protocol; `stop(handover=True)` leaves the
socket and all who wait in it untouched.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

from walnut.shutdown.sockets import Listening

BURST: Final = 128
"""Connections accepted in one turn of the loop, so that others get theirs."""
PAUSE_SECONDS: Final = 0.2
"""After which accepting is tried again when file descriptors or memory have run out."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
LEFT_MAX: Final = 65536
"""Connections accepted at the end: the longest backlog that Linux allows."""


class Acceptor:
    """Accepts on several sockets at once, up to a number of connections.

    Args:
        protocol: makes the protocol of each connection; it has to call `released` when that is lost.
        tls: for the TCP sockets among them.
        most: connections at once.
    """

    def __init__(
        self,
        listening: Sequence[Listening],
        protocol: Callable[[], asyncio.Protocol],
        *,
        most: int,
        tls: ssl.SSLContext | None = None,
        handshake_seconds: float = 10.0,
    ) -> None:
        self.listening = tuple(listening)
        self.open = 0
        self._protocol = protocol
        self._most = most
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._watching = False
        self._stopped = False
        self._connecting: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to accept."""
        self._watch()

    def released(self) -> None:
        """A connection is gone."""
        self.open -= 1
        if self.open < self._most:
            self._watch()

    def stop(self, *, handover: bool) -> None:
        """Accept nothing any more, and close the sockets that are ours alone.

        Args:
            handover: leave them and whoever waits in them to another process.
        """
        self._unwatch()
        self._stopped = True
        for one in self.listening:
            if one.closed:
                continue
            if handover or not one.owned:
                one.leave()
                continue
            for _ in range(LEFT_MAX):
                if not self._accept(one):
                    break
            one.close()

    def _watch(self) -> None:
        if not self._watching and not self._stopped:
            self._watching = True
            loop = asyncio.get_running_loop()
            for one in self.listening:
                loop.add_reader(one.socket, self._readable, one)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            loop = asyncio.get_running_loop()
            for one in self.listening:
                loop.remove_reader(one.socket)

    def _readable(self, one: Listening) -> None:
        for _ in range(BURST):
            if self.open >= self._most:
                self._unwatch()
                return
            if not self._accept(one):
                return

    def _accept(self, one: Listening) -> bool:
        """Accept one connection. False if there is none now."""
        try:
            connection, _ = one.socket.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._unwatch()
                loop = asyncio.get_running_loop()
                loop.call_later(PAUSE_SECONDS, self._watch)
                loop.call_exception_handler(
                    {"message": f"can't accept on {one} for now", "exception": error}
                )
                return False
            return True  # that client went away while it waited
        self.open += 1
        task = asyncio.get_running_loop().create_task(self._connect(one, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return True

    async def _connect(self, one: Listening, connection: socket.socket) -> None:
        connection.setblocking(False)
        tls = None if one.is_unix else self._tls
        if not one.is_unix:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol = self._protocol()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=tls,
                ssl_handshake_timeout=self._handshake_seconds if tls else None,
            )
        except OSError:  # it went away, or its handshake failed; ssl.SSLError is one too
            connection.close()
            self.released()
