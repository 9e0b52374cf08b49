"""Connections of the server: limits, slow clients, pipelining, and how each kind ends."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.shutdown.children import application
from tests.shutdown.client import PATIENCE, Answer, Client, close_all, request
from walnut.shutdown import Budgets, ExitCode, HttpLimits, Lifecycle, Report, listen, listen_unix
from walnut.shutdown.asgi import GOING_AWAY
from walnut.shutdown.errors import ApplicationFailed, InvalidBudget, StartFailed
from walnut.shutdown.uvicorn import Server

QUICK = Budgets(grace=0, close=1, drain=10, stop=2)
QUIET = HttpLimits(quiet_seconds=0.05)


class Running:
    """A server in this process."""

    def __init__(self, lifecycle: Lifecycle, server: Server, port: int) -> None:
        self.lifecycle = lifecycle
        self.server = server
        self.port = port
        self.task = asyncio.create_task(lifecycle.serve(signals=False))

    async def stop(self) -> Report:
        self.lifecycle.stop("test")
        async with asyncio.timeout(PATIENCE):
            return await self.task


@contextlib.asynccontextmanager
async def running(
    app: Any = application, *, limits: HttpLimits = QUIET, budgets: Budgets = QUICK, **options: Any
) -> AsyncIterator[Running]:
    listening = options.pop("listening", None) or [listen("127.0.0.1", 0)]
    lifecycle = Lifecycle(budgets=budgets)
    options.setdefault("lifespan", "off")
    server = Server(app, listening, inflight=lifecycle.inflight, limits=limits, **options)
    lifecycle.add(server)
    port = 0 if listening[0].is_unix else listening[0].port
    run = Running(lifecycle, server, port)
    while not lifecycle.started:
        await asyncio.sleep(0)
    try:
        yield run
    finally:
        lifecycle.hurry()
        await asyncio.wait([run.task], timeout=PATIENCE)


def asynchronously(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test as a coroutine, and see that it leaves nothing running."""
    import functools
    import inspect

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        async def within() -> None:
            try:
                async with asyncio.timeout(PATIENCE * 2):
                    await test(**fixtures)
            finally:
                await close_all()
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert left == set()

        asyncio.run(within())

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined] # for the fixtures
    return run


async def rest(client: Client) -> bytes:
    async with asyncio.timeout(PATIENCE):
        try:
            data: bytes = await client.reader.read()
        except ConnectionResetError:
            data = b""
    await client.close()
    return data


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


async def closes(client: Client) -> None:
    assert await rest(client) == b""


# -- draining -------------------------------------------------------------------------------------


@asynchronously
async def test_an_idle_connection_is_closed_and_nothing_is_said_on_it() -> None:
    async with running() as run:
        client = Client(run.port)
        assert "connection" not in (await client.get()).headers
        stopping = asyncio.create_task(run.stop())
        await closes(client)
        assert (await stopping).exit_code == ExitCode.CLEAN


@asynchronously
async def test_a_request_under_way_is_answered_with_connection_close() -> None:
    async with running() as run:
        client = Client(run.port)
        await client.send(request("/slow?0.2"))
        await until(lambda: run.lifecycle.inflight.requests == 1)
        stopping = asyncio.create_task(run.stop())
        answer = await client.answer()
        assert answer.headers["connection"] == "close"
        assert (await stopping).exit_code == ExitCode.CLEAN


@asynchronously
async def test_a_request_whose_first_bytes_have_arrived_is_served() -> None:
    async with running() as run:
        client = Client(run.port)
        await client.get()
        await client.send(b"GET / HT")
        await asyncio.sleep(0.01)
        stopping = asyncio.create_task(run.stop())
        await until(run.lifecycle.inflight.draining.is_set)
        await asyncio.sleep(QUIET.quiet_seconds * 3)
        await client.send(b"TP/1.1\r\n\r\n")
        assert (await client.answer()).headers["connection"] == "close"
        assert (await stopping).exit_code == ExitCode.CLEAN


