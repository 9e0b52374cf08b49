"""Requests that share a transaction: those of one turn of an event loop.

    hold    ─┐
    confirm ─┼─▶ the next turn: one transaction, one record ─▶ each gets its answer, or its refusal
    hold    ─┘

They are decided one after another, each on what those before it left, as if each had a transaction of
its own, and share what a transaction costs, which is as much as deciding one. It can be done because
what is refused has written nothing (`planning`).

What must stay true: a request that is refused is refused alone; nobody is answered before the record of
all of them is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from walnut.booking.errors import BookingError
from walnut.store.caller import Caller
from walnut.store.transaction import Transaction

T = TypeVar("T")
MOST_TOGETHER: Final = 64
"""Requests in one transaction: the others of a turn get the next, so that none grows too large."""


class Request(msgspec.Struct):
    """What is asked for, and whom to tell."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]
    answer: asyncio.Future[Any]


class Together:
    """What was asked for on each event loop and is not decided yet."""

    def __init__(self, store: Caller) -> None:
        self._store = store
        self._asked: dict[asyncio.AbstractEventLoop, list[Request]] = {}
        self._deciding: set[asyncio.Task[None]] = set()

    async def submit(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """The result of `function(tx, *args, **options)`, a function of this package, once it is
        durable. In the name of whom `store.by(...)` gave, and without a key: for one use
        `store.by(...).run`.

        Raises what the function raises, LogFull, LogFailed."""
        loop = asyncio.get_running_loop()
        asked = self._asked.setdefault(loop, [])
        if not asked:
            loop.call_soon(self._next_turn, loop)
        answer: asyncio.Future[T] = loop.create_future()
        asked.append(Request(function, args, options, answer))
        return await answer

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        asked = self._asked.pop(loop)
        for first in range(0, len(asked), MOST_TOGETHER):
            task = loop.create_task(self._decide(asked[first : first + MOST_TOGETHER]))
            self._deciding.add(task)
            task.add_done_callback(self._deciding.discard)

    async def _decide(self, asked: list[Request]) -> None:
        try:
            outcomes = await self._store.run(_all, asked)
        except Exception as error:
            if len(asked) == 1:
                _tell(asked[0], error)
                return
            for one in asked:  # what failed is one of them, or the store; alone each learns which
                await self._decide([one])
            return
        for one, outcome in zip(asked, outcomes, strict=True):
            _tell(one, outcome)


def _all(tx: Transaction, asked: list[Request]) -> list[Any]:
    outcomes: list[Any] = []
    for one in asked:
        try:
            outcomes.append(one.function(tx, *one.args, **one.options))
        except BookingError as refusal:
            outcomes.append(refusal)
    return outcomes


def _tell(one: Request, outcome: Any) -> None:
    if one.answer.done():  # whoever asked was cancelled; it is done all the same
        return
    if isinstance(outcome, Exception):
        one.answer.set_exception(outcome)
    else:
        one.answer.set_result(outcome)
