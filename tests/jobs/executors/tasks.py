"""Tasks that behave, and tasks that do not. `started`, where they take it, is a file in which they leave
their process's number."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from walnut.jobs.context import Context
from walnut.jobs.errors import JobsError
from walnut.jobs.tasks import Task, declare

P = ParamSpec("P")
T = TypeVar("T")


def task(function: Callable[Concatenate[Context, P], T]) -> Task[P, T]:
    """As `Jobs.task` does."""
    return declare(function, None, {})


class Refused(JobsError):
    """Raised on purpose."""

    retry_after = 7


class Odd(Exception):
    """Can't even be printed."""

    retry_after = "soon"

    def __str__(self) -> str:
        raise RuntimeError("no words")


@task
def add(ctx: Context, one: int, other: int) -> int:
    return one + other


@task
def told(ctx: Context) -> dict[str, Any]:
    return {
        "job": ctx.job,
        "attempt": ctx.attempt,
        "tenant": ctx.tenant,
        "results": ctx.results,
        "key": ctx.key,
    }


@task
def pid(ctx: Context) -> int:
    return os.getpid()


@task
def environment(ctx: Context) -> dict[str, str]:
    return dict(os.environ)


@task
def modules(ctx: Context) -> list[str]:
    return sorted(sys.modules)


@task
def session(ctx: Context) -> list[int]:
    return [os.getpid(), os.getsid(0), os.getpgrp()]


@task
def descriptors(ctx: Context) -> int:
    return len(os.listdir("/proc/self/fd"))


@task
def fail(ctx: Context, how: str) -> None:
    if how == "refused":
        raise Refused("not today")
    if how == "odd":
        raise Odd
    if how == "surrogate":
        raise ValueError("\udcff")
    if how == "exit":
        sys.exit(3)
    if how == "interrupt":
        raise KeyboardInterrupt


@task
def die(ctx: Context, how: str) -> None:
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(17)
    elif how == "abort":
        os.abort()
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "close":
        os.closerange(3, 100)
        time.sleep(60)
    elif how == "garbage":
        os.write(_connection(), b"\xff" * 64)
        time.sleep(60)
    elif how == "ready":
        os.write(_connection(), b"\x02\0\0\0\x91\x01")
        time.sleep(60)
    elif how == "nonsense":
        os.write(_connection(), b"\x01\0\0\0\xc0")
        time.sleep(60)


def _connection() -> int:
    """The descriptor over which the child takes its calls."""
    return int(sys.orig_argv[-3])


@task
def sleep(ctx: Context, seconds: float, started: str | None = None) -> str:
    if started is not None:
        _leave(started, str(os.getpid()))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ctx.cancelled:
            return "cancelled"
        time.sleep(0.005)
    return "slept"


@task
def deaf(ctx: Context, seconds: float, started: str) -> None:
    _leave(started, str(os.getpid()))
    time.sleep(seconds)


@task
def hog(ctx: Context, seconds: int, started: str) -> None:
    """Keep the interpreter's lock: nothing else in this process runs."""
    _leave(started, str(os.getpid()))
    ctypes.PyDLL(None).sleep(seconds)


@task
def offspring(ctx: Context, started: str) -> None:
    """Start a process that outlives the attempt."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    _leave(started, f"{os.getpid()} {child.pid}")
    child.returncode = 0  # nobody waits for it


@task
def fork_and_die(ctx: Context, started: str) -> None:
    """Leave a fork behind that holds all descriptors, and crash."""
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    _leave(started, str(pid))
    os._exit(3)


@task
def burn(ctx: Context) -> NoReturn:
    number = 0
    while True:
        number += 1


@task
def burn_in_c(ctx: Context) -> None:
    sum(range(10**12))


@task
def swallow(ctx: Context) -> None:
    while True:
        try:
            burn(ctx)
        except BaseException:
            continue


@task
def eat(ctx: Context, size: int) -> int:
    return len(bytearray(size))


@task
def leak(ctx: Context, size: int) -> int:
    _leaked.append(b"x" * size)
    return os.getpid()


_leaked: list[bytes] = []


@task
def progress(ctx: Context, times: int, pause: float, after: float) -> None:
    for number in range(1, times + 1):
        ctx.progress(number / times, f"step {number}")
        ctx.heartbeat()
        time.sleep(pause)
    time.sleep(after)


@task
def odd_notes(ctx: Context) -> str:
    ctx.progress(0.1, "x" * 1_000_000)
    ctx.progress(7, "\udcff")
    return "fine"


@task
def late_note(ctx: Context) -> None:
    """Tell of the attempt when it is over."""

    def later() -> None:
        time.sleep(0.15)
        ctx.progress(0.99, "late")

    threading.Thread(target=later).start()


@task
def large(ctx: Context, size: int) -> bytes:
    return b"x" * size


@task
def length(ctx: Context, data: bytes) -> int:
    return len(data)


@task
def unstorable(ctx: Context) -> object:
    return object()


@task
def say(ctx: Context) -> None:
    print("a task prints")


def _leave(place: str, text: str) -> None:
    path = Path(place)
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


not_a_task = 7
