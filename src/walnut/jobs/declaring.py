"""Declaring tasks, effects, workflows and actions.

What must stay true: what can never run is refused when it is declared, not when it is due.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from walnut.jobs.context import Context
from walnut.jobs.errors import InvalidTask, UnknownQueue
from walnut.jobs.leases import OUTSIDE
from walnut.jobs.model import JobsOptions
from walnut.jobs.registry import Action, Registry
from walnut.jobs.retry import Retry
from walnut.jobs.tasks import FLOW, Kind, Task, declare
from walnut.jobs.workflow import Flow

P = ParamSpec("P")
T = TypeVar("T")


class Declaring:
    """What of `Jobs` makes functions known.

    Args:
        executors: those that were given, by name.
    """

    def __init__(self, options: JobsOptions, executors: Mapping[str, object]) -> None:
        self.options = options
        self._registry = Registry()
        self._given = executors
        self._declared: Callable[[], object] = _nobody
        """Told when there is code that was not there before."""

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

    def add(self, task: Task[P, T]) -> Task[P, T]:
        """Make known a task that was declared without a `Jobs`. Raises InvalidTask, UnknownQueue."""
        runs = task.options.runs
        if runs not in {FLOW, OUTSIDE, "loop", "thread", "process", *self._given}:
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
        if isinstance(self._given.get(runs), Executor) and options.stall:
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
        self._declared()
        return task

    def action(self, function: Callable[..., Any], name: str | None = None) -> Action:
        """Make a transaction function known as what timers call, under a name that stays.

        Raises InvalidTask."""
        action = self._registry.add_action(function, name)
        self._declared()
        return action


def _nobody() -> None:
    """Before anybody runs jobs here."""
