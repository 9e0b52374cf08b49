"""kill -9 at any moment, again and again in one directory: what was promised is there, and nothing
else is."""

import random
import time
from pathlib import Path

import pytest

from tests.log.children import options, payload
from tests.log.helpers import abandon, contents, segment_files
from tests.log.processes import child
from walnut.log import Log, LogReader
from walnut.log.verify import verify

LIVES = 20


class Promises:
    """What the children said, over all their lives."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, bytes] = {}
        self.numbers: dict[int, int] = {}  # life to its last acknowledged number
        self.truncating = self.truncated = 1
        self.durable = 0

    def hear(self, life: int, line: list[str]) -> None:
        match line:
            case ["ack", *words]:
                lsn, number, *place = map(int, words)
                self.acknowledged[lsn] = payload(life, number, *place)
                self.numbers[life] = max(number, self.numbers.get(life, -1))
            case ["truncating", lsn]:
                self.truncating = int(lsn)
            case ["truncated", lsn]:
                self.truncated = int(lsn)
            case ["durable", lsn]:
                assert int(lsn) <= max(self.acknowledged)
                self.durable = int(lsn)
            case _:
                pytest.fail(f"the child said {line}")

    def check(self, found: dict[int, bytes], first_lsn: int) -> None:
        """Every acknowledged record is in `found`, and what else is there was submitted."""
        assert list(found) == list(range(first_lsn, first_lsn + len(found)))
        assert len(found) >= self.durable + 1 - first_lsn
        for lsn, data in self.acknowledged.items():
            assert lsn < first_lsn or found.get(lsn) == data, f"LSN {lsn} was acknowledged"
        went_on: dict[int, int] = {}
        groups: dict[tuple[int, int], list[int]] = {}
        for lsn, data in found.items():
            life, number, group, place, size = map(int, data.split(b" ", 5)[:5])
            assert data == payload(life, number, group, place, size), f"LSN {lsn}"
            assert number == went_on.get(life, number - 1) + 1, f"LSN {lsn} is out of order"
            went_on[life] = number
            groups.setdefault((life, group), []).append(place)
            if size > 1:
                assert place - groups[life, group][0] == len(groups[life, group]) - 1
        self.acknowledged = dict(found)  # it was served, so from now on it has to stay
        for life, number in went_on.items():
            assert number <= self.numbers.get(life, -1) + 13, "more than was ever in flight"


def check_groups(found: dict[int, bytes], first_lsn: int) -> None:
    """Groups are whole, but for one that truncation may have cut from the front."""
    lsn, end = first_lsn, first_lsn + len(found)
    while lsn < end:
        place, size = map(int, found[lsn].split(b" ", 5)[3:5])
        assert place == 0 or lsn == first_lsn
        assert lsn + size - place <= end, f"the group at LSN {lsn} is torn"
        lsn += size - place


@pytest.mark.parametrize("kind", ["one_by_one", "coroutines", "groups", "interval"])
def test_killed_at_any_moment_nothing_promised_is_lost(tmp_path: Path, kind: str) -> None:
    rng = random.Random(kind)
    promises = Promises()
    first_lsn = 1
    recovered = 0
    for life in range(LIVES):
        with child(kind, tmp_path, life) as writer:
            if life % 5 == 4:  # perhaps before it opened the log, or while it recovers
                time.sleep(rng.uniform(0.1, 0.4))
            else:
                for _ in range(rng.randrange(1, 400)):
                    promises.hear(life, writer.hear())
                time.sleep(rng.uniform(0, 0.003))
            writer.kill()
            for line in writer.hear_all():
                promises.hear(life, line)
        assert not verify(tmp_path).damages
        with LogReader(tmp_path) as reader:
            if kind != "interval":
                seen = contents(reader)
                for lsn, data in promises.acknowledged.items():
                    assert lsn < reader.first_lsn or seen[lsn] == data
        if rng.random() < 0.4:
            continue  # the next child recovers it, or dies trying
        log = Log(tmp_path, options(kind))
        recovered += not log.recovery.clean
        found = contents(log)
        assert log.first_lsn >= first_lsn
        first_lsn = log.first_lsn
        if kind == "one_by_one":
            assert promises.truncated <= first_lsn <= promises.truncating
        elif kind != "groups":
            assert first_lsn == 1
        promises.check(found, first_lsn)
        check_groups(found, first_lsn)
        if rng.random() < 0.5:
            abandon(log)
        log.close()
    assert recovered > 3
    assert len(segment_files(tmp_path)) > 1
