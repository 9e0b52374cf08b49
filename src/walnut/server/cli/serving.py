"""`walnut init`, `walnut serve`, `walnut restart`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from walnut.client.client import Client
from walnut.client.errors import ClientError
from walnut.client.place import Directory
from walnut.log.cli.arguments import examples
from walnut.server.cli.options import read, settings_flags
from walnut.server.config.document import default_document, write_default
from walnut.server.config.model import DATA, FILE
from walnut.server.directory import Running, running_in
from walnut.server.errors import NotRunning, RestartFailed
from walnut.server.subsystems import find, sections
from walnut.shutdown.handover import telling_predecessor

POLL_SECONDS: Final = 0.05
"""Between two looks at who has the data directory."""
GAP_SECONDS: Final = 10.0
"""In which nobody has it before that means that nobody will: between the two it is milliseconds."""


@click.command(epilog=examples("walnut init", "walnut init --config other.toml"))
@click.option(
    "--config", "file", metavar="FILE", type=click.Path(path_type=Path), default=Path(FILE),
    help=f"Where to; ./{FILE} if not given.",
)  # fmt: skip
def init(file: Path) -> None:
    """Write a walnut.toml with every setting, explained and at its default."""
    classes = find()
    write_default(file, default_document(sections(classes), classes))
    click.echo(
        f"wrote {click.format_filename(file)}: everything in it is a default; `walnut serve` next"
    )


@click.command(epilog=examples("walnut serve", "walnut serve --data data/walnut --log-format json"))
@settings_flags
def serve(file: Path | None, **given: Any) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    A second signal skips the waiting for what is under way, a third ends the process on the spot.
    SIGHUP reads the settings again; SIGUSR2, or `walnut restart`, hands over to a new process.
    """
    from walnut.server.run import run  # noqa: PLC0415 -- Litestar takes a while to import

    started = time.time_ns()
    with telling_predecessor():
        _, classes = read(file, given)
        command = [sys.executable, "-m", "walnut.cli", *sys.argv[1:]]
        code = run(lambda: read(file, given)[0], classes, command, started=started)
    raise click.exceptions.Exit(code)


@click.command(epilog=examples("walnut restart walnut-data --timeout 30"))
@click.argument("directory", metavar="[DIR]", default=DATA, type=Directory(""))
@click.option("--timeout", default=60.0, show_default=True, metavar="SECONDS",
              help="To wait for the new one.")  # fmt: skip
def restart(directory: str, timeout: float) -> None:
    """Hand over from the running server of DIR to a new process, without refusing a connection.

    The new process reads the settings and the code as they are now. If it does not come up, the old
    one goes on as if nothing had happened, and this says why.

    Without DIR: ./walnut-data.
    """
    data = Path(directory).absolute()
    old = running_in(data)
    os.kill(old.pid, signal.SIGUSR2)
    new = _wait_for_successor(data, old, timeout)
    click.echo(f"process {new.pid} (Walnut {new.version}) has taken over from {old.pid}")


def _wait_for_successor(data: Path, old: Running, timeout: float) -> Running:
    """Wait until another process than the old one serves. Raises RestartFailed."""
    began = seen = time.monotonic()
    while (now := time.monotonic()) < began + timeout:
        time.sleep(POLL_SECONDS)
        try:
            running = running_in(data)
        except NotRunning as nobody:
            if now - seen > GAP_SECONDS:
                raise RestartFailed(
                    f"process {old.pid} has handed over and ended, and no other has {data} open: the log "
                    "of the server says why; start it with `walnut serve`"
                ) from nobody
            continue
        seen = now
        if running.pid != old.pid:
            if _serves(data):
                return running
        elif running.restarts_failed > old.restarts_failed:
            raise RestartFailed(f"process {old.pid} did not hand over: {running.why}")
    raise RestartFailed(
        f"no other process than {old.pid} serves {data} after {timeout:g} s: the log of the server says why"
    )


def _serves(data: Path) -> bool:
    """Whether a process that has the directory answers. Its socket holds this until it does."""
    try:
        with Client(data, patience=0.0) as client:
            client.status()
    except ClientError:
        return False  # it is on its way, or has ended
    return True
