"""One webhook is sent, to where it may go, and what came of it is told."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import httpcore
import pytest
import standardwebhooks

from tests.jobs.webhooks.endpoint import OK, Authority, Endpoint, answering
from walnut.jobs.webhooks import (
    AllowedTargets,
    Cause,
    InvalidMessage,
    Outcome,
    Sender,
    SendLimits,
    Verdict,
    classify,
    new_secret,
    sign,
)
from walnut.jobs.webhooks.errors import InvalidSetting
from walnut.jobs.webhooks.sending import MAX_KEPT_BYTES, MAX_RETRY_AFTER, parse_retry_after

PATH = "/in/T0KEN?key=K3Y"
BODY = b'{"secret":"B0DY"}'
LOCAL = ipaddress.ip_network("127.0.0.1/32")
ANY_PORT = frozenset(range(1, 65536))
SHORT = SendLimits(total_seconds=0.3, connect_seconds=0.2)


class Names:
    """A resolver that gives its answers one after another; the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers or (["127.0.0.1"],))
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextlib.asynccontextmanager
async def sending(
    names: Names | None = None,
    *,
    networks: Sequence[str] = ("127.0.0.1/32",),
    limits: SendLimits | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Sender]:
    """A sender that may reach this machine."""
    allowed = AllowedTargets(
        networks=tuple(ipaddress.ip_network(text) for text in networks), ports=ANY_PORT
    )
    plain = tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with Sender(
        allowed, limits, resolver=names or Names(), tls=plain, clock=lambda: 784_111_700_000_000_000
    ) as sender:
        yield sender


