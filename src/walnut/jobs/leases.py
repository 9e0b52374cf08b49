"""Leases: jobs for workers outside this process, which ask for them.

    worker ── take ──▶ attempts, leased for so long ── renew ... ──▶ report
                           └─ neither in time: a timer fires, the attempt is lost, the next may begin

What must stay true: a lease ends by a timer on record, so a worker that died is noticed also if the
server was down meanwhile; a worker whose lease is over reports to deaf ears.
"""

from __future__ import annotations

from typing import Final

from walnut.jobs.errors import Fenced
from walnut.jobs.ledger import LIVE, LOST, Ended, Ledger
from walnut.jobs.model import SECOND, Job, State, Target, Timer
from walnut.jobs.outcome import Failure, Outcome
from walnut.store.transaction import Transaction

OUTSIDE: Final = "outside"
"""What such tasks run on."""
_BEHIND: Final = "\0"
"""The least that a name can have more than another."""


class Leases:
    """Taking, renewing and reporting."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def take(self, tx: Transaction, queue: str, seconds: float, limit: int) -> list[Job]:
        """Begin attempts at up to `limit` jobs, one of each tenant in turn; none if the queue is
        paused."""
        if self._ledger.pauses.get(tx, queue) is not None:
            return []
        claimed = self._ledger.claim(tx, self._next(tx, queue, limit))
        for job in claimed:
            self._lease(tx, job, seconds)
        return claimed

    def _next(self, tx: Transaction, queue: str, limit: int) -> list[str]:
        lines = [
            (job.id for job in self._ledger.line.scan(tx, (LIVE, queue, OUTSIDE, tenant))
             if job.state is State.READY)
            for tenant in self._tenants(tx, queue)
        ]  # fmt: skip
        chosen: list[str] = []
        while lines and len(chosen) < limit:
            line = lines.pop(0)
            job = next(line, None)
            if job is not None:
                chosen.append(job)
                lines.append(line)
        return chosen

    def _tenants(self, tx: Transaction, queue: str) -> list[str]:
        tenants: list[str] = []
        at: tuple[str, ...] = ()
        line = self._ledger.line
        while (
            job := next(line.scan(tx, (LIVE, queue, OUTSIDE), start=at, limit=1), None)
        ) is not None:
            tenants.append(job.tenant)
            at = (job.tenant + _BEHIND,)
        return tenants

    def _lease(self, tx: Transaction, job: Job, seconds: float) -> None:
        job.lease = tx.time + int(seconds * SECOND)
        self._ledger.jobs.put(tx, job)
        self._ledger.timers.put(tx, Timer(job.lease, job.id, Target.LEASE))
        self._ledger.ring(tx, job.lease)

    def renew(
        self, tx: Transaction, job: str, attempt: int, seconds: float, progress: float, text: str
    ) -> Job:
        """Give a lease so many more seconds from now. Raises Fenced if it is over."""
        row = self._held(tx, job, attempt)
        self._ledger.timers.delete(tx, (row.lease, row.id))
        row.progress, row.text = progress, text
        self._lease(tx, row, seconds)
        return row

    def report(self, tx: Transaction, job: str, attempt: int, outcome: Outcome | None) -> None:
        """What became of an attempt; None: it is handed back. Raises Fenced if its lease is over."""
        row = self._held(tx, job, attempt)
        self._ledger.timers.delete(tx, (row.lease, row.id))
        self._ledger.settle(tx, Ended(job, attempt, outcome))

    def _held(self, tx: Transaction, job: str, attempt: int) -> Job:
        row = self._ledger.jobs.get(tx, job)
        if (
            row is None
            or row.state is not State.RUNNING
            or row.attempt != attempt
            or row.runs != OUTSIDE
        ):
            raise Fenced(
                f"attempt {attempt} at job {job} is over: its lease was lost, or the job was cancelled; "
                "drop what it has, and take another"
            )
        return row

    def over(self, tx: Transaction, job: str, due: int) -> None:
        """The timer of a lease has fired."""
        row = self._ledger.jobs.get(tx, job)
        if row is not None and row.state is State.RUNNING and row.lease == due:
            why = f"its worker gave no sign of life for {(due - row.started) / SECOND:.0f} s"
            self._ledger.settle(tx, Ended(job, row.attempt, Failure(LOST, why)))
