"""What a fold of the log builds on: appending at a known LSN only, and following what becomes durable
or is refused."""

import threading
from pathlib import Path

import pytest

from tests.log.helpers import SMALL, contents
from walnut.log import Log, LogOptions
from walnut.log.errors import EndMoved, InvalidOption, LogFailed, LogFull
from walnut.testing.disk import SimDisk


class Notes:
    """A follower that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def durable(self, lsn: int) -> None:
        self.told.append(("durable", lsn))

    def refused(self, lsn: int) -> None:
        self.told.append(("refused", lsn))


def test_a_record_is_taken_at_its_lsn_or_not_at_all(tmp_path: Path) -> None:
    with Log(tmp_path / "log", SMALL) as log:
        assert log.submit(b"first", at=1).wait() == 1
        for missed in (1, 3):
            with pytest.raises(EndMoved, match=f"LSN {missed} and the next one is 2"):
                log.submit(b"lost", at=missed)
        assert log.submit(b"second", at=log.next_lsn).wait() == 2
        assert contents(log) == {1: b"first", 2: b"second"}


def test_of_many_who_want_one_lsn_one_gets_it(tmp_path: Path) -> None:
    won: list[int] = []
    with Log(tmp_path / "log", SMALL) as log:
        barrier = threading.Barrier(8)

        def contend(number: int) -> None:
            for lsn in range(1, 51):
                barrier.wait()
                try:
                    log.submit(str(number).encode(), at=lsn).wait()
                except EndMoved:
                    continue
                won.append(lsn)

        threads = [threading.Thread(target=contend, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == list(range(1, 51))


def test_a_deferred_record_goes_out_with_whoever_waits_for_it(tmp_path: Path) -> None:
    with Log(tmp_path / "log", SMALL) as log:
        tickets = [log.submit(b"later", defer=True) for _ in range(10)]
        assert tickets[-1].wait() == 10
        assert all(ticket.done for ticket in tickets)
        assert log.metrics.frames == 1


def test_a_follower_hears_of_durable_records_before_those_who_wait(tmp_path: Path) -> None:
    notes = Notes()
    with Log(tmp_path / "log", SMALL) as log:
        log.follow(notes)
        for _ in range(20):
            lsn = log.append(b"x")
            assert notes.told[-1] == ("durable", lsn)
    assert notes.told == sorted(set(notes.told)), "each once, upward"


def test_a_follower_that_fails_stops_the_log_as_a_failed_sync_does(tmp_path: Path) -> None:
    class Broken(Notes):
        def durable(self, lsn: int) -> None:
            raise RuntimeError("the tables are gone")

    with Log(tmp_path / "log", SMALL) as log:
        log.append(b"before")
        log.follow(Broken())
        with pytest.raises(LogFailed):
            log.append(b"unanswered")
        assert log.failure is not None
        with pytest.raises(LogFailed):
            log.append(b"never")
    with Log(tmp_path / "log", SMALL) as log:
        assert contents(log)[1] == b"before"


def test_a_log_that_is_followed_is_not_cut_behind_its_follower(tmp_path: Path) -> None:
    with Log(tmp_path / "log", SMALL) as log:
        log.append_many([b"a", b"b"])
        log.follow(Notes())
        with pytest.raises(InvalidOption, match="folded"):
            log.truncate_after(1)
        assert log.next_lsn == 3


def test_a_follower_hears_of_refused_records_before_their_lsns_are_given_anew() -> None:
    disk, notes = SimDisk(), Notes()
    options = LogOptions(segment_bytes=1 << 14, disk=disk, background=False)
    with Log("log", options) as log:
        log.follow(notes)
        disk.faults.capacity = disk.used()
        with pytest.raises(LogFull):
            while True:
                log.append(bytes(500))
        end = log.next_lsn
        assert notes.told[-1] == ("refused", end)
        disk.faults.capacity = None
        assert log.submit(b"again", at=end).wait() == end
        assert notes.told[-1] == ("durable", end)
