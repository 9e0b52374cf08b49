"""Whoever calls a store: `run`, `call` and `transaction`, in somebody's name.

What must stay true: every transaction that is not the store's own begins here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec, TypeVar

from walnut.log.commit import on_event_loop, refuse_event_loop
from walnut.store.errors import InvalidSetting
from walnut.store.execution import Answer, Execution
from walnut.store.record import Meta, check_meta
from walnut.store.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")


class Caller:
    """Runs transactions as the given `Meta` says: who, why, under which idempotency key."""

    def __init__(self, execution: Execution, meta: Meta) -> None:
        self._execution = execution
        self._meta = meta

    def run(
        self,
        function: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, T]:
        """Run `function(tx, *args, **kwargs)` as a transaction; its result, once it is durable.

        The function runs alone, on this event loop or in a thread, and must not await. It may be run
        again if its result could not be used, so it has no effect but through `tx`. Under an
        idempotency key that was used before it is not run: the first result is returned.

        Raises what the function raises; AwaitInTransaction, NestedTransaction, StoreClosed,
        KeyReused, LogFull, LogFailed."""
        return self._execution.run(function, args, kwargs, self._meta)

    def call(
        self,
        function: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`run` for threads. Raises as `run`."""
        self._execution.check_nesting()  # first: inside a function there is nothing to await
        refuse_event_loop("Store.call", "`await store.run(...)`")
        return self.submit(function, *args, **kwargs).wait()

    def call_at_start(
        self,
        function: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`call`, also on an event loop, which it stops: for what a program does once, as it opens its
        store. Raises as `run`."""
        self._execution.check_nesting()
        if not on_event_loop():
            return self.call(function, *args, **kwargs)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: self.call(function, *args, **kwargs)).result()

    def submit(
        self,
        function: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Answer[T]:
        """Run the function now, and leave waiting for the disk to `answer.wait()`: so that one thread
        can have many transactions under way. Raises NestedTransaction, StoreClosed, LogFailed; what
        the function raises comes from `wait`."""
        return self._execution.submit(function, args, kwargs, self._meta)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A block that is a transaction: alone, all or nothing, durable when it ends. For threads.

        Raises NestedTransaction, StoreClosed; InvalidSetting with an idempotency key, as a block
        can't be left out; and at its end EndMoved, LogFull, LogFailed."""
        if self._meta.key:
            raise InvalidSetting(
                "a transaction block can't be left out when its idempotency key was used before: make "
                "it a function and use `call`"
            )
        return self._execution.transaction(self._meta)

    def by(self, meta: Meta) -> Caller:
        """The same store for a caller with a name, a reason, perhaps an idempotency key.

        Raises InvalidSetting."""
        check_meta(meta)
        return Caller(self._execution, meta)
