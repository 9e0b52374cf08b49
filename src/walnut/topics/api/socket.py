"""Topics over a WebSocket: messages out, and appends in.

    out   {"offset": 7, "time": ..., "value": ...}                 a message, as everywhere
          {"appended": {"first": ..., "next": ..., "lsn": ...}, "id": ...}
          {"problem": {...}, "id": ...}   {"end": {"reason": ..., "position": ...}}
    in    {"append": [{"value": ...}, ...], "id": ...}             one append, answered when it is durable
          {"seen": 7}                                              with ?window=N: messages up to it are dealt with

What must stay true: not more than a batch is held for the client, and with a window no more messages are
under way than it has room for; a client whose appends are not answered yet is not read from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath, FromQuery
from litestar.types import ControllerRouterHandler

from walnut.store.api.rows import check_depth
from walnut.store.problems import PROBLEMS as STORE_PROBLEMS
from walnut.store.record import Meta
from walnut.topics.api.messages import Given, message_of
from walnut.topics.api.reading import Shared, TopicSource, tail_start
from walnut.topics.problems import PROBLEMS
from walnut.topics.topics import Topics
from walnut.web.access import needs, permit
from walnut.web.caller import caller_of
from walnut.web.errors import InvalidRequest, MalformedBody
from walnut.web.problems import Problems
from walnut.web.streams import HEARTBEAT_SECONDS, SLOW_SECONDS, Event, draining

WINDOW: Final = 100_000
"""The largest window."""
GOING_AWAY: Final = 1001
POLICY: Final = 1008
TRY_AGAIN: Final = 1013


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """What a client says: append these, or: messages up to this offset are dealt with."""

    append: list[Given] | None = None
    id: Any = None
    seen: int | None = None


_said: Final = msgspec.json.Decoder(Said)
Socket = WebSocket[Any, Any, Any]


class Talk:
    """One WebSocket: who reads from it, who writes to it, and the window between them."""

    def __init__(
        self, socket: Socket, topics: Topics, topic: str, source: TopicSource, window: int
    ) -> None:
        self.socket = socket
        self._topics = topics
        self._topic = topic
        self._source = source
        self._window = window
        self._seen = int(source.position)
        self._moved = asyncio.Event()
        self._sending = asyncio.Lock()
        self._problems = Problems(STORE_PROBLEMS, PROBLEMS)

    async def run(self) -> None:
        """Until the client hangs up, the server stops, or something fails."""
        stop = asyncio.ensure_future(draining(self.socket.scope).wait())
        parts = [asyncio.ensure_future(self._tell()), asyncio.ensure_future(self._listen())]
        try:
            await asyncio.wait([stop, *parts], return_when=asyncio.FIRST_COMPLETED)
            ended = [part for part in parts if part.done()]
        finally:
            for task in (stop, *parts):
                task.cancel()
            await asyncio.gather(stop, *parts, return_exceptions=True)
        error = next((part.exception() for part in ended if not part.cancelled()), None)
        await self._farewell(error)

    async def _farewell(self, error: BaseException | None) -> None:
        """Say why it ends, if there is still somebody to hear it."""
        if isinstance(error, WebSocketDisconnect):
            return
        if isinstance(error, TimeoutError):
            await self.socket.close(TRY_AGAIN, "nothing was taken for too long")
            return
        position = self._source.position
        if error is None:
            await self._send(_json({"end": {"reason": "draining", "position": position}}))
            await self.socket.close(GOING_AWAY, "server stops")
            return
        if not isinstance(error, Exception):
            raise error
        problem = self._problem(error)
        await self._send(
            _json({"end": {"reason": "failed", "position": position, "problem": problem}})
        )
        await self.socket.close(POLICY, "see the last message")

    # -- out ------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        while True:
            events = await self._source.take()
            if not events:
                await self._source.wait(HEARTBEAT_SECONDS)
                continue
            await self._tell_all(events)

    async def _tell_all(self, events: Sequence[Event]) -> None:
        for event in events:
            while self._window and int(event.position) > self._seen + self._window:
                self._moved.clear()
                await self._moved.wait()
            await self._send(event.data)

    async def _send(self, data: bytes) -> None:
        async with self._sending, asyncio.timeout(SLOW_SECONDS):
            await self.socket.send_text(data.decode())

    # -- in -------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            text = await self.socket.receive_data("text")
            said: Said | None = None
            try:
                said = self._read(text)
                if said.append is not None:
                    await self._append(said)
                if said.seen is not None:
                    self._seen = max(self._seen, said.seen)
                    self._moved.set()
            except WebSocketDisconnect:
                raise
            except Exception as error:
                problem = self._problem(error)
                await self._send(
                    _json({"problem": problem, "id": None if said is None else said.id})
                )

    def _read(self, text: str | bytes) -> Said:
        data = text.encode() if isinstance(text, str) else text
        check_depth(data)
        try:
            return _said.decode(data)
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error), {"at": "message", "message": str(error)}) from error
        except msgspec.DecodeError as error:
            raise MalformedBody(f"this is no JSON: {error}") from error

    async def _append(self, said: Said) -> None:
        scope = self.socket.scope
        permit(scope, "topics:write", self._topic)
        caller = caller_of(scope)
        messages = [*map(message_of, said.append or ())]
        meta = Meta(caller.principal, caller.reason)
        done = await self._topics.publish(self._topic, messages, meta=meta)
        await self._send(
            _json(
                {
                    "appended": {"first": done.first, "next": done.next, "lsn": done.lsn},
                    "id": said.id,
                }
            )
        )

    def _problem(self, error: Exception) -> msgspec.Raw:
        return msgspec.Raw(self._problems.render(error, self.socket.scope).body)


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def routes(topics: Topics) -> list[ControllerRouterHandler]:
    """The WebSocket of these topics."""
    shared = Shared(topics)

    @websocket("/v1/topics/{topic:str}/socket", opt=needs("topics:read", name="topic"))
    async def talk(
        topic: FromPath[str],
        socket: Socket,
        start: FromQuery[str] = "latest",
        window: FromQuery[int] = 0,
    ) -> None:
        """Messages from `start` on, and appends; see the documentation of topics."""
        begin = tail_start(socket.scope, start)
        if not 0 <= window <= WINDOW:
            what = f"window is {str(window)[:40]}: it is a number of messages up to {WINDOW}"
            raise InvalidRequest(what, {"at": "query.window", "message": what})
        source = TopicSource(shared, topic, begin)
        await socket.accept()
        await Talk(socket, topics, topic, source, window).run()

    return [talk]
