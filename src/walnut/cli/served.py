"""What a server tells of itself, as a sight.

What must stay true: what a server of another version leaves out is not known, and no error.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import Any, Final

import msgspec

from walnut.cli.sight import OWN, TOPICS_READ, Sight, SlotSeen, SlowSeen, TopicSeen
from walnut.client.client import Client
from walnut.client.errors import Busy, NotAllowed, NotThere

STATES: Final = {"starting": "starting", "running": "running"}
"""Of a server's lifecycle; in every other phase it is on its way down."""


class _Stage(msgspec.Struct):
    p50: float = 0.0
    p99: float = 0.0
    count: int = 0


class _Activity(msgspec.Struct):
    group: float | None = None
    stages: dict[str, _Stage] = {}
    slow: list[SlowSeen] = []


class _Store(msgspec.Struct):
    durable_lsn: int = 0
    applied_lsn: int = 0
    checkpoint_lsn: int = 0
    window_lsn: int = 0
    window_seconds: float = 0.0
    log_bytes: int = 0
    tables: int = 0
    transactions: int = 0
    slots: list[SlotSeen] = []
    failure: str = ""
    activity: _Activity = msgspec.field(default_factory=_Activity)


class _Jobs(msgspec.Struct):
    failure: str = ""


class _Subsystems(msgspec.Struct):
    store: _Store = msgspec.field(default_factory=_Store)
    jobs: _Jobs | None = None


class _Disk(msgspec.Struct):
    free: int | None = None
    total: int | None = None


class _Status(msgspec.Struct):
    state: str
    version: str = ""
    pid: int = 0
    started: int = 0
    disk: _Disk = msgspec.field(default_factory=_Disk)
    subsystems: _Subsystems = msgspec.field(default_factory=_Subsystems)


def look_at_server(client: Client, place: str, before: Sight | None = None) -> Sight:
    """The server now; rates are since the sight before. Raises Unreachable, Refused."""
    try:
        told = msgspec.convert(client.status(), _Status)
    except Busy as error:
        if error.slug != "starting":
            raise
        return Sight(place=place, state="starting", time=time.time_ns())
    store, jobs = told.subsystems.store, told.subsystems.jobs
    now = time.time_ns()
    topics, more = _topics(client)
    depths, paused = _depths(client) if jobs is not None else (None, [])
    durable = store.activity.stages.get("durable", _Stage())
    return Sight(
        place=place,
        state=STATES.get(told.state, "draining"),
        time=now,
        version=told.version,
        pid=told.pid,
        since=told.started,
        durable_lsn=store.durable_lsn,
        applied_lsn=store.applied_lsn,
        checkpoint_lsn=store.checkpoint_lsn,
        transactions=store.transactions,
        per_second=_rate(before, told, now),
        group=store.activity.group,
        p50=durable.p50 if durable.count else None,
        p99=durable.p99 if durable.count else None,
        log_bytes=store.log_bytes,
        disk_free=told.disk.free,
        disk_total=told.disk.total,
        window=(
            store.window_lsn,
            now - int(store.window_seconds * 1e9) if store.window_seconds else 0,
        ),
        slots=[slot for slot in store.slots if slot.name != OWN],
        tables=store.tables,
        jobs=depths,
        paused=paused,
        topics=topics,
        more_topics=more,
        slow=store.activity.slow,
        failed=store.failure or ("" if jobs is None else jobs.failure),
    )


def _rate(before: Sight | None, told: _Status, now: int) -> float | None:
    """Commits a second since then; None across a restart."""
    if before is None or before.transactions is None or before.since != told.started:
        return None
    seconds = (now - before.time) / 1e9
    return (told.subsystems.store.transactions - before.transactions) / seconds if seconds else None


def _topics(client: Client) -> tuple[list[TopicSeen], bool]:
    try:
        found: list[Any] = list(islice(client.topics(), TOPICS_READ + 1))
    except (NotThere, NotAllowed):  # switched off, or not for this token
        return [], False
    seen = [TopicSeen(one.name, one.next, one.messages, one.bytes) for one in found[:TOPICS_READ]]
    return seen, len(found) > TOPICS_READ


def _depths(client: Client) -> tuple[dict[str, int] | None, list[str]]:
    """How many jobs are in each state, and which queues are paused."""
    try:
        queues = client.jobs.queues()
    except (NotThere, NotAllowed):  # switched off, or not for this token
        return None, []
    found: dict[str, int] = {}
    for queue in queues:
        for state, number in queue.jobs.items():
            found[state] = found.get(state, 0) + number
    return found, [queue.queue for queue in queues if queue.paused is not None]
