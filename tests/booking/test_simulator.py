"""The simulator of booking passes, and can fail."""

import pytest

from walnut.testing.booking_bugs import BOOKING_BUGS
from walnut.testing.booking_simulator import simulate_booking
from walnut.testing.bugs import switched_on


def test_a_seed_lives_the_same_life_twice() -> None:
    first, second = simulate_booking(7, trace=True), simulate_booking(7, trace=True)
    assert first.trace == second.trace
    assert len(first.trace) > 100


@pytest.mark.parametrize("seed", range(40))
def test_a_life_of_bookings_keeps_every_promise(seed: int) -> None:
    outcome = simulate_booking(seed)
    assert outcome.failure is None, f"replay: walnut-sim --booking --seed {seed} --trace"


def test_lives_of_bookings_meet_what_there_is_to_meet() -> None:
    counts = {
        name for seed in range(30) for name, count in simulate_booking(seed).counts.items() if count
    }
    assert counts >= {
        "asked again", "at the deadline", "clock jumps", "crashes at work", "crashes in recovery",
        "expired", "expired, and still free", "full", "let in", "offers taken or refused",
        "refused: hold-expired", "refused: not-your-turn", "refused: stale-version", "refused: taken",
        "series", "series, with refusals", "stood in line",
        "told: cancelled", "told: checked_in", "told: confirmed", "told: quoted", "waiting",
    }  # fmt: skip


@pytest.mark.parametrize("bug", sorted(BOOKING_BUGS))
def test_each_deliberate_bug_is_caught(bug: str) -> None:
    with switched_on(bug):
        assert any(simulate_booking(seed).failure for seed in range(400)), f"{bug} was not noticed"
