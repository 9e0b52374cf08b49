"""The simulator of topics passes, and can fail."""

import pytest

from walnut.testing.bugs import switched_on
from walnut.testing.topics_bugs import TOPICS_BUGS
from walnut.testing.topics_simulator import simulate_topics


def test_a_seed_lives_the_same_life_twice() -> None:
    first, second = simulate_topics(7, trace=True), simulate_topics(7, trace=True)
    assert first.trace == second.trace
    assert len(first.trace) > 100


@pytest.mark.parametrize("bug", sorted(TOPICS_BUGS))
def test_each_deliberate_bug_is_caught(bug: str) -> None:
    with switched_on(bug):
        assert any(simulate_topics(seed).failure for seed in range(400)), f"{bug} was not noticed"
