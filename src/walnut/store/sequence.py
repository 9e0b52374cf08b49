"""Sequences and counters: numbers kept by name.

What must stay true: a sequence has no gaps, as a number that was given out by a transaction that left
nothing behind is given again.
"""

from __future__ import annotations

from walnut.store.catalog import SequenceRow
from walnut.store.table import Table
from walnut.store.transaction import Reader, Transaction


class Counter:
    """A number that transactions add to. Made by `Store.counter`."""

    kind = "counter"

    def __init__(self, table: Table[SequenceRow], name: str) -> None:
        self.name = name
        self._table = table

    def value(self, reader: Reader) -> int:
        """Where it stands; 0 if nobody added to it."""
        row = self._table.get(reader, (self.kind, self.name))
        return 0 if row is None else row.value

    def add(self, tx: Transaction, amount: int = 1) -> int:
        """Add to it; returns where it stands then."""
        value = self.value(tx) + amount
        self._table.put(tx, SequenceRow(self.kind, self.name, value))
        return value


class NumberSequence(Counter):
    """Numbers from 1, each given once. Made by `Store.sequence`."""

    kind = "sequence"

    def next(self, tx: Transaction) -> int:
        """The next number."""
        return self.add(tx)


class OwnSequence(NumberSequence):
    """A sequence of the store's own, which no program's has the name of."""

    kind = "walnut"
