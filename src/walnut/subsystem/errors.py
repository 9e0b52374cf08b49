"""What can be wrong with how subsystems are put together, by name."""

from __future__ import annotations


class SubsystemError(Exception):
    """Base of what is wrong between subsystems."""


class NotProvided(SubsystemError):
    """A subsystem asked for something that no running one has provided: it needs another that is
    switched off, or does not name it in `needs`."""
