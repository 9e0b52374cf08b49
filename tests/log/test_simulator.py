"""The simulator passes, and can fail."""

from pathlib import Path

import pytest

from walnut.testing.bugs import BUGS, switched_on
from walnut.testing.simulator import simulate

KEPT = [
    int(line.split("#")[0])
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if line.split("#")[0].strip()
]


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_failed_passes(seed: int) -> None:
    outcome = simulate(seed)
    assert outcome.failure is None, f"replay: walnut-sim --seed {seed} --trace"


def test_a_seed_lives_the_same_life_twice() -> None:
    first, second = simulate(7, trace=True), simulate(7, trace=True)
    assert first.trace == second.trace
    assert len(first.trace) > 100


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_each_deliberate_bug_is_caught(bug: str) -> None:
    with switched_on(bug):
        assert any(simulate(seed).failure for seed in range(400)), f"{bug} was not noticed"
