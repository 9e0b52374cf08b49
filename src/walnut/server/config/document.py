"""Settings as text: the commented default that `walnut init` writes, and those in force.

What must stay true: it is made from the structs alone, so it can't say what is not so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from walnut.server.config.load import ENABLED, Settings
from walnut.server.config.types import settings_of, summary
from walnut.server.errors import AlreadyThere

WIDTH: Final = 96

HEAD: Final = """\
Walnut's settings. What is commented out is the default: uncomment what you change.

The environment goes over this file: WALNUT_SERVER__PORT=9000 is [server] port = 9000; flags of
`walnut serve` go over both. `walnut config show` tells what is in force, and where it is from.
Durations are written "250ms", "30s", "5m", "1h30m", "7d"; sizes "512B", "64KiB", "16MiB", "2GiB"."""


def default_document(
    sections: Mapping[str, type[msgspec.Struct]], subsystems: Collection[str]
) -> str:
    """walnut.toml with every key at its default, commented out."""
    lines = [f"# {line}".rstrip() for line in HEAD.splitlines()]
    for name, kind in sections.items():
        lines += ["", f"[{name}]", *_comment(summary(kind), "# ")]
        if name in subsystems:
            lines += ["", *_comment("Run this subsystem at all.", "# "), f"#{ENABLED} = true"]
        for setting in settings_of(kind):
            about = f"{setting.about[:1].upper()}{setting.about[1:]}"
            allowed = (
                "" if setting.unit or '"' not in setting.allowed else f" It is {setting.allowed}."
            )
            lines += ["", *_comment(about + allowed, "# ")]
            lines.append(f"#{setting.name} = {setting.as_toml(setting.default)}")
    return "\n".join(lines) + "\n"


def write_default(path: Path, document: str) -> None:
    """Write a new file. Raises AlreadyThere, OSError."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(document)
    except FileExistsError:
        raise AlreadyThere(
            f"{path} is there already: remove it first, or name another with --config"
        ) from None


def in_force(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(section, "key = value", origin) of every setting, secrets left out."""
    for entry in settings.entries:
        if entry.setting.unit == "secret":
            value = '"(set)"' if entry.value else '""'
        else:
            value = entry.setting.as_toml(entry.value)
        yield (
            entry.section,
            f"{entry.setting.name} = {value}",
            entry.origin.place or entry.origin.kind,
        )


def _comment(text: str, prefix: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_long_words=False
    )
