"""Streams of events: as lines of JSON (NDJSON), or as Server-Sent Events.

    Source.take ─▶ events ─▶ framed as the reader asked ─▶ send, which waits for a slow reader
         ▲ Source.wait         Heart: gone? draining? still allowed?    SLOW_SECONDS ─▶ cut off

A line or an event has the position behind it; whoever was cut off comes again with that, as
`Last-Event-ID` or `since`. Between events a heartbeat tells the position too, as what is left out by
a filter moves it on. A stream that ends in order says so, why, and where it was.

What must stay true: a stream holds one batch for its reader, however slow that is; who goes on from
the last position that he saw misses nothing and sees nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, Protocol

import msgspec

from walnut.web.access import ACCESS, Access
from walnut.web.caller import caller_of
from walnut.web.problems import Problems

BATCH_BYTES: Final = 64 * 1024
"""What is read and framed at once, about. A stream whose reader takes nothing holds it, and as much again
in the connection's buffer, twice."""
KEPT_BYTES: Final = 4 << 20
"""Of what was read last, encoded, for all who follow the same."""
HEARTBEAT_SECONDS: Final = 10.0
"""Between two signs of life: shorter than proxies wait for a silent connection, which is 30 s and more.
A stream whose token is revoked ends within it."""
SLOW_SECONDS: Final = 45.0
"""A reader that takes nothing of a batch for so long is cut off here, if the HTTP server has not done so
before: ours does after 30 s (`walnut.shutdown.limits`), and resets the connection."""
RETRY_MILLISECONDS: Final = 1000
"""After which a browser comes again."""

NDJSON: Final = "application/x-ndjson"
SSE: Final = "text/event-stream"

DRAINING: Final = "walnut.draining"
"""The extension of a scope that says that the server stops (`walnut.shutdown.asgi`): an event."""

_logger = logging.getLogger("walnut.web")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Reason = Literal["complete", "draining", "not-allowed", "failed"]


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something to be told: JSON in one line, and where to go on behind it."""

    position: str
    data: bytes


class SlowReader(ConnectionError):
    """A reader took nothing for too long and was cut off: nothing more can be sent to it."""


class Source(Protocol):
    """Where the events of one stream come from. It knows how far its reader has come."""

    @property
    def position(self) -> str:
        """Where to go on behind what was taken."""

    async def take(self) -> Sequence[Event]:
        """The next events, about BATCH_BYTES at most; none if there are no more for now."""

    async def wait(self, timeout: float) -> bool:
        """Wait until there may be more; False after `timeout` seconds without."""


class Framing(Protocol):
    """How events look on the wire."""

    media_type: str

    def events(self, events: Iterable[Event]) -> bytes:
        """Events, one behind the other."""

    def heartbeat(self, position: str) -> bytes:
        """Nothing happened, and this is where the reader is."""

    def end(self, position: str, reason: Reason, problem: Any) -> bytes:
        """The stream ends in order, for this reason."""


class Lines:
    """A line of JSON for each event. Beside them `{"heartbeat": ...}` and, last, `{"end": ...}`."""

    media_type = NDJSON

    def events(self, events: Iterable[Event]) -> bytes:
        """See `Framing.events`."""
        return b"".join([b"%b\n" % event.data for event in events])

    def heartbeat(self, position: str) -> bytes:
        """See `Framing.heartbeat`."""
        return msgspec.json.encode({"heartbeat": {"position": position}}) + b"\n"

    def end(self, position: str, reason: Reason, problem: Any) -> bytes:
        """See `Framing.end`. A stream that is complete needs no word for it."""
        if reason == "complete":
            return b""
        return msgspec.json.encode({"end": _ending(position, reason, problem)}) + b"\n"


class ServerSent:
    """Server-Sent Events, whose ids are positions. The last has the type `end`."""

    media_type = SSE

    def events(self, events: Iterable[Event]) -> bytes:
        """See `Framing.events`."""
        return b"".join(
            [b"id: %b\ndata: %b\n\n" % (event.position.encode(), event.data) for event in events]
        )

    def heartbeat(self, position: str) -> bytes:
        """See `Framing.heartbeat`. An id without data moves a reader's Last-Event-ID and is no event."""
        return b": still here\nid: %b\n\n" % position.encode()

    def end(self, position: str, reason: Reason, problem: Any) -> bytes:
        """See `Framing.end`."""
        data = msgspec.json.encode(_ending(position, reason, problem))
        return b"event: end\nid: %b\nretry: %d\ndata: %b\n\n" % (
            position.encode(),
            RETRY_MILLISECONDS,
            data,
        )


def _ending(position: str, reason: Reason, problem: Any) -> dict[str, Any]:
    ending = {"reason": reason, "position": position}
    return ending if problem is None else {**ending, "problem": problem}


def framing_of(accept: str) -> Framing:
    """How a reader that accepts this wants its stream: as NDJSON unless it asks for SSE."""
    return ServerSent() if SSE in accept.lower() else Lines()


