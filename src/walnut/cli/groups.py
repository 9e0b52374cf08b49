"""Which commands there are, by name alone: a module is imported when its command is used.

    walnut store get ...  ─▶  COMMANDS["store"]  ─▶  import walnut.store.cli, and nothing of jobs

What must stay true: `walnut --version` and the completion of a word import none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from walnut.client.place import takes_place, with_url

COMMANDS: Final = {
    "init": "walnut.server.cli",
    "serve": "walnut.server.cli",
    "config": "walnut.server.cli",
    "restart": "walnut.server.cli",
    "demo": "walnut.server.cli",
    "status": "walnut.cli.status",
    "top": "walnut.cli.top",
    "log": "walnut.log.cli",
    "store": "walnut.store.cli",
    "topics": "walnut.topics.cli",
    "jobs": "walnut.jobs.cli",
    "booking": "walnut.booking.cli",
    "token": "walnut.server.access.cli",
    "completion": "walnut.cli.completion",
}
"""The module of each command, which has it under the command's name. In the order of the help."""


class Groups(click.Group):
    """A group whose commands are imported once they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of COMMANDS."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, imported; None if there is none. See click."""
        del ctx
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        try:
            command: click.Command = getattr(import_module(module), cmd_name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("walnut"):
                raise  # our own mistake, not something that was left out of the installation
            raise click.ClickException(
                f"`walnut {cmd_name}` needs {error.name}, which is not installed: "
                "pip install 'walnutdb[server]'"
            ) from error
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click. A URL takes the place of the DIR that the command inside begins with."""
        name, command, rest = super().resolve_command(ctx, args)
        inside = command
        before: list[str] = []
        if isinstance(command, click.Group):
            inside = command.get_command(ctx, rest[0]) if rest else None
            before, rest = rest[:1], rest[1:]
        if inside is not None and takes_place(inside):
            rest = with_url(rest, ctx.params.get("url"))
        return name, command, [*before, *rest]
