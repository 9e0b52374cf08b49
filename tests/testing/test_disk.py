"""The simulated disk loses what a real one may lose, and nothing else."""

import errno
import random

import pytest

from walnut.log import Log, LogOptions
from walnut.log.disk import replace_file
from walnut.testing import Crash, SimDisk


def test_what_is_synced_survives_and_what_is_not_may_go() -> None:
    outcomes = set()
    for seed in range(50):
        disk = SimDisk(seed)
        directory = disk.directory("d", create=True)
        file = directory.create("f")
        file.write([b"a" * 1024], 0)
        file.sync()
        directory.sync()
        file.write([b"b" * 1024], 512)
        disk.power_cut()
        data = directory.open("f").read(4096, 0)
        assert data[:512] == b"a" * 512
        assert set(data) <= set(b"ab\0")
        outcomes.add(data)
    assert len(outcomes) > 5


def test_names_that_were_not_synced_may_go_and_a_rename_is_whole() -> None:
    seen = set()
    for seed in range(100):
        disk = SimDisk(seed)
        directory = disk.directory("d", create=True)
        replace_file(directory, "f", b"old")
        file = directory.create("f.tmp")
        file.write([b"new"], 0)
        file.sync()
        directory.rename("f.tmp", "f")
        disk.power_cut()
        names = frozenset(directory.names())
        assert "f" in names
        seen.add((names, directory.open("f").read(9, 0)))
    assert seen == {
        (frozenset({"f"}), b"old"),
        (frozenset({"f"}), b"new"),
        (frozenset({"f", "f.tmp"}), b"old"),
    }


def test_a_failed_sync_leaves_pages_that_look_clean_and_are_lost() -> None:
    disk = SimDisk()
    directory = disk.directory("d", create=True)
    file = directory.create("f")
    file.write([bytes(512)], 0)
    file.sync()
    directory.sync()
    file.write([b"x" * 512], 0)
    disk.faults.fail_sync_after = 0
    with pytest.raises(OSError, match="simulated"):
        file.sync()
    assert file.read(1, 0) == b"x"
    file.sync()
    disk.power_cut()
    assert directory.open("f").read(1, 0) == b"\0"


def test_a_full_disk_refuses_growth_and_takes_overwrites() -> None:
    disk = SimDisk()
    disk.faults.capacity = 1000
    file = disk.directory("d", create=True).create("f")
    file.allocate(1000)
    file.write([b"x" * 1000], 0)
    with pytest.raises(OSError, match="space") as caught:
        file.write([b"x"], 1000)
    assert caught.value.errno == errno.ENOSPC


def test_nothing_runs_after_a_crash_until_the_machine_is_on_again() -> None:
    disk = SimDisk()
    directory = disk.directory("d", create=True)
    file = directory.create("f")
    disk.faults.crash_after = 0
    for call in (file.sync, file.size, directory.names):
        with pytest.raises(Crash):
            call()
    disk.kill()
    assert directory.names() == ["f"]
    with pytest.raises(Crash):
        file.size()


def test_locks_keep_others_out_until_the_process_dies() -> None:
    disk = SimDisk()
    directory = disk.directory("d", create=True)
    first, second = directory.create("f"), directory.open("f")
    assert first.lock(exclusive=True)
    assert not second.lock(exclusive=False)
    first.close()
    assert second.lock(exclusive=True)
    disk.kill()
    assert directory.open("f").lock(exclusive=True)


def test_users_can_test_their_own_code_on_it() -> None:
    disk = SimDisk(random.randrange(1000))
    options = LogOptions(disk=disk, background=False, segment_bytes=16 * 1024)
    log = Log("mine", options)
    log.append(b"acknowledged")
    log.submit(b"in flight")
    disk.power_cut()
    with Log("mine", options) as log:
        assert [bytes(record.data) for record in log.read()] == [b"acknowledged"]
