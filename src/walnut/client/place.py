"""Where a command does its work: a directory that it opens itself, or a running server.

    DIR, nobody has it open         here: the command opens it
    DIR, a server has it open       reading: here, beside the server; writing: through its socket
    --url URL, WALNUT_URL           there, with WALNUT_TOKEN

    DATA/walnut.sock                what `walnut serve` lays out: each subsystem has a directory of
    DATA/store/log, DATA/store/...  its own, and DATA stands for that of whoever is asked

What must stay true: whether a server is asked is decided here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from walnut.client.address import Address, is_url, parse, running

if TYPE_CHECKING:
    from walnut.client.client import Client

TOKEN: Final = "WALNUT_TOKEN"  # noqa: S105, the name of a variable
URL: Final = "WALNUT_URL"
NAMES: Final = 1000
"""Names that are offered to a shell: nobody reads more."""
_NAME: Final = "directory"
"""Of the argument that `--url` stands for."""
_LEVELS: Final = (("store", "log"), ("store",), ())
"""Where in a server's data directory one may be."""


def server_of(place: str) -> Address | None:
    """The server to ask about a place; None where the directory is to be opened by who asks.

    Raises BadAddress, Unreachable."""
    if is_url(place):
        return parse(place)
    path = Path(place).absolute()
    for names in _LEVELS:
        if path.parts[len(path.parts) - len(names) :] == names:
            found = running(path.parents[len(names) - 1] if names else path)
            if found is not None:
                return found
    return None


def client_of(
    address: Address, *, principal: str = "", reason: str = "", patience: float | None = None
) -> Client:
    """A client of a server; with the token of the environment, except over a socket, where the user is
    the credential.

    A server knows by itself who asks. For whom, by the command line, goes with the reason."""
    from walnut.client.client import Client  # noqa: PLC0415, most commands ask no server

    if principal:
        reason = f"for {principal}" + (f": {reason}" if reason else "")
    token = "" if address.path else os.environ.get(TOKEN, "")
    if patience is None:
        return Client(address, token=token, reason=reason)
    return Client(address, token=token, reason=reason, patience=patience)


def inside(directory: str, part: str) -> str:
    """What is meant by a directory that may be a server's: its part ("store/log"), or itself."""
    first = part.partition("/")[0]
    if part and not Path(directory, "log").exists() and Path(directory, first, "log").exists():
        return f"{directory.rstrip('/')}/{part}"
    return directory


class Directory(click.ParamType[str]):
    """A DIR that has to be here. Of a data directory of a server, what is meant of it.

    Args:
        part: where in a data directory that is, as "store/log"; empty for the directory itself.
        remote: whether it may be a server's URL as well.
    """

    name = "directory"

    def __init__(self, part: str, *, remote: bool = False) -> None:
        self._part = part
        self.remote = remote

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click."""
        text: str = value
        if is_url(text):
            if not self.remote:
                command = "this" if ctx is None else f"`{ctx.command_path}`"
                self.fail(
                    f"{command} works on a directory, where its files are, and not on a URL",
                    param,
                    ctx,
                )
            return text
        return inside(text, self._part)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Directories."""
        del ctx, param
        return [CompletionItem(incomplete, type="dir")]


def names_at(
    here: Callable[[str], Iterable[str]], there: Callable[[Client], Iterable[str]]
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Completes a name by those that there are at the DIR before it.

    Args:
        here: names in a directory. there: names on a server."""

    def complete(
        ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        place = ctx.params.get(_NAME)
        if place is None:
            return []
        try:
            if is_url(place):
                with client_of(parse(place), patience=0.0) as client:
                    names = list(islice(there(client), NAMES))
            else:
                names = list(islice(here(place), NAMES))
        except Exception as error:
            if has_name(error) or isinstance(error, OSError):
                return []  # no names then: an error would be among what is typed
            raise
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


def has_name(error: Exception) -> bool:
    """Whether Walnut raises it on purpose: those errors live in the `errors.py` of its packages, and
    are told by that, since importing all of them would take longer than most commands."""
    return any(
        kind.__module__.startswith("walnut.") and kind.__module__.endswith(".errors")
        for kind in type(error).__mro__
    )


def takes_place(command: click.Command) -> bool:
    """Whether a command begins with the DIR that a URL may stand for."""
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    return (
        bool(arguments) and arguments[0].name == _NAME and isinstance(arguments[0].type, Directory)
    )


def with_url(args: list[str], given: str | None) -> list[str]:
    """The arguments of a command with the URL of `--url` (or the one given before) in place of DIR."""
    end = args.index("--") if "--" in args else len(args)
    rest: list[str] = []
    skip = False
    for number, word in enumerate(args):
        if skip:
            skip = False
        elif number < end and word == "--url" and number + 1 < end:
            given, skip = args[number + 1], True
        elif number < end and word.startswith("--url="):
            given = word.removeprefix("--url=")
        else:
            rest.append(word)
    return rest if given is None else [given, *rest]
