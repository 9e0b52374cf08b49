"""Waiting for tasks until a moment, and not a moment longer.

What must stay true: when `settle` returns, every task has ended, or was cancelled and is named in what is
returned; a task that ignores its cancellation holds nobody up for longer than `UNWIND_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

UNWIND_SECONDS: Final = 0.5
"""What a cancelled task has for its `finally` blocks. One that takes longer is left behind."""


async def settle(
    tasks: Collection[asyncio.Task[Any]], *, end: float, cut: asyncio.Event | None = None
) -> list[asyncio.Task[Any]]:
    """Wait for tasks, and cancel those that are late.

    Args:
        end: a moment on the loop's clock.
        cut: what ends the waiting before that.

    Returns:
        the late ones, cancelled.
    """
    loop = asyncio.get_running_loop()
    cutter = loop.create_task(cut.wait()) if cut is not None else None
    pending = {task for task in tasks if not task.done()}
    try:
        while pending and not (cutter and cutter.done()) and (left := end - loop.time()) > 0:
            await asyncio.wait(
                {*pending, cutter} if cutter else pending,
                timeout=left,
                return_when=asyncio.FIRST_COMPLETED,
            )
            pending = {task for task in pending if not task.done()}
    finally:
        if cutter:
            cutter.cancel()
        late = [task for task in tasks if not task.done()]
        for task in late:
            task.cancel()
            task.add_done_callback(_look_at)
        if late:
            await asyncio.wait(late, timeout=UNWIND_SECONDS)
    return late


def failure_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What a task that ended raised; a cancellation from elsewhere counts as well."""
    return (
        asyncio.CancelledError("cancelled from outside") if task.cancelled() else task.exception()
    )


def _look_at(task: asyncio.Task[Any]) -> None:
    """What a late task raises while it unwinds is no surprise to report: it is named as late."""
    if not task.cancelled():
        task.exception()
