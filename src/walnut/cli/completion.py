"""`walnut completion`: what a shell has to know to complete commands, options, tables and topics."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

VARIABLE: Final = "_WALNUT_COMPLETE"
"""By which the shell asks the program `walnut`; click's own rule makes it of the program's name."""

_INSTALLED: Final = {
    "bash": "source <(walnut completion bash)    # in ~/.bashrc",
    "zsh": "source <(walnut completion zsh)     # in ~/.zshrc, after compinit",
    "fish": "walnut completion fish > ~/.config/fish/completions/walnut.fish",
}


@click.command(
    epilog="\b\nTry:\n  $ walnut completion bash\n  $ walnut completion zsh\n  $ walnut completion fish",
    help="Print the script by which a SHELL completes `walnut`: bash, zsh or fish.\n\n"
    "It completes names of tables and topics too, of the directory or the server at hand.\n\n"
    "\b\n" + "\n".join(_INSTALLED.values()),
)
@click.argument("shell", type=click.Choice(list(_INSTALLED)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script of a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "walnut", VARIABLE).source(), nl=False)
