"""A checker of strict serialisability, which knows nothing of the store.

It is given operations of concurrent callers, each with when it began and ended (a counter that every
caller draws from), what it read and what it wrote; and it looks for one order of all of them in which
each read what the writes before it left, and none comes before one that ended before it began. Every
write has a value of its own, so that a read tells which write it saw: then the order of writes to a key
is a chain, each write naming the one it replaced, and the search is a search for a cycle (Adya, Liskov
and O'Neil, "Generalized Isolation Level Definitions", ICDE 2000; Kingsbury and Alvaro, "Elle", VLDB 2020).
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import msgspec


class Operation(msgspec.Struct, frozen=True):
    """One transaction as its caller saw it.

    Attributes:
        name: of its own.
        began, ended: draws of the shared counter.
        reads: key to the name of the operation whose value was read; "" is the initial one.
        writes: keys written, each of which it also read.
    """

    name: str
    began: int
    ended: int
    reads: dict[str, str]
    writes: frozenset[str]


def violation(history: list[Operation]) -> str | None:
    """Why no such order exists, or None if one does."""
    by_name = {operation.name: operation for operation in history}
    followed: dict[tuple[str, str], str] = {}
    for operation in history:
        for key in operation.writes:
            before = (key, operation.reads[key])
            if before in followed:
                return (
                    f"{operation.name} and {followed[before]} both replaced {before}: a lost update"
                )
            followed[before] = operation.name
    edges: dict[str, set[str]] = {name: set() for name in by_name}
    for operation in history:
        for key, writer in operation.reads.items():
            if writer and (writer not in by_name or key not in by_name[writer].writes):
                return f"{operation.name} read {key} of {writer}, which never wrote it"
            if writer:
                edges[operation.name].add(writer)
            overwriter = followed.get((key, writer))
            if overwriter is not None and overwriter != operation.name:
                edges[overwriter].add(operation.name)
    _real_time(history, edges)
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return f"a cycle: {' -> '.join(error.args[1])}"
    return None


def _real_time(history: list[Operation], edges: dict[str, set[str]]) -> None:
    """Each operation comes after all that ended before it began. A chain of milestones stands for
    those, so that there is an edge or two for each operation and not one for each pair."""
    moments = sorted(
        [(operation.ended, True, operation.name) for operation in history]
        + [(operation.began, False, operation.name) for operation in history]
    )
    milestone = ""
    for moment, ended, name in moments:
        if ended:
            edges[f"@{moment}"] = {name} | ({milestone} if milestone else set())
            milestone = f"@{moment}"
        elif milestone:
            edges[name].add(milestone)
