"""The simulator: a random life of a log, crashed again and again, held against a list.

From one integer come the options, the operations of several clients, the moments of flushing, the
faults and what each crash leaves. Then every promise is checked against the `Model`, which is a
list of records and a few numbers. What must stay true of the simulator itself: it knows only what
a caller was told, and a seed replays exactly.

    round: work ── fault ── reopen (may crash, is repeated) ── check everything ── next round
"""

from __future__ import annotations

import random
import traceback
from collections import Counter
from typing import Any, Final

import msgspec

from walnut.log.commit import Ticket
from walnut.log.errors import (
    DiskError,
    LogCorrupt,
    LogFailed,
    LogFull,
    StaleSequence,
    UnknownFormat,
)
from walnut.log.log import Log
from walnut.log.model import LogOptions, Retention
from walnut.log.remote import LogReader
from walnut.testing.disk import Crash, SimClock, SimDisk

PATH: Final = "sim/log"
ROUNDS: Final = 8
STEPS: Final = 60


class BrokenPromise(AssertionError):
    """The log did what it must never do."""


class Group(msgspec.Struct, eq=False):
    """Records submitted together, and what became of them."""

    lsn: int
    records: list[bytes]
    ticket: Ticket
    producer: tuple[str, int] | None


class Model:
    """What the log has to hold.

    Attributes:
        records: by LSN, the last submitted under it.
        durable: the highest LSN that anyone was told to be durable.
        first: where the log begins.
        groups: those submitted and not yet known to be durable, in order.
        producers: (name, sequence) to LSN and records, for those that are durable.
    """

    def __init__(self) -> None:
        self.records: dict[int, bytes] = {}
        self.durable = 0
        self.first = 1
        self.groups: list[Group] = []
        self.producers: dict[tuple[str, int], tuple[int, list[bytes]]] = {}

    def forget_after(self, lsn: int) -> None:
        """Nothing after this LSN exists any more."""
        self.records = {at: data for at, data in self.records.items() if at <= lsn}
        self.durable = min(self.durable, lsn)
        self.groups = []
        self.producers = {key: kept for key, kept in self.producers.items() if kept[0] <= lsn}


