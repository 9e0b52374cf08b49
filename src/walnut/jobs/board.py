"""Which job goes next: limits, priorities and fair shares, decided in memory.

    ready jobs ──▶ line per (queue, executor) ──▶ tenants by virtual time ──▶ jobs by rank ──▶ pick
                        │ limits of the queue         │ fair shares
                        └ slots of the executor, resources

A tenant's line holds its next jobs only, a window; the table has them all.

Fair shares are start-time fair queueing (Goyal, Vin, Cheng 1996): each start moves a tenant's virtual
time on by 1 / its share; who is behind goes first; who was away does not save up.

What must stay true: pick never gives more than the limits allow, and what it gave counts as running
until `ended`. All of this can be lost: the table says the same.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final

import msgspec

from walnut.jobs.model import QueueLimits

_NO_LIMITS: Final = QueueLimits()
_TOKEN: Final = 1 - 1e-9
"""Less than one, as buckets are filled in floating point."""


class Entry(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A ready job, as far as choosing needs it. Sorted by rank."""

    rank: int
    job: str
    task: str
    queue: str
    runs: str
    tenant: str


class _Tenant:
    """The next jobs of a tenant in a line."""

    __slots__ = ("edge", "heap", "name", "time", "waits")

    def __init__(self, name: str) -> None:
        self.name = name
        self.heap: list[Entry] = []
        self.edge: Entry | None = None  # what comes after it is in the table only; None: nothing
        self.time = 0.0
        self.waits = False  # in the heap of those who have something to start


class _Line:
    """The jobs of a queue for an executor."""

    __slots__ = ("order", "queue", "runs", "tenants", "time")

    def __init__(self, queue: _Queue, runs: str) -> None:
        self.queue = queue
        self.runs = runs
        self.tenants: dict[str, _Tenant] = {}
        self.order: list[tuple[float, str]] = []
        self.time = 0.0


class _Queue:
    """What all lines of a queue share."""

    __slots__ = ("filled", "limits", "name", "paused", "running", "tenants", "tokens")

    def __init__(self, name: str, limits: QueueLimits) -> None:
        self.name = name
        self.limits = limits
        self.running = 0
        self.tenants: Counter[str] = Counter()  # how many of each are running, on any executor
        self.paused = False
        self.tokens = limits.burst
        self.filled = 0.0

    def room(self, now: float) -> bool:
        """Whether one more may start."""
        limits = self.limits
        if self.paused or (limits.concurrency is not None and self.running >= limits.concurrency):
            return False
        if limits.rate is None:
            return True
        self.tokens = min(limits.burst, self.tokens + (now - self.filled) * limits.rate)
        self.filled = now
        return self.tokens > _TOKEN


