"""Sending: one POST to a URL, and what came of it.

    url ──guard──▶ name and addresses ──connect to the address──▶ TLS and Host by the name ──▶ Outcome

A connection belongs to a name and an address together. The pool beneath is given both as one name,
"hooks.example.com|203.0.113.7", so that it never reuses a connection for another of either: a
certificate was checked for one name, and another name at the same address may be somebody else.

What must stay true: a connection is made to an address the guard has passed, and to nothing else (no
proxy, no redirect, no second look at the DNS); once a status has come, it decides, whatever happens to
the rest of the answer; nothing that goes wrong outside raises.

Left out on purpose: retries, which are the job's; cookies; HTTP/2; decompression.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import email.utils
import enum
import ipaddress
import math
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self

import httpcore
import msgspec

from walnut.jobs.webhooks.errors import (
    HostUnknown,
    InvalidMessage,
    InvalidSetting,
    TargetRefused,
)
from walnut.jobs.webhooks.guard import PUBLIC, AllowedTargets, Resolver, Target, pin, resolve

MAX_READ_BYTES: Final = 64 * 1024
"""Of a body that comes back: enough to end a small one properly and keep the connection."""
MAX_KEPT_BYTES: Final = 1024
"""Of it, for a person to read."""
MAX_RETRY_AFTER: Final = 86_400
"""Seconds. An endpoint may ask for a day's patience, not for being forgotten."""
MAX_HEADER_BYTES: Final = 16 * 1024
IDLE_SECONDS: Final = 15.0
"""A connection unused for so long is closed: about as long as servers keep one."""


class Verdict(enum.Enum):
    """What a job should make of it."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"
    """Try again later."""
    PERMANENT = "permanent"
    """Trying again would not help: somebody has to change something."""


class Cause(enum.Enum):
    """What decided."""

    STATUS = "status"
    """The status, be it good or bad."""
    REDIRECT = "redirect"
    REFUSED = "refused"
    """By the guard."""
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    """It could not be made, or broke."""
    HOST_UNKNOWN = "host-unknown"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt.

    Attributes:
        detail: a sentence for a person; it holds no secret, no body, and of the URL only the host.
        status: if one came.
        retry_after: seconds the endpoint asked to be left alone for, at most MAX_RETRY_AFTER.
        gone: the endpoint says that it wants no webhooks any more: disable it.
        address: the one that was connected to.
        excerpt: the beginning of the body that came back. Whose it is decides who may read it.
    """

    verdict: Verdict
    cause: Cause
    detail: str
    status: int | None = None
    retry_after: int | None = None
    gone: bool = False
    address: str | None = None
    excerpt: bytes = b""

    def __repr__(self) -> str:
        """Without the excerpt, so that it doesn't get into logs."""
        return f"<Outcome {self.verdict.value}: {self.detail}>"


class SendLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long sending may take, and how much at once.

    Attributes:
        total_seconds: for everything, from resolving the name to the end of the answer. Standard
            Webhooks recommends 15 to 30.
        connect_seconds: for each address that is tried.
        connections: at the same time; what is over that waits for its turn before its time begins.
    """

    total_seconds: float = 20.0
    connect_seconds: float = 5.0
    connections: int = 64

    def __post_init__(self) -> None:
        """Refuse what can't work, by name."""
        for name, value, low, high in (
            ("total_seconds", self.total_seconds, 0.001, 3600),
            ("connect_seconds", self.connect_seconds, 0.001, 3600),
            ("connections", self.connections, 1, 10_000),
        ):
            if not low <= value <= high:
                raise InvalidSetting(f"{name} is {value}: it must be from {low} to {high}")


class Sender:
    """Sends webhooks and keeps connections for a while. For one event loop.

    Attributes:
        tls: None: certificates are checked against the system's authorities and certifi's.
        clock: nanoseconds since the Unix epoch; to read a Retry-After that is a date.
    """

    def __init__(
        self,
        allowed: AllowedTargets = PUBLIC,
        limits: SendLimits | None = None,
        *,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.allowed = allowed
        self.limits = limits or SendLimits()
        self._resolver = resolver
        self._clock = clock
        self._turns = asyncio.Semaphore(self.limits.connections)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or httpcore.default_ssl_context(),
            max_connections=self.limits.connections,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=_PinnedNetwork(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Send one webhook, once. Its headers are those of `sign` and the endpoint's own.

        Raises InvalidMessage for headers that can't be sent, and nothing else."""
        checked = _checked(headers)
        async with self._turns:
            deadline = asyncio.get_running_loop().time() + self.limits.total_seconds
            try:
                async with asyncio.timeout_at(deadline):
                    target = await pin(url, self.allowed, self._resolver)
                    address, response = await self._send(target, checked, body)
            except (TimeoutError, httpcore.TimeoutException):
                return _no_answer(
                    Cause.TIMEOUT, f"no answer within {self.limits.total_seconds:g} seconds"
                )
            except TargetRefused as error:
                return Outcome(verdict=Verdict.PERMANENT, cause=Cause.REFUSED, detail=str(error))
            except HostUnknown as error:
                return _no_answer(Cause.HOST_UNKNOWN, str(error))
            except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
                return _broken(error)
            excerpt = await _excerpt(response, deadline)
        patience = _retry_after(response.headers, self._clock())
        return classify(response.status, patience, address, excerpt)

    async def _send(
        self, target: Target, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> tuple[str, httpcore.Response]:
        """Try one address after another until there is a connection, and send over that one."""
        for address in target.addresses:
            request = _request(target, address, headers, body, self.limits.connect_seconds)
            try:
                return address, await self._pool.handle_async_request(request)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                # Nothing of the request has been sent yet.
                if address == target.addresses[-1] or _certificate_error(error) is not None:
                    raise
        raise AssertionError("a target has at least one address")


def classify(
    status: int,
    retry_after: int | None = None,
    address: str | None = None,
    excerpt: bytes = b"",
) -> Outcome:
    """What a status means for a webhook."""
    verdict, cause, gone = Verdict.PERMANENT, Cause.STATUS, False
    if 200 <= status <= 299:
        verdict, detail = Verdict.DELIVERED, "delivered"
    elif 300 <= status <= 399:
        cause, detail = Cause.REDIRECT, "a redirect, which is not followed: change the URL"
    elif status in _TRY_AGAIN or status >= 500:  # beyond 599 is invalid and counts as 5xx
        verdict, detail = Verdict.TRANSIENT, "to be tried again"
    elif status == 410:
        gone, detail = True, "the endpoint wants no more webhooks: disable it"
    else:
        detail = "the endpoint does not take this webhook"
    return Outcome(
        verdict=verdict,
        cause=cause,
        detail=f"answered {status}, {detail}",
        status=status,
        retry_after=retry_after if verdict is Verdict.TRANSIENT else None,
        gone=gone,
        address=address,
        excerpt=excerpt[:MAX_KEPT_BYTES],
    )


_TRY_AGAIN: Final = frozenset({408, 425, 429})


def parse_retry_after(value: str, now_ns: int) -> int | None:
    """The seconds of a Retry-After, given as seconds or as a date; None if it is neither."""
    value = value.strip()
    if _DIGITS.fullmatch(value):
        return min(int(value[:20]), MAX_RETRY_AFTER)  # 20 digits are beyond the maximum anyway
    try:
        date = email.utils.parsedate_to_datetime(value)
        moment = date if date.tzinfo else date.replace(tzinfo=dt.UTC)
        seconds = math.ceil(moment.timestamp() - now_ns / 1e9)
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0), MAX_RETRY_AFTER)


_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)


