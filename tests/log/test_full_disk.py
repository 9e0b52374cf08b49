"""A disk that is full: writers are told, readers go on, nothing refused ever appears, and writing
resumes by itself. prometheus/prometheus#13027."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.log.children import REFUSED, payload
from tests.log.helpers import abandon, contents
from tests.log.processes import child
from walnut.log import Log, LogOptions, LogReader
from walnut.log.errors import LogError, LogFull
from walnut.log.verify import verify

OPTIONS = LogOptions(segment_bytes=64 * 1024, record_bytes=64 * 1024, buffer_bytes=64 * 1024)


def test_under_a_file_size_limit(tmp_path: Path) -> None:
    acknowledged: dict[int, bytes] = {}
    refused = 0
    with child("limited", tmp_path) as writer:
        lines = writer.hear_all()
        assert writer.end() == 0
    for line in lines:
        match line:
            case ["ack", lsn, *words]:
                assert int(lsn) == len(acknowledged) + 1, "LSNs stay dense"
                acknowledged[int(lsn)] = payload(*map(int, words))
            case ["refused", *_]:
                refused += 1
            case ["readable", count, durable, following]:
                assert int(count) == int(durable) == int(following) - 1 == len(acknowledged)
            case ["taken", *_]:
                pytest.fail("a record was taken by a full disk")
    assert refused == 10
    assert ["housekeeping", "LogFull"] in lines
    assert ["housekeeping", "True"] in lines
    assert ["full", "before"] in lines
    assert sum(line[0] == "ack" and line[2] == "2" for line in lines) == 200
    assert not verify(tmp_path).damages
    with Log(tmp_path) as log:
        assert not log.recovery.clean
        assert contents(log) == acknowledged


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[None]:
    """A file system of its own with so many KiB of room at `path`.

    Raises PermissionError where this machine does not let us mount one."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "walnut-test", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        raise PermissionError("mounting takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def small_disk_or_limit(
    path: Path, monkeypatch: pytest.MonkeyPatch, size: int = 512
) -> Iterator[None]:
    """A small disk, of so many KiB, or, where nothing can be mounted, a bound on what this process may allocate.

    Not a skip: the limits of a real small disk are tested wherever the tests run as root."""
    with ExitStack() as stack:
        try:
            stack.enter_context(small_disk(path, size))
        except PermissionError:
            stack.enter_context(bounded_disk(path, monkeypatch, size))
        yield


@contextmanager
def bounded_disk(path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> Iterator[None]:
    """What this process allocates below `path` is bounded; anything else works as ever."""
    room = size * 1024
    real = os.posix_fallocate

    def bounded(fd: int, offset: int, size: int) -> None:
        used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if used + size > room:
            raise OSError(28, "No space left on device")
        real(fd, offset, size)

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", bounded)
        yield


@pytest.mark.parametrize("background", [True, False])
def test_on_a_small_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, background: bool
) -> None:
    options = LogOptions(
        segment_bytes=64 * 1024,
        record_bytes=64 * 1024,
        buffer_bytes=64 * 1024,
        background=background,
    )
    disk = tmp_path / "disk"
    with small_disk_or_limit(disk, monkeypatch):
        expected: dict[int, bytes] = {}
        log = Log(disk / "log", options)
        for again in range(3):
            number = 0
            with pytest.raises(LogFull, match="nothing was written"):
                while True:
                    data = payload(again, number)
                    expected[log.append(data)] = data
                    number += 1
            assert number > 200
            for _ in range(3):
                with pytest.raises(LogFull):
                    log.append(REFUSED)
                with pytest.raises(LogFull):
                    log.append_many([b"refused", REFUSED])
            assert contents(log) == expected
            with LogReader(disk / "log") as reader:
                assert contents(reader) == expected
                assert not verify(disk / "log").damages
            if not background:
                with pytest.raises(LogFull, match="no room"):
                    log.housekeep()
            # Room is made by the log's own means.
            middle = (log.first_lsn + log.next_lsn) // 2
            assert log.truncate_before(middle) == middle
            expected = {lsn: data for lsn, data in expected.items() if lsn >= middle}
        for number in range(100):
            data = payload(9, number)
            expected[log.append(data)] = data
        assert contents(log) == expected
        abandon(log)
        log.close()
        with Log(disk / "log", options) as log:
            assert contents(log) == expected


def test_a_disk_filled_by_others_to_the_last_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    with small_disk_or_limit(disk, monkeypatch):
        log = Log(disk / "log", OPTIONS)
        expected = {}
        for number in range(100):
            expected[log.append(payload(0, number))] = payload(0, number)
        ballast = disk / "ballast"
        fill(ballast)
        with pytest.raises(LogFull):
            for number in range(100, 10_000):
                expected[log.append(payload(0, number))] = payload(0, number)
        assert contents(log) == expected
        # Truncating takes room for CONTROL. It may be refused, by name, and must break nothing.
        middle = log.next_lsn // 2
        try:
            log.truncate_before(middle)
        except LogError as error:
            assert isinstance(error, LogFull)  # noqa: PT017
        else:
            expected = {lsn: data for lsn, data in expected.items() if lsn >= middle}
        assert contents(log) == expected
        log.close()  # all is durable: no room for the mark of a clean end is no failure
        try:
            with Log(disk / "log", OPTIONS) as log:
                assert contents(log) == expected
        except LogFull:
            with LogReader(disk / "log") as reader:
                assert contents(reader) == expected
        ballast.unlink()
        with Log(disk / "log", OPTIONS) as log:
            assert contents(log) == expected
            assert log.append(b"again") == max(expected) + 1


def fill(ballast: Path) -> None:
    """Take all the room there is (512 KiB at most), to the last byte."""
    with ballast.open("wb", buffering=0) as file:
        try:
            for _ in range(2 * 1024):
                file.write(bytes(256))
        except OSError:
            return


def test_waiters_of_a_full_disk_are_all_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk_or_limit(tmp_path / "disk", monkeypatch):
        options = LogOptions(
            segment_bytes=64 * 1024, frame_bytes=4096, record_bytes=4096, buffer_bytes=2**21
        )
        with Log(tmp_path / "disk" / "log", options) as log:
            sent: dict[int, bytes] = {}
            for _ in range(60):
                tickets = []
                for n in range(200):
                    data = b"%d" % n * 40
                    try:
                        tickets.append((data, log.submit(data)))
                    except LogFull:
                        continue
                for data, ticket in tickets:
                    try:
                        assert ticket.wait(60) not in sent
                        sent[ticket.lsn] = data
                    except LogFull:
                        pass
            assert log.metrics.refused
            assert contents(log) == sent
            assert log.next_lsn == len(sent) + 1
