"""What may be forgotten, and what holds it back."""

from pathlib import Path

import msgspec
import pytest

from tests.log.helpers import contents, segment_files
from walnut.log import Log, LogOptions, LogReader, Retention, slots
from walnut.log.disk import Directory, read_file
from walnut.log.errors import SlotLost
from walnut.log.model import SegmentStat, SlotStat
from walnut.log.retention import decide
from walnut.log.verify import verify

FOUR = [
    SegmentStat(f"s{n}", n * 10 + 1, n * 10 + 11, 100, n * 10**9, sealed=n < 3) for n in range(4)
]


def test_nothing_is_forgotten_by_default() -> None:
    assert decide(FOUR, [], Retention(), now=10**18).first_lsn == 1


def test_bytes_are_a_bound_on_what_is_kept() -> None:
    assert decide(FOUR, [], Retention(bytes=250), now=0).first_lsn == 21
    assert decide(FOUR, [], Retention(bytes=0), now=0).first_lsn == 31


def test_age_counts_from_the_last_record_of_a_segment() -> None:
    assert decide(FOUR, [], Retention(seconds=1), now=3 * 10**9).first_lsn == 21
    assert decide(FOUR, [], Retention(seconds=0), now=10**18).first_lsn == 31


def test_a_slot_holds_back_until_its_bound() -> None:
    slow = SlotStat("slow", 5, 100)
    fast = SlotStat("fast", 25, 0)
    kept = decide(FOUR, [slow, fast], Retention(bytes=0), now=0)
    assert (kept.first_lsn, kept.drop) == (5, [])
    dropped = decide(FOUR, [slow, fast], Retention(bytes=0, slot_bytes=150), now=0)
    assert (dropped.first_lsn, dropped.drop) == (25, [slow])


def test_retention_and_slots_in_a_log(tmp_path: Path) -> None:
    options = LogOptions(
        segment_bytes=16 * 1024,
        background=False,
        retention=Retention(bytes=40_000, slot_bytes=100_000),
    )
    with Log(tmp_path, options) as log:
        slot = log.slot("archive")
        for n in range(400):
            log.append(b"%d" % n * 30)
        log.housekeep()
        assert log.first_lsn == 1
        slot.advance(150)
        log.housekeep()
        assert log.first_lsn == 150
        assert log.truncate_before(300) == 150
        with LogReader(tmp_path) as reader:
            reader.slot("archive").advance(200)
        log.housekeep()
        assert log.first_lsn == 200
        for n in range(2000):
            log.append(b"%d" % n * 30)
        log.housekeep()
        assert log.metrics.slots_dropped == 1
        assert log.first_lsn > 400
        assert sum(f.stat().st_size for f in segment_files(tmp_path)) < 80_000
        with pytest.raises(SlotLost, match="lagging"):
            slot.advance(300)
        assert min(contents(log)) == log.first_lsn


def test_retention_by_age(tmp_path: Path) -> None:
    now = [10**18]
    options = LogOptions(
        segment_bytes=16 * 1024,
        background=False,
        retention=Retention(seconds=3600),
        clock=lambda: now[0],
    )
    with Log(tmp_path, options) as log:
        for n in range(400):
            now[0] += 10**9
            log.append(b"%d" % n * 30)
        now[0] += 3500 * 10**9
        log.housekeep()
        assert 1 < log.first_lsn < 400
        assert all(r.time >= now[0] - 3601 * 10**9 - 60 * 10**9 for r in log.read())


def test_slots_survive_a_reopen_and_are_moved_back_by_a_cut(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append_many([b"x"] * 10)
        log.slot("a", 5).advance(9)
        log.slot("b", 3)
    with Log(tmp_path) as log:
        assert log.slot("a").lsn == 9
        log.truncate_after(6)
        assert [(s.name, s.lsn) for s in log.stat().slots] == [("a", 7), ("b", 3)]


def test_options_are_plain_data() -> None:
    assert msgspec.structs.replace(LogOptions(), sync="os").sync == "os"


def test_a_slot_dropped_by_another_process_in_between_is_as_if_it_was_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dropped(directory: Directory, name: str) -> bytes | None:
        return None if name == "slot-going" else read_file(directory, name)

    with Log(tmp_path) as log:
        log.append_many([b"x"] * 10)
        log.slot("going")
        log.slot("staying").advance(6)
        monkeypatch.setattr(slots, "read_file", dropped)
        assert [slot.name for slot in log.stat().slots] == ["staying"]
        with LogReader(tmp_path) as reader:
            assert [slot.name for slot in reader.stat().slots] == ["staying"]
        assert not verify(tmp_path).damages
        assert log.truncate_before(9) == 6
        log.truncate_after(7)
