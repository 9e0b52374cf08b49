"""The types of jobs: rows, states, options. No I/O.

    WAITING ─ its time comes ─▶ READY ─ claimed ─▶ RUNNING ─ returned ─▶ DONE
    BLOCKED ─ those before it end ─▶ ┘ ▲               ├─ raised, tries left ─▶ WAITING, READY
                                       │               ├─ raised for good ────▶ DEAD ─ retried ─▶ READY
                                       └─ handed back ─┘
    whatever has not ended ─ cancelled ─▶ CANCELLED         a workflow that waits ─▶ SLEEPING ─▶ READY

What must stay true: `Job.attempt` grows with each claim and never falls; who brings a result names the
attempt that made it.
"""

from __future__ import annotations

import enum
import os
from typing import Final, Literal

import msgspec

from walnut.jobs.errors import InvalidTask
from walnut.jobs.outcome import Failure
from walnut.jobs.recurrence import Recurrence

SECOND: Final = 1_000_000_000
"""In ns, as all times on record are: since the Unix epoch."""

Late = Literal["fire", "skip"]
"""What becomes of a timer that could not fire in time, as nothing was running: it fires as soon as it
can, or not at all."""
Missed = Literal["coalesce", "each", "skip"]
"""What becomes of the firings of a schedule that were missed: one for all of them, each of them, or
none."""


class State(enum.IntEnum):
    """Where a job is in its life."""

    WAITING = 1
    BLOCKED = 2
    READY = 3
    RUNNING = 4
    SLEEPING = 5
    DONE = 6
    DEAD = 7
    CANCELLED = 8

    @property
    def ended(self) -> bool:
        """Nothing follows, unless somebody retries it."""
        return self >= State.DONE


