"""Making calls, and waiting for what comes of them."""

import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from walnut.jobs.call import Call, Limits
from walnut.jobs.context import Note
from walnut.jobs.executors.runner import Runner
from walnut.jobs.outcome import Failure, Outcome, Success

TASKS = "tests.jobs.executors.tasks"
RESULT_BYTES = 1_000_000
SECONDS = 60.0
"""For whatever is waited for; nothing takes that long."""

_jobs = itertools.count(1)


def call(name: str, *args: object, **more: Any) -> Call:
    """A call of one of the tasks, or of `module:name`."""
    target = name if ":" in name else f"{TASKS}:{name}"
    return Call(target, f"job-{next(_jobs)}", 1, msgspec.msgpack.encode(args), **more)


def start(
    runner: Runner,
    made: Call,
    limits: Limits | None = None,
    tell: Callable[[Note], None] = lambda _: None,
) -> Future[Outcome]:
    return runner.start(made, limits or Limits(), tell)


def outcome(runner: Runner, name: str, *args: object, limits: Limits | None = None) -> Outcome:
    return start(runner, call(name, *args), limits).result(SECONDS)


def result(runner: Runner, name: str, *args: object) -> Any:
    return returned(outcome(runner, name, *args))


def returned(found: Outcome) -> Any:
    assert isinstance(found, Success), found
    return msgspec.msgpack.decode(found.result)


def failed(found: Outcome) -> Failure:
    assert isinstance(found, Failure), found
    return found


def eventually(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {SECONDS} s: {what}"
        time.sleep(0.005)


def left_by(file: Path) -> list[int]:
    """The numbers that a task has left in a file, once it has."""
    eventually(file.exists, f"{file} is written")
    return [int(word) for word in file.read_text().split()]


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is not merely unburied."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not Path("/proc").exists()
