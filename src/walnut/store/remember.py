"""Idempotency keys: what was done under a key is not done again; its first result is returned.

What must stay true: the result is written by the transaction that has the effect, so the two are there
together or not at all.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from walnut.store.catalog import Done
from walnut.store.errors import KeyReused, WrongType
from walnut.store.table import Table
from walnut.store.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")
_FORGOTTEN_AT_ONCE = 1000


class Recalled(msgspec.Struct):
    """A result that was kept."""

    result: Any


class Memory:
    """Results by principal and idempotency key, for `seconds`."""

    def __init__(self, table: Table[Done], seconds: float) -> None:
        self._table = table
        self._nanoseconds = int(seconds * 1e9)

    def recall(self, tx: Transaction, function: Callable[..., Any]) -> Recalled | None:
        """What the function returned under this transaction's key, if it ran before.

        Raises KeyReused if something else ran under it."""
        done = self._table.get(tx, (tx.meta.principal, tx.meta.key))
        if done is None or tx.time - done.time > self._nanoseconds:
            return None
        if done.function != name_of(function):
            raise KeyReused(
                f"the idempotency key {tx.meta.key!r} belongs to a run of {done.function}, and this is "
                f"{name_of(function)}: give each request a key of its own"
            )
        return Recalled(msgspec.msgpack.decode(done.result, type=_result_type(function)))

    def keep(self, tx: Transaction, function: Callable[..., Any], result: object) -> None:
        """Remember a result. Raises WrongType if it can't be stored."""
        try:
            data = msgspec.msgpack.encode(result)
        except (TypeError, ValueError, OverflowError) as error:
            raise WrongType(
                f"{name_of(function)} ran under an idempotency key and what it returned can't be "
                f"kept: {error}"
            ) from error
        meta = tx.meta
        self._table.put(tx, Done(meta.principal, meta.key, name_of(function), tx.time, data))

    def forget(self, tx: Transaction) -> int:
        """Forget some of the results that are too old; returns how many."""
        old = self._table.indexes["by_time"].scan(
            tx, stop=tx.time - self._nanoseconds, limit=_FORGOTTEN_AT_ONCE
        )
        return sum(self._table.delete(tx, (done.principal, done.key)) for done in old)


def name_of(function: Callable[..., Any] | str) -> str:
    """What a function is called in errors, metrics and remembered results."""
    if isinstance(function, str):
        return function
    return getattr(function, "__qualname__", None) or repr(function)


def fingerprinted(
    function: Callable[Concatenate[Transaction, P], T], fingerprint: str
) -> Callable[Concatenate[Transaction, P], T]:
    """The same function under a name that tells what it is given: so that an idempotency key which
    comes again with something else is KeyReused, and not answered with what it brought before."""

    @functools.wraps(function)
    def same(tx: Transaction, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(tx, *args, **kwargs)

    same.__qualname__ = f"{name_of(function)} of {fingerprint}"
    return same


def _result_type(function: Callable[..., Any]) -> Any:
    try:
        return typing.get_type_hints(function).get("return", Any)
    except (NameError, TypeError):  # names that exist for type checkers only
        return Any
