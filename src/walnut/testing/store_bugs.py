"""Deliberate bugs of the store, to prove that its simulator can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from unittest.mock import patch

from walnut.store import declare
from walnut.store.engine import APPLIED_KEY, Batch
from walnut.store.execution import Execution
from walnut.store.keyring import Keyring
from walnut.store.overlay import Overlay
from walnut.store.remember import Memory
from walnut.store.store import Store
from walnut.store.table import Index, Table
from walnut.store.tables import Tables, built_mark
from walnut.testing.engine import ModelEngine

Patches = list[Any]


def _applied_lsn_beside_the_batch() -> Patches:
    """The applied LSN may reach the disk without the batch it belongs to."""
    honest = ModelEngine.write

    def write(self: ModelEngine, batch: Batch, applied: int) -> None:
        self._set(APPLIED_KEY, applied.to_bytes(8, "big"))
        if self._rng.random() < self._flushes:
            self.flush()
        honest(self, batch, applied)

    return [patch.object(ModelEngine, "write", write)]


def _answer_before_apply() -> Patches:
    """Callers are answered while the tables lag behind."""
    honest = Execution.durable

    def durable(self: Execution, lsn: int) -> None:
        honest(self, lsn - 1)

    return [patch.object(Execution, "durable", durable)]


def _apply_before_durable() -> Patches:
    """The tables are written when a transaction is submitted."""
    honest = Overlay.add

    def add(self: Overlay, effect: Any) -> None:
        honest(self, effect)
        for tables in _TABLES:
            tables.apply([effect], effect.lsn)

    made = Tables.__init__

    def init(self: Tables, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        _TABLES[:] = [self]

    return [patch.object(Overlay, "add", add), patch.object(Tables, "__init__", init)]


_TABLES: Final[list[Tables]] = []


def _refused_stays_in_the_overlay() -> Patches:
    """What a full disk turned away is still seen by the transactions after it."""
    return [patch.object(Overlay, "refused", lambda *_: [])]


def _applied_leaves_nothing_for_scans() -> Patches:
    """Scans in transactions look at the tables alone."""
    return [patch.object(Overlay, "between", lambda *_: {})]


def _old_index_entries_stay() -> Patches:
    """An index keeps the entries of rows that changed."""
    honest = Table._reindex

    def reindex(self: Any, tx: Any, key: bytes, old: Any, row: Any, number: Any) -> None:
        honest(self, tx, key, None if old is not None else old, row, number)

    return [patch.object(Table, "_reindex", reindex)]


def _uniqueness_is_not_checked() -> Patches:
    """Two rows may have the same key in a unique index."""
    return [patch.object(Index, "check", lambda *_: None)]


def _keys_destroyed_in_one_place() -> Patches:
    """The other place of the key file still has the key of who was erased."""
    honest = Keyring._save

    def destroy(self: Keyring, numbers: list[int]) -> None:
        for number in numbers:
            self._puncture(number)
            self._ciphers.pop(number, None)
        honest(self)

    return [
        patch.object(Keyring, "destroy", destroy),
        patch.object(Keyring, "mend", lambda _: None),
    ]


def _erased_keys_are_kept() -> Patches:
    """Erasing forgets to destroy the key."""
    return [patch.object(Keyring, "destroy", lambda *_: None)]


def _erasing_waits_for_the_disk() -> Patches:
    """Transactions still read who was erased by one before them that is not durable yet."""
    return [patch.object(Keyring, "without", lambda self, _: self)]


def _entries_of_the_erased_stay() -> Patches:
    """Erasing leaves the private index entries where they are."""
    honest = Tables._erase

    def erase(self: Tables, effect: Any, _: Batch) -> None:
        honest(self, effect, Batch({}, []))

    return [patch.object(Tables, "_erase", erase)]


def _an_entry_has_no_owner() -> Patches:
    """Erasing drops an index entry that has passed on to another subject."""

    def erase(self: Any, effect: Any, private: Batch) -> None:
        self._keyring.destroy(effect.erased)
        for number in effect.erased:
            prefix = b"\x80\0\0\0" + number.to_bytes(8, "big")
            for key, _ in self.private.walk(prefix, prefix + b"\xff" * 8):
                private.writes[key] = private.writes[key[len(prefix) :]] = None

    return [patch.object(Tables, "_erase", erase)]


def _a_mark_outlives_what_it_marks() -> Patches:
    """A private index counts as built although its entries went with the private tables."""

    def is_built(read: Callable[[bytes], bytes | None], index: int) -> bool:
        return read(built_mark(index)) is not None

    return [patch.object(declare, "is_built", is_built)]


def _checkpoint_that_is_none() -> Patches:
    """The log is let go of although the tables were not flushed."""
    return [patch.object(Tables, "flush", lambda self: self.applied)]


def _results_are_not_remembered() -> Patches:
    """A function runs again under the same idempotency key."""
    return [patch.object(Memory, "recall", lambda *_: None)]


def _closing_keeps_no_checkpoint() -> Patches:
    """Closing a store does not flush its tables."""
    honest = Store.close

    def close(self: Store) -> None:
        with patch.object(Tables, "flush", lambda _: 0):
            honest(self)

    return [patch.object(Store, "close", close)]


STORE_BUGS: Final[dict[str, Callable[[], Patches]]] = {
    name.removeprefix("_").replace("_", "-"): bug
    for name, bug in list(globals().items())
    if name.startswith("_") and callable(bug) and not name.startswith("__")
}
"""Every deliberate bug by name; its docstring says what it is."""
