"""Requests that survive a restart of the server: connections, tries again, and what is known of a
write when there is no answer.

    request ─▶ connection (kept, or new) ─▶ answer
                 x lost ─▶ again with the same idempotency key ─▶ ... until `patience` is over
                                                └ a write whose bytes were sent: OutcomeUnknown
                                                └ nothing was ever sent: Unreachable

What must stay true: a write is only ever sent again under the key it was sent with, so that it is
done once however often it was sent; and every wait has an end.
"""

from __future__ import annotations

import http.client
import random
import ssl
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from walnut.client.address import Address, connect_unix
from walnut.client.errors import BadAnswer, OutcomeUnknown, Refused, Unreachable, refusal

TIMEOUT: Final = 30.0
"""Seconds for a connection to be taken up, and between two pieces of an answer. The server gives up
on a request sooner."""
PATIENCE: Final = 20.0
"""Seconds for which a request is tried again: a restart takes one or two, a large log to fold a few."""
KEPT: Final = 8
"""Idle connections that are kept open, as each costs the server memory."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between tries, doubled each time and jittered, so that many clients do not come at once."""
MAX_ANSWER: Final = 64 << 20
"""Bytes of one answer that is not a stream; the server's largest page is a few megabytes."""
AGAIN: Final = frozenset({429, 503})
"""The statuses after which the same request may be sent again."""
_NEVER_AGAIN: Final = frozenset({"log-failed", "tables-failed", "too-many-attempts"})
"""Of these, problems that do not pass by themselves, or that asking again makes worse."""

Query = Mapping[str, str | int | float | bool | None]


