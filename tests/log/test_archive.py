"""What is archived comes back, to any LSN or time; what is not as it was stored is named."""

import random
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import GenericError

from tests.log.helpers import contents
from walnut.log import Log, LogOptions, LogReader
from walnut.log.archive import Archive, restore
from walnut.log.errors import ArchiveError, InvalidOption, LogCorrupt, NotALog
from walnut.log.place import Place

CLOCK = [10**18]


def tick() -> int:
    CLOCK[0] += 10**9
    return CLOCK[0]


OPTIONS = LogOptions(segment_bytes=16 * 1024, background=False, clock=tick)


def fill(log: Log, count: int, seed: int = 0) -> None:
    rng = random.Random(seed)
    for n in range(count):
        log.append_many([b"%d.%d " % (n, k) * rng.randrange(1, 40) for k in range(3)])


def test_a_round_trip_with_and_without_the_tail(tmp_path: Path) -> None:
    with Log(tmp_path / "log", OPTIONS) as log:
        fill(log, 200)
        report = Archive(tmp_path / "a").push(log)
        assert report.next_lsn == log.next_lsn
        expected = contents(log)
        sealed = Archive(tmp_path / "b").push(log, tail=False)
        assert sealed.next_lsn == log.segments()[-1].first_lsn
    assert restore(tmp_path / "a", tmp_path / "new", options=OPTIONS).next_lsn == 601
    with Log(tmp_path / "new", OPTIONS) as again:
        assert contents(again) == expected
        assert again.append(b"goes on") == 601
    restore(tmp_path / "b", tmp_path / "less", options=OPTIONS)
    with Log(tmp_path / "less", OPTIONS) as again:
        assert contents(again) == {k: v for k, v in expected.items() if k < sealed.next_lsn}


def test_a_push_stores_only_what_is_new_and_replaces_the_tail(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a")
    with Log(tmp_path / "log", OPTIONS) as log:
        fill(log, 100)
        first = archive.push(log)
        assert archive.push(log).uploaded == 1
        fill(log, 100, seed=1)
        with LogReader(tmp_path / "log", OPTIONS) as reader:
            second = archive.push(reader)
        assert second.uploaded <= len(log.segments()) - first.uploaded + 1
        manifest = archive.check()
        assert [entry.sealed for entry in manifest.entries][-2:] == [True, False]
        assert len(list((tmp_path / "a" / "tail").iterdir())) == 1
        expected = contents(log)
    restore(tmp_path / "a", tmp_path / "new", options=OPTIONS)
    with Log(tmp_path / "new", OPTIONS) as again:
        assert contents(again) == expected


def test_a_restore_to_any_lsn_is_the_log_as_of_then(tmp_path: Path) -> None:
    with Log(tmp_path / "log", OPTIONS) as log:
        fill(log, 60)
        expected = contents(log)
        Archive(tmp_path / "a").push(log)
    for lsn in (0, 1, 2, 3, 100, 101, 179, 180):
        report = restore(tmp_path / "a", tmp_path / f"to{lsn}", to_lsn=lsn, options=OPTIONS)
        assert report.next_lsn == lsn + 1
        with Log(tmp_path / f"to{lsn}", OPTIONS) as again:
            assert contents(again) == {k: v for k, v in expected.items() if k <= lsn}
    with pytest.raises(ArchiveError, match="holds 1 to 180"):
        restore(tmp_path / "a", tmp_path / "x", to_lsn=181)
    with pytest.raises(InvalidOption):
        restore(tmp_path / "a", tmp_path / "x", to_lsn=1, to_time_ns=1)


def test_a_restore_to_a_time_holds_what_was_written_until_then(tmp_path: Path) -> None:
    with Log(tmp_path / "log", OPTIONS) as log:
        fill(log, 60)
        times = {record.lsn: record.time for record in log.read()}
        Archive(tmp_path / "a").push(log)
    report = restore(tmp_path / "a", tmp_path / "new", to_time_ns=times[90], options=OPTIONS)
    assert report.next_lsn == max(lsn for lsn, at in times.items() if at <= times[90]) + 1
    report = restore(tmp_path / "a", tmp_path / "none", to_time_ns=1, options=OPTIONS)
    assert report.next_lsn == 1


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_object_is_named_and_nothing_is_restored(tmp_path: Path, harm: str) -> None:
    with Log(tmp_path / "log", OPTIONS) as log:
        fill(log, 100)
        Archive(tmp_path / "a").push(log)
    victim = sorted((tmp_path / "a" / "segments").iterdir())[1]
    data = bytearray(victim.read_bytes())
    if harm == "remove":
        victim.unlink()
    else:
        data[len(data) // 2] ^= 1
        victim.write_bytes(data if harm == "flip" else data[:-5])
    with pytest.raises(ArchiveError, match=victim.name):
        Archive(tmp_path / "a").check()
    with pytest.raises(ArchiveError, match=victim.name):
        restore(tmp_path / "a", tmp_path / "new", options=OPTIONS)
    assert not (tmp_path / "new" / "CONTROL").exists()


def test_a_push_that_is_cut_short_leaves_the_archive_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path / "a")
    with Log(tmp_path / "log", OPTIONS) as log:
        fill(log, 60)
        archive.push(log)
        expected = contents(log)
        fill(log, 100, seed=1)
        left = 2
        put = Place.put

        def failing(self: Place, key: str, data: bytes) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise ArchiveError("the network went away")
            put(self, key, data)

        monkeypatch.setattr(Place, "put", failing)
        with pytest.raises(ArchiveError, match="network"):
            archive.push(log)
    archive.check()
    restore(tmp_path / "a", tmp_path / "new", options=OPTIONS)
    with Log(tmp_path / "new", OPTIONS) as again:
        assert contents(again) == expected


def test_a_push_without_the_tail_takes_nothing_back(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a")
    with Log(tmp_path / "log", OPTIONS) as log:
        for _ in range(3):
            log.append(b"x")
            archive.push(log)
            log.append(b"y")
            assert archive.push(log, tail=False).next_lsn == log.next_lsn
        expected = contents(log)
    restore(tmp_path / "a", tmp_path / "new", options=OPTIONS)
    with Log(tmp_path / "new", OPTIONS) as again:
        assert contents(again) == expected


def test_a_tail_of_another_history_never_takes_the_place_of_the_one_in_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path / "a")
    put = Place.put

    def failing(self: Place, key: str, data: bytes) -> None:
        if key == "manifest.json":
            raise ArchiveError("the network went away")
        put(self, key, data)

    with Log(tmp_path / "log", OPTIONS) as log:
        log.append_many([b"before"] * 10)
        archive.push(log)
        log.truncate_after(5)
        log.append_many([b"after"] * 5)
        monkeypatch.setattr(Place, "put", failing)
        with pytest.raises(ArchiveError, match="network"):
            archive.push(log)
    assert archive.check().next_lsn == 11


def test_a_log_that_is_truncated_during_a_push_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path / "a")
    with Log(tmp_path / "log", OPTIONS) as log:
        fill(log, 200)
        put = Place.put

        def truncating(self: Place, key: str, data: bytes) -> None:
            put(self, key, data)
            log.truncate_before(log.durable_lsn)

        with LogReader(tmp_path / "log", OPTIONS) as reader, monkeypatch.context() as patch:
            patch.setattr(Place, "put", truncating)
            with pytest.raises(ArchiveError, match="truncated while"):
                archive.push(reader)
        assert archive.manifest() is None
        assert archive.push(log).next_lsn == log.next_lsn
        assert archive.check().first_lsn == log.first_lsn


