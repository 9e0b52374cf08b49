"""What a process is made of: components, and the order in which they start.

What must stay true: a component starts after all it needs, and stops before them; the same components
in the same order always give the same order of start.
"""

from __future__ import annotations

import graphlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from walnut.shutdown.errors import CycleInNeeds, DuplicateComponent, UnknownComponent

Step = Callable[[], Awaitable[object]]


class Component(Protocol):
    """A part of a process: a store, a pool, a server.

    `stop` is called once for each component whose `start` returned; a `start` that fails gives back what it
    took itself. Each method may be cancelled when its time is over.
    """

    @property
    def name(self) -> str:
        """What reports and errors call it."""

    @property
    def needs(self) -> Sequence[str]:
        """Names of the components that have to be there while this one is."""

    async def start(self) -> None:
        """Be ready for work when this returns."""

    async def run(self) -> None:
        """Work in the background from start to stop; cancelled after `drain` and before `stop`.
        May return early. An error ends the process, gracefully, and is named."""

    async def drain(self) -> None:
        """Take no new work, and finish what is under way. Called once all that need it have drained."""

    async def stop(self) -> None:
        """Give everything back. What needs this component has stopped."""


@runtime_checkable
class Listener(Protocol):
    """A component that lets work in from outside, and can cease to before it drains."""

    async def stop_accepting(self, *, handover: bool) -> None:
        """Let nothing new in.

        Args:
            handover: another process goes on with the same sockets; leave what waits in them to it.
        """


class Part:
    """A component made of plain functions.

    Part("store", start=store.open, stop=store.close)
    Part("mail", needs=["store"], run=send_mail)
    """

    def __init__(
        self,
        name: str,
        *,
        needs: Sequence[str] = (),
        start: Step | None = None,
        run: Step | None = None,
        drain: Step | None = None,
        stop: Step | None = None,
    ) -> None:
        self.name = name
        self.needs = tuple(needs)
        self._start = start
        self._run = run
        self._drain = drain
        self._stop = stop

    async def start(self) -> None:
        """See Component."""
        if self._start is not None:
            await self._start()

    async def run(self) -> None:
        """See Component."""
        if self._run is not None:
            await self._run()

    async def drain(self) -> None:
        """See Component."""
        if self._drain is not None:
            await self._drain()

    async def stop(self) -> None:
        """See Component."""
        if self._stop is not None:
            await self._stop()


C = TypeVar("C", bound=Component)


def start_order(components: Sequence[C]) -> list[C]:
    """Components, each after all it needs, and otherwise as given.

    Raises:
        DuplicateComponent: two have one name.
        UnknownComponent: a name in `needs` is nobody's.
        CycleInNeeds: they need one another in a circle.
    """
    by_name: dict[str, C] = {}
    for component in components:
        if by_name.setdefault(component.name, component) is not component:
            raise DuplicateComponent(
                f"two components are called {component.name!r}; give each its own name"
            )
    for component in components:
        for need in component.needs:
            if need not in by_name:
                raise UnknownComponent(
                    f"component {component.name!r} needs {need!r}, which is not there; "
                    f"there are: {', '.join(by_name)}"
                )
    # Depth first, so that a component comes right after what it needs and before unrelated ones.
    graph = graphlib.TopologicalSorter({one.name: one.needs for one in components})
    try:
        graph.prepare()
    except graphlib.CycleError as error:
        circle = " → ".join(error.args[1])
        raise CycleInNeeds(f"components need one another in a circle: {circle}") from None
    order: dict[str, C] = {}

    def place(name: str) -> None:
        if name not in order:
            for need in by_name[name].needs:
                place(need)
            order[name] = by_name[name]

    for name in by_name:
        place(name)
    return list(order.values())
