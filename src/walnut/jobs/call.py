"""An attempt as plain data, so that it can run anywhere: here, in a child, on another machine.

    Call ──▶ executor ──▶ perform ──▶ Outcome          Success, or Failure: never an exception
                            └──▶ Note ...              progress and heartbeats on the way

What must stay true: performing a call needs nothing but the call and the code it names; no store, no
log. So whatever happens to an attempt, the record is elsewhere.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from walnut.jobs.context import Context, Note
from walnut.jobs.errors import UnknownTask
from walnut.jobs.outcome import Outcome, failure, name_of, success
from walnut.jobs.tasks import Task

MAIN: Final = "__walnut_main__"
"""What a program's main module is called where its tasks run, so that its `if __name__ ==
"__main__"` does not."""


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An attempt to be made.

    Attributes:
        target: the task, as `module:name`, or as `/path/to/main.py:name`.
        job: its id. attempt: from 1; grows with each try, and fences those before.
        arguments: a MessagePack array.
        tenant: for whom.
        results: what the jobs that it comes after returned, as MessagePack.
        doubtful: the attempt before was lost and may have had its effect; the task is asked first.
    """

    target: str
    job: str
    attempt: int
    arguments: bytes
    tenant: str = ""
    results: list[bytes] = []
    doubtful: bool = False


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """What an attempt may use, where it runs in a process of its own. None: no limit."""

    memory_bytes: int | None = None
    cpu_seconds: float | None = None


def perform(call: Call, task: Task[..., Any], context: Context, result_bytes: int) -> Outcome:
    """Run a task that is a plain function to its end."""
    try:
        arguments = task.arguments.decode(call.arguments)
        if call.doubtful and task.ask is not None:
            found = task.ask(context, *arguments)
            if found is not None:
                return success(found.result, task.name, result_bytes)
        return success(task.function(context, *arguments), task.name, result_bytes)
    except Exception as error:
        return failure(error)


def load(target: str) -> Task[..., Any]:
    """The task that a call names, imported if need be. Raises UnknownTask."""
    place, _, name = target.rpartition(":")
    try:
        found: Any = _module(place)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, OSError, AttributeError) as error:
        raise UnknownTask(
            f"the task {target} can't be imported ({error}): is the code that declares it on this "
            "machine, and at the top of a module?"
        ) from error
    except (Exception, SystemExit) as error:
        raise UnknownTask(
            f"the task {target} can't be imported: its module raised {name_of(type(error))} "
            f"({error}); it is imported again where its tasks run, so keep what opens stores and "
            "starts servers behind `if __name__ == '__main__':`"
        ) from error
    if not isinstance(found, Task):
        raise UnknownTask(f"{target} is a {type(found).__name__} and not a task: decorate it")
    return found


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    module = sys.modules.get(MAIN)
    if module is None or module.__file__ != place:
        module = sys.modules[MAIN] = type(sys)(MAIN)
        module.__file__ = place
        beside = str(Path(place).parent)
        if beside not in sys.path:
            sys.path.insert(0, beside)
        try:
            module.__dict__.update(runpy.run_path(place, run_name=MAIN))
        except BaseException:
            del sys.modules[MAIN]  # so that the next attempt is told the cause as well
            raise
        module.__file__ = place
    return module


Tell = Callable[[Note], None]
"""Takes the notes of running attempts; from any thread, quickly, without raising."""