def _retry_after(headers: Iterable[tuple[bytes, bytes]], now_ns: int) -> int | None:
    for name, value in headers:
        if name.lower() == b"retry-after":
            return parse_retry_after(value.decode("latin-1"), now_ns)
    return None


async def _excerpt(response: httpcore.Response, deadline: float) -> bytes:
    """The beginning of the body, as far as it comes in time and in one piece."""
    kept, read = bytearray(), 0
    try:
        with contextlib.suppress(
            OSError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError
        ):
            async with asyncio.timeout_at(deadline):
                async for part in response.aiter_stream():
                    kept += part[: MAX_KEPT_BYTES - len(kept)]
                    read += len(part)
                    if read >= MAX_READ_BYTES:
                        break
    finally:
        await response.aclose()  # a connection with something left to read is not used again
    return bytes(kept)


def _no_answer(cause: Cause, detail: str) -> Outcome:
    return Outcome(verdict=Verdict.TRANSIENT, cause=cause, detail=detail)


def _broken(error: Exception) -> Outcome:
    """In words of our own: the library's may quote what the endpoint sent."""
    refusal = _certificate_error(error)
    if refusal is not None:
        return Outcome(
            verdict=Verdict.PERMANENT,
            cause=Cause.CERTIFICATE,
            detail=f"the endpoint's certificate is not accepted: {refusal.verify_message}",
        )
    if isinstance(error, httpcore.ConnectError):
        return _no_answer(Cause.CONNECTION, "no connection could be made")
    if isinstance(error, httpcore.ProtocolError):
        return _no_answer(Cause.CONNECTION, "the connection ended early, or the answer is no HTTP")
    return _no_answer(Cause.CONNECTION, "the connection broke")


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """It is somewhere among the causes; how deep depends on the library."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None


_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE: Final = re.compile(r"[!-~]([ -~\t]*[!-~])?", re.ASCII)
_OURS: Final = frozenset({
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te",
    "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip


def _checked(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The caller's headers. Raises InvalidMessage."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise InvalidMessage(
                f"the header {name[:40]!r} can't be sent: use visible ASCII, on one line"
            )
        if name.lower() in _OURS:
            raise InvalidMessage(f"the header {name!r} is set by the sender: leave it out")
    given = {"content-type": "application/json", "user-agent": "Walnut"}
    given |= {name.lower(): value for name, value in headers.items()}
    if sum(len(name) + len(value) for name, value in given.items()) > MAX_HEADER_BYTES:
        raise InvalidMessage(f"the headers take more than {MAX_HEADER_BYTES} bytes: send fewer")
    return [(name.encode(), value.encode()) for name, value in given.items()]


def _request(
    target: Target,
    address: str,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    connect_seconds: float,
) -> httpcore.Request:
    to = target.destination
    return httpcore.Request(
        "POST",
        httpcore.URL(scheme=to.scheme, host=f"{to.host}|{address}", port=to.port, target=to.path),
        headers=[
            (b"host", to.authority.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"accept-encoding", b"identity"),
            *headers,
        ],
        content=body,
        extensions={"sni_hostname": to.host, "timeout": {"connect": connect_seconds}},
    )


class _PinnedNetwork(httpcore.AsyncNetworkBackend):
    """Connects "name|address" to the address. Anything else is a mistake of ours."""

    def __init__(self) -> None:
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the address behind the bar."""
        name, _, address = host.rpartition("|")
        assert name, "a connection was asked for that no guard has passed"
        literal = str(ipaddress.ip_address(address))  # so that nothing resolves a name
        return await self._network.connect_tcp(
            literal, port, timeout, local_address, socket_options
        )
