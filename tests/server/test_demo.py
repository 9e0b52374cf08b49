"""`make run` and `walnut demo`, as a newcomer meets them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.process import PATIENCE, Process, walnut
from walnut.client.client import Client
from walnut.server.demo.hotel import BOOKED, BOOKINGS, FIRST_BOOKINGS, ROOMS, booking, fill, rooms

RUN = [sys.executable, "-m", "walnut.server.demo.newcomer"]
ENV = {**os.environ, "WALNUT_CONSOLE__ENABLED": "false", "COLUMNS": "100"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory like the one `make run` runs in."""
    program = tmp_path / ".venv" / "bin" / "walnut"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m walnut.cli "$@"\n')
    program.chmod(0o755)
    return tmp_path


def once(project: Path) -> str:
    done = subprocess.run(
        [*RUN, "--once"],
        check=False, cwd=project, env=ENV, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "not complete" not in done.stdout
    return done.stdout


def test_what_it_prints_works_as_pasted_and_ctrl_c_shows_the_stop(project: Path) -> None:
    with subprocess.Popen(
        RUN, cwd=project, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        said = ""
        while "Ctrl-C stops it" not in said:
            line = server.stdout.readline()
            assert line, said
            said += line
        curls = re.findall(r"^  (curl .+)$", said, re.MULTILINE)
        assert len(curls) == 3
        for command in curls:
            done = subprocess.run(
                command, check=True, shell=True, cwd=project, capture_output=True, text=True
            )
            answer = json.loads(done.stdout)
            assert answer.get("items") or "lsn" in answer, answer
        status = re.search(r"^  (\S+walnut status .+)$", said, re.MULTILINE)
        assert status
        done = subprocess.run(
            status.group(1), check=True, shell=True, cwd=project, capture_output=True, text=True
        )
        assert done.stdout
        server.send_signal(signal.SIGINT)
        rest, errors = server.communicate(timeout=PATIENCE)
        assert server.returncode == 0
        assert errors == ""
    steps = [rest.index(f"  {step}\n") for step in ("not ready", "drain", "stop", "closed")]
    assert steps == sorted(steps)
    assert "store stopped in" in rest


def test_a_second_run_goes_on_with_the_data_of_the_first(project: Path) -> None:
    token = re.compile(r"operator token +(\S+)")
    first = token.search(once(project))
    second = token.search(once(project))
    assert first
    assert second
    assert first.group(1) == second.group(1)
    file = project / ".build" / "run" / "operator-token"
    assert file.stat().st_mode & 0o777 == 0o600
    file.unlink()
    third = token.search(once(project))
    assert third
    assert third.group(1) not in {first.group(1), ""}


def test_it_stops_when_whoever_reads_its_output_goes_away(project: Path) -> None:
    with subprocess.Popen(
        RUN, cwd=project, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdout.close()
        assert (server.wait(PATIENCE), server.stderr.read()) == (0, b"")


def test_a_port_that_is_taken_is_no_reason_not_to_run(project: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 8420))
            other.listen()
        except OSError:
            pass  # somebody else has it, which serves as well
        assert "port 8420 is taken" in once(project)


def test_filling_the_hotel_twice_is_filling_it_once(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as server:
        server.ready()
        with Client(tmp_path / "data") as client:
            fill(client)
            fill(client)
            assert len(list(client.table(ROOMS).scan())) == len(rooms())
            assert client.topic(BOOKED).info().messages == FIRST_BOOKINGS
            keys = {row["key"] for row in client.table(BOOKINGS).scan()}
            assert len(keys) == FIRST_BOOKINGS
            assert booking("lisbon-000", 0, "x")[0]["key"] in keys


def test_the_demo_drives_a_server_and_says_what_came_of_it(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as server:
        server.ready()
        done = walnut("demo", str(tmp_path / "data"), "--seconds", "2", "--rate", "40")
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"guests book a room \d+/s; sensors report \d+/s; .*lost 0", done.stdout)
        assert "half under" in done.stdout
        with Client(tmp_path / "data") as client:
            assert client.topic(BOOKED).info().messages > FIRST_BOOKINGS
        assert server.stop() == 0


def test_the_demo_without_a_server_says_how_to_start_one(tmp_path: Path) -> None:
    done = walnut("demo", str(tmp_path))
    assert done.returncode == 1
    assert "start one with `walnut serve`" in done.stderr
