"""Real processes: signals one after another, a successor that fails, the service manager."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
import pytest

from tests.shutdown.children import Config
from tests.shutdown.client import CHILDREN, Client, program, request, server
from tests.shutdown.test_connection import asynchronously
from walnut.shutdown import Budgets, ExitCode, Listening, Predecessor, Successor
from walnut.shutdown.errors import PredecessorStays, SuccessorFailed
from walnut.shutdown.handover import CLOSED, _spawn


@asynchronously
async def test_the_second_signal_skips_the_waiting() -> None:
    async with program("plain", "waits") as child:
        await child.until("running phase")
        child.signal(signal.SIGTERM)
        await child.until("grace phase")
        child.signal(signal.SIGINT)
        assert await child.ended() == ExitCode.FORCED
        assert "drain overran" in " ".join(child.lines)


@asynchronously
async def test_the_third_signal_ends_the_process_even_if_its_loop_is_stuck() -> None:
    async with program("plain", "stuck") as child:
        await child.until("running phase")
        child.signal(signal.SIGTERM)
        await child.until("grace phase")
        child.signal(signal.SIGTERM)
        await child.until("drain phase")
        while child.process.returncode is None:  # signals of one moment count as one
            child.signal(signal.SIGTERM)
            await asyncio.sleep(0.02)
        assert await child.ended() == ExitCode.KILLED


@asynchronously
async def test_a_signal_during_the_import_of_a_successor_stops_both(tmp_path: Path) -> None:
    async with server(Config(str(tmp_path), successor="hangs")) as child:
        child.signal(signal.SIGUSR2)
        pid = int((await child.until("hanging")).split()[1])
        child.signal(signal.SIGTERM)
        assert await child.ended() == ExitCode.CLEAN
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@asynchronously
async def test_a_successor_that_fails_changes_nothing(tmp_path: Path) -> None:
    async with server(Config(str(tmp_path), successor="dies")) as child:
        client = Client(child.port)
        before = await client.get()
        child.signal(signal.SIGUSR2)
        line = await child.until("failed restart")
        assert "ended before it was ready to take over" in line
        assert (await client.get()).body == before.body
        await client.close()
        child.signal(signal.SIGTERM)
        assert await child.ended() == ExitCode.CLEAN


@asynchronously
async def test_a_predecessor_that_is_killed_while_it_drains_is_succeeded(tmp_path: Path) -> None:
    async with server(Config(str(tmp_path))) as child:
        client = Client(child.port)
        await client.send(request("/slow?1000"))
        old = int(child.lines[0].split()[2])
        child.signal(signal.SIGUSR2)
        await child.until("drain phase")
        os.kill(old, signal.SIGKILL)
        pid = int((await child.until("listening ")).split()[2])
        await child.until("running phase")
        await client.close()
        assert (await client.get()).body.endswith(b"%d" % pid)
        await client.close()


def test_a_predecessor_that_stays_is_named() -> None:
    here, there = socket.socketpair()

    async def wait() -> None:
        await Predecessor(there, 1).gone(0.01)

    with pytest.raises(PredecessorStays, match=r"within 0\.01 s"):
        asyncio.run(wait())
    here.close()
    there.close()


@pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="needs pidfd_open; enable with: run it on Linux"
)
def test_a_predecessor_is_waited_for_to_its_end_and_not_until_it_has_no_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One with several threads loses its children before its files: as here, where it lives on."""
    here, there = socket.socketpair()

    async def wait() -> None:
        predecessor = Predecessor(there, os.getppid())
        monkeypatch.setattr(os, "getppid", lambda: 1)
        here.close()
        with pytest.raises(PredecessorStays):
            await predecessor.gone(0.05)

    asyncio.run(wait())
    there.close()


def test_a_predecessor_that_says_so_is_not_waited_for() -> None:
    here, there = socket.socketpair()
    successor = Successor(1, here)
    successor._hold = here.detach()

    async def wait() -> None:
        predecessor = Predecessor(there, os.getppid())
        with pytest.raises(PredecessorStays):
            await predecessor.gone(0.01)
        successor.release()
        await predecessor.gone(20)

    asyncio.run(wait())


def test_a_successor_that_can_not_be_found_is_named() -> None:
    with pytest.raises(SuccessorFailed, match="ended before it was ready"):
        asyncio.run(Successor.start(["/nowhere/to/be/found"], []))


@asynchronously
async def test_a_unix_socket_goes_to_the_successor_too(tmp_path: Path) -> None:
    async with server(Config(str(tmp_path), unix=True)) as child:
        path = tmp_path / "socket"
        assert path.stat().st_mode & 0o777 == 0o600
        child.signal(signal.SIGUSR2)
        pid = int((await child.until("listening ")).split()[2])
        await child.until("running phase")
        client = Client(0)
        client.reader, client.writer = await asyncio.open_unix_connection(str(path))
        assert (await client.get()).body.endswith(b"%d" % pid)
        await client.close()
        os.kill(pid, signal.SIGTERM)
        await child.ended()
        assert not path.exists()


@asynchronously
async def test_the_service_manager_hears_it_all(tmp_path: Path) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(b"\0walnut-test-%d" % os.getpid())
    manager.setblocking(False)
    heard: list[str] = []
    loop = asyncio.get_running_loop()

    async def hear(text: str) -> str:
        async with asyncio.timeout(20):
            while True:
                heard.append((await loop.sock_recv(manager, 4096)).decode())
                if text in heard[-1]:
                    return heard[-1]

    environ = {"NOTIFY_SOCKET": f"@walnut-test-{os.getpid()}", "WATCHDOG_USEC": "200000"}
    async with server(Config(str(tmp_path), budgets=Budgets(grace=0)), **environ) as child:
        await hear("READY=1")
        await hear("WATCHDOG=1")
        await hear("WATCHDOG=1")
        child.signal(signal.SIGUSR2)
        pid = (await hear("MAINPID=")).removeprefix("MAINPID=")
        heard.clear()
        await hear("READY=1")
        assert "STOPPING=1" not in heard, "the service does not stop when it is handed over"
        os.kill(int(pid), signal.SIGTERM)
        await hear("STOPPING=1")
        await child.ended()
    manager.close()


@asynchronously
async def test_sockets_of_a_service_manager_are_served_and_left_alone(tmp_path: Path) -> None:
    """As systemd does it: the listening socket is bound elsewhere, and outlives the process."""
    listening = socket.create_server(("127.0.0.1", 0))
    here, there = socket.socketpair()
    held = Listening("http", listening, owned=False)
    text = msgspec.json.encode(Config(str(tmp_path), budgets=Budgets(grace=0))).decode()
    command = [sys.executable, str(CHILDREN), "server", text]
    pid = _spawn(command, [held], there, os.environ)
    there.close()
    here.setblocking(False)
    loop = asyncio.get_running_loop()
    assert await loop.sock_recv(here, 100) == b"ready\n"
    here.send(CLOSED)
    here.close()
    client = Client(held.port)
    assert (await client.get()).status == 200
    await client.close()
    os.kill(pid, signal.SIGTERM)
    await asyncio.to_thread(os.waitpid, pid, 0)
    late = Client(held.port)
    await late.connect()  # waits for the next start instead of being refused
    await late.close()
    held.close()
