"""What there is of jobs, for people to see: depths and ages, dead letters, what comes next. Reads only.

    StoreReader ─▶ JobTables ─▶ find, listing, depths ...         beside the process that runs the jobs
    Store ───────▶                                                or in it

What must stay true: nothing here writes, and nothing needs the code of a task or a timer; secrets of
endpoints do not leave the tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from graphlib import TopologicalSorter
from itertools import islice
from typing import Any, Final, TypeVar, cast

import msgspec

from walnut.jobs.errors import AmbiguousJob, NoJobs, UnknownJob, UnknownQueue
from walnut.jobs.ledger import DEAD, Ledger
from walnut.jobs.model import Job, JobsOptions, Pause, Schedule, State, Timer
from walnut.jobs.registry import Registry
from walnut.jobs.steps import Signal, Step, Steps
from walnut.jobs.timers import Timers
from walnut.store.catalog import prefix_of
from walnut.store.errors import Erased, UnknownTable
from walnut.store.keys import Key
from walnut.store.remote import StoreReader
from walnut.store.schema import fields_of
from walnut.store.store import Store
from walnut.store.table import Index, Table
from walnut.store.tables import after
from walnut.store.transaction import Reader, Transaction

Row = TypeVar("Row", bound=msgspec.Struct)

MIN_DIGITS: Final = 8
"""Of an id that is given: fewer are a slip of the hand rather than a name."""
SHOWN_DIGITS: Final = 16
"""Of an id that is shown: its millisecond and twelve bits of chance, which few jobs share."""
CANDIDATES: Final = 4
"""How many jobs are named that an ambiguous id may mean."""


# -- the tables ---------------------------------------------------------------------------------


class _Definitions:
    """Stands where the store does as tables are declared, and finds them instead of making them."""

    def __init__(self, store: StoreReader) -> None:
        self._store = store

    def table(
        self, name: str, row: type[Row], *, key: Callable[[Row], Key], **options: Any
    ) -> Table[Row]:
        """See `Store.table`."""
        options.pop("before", None)
        table = self._store.table(name, row, key=key, **options)
        table.home = self
        return table

    def index(
        self,
        table: Table[Row],
        name: str,
        function: Callable[[Row], Key | list[Key]],
        *,
        unique: bool,
        version: int,
    ) -> Index[Row]:
        """See `Home.index`."""
        del unique, version  # are in the catalog
        return self._store.index(table, name, function)

    def number_of(self, tx: Transaction, subject: str) -> int:
        """See `Home.number_of`."""
        raise AssertionError(f"nothing is written here, as {tx!r} would, about {subject!r}")


class JobTables:
    """The tables of jobs as those declare them that write them, who alone know their names."""

    def __init__(self, ledger: Ledger, timers: Timers, steps: Steps) -> None:
        self.jobs: Table[Job] = ledger.jobs
        self.line: Index[Job] = ledger.line
        self.pauses: Table[Pause] = ledger.pauses
        self.timers: Table[Timer] = ledger.timers
        self.schedules: Table[Schedule] = timers.schedules
        self.steps: Table[Step] = steps.steps
        self.signals: Table[Signal] = steps.signals


def tables_of(reader: StoreReader) -> JobTables:
    """The tables of jobs of a store that is read. Raises NoJobs, SchemaChanged, UnknownSchema."""
    # All that these three ask of a store, as they are made, is its tables.
    store = cast("Store", _Definitions(reader))
    try:
        ledger = Ledger(store, Registry(), JobsOptions())
        timers, steps = Timers(store, ledger, Registry()), Steps(store, ledger)
    except UnknownTable as error:
        raise NoJobs(
            f"{reader.path} has no jobs ({error}): a program makes them, by walnut.Jobs(store)"
        ) from error
    return JobTables(ledger, timers, steps)


# -- one job ------------------------------------------------------------------------------------


def id_of(text: str) -> str | None:
    """An id of a job, or its beginning, as it is on record; None if the text is neither. UUIDs are
    taken with their hyphens as well."""
    digits = text.replace("-", "").lower()
    return digits if re.fullmatch(f"[0-9a-f]{{{MIN_DIGITS},32}}", digits) else None


def find(tables: JobTables, reader: Reader, beginning: str) -> Job:
    """The job whose id begins so. Raises UnknownJob, AmbiguousJob."""
    found: list[Job] = []
    for job in tables.jobs.scan(reader, start=beginning, limit=CANDIDATES + 1):
        if not job.id.startswith(beginning):
            break
        found.append(job)
    if not found:
        raise UnknownJob(
            f"there is no job {beginning}: it never was, or it ended longer ago than jobs are kept"
        )
    if len(found) > 1:
        names = ", ".join(f"{job.id} ({job.task})" for job in found[:CANDIDATES])
        more = " and more" if len(found) > CANDIDATES else ""
        raise AmbiguousJob(f"{beginning} may be {names}{more}: give more of its digits")
    return found[0]


def in_order(jobs: Iterable[Job]) -> list[str]:
    """The ids of these, each behind those of them that it comes after or is a step of: so they can be
    retried one by one, and cancelled the other way round."""
    chosen = {job.id: job for job in jobs}
    before = {
        id_: [other for other in (*job.after, job.parent) if other in chosen]
        for id_, job in sorted(chosen.items())
    }
    return list(TopologicalSorter(before).static_order())


def shown_id(tables: JobTables, reader: Reader, job: str) -> str:
    """So many digits of a job's id that it is the only one that begins so."""
    others = [
        *tables.jobs.scan(reader, stop=job, reverse=True, limit=1),
        *tables.jobs.scan(reader, start=job + "0", limit=1),
    ]
    needed = SHOWN_DIGITS
    while any(other.id.startswith(job[:needed]) for other in others):
        needed += 1
    return job[:needed]


