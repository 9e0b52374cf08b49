"""`walnut`: one command-line tool, with a group of commands for each subsystem.

    groups.py       which commands there are; each is imported when it is used

What must stay true: an error that has a name is one line on stderr and never a traceback, what a
script may want to read is alone on stdout, and the exit codes below mean the same everywhere.

    0    done
    1    refused: the one line on stderr says by what, and what to do about it
    2    the command line is wrong
    3    damage was found (`walnut log verify`, `walnut log archive --check`, `walnut store verify`)
    130  interrupted by Ctrl-C
    141  whoever read the output went away, as in `... | head`
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from walnut.cli.groups import Groups
from walnut.client.place import TOKEN, URL, has_name

REFUSED = 1
WRONG_USE = 2
INTERRUPTED = 130
READER_LEFT = 141


class Root(Groups):
    """Runs a command, and turns how it ended into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; the errors that have a name become click's."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _let_go_of_stdout()
            raise click.exceptions.Exit(READER_LEFT) from None
        except (KeyboardInterrupt, click.Abort):
            if sys.stderr.isatty():
                click.echo(err=True)  # ends the line on which the terminal wrote ^C
            raise click.exceptions.Exit(INTERRUPTED) from None
        except Exception as error:
            if has_name(error):
                raise click.ClickException(str(error)) from error
            if isinstance(error, OSError):
                raise click.ClickException(_say(error)) from error
            raise
        return result

    def main(self, args: Sequence[str] | None = None, **settings: Any) -> Any:  # type: ignore[override]
        """Run the command line, as click does, but say what is wrong in one line."""
        if not settings.pop("standalone_mode", True):
            return super().main(args, standalone_mode=False, **settings)
        try:
            code = super().main(args, standalone_mode=False, **settings)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(WRONG_USE)
        except click.UsageError as error:
            where = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
            _fail(error.format_message() + where, WRONG_USE)
        except click.ClickException as error:
            _fail(error.format_message(), REFUSED)
        except click.Abort:
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:  # noqa: FBT001, click calls it so
    if not wanted or ctx.resilient_parsing:
        return
    from importlib import metadata  # noqa: PLC0415, a sixth of the time that other commands take

    try:
        version = metadata.version("walnutdb")
    except metadata.PackageNotFoundError:
        version = "(run from its source)"
    click.echo(f"walnut {version}")
    ctx.exit()


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nTry:\n  $ printf 'hello\\nworld\\n' | walnut log append data/log\n"
    "  $ walnut log tail data/log",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.option(
    "--url", envvar=URL, metavar="URL", is_eager=True,
    help="Ask the server at this address, in place of the DIR of any command; also behind the "
    f"command, or in {URL}. {TOKEN} has the token.",
)  # fmt: skip
def walnut(url: str | None) -> None:
    """Walnut: one write-ahead log, and the backend that grows on it."""
    del url  # `Groups` has put it where it belongs


def main() -> None:
    """The program `walnut`."""
    walnut(prog_name="walnut")


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"walnut: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _say(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{click.format_filename(error.filename)}: {error.strerror}"


def _let_go_of_stdout() -> None:
    """What is still buffered goes nowhere, or Python would complain about it at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
