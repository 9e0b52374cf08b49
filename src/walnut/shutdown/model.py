"""The words of a shutdown, as data: phases, budgets, events, the report. No I/O.

        start        grace   close   drain          stop       flush
    ──┬───────┬─ ~ ─┬───────┬──────┬──────────────┬──────────┬──────┬──▶ closed
      starting│  running    │      │              │          │      │
              ready      not ready  nothing new   nothing    all    the deadline
                         is said    comes in      in flight  stopped

What must stay true: phases follow one another in the order of `Phase`, each at most once.
"""

from __future__ import annotations

import enum
import math
from typing import Literal

import msgspec

from walnut.shutdown.errors import InvalidBudget


class Phase(enum.Enum):
    """Where a process is between its first moment and its last. In order."""

    STARTING = "starting"
    RUNNING = "running"
    NOT_READY = "not ready"
    """Readiness fails, so that load balancers look elsewhere; liveness holds; answers end connections."""
    GRACE = "grace"
    """Until every load balancer has noticed. Everything is served as before."""
    CLOSE = "stop accepting"
    DRAIN = "drain"
    """What is under way comes to its end."""
    STOP = "stop"
    """Components stop, each after all that need it."""
    FLUSH = "flush"
    CLOSED = "closed"


class ExitCode(enum.IntEnum):
    """What the process says to whoever started it. 2 is left to bad usage."""

    CLEAN = 0
    """Everything came to its end by itself."""
    FAILED = 1
    """A component did not start, or could not be stopped."""
    BROKEN = 3
    """A component ended with an error while it ran, and so the process stopped by itself: whoever started
    it starts it again."""
    FORCED = 4
    """Something overran its budget, or was cut short by a second signal. The report names it."""
    KILLED = 5
    """A third signal ended the process on the spot. Whatever was under way is as after a crash."""


class Budgets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds for each phase. What a phase leaves unused goes to those after it.

    The deadline is the sum from `grace` to `flush`: keep `terminationGracePeriodSeconds` (Kubernetes)
    and `TimeoutStopSec` (systemd) a few seconds above it.
    """

    start: float = 120.0
    """For all components together; recovery after a crash is part of it."""
    grace: float = 5.0
    """This one is waited for in full: as long as load balancers take to see that readiness fails."""
    close: float = 1.0
    drain: float = 15.0
    stop: float = 8.0
    flush: float = 1.0
    reload: float = 30.0
    """For one reload (SIGHUP)."""
    restart: float = 60.0
    """For a successor to become ready."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            seconds = getattr(self, name)
            if not (0 <= seconds < math.inf):
                raise InvalidBudget(f"the budget {name!r} is {seconds!r}; give seconds, 0 or more")

    @property
    def deadline(self) -> float:
        """Seconds from being asked to stop to being closed, at most."""
        return self.grace + self.close + self.drain + self.stop + self.flush


class Schedule:
    """When each phase has to be over: a function of when stopping began. Pure.

    Ends are fixed at the beginning, so a phase that is short leaves its time to the next.
    """

    def __init__(self, budgets: Budgets, began: float, *, grace: bool) -> None:
        self._budgets = budgets
        self._ends: dict[Phase, float] = {}
        end = began
        for phase, seconds in (
            (Phase.NOT_READY, 0.0),
            (Phase.GRACE, budgets.grace if grace else 0.0),
            (Phase.CLOSE, budgets.close),
            (Phase.DRAIN, budgets.drain),
            (Phase.STOP, budgets.stop),
            (Phase.FLUSH, budgets.flush),
        ):
            end += seconds
            self._ends[phase] = end

    def end_of(self, phase: Phase) -> float:
        """The moment, on the clock of `began`."""
        return self._ends[phase]

    def rebase(self, phase: Phase, now: float) -> None:
        """Let a phase begin now with no more than its own budget: nobody waits for what was saved."""
        end = now
        for later, seconds in (
            (Phase.CLOSE, self._budgets.close),
            (Phase.STOP, self._budgets.stop),
            (Phase.FLUSH, self._budgets.flush),
        ):
            if list(Phase).index(later) >= list(Phase).index(phase):
                end += seconds
                self._ends[later] = min(self._ends[later], end)


class Counts(msgspec.Struct, frozen=True):
    """What is in flight, by kind."""

    requests: int = 0
    streams: int = 0
    websockets: int = 0
    tasks: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.requests + self.streams + self.websockets + self.tasks

    def __str__(self) -> str:
        parts = [
            f"{number} {name if number != 1 else name[:-1]}"
            for name in self.__struct_fields__
            if (number := getattr(self, name))
        ]
        return ", ".join(parts) or "nothing"


EventKind = Literal[
    "phase",
    "started",
    "drained",
    "stopped",
    "overran",
    "failed",
    "progress",
    "signal",
    "reload",
    "restart",
]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something a log or a console wants to show."""

    kind: EventKind
    phase: Phase
    component: str = ""
    detail: str = ""
    seconds: float = 0.0
    """Of what ended: how long it took."""
    counts: Counts = Counts()
    """In flight at that moment."""


class PhaseReport(msgspec.Struct, frozen=True):
    """How a phase went."""

    phase: Phase
    seconds: float
    overran: tuple[str, ...] = ()
    """Names of components, or what was in flight, that had to be cut short."""


class Failure(msgspec.Struct, frozen=True):
    """A component that ended, drained or stopped with an error."""

    component: str
    while_: Literal["start", "run", "drain", "stop accepting", "stop", "flush"]
    error: str
    """Class and message of what it raised."""


class Report(msgspec.Struct, frozen=True):
    """How a shutdown went."""

    reason: str
    phases: tuple[PhaseReport, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def overran(self) -> tuple[str, ...]:
        """All that had to be cut short, by name."""
        return tuple(name for phase in self.phases for name in phase.overran)

    @property
    def seconds(self) -> float:
        """From being asked to stop to being closed."""
        return sum(
            one.seconds for one in self.phases if one.phase not in {Phase.STARTING, Phase.RUNNING}
        )

    @property
    def exit_code(self) -> ExitCode:
        """For `sys.exit`."""
        if any(one.while_ == "run" for one in self.failures):
            return ExitCode.BROKEN
        if self.failures:
            return ExitCode.FAILED
        return ExitCode.FORCED if self.overran else ExitCode.CLEAN

    def __str__(self) -> str:
        took = ", ".join(f"{one.phase.value} {one.seconds:.2f} s" for one in self.phases)
        cut = f"; cut short: {', '.join(self.overran)}" if self.overran else ""
        failed = "".join(f"; {f.component} failed ({f.while_}): {f.error}" for f in self.failures)
        return f"{self.exit_code.name.lower()} ({self.reason}): {took}{cut}{failed}"