class Simulation:
    """One seed's life."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.disk = SimDisk(self.rng.getrandbits(32))
        self.trace = trace
        if trace:
            self.disk.trace = []
        self.model = Model()
        self.counts: Counter[str] = Counter()
        self.sequences: Counter[str] = Counter()
        self.slots: dict[str, int] = {}
        self.log: Log
        rng = self.rng
        self.options = LogOptions(
            sync=rng.choice(["always", "always", "always", "interval", "os"]),
            segment_bytes=rng.choice([16, 24, 32]) * 1024,
            frame_bytes=rng.choice([1024, 4096, 64 * 1024]),
            record_bytes=20 * 1024,
            buffer_bytes=64 * 1024,
            compression=rng.choice([None, None, "zstd"]),
            retention=rng.choice([Retention(), Retention(bytes=100_000)]),
            background=False,
            disk=self.disk,
            clock=SimClock(),
        )
        self.disk.faults.short_writes = rng.choice([0.0, 0.0, 0.3])

    # -- the life -------------------------------------------------------------------------------

    def run(self) -> Counter[str]:
        """Live it. Raises BrokenPromise, or whatever the log should not have raised."""
        self._open()
        for _ in range(ROUNDS):
            fault = self._choose_fault()
            self.counts[fault] += 1
            self._note(f"-- round: {fault}")
            try:
                self._work()
            except Crash as crash:
                self._note(f"-- {crash}")
            self._end_round(fault)
        self.log.close()
        return self.counts

    def _note(self, text: str) -> None:
        if self.disk.trace is not None:
            self.disk.trace.append(text)

    def _choose_fault(self) -> str:
        fault = self.rng.choice(
            [
                "power cut",
                "power cut",
                "kill",
                "failed sync",
                "failed write",
                "full disk",
                "bit flip",
                "close",
            ]
        )
        faults, rng = self.disk.faults, self.rng
        if fault in {"power cut", "kill"}:
            faults.crash_after = rng.randrange(300)
        elif fault == "failed sync":
            faults.fail_sync_after = rng.randrange(40)
        elif fault == "failed write":
            faults.fail_write_after = rng.randrange(60)
        elif fault == "full disk":
            faults.capacity = self.disk.used() + rng.randrange(60_000)
        return fault

    def _work(self) -> None:
        for _ in range(self.rng.randrange(STEPS)):
            step = self.rng.choices(STEP_NAMES, STEP_WEIGHTS)[0]
            self.counts["steps"] += 1
            self._note(f"   {step}")
            try:
                getattr(self, "_" + step)()
            except LogFull:
                self.counts["full"] += 1
                self._drop_refused()
            except LogFailed:
                self.counts["failed"] += 1
                self._failed = True
                return
            except DiskError:
                self.counts["disk errors"] += 1
                self._cutting = None
                self.slots = {slot.name: slot.lsn for slot in self.log.stat().slots}
            except StaleSequence:
                self.counts["stale"] += 1
            self._learn()

    def _end_round(self, fault: str) -> None:
        self.disk.faults.crash_after = None
        failed, self._failed = self._failed, False
        if failed or fault in {"power cut", "kill", "failed sync", "failed write"}:
            power = fault == "power cut" or (fault != "kill" and self.rng.random() < 0.5)
            (self.disk.power_cut if power else self.disk.kill)()
            self._recover()
        elif fault == "close":
            self._close_and_reopen()
        elif fault == "bit flip":
            self._flip_and_check()
        self.disk.faults.capacity = None
        self._check_all()

    def _recover(self) -> None:
        self._learn_tickets()
        while True:
            if self.rng.random() < 0.3:
                self.disk.faults.crash_after = self.rng.randrange(60)
            try:
                self._open()
            except Crash as crash:
                self._note(f"-- in recovery: {crash}")
                self.counts["crashes in recovery"] += 1
                if self.rng.random() < 0.5:
                    self.disk.power_cut()
                else:
                    self.disk.kill()
                continue
            self.disk.faults.crash_after = None
            break
        self._settle_what_survived()

    def _open(self) -> None:
        self._note("   open")
        self.log = Log(PATH, self.options)

    def _close_and_reopen(self) -> None:
        try:
            self.log.close()
        except LogFull:
            self._drop_refused()
        self._learn_tickets()
        self.model.durable = max(self.model.durable, self.log.durable_lsn)
        self._open()
        require(self.log.recovery.cut_bytes == 0, "a clean close left a tail to cut")
        self._settle_what_survived()

    # -- the operations -------------------------------------------------------------------------

    def _data(self) -> bytes:
        rng = self.rng
        size = rng.choices([0, rng.randrange(200), rng.randrange(3000), 18_000], [1, 12, 4, 0.3])[0]
        head = b"%d." % rng.getrandbits(48)
        return (head * (size // len(head) + 1))[:size]

    def _submit(self) -> None:
        data = self._data()
        self._remember([data], self.log.submit(data), None)

    def _submit_many(self) -> None:
        group = [self._data()[:2000] for _ in range(self.rng.randrange(1, 8))]
        self._remember(group, self.log.submit_many(group), None)

    def _append(self) -> None:
        self._submit()
        self.model.groups[-1].ticket.wait()

    def _append_many(self) -> None:
        self._submit_many()
        self.model.groups[-1].ticket.wait()

    def _produce(self) -> None:
        name = self.rng.choice("ab")
        self.sequences[name] += 1
        producer = (name, self.sequences[name])
        group = [self._data()[:500] for _ in range(self.rng.randrange(1, 4))]
        self._remember(group, self.log.submit_many(group, producer=producer), producer)

    def _retry(self) -> None:
        """A producer sends again what it sent before."""
        known = [(g.producer, g.lsn, g.records) for g in self.model.groups if g.producer]
        known += [(key, lsn, records) for key, (lsn, records) in self.model.producers.items()]
        if known:
            producer, lsn, records = self.rng.choice(known)
            again = self.log.submit_many(records, producer=producer).lsn
            require(again == lsn, f"the retry of {producer} at LSN {lsn} was given {again}")

    def _remember(
        self, records: list[bytes], ticket: Ticket, producer: tuple[str, int] | None
    ) -> None:
        for lsn, data in enumerate(records, ticket.lsn):
            require(lsn > self.model.durable, f"LSN {lsn} was given twice")
            self.model.records[lsn] = data
        self.model.groups.append(Group(ticket.lsn, records, ticket, producer))

    def _sync(self) -> None:
        told = self.log.sync()
        require(told == self.log.next_lsn - 1, "sync left something unsynced")

    def _keep_house(self) -> None:
        try:
            self.log.housekeep()
        except (DiskError, LogFull):
            self.counts["housekeeping failed"] += 1
        self.model.first = self.log.first_lsn

    def _truncate_before(self) -> None:
        lsn = self.rng.randint(self.model.first, self.log.durable_lsn + 1)
        held = min([lsn, *self.slots.values()])
        try:
            first = self.log.truncate_before(lsn)
        except (
            DiskError,
            LogFull,
        ):  # CONTROL could not be replaced, or a file not removed: either end is right
            self.model.first = self.log.first_lsn
            return
        require(first == max(held, self.model.first), f"truncate_before({lsn}) gave {first}")
        self.model.first = first

    def _truncate_after(self) -> None:
        self._sync()
        lsn = self.rng.randint(
            max(self.model.first - 1, self.log.durable_lsn - 30), self.log.durable_lsn
        )
        self._cutting = lsn
        self.log.truncate_after(lsn)
        self._cutting = None
        self.model.forget_after(lsn)
        self.slots = {name: min(at, lsn + 1) for name, at in self.slots.items()}

    _cutting: int | None = None
    _failed = False

    def _move_slot(self) -> None:
        name = self.rng.choice(["x", "y"])
        if self.options.retention.bytes is not None:
            return
        try:
            slot = self.log.slot(name, self.model.first)
            self.slots.setdefault(name, slot.lsn)
            to = self.rng.randint(slot.lsn, max(slot.lsn, self.log.durable_lsn + 1))
            self.slots[name] = max(slot.lsn, to)
            slot.advance(to)
            if self.rng.random() < 0.3:
                slot.drop()
                del self.slots[name]
        except (DiskError, LogFull):
            self.slots = {s.name: s.lsn for s in self.log.stat().slots}

    def _read(self) -> None:
        """Read from anywhere, here and as another process would."""
        reader = LogReader(PATH, self.options)
        require(
            reader.durable_lsn <= self.log.durable_lsn,
            f"a reader sees {reader.durable_lsn}, and only {self.log.durable_lsn} is durable",
        )
        for source in (self.log, reader):
            start = self.rng.randint(self.model.first, source.durable_lsn + 1)
            for expected, record in enumerate(source.read(start), start):
                require(record.lsn == expected, f"LSN {record.lsn} came after {expected - 1}")
                require(record.lsn <= self.log.durable_lsn, "what is not durable was shown")
                self._compare(record.lsn, bytes(record.data))

    def _compare(self, lsn: int, data: bytes) -> None:
        wanted = self.model.records.get(lsn)
        require(wanted is not None, f"LSN {lsn} was never submitted")
        require(data == wanted, f"LSN {lsn} is {data[:40]!r}, and was {(wanted or b'')[:40]!r}")

    # -- what the caller was told ---------------------------------------------------------------

    def _learn(self) -> None:
        """Take over what the log now says is durable."""
        self._learn_tickets()
        self.model.durable = max(self.model.durable, self.log.durable_lsn)
        still = []
        for group in self.model.groups:
            if group.lsn + len(group.records) - 1 > self.model.durable:
                still.append(group)
            elif group.producer:
                self.model.producers[group.producer] = group.lsn, group.records
        self.model.groups = still

    def _learn_tickets(self) -> None:
        if self.options.sync != "always":
            return
        for group in self.model.groups:
            if group.ticket.done and group.ticket.batch.error is None:
                self.model.durable = max(self.model.durable, group.lsn + len(group.records) - 1)

    def _drop_refused(self) -> None:
        """Forget groups that were refused for lack of space: they must never be seen again."""
        refused = [g for g in self.model.groups if isinstance(g.ticket.batch.error, LogFull)]
        for group in refused:
            for lsn in range(group.lsn, group.lsn + len(group.records)):
                self.model.records.pop(lsn, None)
        self.model.groups = [g for g in self.model.groups if g not in refused]

    def _settle_what_survived(self) -> None:
        """After a recovery: everything promised is there, and whole groups of what was in flight."""
        end = self.log.durable_lsn
        if self._cutting is not None and end <= max(self._cutting, self.model.durable):
            if end == self._cutting:
                self.model.forget_after(end)
            self._cutting = None
        self._cutting = None
        require(
            end >= self.model.durable, f"LSN {self.model.durable} was durable; {end} is the end"
        )
        for group in self.model.groups:
            last = group.lsn + len(group.records) - 1
            require(end < group.lsn or end >= last, f"the group at LSN {group.lsn} is half there")
            if group.producer and last <= end:
                self.model.producers[group.producer] = group.lsn, group.records
        self.model.groups = []
        self.model.records = {lsn: d for lsn, d in self.model.records.items() if lsn <= end}
        self.model.durable = end
        require(self.log.next_lsn == end + 1, "recovery left a gap")
        require(self.log.first_lsn >= self.model.first, "what was truncated came back")
        self.model.first = self.log.first_lsn
        self.slots = {slot.name: slot.lsn for slot in self.log.stat().slots}

    def _check_all(self) -> None:
        """Read everything."""
        self._learn()
        records = {record.lsn: bytes(record.data) for record in self.log.read()}
        for lsn, data in records.items():
            self._compare(lsn, data)
        wanted = range(self.model.first, self.model.durable + 1)
        require(list(records) == list(wanted), f"{list(records)[:3]}.. is not {wanted}")

    def _flip_and_check(self) -> None:
        """Flip bits of what is on disk: it is reported, or it did not matter; it is never served."""
        clean = self.rng.random() < 0.5
        if clean:
            self.log.close()
        self._learn_tickets()
        self.model.durable = max(self.model.durable, self.log.durable_lsn)
        if not clean:
            self.disk.kill()
        files = self.disk.directories[PATH]
        name = self.rng.choice(sorted(files.live))
        size = len(files.live[name].cache)
        used = len(bytes(files.live[name].cache).rstrip(b"\0"))
        if not used:
            self._open()
            self._settle_what_survived()
            return
        offset, mask = self.rng.randrange(min(size, used + 8)), 1 << self.rng.randrange(8)
        self._note(f"   flip {name} {offset} {mask:#x}")
        self.disk.flip(PATH, name, offset, mask)
        try:
            self._open()
            served = {record.lsn: bytes(record.data) for record in self.log.read()}
            for lsn, data in served.items():
                self._compare(lsn, data)
            missing = self.model.durable - self.log.durable_lsn
            require(
                missing <= 0 or (not clean and self.log.recovery.cut_bytes > 0),
                "bits flipped, records went missing, and nobody said so",
            )
            self.counts["flips that did not matter"] += 1
            self.log.close()
        except (LogCorrupt, UnknownFormat):
            self.counts["flips reported"] += 1
        self.disk.kill()
        self.disk.flip(PATH, name, offset, mask) if name in files.live and offset < len(
            files.live[name].cache
        ) else None
        raise _StartOver


class _StartOver(Exception):
    """What the flip left is not the life that was lived; the seed ends here."""


STEP_WEIGHTS: Final = [10, 4, 8, 4, 3, 2, 3, 3, 2, 1, 2, 4]
STEP_NAMES: Final = [
    "submit", "submit_many", "append", "append_many", "produce", "retry", "sync", "keep_house",
    "truncate_before", "truncate_after", "move_slot", "read",
]  # fmt: skip


def require(condition: bool, broken: str) -> None:  # noqa: FBT001  reads as a sentence
    """Raise BrokenPromise unless the condition holds."""
    if not condition:
        raise BrokenPromise(broken)


class Outcome(msgspec.Struct):
    """What became of a seed: counts of what happened, and the failure or None."""

    seed: int
    counts: dict[str, int]
    failure: str | None
    trace: list[str]


def simulate(seed: int, *, trace: bool = False) -> Outcome:
    """Run one seed."""
    simulation = Simulation(seed, trace=trace)
    failure: Any = None
    try:
        simulation.run()
    except _StartOver:
        pass
    except Exception as error:
        failure = (
            "".join(traceback.format_exception(error))
            if trace
            else f"{type(error).__name__}: {error}"
        )
    return Outcome(seed, dict(simulation.counts), failure, simulation.disk.trace or [])
