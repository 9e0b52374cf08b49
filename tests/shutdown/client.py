"""Starting a server as a process, and a client that notices every request without an answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.shutdown.children import Config

CHILDREN = Path(__file__).with_name("children.py")
PATIENCE = 20.0
"""Seconds after which a test gives up waiting."""


class Program:
    """A child process that speaks in lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.port = 0

    async def until(self, text: str) -> str:
        """Read lines up to one that has a text in it."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while line := (await self.process.stdout.readline()).decode().rstrip():
                self.lines.append(line)
                if text in line:
                    return line
        raise AssertionError(f"it never said {text!r}, but {self.lines}")

    async def ended(self) -> int:
        """Its exit code, when it and its successors have closed their output."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            async for line in self.process.stdout:
                self.lines.append(line.decode().rstrip())
            return await self.process.wait()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


@contextlib.asynccontextmanager
async def program(*arguments: str, **environ: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILDREN), *arguments,
        stdout=asyncio.subprocess.PIPE, env={**os.environ, **environ},
        start_new_session=True,
    )  # fmt: skip
    running = Program(process)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its successors too
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined] # or it warns when it is collected


@contextlib.asynccontextmanager
async def server(config: Config, **environ: str) -> AsyncIterator[Program]:
    async with program("server", msgspec.json.encode(config).decode(), **environ) as running:
        running.port = int((await running.until("listening ")).split()[1])
        await running.until("running phase")
        yield running


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Refused(Exception):
    """No connection was made: nothing was promised."""


CLIENTS: list[Client] = []
"""For `close_all`: a test that fails must not leave warnings that hide why."""


async def close_all() -> None:
    while CLIENTS:
        await CLIENTS.pop().close()


class Client:
    """One connection at a time, made anew when the server has asked for it."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._address = host, port
        CLIENTS.append(self)
        self.reader: Any = None
        self.writer: Any = None

    async def connect(self) -> None:
        try:
            self.reader, self.writer = await asyncio.open_connection(*self._address)
        except ConnectionError as error:
            raise Refused from error

    async def send(self, data: bytes) -> None:
        if self.writer is None:
            await self.connect()
        self.writer.write(data)

    async def get(self, path: str = "/", body: bytes = b"") -> Answer:
        await self.send(request(path, body))
        return await self.answer()

    async def answer(self) -> Answer:
        """Read one answer. Raises if the connection ends before."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
        body = b""
        if "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        answer = Answer(int(head[0].split()[1]), headers, body)
        if headers.get("connection") == "close":
            await self.close()
        return answer

    async def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            with contextlib.suppress(ConnectionError):
                await self.writer.wait_closed()
            self.writer = None


def request(path: str = "/", body: bytes = b"") -> bytes:
    method = "POST" if body else "GET"
    return b"%s %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (
        method.encode(), path.encode(), len(body), body
    )  # fmt: skip


class Load:
    """Clients of several kinds at once. `lost` names each request that got no answer."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self._port = port
        self._rng = rng
        self.answers = 0
        self.refused = 0
        self.lost: list[str] = []
        self.ending = False
        self.servers: set[bytes] = set()

    async def run(self) -> None:
        """Until `ending`, or until the server is gone."""
        async with asyncio.TaskGroup() as group:
            for kind in (self._keep_alive, self._fresh, self._pipelined, self._slowly):
                for _ in range(3):
                    group.create_task(self._repeat(kind))

    async def _repeat(self, kind: Any) -> None:
        client = Client(self._port)
        while not self.ending:
            try:
                async with asyncio.timeout(PATIENCE):
                    await kind(client)
            except Refused:
                self.refused += 1
                return
            except (ConnectionError, EOFError, TimeoutError) as error:
                self.lost.append(f"{kind.__name__}: {error!r}")
                return
            await asyncio.sleep(self._rng.random() * 0.01)
        await client.close()

    def _count(self, answer: Answer) -> None:
        assert answer.status == 200
        self.answers += 1
        self.servers.add(answer.body)

    async def _keep_alive(self, client: Client) -> None:
        self._count(await client.get())

    async def _fresh(self, client: Client) -> None:
        self._count(await client.get())
        await client.close()

    async def _pipelined(self, client: Client) -> None:
        await client.send(request() * 4)
        for _ in range(4):
            self._count(await client.answer())

    async def _slowly(self, client: Client) -> None:
        """A request in pieces, and an answer that takes a while."""
        data = request("/slow?0.02", b"y" * 1000)
        await client.send(data[:20])
        await asyncio.sleep(self._rng.random() * 0.02)
        await client.send(data[20:600])
        await asyncio.sleep(self._rng.random() * 0.02)
        await client.send(data[600:])
        self._count(await client.answer())


TERM = signal.SIGTERM
