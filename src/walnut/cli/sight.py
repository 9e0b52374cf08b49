"""What there is to see of a store or a server at a moment, and what is worth a warning.

    a directory that nobody has open    read from its files, by whoever looks
    a server                            told by itself, over HTTP (`walnut.cli.served`)

What must stay true: looking changes nothing; a warning says what is so, to what, and what to do.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from walnut.log.control import read_control
from walnut.log.errors import NotALog
from walnut.log.model import MIB
from walnut.log.show import count, duration, size

if TYPE_CHECKING:
    from walnut.store.remote import StoreReader

DISK_FEW: Final = 0.1
"""Of a disk is free: time to do something about it."""
FULL_SOON: Final = 3 * 86400.0
"""Seconds until the disk is full: a weekend."""
SLOT_FAR: Final = 1_000_000
"""Records that a slot is behind: with some hundred bytes each, hundreds of megabytes that stay."""
FOLD_MANY: Final = 5_000_000
"""Records to fold at the next start: more than about half a minute of it."""
RATE_SPAN: Final = 60.0
"""Seconds that a log must reach back for its growth to say something about the future."""
GROWN: Final = 256 * MIB
"""Of a log, for the same: its newest segment, 64 MiB by default, takes its place before it is filled."""
OWN: Final = "tables"
"""The store's own slot, which is where its tables are flushed up to."""
TOPICS_READ: Final = 1000
"""Topics that are looked at."""


class SlotSeen(msgspec.Struct, frozen=True):
    """A named reader's position, and how many records it is behind."""

    name: str
    lsn: int
    lag: int


class TopicSeen(msgspec.Struct, frozen=True):
    """A topic: the offset of its next message, how many it keeps, and their bytes."""

    name: str
    next: int
    messages: int
    bytes: int


class SlowSeen(msgspec.Struct, frozen=True):
    """A transaction function that took long."""

    function: str
    seconds: float
    lsn: int


class Rate(msgspec.Struct, frozen=True):
    """How much happens to a table in a second."""

    name: str
    per_second: float


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """A store or a server at a glance. Times are ns since the Unix epoch; 0 and None: not known.

    Attributes:
        state: what a server says of itself: "starting", "running", "draining"; without one "closed", or
            "unclosed": a program has it open, or did not close it.
        transactions: committed since the server was started. group: of them, in a flush of the log.
        p50, p99: µs until a commit is durable.
        window: the oldest LSN that is kept, and when it was written.
        jobs: how many in each state; None without jobs.
        more_topics: there are more than were looked at.
        failed: what has stopped working, in the server's words.
    """

    place: str
    state: str
    time: int
    version: str = ""
    pid: int = 0
    since: int = 0
    durable_lsn: int = 0
    applied_lsn: int = 0
    checkpoint_lsn: int = 0
    transactions: int | None = None
    per_second: float | None = None
    group: float | None = None
    p50: float | None = None
    p99: float | None = None
    log_bytes: int = 0
    disk_free: int | None = None
    disk_total: int | None = None
    window: tuple[int, int] = (0, 0)
    slots: list[SlotSeen] = []
    tables: int = 0
    jobs: dict[str, int] | None = None
    paused: list[str] = []
    topics: list[TopicSeen] = []
    more_topics: bool = False
    slow: list[SlowSeen] = []
    failed: str = ""

    @property
    def growth(self) -> float | None:
        """Bytes a second by which the log has grown, over all of it that is kept; None if that says
        nothing of the future yet."""
        seconds = (self.time - self.window[1]) / 1e9
        if not self.window[1] or seconds < RATE_SPAN or self.log_bytes < GROWN:
            return None
        return self.log_bytes / seconds

    @property
    def full_in(self) -> float | None:
        """Seconds until the disk is full, if nothing of the log went."""
        if self.disk_free is None or not self.growth:
            return None
        return self.disk_free / self.growth


