"""`walnut status`: one screen on how it is."""

from __future__ import annotations

import time
from typing import Final

import click
import msgspec

from walnut.cli.screen import status_screen
from walnut.cli.sight import Sight, look_at_files, warnings
from walnut.client.place import Directory, client_of, inside, server_of
from walnut.log.cli.arguments import examples
from walnut.log.show import console

DATA: Final = "walnut-data"
"""Where `walnut serve` keeps its data if nothing else is said."""
SPAN: Final = 0.5
"""Seconds over which a server's rate is taken: people wait no longer."""

place = click.argument("directory", metavar="[DIR]", type=Directory("", remote=True), default=DATA)


def look(place: str) -> Sight:
    """The server that answers for a place, or else the store in it. Takes half a second with a server.

    Raises NotALog, TablesLost, Unreachable, ..."""
    address = server_of(place)
    if address is None:
        return look_at_files(inside(place, "store"), place)
    from walnut.cli.served import look_at_server  # noqa: PLC0415, a directory is read without

    with client_of(address) as client:
        before = look_at_server(client, place)
        if before.state != "running":
            return before
        time.sleep(SPAN)
        return look_at_server(client, place, before)


@click.command(epilog=examples("walnut status shop", "walnut status shop --format json"))
@place
@click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="For people, or one object of JSON.",
)  # fmt: skip
def status(directory: str, format_: str) -> None:
    """Show how the server at DIR, or the store in it, is doing, and what needs somebody's attention.

    Without DIR: ./walnut-data. With --url: the server there.
    """
    seen = look(directory)
    if format_ == "json":
        click.echo(
            msgspec.json.encode({**msgspec.to_builtins(seen), "warnings": list(warnings(seen))})
        )
        return
    console().print(status_screen(seen))
