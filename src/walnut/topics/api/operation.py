"""Appending as an operation of transactions over HTTP.

What must stay true: messages are checked before the transaction begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from walnut.store.api.operations import Do, Operation, Operations
from walnut.store.transaction import Transaction
from walnut.topics.api.messages import Given, message_of
from walnut.topics.model import Message
from walnut.topics.topics import Topics
from walnut.web.access import permit


class Append(Operation, tag="append"):
    """Append messages to a topic."""

    topic: str
    messages: list[Given]


def add_operation(operations: Operations, topics: Topics) -> None:
    """Have transactions append to these topics."""

    async def bind(wanted: Append, scope: Mapping[str, Any]) -> Do:
        permit(scope, "topics:write", wanted.topic)
        return partial(_append, topics, wanted.topic, [*map(message_of, wanted.messages)])

    operations.add(Append, bind)


def _append(
    topics: Topics, topic: str, messages: list[bytes | Message], tx: Transaction
) -> dict[str, Any]:
    done = topics.append(tx, topic, messages)
    return {"first": done.first, "next": done.next}
