"""Both engines, held to the same promises; RocksDB by real kills."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walnut.log.disk import RealDisk
from walnut.store import RocksOptions
from walnut.store.engine import Batch, Engine, OpenEngine, View, applied_lsn
from walnut.store.errors import TablesFailed, TablesLost
from walnut.store.rocks import RocksView
from walnut.testing.disk import SimDisk
from walnut.testing.engine import OpenModel

KEYS = st.binary(min_size=1, max_size=3)
BATCHES = st.lists(
    st.tuples(
        st.dictionaries(KEYS, st.none() | st.binary(max_size=4), max_size=6),
        st.lists(st.tuples(KEYS, KEYS), max_size=1),
    ),
    max_size=6,
)


def everything(view: View, *, reverse: bool = False) -> list[tuple[bytes, bytes]]:
    return list(view.walk(b"\x01", b"\xff\xff\xff\xff", reverse=reverse))


def both(tmp_path: Path) -> list[tuple[Engine, OpenEngine]]:
    rocks, model = RocksOptions(), OpenModel(1, 0.0)
    return [
        (rocks(RealDisk(), str(tmp_path / "rocks"), read_only=False), rocks),
        (model(SimDisk(), "model", read_only=False), model),
    ]


@settings(max_examples=40, deadline=None)
@given(batches=BATCHES, bounds=st.tuples(KEYS, KEYS))
def test_both_hold_what_a_dict_holds(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[dict[bytes, bytes | None], list[tuple[bytes, bytes]]]],
    bounds: tuple[bytes, bytes],
) -> None:
    start, stop = sorted(bounds)
    for engine, _ in both(tmp_path_factory.mktemp("engines")):
        model: dict[bytes, bytes] = {}
        seen = [(engine.snapshot(), dict(model))]
        for lsn, (writes, ranges) in enumerate(batches, 1):
            emptied = [(a, b) for a, b in ranges if a < b]
            engine.write(Batch(dict(writes), emptied), lsn)
            for a, b in emptied:
                model = {key: value for key, value in model.items() if not a <= key < b}
            for key, value in writes.items():
                if value is None:
                    model.pop(key, None)
                else:
                    model[key] = value
            seen.append((engine.snapshot(), dict(model)))
        for view, held in [*seen, (engine, model)]:
            rows = sorted((k, v) for k, v in held.items() if k >= b"\x01")
            assert everything(view) == rows
            assert everything(view, reverse=True) == rows[::-1]
            some = [row for row in rows if start <= row[0] < stop]
            assert [r for r in view.walk(start, stop) if r[0] >= b"\x01"] == some
            for key in (start, stop):
                assert view.get(key) == held.get(key)
            assert view.get_many([start, stop]) == [held.get(start), held.get(stop)]
        assert applied_lsn(engine) == len(batches)
        engine.close()


def test_a_walk_shows_the_moment_it_began(tmp_path: Path) -> None:
    for engine, _ in both(tmp_path):
        engine.write(Batch({b"%04d" % n: b"old" for n in range(1000)}), 1)
        for view in (engine, engine.snapshot()):
            walk = view.walk(b"0", b"9")
            next(walk)
            engine.write(Batch({b"%04d" % n: None for n in range(1000)}), 2)
            assert len(list(walk)) == 999
            engine.write(Batch({b"%04d" % n: b"old" for n in range(1000)}), 3)
        engine.close()


def test_a_damaged_engine_says_what_to_do(tmp_path: Path) -> None:
    engine = RocksOptions()(RealDisk(), str(tmp_path / "t"), read_only=False)
    engine.write(Batch({b"k": b"v"}), 1)
    engine.flush()
    engine.close()
    (tmp_path / "t" / "CURRENT").write_text("nonsense")
    with pytest.raises(TablesLost, match="rebuild"):
        RocksOptions()(RealDisk(), str(tmp_path / "t"), read_only=False)


def test_damaged_rows_are_named_and_never_left_out(tmp_path: Path) -> None:
    """An iterator of RocksDB ends at what it can't read as it ends at the end."""
    path = tmp_path / "t"
    rows = {b"k%04d" % n: random.Random(n).randbytes(100) for n in range(2000)}
    engine = RocksOptions()(RealDisk(), str(path), read_only=False)
    engine.write(Batch(dict(rows)), 1)
    engine.flush()
    engine.close()
    (file,) = path.glob("*.sst")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    engine = RocksOptions()(RealDisk(), str(path), read_only=True)
    for view in (engine, engine.snapshot()):
        lost = 0
        for key, value in rows.items():
            try:
                assert view.get(key) == value
            except TablesFailed:
                lost += 1
        assert 0 < lost < 100, "one block"
        for reverse in (False, True):
            walk, seen = view.walk(b"k", b"l", reverse=reverse), 0
            with pytest.raises(TablesFailed, match="rebuild"):
                for _ in walk:
                    seen += 1
            assert 0 < seen < len(rows)
        with pytest.raises(TablesFailed, match="reading"):
            view.get_many(list(rows))
        assert len(list(view.walk(b"k0000", b"k0100"))) == 100, "what is whole can be read"
    engine.close()


CHILD = """
import os, sys
from walnut.log.disk import RealDisk
from walnut.store.engine import Batch
from walnut.store.rocks import RocksOptions
engine = RocksOptions(memtable_bytes=256 << 10)(RealDisk(), sys.argv[1], read_only=False)
for lsn in range(1, 1 << 30):
    # Every batch rewrites the same keys, so a state between two batches would show.
    engine.write(Batch({b"k%03d" % n: b"%d" % lsn + bytes(100) for n in range(20)}), lsn)
    if lsn % 50 == 0:
        print(lsn, flush=True)
    if lsn % 170 == 0:
        engine.flush()
        print("flushed", lsn, flush=True)
"""


def test_rocksdb_killed_at_any_moment_holds_the_state_after_some_batch(tmp_path: Path) -> None:
    rng = random.Random(5)
    for round_number in range(8):
        path = tmp_path / str(round_number)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        flushed, lines = 0, rng.randrange(2, 40)
        for _ in range(lines):
            line = child.stdout.readline()
            if line.startswith("flushed"):
                flushed = int(line.split()[1])
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        child.wait()
        child.stdout.close()
        flushed = max([flushed, *(int(x.split()[1]) for x in rest.splitlines() if " " in x)])
        engine = RocksOptions()(RealDisk(), str(path), read_only=False)
        lsn = applied_lsn(engine)
        assert lsn >= flushed
        values = {value[:-100] for _, value in engine.walk(b"k", b"l")}
        assert values == ({b"%d" % lsn} if lsn else set())
        engine.close()


def test_a_snapshot_shows_every_row_however_large_and_fetches_few_at_a_time(tmp_path: Path) -> None:
    sizes = [10, 100_000, 65_536, 1, 0, 65_535, 200_000] * 40
    rows: dict[bytes, bytes | None] = {
        b"\x01%04d" % number: bytes(size) for number, size in enumerate(sizes)
    }
    for engine, _ in both(tmp_path):
        engine.write(Batch(rows, []), 1)
        moment = engine.snapshot()
        assert everything(moment) == list(rows.items())
        assert everything(moment, reverse=True) == list(reversed(rows.items()))
        if isinstance(moment, RocksView):
            fetched = [*moment._forwards(b"\x01", b"\x02"), *moment._backwards(b"\x01", b"\x02")]
            assert [len(value) for _, value in fetched] == [10, 100_000, 200_000]
        engine.close()
