"""What happened to jobs, read back from the log: the history of one, and how much is done a second.

    log ─▶ records in which the job's key stands ─▶ commits ─▶ events: when, what state, by whom, why
    log ─▶ changes of the last seconds ─▶ enqueued, started, done ... per queue

What must stay true: it tells what the log says and invents nothing; what the log no longer has is
said to be missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from walnut.jobs.model import Job, State
from walnut.jobs.overview import JobTables
from walnut.log.readable import Readable
from walnut.log.seek import lsn_at
from walnut.store.keyring import Keyring
from walnut.store.keys import encode
from walnut.store.record import unpack, utc
from walnut.store.remote import StoreReader

EVENTS: Final = 100
"""Of a job, the last ones: what sleeps and wakes for years has many."""
CHANGES: Final = 200_000
"""Looked at for the rates of one interval: a second or two of work."""
REPORT_EVERY: Final = 4096
"""Records between two reports of progress."""

Progressed = Callable[[int, int], None]
"""Is told what is done and what there is to do."""


class Sight(Protocol):
    """A state of a store and the log that led to it: a `StoreReader` is one."""

    @property
    def log(self) -> Readable:
        """The log."""

    @property
    def lsn(self) -> int:
        """It is the state after this one."""

    @property
    def keyring(self) -> Keyring:
        """Opens what is sealed."""

    def read(self, key: bytes) -> bytes | None:
        """See `Reader.read`."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a job.

    Attributes:
        lsn, time: of the transaction. by, why: as it said itself.
        state, attempt: from then on.
        error: that was recorded then; empty for none. due: when it goes on, if it waits.
    """

    lsn: int
    time: int
    state: State
    attempt: int
    by: str = ""
    why: str = ""
    error: str = ""
    due: int = 0


class History(msgspec.Struct, frozen=True):
    """What the log has of a job: events, how many before them are left out, and whether it still
    reaches back to the job's beginning."""

    events: list[Event]
    left_out: int
    whole: bool


def history(
    tables: JobTables, store: Sight, job: Job, progress: Progressed = lambda _done, _all: None
) -> History:
    """What happened to a job. Reads the log from when it was enqueued, and decodes little of it."""
    key = tables.jobs.prefix + encode(job.id)
    decode, keyring = tables.jobs.codec.decode, store.keyring
    now = store.read(key)
    first = lsn_at(store.log, job.created)
    whole = first == 1 or first > store.log.position().first_lsn  # what is before it is older
    kept: deque[Event] = deque(maxlen=EVENTS)
    number = 0
    before: Job | None = None
    for record in store.log.read(first, store.lsn + 1):
        if record.lsn % REPORT_EVERY == 0:
            progress(record.lsn - first, store.lsn + 1 - first)
        data = bytes(record.data)
        if key not in data:
            continue
        commit = unpack(data, record.lsn)
        value = None if commit is None else commit.writes.get(key)
        if commit is None or value is None:
            continue
        row = decode(key, value, keyring)
        if before is None or (row.state, row.attempt) != (before.state, before.attempt):
            number += 1
            new_error = row.error if before is None or row.error != before.error else None
            kept.append(
                Event(
                    lsn=record.lsn,
                    time=commit.time,
                    state=row.state,
                    attempt=row.attempt,
                    by=commit.meta.principal,
                    why=commit.meta.reason,
                    error="" if new_error is None else told(new_error.error, new_error.message),
                    due=row.due,
                )
            )
        before = row
        if value == now:
            break
    return History(list(kept), number - len(kept), whole)


def told(error: str, message: str) -> str:
    """An error in a line."""
    return f"{error.rpartition('.')[2]}: {message}" if message else error.rpartition(".")[2]


class Counts(msgspec.Struct):
    """How many jobs were enqueued, began an attempt, began another attempt than their first, and
    ended."""

    enqueued: int = 0
    started: int = 0
    retried: int = 0
    done: int = 0
    dead: int = 0
    cancelled: int = 0


class Traffic(msgspec.Struct, frozen=True):
    """What was done in so many seconds, by queue or whatever else was asked for."""

    seconds: float
    counts: dict[str, Counts]

    def rate(self, number: int) -> float:
        """So many, per second."""
        return number / self.seconds if self.seconds > 0 else 0.0


def traffic(store: StoreReader, since: int, now: int, by: Callable[[Job], str]) -> Traffic:
    """What was done from the time `since` on, as far as the reader has come. If that is more than can
    be looked at, it is the beginning of that time, and the seconds are fewer."""
    found: dict[str, Counts] = {}
    upto, until = store.lsn, now
    changes = store.changes(lsn_at(store.log, since) - 1, upto=upto, tables=["jobs"])
    for number, change in enumerate(changes):
        if number == CHANGES:
            until = int(change.time.timestamp() * 1e9)
            break
        job = change.after
        if not isinstance(job, Job):
            continue
        name = by(job)
        counts = found.get(name)
        if counts is None:
            counts = found[name] = Counts()
        if utc(job.created) == change.time:
            counts.enqueued += 1
        if job.state is State.RUNNING:
            if utc(job.started) == change.time:
                counts.started += 1
                counts.retried += job.attempt > 1
        elif job.state.ended and utc(job.ended) == change.time:
            counts.done += job.state is State.DONE
            counts.dead += job.state is State.DEAD
            counts.cancelled += job.state is State.CANCELLED
    return Traffic((until - since) / 1e9, found)