def outcome_of(endpoint: Endpoint, limits: SendLimits | None = None) -> Outcome:
    """What comes of one webhook to this endpoint. It never holds anything confidential."""

    async def once() -> Outcome:
        async with endpoint, sending(limits=limits) as sender:
            return await sender.post(f"http://hooks.example:{endpoint.port}{PATH}", {}, BODY)

    outcome = asyncio.run(once())
    for secret in ("T0KEN", "K3Y", "B0DY", "ANSW3R"):
        assert secret not in outcome.detail
        assert secret not in repr(outcome)
    return outcome


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine."""
    asyncio.run(main())


# ---- what is sent


def test_a_webhook_arrives_as_it_was_signed() -> None:
    secret = new_secret(b"s" * 32)

    async def main() -> None:
        async with Endpoint() as endpoint, sending() as sender:
            headers = sign([secret], "msg_1", int(time.time()), BODY)
            outcome = await sender.post(
                f"http://Hooks.example:{endpoint.port}{PATH}",
                headers | {"X-Endpoint-Key": "k", "Content-Type": "application/cloudevents+json"},
                BODY,
            )
        assert outcome.verdict is Verdict.DELIVERED
        assert outcome.status == 200
        assert outcome.address == "127.0.0.1"
        assert outcome.excerpt == b"ok"
        (received,) = endpoint.received
        assert (received.method, received.path) == ("POST", PATH)
        assert received.headers["host"] == f"hooks.example:{endpoint.port}"
        assert received.headers["content-type"] == "application/cloudevents+json"
        assert received.headers["x-endpoint-key"] == "k"
        standardwebhooks.Webhook(secret).verify(received.body, received.headers)

    run(main)


@pytest.mark.parametrize(
    "headers",
    [
        {"x": "a\r\nx-injected: b"},
        {"x\n": "a"},
        {"": "a"},
        {"x": "é"},
        {"x": ""},
        {"Host": "other.example"},
        {"Content-Length": "1"},
        {"transfer-encoding": "chunked"},
        {"x": "a" * 20_000},
    ],
    ids=str,
)
def test_headers_that_could_say_something_else_are_refused(headers: dict[str, str]) -> None:
    async def main() -> None:
        async with Endpoint() as endpoint, sending() as sender:
            with pytest.raises(InvalidMessage):
                await sender.post(f"http://hooks.example:{endpoint.port}/", headers, BODY)
        assert not endpoint.received

    run(main)


def test_nothing_confidential_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    outcome_of(Endpoint())
    for secret in ("T0KEN", "K3Y", "B0DY"):
        assert secret not in caplog.text


def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert outcome_of(Endpoint()).verdict is Verdict.DELIVERED


def test_without_the_extra_it_is_named() -> None:
    for missing in ("httpcore", "idna"):
        code = f"import sys; sys.modules[{missing!r}] = None; import walnut.jobs.webhooks"
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert "pip install 'walnutdb[jobs]'" in ended.stderr.splitlines()[-1]


# ---- where it goes


def test_a_name_that_is_rebound_after_the_check_does_not_matter() -> None:
    async def main() -> None:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        async with (
            Endpoint() as outside,
            Endpoint(address="127.0.0.2", port=outside.port) as inside,
            sending(names) as sender,
        ):
            url = f"http://rebind.example:{outside.port}/"
            first = await sender.post(url, {}, BODY)
            assert first.verdict is Verdict.DELIVERED
            assert names.asked == ["rebind.example"]
            second = await sender.post(url, {}, BODY)
            assert second.verdict is Verdict.PERMANENT
            assert second.cause is Cause.REFUSED
            assert "127.0.0.2" in second.detail
            assert len(outside.received) == 1
            assert inside.connections == 0

    run(main)


def test_a_redirect_to_the_metadata_address_is_not_followed() -> None:
    location = b"http://169.254.169.254/latest/meta-data/ANSW3R"
    for status in (301, 302, 303, 307, 308):
        endpoint = Endpoint(
            b"HTTP/1.1 %d Moved\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n" % (status, location)
        )
        outcome = outcome_of(endpoint)
        assert outcome.verdict is Verdict.PERMANENT
        assert outcome.cause is Cause.REDIRECT
        assert outcome.status == status
        assert "not followed" in outcome.detail
        assert endpoint.connections == 1


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/", "http://[::1]/", "ftp://hooks.example/", "http://a:b@hooks.example/"],
)
def test_what_the_guard_refuses_is_a_permanent_failure(url: str) -> None:
    async def main() -> None:
        async with sending() as sender:
            outcome = await sender.post(url, {}, BODY)
        assert outcome.verdict is Verdict.PERMANENT
        assert outcome.cause is Cause.REFUSED
        assert outcome.status is None

    run(main)


def test_a_name_nobody_knows_is_tried_again_later() -> None:
    async def main() -> None:
        async with sending(Names([])) as sender:
            outcome = await sender.post("http://no.example/", {}, BODY)
        assert outcome.verdict is Verdict.TRANSIENT
        assert outcome.cause is Cause.HOST_UNKNOWN

    run(main)


def test_the_next_address_is_tried_if_one_does_not_answer() -> None:
    async def main() -> None:
        names = Names(["127.0.0.3", "127.0.0.1"])
        async with Endpoint() as endpoint, sending(names, networks=["127.0.0.0/8"]) as sender:
            outcome = await sender.post(f"http://two.example:{endpoint.port}/", {}, BODY)
        assert outcome.verdict is Verdict.DELIVERED
        assert outcome.address == "127.0.0.1"

    run(main)


def test_a_connection_is_used_again() -> None:
    async def main() -> None:
        async with Endpoint() as endpoint, sending() as sender:
            for _ in range(3):
                await sender.post(f"http://hooks.example:{endpoint.port}/", {}, BODY)
        assert len(endpoint.received) == 3
        assert endpoint.connections == 1

    run(main)


def test_a_connection_is_not_used_for_another_name_or_another_address() -> None:
    async def main() -> None:
        names = Names(["127.0.0.1"], ["127.0.0.1"], ["127.0.0.2"])
        async with (
            Endpoint() as one,
            Endpoint(address="127.0.0.2", port=one.port) as two,
            sending(names, networks=["127.0.0.0/8"]) as sender,
        ):
            for host in ("a.example", "b.example", "a.example"):
                await sender.post(f"http://{host}:{one.port}/", {}, BODY)
        assert one.connections == 2
        assert two.connections == 1

    run(main)


def test_the_network_beneath_connects_to_nothing_but_a_pinned_address() -> None:
    async def main() -> None:
        async with sending() as sender:
            for host in ("localhost", "127.0.0.1", "|127.0.0.1"):
                with pytest.raises((AssertionError, ValueError)):
                    await sender._pool.request("POST", f"http://{host}:9/")
            with pytest.raises(ValueError):
                await sender._pool.request(
                    "POST", httpcore.URL(scheme="http", host="x|localhost", port=9, target="/")
                )

    run(main)


# ---- what comes back


def status_line(status: int, *headers: str) -> bytes:
    """An answer with this status and no body."""
    lines = [f"HTTP/1.1 {status} X", *headers, "content-length: 0", "", ""]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    assert outcome_of(Endpoint(status_line(status))).verdict is Verdict.DELIVERED


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599, 999])
def test_what_may_pass_is_transient(status: int) -> None:
    outcome = outcome_of(Endpoint(status_line(status)))
    assert outcome.verdict is Verdict.TRANSIENT
    assert outcome.cause is Cause.STATUS
    assert outcome.status == status


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422, 451])
def test_another_4xx_is_permanent(status: int) -> None:
    outcome = outcome_of(Endpoint(status_line(status)))
    assert outcome.verdict is Verdict.PERMANENT
    assert not outcome.gone


def test_410_says_that_the_endpoint_is_gone() -> None:
    outcome = outcome_of(Endpoint(status_line(410)))
    assert outcome.verdict is Verdict.PERMANENT
    assert outcome.gone
    assert "disable" in outcome.detail


@pytest.mark.parametrize("status", [101, 304])
def test_what_is_no_answer_to_a_webhook_is_permanent(status: int) -> None:
    assert classify(status).verdict is Verdict.PERMANENT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("9" * 500, MAX_RETRY_AFTER),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 77),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 77),
        ("Sun Nov  6 08:49:37 1994", 77),
        ("Sun, 06 Nov 1994 10:49:37 +0200", 77),
        ("Sat, 05 Nov 1994 08:49:37 GMT", 0),
        ("Sun, 06 Nov 2094 08:49:37 GMT", MAX_RETRY_AFTER),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 99999999999 08:49:37 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_bounded(value: str, seconds: int | None) -> None:
    assert parse_retry_after(value, 784_111_700_000_000_000) == seconds


def test_an_endpoint_may_ask_for_patience() -> None:
    for header in ("Retry-After: 77", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT"):
        for status in (429, 503):
            assert outcome_of(Endpoint(status_line(status, header))).retry_after == 77
        assert outcome_of(Endpoint(status_line(404, header))).retry_after is None
    assert outcome_of(Endpoint(status_line(503, "Retry-After: soon"))).retry_after is None


def test_a_huge_answer_is_cut_and_still_counts() -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"ANSW3R" * 10_000)
            written += 60_000
            await writer.drain()

    outcome = outcome_of(Endpoint(flood))
    assert outcome.verdict is Verdict.DELIVERED
    assert outcome.excerpt == (b"ANSW3R" * 1000)[:MAX_KEPT_BYTES]
    assert written < 50_000_000  # no more than the buffers on the way hold


def test_a_compressed_answer_is_not_unpacked() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n"
    assert outcome_of(Endpoint(head + b"\x1f\x8b\x08\x00")).excerpt == b"\x1f\x8b\x08\x00"


def test_endless_headers_are_a_broken_connection() -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"x-header: ANSW3R\r\n" * 1000)
            await writer.drain()

    assert outcome_of(Endpoint(flood)).cause is Cause.CONNECTION


def test_an_endpoint_that_hangs_is_left_after_the_time_given() -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    began = time.monotonic()
    outcome = outcome_of(Endpoint(hang), SHORT)
    assert outcome.verdict is Verdict.TRANSIENT
    assert outcome.cause is Cause.TIMEOUT
    assert time.monotonic() - began < 10


def test_an_endpoint_that_drips_its_headers_is_left_after_the_time_given() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.02)

    assert outcome_of(Endpoint(drip), SHORT).cause is Cause.TIMEOUT


def test_once_the_status_has_come_the_rest_changes_nothing() -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nhalf")
        await asyncio.sleep(60)

    async def break_off(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    for answer in (hang, break_off):
        outcome = outcome_of(Endpoint(answer), SHORT)
        assert outcome.verdict is Verdict.DELIVERED
        assert outcome.excerpt == b"half"


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    """Reset without an answer."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@pytest.mark.parametrize("answer", [hang_up, reset, answering(b"ANSW3R, not HTTP\r\n\r\n")])
def test_a_connection_that_breaks_is_tried_again_later(
    answer: Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]],
) -> None:
    outcome = outcome_of(Endpoint(answer))
    assert outcome.verdict is Verdict.TRANSIENT
    assert outcome.cause is Cause.CONNECTION