class Heart:
    """Waits for a source and, meanwhile, for what ends a stream."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._caller = caller_of(scope)
        self._access: Access = scope[ACCESS]
        self._stop = draining(scope)
        self._gone = asyncio.ensure_future(_disconnected(receive))
        self._draining = asyncio.ensure_future(self._stop.wait())
        self._ending: asyncio.Timeout | None = None
        for each in (self._gone, self._draining):
            each.add_done_callback(self._end)

    @property
    def gone(self) -> bool:
        """The reader hung up."""
        return self._gone.done()

    def ends(self) -> Reason | None:
        """Why the stream is to end now; None if it is not."""
        if self._stop.is_set():
            return "draining"
        return None if self._access.still_good(self._caller) else "not-allowed"

    async def wait(self, source: Source, timeout: float) -> bool:
        """Until the source may have more, or the stream is to end; False for a heartbeat."""
        # As a timeout that is set off by the end, not by time: no task is made for each wait.
        ending = asyncio.timeout(None)
        try:
            async with ending:
                if self._gone.done() or self._stop.is_set():
                    return True
                self._ending = ending
                return await source.wait(timeout)
        except TimeoutError:
            if not ending.expired():
                raise
            return True
        finally:
            self._ending = None

    def _end(self, _: asyncio.Future[Any]) -> None:
        ending, self._ending = self._ending, None
        if ending is not None:
            ending.reschedule(0.0)

    async def close(self) -> None:
        """Wait for nothing any more."""
        for task in (self._gone, self._draining):
            task.cancel()
        await asyncio.gather(self._gone, self._draining, return_exceptions=True)


def draining(scope: Mapping[str, Any]) -> asyncio.Event:
    """The event that is set once the server stops; one that never is, where nobody says so."""
    event: asyncio.Event | None = (scope.get("extensions") or {}).get(DRAINING)
    return asyncio.Event() if event is None else event


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] not in {"http.disconnect", "websocket.disconnect"}:
        pass


class Streamed:
    """A stream that answers a request: an ASGI app.

    Args:
        source: of its events. framing: how they look.
        problems: what errors mean, for a reader that is in the middle of a stream.
        follow: go on when there are no more events for now.
        headers: of the answer, beside those that all streams have.
    """

    def __init__(
        self,
        source: Source,
        framing: Framing,
        problems: Problems,
        *,
        follow: bool = True,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.source = source
        self.framing = framing
        self.problems = problems
        self.follow = follow
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request of this ASGI scope. What goes wrong before the first byte is raised."""
        events = await self.source.take()
        first = self.framing.events(events) if events else b""
        del events  # what is sent is held once
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", self.framing.media_type.encode()),
                    (b"cache-control", b"no-store"),
                    (b"x-accel-buffering", b"no"),  # nginx would hold events back
                    *self.headers,
                ],
            }
        )
        heart = Heart(scope, receive)
        try:
            await self._run(first, heart, scope, send)
        except (
            SlowReader
        ) as error:  # the answer stays incomplete, and the server closes its connection
            _logger.warning("%s: %s", scope["path"], error)
        finally:
            await heart.close()

    async def _run(self, first: bytes, heart: Heart, scope: Scope, send: Send) -> None:
        source, framing = self.source, self.framing
        if first:
            await _send(send, first)
        elif self.follow:  # the head goes out at once, so that the reader knows it is connected
            await _send(send, framing.heartbeat(source.position))
        del first
        reason: Reason = "complete"
        problem: Any = None
        while not heart.gone:
            if ended := heart.ends():
                reason = ended
                break
            quiet = False
            try:
                events = await source.take()
                if not events and self.follow:
                    quiet = not await heart.wait(source, HEARTBEAT_SECONDS)
            except Exception as error:
                reason, problem = "failed", msgspec.Raw(self.problems.render(error, scope).body)
                break
            if events:
                body = framing.events(events)
                del events
                await _send(send, body)
                del body
            elif not self.follow:
                break
            elif quiet:
                await _send(send, framing.heartbeat(source.position))
        if not heart.gone:
            await _send(send, framing.end(source.position, reason, problem), more=False)


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    """Send, and wait until the connection takes more. Raises SlowReader."""
    sending = {"type": "http.response.body", "body": body, "more_body": more}
    with suppress(TimeoutError):
        async with asyncio.timeout(SLOW_SECONDS):
            await send(sending)
            return
    raise SlowReader(f"the reader took nothing for {SLOW_SECONDS:g} s: it was cut off")


class Recent:
    """What was read last, by number, for many readers near the end: each thing is read once.

    Args:
        read: gives, from a number on, things with their numbers and sizes, about so many bytes of
            them: dense, in order, none if there are none yet.
        limit: bytes that are kept.
    """

    def __init__(
        self,
        read: Callable[[int, int], list[tuple[int, Any, int]]],
        limit: int = KEPT_BYTES,
    ) -> None:
        self._read = read
        self._limit = limit
        self._first = 0
        self._things: list[tuple[int, Any, int]] = []
        self._bytes = 0

    def take(self, start: int, budget: int = BATCH_BYTES) -> list[tuple[int, Any, int]]:
        """What there is from the number `start` on, about `budget` bytes. Raises what `read` does."""
        at = start - self._first
        if not 0 <= at < len(self._things):
            found = self._read(start, budget)
            self._keep(found)
            return found
        taken, size = [], 0
        for index in range(at, len(self._things)):  # not islice, which walks up to `at`
            thing = self._things[index]
            taken.append(thing)
            size += thing[2]
            if size >= budget:
                break
        return taken

    def read_past(self, start: int, budget: int = BATCH_BYTES) -> list[tuple[int, Any, int]]:
        """The same, far from the end: from any thread, and nothing is kept."""
        return self._read(start, budget)

    def _keep(self, found: list[tuple[int, Any, int]]) -> None:
        """Keep what goes on behind what is kept, or is newer than all of it."""
        if not found or found[0][0] < self._first:
            return
        if found[0][0] != self._first + len(self._things):
            self._things, self._bytes, self._first = [], 0, found[0][0]
        self._things += found
        self._bytes += sum(thing[2] for thing in found)
        drop = 0
        while self._bytes > self._limit:
            self._bytes -= self._things[drop][2]
            drop += 1
        del self._things[:drop]
        self._first += drop
