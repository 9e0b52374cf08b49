"""`Once`: work that is no transaction, done once for each idempotency key all the same.

    remembered? ── yes ──▶ its result, as a repeat
        └ no ─▶ under way in this process? ── yes ──▶ wait for it
                    └ no ─▶ do it ─▶ remember its result, in a transaction

What must stay true: what has been answered under a key is not done again under it. A crash between the
work and the remembering leaves it to be done again; that is why only what may be is done here (a backup
that was under way ended with the process).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from walnut.store.api.asking import write
from walnut.store.errors import KeyReused
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.web.caller import caller_of
from walnut.web.idempotency import fingerprint
from walnut.web.positions import REPLAYED_HEADER

T = TypeVar("T")


class _NotYet(Exception):
    """Nothing is remembered under the key. Undoes the transaction that has looked."""


class Once:
    """Does work of requests to this store. What is under way is bounded by the server's own limit on
    requests."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: dict[tuple[str, str], tuple[str, asyncio.Task[Any]]] = {}

    async def __call__(
        self,
        scope: Mapping[str, Any],
        asked: Any,
        kind: type[T],
        work: Callable[[], Awaitable[T]],
    ) -> tuple[T, dict[str, str]]:
        """The result of a request's work and the headers that say whether it is a repeat.

        Args:
            asked: the request's body as it was read; a repeat has to have it as well.
            kind: of the result: a Struct, or a type that MessagePack knows.

        Raises KeyReused, and whatever the work does; then nothing is remembered."""
        caller = caller_of(scope)
        if not caller.idempotency_key:
            return await work(), {}
        name = (caller.principal, caller.idempotency_key)
        body = msgspec.json.encode(asked)
        print_ = fingerprint(scope, body)
        if name in self._running:
            other, task = self._running[name]
            if other != print_:
                raise KeyReused(
                    f"the idempotency key {caller.idempotency_key!r} came with another request, which is "
                    "under way: give each request a key of its own"
                )
            result, _ = await asyncio.shield(task)
            return result, {REPLAYED_HEADER: "true"}
        task = asyncio.create_task(self._look_or_do(scope, body, kind, work))
        self._running[name] = print_, task
        task.add_done_callback(lambda _: self._running.pop(name))
        # A client that hangs up does not undo what was begun: it is remembered for its next try.
        result, repeated = await asyncio.shield(task)
        return result, {REPLAYED_HEADER: "true"} if repeated else {}

    async def _look_or_do(
        self,
        scope: Mapping[str, Any],
        body: bytes,
        kind: type[T],
        work: Callable[[], Awaitable[T]],
    ) -> tuple[T, bool]:
        done: list[T] = []

        def once(tx: Transaction) -> T:
            del tx
            if not done:
                raise _NotYet
            return done[0]

        try:
            return (await write(self._store, scope, body, kind, once)).result, True
        except _NotYet:
            done.append(await work())
        return (await write(self._store, scope, body, kind, once)).result, False
