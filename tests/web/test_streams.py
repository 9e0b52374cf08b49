"""Streams: framing, what ends them, slow readers, and what many readers share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.web.asgi import Call, Gate
from walnut.web import streams
from walnut.web.access import ACCESS
from walnut.web.caller import KEY, Caller
from walnut.web.problems import Kind, Problems
from walnut.web.streams import Event, Lines, Recent, ServerSent, Streamed, framing_of


class Numbers:
    """A source of numbers up to what it was told."""

    def __init__(self, upto: int, *, broken: bool = False) -> None:
        self.at = 0
        self.upto = upto
        self.broken = broken
        self.more = asyncio.Event()
        self.takes = 0

    @property
    def position(self) -> str:
        return str(self.at)

    async def take(self) -> Sequence[Event]:
        self.takes += 1
        if self.at == self.upto:
            return ()
        self.at += 1
        return [Event(str(self.at), b'{"n":%d}' % self.at)]

    async def wait(self, timeout: float) -> bool:
        if self.broken:
            raise LookupError("gone")
        try:
            async with asyncio.timeout(timeout):
                await self.more.wait()
        except TimeoutError:
            return False
        self.more.clear()
        return True


PROBLEMS = Problems({LookupError: Kind("gone-away", 410, "It is gone")})


def answering(stream: Streamed, gate: Gate | None = None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope[KEY] = Caller("token:test", ("*",), "r")
        scope[ACCESS] = gate or Gate("token:test", ("*",))
        await stream(scope, receive, send)

    return app


def test_a_bounded_stream_of_lines_is_its_events_and_nothing_else() -> None:
    async def run() -> None:
        stream = Streamed(Numbers(3), Lines(), PROBLEMS, follow=False)
        async with Call(answering(stream), "/") as call:
            assert await call.head() == 200
            assert call.headers["content-type"] == "application/x-ndjson"
            lines = (await call.rest()).splitlines()
            assert lines == ['{"n":1}', '{"n":2}', '{"n":3}']

    asyncio.run(run())


def test_an_sse_event_has_the_position_behind_it_as_its_id() -> None:
    async def run() -> None:
        stream = Streamed(Numbers(2), ServerSent(), PROBLEMS, follow=False)
        async with Call(answering(stream), "/") as call:
            await call.head()
            text = await call.rest()
            assert text.startswith('id: 1\ndata: {"n":1}\n\nid: 2\ndata: {"n":2}\n\n')
            assert 'event: end\nid: 2\nretry: 1000\ndata: {"reason":"complete"' in text

    asyncio.run(run())


def test_a_stream_that_follows_goes_on_when_there_is_more() -> None:
    async def run() -> None:
        source = Numbers(1)
        async with Call(answering(Streamed(source, Lines(), PROBLEMS)), "/") as call:
            await call.head()
            await call.until('{"n":1}')
            source.upto = 2
            source.more.set()
            await call.until('{"n":2}')

    asyncio.run(run())


def test_a_quiet_stream_tells_its_position_as_it_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.01)

    async def run() -> None:
        source = Numbers(1)
        async with Call(answering(Streamed(source, ServerSent(), PROBLEMS)), "/") as call:
            await call.head()
            await call.until('{"n":1}')
            source.at = source.upto = 7  # what a filter left out
            await call.until(": still here\nid: 7\n\n")

    asyncio.run(run())


@pytest.mark.parametrize("framing", [Lines(), ServerSent()])
def test_a_stream_that_is_drained_says_where_to_go_on(framing: Any) -> None:
    async def run() -> None:
        async with Call(answering(Streamed(Numbers(2), framing, PROBLEMS)), "/") as call:
            await call.head()
            await call.until('{"n":2}')
            call.draining.set()
            text = await call.rest()
            assert '"reason":"draining","position":"2"' in text
            assert call.task is not None
            await call.task

    asyncio.run(run())


def test_a_stream_ends_when_its_token_is_not_good_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.01)

    async def run() -> None:
        gate = Gate("token:test", ("*",))
        async with Call(answering(Streamed(Numbers(1), Lines(), PROBLEMS), gate), "/") as call:
            await call.head()
            await call.until('{"n":1}')
            gate.good = False
            assert '"reason":"not-allowed"' in await call.rest()

    asyncio.run(run())


def test_an_error_in_the_middle_is_told_as_a_problem() -> None:
    async def run() -> None:
        stream = Streamed(Numbers(1, broken=True), Lines(), PROBLEMS)
        async with Call(answering(stream), "/") as call:
            await call.head()
            last = json.loads((await call.rest()).splitlines()[-1])["end"]
            assert last["reason"] == "failed"
            assert last["problem"]["type"] == "urn:walnut:problem:gone-away"
            assert last["position"] == "1"

    asyncio.run(run())


def test_a_reader_that_hangs_up_is_noticed_while_nothing_happens() -> None:
    async def run() -> None:
        async with Call(answering(Streamed(Numbers(1), Lines(), PROBLEMS)), "/") as call:
            await call.head()
            await call.until('{"n":1}')
            call.hang_up()
            assert call.task is not None
            await call.task
            assert len(asyncio.all_tasks()) == 1, "nothing of it is left"

    asyncio.run(run())


def test_a_reader_that_takes_nothing_is_cut_off_and_costs_one_batch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "SLOW_SECONDS", 0.05)

    async def run() -> None:
        source = Numbers(1_000_000)
        stream = Streamed(source, Lines(), PROBLEMS)
        async with Call(answering(stream), "/", reads=False) as call:
            assert call.task is not None
            await call.task
            assert len(asyncio.all_tasks()) == 1, "nothing of it is left"
            assert source.takes == 1, "nothing more was read for it"
            assert call.sent == 2, "the head, and the batch that it did not take"
            assert "was cut off" in caplog.text

    asyncio.run(run())


def test_what_a_reader_accepts_says_how_it_gets_its_stream() -> None:
    assert isinstance(framing_of("text/event-stream"), ServerSent)
    assert isinstance(framing_of("application/json, Text/Event-Stream;q=0.9"), ServerSent)
    assert isinstance(framing_of("*/*"), Lines)
    assert isinstance(framing_of(""), Lines)


class Log:
    """Things to read, which counts how often it is read."""

    def __init__(self, upto: int) -> None:
        self.upto = upto
        self.reads = 0

    def read(self, start: int, budget: int) -> list[tuple[int, str, int]]:
        self.reads += 1
        return [(number, f"thing {number}", 10) for number in range(start, self.upto)][
            : max(1, budget // 10)
        ]


def test_many_readers_near_the_end_share_one_reading() -> None:
    log = Log(10)
    recent = Recent(log.read)
    first = recent.take(5)
    assert [thing[0] for thing in first] == [5, 6, 7, 8, 9]
    for start in (5, 6, 9):
        assert [thing[0] for thing in recent.take(start)] == list(range(start, 10))
    assert log.reads == 1
    log.upto = 12
    assert [thing[0] for thing in recent.take(10)] == [10, 11]
    assert [thing[0] for thing in recent.take(8)] == [8, 9, 10, 11]
    assert log.reads == 2


def test_what_is_kept_for_readers_is_bounded_and_never_wrong() -> None:
    log = Log(0)
    recent = Recent(log.read, limit=100)
    for upto in range(1, 200):
        log.upto = upto
        assert recent.take(upto - 1) == log.read(upto - 1, 1000)
        assert len(recent._things) <= 10
    assert [thing[0] for thing in recent.take(0)][:3] == [0, 1, 2], (
        "those far behind read by themselves"
    )
    log.upto = 500
    assert recent.take(450)[0][0] == 450, "a gap is not papered over"
    assert recent.take(199, 10) == [(199, "thing 199", 10)]


def test_a_batch_for_a_reader_is_bounded() -> None:
    recent = Recent(Log(1000).read)
    recent.take(0, 10_000)
    assert len(recent.take(0, 100)) == 10