def test_nobody_at_the_port_is_tried_again_later() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]

        async def main() -> None:
            async with sending() as sender:
                outcome = await sender.post(f"http://hooks.example:{port}/", {}, BODY)
            assert outcome.verdict is Verdict.TRANSIENT
            assert outcome.cause is Cause.CONNECTION

        run(main)


def test_a_resolver_that_hangs_is_left_after_the_time_given() -> None:
    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    async def main() -> None:
        async with Sender(limits=SHORT, resolver=hang) as sender:
            outcome = await sender.post("https://slow.example/", {}, BODY)
        assert outcome.cause is Cause.TIMEOUT

    run(main)


def test_waiting_for_a_turn_does_not_count_as_the_endpoints_time() -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(OK)

    async def main() -> None:
        limits = SendLimits(total_seconds=1.0, connections=1)
        async with Endpoint(slow) as endpoint, sending(limits=limits) as sender:
            url = f"http://hooks.example:{endpoint.port}/"
            outcomes = await asyncio.gather(*(sender.post(url, {}, BODY) for _ in range(7)))
        assert {outcome.verdict for outcome in outcomes} == {Verdict.DELIVERED}

    run(main)


def test_cancelling_ends_the_sending_and_leaves_the_sender_usable() -> None:
    async def main() -> None:
        arrived = asyncio.Event()

        async def hang(writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await asyncio.sleep(60)

        async with Endpoint(hang) as endpoint, sending() as sender:
            url = f"http://hooks.example:{endpoint.port}/"
            task = asyncio.create_task(sender.post(url, {}, BODY))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            endpoint.answer = answering(OK)
            assert (await sender.post(url, {}, BODY)).verdict is Verdict.DELIVERED

    run(main)


@pytest.mark.parametrize("limits", [{"total_seconds": 0}, {"connections": 0}])
def test_limits_that_cannot_work_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        SendLimits(**limits)


# ---- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one that the sender trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


def tls_outcome(endpoint: Endpoint, trusted: ssl.SSLContext, host: str) -> Outcome:
    """What comes of one webhook over TLS."""

    async def once() -> Outcome:
        async with endpoint, sending(tls=trusted) as sender:
            return await sender.post(f"https://{host}:{endpoint.port}/", {}, BODY)

    return asyncio.run(once())


def test_the_certificate_is_checked_for_the_name_although_the_address_is_called(
    authority: Authority,
) -> None:
    endpoint = Endpoint(tls=authority.serving("hooks.example"))
    outcome = tls_outcome(endpoint, authority.trusted(), "hooks.example")
    assert outcome.verdict is Verdict.DELIVERED
    assert outcome.address == "127.0.0.1"
    assert endpoint.names == ["hooks.example"]
    assert endpoint.received[0].headers["host"] == f"hooks.example:{endpoint.port}"


def test_an_address_in_the_url_needs_a_certificate_for_the_address(authority: Authority) -> None:
    endpoint = Endpoint(tls=authority.serving("127.0.0.1"))
    outcome = tls_outcome(endpoint, authority.trusted(), "127.0.0.1")
    assert outcome.verdict is Verdict.DELIVERED
    endpoint = Endpoint(tls=authority.serving("hooks.example"))
    outcome = tls_outcome(endpoint, authority.trusted(), "127.0.0.1")
    assert outcome.cause is Cause.CERTIFICATE


def test_a_certificate_that_is_not_accepted_is_a_permanent_failure(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path)
    cases = [
        (authority.serving("other.example", "127.0.0.1"), "mismatch"),
        (authority.serving("hooks.example", expired=True), "expired"),
        (other.serving("hooks.example"), "unable to get local issuer certificate"),
    ]
    for serving, words in cases:
        endpoint = Endpoint(tls=serving)
        outcome = tls_outcome(endpoint, authority.trusted(), "hooks.example")
        assert outcome.verdict is Verdict.PERMANENT
        assert outcome.cause is Cause.CERTIFICATE
        assert words in outcome.detail
        assert not endpoint.received


def test_the_systems_authorities_are_asked_by_default(authority: Authority) -> None:
    async def main() -> None:
        endpoint = Endpoint(tls=authority.serving("hooks.example"))
        allowed = AllowedTargets(networks=(LOCAL,), ports=ANY_PORT)
        async with endpoint, Sender(allowed, resolver=Names()) as sender:
            outcome = await sender.post(f"https://hooks.example:{endpoint.port}/", {}, BODY)
        assert outcome.cause is Cause.CERTIFICATE

    run(main)


def test_a_server_that_speaks_no_tls_is_tried_again_later(authority: Authority) -> None:
    async def main() -> None:
        tls = authority.trusted()
        async with Endpoint() as endpoint, sending(tls=tls, limits=SHORT) as sender:
            outcome = await sender.post(f"https://hooks.example:{endpoint.port}/", {}, BODY)
        assert outcome.verdict is Verdict.TRANSIENT

    run(main)


def test_names_at_one_address_do_not_share_a_connection(authority: Authority) -> None:
    async def main() -> None:
        endpoint = Endpoint(tls=authority.serving("a.example"))
        async with endpoint, sending(tls=authority.trusted()) as sender:
            first = await sender.post(f"https://a.example:{endpoint.port}/", {}, BODY)
            second = await sender.post(f"https://b.example:{endpoint.port}/", {}, BODY)
        assert first.verdict is Verdict.DELIVERED
        assert second.cause is Cause.CERTIFICATE
        assert [received.headers["host"] for received in endpoint.received] == [
            f"a.example:{endpoint.port}"
        ]

    run(main)
