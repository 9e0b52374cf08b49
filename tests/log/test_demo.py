"""`make log`, as a newcomer sees it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from walnut.log import LogReader
from walnut.log.demo import find_file

PROGRAM = [sys.executable, "-m", "walnut.log.demo"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory like the one `make log` runs in."""
    program = tmp_path / ".venv" / "bin" / "walnut"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m walnut.cli "$@"\n')
    program.chmod(0o755)
    (tmp_path / "README.md").write_text("# Walnut\n")
    (tmp_path / "some.log").write_bytes(b"".join(b"line %d\n" % n for n in range(1, 2001)))
    return tmp_path


def demo(project: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *args],
        check=False,
        cwd=project,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )


def contents(project: Path) -> list[bytes]:
    with LogReader(project / "build" / "run" / "log") as reader:
        return [bytes(record.data) for record in reader.read()]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_it_appends_verifies_and_shows_a_file(columns: str, project: Path) -> None:
    done = demo(project, "some.log", COLUMNS=columns)
    assert (done.returncode, done.stderr) == (0, "")
    for fact in ("2,000 lines", "LSN 1 to 2000", "records/s", "fsync", "sound", "line 2000"):
        assert fact in done.stdout
    assert "\x1b" not in done.stdout
    body, _ = done.stdout.split("Try next")
    assert max(map(len, body.splitlines())) <= int(columns)
    assert contents(project) == [b"line %d" % n for n in range(1, 2001)]


def test_the_commands_it_ends_with_work_as_pasted(project: Path) -> None:
    shown = demo(project, "some.log").stdout
    pasted = re.findall(r"^  (.*\.venv/bin/walnut .*)$", shown, re.MULTILINE)
    assert len(pasted) == 5
    for command in pasted:
        done = subprocess.run(
            command, check=False, shell=True, cwd=project, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_a_second_run_goes_on_with_the_log_of_the_first(project: Path) -> None:
    assert "new, made in" in demo(project, "some.log").stdout
    assert "goes on after LSN 2000" in demo(project, "some.log").stdout
    assert len(contents(project)) == 4000


def test_a_file_of_a_few_lines_has_its_headings_whole(project: Path) -> None:
    (project / "few.log").write_text("one\ntwo\n")
    run = demo(project, "few.log")
    assert run.returncode == 0
    assert re.search(r"^LSN +data", run.stdout, re.MULTILINE)


def test_binary_and_endless_lines_and_a_missing_last_newline_are_fine(project: Path) -> None:
    data = bytes(range(256)) * 20 + b"\n" + b"x" * 100_000
    (project / "binary").write_bytes(data)
    done = demo(project, "binary")
    assert (done.returncode, "\x1b" in done.stdout) == (0, False)
    assert b"\n".join(contents(project)) == data


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing", "No such file"), ("build", "Is a directory"), ("empty", "is empty")],
)
def test_a_file_it_cannot_use_is_one_clear_line(name: str, reason: str, project: Path) -> None:
    (project / "build").mkdir()
    (project / "empty").touch()
    done = demo(project, name)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"walnut: {name}.*{reason}.*\n", done.stderr)
    assert not (project / "build" / "run").exists()


def test_a_terminal_without_our_characters_and_a_reader_that_leaves_are_fine(
    project: Path,
) -> None:
    done = demo(project, "some.log", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    with subprocess.Popen(
        [*PROGRAM, "some.log"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert (process.wait(30), process.stderr.read()) == (141, b"")


def test_something_else_in_its_place_is_left_alone(project: Path) -> None:
    other = project / "build" / "run" / "log"
    other.mkdir(parents=True)
    (other / "letter.txt").touch()
    done = demo(project, "some.log")
    assert done.returncode == 1
    assert "letter.txt" in done.stderr


def test_without_a_name_it_finds_a_file_on_any_machine(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert find_file().exists()
    monkeypatch.setattr("walnut.log.demo.FILES", ("/nowhere", "some.log"))
    assert find_file() == Path("some.log")
