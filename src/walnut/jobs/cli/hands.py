"""Who changes jobs for a command: itself, in a store that nobody has open, or the server that has it.

    open_to_write(DIR) ─┬─ nobody has it open ─▶ Here      transactions on the store
                        └─ a server has it ────▶ There     requests to it

What must stay true: what is done to a job is the same, and so is what is said about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import click

from walnut.client.client import Client
from walnut.client.place import client_of, server_of
from walnut.jobs.jobs import Jobs
from walnut.log.errors import LogLocked
from walnut.store.cli.arguments import open_to_write as open_store
from walnut.store.record import Meta
from walnut.store.store import Store

Deed = Literal["retry", "cancel", "drop"]


class Hand(Protocol):
    """Changes jobs and queues."""

    def begin(self, deed: Deed, job: str) -> Callable[[], object]:
        """Begin to do it; what is returned waits for the end. Raises then what refused it."""

    def pause(self, queue: str) -> None:
        """Start no more jobs of a queue."""

    def resume(self, queue: str) -> None:
        """Go on with a queue."""


class Here:
    """The store, open to be changed, and in whose name."""

    def __init__(self, store: Store, meta: Meta) -> None:
        jobs = Jobs(store)
        self._store = store.by(meta)
        self._jobs = jobs
        self._deeds: dict[Deed, tuple[Any, ...]] = {
            "retry": (jobs.retry,), "cancel": (jobs.cancel, meta.reason), "drop": (jobs.drop,),
        }  # fmt: skip

    def begin(self, deed: Deed, job: str) -> Callable[[], object]:
        """See `Hand.begin`."""
        function, *given = self._deeds[deed]
        return self._store.submit(function, job, *given).wait

    def pause(self, queue: str) -> None:
        """See `Hand.pause`."""
        self._store.call(self._jobs.pause, queue)

    def resume(self, queue: str) -> None:
        """See `Hand.resume`."""
        self._store.call(self._jobs.resume, queue)


class There:
    """A server. What it refuses is told in its words, which are those of the same errors."""

    def __init__(self, client: Client, thread: ThreadPoolExecutor) -> None:
        self._jobs = client.jobs
        self._thread = thread

    def begin(self, deed: Deed, job: str) -> Callable[[], object]:
        """See `Hand.begin`. One after another, as one may need that another was done before."""
        return self._thread.submit(getattr(self._jobs, deed), job).result

    def pause(self, queue: str) -> None:
        """See `Hand.pause`."""
        self._jobs.pause(queue)

    def resume(self, queue: str) -> None:
        """See `Hand.resume`."""
        self._jobs.resume(queue)


@contextmanager
def open_to_write(path: str, principal: str, reason: str) -> Iterator[Hand]:
    """Whoever can change the jobs at a place; their tables exist, as they were read before."""
    address = server_of(path)
    if address is not None:
        with (
            client_of(address, principal=principal, reason=reason) as client,
            ThreadPoolExecutor(1) as thread,
        ):
            yield There(client, thread)
        return
    try:
        store = open_store(path)
    except LogLocked as error:
        raise click.ClickException(
            f"{error}. Until it ends, only that program can do this, by its walnut.Jobs"
        ) from error
    with store:
        yield Here(store, Meta(principal, reason))
