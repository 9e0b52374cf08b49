"""`Subsystem`, the protocol of whatever the server runs; a class to inherit, all of whose parts are
optional.

    configured ─▶ start ─▶ run ......................... ─▶ drain ─▶ stop
                    │       routes, pages, status, metrics    │
                    └ after those it needs have started       └ before those it needs are stopped

What must stay true: a subsystem knows of others what they provide, by type, and nothing else; it is
stopped before anything that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import msgspec

from walnut.subsystem.errors import NotProvided

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from prometheus_client import Metric

    from walnut.web.asgi import App
    from walnut.web.problems import Kind

Config = TypeVar("Config", bound=msgspec.Struct)
Thing = TypeVar("Thing")


class Resources:
    """What running subsystems have provided for one another: an object for each type."""

    def __init__(self) -> None:
        self._things: dict[type[Any], Any] = {}

    def provide(self, thing: object) -> None:
        """Let others find this, under its class."""
        self._things[type(thing)] = thing

    def withdraw(self, kind: type[Any]) -> None:
        """It is there no longer."""
        self._things.pop(kind, None)

    def find(self, kind: type[Thing]) -> Thing:
        """What was provided of this type. Raises NotProvided."""
        thing = self._things.get(kind)
        if thing is None:
            raise NotProvided(
                f"no running subsystem has provided a {kind.__name__}: name the one that does in "
                "`needs`, and see that it is switched on in walnut.toml"
            )
        found: Thing = thing
        return found


class ServerInfo(msgspec.Struct, frozen=True):
    """The server itself, as subsystems may know it; it is provided before the first of them starts.

    Attributes:
        data: its data directory, absolute; each subsystem keeps its files in one of its own in there.
        version: of Walnut.
        started: when the process began, ns since the Unix epoch.
    """

    data: Path
    version: str
    started: int


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section of a subsystem that has nothing to set."""


class Page(msgspec.Struct, frozen=True):
    """A page of the console.

    Attributes:
        path: under the console's address, as "topics".
        title: what the menu says.
        icon: a name of a Material icon.
        build: called, with the console's surroundings, for each visitor: it draws the page.
        scope: what a visitor's token must allow, as "topics:read".
    """

    path: str
    title: str
    icon: str
    build: Any
    scope: str


class Subsystem(Generic[Config]):
    """One subsystem as the server runs it. Every part has a default that does nothing.

    Attributes:
        name: of its package, its section of walnut.toml, its commands and its routes: "topics".
        needs: names of those that have to run before it.
        settings: the type of its section. All fields have defaults; `enabled` is the server's own.
        tables: names of the tables it keeps (a trailing "*" stands for any end). Nobody else writes
            these through the API of tables.
    """

    name: ClassVar[str]
    needs: ClassVar[Sequence[str]] = ()
    settings: ClassVar[type[msgspec.Struct]] = NoSettings
    tables: ClassVar[Sequence[str]] = ()

    def __init__(self, config: Config, resources: Resources) -> None:
        self.config = config
        self.resources = resources

    async def start(self) -> None:
        """Open what it needs and provide what others may use. What it raises stops the server."""

    async def run(self) -> None:
        """Work in the background until cancelled. Ending with an error stops the server."""

    async def drain(self) -> None:
        """Take no new work, and finish what is under way; cancelled when its time is over."""

    async def stop(self) -> None:
        """Close what `start` opened; nobody uses it any more."""

    def routes(self) -> Sequence[ControllerRouterHandler]:
        """Its HTTP routes, under /v1/NAME or names of their own. Asked once, after `start`."""
        return ()

    def doors(self) -> Mapping[str, App]:
        """What anybody reaches without a credential: apps by the first part of their paths. Whatever
        is here checks by itself who comes, or is public because an operator said so. Asked once,
        after `start`."""
        return {}

    def problems(self) -> Mapping[type[Exception], Kind]:
        """Which of its errors mean what to a caller over HTTP."""
        return {}

    def metrics(self) -> Iterable[Metric]:
        """What Prometheus may read, as it is now."""
        return ()

    def status(self) -> msgspec.Struct | None:
        """Itself at a glance, for `walnut status` and the console."""
        return None
