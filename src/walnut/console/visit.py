"""`Visit`: one page that one visitor has open.

What must stay true: what a visitor may do is asked of the server's access layer each time something is
done, never remembered from when the page was drawn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from walnut.console.errors import NotAllowed, SessionEnded
from walnut.subsystem.model import Resources
from walnut.web.caller import Caller

PREFIX: Final = "/console"
"""Where the console is mounted."""


class Access(msgspec.Struct, frozen=True):
    """What the console asks of the server's access layer.

    Attributes:
        decide: whether a caller may do something to something: `decide(caller, "tables:write",
            "rooms")`; an empty name asks for the area as a whole.
        again: who sends requests with the credentials of this ASGI scope, now; None when nobody may
            by them any more.
    """

    decide: Callable[[Caller, str, str], bool]
    again: Callable[[Mapping[str, Any]], Awaitable[Caller | None]]


class Visit:
    """A page that is open.

    Attributes:
        caller: who looks at it, as of the last time that was asked.
        page: its path: "tables". query: what its address says beside it.
        resources: what running subsystems have provided.
    """

    def __init__(
        self,
        scope: Mapping[str, Any],
        caller: Caller,
        page: str,
        query: Mapping[str, str],
        resources: Resources,
        access: Access,
    ) -> None:
        self.caller = caller
        self.page = page
        self.query = query
        self.resources = resources
        self.ended = False
        self._scope = scope
        self._access = access

    def may(self, need: str, name: str = "") -> bool:
        """Whether the visitor may do this, as far as known without asking for the session again: for
        what is drawn, not for what is done (`require`)."""
        return self._access.decide(self.caller, need, name)

    async def still(self) -> Caller:
        """The visitor, asked for again. Raises SessionEnded."""
        caller = None if self.ended else await self._access.again(self._scope)
        if caller is None:
            self.ended = True
            raise SessionEnded("your session has ended: log in again to go on")
        self.caller = caller
        return caller

    async def require(self, need: str, name: str = "") -> Caller:
        """The visitor, who may do this now. Raises SessionEnded, NotAllowed."""
        caller = await self.still()
        if not self._access.decide(caller, need, name):
            what = f"{need}:{name}" if name else need
            raise NotAllowed(
                f"{caller.principal} may not do this: it takes a token with the scope {what}"
            )
        return caller

    def number(self, name: str, default: int) -> int:
        """A whole number of the address; the default if it has none."""
        text = self.query.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else default


def link(page: str, **query: str | int | None) -> str:
    """The address of a page; what is None or empty is left out."""
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return f"{PREFIX}/{page}" + (f"?{urlencode(given)}" if given else "")
