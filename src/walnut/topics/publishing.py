"""Publishing: appends that are made by themselves, where those of an event loop share transactions.

    publish ─┐
    publish ─┼─▶ the next turn: one transaction, one chunk for each topic ─▶ each is answered
    publish ─┘
    publish ───▶ comes while that is under way: waits, and shares the next one

The log syncs one group after another, so who waits for the transaction before loses little by it, and is
in a larger one.

What must stay true: one that can't be appended fails alone; a transaction is not larger than one append
may be; what is published on one event loop, in one name, is appended in that order.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Future
from collections import deque

import msgspec

from walnut.store.record import Meta
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.topics.appending import Appender, Wanted
from walnut.topics.errors import TopicsError
from walnut.topics.model import APPEND_BYTES, Appended, Metrics

Turn = tuple[AbstractEventLoop, Meta]


class Batch(msgspec.Struct):
    """What shares a transaction, whom to tell of it, and how many bytes it is."""

    wanted: list[Wanted]
    told: list[Future[Appended]]
    bytes: int = 0


class Publisher:
    """What was published on each event loop, in whose name, and is not appended yet."""

    def __init__(self, store: Store, appender: Appender, metrics: Metrics) -> None:
        self._store = store
        self._appender = appender
        self._metrics = metrics
        self._lines: dict[Turn, deque[Batch]] = {}
        self._appending: set[asyncio.Task[None]] = set()

    def publish(self, wanted: Wanted, meta: Meta) -> Future[Appended]:
        """Append by itself; answered when it is durable. What waits here is what callers await."""
        loop = asyncio.get_running_loop()
        turn = loop, meta
        size = wanted.columns.bytes
        line = self._lines.get(turn)
        if line is None:
            line = self._lines[turn] = deque()
            loop.call_soon(self._begin, turn, line)
        if not line or line[-1].bytes + size > APPEND_BYTES:
            line.append(Batch([], []))
        batch = line[-1]
        told: Future[Appended] = loop.create_future()
        batch.wanted.append(wanted)
        batch.told.append(told)
        batch.bytes += size
        return told

    def _begin(self, turn: Turn, line: deque[Batch]) -> None:
        task = turn[0].create_task(self._append(turn, line))
        self._appending.add(task)
        task.add_done_callback(self._appending.discard)

    async def _append(self, turn: Turn, line: deque[Batch]) -> None:
        try:
            while line:
                await self._together(line.popleft(), turn[1])
        finally:
            del self._lines[turn]
            for batch in line:  # the loop ends
                for told in batch.told:
                    told.cancel()

    async def _together(self, batch: Batch, meta: Meta) -> None:
        metrics = self._metrics
        metrics.publishes += len(batch.wanted)
        metrics.batches += 1
        try:
            results = await self._store.by(meta).run(_publish, self._appender, batch.wanted)
        except asyncio.CancelledError:  # the loop ends
            for told in batch.told:
                told.cancel()
            raise
        except Exception as error:
            for told in batch.told:
                if not told.done():
                    told.set_exception(error)
            return
        for told, result in zip(batch.told, results, strict=True):
            if told.done():  # whoever published was cancelled; the message is there all the same
                continue
            if isinstance(result, TopicsError):
                told.set_exception(result)
            else:
                told.set_result(result)


def _publish(
    tx: Transaction, appender: Appender, wanted: list[Wanted]
) -> list[Appended | TopicsError]:
    """What `walnut.store` names in its metrics."""
    return appender.append_all(tx, wanted)