class Board:
    """Ready jobs and running ones. For one thread.

    Args:
        resources: what there is. Tasks' needs come with `pick`.
        window: jobs kept of each tenant in a line.
    """

    def __init__(
        self, queues: Mapping[str, QueueLimits], resources: Mapping[str, float], window: int
    ) -> None:
        self._limits = queues
        self._queues: dict[str, _Queue] = {}
        self._lines: dict[tuple[str, str], _Line] = {}
        self._window = window
        self._free = dict(resources)
        self._known: set[str] = set()
        self._running: dict[str, tuple[Entry, Mapping[str, float]]] = {}
        self._again: dict[str, Entry] = {}
        self._turn = 0
        self.unknown: Counter[str] = Counter()
        """Tasks that ready jobs have and this process has not, with how many were left in the table."""

    # -- what there is --------------------------------------------------------------------------

    def offer(self, entry: Entry) -> None:
        """A job is ready."""
        if entry.job in self._known:
            if entry.job in self._running:  # it is ready again before it is known to have ended
                self._again[entry.job] = entry
            return
        line = self._line(entry.queue, entry.runs)
        tenant = self._tenant(line, entry.tenant)
        heap = tenant.heap
        if tenant.edge is not None and entry > tenant.edge:
            return
        heapq.heappush(heap, entry)
        self._known.add(entry.job)
        if len(heap) > 2 * self._window:
            heap.sort()
            for gone in heap[self._window :]:
                self._known.discard(gone.job)
            del heap[self._window :]
            tenant.edge = heap[-1]
        self._line_up(line, tenant)

    def _line_up(self, line: _Line, tenant: _Tenant) -> None:
        if not tenant.waits:
            tenant.waits = True
            tenant.time = max(tenant.time, line.time)
            heapq.heappush(line.order, (tenant.time, tenant.name))

    def _line(self, queue: str, runs: str) -> _Line:
        line = self._lines.get((queue, runs))
        if line is None:
            line = self._lines[queue, runs] = _Line(self._queue(queue), runs)
        return line

    @staticmethod
    def _tenant(line: _Line, name: str) -> _Tenant:
        tenant = line.tenants.get(name)
        if tenant is None:
            tenant = line.tenants[name] = _Tenant(name)
        return tenant

    def _queue(self, name: str) -> _Queue:
        queue = self._queues.get(name)
        if queue is None:
            limits = self._limits.get(name, _NO_LIMITS)
            queue = self._queues[name] = _Queue(name, limits)
        return queue

    def pause(self, names: set[str]) -> None:
        """These queues are paused, all others are not."""
        for name in names:
            self._queue(name)
        for queue in self._queues.values():
            queue.paused = queue.name in names

    def short(self) -> list[tuple[str, str, str]]:
        """Queue, executor and tenant of those who have more in the table and little here."""
        return [
            (line.queue.name, line.runs, tenant.name)
            for line in self._lines.values()
            for tenant in line.tenants.values()
            if tenant.edge is not None and 2 * len(tenant.heap) < self._window
        ]

    def refill(
        self, queue: str, runs: str, tenant: str, entries: list[Entry], *, more: bool
    ) -> None:
        """The first entries that the table has for a tenant, in order; it may have `more`."""
        kept = self._tenant(self._line(queue, runs), tenant)
        kept.edge = None
        for entry in entries:
            self.offer(entry)
        if more and entries:
            kept.edge = entries[-1]

    # -- choosing -------------------------------------------------------------------------------

    def pick(
        self, slots: Mapping[str, int], needs: Mapping[str, Mapping[str, float]], now: float
    ) -> list[Entry]:
        """Jobs to start now; they count as running from here on.

        Args:
            slots: attempts that each executor can begin; those of others wait.
            needs: resources each task takes. Jobs of others are left in the table: see `unknown`.
            now: seconds, from a clock that never goes back.
        """
        left = dict(slots)
        picked: list[Entry] = []
        lines = list(self._lines.values())
        self._turn += 1
        start = self._turn % len(lines) if lines else 0
        for line in lines[start:] + lines[:start]:  # each line is first in its turn
            self._pick_from(line, left, needs, now, picked)
        return picked

    def _pick_from(
        self,
        line: _Line,
        left: dict[str, int],
        needs: Mapping[str, Mapping[str, float]],
        now: float,
        picked: list[Entry],
    ) -> None:
        queue, limits = line.queue, line.queue.limits
        put_off: list[tuple[float, str]] = []
        while line.order and left.get(line.runs, 0) > 0 and queue.room(now):
            time, name = heapq.heappop(line.order)
            tenant = line.tenants[name]
            if not tenant.heap:
                tenant.waits = False
                continue
            entry = tenant.heap[0]
            most = limits.tenant_concurrency
            takes = needs.get(entry.task)
            if takes is None:
                self._known.discard(heapq.heappop(tenant.heap).job)
                self.unknown[entry.task] += 1
                heapq.heappush(line.order, (time, name))
                continue
            if (most is not None and queue.tenants[name] >= most) or not self._has(takes):
                put_off.append((time, name))
                continue
            heapq.heappop(tenant.heap)
            line.time = max(line.time, time)
            tenant.time = time + 1 / limits.shares.get(name, 1.0)
            heapq.heappush(line.order, (tenant.time, name))
            self._begin(queue, entry, takes)
            left[line.runs] -= 1
            picked.append(entry)
        for waiting in put_off:
            heapq.heappush(line.order, waiting)

    def _has(self, takes: Mapping[str, float]) -> bool:
        return all(self._free.get(name, 0.0) >= amount for name, amount in takes.items())

    def _begin(self, queue: _Queue, entry: Entry, takes: Mapping[str, float]) -> None:
        queue.running += 1
        queue.tokens -= queue.limits.rate is not None
        queue.tenants[entry.tenant] += 1
        for name, amount in takes.items():
            self._free[name] -= amount
        self._running[entry.job] = (entry, takes)

    def ended(self, job: str) -> None:
        """A job that was picked runs no more."""
        entry, takes = self._running.pop(job)
        self._known.discard(job)
        queue = self._queues[entry.queue]
        queue.running -= 1
        queue.tenants[entry.tenant] -= 1
        if not queue.tenants[entry.tenant]:
            del queue.tenants[entry.tenant]
        for name, amount in takes.items():
            self._free[name] += amount
        again = self._again.pop(job, None)
        if again is not None:
            self.offer(again)

    def next_token(self) -> float | None:
        """Seconds until a queue that is held back by its rate may go on; None if none is."""
        waits = [
            (1 - line.queue.tokens) / line.queue.limits.rate
            for line in self._lines.values()
            if line.order
            and line.queue.limits.rate is not None
            and line.queue.tokens <= _TOKEN
            and not line.queue.paused
        ]
        return max(0.0, min(waits)) if waits else None

    # -- looking --------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Jobs that were picked and have not ended."""
        return len(self._running)

    def depths(self) -> dict[str, int]:
        """Ready jobs by queue, as far as they are in memory."""
        depths: dict[str, int] = defaultdict(int)
        for line in self._lines.values():
            depths[line.queue.name] += sum(len(tenant.heap) for tenant in line.tenants.values())
        return dict(depths)
