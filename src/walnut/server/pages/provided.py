"""What may be there or not, as a page is also shown by servers that are put together otherwise."""

from __future__ import annotations

from typing import TypeVar

from walnut.console.visit import Visit
from walnut.subsystem.errors import NotProvided

T = TypeVar("T")


def found(visit: Visit, kind: type[T]) -> T | None:
    """What was provided of this type, or None."""
    try:
        return visit.resources.find(kind)
    except NotProvided:
        return None
