"""Whose a table is: so that nobody writes what a subsystem keeps but that subsystem.

What must stay true: a name has one owner or none, whatever order subsystems are asked in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase


class Owners:
    """The subsystem of each table, and of each counter, by the patterns of `Subsystem.tables`.

    Args:
        patterns: of each subsystem, by its name.
    """

    def __init__(self, patterns: Mapping[str, Sequence[str]]) -> None:
        self._patterns = [
            (pattern, owner) for owner, those in sorted(patterns.items()) for pattern in those
        ]

    def owner_of(self, name: str) -> str | None:
        """The subsystem that keeps what has this name; None if none does."""
        return next(
            (owner for pattern, owner in self._patterns if fnmatchcase(name, pattern)), None
        )
