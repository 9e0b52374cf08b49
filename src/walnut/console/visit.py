"""`Visit`: one page that one visitor has open.

What must stay true: what a visitor may do is asked of the server's access layer each time something is
done, never remembered from when the page was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from walnut.console.errors import SessionEnded
from walnut.subsystem.model import Resources
from walnut.web.access import ACCESS, Access, Need, parse_scope
from walnut.web.caller import Caller, caller_of
from walnut.web.errors import Forbidden

PREFIX: Final = "/console"
"""Where the console is mounted."""


class Visit:
    """A page that is open.

    Attributes:
        caller: who looks at it.
        page: its path: "tables". query: what its address says beside it.
        resources: what running subsystems have provided.
    """

    def __init__(
        self, scope: Mapping[str, Any], page: str, query: Mapping[str, str], resources: Resources
    ) -> None:
        self.caller: Caller = caller_of(scope)
        self.page = page
        self.query = query
        self.resources = resources
        self.ended = False
        self._access: Access = scope[ACCESS]

    def still(self) -> Caller:
        """The visitor, if the session is still good. Raises SessionEnded."""
        if self.ended or not self._access.still_good(self.caller):
            self.ended = True
            raise SessionEnded("your session has ended: log in again to go on")
        return self.caller

    def require(self, need: str, name: str = "") -> Caller:
        """The visitor, who may do this now: `require("tables:write", "rooms")`.

        Raises SessionEnded, Forbidden, InvalidScope."""
        caller = self.still()
        area, verb, _ = parse_scope(need)
        self._access.decide(caller, Need(area, verb), name)
        return caller

    def may(self, need: str, name: str = "", *, any_: bool = False) -> bool:
        """Whether the visitor may do this, for what is drawn. `any_`: to anything of the area at all."""
        area, verb, _ = parse_scope(need)
        try:
            self._access.decide(self.caller, Need(area, verb, each=any_), name)
        except Forbidden:
            return False
        return True

    def number(self, name: str, default: int) -> int:
        """A whole number of the address; the default if it has none."""
        text = self.query.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else default


def link(page: str, **query: str | int | None) -> str:
    """The address of a page; what is None or empty is left out."""
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return f"{PREFIX}/{page}" + (f"?{urlencode(given)}" if given else "")
