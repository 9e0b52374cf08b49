"""Which subsystems there are: one line for each. Everything else is found by its name.

    "topics" ─▶ walnut.topics.service:Service ─▶ its section [topics], its place in the order of start

What must stay true: adding a subsystem touches this list and its own folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

import msgspec

from walnut.server.config.load import Settings
from walnut.server.config.model import SECTIONS
from walnut.server.errors import InvalidConfig, NoSuchSubsystem
from walnut.subsystem.model import Resources, Subsystem

REGISTERED: Final = (
    "store",
    "topics",
    "jobs",
    "booking",
)

AnySubsystem = Subsystem[Any]


def find(names: Sequence[str] = REGISTERED) -> dict[str, type[AnySubsystem]]:
    """The classes of subsystems, by name. Raises NoSuchSubsystem."""
    found: dict[str, type[AnySubsystem]] = {}
    for name in names:
        try:
            service = import_module(f"walnut.{name}.service").Service
        except (ModuleNotFoundError, AttributeError) as error:
            raise NoSuchSubsystem(
                f"walnut.{name}.service has no class Service ({error}): it is registered in "
                "walnut.server.subsystems, so that it has to be there"
            ) from error
        if service.name != name:
            raise NoSuchSubsystem(f"walnut.{name}.service calls itself {service.name!r}")
        found[name] = service
    return found


def sections(classes: Mapping[str, type[AnySubsystem]]) -> dict[str, type[msgspec.Struct]]:
    """All sections of walnut.toml: the server's own, then those of subsystems."""
    return {**SECTIONS, **{name: one.settings for name, one in classes.items()}}


def check_switches(classes: Mapping[str, type[AnySubsystem]], settings: Settings) -> None:
    """Raise InvalidConfig if a subsystem that is switched on needs another that is not."""
    if "store" not in settings.enabled:
        raise InvalidConfig(
            ("[store] can't be switched off: the server keeps its tokens in it, and all else",)
        )
    problems = tuple(
        f"[{name}] needs [{need}], which is switched off: switch {need} on, or {name} off too"
        for name, one in classes.items()
        for need in one.needs
        if name in settings.enabled and need not in settings.enabled
    )
    if problems:
        raise InvalidConfig(problems)


def make(
    classes: Mapping[str, type[AnySubsystem]], settings: Settings, resources: Resources
) -> list[AnySubsystem]:
    """The subsystems that are switched on. Raises InvalidConfig if one needs another that is not."""
    check_switches(classes, settings)
    return [
        one(settings.sections[name], resources)
        for name, one in classes.items()
        if name in settings.enabled
    ]


def owned(classes: Mapping[str, type[AnySubsystem]]) -> dict[str, Sequence[str]]:
    """The tables of the server itself and of each subsystem, whether it is switched on or not."""
    return {"server": ("server.*",), **{name: one.tables for name, one in classes.items()}}
