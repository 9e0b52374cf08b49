"""Who an anonymous visitor is, and how much one may ask for.

    cookie   ID.UNTIL.HMAC-SHA256     signed with a key that only the server's own file has
    bucket   of an address: so many at once, so many more each second

What must stay true: a visitor is nobody but themselves, and can't become another; an address that asks
too often is told to wait, whatever sessions it has. What is remembered of addresses is bounded.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections import OrderedDict
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 32
STAY_SECONDS: Final = 24 * 3600
"""How long a visitor is known: long enough to cancel what was booked today."""
ADDRESSES: Final = 10_000
"""That are remembered; the one that was quiet for longest is forgotten first."""
IPV6_NETWORK: Final = 64
"""Bits of an address that one household has."""


class Visitors:
    """Makes and reads the cookies of visitors. The key is in a file, so that they outlive a restart."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(secrets.token_bytes(KEY_BYTES))
        self._key = file.read_bytes()
        assert len(self._key) == KEY_BYTES, f"{file} is not a key of visitors: remove it"

    def new(self, now: float) -> tuple[str, str]:
        """Somebody new, who is known for a day: their id and their cookie."""
        id_ = secrets.token_hex(12)
        return id_, self._signed(id_, int(now) + STAY_SECONDS)

    def read(self, cookie: str, now: float) -> str | None:
        """The id in a cookie; None if it is not one of ours, or too old."""
        id_, _, rest = cookie.partition(".")
        until, _, _ = rest.partition(".")
        if not (until.isascii() and until.isdecimal() and len(until) < 16):
            return None
        good = hmac.compare_digest(
            self._signed(id_, int(until)).encode(), cookie.encode("utf-8", "replace")
        )
        return id_ if good and now < int(until) else None

    def _signed(self, id_: str, until: int) -> str:
        text = f"{id_}.{until}"
        return f"{text}.{hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()}"


class Buckets:
    """How often each address may ask: `burst` at once, and `rate` more each second."""

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now: float) -> bool:
        """Whether it may ask once more, which is then counted."""
        network = _network(address)
        left, then = self._left.pop(network, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        allowed = left >= 1
        self._left[network] = (left - 1 if allowed else left), now
        if len(self._left) > ADDRESSES:
            self._left.popitem(last=False)
        return allowed


def _network(address: str) -> str:
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return address
    if read.version == 4:
        return address
    return str(ipaddress.ip_network((int(read), IPV6_NETWORK), strict=False))
