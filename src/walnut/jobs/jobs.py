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
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, InvalidStateError
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from graphlib import CycleError, TopologicalSorter
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, get_args, overload

import msgspec

from walnut.jobs.context import Context
from walnut.jobs.dispatcher import Dispatcher, DispatchMetrics
from walnut.jobs.errors import (
    CycleInGraph,
    InvalidArguments,
    InvalidTask,
    JobFailed,
    NotPossible,
    ResultTooLarge,
    UnknownJob,
    UnknownQueue,
)
from walnut.jobs.executors.futures import FutureRunner
from walnut.jobs.executors.processes import ProcessOptions, ProcessRunner
from walnut.jobs.executors.runner import Runner
from walnut.jobs.executors.threads import ThreadRunner
from walnut.jobs.leases import OUTSIDE, Leases
from walnut.jobs.ledger import CANCELLED, Ledger, nobody
from walnut.jobs.model import (
    SECOND,
    Job,
    JobsOptions,
    Late,
    Missed,
    Schedule,
    State,
    Timer,
)
from walnut.jobs.outcome import MOST_SECONDS, Failure, Outcome, Success
from walnut.jobs.recurrence import Recurrence
from walnut.jobs.registry import Action, Registry
from walnut.jobs.retry import Retry
from walnut.jobs.steps import Steps
from walnut.jobs.submitting import Submissions
from walnut.jobs.task import FLOW, Kind, Task, declare, pack
from walnut.jobs.timers import ACTION, Timers, nanoseconds
from walnut.jobs.workflow import Flow, Flows
from walnut.log.commit import refuse_event_loop
from walnut.store.store import Store
from walnut.store.table import Table
from walnut.store.transaction import Reader, Transaction

P = ParamSpec("P")
T = TypeVar("T")
AnyTask = Task[..., Any]


LEFT_SECONDS: Final = 1.0
"""What is left on the loop when it ends had its grace before."""
MOST_PRIORITY: Final = 1_000_000
"""Beyond, a rank would not be a number of 64 bits."""


class Node(msgspec.Struct, frozen=True):
    """A job of a graph: a task, its arguments, and the names of those it comes after."""

    task: AnyTask
    args: tuple[Any, ...] = ()
    after: Sequence[str] = ()


