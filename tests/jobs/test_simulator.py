"""The simulator of jobs passes, and can fail."""

import pytest

from walnut.testing.bugs import switched_on
from walnut.testing.jobs_bugs import JOBS_BUGS
from walnut.testing.jobs_simulator import simulate_jobs


def test_a_seed_lives_the_same_life_twice() -> None:
    first, second = simulate_jobs(7, trace=True), simulate_jobs(7, trace=True)
    assert first.trace == second.trace
    assert len(first.trace) > 100


@pytest.mark.parametrize("seed", range(20))
def test_a_life_of_jobs_keeps_every_promise(seed: int) -> None:
    outcome = simulate_jobs(seed)
    assert outcome.failure is None, f"replay: walnut-sim --jobs --seed {seed} --trace"


def test_lives_of_jobs_meet_what_there_is_to_meet() -> None:
    counts = {
        name for seed in range(60) for name, count in simulate_jobs(seed).counts.items() if count
    }
    assert counts >= {
        "asked what happened", "attempts that never answered", "cancelled", "cancelled on the way",
        "crashes at work", "crashes in recovery", "late outcomes refused", "late outcomes taken",
        "metrics: fenced", "metrics: full", "metrics: handed_back", "metrics: hook_failures",
        "metrics: recovered", "retried", "schedules", "told a result", "workers died",
        "workers outside fenced",
    }  # fmt: skip


@pytest.mark.parametrize("bug", sorted(JOBS_BUGS))
def test_each_deliberate_bug_is_caught(bug: str) -> None:
    with switched_on(bug):
        assert any(simulate_jobs(seed).failure for seed in range(400)), f"{bug} was not noticed"
