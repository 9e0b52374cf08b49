"""Requests that share a transaction, in somebody's name and under a key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.booking.office import START, Clock, at, promised
from tests.store.helpers import SMALL
from walnut.booking import Booking, Bookings, Exclusive, Resource, State, Time
from walnut.booking.errors import Taken
from walnut.jobs import Jobs
from walnut.store import Meta, Store
from walnut.store.errors import KeyReused, WrongType
from walnut.testing.booking_checks import History, check_tables

WANT = Time("room", at("10:00"), at("11:00"))
LATER = Time("room", at("12:00"), at("13:00"))


def run(path: Path, scene: Callable[[Bookings], Coroutine[Any, Any, None]]) -> None:
    """Play a scene on bookings with one room, and check what it leaves."""

    async def main() -> None:
        log = msgspec.structs.replace(SMALL.log, clock=Clock(START))
        async with Store(path / "data", msgspec.structs.replace(SMALL, log=log)) as store:
            bookings = Bookings(store, Jobs(store))
            await bookings.submit(bookings.add, Resource(id="room", kind=Exclusive()))
            await scene(bookings)
            history = History(promised)
            history.follow(store.changes())
            check_tables(history, bookings, store, promised)

    asyncio.run(main())


def who(bookings: Bookings, booking: Booking) -> Meta:
    """In whose name a booking was last changed, as the log has it."""
    changes = bookings.store.changes(booking.lsn - 1, upto=booking.lsn)
    return next(change.meta for change in changes)


def test_requests_of_a_caller_share_a_record_and_those_of_two_do_not(tmp_path: Path) -> None:
    async def scene(bookings: Bookings) -> None:
        ann, bob = bookings.by(Meta("ann", "by phone")), bookings.by(Meta("bob"))
        first, second, third = await asyncio.gather(
            ann.submit(bookings.hold, WANT),
            ann.submit(bookings.hold, LATER),
            bob.submit(bookings.hold, Time("room", at("14:00"), at("15:00"))),
        )
        assert first.lsn == second.lsn != third.lsn
        assert who(bookings, first) == Meta("ann", "by phone")
        assert who(bookings, third) == Meta("bob")

    run(tmp_path, scene)


def test_one_that_is_refused_is_refused_alone(tmp_path: Path) -> None:
    async def scene(bookings: Bookings) -> None:
        outcomes = await asyncio.gather(
            *[bookings.submit(bookings.hold, want) for want in (WANT, WANT, LATER)],
            return_exceptions=True,
        )
        assert [type(one) for one in outcomes] == [Booking, Taken, Booking]

    run(tmp_path, scene)


def test_what_is_asked_twice_under_a_key_is_done_once(tmp_path: Path) -> None:
    async def scene(bookings: Bookings) -> None:
        ann = Meta("ann", key="k1")
        asked = [bookings.by(ann).submit(bookings.hold, WANT, customer="ann") for _ in range(3)]
        first, *others = await asyncio.gather(*asked)
        assert others == [first, first]
        confirmed = await bookings.by(Meta("ann", key="k2")).submit(bookings.confirm, first.id)
        assert confirmed.state is State.CONFIRMED
        again = await bookings.by(ann).submit(bookings.hold, WANT, customer="ann")
        assert again == first
        assert who(bookings, confirmed) == Meta("ann", key="k2")

    run(tmp_path, scene)


def test_a_key_that_comes_again_with_something_else_is_refused(tmp_path: Path) -> None:
    async def scene(bookings: Bookings) -> None:
        ann = bookings.by(Meta("ann", key="k1"))
        held = await ann.submit(bookings.hold, WANT)
        others: list[tuple[Callable[..., Booking], tuple[Any, ...], dict[str, Any]]] = [
            (bookings.hold, (LATER,), {}),
            (bookings.hold, (WANT,), {"seconds": 60}),
            (bookings.confirm, (held.id,), {}),
        ]
        for function, args, options in others:
            with pytest.raises(KeyReused):
                await ann.submit(function, *args, **options)
        other = await bookings.by(Meta("bob", key="k1")).submit(bookings.hold, LATER)
        assert other.id != held.id  # keys are each caller's own

    run(tmp_path, scene)


def test_a_key_refused_once_is_free_for_the_next_try(tmp_path: Path) -> None:
    async def scene(bookings: Bookings) -> None:
        held = await bookings.submit(bookings.hold, WANT)
        ann = bookings.by(Meta("ann", key="k1"))
        with pytest.raises(Taken):
            await ann.submit(bookings.hold, WANT)
        await bookings.submit(bookings.cancel, held.id)
        assert (await ann.submit(bookings.hold, WANT)).state is State.HELD

    run(tmp_path, scene)


def test_what_cannot_be_kept_with_a_key_is_refused_by_name(tmp_path: Path) -> None:
    async def scene(bookings: Bookings) -> None:
        with pytest.raises(WrongType, match="hold under an idempotency key"):
            await bookings.by(Meta("ann", key="k1")).submit(bookings.hold, object())

    run(tmp_path, scene)


def test_of_more_callers_than_are_gathered_each_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("walnut.booking.together.MOST_CALLERS", 2)

    async def scene(bookings: Bookings) -> None:
        held = await asyncio.gather(
            *[
                bookings.by(Meta(f"caller {hour}")).submit(
                    bookings.hold, Time("room", at(f"{hour}:00"), at(f"{hour}:30"))
                )
                for hour in range(10, 20)
            ]
        )
        assert [who(bookings, one).principal for one in held] == [
            f"caller {hour}" for hour in range(10, 20)
        ]

    run(tmp_path, scene)
