"""Streams of events that go on where they were cut: Server-Sent Events, read to their positions.

    GET, Last-Event-ID: 41 ─▶ id: 42, data ─▶ yielded ─▶ ... x cut, or `end: draining`
         ▲ after a pause, with the id of the last event that was yielded ─────┘

What must stay true: an event is yielded once, in order, whatever happens to the connection; the
position moves on when its event is taken and not before.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from walnut.client.errors import BadAnswer, Unreachable, refusal
from walnut.client.transport import Query, Transport

SILENCE: Final = 35.0
"""Seconds without a byte after which a stream counts as cut. The server gives a sign of life every ten."""
FRUITLESS: Final = 8
"""Streams in a row that were cut before they told anything: then something between here and the server
does not let streams through."""
LONGEST_LINE: Final = 48 << 20
"""Bytes: a change with the largest row before and after it, as JSON in base 64."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream.

    Attributes:
        position: where to go on behind it.
        data: one line of JSON.
        kind: "message", or "end".
    """

    position: str
    data: bytes
    kind: str = "message"


class Feed:
    """One stream, begun again as often as it takes. For one thread.

    Attributes:
        position: where it goes on behind the last event that was yielded; empty at the beginning.
    """

    def __init__(self, transport: Transport, path: str, query: Query, position: str = "") -> None:
        self.position = position
        self._transport = transport
        self._path = path
        self._query = query

    def __iter__(self) -> Iterator[bytes]:
        """The data of each event. Raises Refused, also for a stream that fails on the way;
        Unreachable, BadAnswer."""
        fruitless = 0
        while True:
            before = self.position
            cause: Exception | None = None
            try:
                for event in self._events():
                    if event.kind == "end":
                        if self._ended(event):
                            return
                        break
                    yield event.data
                    self.position = event.position or self.position
            except (OSError, http.client.HTTPException) as error:
                cause = error
            fruitless = 0 if self.position != before else fruitless + 1
            if fruitless >= FRUITLESS:
                raise Unreachable(
                    f"{self._transport.address} cuts the stream {self._path} before it tells anything, "
                    f"{FRUITLESS} times in a row: see the server's log, or the proxy before it"
                ) from cause
            if fruitless:
                self._transport.pause(fruitless)

    def _ended(self, event: Event) -> bool:
        """The server ended the stream in order: whether for good."""
        ending: Any = msgspec.json.decode(event.data)
        if problem := ending.get("problem"):
            raise refusal(int(problem.get("status", 500)), problem, None)
        self.position = str(ending.get("position") or self.position)
        return bool(ending.get("reason") == "complete")

    def _events(self) -> Iterator[Event]:
        headers = {"Accept": "text/event-stream"}
        if self.position:
            headers["Last-Event-ID"] = self.position
        with self._transport.stream(
            self._path, query=self._query, headers=headers, timeout=SILENCE
        ) as response:
            kind, position, data = "message", "", b""
            while line := response.readline(LONGEST_LINE):
                if not line.endswith(b"\n"):
                    if len(line) == LONGEST_LINE:
                        raise BadAnswer(f"{self._path} has a line of over {LONGEST_LINE} bytes")
                    return  # cut in the middle of a line
                line = line.rstrip(b"\r\n")
                if not line:
                    if data:
                        yield Event(position, data, kind)
                    elif position:
                        self.position = position  # a heartbeat: what a filter left out lies behind
                    kind, data = "message", b""
                    continue
                field, _, value = line.partition(b":")
                value = value.removeprefix(b" ")
                if field == b"data":
                    data = value
                elif field == b"id":
                    position = value.decode()
                elif field == b"event":
                    kind = value.decode()
