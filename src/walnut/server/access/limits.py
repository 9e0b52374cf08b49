"""How much at a time: requests under way, streams, and of these each principal's share.

What must stay true: what is over a limit is refused at once and told when to come again; nothing waits
in a queue of ours.
"""

from __future__ import annotations

from typing import Final

import msgspec

from walnut.web.errors import Overloaded, TooManyRequests

MIB: Final = 1 << 20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the server takes on at once.

    Attributes:
        requests: under way at once, streams not counted.
        requests_of_one: of these, of one principal, so that none takes all. Half, if None.
        streams: long answers and WebSockets at once.
        streams_of_one: of these, of one principal. Half, if None.
        body: bytes of the largest body, of a route that does not take bodies of any length.
        request_seconds: for one request, streams not counted.
    """

    requests: int = 1000
    requests_of_one: int | None = None
    streams: int = 1000
    streams_of_one: int | None = None
    body: int = 16 * MIB
    request_seconds: float = 60.0


class Admission:
    """Counts what is under way, in all and by principal."""

    def __init__(self, most: int, most_of_one: int | None, what: str) -> None:
        self._most = most
        self._most_of_one = (most + 1) // 2 if most_of_one is None else most_of_one
        self._what = what
        self._of: dict[str, int] = {}
        self.running = 0

    def enter(self, principal: str) -> None:
        """One more. Raises Overloaded, TooManyRequests."""
        if self.running >= self._most:
            raise Overloaded(
                f"{self._most} {self._what} are under way, as many as this server takes: come again "
                "in a moment"
            )
        mine = self._of.get(principal, 0)
        if mine >= self._most_of_one:
            raise TooManyRequests(
                f"{self._most_of_one} {self._what} of {principal} are under way, as many as one may "
                "have: wait for some to end"
            )
        self._of[principal] = mine + 1
        self.running += 1

    def leave(self, principal: str) -> None:
        """One less."""
        self.running -= 1
        left = self._of[principal] - 1
        if left:
            self._of[principal] = left
        else:
            del self._of[principal]
