"""An endpoint that keeps failing is left alone, and tried again by one call at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walnut.jobs.webhooks.breaker import (
    CLOSED,
    Breaker,
    BreakerRules,
    Phase,
    after_failure,
    after_success,
    allow,
)
from walnut.jobs.webhooks.errors import InvalidSetting

RULES = BreakerRules(threshold=3, wait_ns=10, cap_ns=35, probe_ns=50)


def failed(times: int, now: int = 0) -> Breaker:
    """The breaker after so many failures."""
    state = CLOSED
    for _ in range(times):
        state = after_failure(state, now, RULES)
    return state


def test_a_closed_breaker_lets_everything_through() -> None:
    for state in (CLOSED, failed(2)):
        permit = allow(state, 0, RULES)
        assert permit.allowed
        assert permit.state == state


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    assert failed(2).phase is Phase.CLOSED
    assert failed(3).phase is Phase.OPEN
    interrupted = after_failure(after_success(failed(2)), 0, RULES)
    assert interrupted.failures == 1
    assert interrupted.phase is Phase.CLOSED


def test_an_open_breaker_says_how_long_to_wait() -> None:
    state = failed(3, now=100)
    for now, wait in ((100, 10), (109, 1)):
        permit = allow(state, now, RULES)
        assert not permit.allowed
        assert permit.wait_ns == wait
    assert allow(state, 110, RULES).allowed


def test_one_probe_goes_through_and_the_others_wait_for_its_result() -> None:
    probe = allow(failed(3), 10, RULES)
    assert probe.allowed
    assert probe.state.phase is Phase.HALF_OPEN
    other = allow(probe.state, 11, RULES)
    assert not other.allowed
    assert other.wait_ns == 49


def test_a_probe_that_succeeds_closes_it() -> None:
    assert after_success(allow(failed(3), 10, RULES).state) == CLOSED


def test_each_failed_probe_doubles_the_wait_up_to_the_cap() -> None:
    state, now, waits = failed(3), 0, []
    for _ in range(5):
        wait = allow(state, now, RULES).wait_ns
        waits.append(wait)
        now += wait
        state = after_failure(allow(state, now, RULES).state, now, RULES)
    assert waits == [10, 20, 35, 35, 35]
    assert state.failures == 8


def test_a_probe_whose_result_never_comes_is_replaced() -> None:
    lost = allow(failed(3), 10, RULES).state
    assert not allow(lost, 59, RULES).allowed
    assert allow(lost, 60, RULES).allowed


def test_a_late_failure_does_not_prolong_the_wait() -> None:
    state = failed(3, now=0)
    assert after_failure(state, 9, RULES) == state


def test_a_clock_set_back_prolongs_no_wait() -> None:
    state = failed(3, now=1_000_000)
    permit = allow(state, 500, RULES)
    assert permit.wait_ns == 10
    assert allow(permit.state, 510, RULES).allowed
    probe = allow(state, 1_000_010, RULES).state
    permit = allow(probe, 500, RULES)
    assert permit.wait_ns == 50
    assert allow(permit.state, 550, RULES).allowed


def test_a_thousand_failed_probes_make_no_huge_number() -> None:
    state = Breaker(phase=Phase.OPEN, failures=2000, opened_at=0, probes=10**6)
    assert allow(state, 0, RULES).wait_ns == 35


@pytest.mark.parametrize(
    "rules", [{"threshold": 0}, {"wait_ns": 0}, {"wait_ns": 10, "cap_ns": 9}, {"probe_ns": 0}]
)
def test_rules_that_cannot_work_are_refused(rules: dict[str, int]) -> None:
    with pytest.raises(InvalidSetting, match="must be at least"):
        BreakerRules(**rules)


class Model:
    """The same breaker, told as a story: a list of what happened, looked through each time."""

    def __init__(self) -> None:
        self.row = 0
        self.shut_until: int | None = None
        self.wait = RULES.wait_ns
        self.probe_until: int | None = None

    def ask(self, now: int) -> bool:
        if self.shut_until is None and self.probe_until is None:
            return True
        gate = self.probe_until if self.probe_until is not None else self.shut_until
        assert gate is not None
        if now < gate:
            return False
        self.shut_until, self.probe_until = None, now + RULES.probe_ns
        self.wait = min(self.wait * 2, RULES.cap_ns)
        return True

    def succeed(self) -> None:
        self.__init__()  # type: ignore[misc]

    def fail(self, now: int) -> None:
        if self.shut_until is not None:
            return
        self.row += 1
        if self.probe_until is not None or self.row >= RULES.threshold:
            self.shut_until, self.probe_until = now + self.wait, None


steps = st.lists(
    st.tuples(st.sampled_from(["ask", "fail", "fail", "succeed"]), st.integers(0, 60)), max_size=60
)


@given(steps)
def test_it_does_what_a_simple_model_does(script: list[tuple[str, int]]) -> None:
    state, model, now = CLOSED, Model(), 0
    for step, passed in script:
        now += passed
        if step == "ask":
            permit = allow(state, now, RULES)
            assert permit.allowed == model.ask(now)
            state = permit.state
        elif step == "fail":
            state = after_failure(state, now, RULES)
            model.fail(now)
        else:
            state = after_success(state)
            model.succeed()
        assert state.failures == model.row


@given(steps, st.integers(-1000, 1000))
def test_no_wait_is_longer_than_the_rules_say(script: list[tuple[str, int]], jump: int) -> None:
    state, now = CLOSED, 0
    for number, (step, passed) in enumerate(script):
        now += passed + (jump if number % 7 == 3 else 0)
        permit = allow(state, now, RULES)
        assert 0 <= permit.wait_ns <= max(RULES.cap_ns, RULES.probe_ns)
        assert allow(permit.state, now + permit.wait_ns, RULES).allowed or permit.allowed
        state = permit.state
        state = after_success(state) if step == "succeed" else after_failure(state, now, RULES)
