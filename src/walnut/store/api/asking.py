"""From a request to the store and back: in whose name, once only, as of which LSN.

    request ─▶ Meta ─▶ store.by(meta).run(function) ─▶ Done: its result, its LSN, whether it is a repeat

What must stay true: what an idempotency key is compared by is the whole request; the LSN that an answer
tells is one whose state holds what the answer says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from walnut.log.model import MAX_LSN
from walnut.store.errors import KeyReused
from walnut.store.record import Meta
from walnut.store.remember import fingerprinted, name_of
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.web.caller import caller_of
from walnut.web.errors import InvalidRequest
from walnut.web.idempotency import fingerprint
from walnut.web.paging import MOST
from walnut.web.positions import REACH_SECONDS, position

T = TypeVar("T")
LARGEST: Final = 1 << 63
"""Numbers of callers are below it: they fit into MessagePack and into a key."""


class Kept(msgspec.Struct, frozen=True):
    """What is remembered of a request under its idempotency key."""

    lsn: int
    result: Any


class Done(msgspec.Struct, Generic[T], frozen=True):
    """What a request did.

    Attributes:
        result: of its function. lsn: of its transaction, or of the state it saw if it wrote nothing.
        repeated: it had been done before, under the same idempotency key.
    """

    result: T
    lsn: int
    repeated: bool

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says of it beside its content."""
        return position(self.lsn, replayed=self.repeated)


def meta_of(scope: Mapping[str, Any]) -> Meta:
    """In whose name the request of this ASGI scope writes."""
    caller = caller_of(scope)
    return Meta(caller.principal, caller.reason, caller.request_id, caller.idempotency_key)


async def write(
    store: Store,
    scope: Mapping[str, Any],
    body: bytes,
    kind: type[T],
    function: Callable[[Transaction], T],
) -> Done[T]:
    """Run a function as the transaction of a request, once for each idempotency key.

    Args:
        body: of the request, which a repeat has to have as well.
        kind: of the result: a Struct, or a type that MessagePack knows.

    Raises KeyReused, and as `Store.run`."""
    meta = meta_of(scope)
    ran = False

    def run(tx: Transaction) -> Kept:
        nonlocal ran
        ran = True
        result = function(tx)
        wrote = meta.key or tx.writes or tx.hidden or tx.ranges or tx.erased
        return Kept(tx.lsn if wrote else tx.lsn - 1, result)

    # Of a partial function its own name, and not what it is given: names are kept, and shown.
    run.__qualname__ = name_of(getattr(function, "func", function))
    asked = fingerprinted(run, fingerprint(scope, body)) if meta.key else run
    try:
        kept = await store.by(meta).run(asked)
    except KeyReused as error:  # whose words are of functions, as the library's caller knows them
        raise KeyReused(
            f"the idempotency key {meta.key!r} came with another request before (its method, path, query "
            "or body differ): give each request a key of its own"
        ) from error
    if ran:
        return Done(kept.result, kept.lsn, repeated=False)
    return Done(msgspec.convert(kept.result, kind), kept.lsn, repeated=True)


async def reached(store: Store, at_least: int) -> int:
    """Wait until the state after `at_least` can be read; the LSN of what can. Raises NotReached."""
    if at_least:
        await store.reached(checked("at_least", at_least, 0, MAX_LSN), REACH_SECONDS)
    return store.applied_lsn


def checked(name: str, value: int, low: int, high: int) -> int:
    """A parameter, if it is in its range. Raises InvalidRequest."""
    if not low <= value <= high:
        what = f"{name} is {str(value)[:40]}: it is a number from {low} to {high}"
        raise InvalidRequest(what, {"at": f"query.{name}", "message": what})
    return value


def page_size(limit: int) -> int:
    """How many items a page may have. Raises InvalidRequest."""
    return checked("limit", limit, 1, MOST)
