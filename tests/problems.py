"""Looking for errors that nobody has said the meaning of."""

from __future__ import annotations

from types import ModuleType


def public_errors(module: ModuleType) -> set[type[Exception]]:
    """The exceptions that a module defines, but for bases that are never raised themselves."""
    found = {
        thing
        for thing in vars(module).values()
        if isinstance(thing, type)
        and issubclass(thing, Exception)
        and thing.__module__ == module.__name__
    }
    return {
        error
        for error in found
        if not (error.__doc__ or "").startswith(("Base of every", "Base of the"))
    }


def unmapped(module: ModuleType, known: set[type[Exception]]) -> set[str]:
    """Names of errors that are neither known by themselves nor by what they are."""
    return {
        error.__name__
        for error in public_errors(module)
        if not any(base in known for base in error.__mro__)
    }
