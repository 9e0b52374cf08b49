"""The jobs of a server: seen, and put right by hand.

What must stay true: a job is named by its id, or by so many first digits (8 or more) that no other
begins so; what is ambiguous changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from walnut.client.transport import Query, Transport, part

Pages = Callable[[str, type[Any], Query | None], Iterator[Any]]


class Queue(msgspec.Struct, frozen=True):
    """A queue.

    Attributes:
        jobs: how many are in each state. live: how many have not ended.
        oldest: when the ready job was enqueued that was enqueued first, ns; 0 for none.
        failures: attempts that raised, of jobs that have not ended.
        paused: since when (ns) and by whom, if it is.
    """

    queue: str
    jobs: dict[str, int]
    live: int = 0
    oldest: int = 0
    failures: int = 0
    paused: dict[str, Any] | None = None


class Jobs:
    """Jobs and queues. Made by `Client.jobs`. Jobs come as dicts, with times as ISO 8601 in UTC.

    Everything raises Refused in one of its kinds, Unreachable, BadAnswer; writes also OutcomeUnknown.
    """

    def __init__(self, transport: Transport, pages: Pages) -> None:
        self._transport = transport
        self._pages = pages

    def queues(self) -> list[Queue]:
        """The queues, by name, as of a second ago."""
        return list(self._pages("/v1/jobs/queues", Queue, None))

    def list(
        self,
        *,
        states: tuple[str, ...] = (),
        queue: str | None = None,
        task: str | None = None,
        tenant: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Jobs, the newest first."""
        query: Query = {
            "state": ",".join(states) or None, "queue": queue, "task": task, "tenant": tenant,
        }  # fmt: skip
        return self._pages("/v1/jobs", dict, query)

    def dead(
        self, *, queue: str | None = None, task: str | None = None, tenant: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Jobs that failed for good, those first that died last."""
        query: Query = {"queue": queue, "task": task, "tenant": tenant}
        return self._pages("/v1/jobs/dead", dict, query)

    def get(self, job: str, *, past: bool = False) -> dict[str, Any]:
        """All about a job; with `past` also its history, which is read from the log.

        Raises NotThere, Conflict (several begin so)."""
        answer = self._transport.request("GET", f"/v1/jobs/{part(job)}", query={"past": past})
        found: dict[str, Any] = msgspec.json.decode(answer.body)
        return found

    def retry(self, job: str, *, key: str | None = None) -> int:
        """Give a job that is dead or was cancelled a new beginning; the LSN. Raises NotThere, Conflict."""
        return self._write("POST", f"/v1/jobs/{part(job)}/retry", key)

    def cancel(self, job: str, *, key: str | None = None) -> int:
        """End a job that has not ended; the client's reason becomes its error. Raises as `retry`."""
        return self._write("POST", f"/v1/jobs/{part(job)}/cancel", key)

    def drop(self, job: str, *, key: str | None = None) -> int:
        """Forget a job that has ended. Raises as `retry`."""
        return self._write("DELETE", f"/v1/jobs/{part(job)}", key)

    def pause(self, queue: str, *, key: str | None = None) -> int:
        """Start no more jobs of a queue until it is resumed."""
        return self._write("POST", f"/v1/jobs/queues/{part(queue)}/pause", key)

    def resume(self, queue: str, *, key: str | None = None) -> int:
        """Go on with a queue. Raises Conflict: it is not paused."""
        return self._write("POST", f"/v1/jobs/queues/{part(queue)}/resume", key)

    def _write(self, method: str, path: str, key: str | None) -> int:
        return self._transport.request(method, path, key=key).lsn