class Job(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """A job: something that is to be run once, to its end, whatever happens.

    Attributes:
        id: of 32 hex digits. Also the idempotency key for whatever it calls outside.
        task: its name. arguments: a MessagePack array.
        queue, runs, rank: where it waits, for which executor, and its place there: what was enqueued
            earlier or has a higher priority has a lower rank.
        created, started, ended: times.
        attempt: how often it was claimed; the epoch that fences the attempts before.
        result: MessagePack, when DONE.
        tenant: for whom: each gets a fair share of a queue.
        key: of all jobs that have not ended, one has it.
        lane: jobs of a lane run one at a time, in the order they were enqueued: `turn`.
        due: when it stops WAITING. waits: for how many others it is BLOCKED.
        after: the jobs it comes after. followers: how many come after it and were neither done nor
            forgotten; as long as there are any its result is kept, so that they can be retried.
        failures: attempts that raised. losses: attempts that were never heard of again.
        lease: an attempt outside this process that gives no sign of life until then is lost.
        doubtful: an attempt was lost, and may have had its effect outside.
        error: of the last attempt that failed.
        progress, text: what it said of itself, as of some seconds ago.
        parent, step: the workflow it is a step of.
        by: who enqueued it.
    """

    id: str
    task: str
    state: State
    arguments: bytes
    queue: str
    runs: str
    rank: int
    created: int
    started: int = 0
    ended: int = 0
    attempt: int = 0
    result: bytes = b""
    tenant: str = ""
    priority: int = 0
    key: str = ""
    lane: str = ""
    turn: int = 0
    due: int = 0
    waits: int = 0
    after: list[str] = []
    followers: int = 0
    failures: int = 0
    losses: int = 0
    lease: int = 0
    doubtful: bool = False
    error: Failure | None = None
    progress: float = 0.0
    text: str = ""
    parent: str = ""
    step: int = 0
    by: str = ""


class Edge(msgspec.Struct, array_like=True):
    """`after` is BLOCKED until `before` is DONE."""

    before: str
    after: str


class Lane(msgspec.Struct, array_like=True):
    """A lane that has jobs: whose turn it is, and how many turns were given out."""

    name: str
    holder: str
    turns: int


class Target(enum.IntEnum):
    """What a timer does when it fires."""

    ACTION = 1
    JOB = 2
    SCHEDULE = 3
    STEP = 4
    FOLLOWERS = 5
    LEASE = 6


class Timer(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """Something that happens at a time, as a transaction, once.

    Attributes:
        due: when. id: of the timer, or of the job, or of the workflow and step, that waits for it.
        target: what it does. name: of the action or schedule, or the job that others come after.
        arguments: a MessagePack array.
        late, grace: what to do if it is more than so many ns late.
        key: one timer has it.
        failures: how often its action raised. first_due: when it was due at first.
    """

    due: int
    id: str
    target: Target
    name: str = ""
    arguments: bytes = b"\x90"
    late: Late = "fire"
    grace: int = 0
    key: str = ""
    failures: int = 0
    first_due: int = 0


class Schedule(msgspec.Struct, array_like=True, omit_defaults=True):
    """Something that happens again and again.

    Attributes:
        name: of the schedule. what: name of the action or task.
        due: when next; 0 if never again. last: when it last was due.
        fired, skipped: how often.
    """

    name: str
    recurrence: Recurrence
    what: str
    arguments: bytes
    missed: Missed
    due: int
    last: int = 0
    fired: int = 0
    skipped: int = 0
    paused: bool = False


class Pause(msgspec.Struct, array_like=True):
    """A queue that is paused, since when and by whom."""

    queue: str
    since: int
    by: str


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue may do at once.

    Attributes:
        concurrency: jobs running at once; None for as many as executors take.
        tenant_concurrency: the same for each tenant.
        rate: starts per second, on average. burst: how many of them at once.
        shares: of tenants that are to get more or less than others, who have 1.
    """

    concurrency: int | None = None
    tenant_concurrency: int | None = None
    rate: float | None = None
    burst: float = 1.0
    shares: dict[str, float] = {}

    def __post_init__(self) -> None:
        """Refuse what can't work, by name."""
        for name in ("concurrency", "tenant_concurrency", "rate"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InvalidTask(f"a queue's {name} is {value}: give more, or pause the queue")
        if self.burst < 1 or any(share <= 0 for share in self.shares.values()):
            raise InvalidTask("a queue's burst is at least 1, and shares are positive")


class JobsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How jobs are run. The defaults suit one machine.

    Attributes:
        queues: limits of queues, by name. Those not named have none.
        resources: what there is of what tasks say they take: `{"cpu": 4, "gpu": 1}`. By default the
            processors of this machine, as "cpu".
        ageing: seconds of waiting that weigh as much as one step of priority.
        losses: a job whose attempts were lost so often is dead: it may be what kills its workers.
        cancel_grace: seconds between asking an attempt to stop and ending it.
        record_every: seconds between recordings of progress.
        result_bytes: the largest result.
        keep_done: seconds for which jobs that are done or cancelled stay on record. Dead ones stay
            until somebody retries or drops them.
        processes, threads, tasks: attempts at once in child processes, in threads, on the loop.
        remote: on each further executor that was given.
        flows: workflows in memory at once. flow_idle: seconds after which one that waits is taken out
            of memory; it comes back when there is something to do.
        window: ready jobs of a tenant held in memory; the rest waits in the table.
        timer_attempts: how often a timer whose action raises is tried, with growing waits, before it
            is dead.
    """

    queues: dict[str, QueueLimits] = {}
    resources: dict[str, float] = msgspec.field(
        default_factory=lambda: {"cpu": float(os.cpu_count() or 1)}
    )
    ageing: float = 60.0
    losses: int = 5
    cancel_grace: float = 5.0
    record_every: float = 5.0
    result_bytes: int = 64 * 1024
    keep_done: float = 86_400.0
    processes: int = 2
    threads: int = 16
    tasks: int = 1000
    remote: int = 64
    flows: int = 1000
    flow_idle: float = 10.0
    window: int = 1000
    timer_attempts: int = 8

    def __post_init__(self) -> None:
        """Refuse what can't work, by name."""
        for name in (
            "processes",
            "threads",
            "tasks",
            "flows",
            "window",
            "losses",
            "timer_attempts",
        ):
            if getattr(self, name) < 1:
                raise InvalidTask(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("record_every", "cancel_grace", "ageing", "keep_done", "flow_idle"):
            if getattr(self, name) < 0:
                raise InvalidTask(f"{name} is {getattr(self, name)}: it must not be negative")