@asynchronously
async def test_a_request_on_a_kept_connection_is_served_while_draining() -> None:
    async with running(limits=HttpLimits(quiet_seconds=5)) as run:
        client = Client(run.port)
        await client.get()
        stopping = asyncio.create_task(run.stop())
        await until(run.lifecycle.inflight.draining.is_set)
        assert (await client.get()).headers["connection"] == "close"
        assert (await stopping).exit_code == ExitCode.CLEAN


@asynchronously
async def test_pipelined_requests_are_all_answered_and_the_last_says_close() -> None:
    async with running() as run:
        client = Client(run.port)
        await client.send(request("/slow?0.3") + request() * 5)
        await until(lambda: run.lifecycle.inflight.requests == 1)
        stopping = asyncio.create_task(run.stop())
        answers: list[Answer] = [await client.answer() for _ in range(6)]
        assert [one.headers.get("connection") for one in answers] == [None] * 5 + ["close"]
        assert (await stopping).exit_code == ExitCode.CLEAN


@asynchronously
async def test_a_client_that_goes_away_while_draining_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as run:
        client = Client(run.port)
        await client.send(request("/slow?0.2"))
        await until(lambda: run.lifecycle.inflight.requests == 1)
        stopping = asyncio.create_task(run.stop())
        await client.close()
        assert (await stopping).exit_code == ExitCode.CLEAN
    assert caplog.messages == []


@asynchronously
async def test_a_stream_ends_itself_where_it_can_be_resumed() -> None:
    async with running() as run:
        client = Client(run.port)
        await client.send(request("/stream"))
        await until(lambda: run.lifecycle.inflight.streams == 1)
        assert run.lifecycle.inflight.requests == 0
        stopping = asyncio.create_task(run.stop())
        body = (await client.answer()).body
        numbers = body.split(b"\n")
        assert numbers[-2] == b"resume after " + numbers[-3]
        await client.close()
        assert (await stopping).exit_code == ExitCode.CLEAN


@asynchronously
async def test_a_websocket_is_closed_with_1001() -> None:
    async with running() as run, websockets.connect(f"ws://127.0.0.1:{run.port}/") as line:
        await line.send("hello")
        assert await line.recv() == "hello"
        assert run.lifecycle.inflight.websockets == 1
        stopping = asyncio.create_task(run.stop())
        with pytest.raises(websockets.ConnectionClosed):
            await line.recv()
        assert line.close_code == GOING_AWAY
        assert (await stopping).exit_code == ExitCode.CLEAN


@asynchronously
async def test_what_does_not_end_is_cut_when_the_budget_is_over() -> None:
    async with running(budgets=Budgets(grace=0, drain=0.2)) as run:
        client = Client(run.port)
        await client.send(request("/slow?1000"))
        await until(lambda: run.lifecycle.inflight.requests == 1)
        report = await run.stop()
        assert report.exit_code == ExitCode.FORCED
        assert set(report.overran) == {"1 request", "server"}
        assert b" 500 " in await rest(client)


# -- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 3000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 3000, 431),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20 + b"\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nhost: w\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
            400,
        ),
        (b"GET /\x01 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: w\r\ncontent-length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx", 408),
        (b"POST / HTTP/1.1\r\nhost: w\r\ncontent-length: 10\r\n\r\nabc", 408),
    ],
)
def test_a_request_beyond_the_limits_is_refused_and_the_connection_closed(
    sent: bytes, status: int
) -> None:
    limits = HttpLimits(header_bytes=2000, headers=10, headers_seconds=0.1, body_seconds=0.1)

    @asynchronously
    async def scenario() -> None:
        async with running(limits=limits) as run:
            client = Client(run.port)
            await client.send(sent)
            async with asyncio.timeout(PATIENCE):
                answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            fresh = Client(run.port)
            assert (await fresh.get()).status == 200
            await fresh.close()
            assert (await run.stop()).exit_code == ExitCode.CLEAN

    scenario()


