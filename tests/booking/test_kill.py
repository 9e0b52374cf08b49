"""kill -9 at any moment: what was answered is there, nothing is there twice, and holds end."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.booking.children import Works
from tests.booking.office import promised
from tests.jobs.helpers import wait_until
from tests.log.processes import child
from walnut.booking import State
from walnut.testing.booking_checks import History, check_tables

CHILDREN = Path(__file__).with_name("children.py")
LIVES = int(os.environ.get("WALNUT_LIVES", "8"))


def test_kill_9_between_any_two_answers(tmp_path: Path) -> None:
    chance = random.Random(6)
    told: dict[str, tuple[int, State]] = {}
    for life in range(LIVES):
        with child("book", tmp_path / "data", life, file=CHILDREN) as clients:
            assert clients.hear() == ["begun"]
            for _ in range(chance.randrange(20, 400)):
                word, id_, version, state = clients.hear()
                assert word == "ack"
                told[id_] = max(told.get(id_, (0, State.QUOTED)), (int(version), State(int(state))))
            clients.kill()
            for _, id_, version, state in clients.hear_all():
                told[id_] = max(told.get(id_, (0, State.QUOTED)), (int(version), State(int(state))))
        check(tmp_path / "data", told)
    assert len(told) > LIVES
    works = Works(tmp_path / "data")
    with works.store, works.jobs:
        wait_until(lambda: not list(works.bookings.deadlines.table.scan(works.store)), 60)
    history = check(tmp_path / "data", told)
    assert all(count == 1 for count in history.ended.values())
    assert len(history.ended) > LIVES


def check(path: Path, told: dict[str, tuple[int, State]]) -> History:
    """The log has what was told, keeps every rule, and the tables say the same."""
    works = Works(path)
    with works.store as store:
        history = History(promised)
        history.follow(store.changes())
        check_tables(history, works.bookings, store, promised)
        history.check_lines(works.waitlist, store)
        for id_, (version, state) in told.items():
            row = history.bookings[id_]
            assert row.version > version or row.state is state
        keys = [row.note for row in history.bookings.values() if row.note]
        assert len(keys) == len(set(keys)), "one key made two bookings"
    return history
