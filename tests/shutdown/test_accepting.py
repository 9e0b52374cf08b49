"""Accepting: nobody who has reached our kernel is dropped when it ends."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tests.shutdown.test_connection import asynchronously, until
from walnut.shutdown import Listening, listen
from walnut.shutdown.accepting import Acceptor
from walnut.shutdown.uvicorn.writing import Writing


class Greets(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello")
        transport.close()


def acceptor(listening: Listening, most: int = 100) -> Acceptor:
    class Protocol(Greets):
        def connection_lost(self, exc: Exception | None) -> None:
            one.released()

    one = Acceptor([listening], Protocol, most=most)
    one.start()
    return one


def clients(port: int, count: int) -> list[socket.socket]:
    """Connected in the kernel; the loop has had no turn to accept them."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for one in sockets:
        one.setblocking(False)
    return sockets


async def greeted(sockets: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    for one in sockets:
        async with asyncio.timeout(20):
            assert await loop.sock_recv(one, 100) == b"hello"
        one.close()


@asynchronously
async def test_who_waits_when_it_stops_is_accepted_even_beyond_the_limit() -> None:
    listening = listen("127.0.0.1", 0)
    one = acceptor(listening, most=2)
    waiting = clients(listening.port, 10)
    one.stop(handover=False)
    assert listening.closed
    await greeted(waiting)
    await until(lambda: one.open == 0)


@asynchronously
async def test_who_waits_at_a_handover_is_left_to_the_successor() -> None:
    listening = listen("127.0.0.1", 0)
    inherited = Listening("http", listening.socket.dup())
    before = acceptor(listening)
    waiting = clients(listening.port, 10)
    before.stop(handover=True)
    waiting += clients(inherited.port, 10)
    for _ in range(5):
        await asyncio.sleep(0)
    assert before.open == 0
    after = acceptor(inherited)
    await greeted(waiting)
    await until(lambda: after.open == 0)
    after.stop(handover=False)


@asynchronously
async def test_stopping_twice_is_stopping_once() -> None:
    one = acceptor(listen("127.0.0.1", 0))
    one.stop(handover=True)
    one.stop(handover=False)
    one.released()
    assert one.open == -1


def test_a_client_that_takes_nothing_is_noticed_while_open_and_while_closing() -> None:
    class Transport:
        closing = False

        def is_closing(self) -> bool:
            return self.closing

    class Protocol:
        def pause_writing(self) -> None: ...

        def resume_writing(self) -> None: ...

    class Connection(Writing, Protocol):
        transport: Any = Transport()

        class loop:  # noqa: N801 -- stands in for one
            @staticmethod
            def time() -> float:
                return 100.0

    one = Connection()
    assert not one.stuck(1000.0, 30)
    one.pause_writing()
    assert [one.stuck(now, 30) for now in (120.0, 131.0)] == [False, True]
    one.resume_writing()
    assert not one.stuck(131.0, 30)
    one.transport.closing = True
    assert [one.stuck(now, 30) for now in (200.0, 225.0, 231.0)] == [False, False, True]
