"""Everybody who comes has a place, and is let in in order."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.booking.office import Office, at, office
from walnut.booking import queue as queues
from walnut.booking.errors import InvalidWant, NotYourTurn, UnknownSale
from walnut.booking.queue import Queue


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        yield opened


@pytest.fixture
def queue(desk: Office) -> Queue:
    made = Queue(desk.store, desk.jobs)
    desk.store.call(made.add, "tour", at("10:00"), per_minute=60, at_once=5, stay=60)
    return made


def enter(desk: Office, queue: Queue, who: str) -> queues.Position:
    return desk.call(queue.enter, "tour", who)


def test_those_who_come_before_it_opens_are_drawn_by_a_seed_that_was_promised(
    desk: Office, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "NUMBERED_AT_ONCE", 7)
    commitment = queue.need(desk.store, "tour").commitment
    names = [f"p{number}" for number in range(20)]
    for name in [*names, "p3"]:  # coming twice changes nothing
        assert enter(desk, queue, name).number == 0
    desk.clock.now = at("10:00")
    assert enter(desk, queue, "late").number == 21  # the draw has not been recorded yet
    desk.fire()
    assert enter(desk, queue, "later").number == 22
    seed = queue.need(desk.store, "tour").seed
    assert hashlib.sha256(seed).hexdigest() == commitment
    drawn = sorted(names, key=lambda name: hashlib.sha256(seed + name.encode()).digest())
    numbers = {row.who: row.number for row in queue.people.scan(desk.store)}
    assert [numbers[name] for name in drawn] == list(range(1, 21))
    assert enter(desk, queue, drawn[0]).number == 1


def test_numbers_are_let_in_at_a_rate_and_their_turn_ends(desk: Office, queue: Queue) -> None:
    desk.clock.now = at("10:00")
    desk.fire()
    positions = [enter(desk, queue, f"p{number}") for number in range(10)]
    assert [one.admitted for one in positions] == [True] * 5 + [False] * 5
    assert positions[7].ahead == 2
    last = positions[9].token
    with pytest.raises(NotYourTurn, match="4 are ahead"):
        desk.call(queue.check, last, desk.clock.now)
    desk.clock.forward(seconds=5)
    assert desk.call(queue.check, last, desk.clock.now) == "p9"
    desk.clock.forward(seconds=60)
    with pytest.raises(NotYourTurn, match="turn is over"):
        desk.call(queue.check, last, desk.clock.now)
    assert not queue.position(desk.store, "tour", "p9", desk.clock.now).admitted


def test_a_position_that_was_not_given_is_refused(desk: Office, queue: Queue) -> None:
    desk.clock.now = at("10:00")
    token = enter(desk, queue, "ann").token
    assert desk.call(queue.check, token, desk.clock.now) == "ann"
    desk.store.call(queue.add, "play", at("10:00"), per_minute=1, at_once=9)
    forged = desk.call(queue.enter, "play", "eve").token
    mixed = token[: len(token) // 2] + forged[len(token) // 2 :]
    for bad in (mixed, "nonsense", "", token[:-4]):
        with pytest.raises((NotYourTurn, UnknownSale)):
            desk.call(queue.check, bad, desk.clock.now)
    with pytest.raises(NotYourTurn, match="enter first"):
        queue.position(desk.store, "tour", "bob", desk.clock.now)


def test_sales_that_can_not_be_are_refused(desk: Office, queue: Queue) -> None:
    for name, opens, rate in (("tour", at("11:00"), 1), ("x", at("11:00"), 0),
                              ("y", dt.datetime(2030, 6, 1), 1)):  # noqa: DTZ001  # fmt: skip
        with pytest.raises(InvalidWant):
            desk.call(queue.add, name, opens, per_minute=rate)
    with pytest.raises(UnknownSale):
        desk.call(queue.enter, "nothing", "ann")
    with pytest.raises(InvalidWant):
        enter(desk, queue, "")
