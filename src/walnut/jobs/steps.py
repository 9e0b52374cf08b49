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
from walnut.jobs.tasks import FLOW
from walnut.store.store import Store
from walnut.store.transaction import Transaction

NIL: Final = b"\xc0"
"""None, in MessagePack."""
UNDO: Final = "undo "
"""Before what was asked for, in steps that compensate."""
BROKEN: Final = "walnut.jobs.errors.NonDeterminism"
TIMED_OUT: Final = Failure("TimeoutError", "the signal did not come in time", ["TimeoutError"])


class Step(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
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
    """A signal that no step has taken yet. `order`: of its sending."""

    flow: str
    name: str
    order: int
    payload: bytes


class Resting(msgspec.Struct, frozen=True):
    """A workflow in memory that does nothing but wait for steps."""

    flow: str
    attempt: int
    awaited: list[int]


class Steps:
    """The tables of steps and signals.

    Attributes:
        stirred: told of each step that is done, once that is durable.
    """

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._ledger = ledger
        self.steps = store.table("jobs.steps", Step, key=lambda step: (step.flow, step.number))
        self.signals = store.table(
            "jobs.signals", Signal, key=lambda signal: (signal.flow, signal.name, signal.order)
        )
        self.stirred: Callable[[Step], object] = nobody
        ledger.stepped = self._child_ended
        ledger.flow_ended = self._flow_ended
        ledger.flow_again = self._again
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
        self._ledger.ring(tx, due)
        self.steps.put(tx, step)

    def await_signal(
        self, tx: Transaction, attempt: int, step: Step, nanoseconds: int | None
    ) -> None:
        """A step that is done when a signal comes, or has come already. Raises Fenced."""
        self.check(tx, step.flow, attempt)
        waiting = next(self.signals.scan(tx, (step.flow, step.signal), limit=1), None)
        if waiting is not None:
            self.signals.delete(tx, (waiting.flow, waiting.name, waiting.order))
            self._done(tx, step, waiting.payload, None)
        elif nanoseconds is not None:
            self._until(tx, step, tx.time + nanoseconds)
        else:
            self.steps.put(tx, step)

    def rest(self, tx: Transaction, resting: list[Resting]) -> list[bool]:
        """These workflows have nothing to do until one of the steps they wait for is done; returns which
        were put to sleep, which those are not that have a step done by now, or are over."""
        return [self._rest(tx, one) for one in resting]

    def _rest(self, tx: Transaction, one: Resting) -> bool:
        job = self._ledger.jobs.get(tx, one.flow)
        if job is None or job.state is not State.RUNNING or job.attempt != one.attempt:
            return False
        for step in self.steps.get_many(tx, [(one.flow, number) for number in one.awaited]):
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
        self.signals.put(tx, Signal(flow, name, _moment(tx), payload))

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
        self._close(tx, step, result, error)
        self._ledger.wake(tx, step.flow)
        tx.after(self._tell_stirred, step)

    def _close(self, tx: Transaction, step: Step, result: bytes, error: Failure | None) -> None:
        step.done, step.result, step.error = True, result, error
        step.order = _moment(tx)
        self.steps.put(tx, step)

    def _tell_stirred(self, step: Step) -> None:
        self.stirred(step)

    # -- the end --------------------------------------------------------------------------------

    def _flow_ended(self, tx: Transaction, flow: Job) -> None:
        """What a workflow that ended still waits for is called off. Not if its code does not fit its
        record: it is to go on where it was, with the right code."""
        if not _broken(flow):
            self._call_off(tx, flow)

    def _call_off(self, tx: Transaction, flow: Job) -> None:
        for step in list(self.steps.scan(tx, flow.id)):
            if step.done:
                continue
            if step.due:
                self._ledger.timers.delete(tx, (step.due, _timer_id(step)))
            self._close(tx, step, b"", Failure(CANCELLED, "the workflow ended before"))
            child = self._ledger.jobs.get(tx, step.child) if step.child else None
            if child is not None and not child.state.ended:
                self._ledger.cancel(tx, child.id, "the workflow it is a step of ended")

    def _again(self, tx: Transaction, flow: Job) -> None:
        """A workflow failed and will be tried again."""
        self._flow_ended(tx, flow)
        self.reopen(tx, flow)

    def reopen(self, tx: Transaction, flow: Job) -> None:
        """A workflow that failed gets another chance. From its first step that failed on, nothing
        counts. If it was compensated, nothing counts at all; if that failed, it goes on with that. If
        its code did not fit its record, all of the record counts."""
        if _broken(flow):
            return
        steps = list(self.steps.scan(tx, flow.id))
        undone = [step for step in steps if step.what.startswith(UNDO)]
        failed = [step.number for step in undone or steps if step.error is not None]
        first = failed[0] if failed else 0 if undone else len(steps)
        for step in steps[first:]:
            self.steps.delete(tx, (flow.id, step.number))

    def _forget(self, tx: Transaction, flow: Job) -> None:
        self._call_off(tx, flow)
        for step in list(self.steps.scan(tx, flow.id)):
            self.steps.delete(tx, (flow.id, step.number))
        for signal in list(self.signals.scan(tx, flow.id)):
            self.signals.delete(tx, (flow.id, signal.name, signal.order))


def _moment(tx: Transaction) -> int:
    """Grows with each row that is written, in this transaction and from one to the next."""
    return tx.lsn << 20 | len(tx.writes)


def _broken(flow: Job) -> bool:
    return flow.error is not None and flow.error.error == BROKEN


def _timer_id(step: Step) -> str:
    return f"{step.flow}/{step.number}"
