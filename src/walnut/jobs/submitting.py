"""Jobs that are enqueued by themselves: those of one turn of an event loop share a transaction.

    submit ─┐
    submit ─┼─▶ the next turn: one transaction, one record ─▶ each is answered
    submit ─┘

A transaction costs about as much as enqueueing two jobs, and nobody can tell that others were in it.

What must stay true: one that can't be enqueued fails alone; the others are as if it had not been there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from walnut.jobs.model import Job
from walnut.store.store import Store
from walnut.store.transaction import Transaction

Enqueue = Callable[..., Job]


class Wanted(msgspec.Struct):
    """A job to be enqueued, and whom to tell."""

    args: tuple[Any, ...]
    options: dict[str, Any]
    made: asyncio.Future[Job]


class Submissions:
    """What was submitted on each event loop and is not enqueued yet."""

    def __init__(self, store: Store, enqueue: Enqueue) -> None:
        self._store = store
        self._enqueue = enqueue
        self._wanted: dict[asyncio.AbstractEventLoop, list[Wanted]] = {}
        self._enqueueing: set[asyncio.Task[None]] = set()

    async def submit(self, args: tuple[Any, ...], options: dict[str, Any]) -> Job:
        """A job, once it is durable. Raises what enqueueing does."""
        loop = asyncio.get_running_loop()
        wanted = self._wanted.setdefault(loop, [])
        if not wanted:
            loop.call_soon(self._next_turn, loop)
        made: asyncio.Future[Job] = loop.create_future()
        wanted.append(Wanted(args, options, made))
        return await made

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        task = loop.create_task(self._together(self._wanted.pop(loop)))
        self._enqueueing.add(task)
        task.add_done_callback(self._enqueueing.discard)

    async def _together(self, wanted: list[Wanted]) -> None:
        try:
            made = await self._store.run(self._all, wanted)
        except Exception as error:
            if len(wanted) == 1:
                _tell(wanted[0], error)
                return
            for one in wanted:
                await self._together([one])
            return
        for one, job in zip(wanted, made, strict=True):
            _tell(one, job)

    def _all(self, tx: Transaction, wanted: list[Wanted]) -> list[Job]:
        return [self._enqueue(tx, *one.args, **one.options) for one in wanted]


def _tell(one: Wanted, what: Job | Exception) -> None:
    if one.made.done():  # whoever wanted it was cancelled; the job is there all the same
        return
    if isinstance(what, Job):
        one.made.set_result(what)
    else:
        one.made.set_exception(what)