class Jobs:
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
        self.store = store
        self.options = options or JobsOptions()
        self._registry = Registry()
        self._ledger = Ledger(store, self._registry, self.options)
        self._timers = Timers(store, self._ledger, self._registry)
        self._timers.begin = self._begin
        self._steps = Steps(store, self._ledger)
        self._timers.waken = self._steps.waken
        self._submissions = Submissions(store, self.enqueue)
        self._leases = Leases(self._ledger)
        self._timers.leased = self._leases.over
        self._flows = Flows(self, self._steps)
        self.metrics = DispatchMetrics()
        """What was done since this was made."""
        self._alongside: list[Callable[[], AbstractAsyncContextManager[Any]]] = []
        self._executors = dict(executors or {})
        self._dispatcher: Dispatcher | None = None
        self._running: asyncio.Task[None] | None = None
        self._waiters: dict[str, set[Future[Job]]] = {}
        self._waiting = threading.Lock()
        self._ledger.finished = self._finished

    # -- declaring ------------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[Concatenate[Context, P], T], /) -> Task[P, T]: ...

    @overload
    def task(
        self, *, name: str | None = None, **options: Any
    ) -> Callable[[Callable[Concatenate[Context, P], T]], Task[P, T]]: ...

    def task(self, *function: Any, **options: Any) -> Any:
        """Decorates a function that is to be run as a job: `function(context, *arguments)`.

        Args:
            name: on record; by default the function's module and name.
            options: see `TaskOptions`.

        Raises InvalidTask, UnknownQueue."""
        return self._decorate("task", function, options)

    @overload
    def effect(self, function: Callable[Concatenate[Context, P], T], /) -> Task[P, T]: ...

    @overload
    def effect(
        self, *, name: str | None = None, **options: Any
    ) -> Callable[[Callable[Concatenate[Context, P], T]], Task[P, T]]: ...

    def effect(self, *function: Any, **options: Any) -> Any:
        """`task` for what acts on the outside, where nothing can be rolled back: the intent is durable
        before it acts, `context.key` is the same at every attempt, and what it has to `reconcile` is
        asked when an attempt was lost. Runs in a thread or on the loop, if nothing else is said."""
        return self._decorate("effect", function, {"runs": "thread"} | options)

    def _decorate(self, kind: Kind, function: tuple[Any, ...], options: dict[str, Any]) -> Any:
        name = options.pop("name", None)

        def decorate(plain: Any) -> Any:
            return self.add(declare(plain, name, options, kind))

        return decorate(*function) if function else decorate

    @overload
    def workflow(
        self, function: Callable[Concatenate[Flow, P], Coroutine[Any, Any, T]], /
    ) -> Task[P, T]: ...

    @overload
    def workflow(
        self, *, name: str | None = None, **options: Any
    ) -> Callable[[Callable[Concatenate[Flow, P], Coroutine[Any, Any, T]]], Task[P, T]]: ...

    def workflow(self, *function: Any, **options: Any) -> Any:
        """Decorates a coroutine function `function(flow, *arguments)` that survives crashes: see `Flow`.

        Args as of `task`; it is not tried again when it raises, if nothing else is said."""
        once = {"runs": FLOW, "retry": Retry(attempts=1)}
        return self._decorate("workflow", function, once | options)

    def signal(self, tx: Transaction, flow: Job | str, name: str, payload: Any = None) -> None:
        """Send a workflow a signal: the first step that waits for it takes it, now or later.

        Raises UnknownJob if it has ended; InvalidArguments."""
        self._steps.signal(tx, _id(flow), name, pack(payload, name))

    def add(self, task: Task[P, T]) -> Task[P, T]:
        """Make known a task that was declared without a `Jobs`. Raises InvalidTask, UnknownQueue."""
        runs = task.options.runs
        if runs not in {FLOW, OUTSIDE, "loop", "thread", "process", *self._executors}:
            raise UnknownQueue(
                f"{task.name} runs on {runs!r}: that is none of loop, thread, process, outside and those "
                "given to Jobs as `executors`"
            )
        options = task.options
        if runs != "process" and (options.memory_bytes or options.cpu_seconds):
            raise InvalidTask(
                f"{task.name} runs on {runs!r}: only 'process' can limit memory and time"
            )
        if runs == OUTSIDE and (options.timeout or options.stall or options.resources):
            raise InvalidTask(f"{task.name} runs outside, where its lease is all that limits it")
        if runs in self._executors and options.stall:
            raise InvalidTask(
                f"{task.name} runs on {runs!r}, where signs of life don't get through"
            )
        for name, amount in options.resources.items():
            if amount > self.options.resources.get(name, 0.0):
                raise UnknownQueue(
                    f"{task.name} takes {amount:g} of {name}, of which there is "
                    f"{self.options.resources.get(name, 0.0):g}: say how much in JobsOptions.resources"
                )
        if runs == "process":
            _ = task.target  # raises InvalidTask if a child process could not find it
        self._registry.add_task(task)
        if self._dispatcher is not None:
            self._dispatcher.declared()
        return task

    def action(self, function: Callable[..., Any], name: str | None = None) -> Action:
        """Make a transaction function known as what timers call, under a name that stays.

        Raises InvalidTask."""
        action = self._registry.add_action(function, name)
        if self._dispatcher is not None:
            self._dispatcher.declared()
        return action

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
        for name in _sorted(nodes):
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
        with self._waiter(_id(job)) as waiter:
            return self._result(waiter.result(timeout))

    async def result(self, job: Job | str) -> Any:
        """`wait` for coroutines, on any event loop."""
        with self._waiter(_id(job)) as waiter:
            return self._result(await asyncio.wrap_future(waiter))

    @contextmanager
    def _waiter(self, job: str) -> Iterator[Future[Job]]:
        """A future of the job's end, for the length of a block."""
        waiter: Future[Job] = Future()
        with self._waiting:
            self._waiters.setdefault(job, set()).add(waiter)
        try:
            # Only now: what ends after this is told to the waiter.
            row = self._ledger.jobs.get(self.store, job)
            if row is None:
                raise UnknownJob(f"there is no job {job}, or it is not durable yet")
            if row.state.ended:
                _resolve(waiter, row)
            elif self.store.log.failure is not None:
                raise self.store.log.failure
            yield waiter
        finally:
            with self._waiting:
                others = self._waiters.get(job, set())
                others.discard(waiter)
                if not others:
                    self._waiters.pop(job, None)

    def _finished(self, job: Job) -> None:
        dispatcher = self._dispatcher
        if job.state is State.CANCELLED and dispatcher is not None:
            dispatcher.cancelled(job)
        with self._waiting:
            waiters = self._waiters.pop(job.id, set())
        for waiter in waiters:
            _resolve(waiter, job)

    def _gave_up(self, why: Exception) -> None:
        """Jobs are not run any more: whoever waits would wait for ever."""
        with self._waiting:
            waiters = set().union(*self._waiters.values())
            self._waiters.clear()
        for waiter in waiters:
            _resolve(waiter, why)

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
        dispatcher.gave_up = self._gave_up
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


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="walnut-jobs", daemon=True
        )
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on it, and wait for its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def end(self) -> None:
        """End it, and what is left on it."""
        self.call(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @staticmethod
    async def _end_tasks() -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=LEFT_SECONDS)


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


def _resolve(waiter: Future[Job], with_: Job | Exception) -> None:
    with suppress(InvalidStateError):  # it was cancelled, or told already
        if isinstance(with_, Job):
            waiter.set_result(with_)
        else:
            waiter.set_exception(with_)


def _id(job: Job | str) -> str:
    return job if isinstance(job, str) else job.id


def _sorted(nodes: Mapping[str, Node]) -> list[str]:
    """The names, each behind those it comes after. Raises CycleInGraph, UnknownJob."""
    for name, node in nodes.items():
        for before in node.after:
            if before not in nodes:
                raise UnknownJob(f"{name} comes after {before}, which is not in the graph")
    try:
        return list(
            TopologicalSorter({name: node.after for name, node in nodes.items()}).static_order()
        )
    except CycleError as error:
        circle = " after ".join(error.args[1])
        raise CycleInGraph(f"these jobs wait for one another: {circle}") from error
