"""A process from its first component to its last: start, run, and the stop that loses nothing.

    Lifecycle(components).serve()
        start, each after what it needs          one fails: those before it stop again, StartFailed
        until stop(), a signal, or a component's run() ends with an error
        not ready ▸ grace ▸ stop accepting ▸ drain ▸ stop ▸ flush ▸ closed

What must stay true: every component that started is stopped, once, after all that need it, whatever
failed; nothing is left running when `serve` ends; the time this takes is bounded by the budgets.
It does not start processes, serve HTTP or know what components do.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Final, Literal

from walnut.shutdown.bounded import failure_of, settle
from walnut.shutdown.component import Component, Listener, start_order
from walnut.shutdown.errors import AlreadyServed, StartFailed
from walnut.shutdown.inflight import InFlight
from walnut.shutdown.journal import Journal, Observer, say
from walnut.shutdown.model import (
    Budgets,
    ExitCode,
    Phase,
    Report,
    Schedule,
)
from walnut.shutdown.notify import Notifier
from walnut.shutdown.signals import PATIENCE, catching

PROGRESS_SECONDS: Final = 1.0
"""Between two events that say how far draining is."""
STOP_LEAST_SECONDS: Final = 0.1
"""What a component has for its stop even if those before it used up everything."""


class Lifecycle:
    """Starts components, waits until asked to stop, stops them. Serves once.

    Args:
        components: in any order; what each needs decides. `add` takes more.
        inflight: what is under way, if somebody counts it.
        notify: the service manager; by default the one that the environment names.
        reload: called at SIGHUP, which without it is a request to stop. restart: called at SIGUSR2; when it returns, a successor is ready and
            this process hands over to it (`handover.Successor.start` is meant). flush: called when all
            components have stopped.
        log: called with each `Event`; `observe` adds more.
        kill: ends the process on the spot, at the third signal.
    """

    def __init__(
        self,
        components: Sequence[Component] = (),
        *,
        budgets: Budgets | None = None,
        inflight: InFlight | None = None,
        notify: Notifier | None = None,
        reload: Callable[[], Awaitable[object]] | None = None,
        restart: Callable[[], Awaitable[object]] | None = None,
        flush: Callable[[], Awaitable[object]] | None = None,
        log: Observer | None = None,
        kill: Callable[[int], object] = os._exit,
    ) -> None:
        self._components = list(components)
        self._budgets = budgets or Budgets()
        self.inflight = inflight or InFlight()
        self._notify = notify or Notifier.from_environment()
        self._reload = reload
        self._restart = restart
        self._flush = flush
        self._journal = Journal(self.inflight, self._notify)
        if log is not None:
            self._journal.observers.append(log)
        self._kill = kill
        self._served = False
        self._reason = ""
        self._broken = ""
        self._handover = False
        self._grace = True
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self._signals = 0
        self._started: list[Component] = []
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._beside: dict[str, asyncio.Task[Any]] = {}
        self._schedule: Schedule | None = None

    def add(self, *components: Component) -> None:
        """More components, such as those that are made with a hold on this. Before `serve`."""
        assert not self._served, "components are added before serve()"
        self._components += components

    # -- what others see and ask ----------------------------------------------------------------

    @property
    def state(self) -> Phase:
        """The phase it is in."""
        return self._journal.phase

    @property
    def ready(self) -> bool:
        """New work is welcome: started, and not asked to stop. While it hands over to a successor this
        holds on, as who sends work here is to send it there."""
        if self._asked.is_set():
            return self._handover and self._journal.phase is not Phase.CLOSED
        return self._journal.phase is Phase.RUNNING

    @property
    def broken(self) -> str:
        """The component that ended with an error while it ran, and the error's name, as anybody may see
        them: no words of the error. Empty while none has."""
        return self._broken

    @property
    def started(self) -> bool:
        """Start is over, well or badly: it has got past `Phase.STARTING`."""
        return self._journal.phase is not Phase.STARTING

    @property
    def order(self) -> tuple[str, ...]:
        """Names of the components, in the order they start. Raises as `start_order` does."""
        return tuple(component.name for component in start_order(self._components))

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call somebody with each event from now on. Returns what ends that."""
        self._journal.observers.append(observer)
        return lambda: self._journal.observers.remove(observer)

    def stop(self, reason: str, *, grace: bool = True, handover: bool = False) -> None:
        """Ask it to stop; from the loop's thread, at any time, any number of times (the first counts).

        Args:
            reason: for the report.
            grace: wait for load balancers.
            handover: another process goes on with the listening sockets, so nobody is to notice: no
                grace, and what waits in the sockets is left to it.
        """
        if not self._asked.is_set():
            self._reason = reason
            self._handover = handover
            self._grace = grace and not handover
            self._asked.set()

    def hurry(self) -> None:
        """Skip the waiting: grace and drain are cut short. Components are still stopped and flushed."""
        self.stop("hurry")
        self._hurried.set()

    def signal(self, number: int) -> None:
        """What a signal means; see `signals`. From the loop's thread."""
        name = signal.Signals(number).name
        self._journal.tell("signal", detail=name)
        if number == signal.SIGHUP and self._reload is not None:
            self._aside("reload", self._reload, self._reloading)
        elif number == signal.SIGUSR2:
            self._aside("restart", self._restart, self._restarting)
        else:
            self._signals += 1
            if self._signals == 1:
                self.stop(name)
            elif self._signals < PATIENCE:
                self.hurry()
            else:
                self._kill(ExitCode.KILLED)

    # -- the life itself ------------------------------------------------------------------------

    async def serve(self, *, signals: bool = True) -> Report:
        """Start, run until asked to stop, stop.

        A cancellation is a request to stop in a hurry; it is passed on once all is stopped.

        Args:
            signals: catch the process's signals meanwhile. Only the main thread can.

        Raises:
            StartFailed: a component did not start; those before it have stopped.
            AlreadyServed: it was called before.
            DuplicateComponent, UnknownComponent, CycleInNeeds: see `start_order`.
        """
        if self._served:
            raise AlreadyServed("this lifecycle has served already; make a new one")
        order = start_order(self._components)
        self._served = True
        kill = lambda: self._kill(ExitCode.KILLED)  # noqa: E731 -- one line, used once
        with catching(self.signal, kill) if signals else nullcontext():
            life = asyncio.get_running_loop().create_task(self._live(order))
            cancelled = False
            while not life.done():
                try:
                    await asyncio.shield(life)
                except asyncio.CancelledError:
                    if not life.done():
                        cancelled = True
                        self.stop("cancelled")
                        self._hurried.set()
                except StartFailed:
                    break
            if cancelled:
                failure_of(life)
                raise asyncio.CancelledError
            return life.result()

    async def _live(self, order: Sequence[Component]) -> Report:
        loop = asyncio.get_running_loop()
        self._journal.enter(Phase.STARTING)
        if self._notify.watchdog_seconds:
            self._beside["watchdog"] = loop.create_task(
                self._be_alive(self._notify.watchdog_seconds / 2)
            )
        failure = await self._start(order)
        if failure is None and not self._asked.is_set():
            self._journal.enter(Phase.RUNNING)
            self._notify.ready()
            await self._asked.wait()
        self.stop(str(failure) if failure else "")
        self._schedule = Schedule(self._budgets, loop.time(), grace=self._grace)
        if self._handover:
            self._notify.close()  # what it would say now is about another process
        self._notify.stopping()
        if self._journal.phase is Phase.RUNNING:
            await self._phase_not_ready()
            await self._phase_grace()
            await self._phase_close()
            await self._phase_drain()
        await self._phase_stop()
        await self._phase_flush()
        self._journal.enter(Phase.CLOSED)
        self._notify.close()
        if failure is not None:
            raise failure
        return self._journal.report(self._reason)

    async def _start(self, order: Sequence[Component]) -> StartFailed | None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._budgets.start
        for component in order:
            if self._asked.is_set():
                return None
            began = loop.time()
            task = loop.create_task(component.start(), name=f"start {component.name}")
            if await settle([task], end=end, cut=self._asked):
                self._journal.overran(component.name)
                if self._asked.is_set():
                    return None
                return StartFailed(component.name, f"not within {self._budgets.start:g} s")
            if (error := failure_of(task)) is not None:
                self._journal.failed(component.name, "start", error)
                failure = StartFailed(component.name, say(error))
                failure.__cause__ = error
                return failure
            self._started.append(component)
            self._journal.tell("started", component.name, seconds=loop.time() - began)
            run = loop.create_task(component.run(), name=f"run {component.name}")
            self._runs[component.name] = run
            run.add_done_callback(partial(self._run_ended, component.name))
        return None

    def _run_ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._runs.pop(name, None) is None:  # its component is being stopped
            failure = None if task.cancelled() else task.exception()
        else:
            failure = failure_of(task)
        if failure is not None:
            self._journal.failed(name, "run", failure)
            self._broken = self._broken or f"{name} failed: {type(failure).__name__}"
            self.stop(f"{name} failed: {say(failure)}")

    # -- phases of the stop ---------------------------------------------------------------------

    async def _phase_not_ready(self) -> None:
        self._journal.enter(Phase.NOT_READY)
        self.inflight.closing = True
        for name, task in self._beside.items():
            if name != "watchdog":  # a successor that is not ready yet must not be waited for
                task.cancel()

    async def _phase_grace(self) -> None:
        if self._grace and self._budgets.grace > 0:
            loop = asyncio.get_running_loop()
            waiting = loop.create_task(self._hurried.wait())
            self._journal.enter(Phase.GRACE)
            await asyncio.wait([waiting], timeout=self._end_of(Phase.GRACE) - loop.time())
            waiting.cancel()

    async def _phase_close(self) -> None:
        self._journal.enter(Phase.CLOSE)
        loop = asyncio.get_running_loop()
        tasks = {
            loop.create_task(one.stop_accepting(handover=self._handover)): one.name
            for one in reversed(self._started)
            if isinstance(one, Listener)
        }
        for late in await settle(tasks, end=self._end_of(Phase.CLOSE)):
            self._journal.overran(tasks.pop(late))
        for task, name in tasks.items():
            if (error := failure_of(task)) is not None:
                self._journal.failed(name, "stop accepting", error)

    async def _phase_drain(self) -> None:
        """Components drain once all that need them have; what others need also waits for in-flight work."""
        self._journal.enter(Phase.DRAIN)
        self.inflight.drain()
        loop = asyncio.get_running_loop()
        drained = {one.name: asyncio.Event() for one in self._started}
        idle = loop.create_task(self.inflight.idle(), name="in flight")

        async def drain(component: Component) -> None:
            dependents = [one.name for one in self._started if component.name in one.needs]
            if dependents:
                await asyncio.wait([idle])
            for name in dependents:
                await drained[name].wait()
            began = loop.time()
            try:
                await component.drain()
            except Exception as error:
                self._journal.failed(component.name, "drain", error)
            else:
                self._journal.tell("drained", component.name, seconds=loop.time() - began)
            drained[component.name].set()

        tasks = [loop.create_task(drain(one), name=one.name) for one in reversed(self._started)]
        progress = loop.create_task(self._show_progress())
        late = await settle([idle, *tasks], end=self._end_of(Phase.DRAIN), cut=self._hurried)
        progress.cancel()
        for task in late:
            if task is not idle:
                self._journal.overran(task.get_name())
            elif (counts := self.inflight.counts).total:
                self._journal.overran(str(counts))
        await settle(self.inflight.cancel(), end=loop.time())

    async def _phase_stop(self) -> None:
        """Each in turn; a component that hangs can't use up what belongs to the others."""
        self._journal.enter(Phase.STOP)
        loop = asyncio.get_running_loop()
        while self._started:
            component = self._started[-1]
            left = self._end_of(Phase.STOP) - loop.time()
            end = loop.time() + max(left / len(self._started), STOP_LEAST_SECONDS)
            began = loop.time()
            run = self._runs.pop(component.name, None)
            if run is not None:
                run.cancel()
                if await settle([run], end=end):
                    self._journal.overran(f"{component.name} (run)")
            task = loop.create_task(component.stop(), name=f"stop {component.name}")
            if await settle([task], end=max(end, loop.time() + STOP_LEAST_SECONDS)):
                self._journal.overran(component.name)
            elif (error := failure_of(task)) is not None:
                self._journal.failed(component.name, "stop", error)
            else:
                self._journal.tell("stopped", component.name, seconds=loop.time() - began)
            self._started.pop()

    async def _phase_flush(self) -> None:
        self._journal.enter(Phase.FLUSH)
        loop = asyncio.get_running_loop()
        for task in self._beside.values():
            task.cancel()
        await settle(self._beside.values(), end=loop.time())
        if self._flush is not None:
            end = max(self._end_of(Phase.FLUSH), loop.time() + STOP_LEAST_SECONDS)
            task = loop.create_task(_awaiting(self._flush), name="flush")
            if await settle([task], end=end):
                self._journal.overran("flush")
            elif (error := failure_of(task)) is not None:
                self._journal.failed("flush", "flush", error)

    def _end_of(self, phase: Phase) -> float:
        assert self._schedule is not None
        if self._hurried.is_set():
            self._schedule.rebase(phase, asyncio.get_running_loop().time())
        return self._schedule.end_of(phase)

    # -- beside it: reloads, restarts, saying how it goes -----------------------------------------

    def _aside(
        self,
        kind: Literal["reload", "restart"],
        hook: Callable[[], Awaitable[object]] | None,
        work: Callable[[Callable[[], Awaitable[object]]], Awaitable[None]],
    ) -> None:
        """Reload or restart beside the running; one at a time, and not while starting or stopping."""
        under_way = self._beside.get(kind)
        stopping = self._asked.is_set() or self._journal.phase is not Phase.RUNNING
        if hook is None or stopping or (under_way is not None and not under_way.done()):
            why = "nothing to call" if hook is None else "not now"
            self._journal.tell(kind, detail=f"ignored: {why}")
            return
        self._beside[kind] = asyncio.get_running_loop().create_task(
            _awaiting(lambda: work(hook)), name=kind
        )

    async def _reloading(self, hook: Callable[[], Awaitable[object]]) -> None:
        self._notify.reloading()
        try:
            async with asyncio.timeout(self._budgets.reload):
                await hook()
        except Exception as error:
            self._journal.tell("failed", "reload", detail=say(error))
        else:
            self._journal.tell("reload", detail="done")
        self._notify.ready()

    async def _restarting(self, hook: Callable[[], Awaitable[object]]) -> None:
        self._journal.tell("restart", detail="waiting for the successor")
        try:
            async with asyncio.timeout(self._budgets.restart):
                await hook()
        except Exception as error:
            self._journal.tell("failed", "restart", detail=say(error))
        else:
            self._journal.tell("restart", detail="handing over")
            self.stop("handed over", handover=True)

    async def _be_alive(self, every: float) -> None:
        while True:
            self._notify.watchdog()
            await asyncio.sleep(every)

    async def _show_progress(self) -> None:
        while True:
            self._journal.progress()
            await asyncio.sleep(PROGRESS_SECONDS)


async def _awaiting(function: Callable[[], Awaitable[object]]) -> None:
    await function()
