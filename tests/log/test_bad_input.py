"""Whatever is wrong is refused by name, with what to do, and nothing is lost by it."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.log.helpers import SMALL, contents, damage, segment_files
from walnut.log import Log, LogError, LogOptions, LogReader, Retention
from walnut.log.errors import (
    BufferFull,
    InvalidOption,
    InvalidRecord,
    LogCorrupt,
    LogLocked,
    NotALog,
    RecordTooLarge,
    SlotLost,
    UnknownFormat,
)


@pytest.mark.parametrize("record", ["text", 1, None, [1], object()])
def test_a_record_that_is_not_bytes_is_refused(tmp_path: Path, record: Any) -> None:
    with Log(tmp_path) as log:
        for call in (log.append, log.submit):
            with pytest.raises(InvalidRecord, match=type(record).__name__):
                call(record)
        with pytest.raises(InvalidRecord):
            log.append_many([b"good", record])
        assert log.next_lsn == 1


@pytest.mark.parametrize("group", [[], b"bytes", "text", iter(()), None, 5])
def test_a_group_that_is_none_is_refused(tmp_path: Path, group: Any) -> None:
    with Log(tmp_path) as log, pytest.raises(InvalidRecord):
        log.append_many(group)


def test_what_is_too_large_is_refused_by_name(tmp_path: Path) -> None:
    with Log(tmp_path, SMALL) as log:
        for call in (log.append, log.submit):
            with pytest.raises(RecordTooLarge, match="record_bytes"):
                call(bytes(64 * 1024 + 1))
        with pytest.raises(RecordTooLarge, match="buffer_bytes"):
            log.append_many([bytes(60 * 1024)] * 5)
        assert log.append(bytes(64 * 1024)) == 1


@pytest.mark.parametrize("path", ["", "a\0b", b"bytes", None, 7])
def test_a_path_that_is_none_is_refused(path: Any) -> None:
    with pytest.raises(NotALog):
        Log(path)
    with pytest.raises(NotALog):
        LogReader(path)


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(NotALog, match="thesis"):
        Log(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(NotALog, match="not a directory"):
        Log(tmp_path / "thesis.txt")
    with pytest.raises(NotALog, match="not a directory"):
        Log(tmp_path / "thesis.txt" / "log")
    with pytest.raises(NotALog, match="does not exist"):
        LogReader(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotALog, match="no log"):
        LogReader(tmp_path / "empty")


def test_a_second_writer_is_told_who_has_the_log(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        with pytest.raises(LogLocked, match=str(os.getpid())):
            Log(tmp_path)
        assert log.append(b"unharmed") == 1


@pytest.mark.parametrize(
    "options",
    [
        {"sync": "sometimes"},
        {"compression": "rar"},
        {"segment_bytes": -1},
        {"segment_bytes": 1},
        {"buffer_bytes": 1},
        {"record_bytes": 0},
        {"frame_bytes": 0},
        {"linger_seconds": -1.0},
        {"sync_seconds": 0.0},
        {"producers": 0},
        {"retention": Retention(bytes=-1)},
        {"retention": {"bytes": 1}},
        {"retention": None},
        {"segment_bytes": "64 MiB"},
        {"segment_bytes": 65536.5},
        {"segment_bytes": None},
        {"sync_seconds": "1"},
        {"sync_seconds": float("nan")},
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(options))):
        LogOptions(**options)


@pytest.mark.parametrize("lsn", [0, -1, 2**63, "1", 1.5])
def test_an_lsn_that_is_none_is_refused(tmp_path: Path, lsn: Any) -> None:
    with Log(tmp_path) as log:
        for call in (log.read, log.tail, log.truncate_before):
            with pytest.raises(InvalidOption):
                call(lsn)
        with pytest.raises(InvalidOption):
            log.read(1, lsn)
        slot = log.slot("reader")
        with pytest.raises(InvalidOption):
            slot.advance(lsn)
        assert slot.lsn == 1


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a b", "x.tmp", 5, None])
def test_a_slot_name_that_no_file_can_have_is_refused(tmp_path: Path, name: Any) -> None:
    with Log(tmp_path) as log, pytest.raises(InvalidOption):
        log.slot(name)


@pytest.mark.parametrize(
    "producer", [("", 1), ("p", -1), ("p" * 256, 1), ("p", "1"), (1, 1), ("p",), "p", 5]
)
def test_a_producer_that_is_none_is_refused(tmp_path: Path, producer: Any) -> None:
    with Log(tmp_path) as log:
        with pytest.raises(InvalidOption):
            log.append(b"x", producer=producer)
        assert log.append(b"x") == 1


def test_blocking_calls_are_refused_on_an_event_loop(tmp_path: Path) -> None:
    async def main(log: Log) -> None:
        for call in (
            lambda: log.append(b"x"),
            lambda: log.append_many([b"x"]),
            log.sync,
            log.tail,
            lambda: log.truncate_before(1),
            lambda: log.truncate_after(0),
            lambda: log.submit(b"y").wait(),
        ):
            with pytest.raises(LogError, match="event loop"):
                call()
        await log.submit(b"z")

    with Log(tmp_path) as log:
        asyncio.run(main(log))
        assert list(contents(log).values()) == [b"y", b"z"]


def test_an_event_loop_that_never_awaits_is_refused_and_one_that_does_is_held_back(
    tmp_path: Path,
) -> None:
    options = LogOptions(record_bytes=1024, buffer_bytes=16 * 1024, frame_bytes=4096)

    async def flood(log: Log) -> int:
        tickets = []
        with pytest.raises(BufferFull, match="await"):
            for _ in range(1000):
                tickets.append(log.submit(bytes(1000)))
        await asyncio.gather(*tickets)
        return len(tickets)

    async def await_each(log: Log) -> None:
        async def one() -> None:
            await log.submit(bytes(1000))

        await asyncio.gather(*[one() for _ in range(1000)])

    with Log(tmp_path, options) as log:
        taken = asyncio.run(flood(log))
        assert 16 <= taken <= 32
        asyncio.run(await_each(log))
        assert log.durable_lsn == taken + 1000


def test_a_future_version_is_refused_clearly(tmp_path: Path) -> None:
    Log(tmp_path).close()
    control = tmp_path / "CONTROL"
    body = control.read_bytes().partition(b"\n")[0].replace(b'"version":1', b'"version":2')
    from crc32c import crc32c

    control.write_bytes(b"%s\n%08x\n" % (body, crc32c(body)))
    for opener in (Log, LogReader):
        with pytest.raises(UnknownFormat, match="version 2"):
            opener(tmp_path)


def test_a_damaged_or_missing_control_file_is_no_new_log(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append(b"x")
    saved = (tmp_path / "CONTROL").read_bytes()
    damage(tmp_path / "CONTROL", 3)
    with pytest.raises(LogCorrupt, match="CONTROL"):
        Log(tmp_path)
    (tmp_path / "CONTROL").unlink()
    with pytest.raises(LogCorrupt, match="CONTROL"):
        Log(tmp_path)
    (tmp_path / "CONTROL").write_bytes(saved)
    segment_files(tmp_path)[0].unlink()
    with pytest.raises(LogCorrupt, match="missing"):
        Log(tmp_path)


def test_a_slot_that_was_never_made_is_named(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        slot = log.slot("reader")
        slot.advance(1)
        with pytest.raises(InvalidOption, match="can't go back"):
            log.append(b"x")
            slot.advance(2)
            slot.advance(1)
        slot.drop()
        with pytest.raises(SlotLost, match="reader"):
            slot.advance(2)
        with pytest.raises(SlotLost):
            slot.drop()
