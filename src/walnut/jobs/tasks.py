"""Tasks: functions that are run as jobs, and how their arguments travel.

What must stay true: arguments that are accepted when a job is enqueued can be given to the function
when it runs: they are checked against its signature and types then, not when it is too late.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any, Concatenate, Final, Generic, Literal, ParamSpec, TypeVar, overload

import msgspec

from walnut.jobs.context import Context
from walnut.jobs.errors import InvalidArguments, InvalidTask
from walnut.jobs.retry import Retry

P = ParamSpec("P")
T = TypeVar("T")
Hook = TypeVar("Hook", bound=Callable[[Any, Any, Any], object])
Ask = TypeVar("Ask", bound=Callable[..., Any])
Kind = Literal["task", "effect", "workflow"]


FLOW: Final = "flow"
"""What workflows run on."""


class Happened(msgspec.Struct, frozen=True):
    """What an effect that was lost did after all: `reconcile` gives it."""

    result: Any = None


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a task is run.

    Attributes:
        queue: where its jobs wait.
        runs: on which executor: "loop" (the event loop of the jobs, for coroutine functions),
            "thread", "process" (a supervised child process), or one that `Jobs` was given by name.
        priority: of its jobs; a higher one is like having waited longer (`JobsOptions.ageing`).
        retry: what becomes of failures.
        timeout: seconds an attempt may take.
        stall: seconds an attempt may go without `progress` or `heartbeat`.
        resources: how much it takes, while it runs, of what `JobsOptions.resources` has.
        memory_bytes, cpu_seconds: what an attempt in a child process may use.
    """

    queue: str = "default"
    runs: str = "process"
    priority: int = 0
    retry: Retry = Retry()
    timeout: float | None = None
    stall: float | None = None
    resources: dict[str, float] = {}
    memory_bytes: int | None = None
    cpu_seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse what can't work, by name."""
        for name in ("timeout", "stall", "memory_bytes", "cpu_seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InvalidTask(
                    f"{name} is {value}: give a positive number, or None for no limit"
                )
        for name, amount in self.resources.items():
            if amount < 0:
                raise InvalidTask(f"it takes {amount} of {name}: give a positive number")


class Arguments:
    """The arguments of a function, after the first `skip`, as a MessagePack array."""

    def __init__(self, function: Callable[..., Any], skip: int) -> None:
        self._name = getattr(function, "__qualname__", repr(function))
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        try:
            hints = typing.get_type_hints(function)
        except (NameError, TypeError):  # names that exist for type checkers only
            hints = {}
        self._parameters = parameters
        if any(one.kind in {one.VAR_KEYWORD, one.KEYWORD_ONLY} for one in parameters):
            raise InvalidTask(
                f"{self._name} takes arguments by keyword only: give it positional parameters"
            )
        self._rest: Any = None
        if parameters and parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL:
            self._rest = hints.get(parameters.pop().name, Any)
        self._types = [hints.get(one.name, Any) for one in parameters]
        self._least = sum(one.default is inspect.Parameter.empty for one in parameters)
        self._decoders: dict[int, msgspec.msgpack.Decoder[tuple[Any, ...]]] = {}

    def encode(self, args: tuple[Any, ...]) -> bytes:
        """Raises InvalidArguments."""
        data = pack(args, self._name)
        self.decode(data, len(args))
        return data

    def decode(self, data: bytes, count: int | None = None) -> tuple[Any, ...]:
        """Raises InvalidArguments."""
        if count is None:
            count = _array_length(data)
        decoder = self._decoders.get(count)
        if decoder is None:
            decoder = self._decoders[count] = self._decoder(count)
        try:
            return decoder.decode(data)
        except msgspec.MsgspecError as error:
            raise InvalidArguments(
                f"arguments of {self._name} are not what it takes: {error}"
            ) from error

    def _decoder(self, count: int) -> msgspec.msgpack.Decoder[tuple[Any, ...]]:
        known = len(self._types)
        if count < self._least or (count > known and self._rest is None):
            wanted = f"{self._least}" if self._least == known else f"{self._least} to {known}"
            raise InvalidArguments(f"{self._name} takes {wanted} arguments and was given {count}")
        types = [*self._types[:count], *[self._rest] * (count - known)]
        # tuple[()] is the empty tuple, where tuple[tuple of no types] would be something else.
        return msgspec.msgpack.Decoder(tuple[tuple(types)])  # type: ignore[misc]


def _array_length(data: bytes) -> int:
    head = data[0]
    if head < 0xDC:
        return head & 0x0F
    return int.from_bytes(data[1:3] if head == 0xDC else data[1:5], "big")


