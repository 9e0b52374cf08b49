"""What several tests of topics need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.store.helpers import SMALL
from walnut.store import Store
from walnut.testing.disk import SimClock
from walnut.topics import Topics, TopicsOptions

SECOND = 10**9


@contextmanager
def topics_in(
    path: Path, options: TopicsOptions | None = None, *, clock: SimClock | None = None
) -> Iterator[Topics]:
    """The topics of a store in a directory, perhaps on a clock that is moved by hand."""
    settings = SMALL
    if clock is not None:
        log = msgspec.structs.replace(SMALL.log, clock=clock)
        settings = msgspec.structs.replace(SMALL, log=log)
    with Store(path, settings) as store:
        yield Topics(store, options)


def values(topics: Topics, name: str, start: int = 0) -> list[bytes]:
    """The values of all messages from an offset on, read in slices."""
    found: list[bytes] = []
    while part := topics.read(topics.store, name, start).messages:
        assert [message.offset for message in part] == list(range(start, start + len(part)))
        found += [message.value for message in part]
        start += len(part)
    return found


def held(topics: Topics) -> int:
    """How many chunks there are, of all topics."""
    return topics.store.declared("topics.chunks").count(topics.store)
