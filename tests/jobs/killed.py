"""The tasks of the programs that are killed; child processes import this, and never open a store.

What they do outside is a line in a file, appended in one write, so that a kill can't tear it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from walnut.jobs import Context, Happened, Retry, task

AGAIN = Retry(attempts=6, first=0.01, most=0.05)


def note(file: str, *words: object) -> None:
    """Append a line."""
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(handle)


def notes(file: str | Path) -> list[list[str]]:
    """All lines."""
    path = Path(file)
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@task(name="compute", retry=AGAIN)
def compute(context: Context, number: int) -> int:
    """In a child process, which is killed in every fifth first attempt."""
    if number % 5 == 0 and context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


@task(name="pay", retry=AGAIN)
def pay(context: Context, file: str, number: int) -> int:
    """An effect: before it, after it, or not at all, its process is killed; or it takes a while."""
    if context.attempt == 1 and number % 4 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    note(file, context.key)
    if context.attempt == 1 and number % 4 == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if number % 4 == 2:
        time.sleep(random.random() * 0.02)
    return number


@pay.reconcile
def was_paid(context: Context, file: str, number: int) -> Happened | None:
    """Whether the line is there."""
    return Happened(number) if [context.key] in notes(file) else None