class Task(Generic[P, T]):
    """A function that can be run as a job. Made by `Jobs.task`, or `task` where no `Jobs` is at hand.

    Calling it calls the function, as tests like to.

    Attributes:
        name: what it is called on record; keep it while jobs of it exist.
        options: how it is run.
        returns: the type of its results.
        kind: an effect acts on the outside; a workflow is a coroutine whose steps are recorded.
        on_done, on_dead, ask: what `then`, `otherwise` and `reconcile` decorate.
    """

    def __init__(
        self,
        function: Callable[Concatenate[Context, P], T],
        name: str,
        options: TaskOptions,
        kind: Kind = "task",
    ) -> None:
        self.function = function
        self.name = name
        self.options = options
        self.arguments = Arguments(function, 1)
        self.kind: Kind = kind
        self.returns: Any = returns(function)
        self.on_done: Callable[[Any, Any, Any], object] | None = None
        self.on_dead: Callable[[Any, Any, Any], object] | None = None
        self.ask: Callable[..., Happened | None] | None = None
        self.__doc__ = function.__doc__

    def __call__(self, context: Context, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function."""
        return self.function(context, *args, **kwargs)

    def then(self, function: Hook) -> Hook:
        """Decorates `function(tx, job, result)`: it is part of the transaction that records that a job
        of this task is done, so its writes and the result are there together or not at all."""
        self.on_done = function
        return function

    def otherwise(self, function: Hook) -> Hook:
        """Decorates `function(tx, job, failure)`: the same for a job that failed for good."""
        self.on_dead = function
        return function

    def reconcile(self, function: Ask) -> Ask:
        """Decorates `function(context, *arguments)`: it finds out whether an attempt that was lost has
        done what it was to do, and gives `Happened(result)` if so, None if not. It is asked before
        the next attempt, on the same executor. Raises InvalidTask for a coroutine function, if the
        task is none."""
        if inspect.iscoroutinefunction(function) and self.options.runs != "loop":
            raise InvalidTask(
                f"{self.name} runs on {self.options.runs!r}, and what it has to reconcile is a coroutine "
                "function: make both such functions, or none"
            )
        self.ask = function
        return function

    def __repr__(self) -> str:
        return f"<walnut task {self.name}>"

    @property
    def target(self) -> str:
        """Where other processes find it: see `Call.target`. Raises InvalidTask if they can't."""
        function = self.function
        module, name = function.__module__, function.__qualname__
        if "<" in name:
            raise InvalidTask(
                f"{self.name} is declared inside a function, where a child process can't import it: "
                "declare it at the top of a module, or let it run on 'thread' or 'loop'"
            )
        if module == "__main__":
            spec = getattr(sys.modules[module], "__spec__", None)
            if spec is not None:  # python -m
                return f"{spec.name}:{name}"
            path = getattr(sys.modules[module], "__file__", None)
            if path is None:
                raise InvalidTask(
                    f"{self.name} was typed in, and a child process can't import it: put it into a "
                    "file, or let it run on 'thread' or 'loop'"
                )
            module = str(path)
        return f"{module}:{name}"


def pack(value: object, name: str) -> bytes:
    """Arguments as MessagePack. Raises InvalidArguments."""
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArguments(
            f"arguments of {name} can't be stored ({error}): give plain data or structs"
        ) from error


def returns(function: Callable[..., Any]) -> Any:
    """The type of what a function gives, if that is known here."""
    try:
        return typing.get_type_hints(function).get("return", Any)
    except (NameError, TypeError):  # names that exist for type checkers only
        return Any


def declare(
    function: Callable[Concatenate[Context, P], T],
    name: str | None,
    options: dict[str, Any],
    kind: Kind = "task",
) -> Task[P, T]:
    """A task of a function: coroutine functions run on the loop, if nothing else is said, and others
    in child processes. Raises InvalidTask."""
    if not callable(function):
        raise InvalidTask(f"{function!r} can't be a task: decorate a function")
    if inspect.iscoroutinefunction(function) and options.get("runs", "thread") == "thread":
        options = options | {"runs": "loop"}
    made = TaskOptions(**options)
    if kind == "workflow" and (made.timeout, made.stall) != (None, None):
        raise InvalidTask(
            f"{function.__qualname__} is a workflow, which may take for ever: limit its steps, or let it "
            "wait for a signal with a timeout"
        )
    if (made.runs in {"loop", FLOW}) != inspect.iscoroutinefunction(function):
        raise InvalidTask(
            f"{function.__qualname__} would run on {made.runs!r}: coroutine functions run on 'loop', "
            "and only they do"
        )
    return Task(function, name or f"{function.__module__}.{function.__qualname__}", made, kind)


@overload
def task(function: Callable[Concatenate[Context, P], T], /) -> Task[P, T]: ...


@overload
def task(
    *, name: str | None = None, **options: Any
) -> Callable[[Callable[Concatenate[Context, P], T]], Task[P, T]]: ...


def task(*function: Any, **options: Any) -> Any:
    """`Jobs.task` where no `Jobs` is at hand: `Jobs.add` makes it known. For modules that child
    processes import, which must not open a store."""
    name = options.pop("name", None)

    def decorate(plain: Any) -> Any:
        return declare(plain, name, options)

    return decorate(*function) if function else decorate