def steps_of(tables: JobTables, reader: Reader, flow: str) -> list[Step]:
    """The steps of a workflow, in the order in which it asked for them."""
    return list(tables.steps.scan(reader, flow))


def signals_of(tables: JobTables, reader: Reader, flow: str) -> list[Signal]:
    """The signals that no step of a workflow has taken yet."""
    return list(tables.signals.scan(reader, flow))


# -- many jobs ----------------------------------------------------------------------------------


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs are meant: those that are as each of these says that says something."""

    states: Collection[State] = ()
    queue: str | None = None
    task: str | None = None
    tenant: str | None = None

    def takes(self, job: Job) -> bool:
        """Whether a job is one of them."""
        return (
            (not self.states or job.state in self.states)
            and (self.queue is None or job.queue == self.queue)
            and (self.task is None or job.task == self.task)
            and (self.tenant is None or job.tenant == self.tenant)
        )


def listing(tables: JobTables, reader: Reader, which: Which) -> Iterator[Job]:
    """Jobs, the newest first."""
    return filter(which.takes, tables.jobs.scan(reader, reverse=True))


def dead(tables: JobTables, reader: Reader, which: Which) -> Iterator[Job]:
    """Dead letters, those first that died last."""
    return filter(which.takes, tables.line.scan(reader, DEAD, reverse=True))


def check_names(tables: JobTables, reader: Reader, which: Which) -> None:
    """Raise UnknownQueue if no job at all has the queue, task or tenant that is meant."""
    wanted = {
        name: value
        for name in ("queue", "task", "tenant")
        if (value := getattr(which, name)) is not None
    }
    there: dict[str, set[str]] = {name: set() for name in wanted}
    for job in tables.jobs.scan(reader):
        for name, seen in there.items():
            seen.add(getattr(job, name))
    if "queue" in there:
        there["queue"] |= {pause.queue for pause in tables.pauses.scan(reader)}
    for name, value in wanted.items():
        if value not in there[name]:
            known = ", ".join(sorted(there[name] - {""})) or "none"
            raise UnknownQueue(f"no job is of the {name} {value!r}; of those on record: {known}")


class Depth(msgspec.Struct):
    """How many jobs there are, and since when they wait.

    Attributes:
        jobs: by state.
        oldest: when the READY job was enqueued that was enqueued first; 0 for none.
        failures: attempts that raised, of jobs that have not ended.
    """

    jobs: dict[State, int] = msgspec.field(default_factory=lambda: dict.fromkeys(State, 0))
    oldest: int = 0
    failures: int = 0

    @property
    def live(self) -> int:
        """How many have not ended."""
        return sum(number for state, number in self.jobs.items() if not state.ended)


def depths(tables: JobTables, reader: Reader, by: Callable[[Job], str]) -> dict[str, Depth]:
    """The depth of each queue, or of whatever else a job gives. Reads all jobs."""
    found: dict[str, Depth] = {}
    for job in tables.jobs.scan(reader):
        name = by(job)
        depth = found.get(name)
        if depth is None:
            depth = found[name] = Depth()
        state = job.state
        depth.jobs[state] += 1
        if state < State.DONE:
            depth.failures += job.failures
            if state is State.READY and not 0 < depth.oldest <= job.created:
                depth.oldest = job.created
    return found


# -- times, pauses, endpoints -------------------------------------------------------------------


def upcoming(tables: JobTables, reader: Reader, limit: int) -> list[tuple[Timer, Job | None]]:
    """The timers that are due next, each with the job that waits for it, if one does."""
    timers = list(islice(tables.timers.scan(reader), limit))
    jobs = tables.jobs.get_many(reader, [timer.id.partition("/")[0] for timer in timers])
    return list(zip(timers, jobs, strict=True))


def schedules(tables: JobTables, reader: Reader) -> list[Schedule]:
    """The schedules, the one that is due next first, and those last that never are again."""
    return sorted(tables.schedules.scan(reader), key=lambda row: (not row.due, row.due, row.name))


def pauses(tables: JobTables, reader: Reader) -> dict[str, Pause]:
    """The queues that are paused."""
    return {pause.queue: pause for pause in tables.pauses.scan(reader)}


class EndpointSeen(msgspec.Struct, frozen=True):
    """An endpoint of webhooks, without its secrets.

    Attributes:
        disabled: why nothing is sent to it any more; empty if it is.
    """

    id: str
    url: str
    disabled: str


def endpoints(reader: StoreReader) -> list[EndpointSeen]:
    """The endpoints of webhooks."""
    found = []
    # Not by the type of its rows: that is in a module that needs an HTTP client.
    for info in reader.infos().values():
        if info.name != "jobs.endpoints":
            continue
        prefix = prefix_of(info.id)
        for key, data in reader.walk(prefix, after(prefix)):
            try:
                fields = fields_of(key, data, reader.keyring)
            except Erased:
                continue
            found.append(EndpointSeen(fields["id"], fields["url"], fields.get("disabled", "")))
    return found
