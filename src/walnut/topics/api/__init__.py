"""The routes of topics: appending, reading, following, groups, and topics themselves.

    appending, lines ── messages        what comes in: one, many, a stream of lines
    reading, socket ── messages         what goes out: pages, tails as NDJSON, SSE or WebSocket
    care                                topics and the positions of groups

What must stay true: no logic of topics is here; what a route does could be done by `Topics`' own
methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from walnut.store.api.operations import Operations
from walnut.subsystem.model import Resources
from walnut.topics.api import appending, care, lines, reading, socket
from walnut.topics.api.operation import add_operation
from walnut.topics.topics import Topics

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


def routes(resources: Resources) -> Sequence[ControllerRouterHandler]:
    """All of them, of the `Topics` that were provided; makes appending an operation of transactions
    over HTTP. Raises NotProvided."""
    topics = resources.find(Topics)
    add_operation(resources.find(Operations), topics)
    return [
        *care.routes(topics),
        *appending.routes(topics),
        *lines.routes(topics),
        *reading.routes(topics),
        *socket.routes(topics),
    ]
