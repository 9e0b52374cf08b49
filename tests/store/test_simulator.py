"""The store's simulator passes, and can fail."""

import pytest

from walnut.testing.bugs import switched_on
from walnut.testing.store_bugs import STORE_BUGS
from walnut.testing.store_simulator import simulate_store


def test_a_seed_lives_the_same_life_twice() -> None:
    first, second = simulate_store(7, trace=True), simulate_store(7, trace=True)
    assert first.trace == second.trace
    assert len(first.trace) > 100


@pytest.mark.parametrize("bug", sorted(STORE_BUGS))
def test_each_deliberate_bug_is_caught(bug: str) -> None:
    with switched_on(bug):
        assert any(simulate_store(seed).failure for seed in range(400)), f"{bug} was not noticed"
