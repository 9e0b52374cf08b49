"""`walnut config`: the settings in force, and whether they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from walnut.log.cli.arguments import examples
from walnut.server.checks import check_settings
from walnut.server.cli.options import read, settings_flags
from walnut.server.config.document import in_force


@click.group(epilog=examples("walnut config show", "walnut config check"))
def config() -> None:
    """See the settings of the server, and check them."""


@config.command(epilog=examples("walnut config show", "walnut config show --port 9000 --changed"))
@settings_flags
@click.option("--changed", is_flag=True, help="Only what is not at its default.")
def show(file: Path | None, *, changed: bool, **given: Any) -> None:
    """Print the settings in force as TOML, each with where it is from. Secrets are left out."""
    settings, _ = read(file, given)
    section = ""
    for name, line, origin in in_force(settings):
        if changed and origin == "default":
            continue
        if name != section:
            click.echo(f"{chr(10) * bool(section)}[{name}]")
            section = name
        click.echo(f"{line:<40} # {origin}")
    if not section:
        click.echo("# all settings are at their defaults")


@config.command(
    epilog=examples(
        "walnut config check", "walnut init && walnut config check --config walnut.toml"
    )
)
@settings_flags
def check(file: Path | None, **given: Any) -> None:
    """Read the settings, and say every problem with its line; exit code 1 if there is one."""
    settings, classes = read(file, given)
    check_settings(settings, classes)
    where = "the defaults" if settings.file is None else click.format_filename(settings.file)
    click.echo(f"{where}: good")
