"""Which job goes next: limits, priorities and fair shares, decided in memory.

    ready jobs ──▶ line per (queue, executor) ──▶ tenants by virtual time ──▶ jobs by rank ──▶ pick
                        │ limits of the queue         │ fair shares
                        └ slots of the executor, resources

A tenant's line holds its next jobs only, a window; the table has them all. A job that waits for a
resource lets those pass that need none of it, and nobody else: so it gets what it needs in the end.

Fair shares are start-time fair queueing (Goyal, Vin, Cheng 1996): each start moves a tenant's virtual
time on by 1 / its share; who is behind goes first; who was away does not save up.

What must stay true: pick never gives more than the limits allow, and what it gave counts as running
until `ended`. All of this can be lost: the table says the same.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import chain
from typing import Final

import msgspec

from walnut.jobs.model import QueueLimits

_NO_LIMITS: Final = QueueLimits()
_TOKEN: Final = 1 - 1e-9
"""Less than one, as buckets are filled in floating point."""


class Entry(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """A ready job, as far as choosing needs it. Sorted by rank."""

    rank: int
    job: str
    task: str
    queue: str
    runs: str
    tenant: str


class _Tenant:
    """The next jobs of a tenant in a line, by task."""

    __slots__ = ("edge", "heaps", "name", "size", "time", "waits")

    def __init__(self, name: str) -> None:
        self.name = name
        self.heaps: dict[str, list[Entry]] = {}
        self.size = 0
        self.edge: Entry | None = None  # what comes after it is in the table only; None: nothing
        self.time = 0.0
        self.waits = False  # in the heap of those who have something to start

    def add(self, entry: Entry) -> None:
        heapq.heappush(self.heaps.setdefault(entry.task, []), entry)
        self.size += 1

    def take(self, task: str) -> None:
        """Take out the first job of a task."""
        heap = self.heaps[task]
        heapq.heappop(heap)
        self.size -= 1
        if not heap:
            del self.heaps[task]

    def cut(self, keep: int) -> list[Entry]:
        """Keep so many; returns those beyond them."""
        entries = sorted(chain.from_iterable(self.heaps.values()))
        self.heaps, self.size = {}, 0
        for entry in entries[:keep]:
            self.add(entry)
        self.edge = entries[keep - 1]
        return entries[keep:]


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

    __slots__ = ("filled", "limits", "name", "paused", "running", "starved", "tenants", "tokens")

    def __init__(self, name: str, limits: QueueLimits) -> None:
        self.name = name
        self.limits = limits
        self.running = 0
        self.tenants: Counter[str] = Counter()
        self.paused = False
        self.tokens = limits.burst
        self.filled = 0.0
        self.starved = False  # held back by the rate alone, when it was last asked

    def room(self, now: float) -> bool:
        """Whether one more may start."""
        limits = self.limits
        self.starved = False
        if self.paused or (limits.concurrency is not None and self.running >= limits.concurrency):
            return False
        if limits.rate is None:
            return True
        self.tokens = min(limits.burst, self.tokens + (now - self.filled) * limits.rate)
        self.filled = now
        self.starved = self.tokens <= _TOKEN
        return not self.starved

    def wait(self) -> float:
        """Seconds until there is a token."""
        assert self.limits.rate is not None, "who has no rate is not starved"
        return (1 - self.tokens) / self.limits.rate


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
        self._partial: dict[tuple[str, str, str], _Tenant] = {}
        self._turn = 0
        self._token: float | None = None
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
        if tenant.edge is not None and entry > tenant.edge:
            return
        tenant.add(entry)
        self._known.add(entry.job)
        if tenant.size > 2 * self._window:
            self._known.difference_update(gone.job for gone in tenant.cut(self._window))
            self._partial[entry.queue, entry.runs, entry.tenant] = tenant
        self._line_up(line, tenant)

    def _tenant(self, line: _Line, name: str) -> _Tenant:
        tenant = line.tenants.get(name)
        if tenant is None:
            tenant = line.tenants[name] = _Tenant(name)
        return tenant

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
        few = self._window // 2
        return [place for place, tenant in self._partial.items() if tenant.size <= few]

    def edge(self, queue: str, runs: str, tenant: str) -> int | None:
        """The rank up to which all that a tenant has is here; None: whatever it has."""
        known = self._partial.get((queue, runs, tenant))
        return None if known is None or known.edge is None else known.edge.rank

    def refill(
        self, queue: str, runs: str, tenant: str, entries: list[Entry], *, more: bool
    ) -> None:
        """The next entries that the table has for a tenant, in order; it may have `more`."""
        place = queue, runs, tenant
        known = self._partial.pop(place, None)
        if known is not None:
            known.edge = None
        for entry in entries:
            self.offer(entry)
        if more:
            row = self._tenant(self._line(queue, runs), tenant)
            row.edge = entries[-1] if row.edge is None else min(row.edge, entries[-1])
            self._partial[place] = row

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
        self._token = None
        start = self._turn % len(lines) if lines else 0
        short: set[str] = set()
        for line in lines[start:] + lines[:start]:  # each line is first in its turn
            self._pick_from(line, left, needs, now, picked, short)
        return picked

    def _pick_from(
        self,
        line: _Line,
        left: dict[str, int],
        needs: Mapping[str, Mapping[str, float]],
        now: float,
        picked: list[Entry],
        short: set[str],
    ) -> None:
        queue, limits = line.queue, line.queue.limits
        put_off: list[tuple[float, str]] = []
        while line.order and left.get(line.runs, 0) > 0 and queue.room(now):
            time, name = heapq.heappop(line.order)
            tenant = line.tenants[name]
            self._leave_unknown(tenant, needs)
            if not tenant.heaps:
                line.time = max(line.time, time)
                tenant.waits = False
                self._forget(line, tenant)
                continue
            most = limits.tenant_concurrency
            entry = None
            if most is None or queue.tenants[name] < most:
                entry = self._first(tenant, needs, short)
            if entry is None:
                put_off.append((time, name))
                continue
            tenant.take(entry.task)
            line.time = max(line.time, time)
            tenant.time = time + 1 / limits.shares.get(name, 1.0)
            heapq.heappush(line.order, (tenant.time, name))
            self._begin(queue, entry, needs[entry.task])
            left[line.runs] -= 1
            picked.append(entry)
        if line.order and left.get(line.runs, 0) > 0 and queue.starved:
            wait = queue.wait()
            self._token = wait if self._token is None else min(wait, self._token)
        for waiting in put_off:
            heapq.heappush(line.order, waiting)

    def _leave_unknown(self, tenant: _Tenant, needs: Mapping[str, object]) -> None:
        """Leave jobs in the table whose tasks are not here."""
        for task in [task for task in tenant.heaps if task not in needs]:
            gone = tenant.heaps.pop(task)
            tenant.size -= len(gone)
            self._known.difference_update(entry.job for entry in gone)
            self.unknown[task] += len(gone)

    def _first(
        self, tenant: _Tenant, needs: Mapping[str, Mapping[str, float]], short: set[str]
    ) -> Entry | None:
        """The first job of a tenant that there are resources for. `short`: of what there was too little
        for somebody before."""
        heads = [heap[0] for heap in tenant.heaps.values()]
        for entry in sorted(heads) if len(heads) > 1 else heads:
            takes = needs[entry.task]
            if not takes:
                return entry
            if short.isdisjoint(takes) and self._has(takes):
                return entry
            short.update(name for name, amount in takes.items() if amount > self._free[name])
        return None

    def _forget(self, line: _Line, tenant: _Tenant) -> None:
        """Forget a tenant that has nothing here, and no lead or lag either."""
        if not (tenant.waits or line.queue.tenants[tenant.name] or tenant.edge):
            line.tenants.pop(tenant.name, None)

    def _has(self, takes: Mapping[str, float]) -> bool:
        return all(self._free[name] >= amount for name, amount in takes.items())

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
        line = self._lines[entry.queue, entry.runs]
        queue = line.queue
        queue.running -= 1
        queue.tenants[entry.tenant] -= 1
        if not queue.tenants[entry.tenant]:
            del queue.tenants[entry.tenant]
        tenant = line.tenants.get(entry.tenant)
        if tenant is not None:
            self._forget(line, tenant)
        for name, amount in takes.items():
            self._free[name] += amount
        again = self._again.pop(job, None)
        if again is not None:
            self.offer(again)

    def next_token(self) -> float | None:
        """Seconds after the last pick at which a queue may go on that its rate held back; None if it
        held back none."""
        return self._token

    # -- looking --------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Jobs that were picked and have not ended."""
        return len(self._running)

    def depths(self) -> dict[str, int]:
        """Ready jobs by queue, as far as they are in memory."""
        depths: dict[str, int] = defaultdict(int)
        for line in self._lines.values():
            depths[line.queue.name] += sum(tenant.size for tenant in line.tenants.values())
        return dict(depths)
