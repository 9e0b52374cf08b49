"""Running transactions: one after another, answered when they are durable.

    function ─▶ write set ─▶ overlay ─▶ log ─────────▶ durable ─▶ tables ─▶ answered
       next function sees the overlay ─▶ ...             (the log's leader does this)

What must stay true: functions run one at a time, each on the state that all before it left; a record
gets the LSN that was next when its function began, so nothing came in between, and if something did
(others write to the same log, or the disk was full and what the function saw is gone) the function's
result is thrown away; nobody outside, the caller included, learns anything that is not durable.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Generic, ParamSpec, TypeVar

from walnut.log import Log, Ticket
from walnut.log.commit import refuse_event_loop
from walnut.log.errors import EndMoved
from walnut.store.errors import AwaitInTransaction, Erased, NestedTransaction, StoreClosed
from walnut.store.keyring import Keyring
from walnut.store.model import Metrics, Slow, StoreOptions
from walnut.store.overlay import Overlay
from walnut.store.record import (
    VERSION,
    Commit,
    Hidden,
    Meta,
    hidden_bound,
    pack,
    pack_writes,
)
from walnut.store.remember import Memory, name_of
from walnut.store.schema import seal
from walnut.store.tables import Effect, Tables
from walnut.store.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")
TRIES: Final = 20
_logger = logging.getLogger("walnut.store")


Outcome = tuple[Any, Exception | None, Ticket | None]
"""What running a function gave: its result, its error, and the ticket that says when it may be told."""


class Answer(Generic[T]):
    """The answer of a transaction that was run, to be had once it is durable."""

    def __init__(self, result: T, error: Exception | None, ticket: Ticket | None) -> None:
        self.ticket = ticket
        self._result = result
        self._error = error

    def wait(self, timeout: float | None = None) -> T:
        """What the function returned. Raises what it raised; LogFull, LogFailed; WaitTimeout, and then
        it may still become durable."""
        if self.ticket is not None:
            self.ticket.wait(timeout)
        if self._error is not None:
            raise self._error
        return self._result


class Execution:
    """Runs transactions on a log and its tables. Follows the log, to apply what became durable."""

    def __init__(
        self,
        log: Log,
        tables: Tables,
        keyring: Keyring,
        options: StoreOptions,
        memory: Memory,
        metrics: Metrics,
        began: int,
    ) -> None:
        """`began`: no transaction is decided before that."""
        self.overlay = Overlay()
        self._log = log
        self._tables = tables
        self._keyring = keyring
        self._slow_seconds = options.slow_seconds
        self._memory = memory
        self._metrics = metrics
        self._clock = options.log.clock
        self._order = threading.Lock()
        self._owner = 0
        self._last: Ticket | None = None
        self._time = began
        self.closed = False
        log.follow(self)

    # -- following the log ----------------------------------------------------------------------

    def durable(self, lsn: int) -> None:
        """See `log.Follower`."""
        effects = self.overlay.durable(lsn)
        if effects:
            started = time.perf_counter()
            self._tables.apply(effects, lsn)
            self.overlay.applied()
            metrics = self._metrics
            metrics.durable.observe(1e6 * (started - effects[0].began))
            metrics.applies += 1
            metrics.applied += len(effects)
            metrics.apply.observe(1e6 * (time.perf_counter() - started))
            for effect in effects:
                for function, args in effect.then:
                    self._tell(function, args)

    def _tell(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Call what was to be called after a transaction. What it raises harms nobody: the transaction
        is durable, and those that share its flush have nothing to do with it."""
        try:
            function(*args)
        except Exception:
            self._metrics.after_raised += 1
            _logger.exception("%s, called after a transaction, raised", name_of(function))

    def refused(self, lsn: int) -> None:
        """See `log.Follower`."""
        self._metrics.refused += len(self.overlay.refused(lsn))

    # -- running --------------------------------------------------------------------------------

    async def run(
        self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], meta: Meta
    ) -> T:
        """Run `function(tx, *args, **kwargs)` and return its result once it is durable."""
        if self._order.acquire(blocking=False):
            self._owner = threading.get_ident()
            try:
                outcome = self._decide(function, args, kwargs, meta, defer=False)
            finally:
                self._release()
        else:  # a thread is in its function: wait for it in another one
            self.check_nesting()
            outcome = await asyncio.to_thread(
                self._in_turn, function, args, kwargs, meta, defer=False
            )
        result, error, ticket = outcome
        if ticket is not None:
            await ticket
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def submit(
        self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], meta: Meta
    ) -> Answer[T]:
        """Run `function(tx, *args, **kwargs)` now; the answer waits until it is durable."""
        return Answer(*self._in_turn(function, args, kwargs, meta, defer=True))

    def _in_turn(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        meta: Meta,
        *,
        defer: bool,
    ) -> Outcome:
        self._acquire()
        try:
            return self._decide(function, args, kwargs, meta, defer=defer)
        finally:
            self._release()

    def _decide(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        meta: Meta,
        *,
        defer: bool,
    ) -> Outcome:
        """Run the function, again if others appended to the log meanwhile. Raises EndMoved."""
        for _ in range(TRIES):
            try:
                return self._execute(function, args, kwargs, meta, defer=defer)
            except EndMoved:
                self._metrics.reruns += 1
        raise EndMoved(
            f"{name_of(function)} was run {TRIES} times and each time others appended to the log before "
            "it could commit: let them pass through the store, or try again"
        )

    @contextmanager
    def transaction(self, meta: Meta) -> Iterator[Transaction]:
        """A transaction as a block: committed and durable when it ends, nothing if it raises."""
        self.check_nesting()
        refuse_event_loop("Store.transaction", "`await store.run(function)`")
        error: Exception | None = None
        self._acquire()
        try:
            seen = self._undecided()
            tx = self._begin(meta)
            started = time.perf_counter()
            try:
                yield tx
                ticket = self._commit(tx, seen, started, defer=True)
            except Exception as raised:
                self._metrics.raised += 1
                error, ticket = raised, self._basis(seen)
            finally:
                tx.finished = True
                self._observe("a transaction block", tx, started)
        finally:
            self._release()
        if ticket is not None:
            ticket.wait()
        if error is not None:
            raise error

    def _execute(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        meta: Meta,
        *,
        defer: bool,
    ) -> Outcome:
        seen = self._undecided()
        tx = self._begin(meta)
        started = time.perf_counter()
        try:
            if meta.key and (done := self._memory.recall(tx, function)) is not None:
                self._metrics.repeats += 1
                return done.result, None, self._basis(seen)
            result = _not_awaitable(function, function(tx, *args, **kwargs))
            if meta.key:
                self._memory.keep(tx, function, result)
            return result, None, self._commit(tx, seen, started, defer=defer)
        except EndMoved:
            raise
        except Exception as error:
            self._metrics.raised += 1
            return None, error, self._basis(seen)
        finally:
            tx.finished = True
            self._observe(function, tx, started)

    def _begin(self, meta: Meta) -> Transaction:
        if self.closed:
            raise StoreClosed("the store was closed: open it again to go on")
        self._time = max(self._clock(), self._time)
        keyring, erasing = self._keyring, self.overlay.erasing
        if erasing:
            keyring = keyring.without(erasing)
        return Transaction(
            self._tables, self.overlay, keyring, self._log.next_lsn, self._time, meta
        )

    def _commit(
        self, tx: Transaction, seen: Ticket | None, began: float, *, defer: bool
    ) -> Ticket | None:
        if not (tx.writes or tx.hidden or tx.ranges or tx.erased):
            self._metrics.reads += 1
            return self._basis(seen)
        lsn, keyring = tx.lsn, self._keyring
        for key, number in tx.sealed.items():
            plain = tx.writes[key]
            if plain is not None:
                tx.writes[key] = seal(key, plain, number, lsn, keyring)
        hidden: list[Hidden] = []
        for number, writes in tx.hidden.items():
            with suppress(Erased):  # a moment ago, and all that is hidden about them goes with that
                sealed = keyring.seal(number, pack_writes(writes), hidden_bound(lsn))
                hidden.append(Hidden(number, sealed))
        record = pack(
            Commit(
                VERSION,
                tx.time,
                tx.writes,
                tx.meta,
                tx.seed,
                tx.before,
                hidden,
                tx.ranges,
                tx.erased,
            )
        )
        self.overlay.add(Effect(lsn, tx.writes, tx.private, tx.ranges, tx.erased, tx.then, began))
        try:
            ticket = self._last = self._log.submit(record, at=lsn, defer=defer)
        except BaseException:
            self.overlay.refused(lsn)
            raise
        self._metrics.transactions += 1
        return ticket

    def _undecided(self) -> Ticket | None:
        """What the next function may see and is not durable yet."""
        last = self._last
        return None if last is None or last.done else last

    def _basis(self, seen: Ticket | None) -> Ticket | None:
        """When this is durable, everything is that a transaction could have seen: what was undecided as
        it began, even if that was refused meanwhile. Raises LogFailed if it never will be."""
        if seen is None and self._log.failure is not None and len(self.overlay):
            raise self._log.failure
        return seen

    def _acquire(self) -> None:
        self.check_nesting()
        if not self._order.acquire(blocking=False):
            started = time.perf_counter()
            self._order.acquire()
            self._metrics.turn.observe(1e6 * (time.perf_counter() - started))
        self._owner = threading.get_ident()

    def _release(self) -> None:
        self._owner = 0
        self._order.release()

    def check_nesting(self) -> None:
        """Raise NestedTransaction if this thread is in a transaction."""
        if self._owner == threading.get_ident():
            raise NestedTransaction(
                "a transaction was begun inside another one of this thread: hand the outer one on "
                "to whatever needs it"
            )

    def _observe(
        self,
        function: Callable[..., Any] | str,
        tx: Transaction,
        started: float,
    ) -> None:
        seconds = time.perf_counter() - started
        self._metrics.observe_function(seconds)
        if seconds > self._slow_seconds:
            self._metrics.note_slow(Slow(name_of(function), seconds, tx.lsn))


def _not_awaitable(function: Callable[..., Any], result: Any) -> Any:
    if not hasattr(result, "__await__"):
        return result
    if inspect.iscoroutine(result):
        result.close()
    raise AwaitInTransaction(
        f"{name_of(function)} is a coroutine function: a transaction runs alone, so give a plain one, "
        "and await before or after it"
    )
