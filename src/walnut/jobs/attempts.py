"""Attempts that are under way here: where each runs, and for how long it may.

    started ──▶ note ... note ──▶ ended
       └─ out of time, stalled, cancelled ─▶ asked to stop ─ grace ─▶ ended by force

What must stay true: each attempt ends exactly once, with one outcome, whatever its executor does; what
comes from it afterwards is not listened to.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any

import msgspec

from walnut.jobs.call import Call, Limits
from walnut.jobs.context import Context, Note
from walnut.jobs.executors.runner import Runner
from walnut.jobs.ledger import STALLED, TIMED_OUT, Ended
from walnut.jobs.model import Job, JobsOptions
from walnut.jobs.outcome import Failure, Outcome, Success, failure, success
from walnut.jobs.tasks import FLOW, Task

AnyTask = Task[..., Any]


class Attempt:
    """One that is under way."""

    __slots__ = (
        "asked", "asleep", "began", "call", "force", "job", "note", "running", "runs", "seen", "task",
        "verdict",
    )  # fmt: skip

    def __init__(self, job: Job, task: AnyTask, call: Call, now: float) -> None:
        self.job = job
        self.task = task
        self.call = call
        self.runs = task.options.runs  # as its code is now, whatever it was when it was enqueued
        self.began = self.seen = now
        self.note: Note | None = None
        self.running: asyncio.Task[Any] | Future[Outcome] | None = None
        self.asked = False
        self.asleep = False
        self.force = 0.0
        self.verdict: Failure | None = None
        """Why it was asked to stop: what is recorded unless it returns. None: it is handed back."""


class Attempts:
    """All of them. For the thread of the loop; notes and outcomes come from any thread by `post`.

    Args:
        post: runs a function on the loop, soon.
        ended: told of each end.
    """

    def __init__(
        self,
        runners: dict[str, Runner],
        options: JobsOptions,
        post: Callable[..., object],
        ended: Callable[[Attempt, Ended], None],
        flow: Callable[[Attempt], Coroutine[Any, Any, Outcome | None]],
    ) -> None:
        self._runners = runners
        self._options = options
        self._post = post
        self._ended = ended
        self._flow = flow
        self.running: dict[str, Attempt] = {}
        self._checks: list[tuple[float, str, int]] = []
        self._slots = {name: runner.slots for name, runner in runners.items()}
        self._slots |= {"loop": options.tasks, FLOW: options.flows}
        self._used = dict.fromkeys(self._slots, 0)

    def slots(self) -> dict[str, int]:
        """How many more each executor takes now."""
        return {name: most - self._used[name] for name, most in self._slots.items()}

    # -- beginning ------------------------------------------------------------------------------

    def start(self, job: Job, task: AnyTask, results: list[bytes], now: float) -> None:
        """Begin the attempt that was claimed."""
        call = Call(
            "", job.id, job.attempt, job.arguments, job.tenant, results,
            doubtful=job.doubtful and task.ask is not None,
        )  # fmt: skip
        attempt = Attempt(job, task, call, now)
        self.running[job.id] = attempt
        options = task.options
        self._used[attempt.runs] += 1
        runner = self._runners.get(attempt.runs)
        if runner is None:
            attempt.running = asyncio.create_task(self._on_loop(attempt))
            attempt.running.add_done_callback(lambda done: self._loop_over(attempt, done))
        else:
            self._start_on(runner, attempt)
        for seconds in (options.timeout, options.stall):
            if seconds is not None:
                heapq.heappush(self._checks, (now + seconds, job.id, job.attempt))

    def _start_on(self, runner: Runner, attempt: Attempt) -> None:
        try:
            options = attempt.task.options
            attempt.call = msgspec.structs.replace(attempt.call, target=self._target(attempt))
            limits = Limits(options.memory_bytes, options.cpu_seconds)
            future = attempt.running = runner.start(attempt.call, limits, self._tell)
        except Exception as error:  # whatever it is, it is this attempt's
            self._post(self._over, attempt, failure(error))
            return
        future.add_done_callback(lambda done: self._post(self._over, attempt, _outcome(done)))

    @staticmethod
    def _target(attempt: Attempt) -> str:
        task = attempt.task
        return task.name if attempt.runs == "thread" else task.target

    def context(self, attempt: Attempt) -> Context:
        """What the function of an attempt on the loop is given first."""
        call = attempt.call
        return Context(
            call.job,
            call.attempt,
            call.tenant,
            call.results,
            self._tell,
            lambda: attempt.asked,
        )

    async def _on_loop(self, attempt: Attempt) -> Outcome | None:
        try:
            if attempt.task.kind == "workflow":
                return await self._flow(attempt)
            return await self._perform(attempt)
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit would end the loop, and with it all others
            return failure(error)

    def _loop_over(self, attempt: Attempt, done: asyncio.Task[Outcome | None]) -> None:
        if not done.cancelled():
            outcome = done.result()
        elif attempt.asked or attempt.asleep:
            outcome = attempt.verdict
        else:
            outcome = failure(asyncio.CancelledError("it cancelled itself"))
        self._over(attempt, outcome)

    async def _perform(self, attempt: Attempt) -> Outcome:
        call, task = attempt.call, attempt.task
        context = self.context(attempt)
        arguments = task.arguments.decode(call.arguments)
        if call.doubtful and task.ask is not None:
            found: Any = task.ask(context, *arguments)
            if asyncio.iscoroutine(found):
                found = await found
            if found is not None:
                return success(found.result, task.name, self._options.result_bytes)
        result = await task.function(context, *arguments)
        return success(result, task.name, self._options.result_bytes)

    def _tell(self, note: Note) -> None:
        """A note, from any thread."""
        self._post(self._noted, note)

    # -- on the way -----------------------------------------------------------------------------

    def _noted(self, note: Note) -> None:
        attempt = self.running.get(note.job)
        if attempt is not None and attempt.call.attempt == note.attempt:
            attempt.seen = asyncio.get_running_loop().time()
            if note.progress is not None:
                attempt.note = note

    def recorded(self, notes: Iterable[Note]) -> None:
        """These notes are on record."""
        for note in notes:
            attempt = self.running.get(note.job)
            if attempt is not None and attempt.note is note:
                attempt.note = None

    def check(self, now: float) -> float | None:
        """Ask those to stop that are over their time; returns when to look again."""
        checks = self._checks
        while checks and checks[0][0] <= now:
            _, job, number = heapq.heappop(checks)
            attempt = self.running.get(job)
            if attempt is None or attempt.call.attempt != number:
                continue
            options = attempt.task.options
            if attempt.asked:
                if now >= attempt.force:
                    self._force(attempt)
            elif options.timeout is not None and now >= attempt.began + options.timeout:
                verdict = Failure(
                    TIMED_OUT, f"it took longer than {options.timeout:g} s", [TIMED_OUT]
                )
                self.stop(attempt, verdict, now)
            elif options.stall is not None and now >= attempt.seen + options.stall:
                verdict = Failure(STALLED, f"no sign of life for {options.stall:g} s", [STALLED])
                self.stop(attempt, verdict, now)
            elif options.stall is not None:
                heapq.heappush(checks, (attempt.seen + options.stall, job, number))
        return checks[0][0] if checks else None

    def stop(self, attempt: Attempt, verdict: Failure | None, now: float) -> None:
        """Ask an attempt to stop; after the grace it is ended by force."""
        if attempt.asked:
            return
        attempt.asked = True
        attempt.verdict = verdict
        runner = self._runners.get(attempt.runs)
        if runner is None:
            assert isinstance(attempt.running, asyncio.Task)
            attempt.running.cancel()
        else:
            runner.cancel(attempt.call)
        attempt.force = now + self._options.cancel_grace
        heapq.heappush(self._checks, (attempt.force, attempt.job.id, attempt.call.attempt))

    def _force(self, attempt: Attempt) -> None:
        runner = self._runners.get(attempt.runs)
        if runner is not None:
            runner.kill(attempt.call)
        elif isinstance(attempt.running, asyncio.Task):
            attempt.running.cancel()
        self._over(attempt, attempt.verdict)

    # -- the end --------------------------------------------------------------------------------

    def _over(self, attempt: Attempt, outcome: Outcome | None) -> None:
        job = attempt.job
        if self.running.get(job.id) is not attempt:
            return
        del self.running[job.id]
        self._used[attempt.runs] -= 1
        if attempt.asked and type(outcome) is not Success:
            outcome = attempt.verdict
        self._ended(attempt, Ended(job.id, attempt.call.attempt, outcome))


def _outcome(done: Future[Outcome]) -> Outcome:
    error = done.exception()
    return done.result() if error is None else failure(error)
