"""Whatever the bytes in a log's directory are: it works, or says what is wrong by a LogError; it
never shows what was not written; and after a repair it is a log again."""

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.log.helpers import abandon
from walnut.log import Log, LogError, LogOptions, LogReader
from walnut.log.errors import LogCorrupt, UnknownFormat
from walnut.log.repair import repair
from walnut.log.verify import VerifyReport, verify

OPTIONS = LogOptions(segment_bytes=16 * 1024, background=False)
RECORDS = {n: b"%d:" % n + bytes([n % 251]) * (n * 13 % 300) for n in range(1, 301)}

Files = dict[str, bytes]


@functools.cache
def sound(*, closed: bool, compression: bool) -> Files:
    """The files of a log that holds RECORDS, every one acknowledged, and one that was truncated."""
    options = LogOptions(
        segment_bytes=16 * 1024,
        background=False,
        compression="zstd" if compression else None,
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Log(folder, options)
        lsn = 1
        while lsn <= len(RECORDS):
            size = min(1 + lsn % 6, len(RECORDS) + 1 - lsn)
            log.append_many([RECORDS[lsn + n] for n in range(size)], producer=("fuzz", lsn))
            lsn += size
        log.slot("reader", 40)
        log.truncate_before(4)
        if not closed:
            abandon(log)
        log.close()
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


@contextmanager
def laid_out(files: Files) -> Iterator[Path]:
    """These files in a directory."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        yield Path(folder)


def read_all(source: Log | LogReader, *, synced: bool = True) -> int:
    """Read everything in several ways; what is shown was written. Returns how many records."""
    shown = 0
    first = source.first_lsn
    for start in (first, first + 100, source.next_lsn):
        try:
            for record in source.read(start):
                shown += 1
                if synced:
                    assert RECORDS[record.lsn] == record.data
            for _ in source.tail(start, timeout=0):
                pass
        except LogError:
            continue
    return shown


def attempt(call: Callable[[], object]) -> LogError | None:
    """What a call raises, if that is an error of ours; others are not caught."""
    try:
        call()
    except LogError as error:
        return error
    return None


def examine(files: Files, *, ours: bool = True) -> None:
    """Read, verify, open and repair a directory with these files."""
    with laid_out(files) as path:

        def look() -> None:
            with LogReader(path) as reader:
                read_all(reader, synced=ours)
                attempt(reader.stat)
                attempt(lambda: reader.slot("reader").lsn)

        attempt(look)
        reports: list[VerifyReport] = []
        refused = attempt(lambda: reports.append(verify(path)))
        opened: list[int] = []

        def open_() -> None:
            with Log(path, OPTIONS) as log:
                opened.append(read_all(log, synced=ours))
                attempt(log.stat)

        attempt(open_)
        assert {file.name for file in path.iterdir()} >= {
            name for name in files if name != "SPARE" and not name.endswith(".tmp")
        }, "nothing is deleted"
    if refused is None and reports[0].damages:
        mend(files, ours=ours)


def mend(files: Files, *, ours: bool) -> None:
    """A repair makes it a sound log, whose records are ours, and which takes more."""
    with laid_out(files) as path:
        report = repair(path, OPTIONS)
        assert report.damages
        after = verify(path)
        assert not after.damages, after.damages
        with Log(path, OPTIONS) as log:
            read_all(log, synced=ours)
            for record in log.read():
                assert not ours or RECORDS[record.lsn] == record.data
            assert log.append(b"after the repair") == log.next_lsn - 1
            log.slot("another")
            log.stat()
        assert not verify(path).damages


kinds = st.fixed_dictionaries({"closed": st.booleans(), "compression": st.booleans()})


PIECES = [1, 64, 512, 4096, 10**6]
steps = st.tuples(
    st.integers(0, 30),  # which file
    st.sampled_from(["flip", "cut", "insert", "overwrite", "zero", "move", "lose", "remove"]),
    st.one_of(st.integers(0, 20_000), st.integers(0, 5000)),  # where
    st.integers(0, 2**16),  # from where, or how
    st.binary(max_size=80),
)
Step = tuple[int, str, int, int, bytes]


def mutate(files: Files, step: Step) -> Files:
    """The files with one thing done to one of them."""
    which, what, at, how, new = step
    name = sorted(files)[which % len(files)]
    data = files[name]
    at %= len(data) + 1
    size = PIECES[how % len(PIECES)]
    match what:
        case "remove":
            return {n: d for n, d in files.items() if n != name or len(files) == 1}
        case "flip" if at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << how % 8]) + data[at + 1 :]
        case "insert":
            data = data[:at] + new + data[at:]
        case "overwrite":
            data = data[:at] + new + data[at + len(new) :]
        case "zero":
            data = (data[:at] + bytes(size) + data[at + size :])[: len(data)]
        case "move":  # a piece of it appears elsewhere: a misdirected or a stale write
            piece = data[how % (len(data) + 1) :][: min(size, 4096)]
            data = data[:at] + piece + data[at + len(piece) :]
        case "lose":
            data = data[:at] + data[at + how % 600 :]
        case _:
            data = data[:at]
    return {**files, name: data}


@settings(max_examples=150, deadline=None)
@given(kinds, st.lists(steps, min_size=1, max_size=3))
def test_a_log_whose_files_were_changed(kind: dict[str, bool], done: list[Step]) -> None:
    files = dict(sound(**kind))
    for step in done:
        files = mutate(files, step)
    examine(files)


@settings(max_examples=100, deadline=None)
@given(kinds, st.data())
def test_one_changed_byte_is_reported_or_harmless(
    kind: dict[str, bool], data: st.DataObject
) -> None:
    """Every byte of a synced record is covered: it is served as it was, or not at all."""
    files = dict(sound(**kind))
    name = data.draw(st.sampled_from(sorted(name for name in files if name.endswith(".wal"))))
    at = data.draw(st.integers(0, len(files[name]) - 1))
    changed = bytearray(files[name])
    changed[at] ^= data.draw(st.integers(1, 255))
    files[name] = bytes(changed)
    with laid_out(files) as path:
        try:
            with Log(path, OPTIONS) as log:
                got = {record.lsn: bytes(record.data) for record in log.read()}
        except LogCorrupt:
            assert verify(path).damages
        except UnknownFormat:  # the byte is the version's
            assert at in {12, 13}
        else:
            assert got == {lsn: data for lsn, data in RECORDS.items() if lsn >= 4}
    examine(files)


SEGMENT = "0000000001-0000000000000000001.wal"
SMALL_FILES = ["CONTROL", "DURABLE", "LOCK", "SPARE", "slot-x", SEGMENT, "x.tmp"]


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(SMALL_FILES), st.binary(max_size=400), max_size=4))
@example({"CONTROL": b""})
@example({"CONTROL": b"00000000"})
@example({"CONTROL": b"\n00000000\n"})
@example({"CONTROL": b"00000000", SEGMENT: b""})
@example({"CONTROL": b'{"version":2}\n1fffb70a\n'})
@example({SEGMENT: b"", "DURABLE": b""})
@example({"slot-x": b"00000000"})
def test_a_directory_of_anything(files: Files) -> None:
    examine(files, ours=False)


@settings(max_examples=150, deadline=None)
@given(
    kinds, st.sampled_from(["CONTROL", "DURABLE", "slot-reader", "last"]), st.binary(max_size=300)
)
@example({"closed": True, "compression": False}, "CONTROL", b"00000000")
@example({"closed": True, "compression": False}, "slot-reader", b"00000000")
@example({"closed": False, "compression": False}, "last", b"")
def test_a_file_of_anything_in_a_sound_log(kind: dict[str, bool], name: str, data: bytes) -> None:
    files = dict(sound(**kind))
    files[max(n for n in files if n.endswith(".wal")) if name == "last" else name] = data
    examine(files)


@pytest.mark.parametrize("closed", [True, False])
def test_a_sound_log_has_nothing_to_repair(*, closed: bool) -> None:
    files = sound(closed=closed, compression=False)
    with laid_out(files) as path:
        assert not repair(path, OPTIONS).damages
        assert {f.name: f.read_bytes() for f in path.iterdir() if f.name != "LOCK"} == {
            name: data for name, data in files.items() if name != "LOCK"
        }


@pytest.mark.parametrize("name", ["CONTROL", "DURABLE", "slot-x", SEGMENT])
def test_a_directory_where_a_file_should_be(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    attempt(lambda: verify(tmp_path))
    attempt(lambda: LogReader(tmp_path).close())
    attempt(lambda: Log(tmp_path).close())
    attempt(lambda: repair(tmp_path))
