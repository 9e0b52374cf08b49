"""How many wrong credentials are put up with: a bucket for each client address, and one for all.

    a wrong one ─▶ takes from its address's bucket, and from everybody's
    address's bucket empty ─▶ nothing from there is looked at any more (429), but what has been good
                              from there before: a neighbour behind the same proxy goes on working
    everybody's bucket empty ─▶ wrong ones are answered 429 and no longer logged one by one; good ones
                              pass, or whoever sends enough nonsense could lock all others out

Nobody guesses 256 bits; this keeps noise from costing time and log lines.

What must stay true: memory is bounded whatever comes from wherever.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

ADDRESSES: Final = 4096
"""Addresses that are remembered; the one that was quiet longest is forgotten first. 1 MiB or so."""
KNOWN: Final = 16_384
"""Pairs of address and token that have been good."""


class AttemptLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many wrong credentials are put up with.

    Attributes:
        burst: from one address before it is refused; a mistyped script tries some times.
        per_minute: from one address, once the burst is over.
        burst_of_all, per_minute_of_all: from all addresses together.
    """

    burst: float = 20.0
    per_minute: float = 10.0
    burst_of_all: float = 500.0
    per_minute_of_all: float = 300.0


class _Bucket:
    __slots__ = ("at", "left")

    def __init__(self, left: float, at: float) -> None:
        self.left = left
        self.at = at

    def refill(self, now: float, per_minute: float, burst: float) -> float:
        """What is in it now."""
        self.left = min(burst, self.left + (now - self.at) * per_minute / 60)
        self.at = now
        return self.left


class Attempts:
    """Counts wrong credentials. For one event loop. `clock` is in seconds."""

    def __init__(self, limits: AttemptLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._all = _Bucket(limits.burst_of_all, clock())
        self.failed = 0
        """Wrong credentials since the start."""

    def blocked(self, address: str, token: str) -> bool:
        """Whether a credential from there, of the token of this id, is refused without a look."""
        if not self._buckets:
            return False
        bucket = self._buckets.get(_network(address))
        if bucket is None or (address, token) in self._known:
            return False
        return bucket.refill(self._clock(), self._limits.per_minute, self._limits.burst) < 1

    def good(self, address: str, token: str) -> None:
        """A credential from there was good."""
        pair = (address, token)
        if pair not in self._known:
            self._known[pair] = None
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)

    def wrong(self, address: str) -> bool:
        """A credential from there was no good; returns whether all addresses together are still within
        what is put up with."""
        self.failed += 1
        now, limits = self._clock(), self._limits
        network = _network(address)
        bucket = self._buckets.get(network)
        if bucket is None:
            bucket = self._buckets[network] = _Bucket(limits.burst, now)
            if len(self._buckets) > ADDRESSES:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(network)
        bucket.left = max(0.0, bucket.refill(now, limits.per_minute, limits.burst) - 1)
        within = self._all.refill(now, limits.per_minute_of_all, limits.burst_of_all) >= 1
        if within:
            self._all.left -= 1
        return within


def _network(address: str) -> str:
    """An IPv6 client has a whole /64 to send from."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
