"""What `--help` says fits the screen, and its examples work, whatever the command."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.jobs.office import fill
from tests.log.helpers import SMALL
from tests.server.process import Process
from tests.store.helpers import SMALL as STORE
from walnut.cli import walnut
from walnut.log import Log
from walnut.server.access.tokens import Tokens, Wanted
from walnut.server.directory import running_in
from walnut.store import Store
from walnut.store.document import Document
from walnut.topics import Topics
from walnut.web.caller import Caller

WALNUT = [sys.executable, "-m", "walnut.cli"]


def commands(group: click.Group, path: str = "walnut") -> Iterator[tuple[str, click.Command]]:
    yield path, group
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(walnut))


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a log and a file in it, and `walnut` on the PATH."""
    program = tmp_path / "bin" / "walnut"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(WALNUT)} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    home = tmp_path / "home"
    home.mkdir()
    (home / "access.log").write_bytes(b"GET /\nGET /about\n")
    with Log(home / "data" / "log", SMALL) as log:
        log.append_many([b"record %d" % number for number in range(1, 21)])
    make_shop(home)
    return home


APP = """
import msgspec

class Room(msgspec.Struct):
    hotel: str
    number: int = 1
    beds: int = 1

def tables(store):
    rooms = store.table("rooms", Room, key=lambda room: (room.hotel, room.number))
    rooms.index("by_beds", lambda room: room.beds)
    return rooms
"""


def make_shop(home: Path) -> None:
    """A store with documents, and a table that the program `app` declares."""
    (home / "app.py").write_text(APP)
    program: dict[str, Any] = {}
    exec(APP, program)
    with Store(home / "shop", STORE) as store:
        notes = store.table("notes", Document, key=lambda note: note.key)
        rooms = program["tables"](store)
        topics = Topics(store)
        with store.transaction() as tx:
            topics.create(tx, "orders")
            topics.append(tx, "orders", [b"order 1", b"order 2", b"order 3"])
            notes.put(tx, Document("n1", "buy walnuts"))
            for number in (1, 2):
                rooms.put(tx, program["Room"]("h1", number))


@pytest.mark.parametrize("path", COMMANDS)
def test_the_examples_in_every_help_text_work(path: str, newcomer: Path) -> None:
    result = CliRunner().invoke(walnut, [*path.split()[1:], "--help"], prog_name="walnut")
    assert result.exit_code == 0
    if path.startswith("walnut jobs"):
        with Store(newcomer / "work", STORE) as store:
            fill(store)
    if path.startswith("walnut token"):
        with Store(newcomer / "walnut-data" / "store", STORE) as store:
            Tokens(store).create_now(Wanted(name="old", scopes=("*",)), Caller("test", ("*",), ""))
    examples = re.findall(r"^ +\$ (.+)$", result.stdout, re.MULTILINE)
    assert any(f"{path} " in example for example in examples)
    serving = Process(newcomer / "walnut-data").ready() if path in SERVED else None
    try:
        run_examples(examples, newcomer)
    finally:
        if serving is not None:
            with serving:
                os.kill(running_in(newcomer / "walnut-data").pid, signal.SIGTERM)
                serving.end()


SERVED = {"walnut restart", "walnut demo"}
"""Commands whose examples want a server."""


def run_examples(examples: list[str], newcomer: Path) -> None:
    for example in examples:
        if example.startswith("walnut serve"):
            with subprocess.Popen(
                shlex.split(example),
                cwd=newcomer,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "WALNUT_SERVER__PORT": "0", "WALNUT_CONSOLE__ENABLED": "false"},
            ) as process:
                assert process.stderr is not None
                said = ""
                while '"ready"' not in said:
                    line = process.stderr.readline()
                    assert line, said
                    said += line
                process.send_signal(signal.SIGINT)
                process.stderr.read()
                assert process.wait(60) == 0
            continue
        if "--follow" in example:
            with subprocess.Popen(
                shlex.split(example), cwd=newcomer, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline().startswith((b"record ", b'{"lsn":', b'{"offset":'))
                process.send_signal(signal.SIGINT)
                assert process.wait(30) == 130
            continue
        done = subprocess.run(
            example,
            check=False,
            shell=True,
            cwd=newcomer,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_help_fits_eighty_columns_and_leaves_no_command_without_a_word() -> None:
    for path in COMMANDS:
        result = CliRunner().invoke(walnut, [*path.split()[1:], "--help"], terminal_width=80)
        assert max(map(len, result.stdout.splitlines())) <= 80
