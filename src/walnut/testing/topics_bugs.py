"""Deliberate bugs of topics, to prove that their simulator can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from unittest.mock import patch

from walnut.store.transaction import Reader, Transaction
from walnut.topics.appending import Appender
from walnut.topics.producers import Producers
from walnut.topics.rows import Chunk, Rows, Topic
from walnut.topics.sweeping import Sweeper

Patches = list[Any]


def _what_producers_sent_is_not_looked_at() -> Patches:
    """A repeat is appended again."""
    return [patch.object(Producers, "find", lambda *_: None)]


def _topics_are_kept_in_memory() -> Patches:
    """Where a topic ends is taken from memory, also after transactions that came to nothing."""
    honest = Rows.need
    known: dict[tuple[int, str], Topic] = {}

    def need(self: Rows, reader: Reader, name: str) -> Topic:
        if not isinstance(reader, Transaction):
            return honest(self, reader, name)
        topic = honest(self, reader, name)
        kept = known.setdefault((id(self), name), topic)
        if kept.id != topic.id or kept.first != topic.first:
            known[id(self), name] = kept = topic
        return kept

    return [patch.object(Rows, "need", need)]


def _chunks_are_dropped_from_memory_only() -> Patches:
    """Nothing is noted of what is to be deleted."""
    return [patch.object(Sweeper, "_drop", lambda *_: None)]


def _the_chunk_at_the_edge_goes_too() -> Patches:
    """A sweep deletes the chunk that the first offset is in."""

    def chunks(self: Sweeper, tx: Transaction, topic: int, start: int, stop: int) -> list[Chunk]:
        found: list[Chunk] = []
        while start < stop and (chunk := self._rows.chunk_with(tx, topic, start)) is not None:
            found.append(chunk)
            start = chunk.next
        return found

    return [patch.object(Sweeper, "_chunks", chunks)]


def _deleted_at_once_and_forgotten() -> Patches:
    """What is left to delete is forgotten after the first transaction of a sweep."""
    honest = Sweeper._clear_some

    def clear(self: Sweeper, tx: Transaction, number: int) -> Any:
        with patch("walnut.topics.sweeping.SWEEP_CHUNKS", 1):
            part = honest(self, tx, number)
        self._rows.dropped.delete(tx, number)
        part.more = False
        return part

    return [patch.object(Sweeper, "_clear_some", clear)]


def _producers_are_remembered_beside_the_append() -> Patches:
    """What a producer sent is written by a transaction of its own, after the append's."""
    honest_add, honest_append = Producers.add, Appender.append
    waiting: list[tuple[Any, ...]] = []

    def add(self: Producers, _: Transaction, *what: Any) -> None:
        waiting.append((self, *what))

    def append(self: Appender, tx: Transaction, one: Any) -> Any:
        while waiting:
            producers, *what = waiting.pop()
            if self._rows.topics.get(tx, what[0].name) is not None:
                honest_add(producers, tx, *what)
        return honest_append(self, tx, one)

    return [patch.object(Producers, "add", add), patch.object(Appender, "append", append)]


TOPICS_BUGS: Final[dict[str, Callable[[], Patches]]] = {
    name.removeprefix("_").replace("_", "-"): bug
    for name, bug in list(globals().items())
    if name.startswith("_") and callable(bug) and not name.startswith("__")
}
"""Every deliberate bug by name; its docstring says what it is."""
