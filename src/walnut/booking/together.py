"""Requests that share a transaction: those of one turn of an event loop.

    hold    ─┐
    confirm ─┼─▶ the next turn: one transaction, one record ─▶ each gets its answer, or its refusal
    hold    ─┘

They are decided one after another, each on what those before it left, as if each had a transaction of
its own, and share what a transaction costs, which is as much as deciding one. It can be done because
what is refused has written nothing (`planning`).

A record names one caller, so only requests of the same one share it. What is asked under an idempotency
key has a record of its own, with the key, and is remembered with what it was asked for.

What must stay true: a request that is refused is refused alone; nobody is answered before the record of
all of them is durable.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from walnut.booking.errors import BookingError
from walnut.store.caller import Caller
from walnut.store.errors import WrongType
from walnut.store.record import NOBODY, Meta
from walnut.store.remember import fingerprinted, name_of
from walnut.store.store import Store
from walnut.store.transaction import Transaction

T = TypeVar("T")
MOST_TOGETHER: Final = 64
"""Requests in one transaction: the others of a turn get the next, so that none grows too large."""
MOST_CALLERS: Final = 1024
"""Callers whose requests are gathered; with more of them gathering begins anew, which costs each a
transaction that is shared with fewer."""


class Request(msgspec.Struct):
    """What is asked for, and whom to tell."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]
    answer: asyncio.Future[Any]


class Together:
    """What one caller asked for on each event loop and is not decided yet.

    Args:
        store: in the caller's name. once: it is under an idempotency key.
    """

    def __init__(self, store: Caller, *, once: bool = False) -> None:
        self._store = store
        self._once = once
        self._asked: dict[asyncio.AbstractEventLoop, list[Request]] = {}
        self._deciding: set[asyncio.Task[None]] = set()

    async def submit(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """The result of `function(tx, *args, **options)`, a function of this package, once it is
        durable.

        Under an idempotency key that was used before it is not run: the first result is returned, if
        function and arguments are the same. They must be what MessagePack can hold then.

        Raises what the function raises, LogFull, LogFailed; KeyReused, WrongType."""
        if self._once:
            asked_for = fingerprinted(function, fingerprint_of(function, args, options))
            return await self._store.run(asked_for, *args, **options)
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


class Callers:
    """Those in whose names something is asked for, each with what is gathered of theirs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Meta, Together] = {}

    def by(self, meta: Meta = NOBODY) -> Together:
        """Requests in this name. Raises InvalidSetting."""
        if meta.key:
            return Together(self._store.by(meta), once=True)
        known = self._known.get(meta)
        if known is None:
            if len(self._known) >= MOST_CALLERS:
                self._known.clear()
            known = self._known[meta] = Together(self._store.by(meta))
        return known


def fingerprint_of(
    function: Callable[..., object], args: tuple[Any, ...], options: dict[str, Any]
) -> str:
    """16 hex digits of what a request is for. Raises WrongType."""
    try:
        data = msgspec.msgpack.encode([args, options], order="sorted")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WrongType(
            f"{name_of(function)} under an idempotency key is given what can't be kept with it: {error}"
        ) from error
    return hashlib.blake2b(data, digest_size=8).hexdigest()


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
