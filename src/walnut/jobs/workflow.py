"""Workflows: coroutines that survive, as what each of their steps gave is on record.

    code ── run / sleep / signal ──▶ step n on record? ─ done ──▶ its outcome, at once
                                         │ no                └ not yet ──▶ wait
                                         ▼
                                    begin it, on record

After a crash, or when it was put to sleep, the coroutine begins again from the top and passes through
the steps that are done, which takes it where it was.

What must stay true: the same code with the same recorded outcomes asks for the same steps in the same
order; when it does not, it is stopped (`NonDeterminism`) before anything is recorded that would not
fit.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import inspect
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import msgspec

from walnut.jobs.attempts import Attempt
from walnut.jobs.errors import Fenced, InvalidArguments, JobFailed, NonDeterminism
from walnut.jobs.outcome import Outcome, failure, success
from walnut.jobs.steps import NIL, UNDO, Resting, Step, Steps
from walnut.jobs.tasks import Task, pack, returns
from walnut.log.errors import EndMoved, LogClosed, LogFailed, LogFull
from walnut.store.errors import StoreClosed
from walnut.store.transaction import Transaction

if TYPE_CHECKING:
    from walnut.jobs.jobs import Jobs

T = TypeVar("T")
QUIET_TURNS: Final = 32
"""Turns of the loop in which whatever follows from an outcome is asked: a `gather` within another takes
two more."""
FEW_TURNS: Final = 3
"""The same where nothing was ever done at once."""
FULL_SECONDS: Final = 0.5
"""How long it waits for space on the disk."""
MOST_SECONDS: Final = 100 * 366 * 86_400.0
STUCK_SECONDS: Final = 10.0
"""Outcomes that the code has not asked for in this time it never will."""
RESTING: Final = 256
"""Workflows that are put to sleep in one transaction."""
ID_SPACE: Final = uuid.UUID("6f6b3c6e-8d0b-4c5e-9e0a-57a1b7f10b5d")
"""The name space of ids that workflows make (RFC 9562, version 5)."""


class Asleep(BaseException):
    """Takes a workflow down that was put to sleep; nobody catches it."""


class Flow:
    """A workflow under way: the first argument of its function.

    Only what comes from here, and from the arguments, may decide what a workflow does next: no clocks,
    no chance, nothing from outside; such things belong into steps.

    Attributes:
        job: the workflow's id. tenant: for whom.
    """

    def __init__(self, jobs: Jobs, steps: Steps, attempt: Attempt) -> None:
        self.job = attempt.job.id
        self.tenant = attempt.job.tenant
        self.random = random.Random(self.job)  # noqa: S311  chance that is the same at every replay
        self.broken: NonDeterminism | None = None
        self._jobs = jobs
        self._steps = steps
        self._attempt = attempt
        self._loop = asyncio.get_running_loop()
        self._asked = 0
        self._ids = 0
        self._working = 0
        self._over = False
        self._undoing = False
        self._waiting: dict[int, asyncio.Future[Step]] = {}
        self._undo: list[tuple[Any, tuple[Any, ...]]] = []
        self._versions: dict[str, int] = {}
        steps_on_record = list(steps.steps.scan(jobs.store, self.job))
        self._record = {step.number: step for step in steps_on_record}
        done = [step for step in steps_on_record if step.done]
        self._outcomes = deque(sorted(done, key=lambda step: step.order))
        self._told = {step.number for step in done}
        self._giving = False
        self._branches = False
        self.moved = self._loop.time()
        """When something last happened."""

    # -- steps ----------------------------------------------------------------------------------

    @overload
    def run(
        self, what: Task[..., Coroutine[Any, Any, T]], *args: Any, **options: Any
    ) -> Awaitable[T]: ...

    @overload
    def run(self, what: Task[..., T], *args: Any, **options: Any) -> Awaitable[T]: ...

    @overload
    def run(self, what: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> Awaitable[T]: ...

    @overload
    def run(self, what: Callable[..., T], *args: Any) -> Awaitable[T]: ...

    def run(self, what: Any, *args: Any, **options: Any) -> Awaitable[Any]:
        """A step: a job of a task or of another workflow (`options` as of `Jobs.enqueue`; the tenant is
        the workflow's, if nothing else is said); or a function, a coroutine function or a plain one in
        a thread, that runs here and may run again if the process dies before its result is on record.

        Awaiting it raises JobFailed if it failed, in the first run and in every replay."""
        if isinstance(what, Task):
            return self._child(what, args, options)
        if options:
            raise InvalidArguments(
                "options are for steps that are jobs: make a task of the function"
            )
        return self._local(what, args)

    def _child(
        self, task: Task[..., T], args: tuple[Any, ...], options: dict[str, Any]
    ) -> Awaitable[T]:
        step, known = self._ask(f"run {task.name}", task.arguments.encode(args))
        options = {"tenant": self.tenant} | options

        def begin(tx: Transaction) -> None:
            child = self._jobs.enqueue_step(tx, task, args, self.job, step.number, options)
            self._steps.begin(tx, self._attempt.job.attempt, step, child)

        return self._outcome(step, None if known else begin, task.returns)

    def _local(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Awaitable[Any]:
        step, known = self._ask(f"step {_name(function)}", pack(args, self.job))
        if known:
            return self._outcome(step, None, returns(function))
        return self._made(step, function, args)

    async def _made(self, step: Step, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        result, error = NIL, None
        self._working += 1
        try:
            if inspect.iscoroutinefunction(function):
                given = await function(*args)
            else:
                given = await asyncio.to_thread(function, *args)
            result = self._packed_result(step, given)
        except Exception as raised:
            error = failure(raised)
        finally:
            self._working -= 1

        def record(tx: Transaction) -> None:
            self._steps.record(tx, self._attempt.job.attempt, step, result, error)

        return await self._outcome(step, record, returns(function))

    def call(self, function: Callable[..., T], *args: Any) -> Awaitable[T]:
        """A step that is a transaction: `function(tx, *args)`. It and the record of its result are one
        transaction, so it happens once."""
        step, known = self._ask(f"call {_name(function)}", pack(args, self.job))

        def begin(tx: Transaction) -> None:
            result = self._packed_result(step, function(tx, *args))
            self._steps.record(tx, self._attempt.job.attempt, step, result)

        return self._outcome(step, None if known else begin, returns(function))

    def sleep(self, time: dt.timedelta | float) -> Awaitable[None]:
        """A step that takes so long (a timedelta, or seconds), also if the process is down meanwhile."""
        nanoseconds = _nanoseconds(time)
        step, known = self._ask("sleep", pack((nanoseconds,), self.job))

        def begin(tx: Transaction) -> None:
            self._steps.sleep(tx, self._attempt.job.attempt, step, nanoseconds)

        return self._outcome(step, None if known else begin, None)

    def signal(self, name: str, timeout: dt.timedelta | float | None = None) -> Awaitable[Any]:
        """A step that waits for a signal (`Jobs.signal`) and gives what came with it. Awaiting it raises
        JobFailed with a TimeoutError if there was none in time."""
        nanoseconds = None if timeout is None else _nanoseconds(timeout)
        step, known = self._ask(f"signal {name}", pack((nanoseconds,), self.job))
        step.signal = name

        def begin(tx: Transaction) -> None:
            self._steps.await_signal(tx, self._attempt.job.attempt, step, nanoseconds)

        return self._outcome(step, None if known else begin, Any)

    def compensate(self, what: Task[..., Any] | Callable[..., Any], *args: Any) -> None:
        """Should the workflow fail from here on, run this step, before those said earlier."""
        self._undo.append((what, args))

    async def version(self, change: str, newest: int) -> int:
        """The version of a part of the code that this run is to follow: `newest` where it gets there
        for the first time, what it was then at every replay, and 0 in runs that had passed the place
        before there were versions.

            if await flow.version("ask twice", 1) >= 1: ...

        Remove it when no run is under way that began before."""
        if change in self._versions:
            return self._versions[change]
        what = f"version {change}"
        recorded = self._record.get(self._asked)
        if recorded is not None and recorded.what != what:
            self._versions[change] = 0
            return 0
        step, known = self._ask(what, b"")

        def record(tx: Transaction) -> None:
            packed = msgspec.msgpack.encode(newest)
            self._steps.record(tx, self._attempt.job.attempt, step, packed)

        found: int = await self._outcome(step, None if known else record, int)
        self._versions[change] = found
        return found

    def new_id(self) -> uuid.UUID:
        """An id, the same at every replay."""
        self._ids += 1
        return uuid.uuid5(ID_SPACE, f"{self.job}/{self._ids}")

    # -- inside ---------------------------------------------------------------------------------

    def _ask(self, what: str, arguments: bytes) -> tuple[Step, bool]:
        """The next step, and whether it is on record. Raises NonDeterminism."""
        if self._attempt.asked or self._attempt.asleep or (self._over and not self._undoing):
            raise Asleep
        if self.broken is not None:
            raise self.broken
        what = UNDO + what if self._undoing else what
        number = self._asked
        self._asked += 1
        digest = hashlib.blake2b(arguments, digest_size=8).digest()
        recorded = self._record.get(number)
        if recorded is None:
            return Step(self.job, number, what, digest), False
        if (recorded.what, recorded.digest) != (what, digest):
            asked = what if recorded.what != what else f"{what} with other arguments"
            raise self.break_off(f"step {number} is on record as {recorded.what!r}", asked)
        return recorded, True

    def break_off(self, recorded: str, asked: str) -> NonDeterminism:
        """The code and the record do not fit."""
        self.broken = self.broken or NonDeterminism(
            f"workflow {self.job}: {recorded}, and its code asks for {asked!r}: put the code back, or "
            "guard the change by `version`; then retry the workflow"
        )
        return self.broken

    async def _outcome(
        self, step: Step, begin: Callable[[Transaction], None] | None, kind: Any
    ) -> Any:
        """What came of a step; unless it is on record, it is begun."""
        # Waited for before it begins: its end may come before the answer that it has begun.
        waiting = self._waiting[step.number] = self._loop.create_future()
        self._branches = self._branches or asyncio.current_task() is not self._attempt.running
        if begin is None:
            self._give_soon()
        else:
            await self._begin(step, begin)
        done = await waiting
        if done.error is not None:
            error = done.error
            raise JobFailed(done.child or self.job, done.what, error.error, error.message)
        return msgspec.msgpack.decode(done.result, type=kind)

    async def _begin(self, step: Step, begin: Callable[[Transaction], None]) -> None:
        try:
            await self._commit(begin)
        except (
            Exception
        ) as raised:  # what the caller gave can't be done: so it failed, at replays too
            error = failure(raised)
            step.child, step.due = "", 0

            def record(tx: Transaction) -> None:
                self._steps.record(tx, self._attempt.job.attempt, step, NIL, error)

            await self._commit(record)

    async def _commit(self, function: Callable[[Transaction], None]) -> None:
        while True:
            try:
                await self._jobs.store.run(function)
            except (LogFull, EndMoved):
                await asyncio.sleep(FULL_SECONDS)
            except (Fenced, LogFailed, LogClosed, StoreClosed) as error:
                raise Asleep from error
            else:
                return

    def stirred(self, step: Step) -> None:
        """A step is done, and that is durable."""
        if step.number in self._told:  # it was done while the record was read
            return
        self.moved = self._loop.time()
        self._told.add(step.number)
        self._outcomes.append(step)
        self._give_soon()

    def _give_soon(self) -> None:
        if not self._giving:
            self._giving = True
            self._loop.call_soon(self._give, 0)

    def _give(self, turn: int) -> None:
        """Give the code the next outcome. What follows from one has time to be asked before the next is
        given, so that a replay, where all outcomes are there, asks in the same order."""
        self._giving = False
        if not self._outcomes or self._outcomes[0].number not in self._waiting:
            return  # it is not asked for yet
        self._giving = True
        if turn < (QUIET_TURNS if self._branches else FEW_TURNS):
            self._loop.call_soon(self._give, turn + 1)
            return
        step = self._outcomes.popleft()
        waiting = self._waiting.pop(step.number)
        if not waiting.done():
            waiting.set_result(step)
        self._loop.call_soon(self._give, 0)

    def _packed_result(self, step: Step, result: object) -> bytes:
        return success(result, step.what, self._jobs.options.result_bytes).result

    def check_end(self) -> None:
        """The code has ended; raise NonDeterminism if the record goes on."""
        left = [step for step in self._record.values() if step.number >= self._asked]
        if left:
            raise self.break_off(
                f"step {left[0].number} is on record as {left[0].what!r}", "the end"
            )

    def is_stuck(self) -> bool:
        """Nothing has happened for long; whether that is as outcomes are there that the code doesn't ask
        for."""
        if self._outcomes and not self._working and not self._giving:
            lost = self._outcomes[0]
            self.break_off(f"step {lost.number} is on record as {lost.what!r}", "others only")
        return self.broken is not None

    @property
    def awaited(self) -> list[int]:
        """The steps it waits for, if there is nothing else that it does; none otherwise."""
        return [] if self._working or self.broken else list(self._waiting)

    def end(self) -> None:
        """The code has ended: branches of it that are left end too."""
        self._over = True
        for waiting in self._waiting.values():
            waiting.cancel()

    async def undo(self) -> None:
        """Run what was said by `compensate`, the newest first. Raises JobFailed."""
        self.end()
        while self._undo:
            what, args = self._undo.pop()
            self._undoing = True
            try:
                step = self.run(what, *args)
            finally:
                self._undoing = False
            await step


class Flows:
    """The workflows that are in memory.

    Attributes:
        running: by id.
    """

    def __init__(self, jobs: Jobs, steps: Steps) -> None:
        self._jobs = jobs
        self._steps = steps
        self.running: dict[str, tuple[Flow, Attempt]] = {}

    async def perform(self, attempt: Attempt) -> Outcome | None:
        """Run an attempt at a workflow; None if it is to begin again later, or no longer wanted."""
        flow = Flow(self._jobs, self._steps, attempt)
        self.running[flow.job] = running = (flow, attempt)
        try:
            outcome = await self._ended(flow, attempt)
        except Asleep:
            outcome = None
        except asyncio.CancelledError:
            if flow.broken is None:
                raise
            outcome = None
        finally:
            flow.end()
            if self.running.get(flow.job) is running:
                del self.running[flow.job]
        if flow.broken is not None:
            return failure(flow.broken)
        # Code that was asked to stop and went on has not been where it says it has.
        return None if attempt.asked or attempt.asleep else outcome

    async def _ended(self, flow: Flow, attempt: Attempt) -> Outcome | None:
        task = attempt.task
        try:
            arguments = task.arguments.decode(attempt.call.arguments)
            result = await task.function(flow, *arguments)  # type: ignore[arg-type]
            flow.check_end()
            return success(result, task.name, self._jobs.options.result_bytes)
        except NonDeterminism as error:
            return failure(error)
        except Exception as error:
            try:
                await flow.undo()
            except NonDeterminism as broken:
                return failure(broken)
            except Exception as second:
                second.__context__ = error
                return failure(second)
            return failure(error)

    def stirred(self, step: Step) -> None:
        """A step is done. On the loop."""
        found = self.running.get(step.flow)
        if found is not None:
            found[0].stirred(step)

    async def rest(self, before: float) -> None:
        """Put those to sleep to which nothing has happened since then."""
        now = asyncio.get_running_loop().time()
        idle = [
            (flow, attempt)
            for flow, attempt in self.running.values()
            if flow.moved <= before and not attempt.asked
        ]
        for flow, attempt in idle:
            if flow.moved <= now - STUCK_SECONDS and flow.is_stuck():
                _cancel(attempt)
        waiting = [(flow, attempt) for flow, attempt in idle if flow.awaited]
        for begin in range(0, len(waiting), RESTING):
            await self._rest(waiting[begin : begin + RESTING])

    async def _rest(self, waiting: list[tuple[Flow, Attempt]]) -> None:
        resting = [
            Resting(flow.job, attempt.job.attempt, flow.awaited) for flow, attempt in waiting
        ]
        asleep = await self._jobs.store.run(self._steps.rest, resting)
        for (_, attempt), rests in zip(waiting, asleep, strict=True):
            if rests:
                attempt.asleep = True
                _cancel(attempt)


def _cancel(attempt: Attempt) -> None:
    if isinstance(attempt.running, asyncio.Task):
        attempt.running.cancel()


def _nanoseconds(time: dt.timedelta | float) -> int:
    seconds = time.total_seconds() if isinstance(time, dt.timedelta) else float(time)
    if not 0 <= seconds <= MOST_SECONDS:
        raise InvalidArguments(f"a step can't take {seconds} s: give 0 to {MOST_SECONDS:g}")
    return int(seconds * 1e9)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or type(function).__qualname__
