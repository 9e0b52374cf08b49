"""The id of each request: what the client or a proxy called it, or a new one.

What must stay true: an id that came from outside is short and plain, as it goes into logs, answers and
the audit trail.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Mapping
from typing import Final

LENGTH: Final = 128
"""Characters of an id from outside."""
_PLAIN: Final = re.compile(rb"[A-Za-z0-9._~:/+=-]{1,%d}" % LENGTH)
_TRACE: Final = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class RequestIds:
    """Names requests. New ids are a number behind what no other process has: 0.3 µs instead of asking
    for chance each time."""

    def __init__(self, start: str = "") -> None:
        self._start = start or secrets.token_hex(8)
        self._numbers = itertools.count(1)

    def id_of(self, headers: Mapping[bytes, bytes]) -> str:
        """By `Request-Id`, `X-Request-ID`, or the trace of `traceparent` (W3C Trace Context)."""
        for name in (b"request-id", b"x-request-id"):
            given = headers.get(name)
            if given is not None and _PLAIN.fullmatch(given):
                return given.decode("ascii")
        trace = headers.get(b"traceparent")
        if trace is not None and (match := _TRACE.fullmatch(trace)):
            return match[1].decode("ascii")
        return f"{self._start}-{next(self._numbers):x}"