def test_another_log_another_history_and_a_gap_are_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a")
    with Log(tmp_path / "other", OPTIONS) as other, Log(tmp_path / "log", OPTIONS) as log:
        fill(log, 100)
        archive.push(log)
        other.append(b"x")
        with pytest.raises(ArchiveError, match="another place"):
            archive.push(other)
        log.truncate_after(50)
        fill(log, 100, seed=3)
        with pytest.raises(ArchiveError, match="cut back"):
            archive.push(log)
        fresh = Archive(tmp_path / "b")
        fresh.push(log)
        fill(log, 200, seed=4)
        log.truncate_before(log.durable_lsn)
        with pytest.raises(ArchiveError, match="neither"):
            fresh.push(log)


def test_what_is_no_archive_or_no_place_for_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="no archive"):
        restore(tmp_path / "nothing", tmp_path / "new")
    for url in ("", "ftp://somewhere"):
        with pytest.raises(ArchiveError):
            Archive(url)
    with Log(tmp_path / "log", OPTIONS) as log:
        log.append(b"x")
        Archive(tmp_path / "a").push(log)
    with pytest.raises(NotALog, match="not empty"):
        restore(tmp_path / "a", tmp_path / "log")
    (tmp_path / "a" / "manifest.json").write_bytes(b'{"version": 2}')
    with pytest.raises(ArchiveError, match="version 2"):
        Archive(tmp_path / "a").manifest()
    (tmp_path / "a" / "manifest.json").write_bytes(b"{")
    with pytest.raises(ArchiveError, match="damaged"):
        Archive(tmp_path / "a").manifest()


def test_an_object_store_that_cannot_be_reached_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise GenericError("no route to host\n\nDebug source:\nGeneric {\n    store: S3\n}")

    monkeypatch.setattr(obstore, "get", unreachable)
    with pytest.raises(ArchiveError, match=r"manifest\.json from .* failed: no route to host$"):
        Archive(tmp_path / "a").check()


def test_a_damaged_segment_is_not_archived(tmp_path: Path) -> None:
    with Log(tmp_path / "log", OPTIONS) as log:
        fill(log, 100)
        victim = tmp_path / "log" / log.segments()[1].name
        data = bytearray(victim.read_bytes())
        data[9000] ^= 1
        victim.write_bytes(data)
        with pytest.raises(LogCorrupt, match=victim.name):
            Archive(tmp_path / "a").push(log)
        assert Archive(tmp_path / "a").manifest() is None
