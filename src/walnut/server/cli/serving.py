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
from walnut.log.cli.arguments import examples
from walnut.server.cli.options import read, settings_flags
from walnut.server.config.document import default_document, write_default
from walnut.server.config.model import FILE
from walnut.server.directory import Running, running_in
from walnut.server.errors import NotRunning, RestartFailed
from walnut.server.subsystems import find, sections

POLL_SECONDS: Final = 0.05
"""Between two looks at who has the data directory."""


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
    _, classes = read(file, given)
    command = [sys.executable, "-m", "walnut.cli", *sys.argv[1:]]
    raise click.exceptions.Exit(
        run(lambda: read(file, given)[0], classes, command, started=started)
    )


@click.command(epilog=examples("walnut restart", "walnut restart --timeout 30"))
@settings_flags
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait for the new one.")
def restart(file: Path | None, timeout: float, **given: Any) -> None:
    """Hand over from the running server to a new process, without refusing a connection.

    The new process reads the settings and the code as they are now. If it does not come up, the old
    one goes on as if nothing had happened.
    """
    settings, _ = read(file, given)
    old = running_in(settings.data)
    os.kill(old.pid, signal.SIGUSR2)
    new = _wait_for_successor(settings.data, old, timeout)
    click.echo(f"process {new.pid} (Walnut {new.version}) has taken over from {old.pid}")


def _wait_for_successor(data: Path, old: Running, timeout: float) -> Running:
    """Wait until another process than the old one serves."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        try:
            now = running_in(data)
        except NotRunning:
            continue  # in between
        if now.pid != old.pid:
            # Its socket holds this until it serves, and no longer.
            with Client(data, patience=max(0.0, end - time.monotonic())) as client:
                client.status()
            return now
    raise RestartFailed(
        f"process {old.pid} still has {data} open after {timeout:g} s: its log says why it did not hand over"
    )
