"""How long from an append to its receipt by those who follow the topic by Server-Sent Events.

    python -m bench.http_tails '{"port": ..., "path": "/v1/topics/NAME", "token": "...", "tails": 64,
                                 "rate": 500, "seconds": 5}'

A process of its own: 16 connections append in turn at an even rate, so many others follow. Each message
holds when it was sent; what is told is from there to the receipt of its event, in ms. That is longer than
from the commit, which nobody outside sees, by the append itself: its median is told too.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import Any

import msgspec

from bench.http_load import percentiles

_SENT = re.compile(rb'"value":"(\d{19})')


class Tailing(msgspec.Struct):
    """What to measure. `path` is of the topic."""

    port: int
    path: str
    token: str
    tails: int
    rate: int
    seconds: float


class Delays(msgspec.Struct):
    """From sending an append to the receipt of its event by each tail, and to its answer; in ms."""

    events: int
    p50: float
    p99: float
    answer_p50: float
    answer_p99: float


class Tail(asyncio.Protocol):
    """Reads events."""

    def __init__(self, request: bytes, delays: list[float]) -> None:
        self.request = request
        self.delays = delays
        self.connected = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        if not self.connected.done():
            self.connected.set_result(data)
        for sent in _SENT.findall(data):  # one that is cut between two packets is left out
            self.delays.append((now - int(sent)) / 1e6)


class Appender(asyncio.Protocol):
    """Appends at an even rate, without waiting for the answers: they come in the same order."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.sent: list[int] = []
        self.answered: list[float] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def append(self) -> None:
        now = time.time_ns()
        self.sent.append(now)
        self.transport.write(self.head + b'"%d%s"' % (now, b"x" * 79))

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        for _ in range(data.count(b"HTTP/1.1 201")):
            self.answered.append((now - self.sent[len(self.answered)]) / 1e6)


async def measure(wanted: Tailing) -> Delays:
    loop = asyncio.get_running_loop()
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {wanted.token}\r\n".encode()
    follow = b"GET %b/tail HTTP/1.1\r\n%bAccept: text/event-stream\r\n\r\n" % (
        wanted.path.encode(),
        head,
    )
    publish = b"POST %b/messages HTTP/1.1\r\n%bContent-Length: 100\r\n\r\n" % (
        wanted.path.encode(),
        head,
    )
    delays: list[float] = []
    tails = []
    for _ in range(wanted.tails):
        _, tail = await loop.create_connection(
            lambda: Tail(follow, delays), "127.0.0.1", wanted.port
        )
        if not (await tail.connected).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("a tail was refused")
        tails.append(tail)
    # Several, as one connection has its requests served one after another.
    appenders = [
        (await loop.create_connection(lambda: Appender(publish), "127.0.0.1", wanted.port))[1]
        for _ in range(16)
    ]
    count = int(wanted.rate * wanted.seconds)
    began = loop.time()
    for number in range(count):
        late = began + number / wanted.rate - loop.time()
        if late > 0:
            await asyncio.sleep(late)
        appenders[number % len(appenders)].append()
    answered: list[float] = []
    end = loop.time() + 10
    while len(answered) < count and loop.time() < end:
        await asyncio.sleep(0.1)
        answered = [each for appender in appenders for each in appender.answered]
    if len(answered) < count:
        raise RuntimeError(f"{count - len(answered)} of {count} appends were not answered")
    p50, p99 = percentiles(delays)
    answer50, answer99 = percentiles(answered)
    return Delays(len(delays), p50, p99, answer50, answer99)


if __name__ == "__main__":
    import uvloop

    told = uvloop.run(measure(msgspec.json.decode(sys.argv[1], type=Tailing)))
    sys.stdout.buffer.write(msgspec.json.encode(told))
