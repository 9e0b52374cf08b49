"""`make run`: a server on embedded defaults in a directory of its own, with a hotel's data, and what to
do with it.

    python -m walnut.server.demo.newcomer [--once]

What must stay true: what it prints works as pasted. `--once` runs all of it and ends by itself, so that
a test can see that.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.text import Text

from walnut.client.client import Client
from walnut.client.errors import ClientError
from walnut.log.show import console, duration
from walnut.server.config.load import load
from walnut.server.config.model import PORT
from walnut.server.demo.hotel import BOOKED, ROOMS, fill
from walnut.server.run import run
from walnut.server.server import Server
from walnut.server.subsystems import find, sections
from walnut.shutdown.errors import CannotListen
from walnut.shutdown.handover import telling_predecessor
from walnut.shutdown.model import Event, ExitCode, Phase

HOME: Final = Path(".build/run")
TOKEN: Final = HOME / "operator-token"
DATA: Final = HOME / "data"


def main(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Serve until a signal, or `--once`. Returns the exit code."""
    with telling_predecessor():
        return _serve(arguments)


def _serve(arguments: Sequence[str]) -> int:
    started = time.time_ns()
    HOME.mkdir(parents=True, exist_ok=True)
    classes = find()
    shown = _Shown(once="--once" in arguments)
    port = PORT
    while True:
        flags: Mapping[str, tuple[str, Any]] = {
            "server.data": ("make run", str(DATA)),
            "server.port": ("make run", str(port)),
            "access.operator_token_file": ("make run", str(TOKEN.absolute())),
            "logging.level": ("make run", "warning"),
        }
        _forget_token()
        try:
            return run(
                partial(load, sections(classes), list(classes), flags=flags),
                classes,
                [sys.executable, "-m", "walnut.server.demo.newcomer", *arguments],
                started=started,
                observe=shown.watch,
            )
        except CannotListen:
            if port == 0:
                raise
            port = 0  # something else has the usual one
            shown.note(f"port {PORT} is taken, so a free one it is")


def _forget_token() -> None:
    """A token file of a data directory that was removed is of no use, and in the way."""
    if not (DATA / "walnut.json").exists() or (TOKEN.exists() and not TOKEN.stat().st_size):
        TOKEN.unlink(missing_ok=True)


def _another_token(client: Client) -> None:
    """The file was lost since the first start; over the local socket its owner may make another."""
    name = f"operator-{time.time_ns()}"
    made = client.transport.request(
        "POST", "/v1/tokens", body=msgspec.json.encode({"name": name, "scopes": ["*"]})
    )
    with os.fdopen(os.open(TOKEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{msgspec.json.decode(made.body)['token']}\n")


def _let_go_of_stdout() -> None:
    """What is still to be said goes nowhere, or each line of it would raise again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class _Shown:
    """What is shown on the terminal: a welcome, then the stop step by step."""

    def __init__(self, *, once: bool) -> None:
        self._once = once
        self._out = console()

    def watch(self, server: Server) -> None:
        """Show this server. Called before it starts."""
        loop = asyncio.get_running_loop()

        def seen(event: Event) -> None:
            if event.kind == "phase" and event.phase is Phase.RUNNING:
                greeter = threading.Thread(target=self._greet, args=(server, loop), daemon=True)
                greeter.start()
            elif event.phase not in {Phase.STARTING, Phase.RUNNING}:
                self._step(event)

        server.lifecycle.observe(seen)

    def note(self, words: str) -> None:
        """A line."""
        self._out.print(Text(words, "dim"))

    def _greet(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        ready = time.time_ns()
        stop = server.lifecycle.stop
        try:
            self._fill(server)
            self._welcome(server, (ready - server.info.started) / 1e9)
        except BrokenPipeError:  # as in `make run | head`: nobody would see how to stop it
            _let_go_of_stdout()
            loop.call_soon_threadsafe(stop, "whoever read the output went away")
        finally:
            if self._once:
                loop.call_soon_threadsafe(stop, "--once")

    def _fill(self, server: Server) -> None:
        try:
            with Client(server.info.data) as client:
                fill(client)
                if not TOKEN.exists():
                    _another_token(client)
        except ClientError as error:
            self._out.print(Text(f"the demo data set is not complete: {error}", "bold red"))

    def _welcome(self, server: Server, seconds: float) -> None:
        token = TOKEN.read_text(encoding="utf-8").strip()
        out, url = self._out, server.url
        out.print(Text.assemble(("Walnut serves", "bold green"), f" after {duration(seconds)}"))
        for name, value in (
            ("address", url),
            ("console", f"{url}/console"),
            ("operator token", token),
            ("data", f"{DATA} (a hotel's rooms and bookings; remove it to begin anew)"),
        ):
            out.print(Text.assemble((f"  {name:<16}", "dim"), value), soft_wrap=True)
        out.print("\nTry, in another terminal:\n")
        for line in curl_lines(url):
            out.print(Text(f"  {line}"), soft_wrap=True)
        out.print("\nThen:\n")
        walnut = _walnut()
        for line in (
            f"{walnut} demo {DATA}",
            f"{walnut} top {DATA}",
            f"{walnut} status {DATA}",
            f"{walnut} restart {DATA}",
        ):
            out.print(Text(f"  {line}"), soft_wrap=True)
        out.print(Text("\nCtrl-C stops it, step by step; a second one skips the waiting.", "dim"))

    def _step(self, event: Event) -> None:
        match event.kind:
            case "phase":
                self._out.print(Text(f"  {event.phase.value}", "bold"))
            case "stopped":
                self._out.print(
                    Text(f"    {event.component} stopped in {duration(event.seconds)}", "dim")
                )
            case "progress" if event.counts.total:
                self._out.print(Text(f"    waiting for {event.counts}", "dim"))
            case "overran" | "failed":
                self._out.print(Text(f"    {event.component}: {event.kind} {event.detail}", "red"))


def curl_lines(url: str) -> list[str]:
    """Three lines to paste."""
    key = f'-H "Authorization: Bearer $(cat {TOKEN})"'
    return [
        f"curl -s {key} '{url}/v1/tables/{ROOMS}/rows?limit=3'",
        f'curl -s {key} -d \'{{"room":"lisbon-001","guest":"you"}}\' {url}/v1/topics/{BOOKED}/messages',
        f"curl -s {key} '{url}/v1/topics/{BOOKED}/messages?start=0&limit=3'",
    ]


def _walnut() -> str:
    """How `walnut` is called from here."""
    near = Path(".venv/bin/walnut")
    return (
        str(near) if near.exists() else shlex.quote(str(Path(sys.executable).with_name("walnut")))
    )


if __name__ == "__main__":
    code = main()
    os._exit(code) if code == ExitCode.KILLED else sys.exit(code)
