"""The store's routes: tables, transactions, the change feed, the log, backups.

    reading, writing ── rows, operations ── tables      what a request may touch, and how it looks
    feed, records                                       streams of the log
    copies                                              backups, checkpoints
    asking                                              in whose name, once only, as of which LSN
    once                                                work that is no transaction, once only

What must stay true: no logic of the store is here; what a route does could be done by `Store`'s own
methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from walnut.store.api import copies, feed, reading, records, writing
from walnut.store.api.once import Once
from walnut.store.api.operations import Operations
from walnut.store.api.tables import Tables
from walnut.store.backups import Backups
from walnut.store.store import Store
from walnut.subsystem.model import Resources
from walnut.subsystem.owners import Owners

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


def routes(resources: Resources) -> Sequence[ControllerRouterHandler]:
    """All of them, of the `Store`, `Owners` and `Backups` that were provided; provides `Operations`, to
    which other subsystems add what a transaction may consist of. Raises NotProvided."""
    store = resources.find(Store)
    once = Once(store)
    tables = Tables(store, resources.find(Owners))
    operations = Operations(tables)
    resources.provide(operations)
    return [
        *reading.routes(tables),
        *writing.routes(tables, operations, once),
        *feed.routes(tables),
        *records.routes(store, once),
        *copies.routes(resources.find(Backups), once),
    ]
