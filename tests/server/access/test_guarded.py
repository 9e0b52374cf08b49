"""What is in front of every route: ids, limits, time, streams that end with their token, the log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.access.asking import DAY, ROOT, World, ask, scope_of
from walnut.server.access.limits import Limits
from walnut.server.access.middleware import Guarded
from walnut.web.asgi import App, Message, Receive, Scope, Send
from walnut.web.bodies import take_any_length
from walnut.web.caller import caller_of

pytestmark = pytest.mark.anyio
FEW = Limits(requests=3, requests_of_one=2, streams=2, streams_of_one=1, body=10, request_seconds=5)
FAST, PLAIN = "/v1/fast/orders", "/v1/plain/orders"
LANES = pytest.mark.parametrize("lane", ["fast", "plain"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, limits=FEW)
    yield made
    made.store.close()


def around(world: World, app: App) -> Guarded:
    return Guarded(app, world.gate, world.problems, FEW, clock=world.clock)


# -- request ids ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("request-id", "abc-123")], "abc-123"),
        ([("x-request-id", "abc.123")], "abc.123"),
        ([("request-id", "one"), ("x-request-id", "two")], "one"),
        (
            [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
    ],
)
async def test_a_request_keeps_the_id_it_came_with(
    world: World, headers: list[tuple[str, str]], expected: str
) -> None:
    answer = await ask(world.app, "GET", "/v1/whoami", *headers, token=world.operator)
    assert answer.headers["request-id"] == expected
    refused = await ask(world.app, "GET", "/v1/whoami", *headers)
    assert refused.headers["request-id"] == refused.document["request_id"] == expected


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("request-id", ""),
        ("request-id", "a" * 129),
        ("request-id", "a b"),
        ("request-id", "a\nb"),
        ("x-request-id", "ünder"),
        ("request-id", '"><script>'),
        ("traceparent", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"),
        ("traceparent", "nonsense"),
    ],
)
async def test_an_id_that_is_not_plain_is_replaced(world: World, name: str, bad: str) -> None:
    first = await ask(world.app, "GET", "/v1/whoami", (name, bad), token=world.operator)
    second = await ask(world.app, "GET", "/v1/whoami", (name, bad), token=world.operator)
    ids = {first.headers["request-id"], second.headers["request-id"]}
    assert len(ids) == 2
    assert bad not in ids
    assert first.status == 200


# -- how much at a time --------------------------------------------------------------------------


@LANES
async def test_what_is_over_a_limit_is_refused_at_once_and_can_come_again(
    world: World, lane: str
) -> None:
    texts = [world.token(name, "*")[1] for name in ("one", "two")]
    path = f"/v1/{lane}/orders/slow"
    running = [
        asyncio.create_task(ask(world.app, "GET", path, token=text))
        for text in (texts[0], texts[0], texts[1])
    ]
    for _ in running:
        await world.slow.entered.acquire()
    mine = await ask(world.app, "GET", "/v1/whoami", token=texts[0])
    assert (mine.status, mine.slug, mine.headers["retry-after"]) == (503, "overloaded", "1")
    world.slow.go.set()
    assert [task.status for task in await asyncio.gather(*running)] == [200] * 3
    assert world.app.requests.running == 0
    assert (await ask(world.app, "GET", "/v1/whoami", token=texts[0])).status == 200


async def test_one_principal_does_not_take_all(world: World) -> None:
    _, text = world.token("greedy", "*")
    running = [
        asyncio.create_task(ask(world.app, "GET", f"{FAST}/slow", token=text)) for _ in range(2)
    ]
    for _ in running:
        await world.slow.entered.acquire()
    mine = await ask(world.app, "GET", "/v1/whoami", token=text)
    assert (mine.status, mine.slug) == (429, "too-many-requests")
    assert mine.headers["retry-after"] == "1"
    assert (await ask(world.app, "GET", "/v1/whoami", token=world.operator)).status == 200
    world.slow.go.set()
    await asyncio.gather(*running)


@LANES
@pytest.mark.parametrize("body", [b'{"n": 1234}', [b'{"n": ', b"1234}"]])
async def test_a_body_over_the_limit_is_refused_in_whatever_pieces(
    world: World, lane: str, body: Any
) -> None:
    answer = await ask(world.app, "POST", f"/v1/{lane}/o", body=body, token=world.operator)
    assert (answer.status, answer.slug) == (413, "too-large")
    small = await ask(world.app, "POST", f"/v1/{lane}/o", body=b'{"n": 1}', token=world.operator)
    assert small.status == 201


async def test_a_route_that_takes_any_length_does(world: World) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        take_any_length(scope)
        size = 0
        while (message := await receive()).get("more_body"):
            size += len(message["body"])
            world.clock.now += 100
            world.app.sweep()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
        )
        await send({"type": "http.response.body", "body": b"%d" % size})

    answer = await ask(around(world, app), "PUT", "/x", body=[b"12345"] * 20, token=world.operator)
    assert answer.body == b"95"


# -- time ----------------------------------------------------------------------------------------


@LANES
async def test_a_request_that_takes_too_long_is_ended(world: World, lane: str) -> None:
    path = f"/v1/{lane}/orders/slow"
    asking = asyncio.create_task(ask(world.app, "GET", path, token=world.operator))
    await world.slow.entered.acquire()
    world.clock.now += 4
    world.app.sweep()
    world.clock.now += 2
    world.app.sweep()
    answer = await asking
    assert (answer.status, answer.slug) == (503, "timeout")
    assert world.app.requests.running == 0


@LANES
async def test_a_body_that_does_not_come_in_time_is_refused(world: World, lane: str) -> None:
    async def never() -> Message:
        waiting.set()
        await asyncio.Event().wait()
        raise AssertionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    waiting = asyncio.Event()
    headers = [("authorization", f"Bearer {world.operator}")]
    scope = scope_of("POST", f"/v1/{lane}/orders", headers)
    task = asyncio.create_task(world.app(scope, never, send))
    await waiting.wait()
    world.clock.now += 6
    world.app.sweep()
    await task
    assert sent[0]["status"] == 408


async def test_a_cancellation_from_outside_is_none_of_ours(world: World) -> None:
    asking = asyncio.create_task(ask(world.app, "GET", f"{FAST}/slow", token=world.operator))
    await world.slow.entered.acquire()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert world.app.requests.running == 0


@LANES
@pytest.mark.parametrize("first", [[], [{"type": "http.request", "body": b"{", "more_body": True}]])
async def test_who_hangs_up_leaves_nothing_behind_and_is_no_error(
    world: World, lane: str, first: list[Message], caplog: pytest.LogCaptureFixture
) -> None:
    coming = list(first)

    async def gone() -> Message:
        return coming.pop() if coming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        assert message.get("status", 400) == 400

    headers = [("authorization", f"Bearer {world.operator}")]
    await world.app(scope_of("POST", f"/v1/{lane}/orders", headers), gone, send)
    assert world.app.requests.running == 0
    assert caplog.records == []


# -- streams -------------------------------------------------------------------------------------


class Streams:
    """An app that streams whenever it is told, by HTTP or WebSocket."""

    def __init__(self) -> None:
        self.open = asyncio.Semaphore(0)
        self.tick = asyncio.Event()
        self.ended: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = caller_of(scope).principal
        try:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
                self.open.release()
                await self.tick.wait()
                await send({"type": "websocket.send", "text": "late"})
            else:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"one\n", "more_body": True})
                self.open.release()
                await self.tick.wait()
                await send({"type": "http.response.body", "body": b"late\n", "more_body": False})
        finally:
            self.ended.append(name)


def open_(app: App, kind: str, text: str, sent: list[Message]) -> asyncio.Task[None]:
    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = scope_of("GET", "/stream", [("authorization", f"Bearer {text}")], type=kind)
    return asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]


KINDS = pytest.mark.parametrize("kind", ["http", "websocket"])


@KINDS
@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_an_open_stream_is_cut_when_its_token_ends(world: World, kind: str, how: str) -> None:
    app = Streams()
    guarded = around(world, app)
    _, text = world.token("ci", "*", expires=world.clock.ns() + DAY)
    sent: list[Message] = []
    task = open_(guarded, kind, text, sent)
    await app.open.acquire()
    guarded.sweep()
    assert app.ended == []
    if how == "revoked":
        await world.tokens.revoke("ci", ROOT)
    else:
        world.clock.now += 86_400
    guarded.sweep()
    await task
    assert app.ended == ["token:ci"]
    assert not any(b"late" in one.get("body", b"") or one.get("text") == "late" for one in sent)
    assert guarded.streams.running == 0
    if kind == "websocket":
        assert sent[-1] == {
            "type": "websocket.close", "code": 1008, "reason": "not allowed any more",
        }  # fmt: skip


@KINDS
async def test_not_one_more_byte_goes_to_who_was_revoked(world: World, kind: str) -> None:
    app = Streams()
    guarded = around(world, app)
    _, text = world.token("ci", "*")
    sent: list[Message] = []
    task = open_(guarded, kind, text, sent)
    await app.open.acquire()
    await world.tokens.revoke("ci", ROOT)
    app.tick.set()  # before any clock has looked
    await task
    assert not any(b"late" in one.get("body", b"") or one.get("text") == "late" for one in sent)


async def test_a_framework_that_wraps_what_is_raised_makes_no_error_of_a_revoked_token(
    world: World,
) -> None:
    app = Streams()

    async def wrapping(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:  # as Litestar does once the answer has begun
            raise RuntimeError("raised after the answer had begun") from error

    guarded = around(world, wrapping)
    _, text = world.token("ci", "*")
    task = open_(guarded, "http", text, [])
    await app.open.acquire()
    await world.tokens.revoke("ci", ROOT)
    app.tick.set()
    await task


async def test_streams_have_places_of_their_own_and_no_time_limit(world: World) -> None:
    app = Streams()
    guarded = around(world, app)
    sent: list[Message] = []
    task = open_(guarded, "http", world.operator, sent)
    await app.open.acquire()
    assert (guarded.requests.running, guarded.streams.running) == (0, 1)
    world.clock.now += 1000
    guarded.sweep()
    more = await ask(guarded, "GET", "/stream", token=world.operator)
    assert (more.status, more.slug) == (429, "too-many-requests")
    socket: list[Message] = []
    await open_(guarded, "websocket", world.operator, socket)
    assert [one["type"] for one in socket] == ["websocket.close"]
    app.tick.set()
    await task
    assert sent[-1]["body"] == b"late\n"
    assert guarded.streams.running == 0


async def test_a_websocket_without_a_credential_is_answered_with_a_problem_if_it_can_be(
    world: World,
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = scope_of("GET", "/v1/x", type="websocket", extensions={"websocket.http.response": {}})
    await world.app(scope, receive, send)
    assert sent[0]["status"] == 401
    assert b"urn:walnut:problem:unauthenticated" in sent[1]["body"]


# -- headers that mean something -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("idempotency-key", "a" * 255)], 200),
        ([("idempotency-key", '"quoted"')], 200),
        ([("idempotency-key", "")], 400),
        ([("idempotency-key", "a" * 256)], 400),
        ([("idempotency-key", "ä")], 400),
        ([("idempotency-key", "a"), ("idempotency-key", "b")], 400),
        ([("walnut-reason", "because äöü".encode())], 200),
        ([("walnut-reason", b"\xff")], 400),
        ([("walnut-reason", b"a" * 1025)], 400),
        ([("walnut-reason", b"a\x00b")], 400),
    ],
)
async def test_conventional_headers_are_checked_before_anything_is_done(
    world: World, headers: list[tuple[str, str | bytes]], status: int
) -> None:
    answer = await ask(world.app, "GET", "/v1/whoami", *headers, token=world.operator)
    assert answer.status == status


# -- the log -------------------------------------------------------------------------------------


async def test_a_request_is_a_line_in_the_log_without_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, log_all=True)
    path = "/v1/fast/orders?limit=3&password=hunter2"
    await ask(world.app, "GET", path, ("cookie", "a=hunter3"), token=world.operator)
    logged = capsys.readouterr().out
    for part in ("method=GET", "/v1/fast/orders", "status=200", "token:operator", "bytes=23"):
        assert part in logged, logged
    for secret in ("hunter2", "hunter3", world.operator, world.operator.rpartition("_")[2]):
        assert secret not in logged
    await asyncio.to_thread(world.store.close)


@LANES
async def test_an_error_nobody_has_named_says_nothing_but_its_request_id(
    world: World, lane: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    send = b'{"n": 666}'
    path = f"/v1/{lane}/o"
    answer = await ask(
        world.app, "POST", path, ("request-id", "r-1"), body=send, token=world.operator
    )
    assert (answer.status, answer.slug) == (500, "internal")
    assert answer.document["request_id"] == "r-1"
    assert b"secret" not in answer.body
    assert "r-1" in caplog.text
    assert "Broken: a secret that nobody is told" in caplog.text
    assert "status=500" in capsys.readouterr().out