class Answer(msgspec.Struct, frozen=True):
    """What the server answered, if it did not refuse. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def lsn(self) -> int:
        """Of the commit, or of the state that was read; 0 if the answer tells none."""
        text = self.headers.get("walnut-lsn", "")
        return int(text) if text.isdecimal() else 0

    @property
    def repeated(self) -> bool:
        """It answers what had been done before, under the same idempotency key."""
        return self.headers.get("idempotency-replayed") == "true"


class Transport:
    """Speaks to one server. Any number of threads may use it.

    Raises, from every request: Unreachable, OutcomeUnknown, BadAnswer, Refused.
    """

    def __init__(
        self,
        address: Address,
        *,
        token: str = "",
        reason: str = "",
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.address = address
        self._headers: dict[str, str | bytes] = {"User-Agent": "walnut-client"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if reason:
            self._headers["Walnut-Reason"] = " ".join(reason.split()).encode()
        self._timeout = timeout
        self._tls = tls
        self._waiting = Waiting(patience, clock, sleep, chance)
        self._idle: deque[http.client.HTTPConnection] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self.met = False
        """Whether a server has ever answered here: one that has will be back."""

    def pause(self, number: int) -> None:
        """Wait before the given try of something that is made of several requests."""
        self._waiting.pause(number)

    # -- one answer ---------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        keyed: bool = True,
    ) -> Answer:
        """Send a request until it is answered. All but GET are writes, and have an idempotency key.

        Args:
            key: which one; None makes one.
            keyed: False for a write that can be told from a repeat by itself, as a producer's."""
        wanted = dict(headers or {})
        writes = method != "GET"
        if writes and keyed:
            key = key or uuid.uuid4().hex
            wanted["Idempotency-Key"] = key
        tries = Tries(self, self._waiting, key or "", writes=writes)
        while True:
            try:
                with self._sent(method, path, query, body, wanted, tries) as response:
                    data = self._body(response)
                    tries.answered()
            except (OSError, http.client.HTTPException) as error:
                tries.lost(error)
                continue
            if response.status < 400:
                return Answer(response.status, _headers(response), data)
            tries.refused(_refusal(self.address, response, data))

    # -- a stream -----------------------------------------------------------------------------

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer that goes on: to be read with `readline`, which raises OSError or
        http.client.HTTPException where it was cut. It is begun again as requests are."""
        tries = Tries(self, self._waiting, "", writes=False)
        while True:
            connection = self._connection(fresh=True)
            try:
                response = self._send(connection, "GET", path, query, None, headers or {}, tries)
                tries.answered()
                if response.status >= 400:
                    error = _refusal(self.address, response, self._body(response))
                    connection.close()
                    tries.refused(error)
                    continue
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                tries.lost(error)
                continue
            break
        try:
            if connection.sock is not None and timeout is not None:
                connection.sock.settimeout(timeout)
            yield response
        finally:
            response.close()
            connection.close()

    # -- connections --------------------------------------------------------------------------

    @contextmanager
    def _sent(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: bytes | None,
        headers: Mapping[str, str],
        tries: Tries,
    ) -> Iterator[http.client.HTTPResponse]:
        """A request that was sent and whose answer begins; its connection is kept if it may be."""
        connection = self._connection(fresh=tries.number > 0)
        try:
            response = self._send(connection, method, path, query, body, headers, tries)
            yield response
        except BaseException:
            connection.close()
            raise
        if response.will_close or not response.isclosed():
            connection.close()
        else:
            with self._lock:
                if len(self._idle) == KEPT:
                    self._idle.popleft().close()
                self._idle.append(connection)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Query | None,
        body: bytes | None,
        headers: Mapping[str, str],
        tries: Tries,
    ) -> http.client.HTTPResponse:
        if connection.sock is None:
            connection.connect()
        tries.sending()
        # A server that refuses a request for its size answers before it has read all, and hangs up.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(
                method,
                self.address.base + path + _query(query),
                body,
                {**self._headers, **headers},
            )
        return connection.getresponse()

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        """All of an answer's body. Raises http.client.IncompleteRead, OSError; BadAnswer."""
        if (response.length or 0) <= MAX_ANSWER:
            # With a number, http.client would not tell a body that was cut from a whole one.
            data = response.read() if response.length is not None else response.read(MAX_ANSWER + 1)
            if len(data) <= MAX_ANSWER:
                return data
        raise BadAnswer(f"{self.address} answered with more than {MAX_ANSWER} bytes")

    def _connection(self, *, fresh: bool) -> http.client.HTTPConnection:
        """An idle one, or a new one; a fresh one where idle ones may be of a server that is gone."""
        with self._lock:
            if self._idle and not fresh:
                return self._idle.pop()
        address = self.address
        if address.path:
            return _UnixConnection(address.path, self._timeout)
        if address.tls:
            if self._tls is None:
                self._tls = ssl.create_default_context()
            return http.client.HTTPSConnection(
                address.host, address.port, timeout=self._timeout, context=self._tls
            )
        return http.client.HTTPConnection(address.host, address.port, timeout=self._timeout)

    def close(self) -> None:
        """Let go of the connections that are kept; later requests make new ones."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()


class Waiting:
    """How tries again are spaced, and when they end."""

    def __init__(
        self,
        patience: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        chance: Callable[[], float],
    ) -> None:
        self.patience = patience
        self.clock = clock
        self.sleep = sleep
        self._chance = chance

    def pause(self, number: int) -> None:
        """Wait before the given try of something: longer each time, jittered."""
        longest = min(FIRST_PAUSE * 2.0 ** min(number, 16), LONGEST_PAUSE)
        self.sleep(longest * (0.5 + self._chance() / 2))


class Tries:
    """What is known of one request, and how long it is tried again."""

    def __init__(self, transport: Transport, waiting: Waiting, key: str, *, writes: bool) -> None:
        self.number = 0
        self._of = transport
        self._waiting = waiting
        self._key = key
        self._writes = writes
        self._until = waiting.clock() + waiting.patience
        self._in_flight = False
        self._unknown = False

    def sending(self) -> None:
        """From here on the server may have got it."""
        self._in_flight = True

    def answered(self) -> None:
        """It was answered, whatever with."""
        self._in_flight = False
        self._of.met = True

    def lost(self, error: OSError | http.client.HTTPException) -> None:
        """There was no answer. Returns after a pause if it is to be sent again.

        Raises OutcomeUnknown, Unreachable."""
        self._unknown |= self._in_flight and self._writes
        idle_was_closed = self._in_flight and self.number == 0
        self._in_flight = False
        if isinstance(error, ssl.SSLCertVerificationError):
            raise Unreachable(
                f"{self._of.address} has a certificate that is not trusted here "
                f"({error.verify_message}): give the one it was signed by"
            ) from error
        hopeful = self._of.met or self._unknown or self.number > 0 or idle_was_closed
        if hopeful and self._wait(0.0 if idle_was_closed else None):
            return
        self._give_up(error)

    def refused(self, error: Refused) -> None:
        """It was refused. Returns after a pause if that may pass. Raises the error, OutcomeUnknown."""
        passing = error.status in AGAIN and error.retry_after is not None
        if passing and error.slug not in _NEVER_AGAIN and self._wait(error.retry_after):
            return
        if self._unknown and error.status in AGAIN:
            self._give_up(error)
        raise error

    def _wait(self, least: float | None) -> bool:
        """Wait for the next try; False if there is no time left for it."""
        self.number += 1
        if self._waiting.clock() + (LONGEST_PAUSE if least is None else least) >= self._until:
            return False
        if least is None:
            self._waiting.pause(self.number)
        else:
            self._waiting.sleep(least)
        return True

    def _give_up(self, error: Exception) -> None:
        address = self._of.address
        why = str(error) or type(error).__name__
        if self._unknown:
            raise OutcomeUnknown(
                f"the connection to {address} was lost before it answered ({why}), so the write may or "
                f"may not have been done: send it again {self._again()}, and it is done once in all",
                self._key,
            ) from error
        start = "" if not address.path else "; start it with `walnut serve`"
        raise Unreachable(f"no server answers at {address} ({why}){start}") from error

    def _again(self) -> str:
        if self._key:
            return f"with the idempotency key {self._key}"
        return "by the same producer with the same sequence"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """See http.client."""
        assert isinstance(self.timeout, float)
        self.sock = connect_unix(self._path, self.timeout)


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def _query(query: Query | None) -> str:
    given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
    return "?" + urlencode(given) if given else ""


def _text(value: str | float) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _refusal(address: Address, response: http.client.HTTPResponse, data: bytes) -> Refused:
    after = response.getheader("Retry-After") or ""
    document: Any = None
    if "json" in (response.getheader("Content-Type") or ""):
        try:
            document = msgspec.json.decode(data)
        except msgspec.DecodeError:
            document = None
    if not isinstance(document, dict):
        document = {"detail": f"{address} answered {response.status} {response.reason}"}
    return refusal(response.status, document, float(after) if after.isdecimal() else None)