def warnings(seen: Sight) -> Iterator[str]:
    """What somebody should do something about, the most urgent first."""
    place = seen.place
    if seen.failed:
        yield f"{seen.failed}: see the server's log, make sure of the disk, then start it again"
    if seen.state == "starting":
        yield "it is starting and answers no requests yet: it folds what a crash left, or a large log"
    if seen.state == "draining":
        yield "it is stopping: what is under way is finished, new requests are refused"
    free, total = seen.disk_free, seen.disk_total
    if free is not None and total and free < DISK_FEW * total:
        yield (
            f"the disk has {size(free)} left of {size(total)}: make room, or keep less: [store] window "
            "and window_size in walnut.toml, and retention of topics"
        )
    elif seen.full_in is not None and seen.full_in < FULL_SOON:
        yield (
            f"the disk is full in {duration(seen.full_in)} if the log goes on growing so: set [store] "
            "window_size in walnut.toml, or make room"
        )
    for slot in seen.slots:
        if slot.lag > SLOT_FAR:
            yield (
                f"slot {slot.name} is {count(slot.lag, 'record')} behind and holds back the log: let its "
                f"reader run, or give it up by `walnut log slots {place} drop {slot.name}`"
            )
    dead = (seen.jobs or {}).get("dead", 0)
    if dead:
        yield (
            f"{count(dead, 'job')} failed for good: `walnut jobs dead {place}` says why, `walnut jobs "
            f"retry {place} --all-dead` gives them another beginning"
        )
    for queue in seen.paused:
        yield f"queue {queue} is paused: `walnut jobs resume {place} {queue}` goes on with it"
    behind = seen.durable_lsn - seen.checkpoint_lsn
    if behind > FOLD_MANY:
        yield (
            f"{count(behind, 'record')} are not in the tables' files, and a start has to fold them: "
            f"`walnut store checkpoint {place}` does it now"
        )


# -- a directory ----------------------------------------------------------------------------------


def look_at_files(directory: str, shown: str, before: Sight | None = None) -> Sight:
    """The store in a directory that no server has open; a rate is since the sight before.

    Raises NotALog, TablesLost, ..."""
    from walnut.store.remote import StoreReader  # noqa: PLC0415, a server is asked without

    if not Path(directory).exists():
        raise NotALog(
            f"there is no {shown} here: name the data directory of a server, or a store; `walnut serve` "
            "starts a server"
        )

    with StoreReader(directory) as reader:
        store, log = reader.stat(), reader.log.stat()
        control = read_control(reader.log.directory)
        jobs, paused = _jobs(reader)
        topics, more = _topics(reader)
    disk = shutil.disk_usage(Path(directory))
    now = time.time_ns()
    return Sight(
        place=shown,
        state="closed" if control is not None and control.clean is not None else "unclosed",
        time=now,
        per_second=None
        if before is None
        else (store.durable_lsn - before.durable_lsn) * 1e9 / max(now - before.time, 1),
        durable_lsn=store.durable_lsn,
        applied_lsn=store.applied_lsn,
        checkpoint_lsn=store.checkpoint_lsn,
        log_bytes=store.log_bytes,
        disk_free=disk.free,
        disk_total=disk.total,
        window=store.window,
        slots=[SlotSeen(slot.name, slot.lsn, slot.lag) for slot in log.slots if slot.name != OWN],
        tables=len(store.tables),
        jobs=jobs,
        paused=paused,
        topics=topics,
        more_topics=more,
    )


def _jobs(reader: StoreReader) -> tuple[dict[str, int] | None, list[str]]:
    from walnut.jobs.errors import NoJobs  # noqa: PLC0415, only where they are looked for
    from walnut.jobs.overview import depths, pauses, tables_of  # noqa: PLC0415, same

    try:
        tables = tables_of(reader)
    except NoJobs:
        return None, []
    found: dict[str, int] = {}
    for depth in depths(tables, reader, lambda job: job.queue).values():
        for state, number in depth.jobs.items():
            found[state.name.lower()] = found.get(state.name.lower(), 0) + number
    return found, sorted(pauses(tables, reader))


def _topics(reader: StoreReader) -> tuple[list[TopicSeen], bool]:
    from walnut.topics.errors import NoTopics  # noqa: PLC0415, only where they are looked for
    from walnut.topics.remote import TopicsReader  # noqa: PLC0415, same

    try:
        page = TopicsReader(reader).page(reader, limit=TOPICS_READ)
    except NoTopics:
        return [], False
    seen = [TopicSeen(one.name, one.next, one.messages, one.bytes) for one in page.topics]
    return seen, page.cursor is not None