@asynchronously
async def test_a_header_that_comes_in_many_pieces_has_the_same_limit() -> None:
    async with running(limits=HttpLimits(header_bytes=2000)) as run:
        client = Client(run.port)
        await client.send(b"GET / HTTP/1.1\r\nx: ")
        for _ in range(40):
            await client.send(b"y" * 100)
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.answer()).status == 431


@asynchronously
async def test_a_trailer_that_never_ends_has_the_same_limit() -> None:
    async with running(limits=HttpLimits(header_bytes=2000)) as run:
        client = Client(run.port)
        await client.send(
            b"POST / HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: "
        )
        await until(lambda: run.lifecycle.inflight.requests == 1)
        for _ in range(60):
            await client.send(b"y" * 100)
            await asyncio.sleep(0)
        assert (await client.answer()).status == 431


@asynchronously
async def test_headers_below_the_limit_may_come_in_pieces() -> None:
    async with running(limits=HttpLimits(header_bytes=2000)) as run:
        client = Client(run.port)
        await client.send(b"GET / HTTP/1.1\r\nhost: w\r\n")
        for number in range(18):
            await client.send(b"x%d: %s\r\n" % (number, b"y" * 90))
            await asyncio.sleep(0.001)
        await client.send(b"\r\n")
        assert (await client.answer()).status == 200
        await client.close()


@asynchronously
async def test_a_refusal_waits_for_the_answers_before_it() -> None:
    async with running() as run:
        client = Client(run.port)
        await client.send(request("/slow?0.1") + request() + b"nonsense\r\n\r\n")
        assert [(await client.answer()).status for _ in range(3)] == [200, 200, 400]


@asynchronously
async def test_more_pipelined_requests_than_allowed_are_told_so_after_the_others() -> None:
    async with running(limits=HttpLimits(pipelined=3)) as run:
        client = Client(run.port)
        await client.send(request("/slow?0.1") + request() * 9)
        answers = [await client.answer() for _ in range(5)]
        assert [one.status for one in answers] == [200, 200, 200, 200, 503]
        assert answers[-1].headers["retry-after"] == "1"


@asynchronously
async def test_an_idle_connection_is_closed_in_the_end() -> None:
    async with running(limits=HttpLimits(idle_seconds=0.1)) as run:
        client = Client(run.port)
        await client.get()
        await closes(client)
        assert run.server.connections == 0


@asynchronously
async def test_a_connection_on_which_nothing_comes_is_closed() -> None:
    async with running(limits=HttpLimits(headers_seconds=0.1)) as run:
        client = Client(run.port)
        await client.connect()
        await closes(client)


@asynchronously
async def test_beyond_the_limit_clients_wait_and_are_served_later() -> None:
    async with running(limits=HttpLimits(connections=2, quiet_seconds=0.05)) as run:
        first, second, third = (Client(run.port) for _ in range(3))
        await first.get()
        await second.get()
        await third.send(request())
        waiting = asyncio.create_task(third.answer())
        await asyncio.sleep(0.05)
        assert (run.server.connections, waiting.done()) == (2, False)
        await first.close()
        assert (await waiting).status == 200
        await second.close()
        await third.close()


