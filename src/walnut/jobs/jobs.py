"""`Jobs`: durable work on a store, put together.

    Jobs ── Registry                     tasks and actions by name
      ├──── Ledger, Timers, Flows        what is on record, and how it changes
      └──── Dispatcher ── Attempts       what runs, while somebody runs it

What must stay true: whatever a transaction enqueues, sets or cancels is on record if and only if the
transaction is; running jobs only ever adds what became of them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, get_args

import msgspec

from walnut.jobs.declaring import Declaring
from walnut.jobs.dispatcher import Dispatcher, DispatchMetrics
from walnut.jobs.errors import InvalidArguments, JobFailed, NotPossible, ResultTooLarge
from walnut.jobs.executors.futures import FutureRunner
from walnut.jobs.executors.processes import ProcessOptions, ProcessRunner
from walnut.jobs.executors.runner import Runner
from walnut.jobs.executors.threads import ThreadRunner
from walnut.jobs.graph import Node, in_order
from walnut.jobs.leases import Leases
from walnut.jobs.ledger import CANCELLED, Ledger, nobody
from walnut.jobs.loop_thread import LoopThread
from walnut.jobs.model import SECOND, Job, JobsOptions, Late, Missed, Schedule, State, Timer
from walnut.jobs.outcome import MOST_SECONDS, Failure, Outcome, Success
from walnut.jobs.overview import JobTables
from walnut.jobs.recurrence import Recurrence
from walnut.jobs.registry import Action
from walnut.jobs.steps import Steps
from walnut.jobs.submitting import Submissions
from walnut.jobs.tasks import FLOW, Task, pack
from walnut.jobs.timers import ACTION, Timers, nanoseconds
from walnut.jobs.waiting import Waiters
from walnut.jobs.workflow import Flows
from walnut.log.commit import refuse_event_loop
from walnut.store.store import Store
from walnut.store.table import Table
from walnut.store.transaction import Reader, Transaction

P = ParamSpec("P")
AnyTask = Task[..., Any]


MOST_PRIORITY: Final = 1_000_000
"""Beyond, a rank would not be a number of 64 bits."""


class Jobs(Declaring):
    """Tasks, timers and calls to the outside on a store.

    Enqueueing needs only this; running needs `with jobs:` (a thread of its own) or `async with jobs:`
    (on the event loop at hand) in the one process that has the store open."""

    def __init__(
        self,
        store: Store,
        options: JobsOptions | None = None,
        *,
        executors: Mapping[str, Executor | Runner] | None = None,
    ) -> None:
        """`executors`: further ones that tasks may name in `runs`, such as Dask's
        `client.get_executor()`, which stay open when jobs are no longer run; or a `Runner`, also in
        place of "thread" and "process"."""
        self._executors = dict(executors or {})
        super().__init__(options or JobsOptions(), self._executors)
        self.store = store
        self._ledger = Ledger(store, self._registry, self.options)
        self._timers = Timers(store, self._ledger, self._registry)
        self._timers.begin = self._begin
        self._steps = Steps(store, self._ledger)
        self.tables = JobTables(self._ledger, self._timers, self._steps)
        """For `walnut.jobs.overview`, which reads them for people to see."""
        self._timers.waken = self._steps.waken
        self._submissions = Submissions(store, self.enqueue)
        self._leases = Leases(self._ledger)
        self._timers.leased = self._leases.over
        self._flows = Flows(self, self._steps)
        self.metrics = DispatchMetrics()
        """What was done since this was made."""
        self._alongside: list[Callable[[], AbstractAsyncContextManager[Any]]] = []
        self._dispatcher: Dispatcher | None = None
        self._running: asyncio.Task[None] | None = None
        self._waiters = Waiters(store, self._ledger)
        self._ledger.finished = self._finished

    # -- in a transaction -----------------------------------------------------------------------

    def enqueue(
        self,
        tx: Transaction,
        task: Task[P, Any],
        *args: Any,
        priority: int | None = None,
        queue: str | None = None,
        tenant: str = "",
        key: str = "",
        lane: str = "",
        after: Sequence[Job | str] = (),
        at: dt.datetime | None = None,
        parent: tuple[str, int] = ("", 0),
    ) -> Job:
        """A job: there if and only if the transaction is. Run once, to its end, or dead.

        Args:
            priority: higher goes first; waiting `JobsOptions.ageing` seconds weighs as much as one step.
            tenant: each gets a fair share of a queue.
            key: while a job with this key has not ended, it is what is returned.
            lane: jobs of a lane run one at a time, in this order.
            after: jobs that have to be done first; `context.results` has what they returned.
            at: not before then.

        Raises InvalidArguments, UnknownTask, UnknownJob, NotPossible."""
        self._registry.need(task.name)
        if key and (known := self._ledger.by_key.get(tx, key)) is not None:
            return known
        options = task.options
        priority = options.priority if priority is None else priority
        queue = options.queue if queue is None else queue
        _check_options(priority, (queue, tenant, key, lane))
        job = Job(
            tx.new_id().hex,
            task.name,
            State.READY,
            task.arguments.encode(args),
            queue,
            options.runs,
            # Writes grow with each job: those of one transaction go in their order.
            tx.time + len(tx.writes) - int(priority * self.options.ageing * SECOND),
            tx.time,
            tenant=tenant,
            priority=priority,
            key=key,
            lane=lane,
            due=0 if at is None else nanoseconds(at),
            after=[one if isinstance(one, str) else one.id for one in after],
            parent=parent[0],
            step=parent[1],
            by=tx.meta.principal,
        )
        self._ledger.begin(tx, job)
        return job

    async def submit(self, task: Task[P, Any], *args: Any, **options: Any) -> Job:
        """`enqueue` by itself, for coroutines: a job, durable when this returns. Many at once cost a
        fraction of a transaction each. In threads: `store.call(jobs.enqueue, ...)`."""
        return await self._submissions.submit((task, *args), options)

    def graph(self, tx: Transaction, nodes: Mapping[str, Node], **options: Any) -> dict[str, Job]:
        """Jobs that come after one another; `options` as of `enqueue`, for all. Returns them by name.

        Raises CycleInGraph, UnknownJob for a name that is not in it, and as `enqueue`."""
        made: dict[str, Job] = {}
        for name in in_order(nodes):
            node = nodes[name]
            after = [made[before] for before in node.after]
            made[name] = self.enqueue(tx, node.task, *node.args, after=after, **options)
        return made

    def enqueue_step(
        self,
        tx: Transaction,
        task: AnyTask,
        args: tuple[Any, ...],
        flow: str,
        step: int,
        options: dict[str, Any],
    ) -> Job:
        """A job that is a step of a workflow: see `Flow.run`. Raises as `enqueue`."""
        job = self.enqueue(tx, task, *args, parent=(flow, step), **options)
        if (job.parent, job.step) != (flow, step):
            raise NotPossible(
                f"the key {job.key!r} is job {job.id}'s, which is no step of this workflow: give another"
            )
        return job

    call = enqueue
    """The same for effects, which read better so: call this, once the transaction is durable."""

    def at(
        self,
        tx: Transaction,
        when: dt.datetime,
        function: Callable[..., Any] | Action,
        *args: Any,
        key: str = "",
        late: Late = "fire",
        grace: dt.timedelta = dt.timedelta(seconds=1),
    ) -> Timer:
        """A timer: `function(tx, *args)` is called then, as a transaction of its own, once.

        Args:
            function: at the top of a module, or declared by `action`.
            key: it takes the place of the timer with this key.
            late: whether to fire if nothing was running then and it is later than the `grace`.

        Raises InvalidArguments, InvalidTask."""
        _check_choice("late", late, Late)
        _check_options(0, (key,))
        action = self._registry.add_action(function, None)
        return self._timers.at(
            tx,
            nanoseconds(when),
            action,
            action.arguments.encode(args),
            key=key,
            late=late,
            grace=grace // dt.timedelta(microseconds=1) * 1000,
        )

    def unset(self, tx: Transaction, key: str) -> bool:
        """Take back the timer with this key; returns whether there was one."""
        return self._timers.unset(tx, key)

    def every(
        self,
        tx: Transaction,
        name: str,
        recurrence: Recurrence,
        what: AnyTask | Callable[..., Any],
        *args: Any,
        missed: Missed = "coalesce",
    ) -> Schedule:
        """A schedule: a job of a task, or a call of a transaction function, again and again. Say it
        whenever the program starts: one that is the same goes on as it is.

        Args:
            missed: what becomes of times at which nothing was running: one firing for all of them
                ("coalesce"), each of them ("each"), or none ("skip").

        Raises InvalidRecurrence, NeverFires, InvalidArguments, InvalidTask."""
        _check_choice("missed", missed, Missed)
        if isinstance(what, Task):
            self._registry.need(what.name)
            of: AnyTask | Action = what
        else:
            of = self._registry.add_action(what, None)
        return self._timers.every(tx, name, recurrence, of.name, of.arguments.encode(args), missed)

    def _begin(self, tx: Transaction, what: str, arguments: bytes) -> None:
        """What a schedule says is to be done now."""
        task = self._registry.task(what)
        if task is not None:
            self.enqueue(tx, task, *task.arguments.decode(arguments))
        else:
            self._timers.soon(tx, what, arguments)

    def signal(self, tx: Transaction, flow: Job | str, name: str, payload: Any = None) -> None:
        """Send a workflow a signal: the first step that waits for it takes it, now or later.

        Raises UnknownJob if it has ended; InvalidArguments."""
        self._steps.signal(tx, _id(flow), name, pack(payload, name))

    def cancel(self, tx: Transaction, job: Job | str, why: str = "") -> Job:
        """End a job that has not ended; an attempt that runs is asked to stop, and what it brings is
        refused. Raises UnknownJob, NotPossible."""
        return self._ledger.cancel(tx, _id(job), why)

    def retry(self, tx: Transaction, job: Job | str) -> Job:
        """Give a job that is dead or was cancelled, or waits for its next try, a new beginning.

        Raises UnknownJob, NotPossible."""
        row = self._ledger.need(tx, _id(job))
        if row.task.startswith(ACTION):
            self._timers.revive(tx, row)
            return row
        waited = row.state is State.WAITING  # and was reopened when it failed
        job = self._ledger.retry(tx, row.id)
        if job.runs == FLOW and not waited:
            self._steps.reopen(tx, row)
        return job

    def drop(self, tx: Transaction, job: Job | str) -> None:
        """Forget a job that has ended. Raises UnknownJob, NotPossible."""
        self._ledger.drop(tx, _id(job))

    def pause(self, tx: Transaction, queue: str) -> None:
        """Start no more jobs of a queue, until `resume`."""
        self._ledger.pause(tx, queue, tx.meta.principal)

    def resume(self, tx: Transaction, queue: str) -> bool:
        """Go on with a queue; returns whether it was paused."""
        return self._ledger.resume(tx, queue)

    # -- workers outside ------------------------------------------------------------------------

    def lease(self, tx: Transaction, queue: str, seconds: float, limit: int = 1) -> list[Job]:
        """Jobs for a worker outside this process, of tasks with `runs="outside"`: attempts of which it
        has to `report`, or `renew` them, within so many seconds. Limits of the queue but pauses don't
        bind it. Raises InvalidArguments."""
        if not 0 < seconds <= MOST_SECONDS or limit < 1:
            raise InvalidArguments(
                f"a lease of {seconds} s for {limit} jobs: give positive numbers"
            )
        return self._leases.take(tx, queue, seconds, limit)

    def renew(
        self,
        tx: Transaction,
        job: Job,
        seconds: float,
        progress: float = 0.0,
        text: str = "",
    ) -> Job:
        """Keep a job that was leased for so many more seconds. Raises Fenced if the lease is over."""
        return self._leases.renew(tx, job.id, job.attempt, seconds, progress, text)

    def report(self, tx: Transaction, job: Job, outcome: Outcome | None) -> None:
        """What became of a job that was leased: Success, Failure, or None to hand it back.

        Raises Fenced if the lease is over; ResultTooLarge."""
        if isinstance(outcome, Success) and len(outcome.result) > self.options.result_bytes:
            raise ResultTooLarge(
                f"{job.task} brought {len(outcome.result)} bytes and may bring "
                f"{self.options.result_bytes}: keep large results in files"
            )
        self._leases.report(tx, job.id, job.attempt, outcome)

    # -- reading --------------------------------------------------------------------------------

    def get(self, reader: Reader, job: Job | str) -> Job | None:
        """A job as it stands; None if there is none."""
        return self._ledger.jobs.get(reader, _id(job))

    def find(self, reader: Reader, key: str) -> Job | None:
        """The job with this key that has not ended."""
        return self._ledger.by_key.get(reader, key)

    def wait(self, job: Job | str, timeout: float | None = None) -> Any:
        """What a job returned, once it is done. For threads.

        Raises JobFailed if it is dead or cancelled, UnknownJob, TimeoutError; LogFailed if the store
        failed meanwhile."""
        refuse_event_loop("Jobs.wait", "`await jobs.result(job)`")
        with self._waiters.end_of(_id(job)) as waiter:
            return self._result(waiter.result(timeout))

    async def result(self, job: Job | str) -> Any:
        """`wait` for coroutines, on any event loop."""
        with self._waiters.end_of(_id(job)) as waiter:
            return self._result(await asyncio.wrap_future(waiter))

    def _finished(self, job: Job) -> None:
        dispatcher = self._dispatcher
        if job.state is State.CANCELLED and dispatcher is not None:
            dispatcher.cancelled(job)
        self._waiters.ended(job)

    def _result(self, job: Job) -> Any:
        if job.state is not State.DONE:
            error = job.error or Failure(CANCELLED, "cancelled")
            raise JobFailed(job.id, job.task, error.error, error.message)
        task = self._registry.task(job.task)
        return msgspec.msgpack.decode(job.result, type=Any if task is None else task.returns)

    # -- running --------------------------------------------------------------------------------

    @property
    def failure(self) -> Exception | None:
        """Why jobs are not run any more, if the store failed under them."""
        return None if self._dispatcher is None else self._dispatcher.failure

    def alongside(self, open_: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        """Something that tasks on the loop need, such as a connection pool: it is entered there before
        jobs are run, and left after the last has ended. Raises NotPossible if they are run already."""
        if self._dispatcher is not None:
            raise NotPossible("these jobs are run already: say what they need before that")
        self._alongside.append(open_)

    @property
    def timers_table(self) -> Table[Timer]:
        """The timers that are set, by the time they are due."""
        return self._ledger.timers

    async def start(self) -> None:
        """Run jobs on this event loop, until `stop`. Raises NotPossible if they are run already."""
        if self._dispatcher is not None:
            raise NotPossible("these jobs are run already: one process, and one loop of it, does")
        options = self.options
        runners: dict[str, Runner] = {
            name: FutureRunner(one, options.remote, options.result_bytes)
            if isinstance(one, Executor)
            else one
            for name, one in self._executors.items()
        }
        if "thread" not in runners:
            find = self._registry.need
            runners["thread"] = ThreadRunner(options.threads, options.result_bytes, find)
        if "process" not in runners:
            made = ProcessOptions(workers=options.processes)
            runners["process"] = ProcessRunner(made, options.result_bytes)
        dispatcher = self._dispatcher = Dispatcher(
            self.store,
            self._ledger,
            self._timers,
            self._registry,
            runners,
            self._flows,
            self.metrics,
        )
        dispatcher.gave_up = self._waiters.gave_up
        self._open = AsyncExitStack()
        self._open.push_async_callback(self._close, runners)
        try:
            for open_ in self._alongside:
                await self._open.enter_async_context(open_())
        except BaseException:
            self._dispatcher = None
            await self._open.aclose()
            raise
        self._ledger.offer = dispatcher.offer
        self._ledger.rung = dispatcher.rung
        self._steps.stirred = dispatcher.stirred
        self._declared = dispatcher.declared
        self._running = asyncio.create_task(dispatcher.run())
        self._running.add_done_callback(_retrieved)

    async def stop(self, budget: float = 10.0) -> int:
        """Begin nothing more, give what runs `budget` seconds to end, ask the rest to stop and hand it
        back, to begin again when jobs are next run; returns how many that were. Workflows that wait
        are put to sleep at once.

        Raises what made the store fail, if it did; LogFull if the disk is full and nothing can be
        recorded in that time: that is then as if the process had died."""
        dispatcher, running = self._dispatcher, self._running
        if dispatcher is None or running is None:
            return 0
        self._running = None
        try:
            left = await dispatcher.stop(budget)
            await running
            return left
        finally:
            self._ledger.offer = self._ledger.rung = self._steps.stirred = nobody
            self._declared = lambda: None
            self._dispatcher = None
            await self._open.aclose()

    async def _close(self, runners: dict[str, Runner]) -> None:
        for runner in runners.values():
            await asyncio.to_thread(runner.close, self.options.cancel_grace)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        self._thread = LoopThread()
        try:
            self._thread.call(self.start())
        except BaseException:
            self._thread.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._thread.call(self.stop())
        finally:
            self._thread.end()


def _check_options(priority: object, texts: tuple[object, ...]) -> None:
    """Raise InvalidArguments for what could be stored and not be read again."""
    if type(priority) is not int or abs(priority) > MOST_PRIORITY:
        raise InvalidArguments(
            f"the priority is {priority!r}: give an int, at most {MOST_PRIORITY} either way"
        )
    for text in texts:
        if not isinstance(text, str):
            raise InvalidArguments(f"queue, tenant, key and lane are texts, and {text!r} is not")


def _check_choice(name: str, value: object, of: Any) -> None:
    if value not in get_args(of):
        raise InvalidArguments(f"{name} is {value!r}: give one of {', '.join(get_args(of))}")


def _retrieved(done: asyncio.Task[None]) -> None:
    """Why it ended is in `failure`, for whoever does not stop."""
    if not done.cancelled():
        done.exception()


def _id(job: Job | str) -> str:
    return job if isinstance(job, str) else job.id
