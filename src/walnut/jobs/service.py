"""Jobs as the server runs them: on the store, on the server's event loop.

What must stay true: no job begins after draining has; what could not end in its time is handed back
to the store, and begins again at the next start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from prometheus_client import Metric

from walnut.jobs.jobs import Jobs
from walnut.jobs.model import JobsOptions
from walnut.jobs.problems import PROBLEMS
from walnut.store.store import Store
from walnut.subsystem.metrics import by, counter, seconds
from walnut.subsystem.model import Subsystem
from walnut.subsystem.units import Bytes, Seconds
from walnut.web.problems import Kind

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

Positive = Annotated[int, msgspec.Meta(ge=1)]


class JobsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Durable work, timers, webhooks and workflows.

    Attributes:
        processes: attempts at once in child processes.
        threads: attempts at once in threads.
        tasks: attempts at once on the event loop.
        flows: workflows in memory at once.
        keep_done: how long jobs that are done or cancelled stay on record.
        drain: how long a stop waits for attempts that run; the rest is handed back and begins again.
        result_size: the largest result.
    """

    processes: Positive = 2
    threads: Positive = 16
    tasks: Positive = 1000
    flows: Positive = 1000
    keep_done: Seconds = 86_400.0
    drain: Seconds = 10.0
    result_size: Bytes = 64 * 1024


class JobsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs in `walnut status`: attempts since the server was started.

    Attributes:
        running: attempts under way.
        failure: why jobs are not run any more; empty while all is well.
    """

    started: int
    done: int
    failed: int
    running: int
    fired: int
    failure: str


class Service(Subsystem[JobsSettings]):
    """Runs jobs and provides `Jobs`."""

    name: ClassVar = "jobs"
    needs: ClassVar = ("store",)
    settings: ClassVar = JobsSettings
    tables: ClassVar = ("jobs", "jobs.*")

    jobs: Jobs | None = None

    async def start(self) -> None:
        """Begin to run jobs."""
        config = self.config
        options = JobsOptions(
            processes=config.processes,
            threads=config.threads,
            tasks=config.tasks,
            flows=config.flows,
            keep_done=config.keep_done,
            result_bytes=config.result_size,
        )
        self.jobs = Jobs(self.resources.find(Store), options)
        await self.jobs.start()
        self.resources.provide(self.jobs)

    async def drain(self) -> None:
        """Begin nothing more, and wait for what runs."""
        if self.jobs is not None:
            await self.jobs.stop(self.config.drain)

    async def stop(self) -> None:
        """Hand back what still runs."""
        self.resources.withdraw(Jobs)
        if self.jobs is not None:
            await self.jobs.stop(0.0)

    def routes(self) -> Sequence[ControllerRouterHandler]:
        """See Subsystem."""
        from walnut.jobs.api import routes  # noqa: PLC0415 -- Litestar, for a server alone

        return routes(self.resources)

    def problems(self) -> Mapping[type[Exception], Kind]:
        """See Subsystem."""
        return PROBLEMS

    def status(self) -> JobsStatus | None:
        """See Subsystem."""
        if self.jobs is None:
            return None
        counts = self.jobs.metrics
        ended = counts.done + counts.failed + counts.handed_back
        return JobsStatus(
            started=counts.started,
            done=counts.done,
            failed=counts.failed,
            running=max(0, counts.started - ended),
            fired=counts.fired,
            failure="" if self.jobs.failure is None else str(self.jobs.failure),
        )

    def metrics(self) -> Iterator[Metric]:
        """See Subsystem."""
        if self.jobs is None:
            return
        counts = self.jobs.metrics
        ends = {
            "done": counts.done,
            "failed": counts.failed,
            "handed_back": counts.handed_back,
            "fenced": counts.fenced,
        }
        yield counter("jobs_started", "Attempts begun.", counts.started)
        yield by("end", "jobs_ended", "Attempts, by how they ended.", ends, grows=True)
        yield counter(
            "jobs_recovered", "Attempts that nobody was making any more.", counts.recovered
        )
        yield counter("jobs_timers_fired", "Timers.", counts.fired)
        yield counter("jobs_timers_failed", "Timers whose action raised.", counts.fire_failures)
        yield seconds("jobs_wait", "From being ready to the start of an attempt.", counts.wait)
        yield seconds("jobs_timer_lateness", "Of timers.", counts.lateness)
