"""The data directory: for one server, for its owner, of a format that is known."""

import os
import stat
from pathlib import Path

import pytest

from walnut.server.directory import IDENTITY, DataDirectory, running_in
from walnut.server.errors import DirectoryInUse, DirectoryUnusable, NotRunning


def test_it_is_made_for_its_owner_only_and_stays_so(tmp_path: Path) -> None:
    DataDirectory(tmp_path / "a" / "data", "1").lock().close()
    assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700
    (tmp_path / "a" / "data").chmod(0o755)
    DataDirectory(tmp_path / "a" / "data", "1")
    assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700
    for name in (IDENTITY, "lock"):
        assert stat.S_IMODE((tmp_path / "a" / "data" / name).stat().st_mode) == 0o600


def test_a_second_one_is_told_who_has_it(tmp_path: Path) -> None:
    first = DataDirectory(tmp_path, "1").lock()
    with pytest.raises(DirectoryInUse, match=rf"process {os.getpid()} \(Walnut 1\)"):
        DataDirectory(tmp_path, "1").lock()
    assert running_in(tmp_path).pid == os.getpid()
    first.close()
    with pytest.raises(NotRunning, match="no server has"):
        running_in(tmp_path)
    DataDirectory(tmp_path, "1").lock().close()


def test_nobody_runs_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(NotRunning):
        running_in(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_directory_with_something_else_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DirectoryUnusable, match=r"not empty \(letter\.txt is in it\)"):
        DataDirectory(tmp_path, "1")
    assert [one.name for one in tmp_path.iterdir()] == ["letter.txt"]


def test_a_directory_of_another_format_is_refused_and_names_who_made_it(tmp_path: Path) -> None:
    (tmp_path / IDENTITY).write_text('{"format":2,"made_by":"9.0"}')
    with pytest.raises(DirectoryUnusable, match=r"made by Walnut 9\.0 in format 2.*knows format 1"):
        DataDirectory(tmp_path, "1")
    (tmp_path / IDENTITY).write_text("{")
    with pytest.raises(DirectoryUnusable, match="is damaged"):
        DataDirectory(tmp_path, "1")


def test_a_crash_while_it_is_made_leaves_a_directory_that_can_be_made(tmp_path: Path) -> None:
    (tmp_path / f"{IDENTITY}.new").write_text('{"form')
    DataDirectory(tmp_path, "1").lock().close()
    assert (tmp_path / IDENTITY).exists()


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DirectoryUnusable, match="can't be used"):
        DataDirectory(tmp_path / "file", "1")
    with pytest.raises(DirectoryUnusable, match="can't be used"):
        DataDirectory(tmp_path / "file" / "data", "1")
