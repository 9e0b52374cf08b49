"""What the dispatcher asks of whatever runs attempts.

    dispatcher ── start, cancel, kill ──▶ Runner: threads, child processes, somebody's Executor
               ◀── future[Outcome], Note ──┘

What must stay true: every started attempt's future gives exactly one Outcome and never an exception,
whatever the task, its process or the machine that ran it does; and what an attempt brings after its
future has resolved is dropped. Time limits are the dispatcher's: it asks, then uses force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from walnut.jobs.call import Call, Limits, Tell
from walnut.jobs.errors import ExecutorFailed, WorkerDied
from walnut.jobs.outcome import Failure, Outcome, failure

if TYPE_CHECKING:  # at run time it costs a child process 5 ms of its start
    from concurrent.futures import Future


class Runner(Protocol):
    """Runs attempts. All of it may be called from any thread, and nothing but `close` waits."""

    slots: int
    """Attempts at once. Those over it wait their turn."""

    def start(self, call: Call, limits: Limits, tell: Tell) -> Future[Outcome]:
        """Make an attempt. Its future is running from the start and can't be cancelled."""
        ...

    def cancel(self, call: Call) -> None:
        """Ask an attempt to end: its `ctx.cancelled` becomes true. One that waits its turn ends now."""
        ...

    def kill(self, call: Call) -> None:
        """End an attempt by force, or where that is not possible, abandon it: the future gives a
        Failure that says WorkerDied. Nothing, if it is over."""
        ...

    def close(self, timeout: float) -> None:
        """Take no more; wait so many seconds for what runs, then kill it."""
        ...


def key_of(call: Call) -> tuple[str, int]:
    """What tells an attempt from all others."""
    return call.job, call.attempt


def died(call: Call, how: str) -> Failure:
    """An attempt of which nothing will come."""
    return failure(WorkerDied(f"{call.target}, attempt {call.attempt} of job {call.job}, {how}"))


def unavailable(why: str) -> Failure:
    """An attempt that can't be made here."""
    return failure(ExecutorFailed(why))


NOT_BEGUN = "was ended before it had begun"
"""What becomes of an attempt that is cancelled or killed while it waits its turn."""
