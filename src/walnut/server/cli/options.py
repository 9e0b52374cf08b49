"""Flags that stand for settings, and the settings in force with them.

What must stay true: each flag is one setting; `walnut config show` with the same flags tells the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from walnut.server.config.load import Flags, Settings, load
from walnut.server.errors import InvalidConfig
from walnut.server.subsystems import AnySubsystem, find, sections

Command = TypeVar("Command", bound=Callable[..., Any])

FLAGS: Final = {
    "data": ("server.data", "DIR", "The data directory; made on first start."),
    "host": ("server.host", "ADDRESS", "Listen there; 127.0.0.1 if not given."),
    "port": ("server.port", "PORT", "The TCP port; 0 takes a free one."),
    "tls_cert": ("tls.certificate", "FILE", "A certificate in PEM, with what leads to its root."),
    "tls_key": ("tls.key", "FILE", "Its private key."),
    "log_level": ("logging.level", "LEVEL", "debug, info, warning or error."),
    "log_format": ("logging.format", "FORMAT", "auto, json or text."),
}
"""By the name of the parameter: the setting, the value's name, and the help."""


def settings_flags(command: Command) -> Command:
    """Give a command --config and the flags that stand for settings."""
    for name, (_, metavar, words) in reversed(FLAGS.items()):
        flag = f"--{name.replace('_', '-')}"
        command = click.option(flag, name, metavar=metavar, help=words)(command)
    return click.option(
        "--config", "file", metavar="FILE", type=click.Path(path_type=Path),
        help="Settings; ./walnut.toml if it is there.",
    )(command)  # fmt: skip


def read(
    file: Path | None, given: Mapping[str, Any]
) -> tuple[Settings, dict[str, type[AnySubsystem]]]:
    """The settings in force, and the subsystems there are. Raises ConfigError.

    Several problems are several lines on stderr; the last is the error."""
    classes = find()
    try:
        settings = load(sections(classes), list(classes), file=file, flags=flags_of(given))
    except InvalidConfig as invalid:
        for problem in invalid.problems[:-1]:
            click.echo(f"walnut: {problem}", err=True)
        raise InvalidConfig(invalid.problems[-1:]) from invalid
    return settings, classes


def flags_of(given: Mapping[str, Any]) -> Flags:
    """What the flags say, for `load`. Paths are as the shell sees them, and not beside the file."""
    found: dict[str, tuple[str, Any]] = {}
    for name, (setting, metavar, _) in FLAGS.items():
        value = given.get(name)
        if value is not None:
            path = metavar in {"FILE", "DIR"} and value
            found[setting] = (
                f"--{name.replace('_', '-')}",
                str(Path(value).absolute()) if path else value,
            )
    return found
