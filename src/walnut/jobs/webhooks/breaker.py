"""A circuit breaker: an endpoint that keeps failing is left alone for longer and longer.

              failures in a row                wait is over
    CLOSED ──────────────────────▶ OPEN ◀──────────────────────▶ HALF_OPEN
       ▲     threshold reached       │       the probe failed        │
       └─────────────────────────────┴───────────────────────────────┘
                            any success

What must stay true: of all that ask while the breaker is half open, one is let through until its
result is known, or until `probe_ns` has passed and it counts as lost; whoever asks is never told to
wait longer than `cap_ns` (`probe_ns` behind a probe), even if the clock was set back.

All of it is functions of values: the caller keeps the state and brings the time, in nanoseconds.
Left out on purpose: jitter, which is a matter of the retries' schedule.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from walnut.jobs.webhooks.errors import InvalidSetting

SECOND: Final = 1_000_000_000


class Phase(enum.Enum):
    """Where a breaker is."""

    CLOSED = "closed"
    """All calls are let through."""
    OPEN = "open"
    """None is, until the wait is over."""
    HALF_OPEN = "half-open"
    """One was, and its result decides."""


class BreakerRules(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens, and for how long.

    Attributes:
        threshold: so many failures in a row open it.
        wait_ns: the first wait; each failed probe doubles it.
        cap_ns: the longest wait.
        probe_ns: a probe without a result for so long is lost, and another is let through. Longer
            than any call may take.
    """

    threshold: int = 5
    wait_ns: int = 10 * SECOND
    cap_ns: int = 3600 * SECOND
    probe_ns: int = 120 * SECOND

    def __post_init__(self) -> None:
        """Refuse what can't work, by name."""
        for name, value, low in (
            ("threshold", self.threshold, 1),
            ("wait_ns", self.wait_ns, 1),
            ("cap_ns", self.cap_ns, self.wait_ns),
            ("probe_ns", self.probe_ns, 1),
        ):
            if value < low:
                raise InvalidSetting(f"{name} is {value}: it must be at least {low}")


DEFAULT_RULES: Final = BreakerRules()


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one endpoint's breaker.

    Attributes:
        failures: in a row, up to now.
        opened_at: when it opened last.
        probed_at: when the probe was let through; for the half-open phase.
        probes: how many were let through since it was closed.
    """

    phase: Phase = Phase.CLOSED
    failures: int = 0
    opened_at: int = 0
    probed_at: int = 0
    probes: int = 0


CLOSED: Final = Breaker()


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a call may be made now.

    Attributes:
        state: what the breaker is after asking; to be kept whatever the answer.
        wait_ns: 0 if the call is let through, else how long to wait before asking again.
    """

    state: Breaker
    wait_ns: int

    @property
    def allowed(self) -> bool:
        """The call is let through, and its result has to be told."""
        return self.wait_ns == 0


def allow(state: Breaker, now: int, rules: BreakerRules = DEFAULT_RULES) -> Permit:
    """Ask before a call."""
    if state.phase is Phase.CLOSED:
        return Permit(state=state, wait_ns=0)
    if state.phase is Phase.OPEN:
        since, wait = state.opened_at, _wait(state, rules)
    else:
        since, wait = state.probed_at, rules.probe_ns
    if now >= since + wait:
        probe = msgspec.structs.replace(
            state, phase=Phase.HALF_OPEN, probed_at=now, probes=state.probes + 1
        )
        return Permit(state=probe, wait_ns=0)
    if now < since:  # the clock was set back; begin the wait anew
        state = msgspec.structs.replace(
            state, opened_at=min(state.opened_at, now), probed_at=min(state.probed_at, now)
        )
        since = now
    return Permit(state=state, wait_ns=since + wait - now)


def after_success(_state: Breaker) -> Breaker:
    """A call succeeded, be it the probe or one begun before the breaker opened: it is closed."""
    return CLOSED


def after_failure(state: Breaker, now: int, rules: BreakerRules = DEFAULT_RULES) -> Breaker:
    """A call failed. In an open breaker that is the late end of an old call, and changes nothing."""
    if state.phase is Phase.OPEN:
        return state
    failures = state.failures + 1
    if state.phase is Phase.CLOSED and failures < rules.threshold:
        return Breaker(failures=failures)
    return Breaker(phase=Phase.OPEN, failures=failures, opened_at=now, probes=state.probes)


def _wait(state: Breaker, rules: BreakerRules) -> int:
    doublings = min(state.probes, 64)  # beyond any cap, and no huge number on the way
    return min(rules.cap_ns, rules.wait_ns << doublings)
