"""Arguments that several commands share, and how a store is opened for them.

What must stay true: a mistyped DIR is refused by name and never made, except by `put --new`.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from walnut.client.place import Directory, names_at, server_of
from walnut.log.errors import LogError, LogLocked
from walnut.log.model import LogOptions
from walnut.log.opening import find_directory
from walnut.log.show import progress
from walnut.store.cli import values
from walnut.store.errors import StoreError
from walnut.store.remote import StoreReader
from walnut.store.store import Store

directory = click.argument("directory", metavar="DIR", type=Directory("store"))
place = click.argument("directory", metavar="DIR", type=Directory("store", remote=True))
"""A DIR, or the URL of a server."""


def _tables(directory: str) -> list[str]:
    with StoreReader(directory) as reader:
        return reader.tables()


complete_table = names_at(_tables, lambda client: (info.name for info in client.tables()))
table = click.argument("table", shell_complete=complete_table)
format_ = click.option(
    "--format", "format_", type=click.Choice(["json", "table"]), default="json",
    show_default=True, help="A line of JSON each, or a table for people.",
)  # fmt: skip
declare = click.option(
    "--declare", metavar="MODULE:FUNCTION",
    help="Called with the store to declare its tables, for those that have indexes or subjects.",
)  # fmt: skip


class KeyParameter(click.ParamType[Any]):
    """A key, as `values.key` reads it."""

    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click."""
        del param, ctx
        return values.key(value) if isinstance(value, str) else value


KEY = KeyParameter()


def open_to_write(path: str) -> Store:
    """The store at a path, folding what a crash left. Raises NotALog, LogLocked."""
    find_directory(f"{path}/log", LogOptions(), create=False)
    try:
        with progress("folding the log") as report:
            return Store(path, progress=report)
    except LogLocked as error:
        if (server := server_of(path)) is None:
            raise
        raise LogLocked(
            f"the server at {server} has {path} open, and this needs it for itself: stop the server first"
        ) from error


def declare_by(store: Store, function: str) -> None:
    """Call `module:function` with the store."""
    module, colon, name = function.partition(":")
    if not (module and colon and name):
        raise click.BadParameter(f"{function!r} is not MODULE:FUNCTION, as in app:tables")
    sys.path.insert(0, "")  # a module of the directory we are in, as `python -m` finds it
    try:
        with running(function):
            found: Callable[[Store], object] | None = getattr(
                importlib.import_module(module), name, None
            )
    except ImportError as error:
        raise click.BadParameter(f"{module} can't be imported: {error}") from error
    finally:
        sys.path.remove("")
    if not callable(found):
        raise click.BadParameter(f"{module} has no function {name}")
    with running(function):
        found(store)


@contextmanager
def running(function: str) -> Iterator[None]:
    """What a program's own code raises meanwhile is one line that says where it did."""
    try:
        yield
    except (LogError, StoreError, OSError, ImportError):
        raise
    except Exception as error:
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        raise click.ClickException(
            f"{function} failed: {type(error).__name__}: {error} "
            f"({click.format_filename(frame.f_code.co_filename)}, line {line})"
        ) from error