def slow_reader(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    return sock


@asynchronously
async def test_a_client_that_does_not_read_is_cut_and_costs_bounded_memory() -> None:
    sent = 0
    most = 1000  # of 64 KiB: far more than the buffers of any kernel
    cut: list[bool] = []

    async def flood(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < most and not cut:
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            sent += 1
            if run.server.connections == 0:
                cut.append(True)

    async with running(flood, limits=HttpLimits(write_seconds=0.3)) as run:
        sock = slow_reader(run.port)
        sock.sendall(request())
        await until(lambda: run.server.connections == 1)
        await until(lambda: run.server.connections == 0)
        await run.lifecycle.inflight.idle()
        assert sent < most
        sock.close()


@asynchronously
async def test_a_client_that_does_not_read_the_end_of_its_answer_is_cut_too() -> None:
    async with running(limits=HttpLimits(write_seconds=0.3, idle_seconds=0.2)) as run:
        sock = slow_reader(run.port)
        sock.sendall(request("/big?10000000"))
        await until(lambda: run.server.connections == 1)
        await until(lambda: run.server.connections == 0)
        sock.close()


@asynchronously
async def test_an_early_answer_reaches_a_client_that_still_sends() -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"2"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"no"})

    async with running(refuse) as run:
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", run.port)) as sock:
            sock.setblocking(False)
            head = b"POST / HTTP/1.1\r\nhost: w\r\ncontent-length: 900000\r\n\r\n"
            await loop.sock_sendall(sock, head + bytes(100))
            data = b""
            while not data.endswith(b"no"):
                data += await loop.sock_recv(sock, 1000)
            await loop.sock_sendall(sock, bytes(1000))
            assert await loop.sock_recv(sock, 1000) == b"", "the end, and no reset"
            await loop.sock_sendall(sock, bytes(1000))


def test_a_limit_of_zero_is_refused() -> None:
    with pytest.raises(InvalidBudget, match="'headers' is 0"):
        HttpLimits(headers=0)


# -- around it --------------------------------------------------------------------------------------


@asynchronously
async def test_tcp_and_unix_sockets_are_served_at_once(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with running(listening=[listen("127.0.0.1", 0), listen_unix(path)]) as run:
        client = Client(run.port)
        assert (await client.get()).status == 200
        local = Client(0)
        local.reader, local.writer = await asyncio.open_unix_connection(str(path))
        assert (await local.get()).status == 200
        await local.close()
        await client.close()
        await run.stop()
    assert not path.exists()


@asynchronously
async def test_a_lifespan_starts_before_and_ends_after_the_requests() -> None:
    lines: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            lines.append("startup")
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            lines.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            lines.append("request")
            await application(scope, receive, send)

    async with running(app, lifespan="on") as run:
        client = Client(run.port)
        await client.get()
        await client.close()
        assert (await run.stop()).exit_code == ExitCode.CLEAN
    assert lines == ["startup", "request", "shutdown"]


@asynchronously
async def test_a_lifespan_that_fails_is_a_component_that_did_not_start() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    listening = [listen("127.0.0.1", 0)]
    lifecycle = Lifecycle()
    lifecycle.add(Server(app, listening, inflight=lifecycle.inflight, lifespan="on"))
    with pytest.raises(StartFailed) as caught:
        await lifecycle.serve(signals=False)
    assert isinstance(caught.value.__cause__, ApplicationFailed)
    listening[0].close()


def certificate(directory: Path) -> ssl.SSLContext:
    """For 127.0.0.1, signed by itself, good for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = directory / "pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@asynchronously
async def test_tls_is_for_tcp_and_a_client_that_does_not_speak_it_is_counted_out(
    tmp_path: Path,
) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    listening = [listen("127.0.0.1", 0), listen_unix(tmp_path / "socket")]
    async with running(listening=listening, tls=certificate(tmp_path)) as run:
        plain = Client(run.port)
        await plain.send(request())
        await rest(plain)
        await until(lambda: run.server.connections == 0)
        local = Client(0)
        local.reader, local.writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
        assert (await local.get()).status == 200
        secret = Client(run.port)
        secret.reader, secret.writer = await asyncio.open_connection(
            "127.0.0.1", run.port, ssl=trusting
        )
        await secret.send(request("/slow?0.1"))
        await until(lambda: run.lifecycle.inflight.requests == 1)
        stopping = asyncio.create_task(run.stop())
        assert (await secret.answer()).headers["connection"] == "close"
        await local.close()
        assert (await stopping).exit_code == ExitCode.CLEAN
