"""`walnut`: one command-line tool, with a group of commands for each subsystem.

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
from importlib import metadata
from typing import Any, NoReturn

import click

from walnut.booking.cli import booking
from walnut.booking.errors import BookingError
from walnut.jobs.cli import jobs
from walnut.jobs.errors import JobsError
from walnut.log import LogError
from walnut.log.cli import arguments, log
from walnut.store.cli import store
from walnut.store.errors import StoreError

REFUSED = 1
WRONG_USE = 2
INTERRUPTED = 130
READER_LEFT = 141


class Root(click.Group):
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
        except (LogError, StoreError, JobsError, BookingError) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(_say(error)) from error
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


def _version() -> str:
    try:
        return metadata.version("walnutdb")
    except metadata.PackageNotFoundError:
        return "(run from its source)"


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=arguments.examples(
        "printf 'hello\\nworld\\n' | walnut log append data/log", "walnut log tail data/log"
    ),
)
@click.version_option(_version(), message="walnut %(version)s")
def walnut() -> None:
    """Walnut: one write-ahead log, and the backend that grows on it."""


walnut.add_command(log)
walnut.add_command(store)
walnut.add_command(jobs)
walnut.add_command(booking)


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


if __name__ == "__main__":
    main()
