"""Clients that do not read, and the WebSocket's side of it.

The transport holds up to 64 KiB that a client has not taken; then whoever sends waits. What must stay true:
nobody waits for such a client longer than the limit, not even after everything was sent and closed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class Writing:
    """A protocol that knows since when its client takes nothing. To be mixed in before the protocol."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _blocked_since: float | None = None
    _closing_since: float | None = None

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._blocked_since = self.loop.time()
        super().pause_writing()  # type: ignore[misc] # the protocol's

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._blocked_since = None
        super().resume_writing()  # type: ignore[misc] # the protocol's

    def stuck(self, now: float, seconds: float) -> bool:
        """Whether it has taken nothing for so long, or its closing takes so long."""
        if self.transport.is_closing():
            if self._closing_since is None:
                self._closing_since = now
            return now - self._closing_since > seconds
        return self._blocked_since is not None and now - self._blocked_since > seconds


class Socket(Writing, WebSocketsSansIOProtocol):
    """A WebSocket, from the moment its handshake has been received."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self._state = server_state

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        self._state.released()

    def sweep(self, now: float) -> None:
        """Look at the clock. That the client is alive is asked by pings."""
        if self.stuck(now, self._state.limits.write_seconds):
            self.transport.abort()
