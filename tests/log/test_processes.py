"""More than one process: one writes, any number read, and none can be hurt by another's death."""

import os
import random
import signal
import threading
import zlib
from pathlib import Path

import pytest

from tests.log.children import payload
from tests.log.helpers import SMALL, contents
from tests.log.processes import child
from walnut.log import Log, LogReader
from walnut.log.errors import LogLocked


def test_a_second_writer_is_told_who_holds_the_log(tmp_path: Path) -> None:
    with child("hold", tmp_path) as holder:
        assert holder.hear() == ["open", "1"]
        for _ in range(3):
            with pytest.raises(LogLocked, match=rf"process {holder.process.pid}\b"):
                Log(tmp_path)
        with LogReader(tmp_path) as reader:
            assert contents(reader) == {1: b"held"}
        holder.tell()
        assert holder.end() == 0
    with Log(tmp_path) as log:
        assert log.recovery.clean


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    for life in range(1, 4):
        with child("hold", tmp_path) as holder:
            assert holder.hear() == ["open", str(life)]
            holder.kill()
            assert holder.end() == -signal.SIGKILL
    with Log(tmp_path) as log:
        assert not log.recovery.clean
        assert list(contents(log).values()) == [b"held"] * 3


def test_a_second_log_in_one_process_is_refused_too(tmp_path: Path) -> None:
    with Log(tmp_path), pytest.raises(LogLocked, match=str(os.getpid())):
        Log(tmp_path)


def test_a_forked_child_can_neither_write_nor_hold_the_lock(tmp_path: Path) -> None:
    with child("fork", tmp_path) as parent:
        lines = []
        while (line := parent.hear()) and line[0] != "child":
            lines.append(line[0])
        assert line, f"the child hung or died after {lines}"
        forked = int(line[1])
        try:
            assert lines == ["LogClosed"] * 7 + ["closed"]
            with pytest.raises(LogLocked, match=rf"process {parent.process.pid}\b"):
                Log(tmp_path)
            parent.tell()
            parent.process.wait(60)
            with Log(tmp_path) as log:
                os.kill(forked, 0)  # it lives
                assert contents(log) == {1: b"the parent's"}
                assert log.append(b"after") == 2
        finally:
            os.kill(forked, signal.SIGKILL)


def test_a_reader_elsewhere_never_sees_what_is_not_synced(tmp_path: Path) -> None:
    """reyn#1765 across processes: the writer's fdatasync is held back, and looked past."""
    count = 150
    acknowledged = syncs = 0
    with child("blocked_sync", tmp_path, count) as writer:
        reader: LogReader | None = None
        while line := writer.hear():
            match line:
                case ["syncing", _]:
                    syncs += 1
                    reader = reader or LogReader(tmp_path)
                    assert reader.durable_lsn == acknowledged
                    assert [r.lsn for r in reader.read()] == list(range(1, acknowledged + 1))
                    ahead = reader.tail(max(1, acknowledged), timeout=0.001)
                    assert [r.lsn for r in ahead] == ([acknowledged] if acknowledged else [])
                    writer.tell()
                case ["ack", lsn]:
                    acknowledged = int(lsn)
                case ["rolls", rolls]:
                    assert int(rolls) >= 1
        assert writer.end() == 0
        assert reader is not None
        with reader:
            assert contents(reader) == {n + 1: payload(0, n * 11) for n in range(count)}
    assert acknowledged == count
    assert syncs > count


def test_tails_elsewhere_see_every_record_once_and_in_order(tmp_path: Path) -> None:
    count = 3000
    rng = random.Random(7)
    with (
        Log(tmp_path, SMALL) as log,
        child("follow", tmp_path, count) as one,
        child("follow", tmp_path, count) as other,
    ):
        expected: dict[int, bytes] = {}
        heard: dict[int, list[list[str]]] = {}

        def hear(name: int) -> None:
            heard[name] = (one, other)[name].hear_all()

        threads = [threading.Thread(target=hear, args=(name,)) for name in (0, 1)]
        assert one.hear() == other.hear() == ["following"]
        for thread in threads:
            thread.start()
        while len(expected) < count:
            group = [rng.randbytes(rng.randrange(200)) for _ in range(rng.randrange(1, 30))]
            first = log.append_many(group[: count - len(expected)])
            expected.update(enumerate(group[: count - len(expected)], first))
        for thread in threads:
            thread.join(60)
        assert log.metrics.rolls > 5
    seen = [[str(lsn), str(zlib.crc32(expected[lsn]))] for lsn in sorted(expected)]
    assert heard == {0: seen, 1: seen}
