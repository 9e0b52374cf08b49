"""When Python looks for cycles of garbage: not while the server starts, and never again in what it
started with.

    start ── hold ──▶ imports, routes, subsystems ── settle ──▶ serving ─▶ console loaded ── settle ──▶ ...

Modules, routes and schemas are two hundred thousand objects that live as long as the process. A full
collection walks all of them, in which nobody is answered: 0.09 s on a machine with little else to do, half a
second was seen on one with a lot. Frozen, they are left out, and a collection walks what requests have made.

What must stay true: the collector is on whenever requests are served.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 10_000
"""Objects made and not yet freed, before the youngest are looked through. Python's 700 are passed by a
hundred requests under way, whose objects are no garbage yet: each would be looked at, and kept."""


def hold() -> None:
    """Collect nothing until `settle`: what a start makes is kept."""
    gc.disable()


def settle() -> None:
    """Leave what there is alone from now on, and collect what comes. Garbage among it, which a start
    makes little of, stays."""
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    gc.enable()
