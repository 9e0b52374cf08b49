"""Graphs: jobs that come after one another, given all at once and by name.

What must stay true: what is returned can be enqueued in its order, as nothing stands before what it comes
after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

from walnut.jobs.errors import CycleInGraph, UnknownJob
from walnut.jobs.tasks import Task


class Node(msgspec.Struct, frozen=True):
    """A job of a graph: a task, its arguments, and the names of those it comes after."""

    task: Task[..., Any]
    args: tuple[Any, ...] = ()
    after: Sequence[str] = ()


def in_order(nodes: Mapping[str, Node]) -> list[str]:
    """The names, each behind those it comes after. Raises CycleInGraph, UnknownJob."""
    for name, node in nodes.items():
        for before in node.after:
            if before not in nodes:
                raise UnknownJob(f"{name} comes after {before}, which is not in the graph")
    try:
        return list(
            TopologicalSorter({name: node.after for name, node in nodes.items()}).static_order()
        )
    except CycleError as error:
        circle = " after ".join(error.args[1])
        raise CycleInGraph(f"these jobs wait for one another: {circle}") from error
