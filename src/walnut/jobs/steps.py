"""The recorded steps of workflows, as functions of a transaction.

    jobs.steps   (workflow, number) ──▶ what was asked for, and what came of it
    begin ──▶ a job, a timer or a signal is waited for ──▶ done, in the transaction in which that ends

What must stay true: a step has one outcome, recorded once; an attempt at a workflow that is not its
last one records nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from walnut.jobs.errors import Fenced, UnknownJob
from walnut.jobs.ledger import CANCELLED, Ledger, nobody
from walnut.jobs.model import Job, State, Target, Timer
from walnut.jobs.outcome import Failure
from walnut.jobs.task import FLOW
from walnut.store.store import Store
from walnut.store.transaction import Transaction

NIL: Final = b"\xc0"
"""None, in MessagePack."""
TIMED_OUT: Final = Failure("TimeoutError", "the signal did not come in time", ["TimeoutError"])


class Step(msgspec.Struct, array_like=True, omit_defaults=True):
    """A step of a workflow.

    Attributes:
        what: it was asked for. digest: of its arguments.
        result: MessagePack, when `done` without an `error`.
        order: in which steps of a workflow were done, and are given back at a replay.
        child: the job that does it. due: of the timer it has. signal: that it waits for.
    """

    flow: str
    number: int
    what: str
    digest: bytes
    done: bool = False
    result: bytes = b""
    error: Failure | None = None
    order: int = 0
    child: str = ""
    due: int = 0
    signal: str = ""


class Signal(msgspec.Struct, array_like=True):
    """A signal that no step has taken yet."""

    flow: str
    name: str
    id: str
    payload: bytes


class Steps:
    """The tables of steps and signals.

    Attributes:
        stirred: told of each step that is done, once that is durable.
    """

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._ledger = ledger
        self.steps = store.table("jobs.steps", Step, key=lambda step: (step.flow, step.number))
        self.signals = store.table(
            "jobs.signals", Signal, key=lambda signal: (signal.flow, signal.name, signal.id)
        )
        self.stirred: Callable[[Step], object] = nobody
        ledger.stepped = self._child_ended
        ledger.flow_ended = self._flow_ended
        ledger.forgotten = self._forget

    # -- by the workflow ------------------------------------------------------------------------

    def check(self, tx: Transaction, flow: str, attempt: int) -> Job:
        """The workflow, if this attempt is its last one and runs. Raises Fenced."""
        job = self._ledger.jobs.get(tx, flow)
        if job is None or job.state is not State.RUNNING or job.attempt != attempt:
            raise Fenced(
                f"attempt {attempt} of workflow {flow} is over: another one goes on, or none"
            )
        return job

    def record(
        self, tx: Transaction, attempt: int, step: Step, result: bytes, error: Failure | None = None
    ) -> None:
        """A step that the workflow made itself. Raises Fenced."""
        self.check(tx, step.flow, attempt)
        self._done(tx, step, result, error)

    def begin(self, tx: Transaction, attempt: int, step: Step, child: Job) -> None:
        """A step that is done when a job of it ends. Raises Fenced."""
        self.check(tx, step.flow, attempt)
        step.child = child.id
        self.steps.put(tx, step)

    def sleep(self, tx: Transaction, attempt: int, step: Step, nanoseconds: int) -> None:
        """A step that is done when its time has come. Raises Fenced."""
        self.check(tx, step.flow, attempt)
        self._until(tx, step, tx.time + nanoseconds)

    def _until(self, tx: Transaction, step: Step, due: int) -> None:
        step.due = due
        self._ledger.timers.put(tx, Timer(due, _timer_id(step), Target.STEP))
        tx.after(self._ledger.rung, due)
        self.steps.put(tx, step)

    def await_signal(
        self, tx: Transaction, attempt: int, step: Step, nanoseconds: int | None
    ) -> None:
        """A step that is done when a signal comes, or has come already. Raises Fenced."""
        self.check(tx, step.flow, attempt)
        waiting = next(self.signals.scan(tx, (step.flow, step.signal), limit=1), None)
        if waiting is not None:
            self.signals.delete(tx, (waiting.flow, waiting.name, waiting.id))
            self._done(tx, step, waiting.payload, None)
        elif nanoseconds is not None:
            self._until(tx, step, tx.time + nanoseconds)
        else:
            self.steps.put(tx, step)

    def rest(self, tx: Transaction, flow: str, attempt: int, awaited: list[int]) -> bool:
        """The workflow has nothing to do until one of these steps is done; returns whether it was put
        to sleep, which it is not if one is done by now. Raises Fenced."""
        job = self.check(tx, flow, attempt)
        for step in self.steps.get_many(tx, [(flow, number) for number in awaited]):
            if step is None or step.done:
                return False
        self._ledger.sleep(tx, job)
        return True

    # -- by others ------------------------------------------------------------------------------

    def signal(self, tx: Transaction, flow: str, name: str, payload: bytes) -> None:
        """A signal for a workflow: the first step that waits for it takes it, now or later.

        Raises UnknownJob if there is no such workflow, or it has ended."""
        job = self._ledger.jobs.get(tx, flow)
        if job is None or job.runs != FLOW or job.state.ended:
            raise UnknownJob(f"there is no workflow {flow} under way: it ended, or never was")
        for step in self.steps.scan(tx, flow):
            if step.signal == name and not step.done:
                self._done(tx, step, payload, None)
                return
        self.signals.put(tx, Signal(flow, name, tx.new_id().hex, payload))

    def waken(self, tx: Transaction, timer: str) -> None:
        """The timer of a step has fired."""
        flow, _, number = timer.partition("/")
        step = self.steps.get(tx, (flow, int(number)))
        if step is not None and not step.done:
            step.due = 0
            self._done(tx, step, NIL, TIMED_OUT if step.signal else None)

    def _child_ended(self, tx: Transaction, job: Job) -> None:
        step = self.steps.get(tx, (job.parent, job.step))
        if step is not None and not step.done and step.child == job.id:
            error = None
            if job.state is not State.DONE:
                error = job.error or Failure(CANCELLED, "cancelled")
            self._done(tx, step, job.result, error)

    def _done(self, tx: Transaction, step: Step, result: bytes, error: Failure | None) -> None:
        if step.due:
            self._ledger.timers.delete(tx, (step.due, _timer_id(step)))
            step.due = 0
        step.done, step.result, step.error = True, result, error
        step.order = tx.lsn << 20 | len(tx.then)
        self.steps.put(tx, step)
        self._ledger.wake(tx, step.flow)
        tx.after(self.stirred, step)

    # -- the end --------------------------------------------------------------------------------

    def _flow_ended(self, tx: Transaction, flow: Job) -> None:
        """What a workflow that ended still waits for is called off."""
        for step in list(self.steps.scan(tx, flow.id)):
            if step.done:
                continue
            if step.due:
                self._ledger.timers.delete(tx, (step.due, _timer_id(step)))
            child = self._ledger.jobs.get(tx, step.child) if step.child else None
            step.done, step.error = True, Failure(CANCELLED, "the workflow ended before")
            self.steps.put(tx, step)
            if child is not None and not child.state.ended:
                self._ledger.cancel(tx, child.id, "the workflow it is a step of ended")

    def reopen(self, tx: Transaction, flow: str) -> None:
        """A workflow that failed gets another chance: from its first step that failed on, nothing
        counts."""
        failed = False
        for step in list(self.steps.scan(tx, flow)):
            failed = failed or step.error is not None
            if failed:
                self.steps.delete(tx, (flow, step.number))

    def _forget(self, tx: Transaction, flow: Job) -> None:
        for step in list(self.steps.scan(tx, flow.id)):
            self.steps.delete(tx, (flow.id, step.number))
        for signal in list(self.signals.scan(tx, flow.id)):
            self.signals.delete(tx, (flow.id, signal.name, signal.id))


def _timer_id(step: Step) -> str:
    return f"{step.flow}/{step.number}"
