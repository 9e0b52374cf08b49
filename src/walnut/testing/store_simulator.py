"""The simulator of stores: a random life of tables, crashed again and again, held against dicts.

Transactions are run and answered in a seeded order, so that several are under way when a fault comes.
For every LSN the model remembers what the tables were to be after it. What must stay true of the
simulator itself: it knows only what a caller was told, and a seed replays exactly.

    round: work ── fault ── reopen (may crash, is repeated) ── check everything ── next round
"""

from __future__ import annotations

import random
import traceback
from collections import Counter
from typing import Any, Final

import msgspec

from walnut.log.errors import DiskError, LogFailed, LogFull
from walnut.log.model import LogOptions
from walnut.store.care import verify_tables
from walnut.store.errors import Erased, NotUnique, TablesFailed
from walnut.store.execution import Answer
from walnut.store.keyring import PLACES, unpack_ring
from walnut.store.model import StoreOptions
from walnut.store.record import Meta
from walnut.store.store import Store
from walnut.store.table import Index, Table
from walnut.store.tables import after
from walnut.store.transaction import Transaction
from walnut.testing.disk import Crash, SimClock, SimDisk
from walnut.testing.engine import OpenModel
from walnut.testing.simulator import Outcome, require

PATH: Final = "sim/store"
ROUNDS: Final = 6
STEPS: Final = 50
NAMES: Final = [f"n{number}" for number in range(12)]
SUBJECTS: Final = [f"s{number}" for number in range(5)]


class Item(msgspec.Struct, frozen=True):
    """A row with an index that is not unique and one that is."""

    name: str
    group: int
    code: int


class Person(msgspec.Struct, frozen=True):
    """A row about a subject."""

    name: str
    subject: str
    email: str


class State(msgspec.Struct, frozen=True):
    """What the tables hold after an LSN. People's rows whose subject was erased map to None."""

    items: dict[str, Item]
    people: dict[str, Person | None]
    total: int


class Tried(msgspec.Struct):
    """A transaction under way: its answer and what is to be after it."""

    lsn: int
    answer: Answer[Any]


class Simulation:
    """One seed's life."""

    def __init__(self, seed: int, *, trace: bool) -> None:
        self.rng = random.Random(seed)
        self.disk = SimDisk(self.rng.getrandbits(32))
        if trace:
            self.disk.trace = []
        self.counts: Counter[str] = Counter()
        self.states: dict[int, State] = {0: State({}, {}, 0)}
        self.promised = 0
        self.tried: list[Tried] = []
        self.done: dict[str, tuple[int, int]] = {}
        self.failed = False
        self.store: Store
        self.options = StoreOptions(
            log=LogOptions(
                segment_bytes=self.rng.choice([16, 32]) * 1024,
                frame_bytes=self.rng.choice([1024, 64 * 1024]),
                record_bytes=12 * 1024,
                buffer_bytes=64 * 1024,
                background=False,
                disk=self.disk,
                clock=SimClock(),
            ),
            engine=OpenModel(self.rng.getrandbits(32), self.rng.choice([0.0, 0.05, 0.3])),
            window_seconds=None,
            window_bytes=self.rng.choice([None, None, 40_000]),
        )

    def run(self) -> None:
        """Live it."""
        self._recover()  # from nothing: the first opening may crash as well
        for _ in range(ROUNDS):
            fault = self._choose_fault()
            self.counts[fault] += 1
            self._note(f"-- round: {fault}")
            try:
                self._work()
            except Crash as crash:
                self._note(f"-- {crash}")
            self.disk.faults.crash_after = self.disk.faults.capacity = None
            if self.failed or fault != "close":
                (self.disk.power_cut if self.rng.random() < 0.6 else self.disk.kill)()
                self._recover()
            else:
                self.store.close()
                self._learn()
                self._open()
                require(self.store.redo.transactions == 0, "a clean close left something to fold")
            self.failed = False
            self._check_all()
        self.store.close()

    def _note(self, text: str) -> None:
        if self.disk.trace is not None:
            self.disk.trace.append(text)

    def _choose_fault(self) -> str:
        kinds = [
            "power cut",
            "power cut",
            "kill",
            "failed sync",
            "failed write",
            "full disk",
            "close",
        ]
        fault = self.rng.choice(kinds)
        faults, rng = self.disk.faults, self.rng
        if fault in {"power cut", "kill"}:
            faults.crash_after = rng.randrange(250)
        elif fault == "failed sync":
            faults.fail_sync_after = rng.randrange(30)
        elif fault == "failed write":
            faults.fail_write_after = rng.randrange(40)
        elif fault == "full disk":
            faults.capacity = self.disk.used() + rng.randrange(40_000)
        return fault

    # -- opening --------------------------------------------------------------------------------

    def _open(self) -> None:
        self._note("   open")
        store = Store(PATH, self.options)
        self._forget_after(store.log.durable_lsn)
        self.items: Table[Item] = store.table("items", Item, key=lambda item: item.name)
        self.by_group: Index[Item] = self.items.index("by_group", lambda item: item.group)
        self.by_code: Index[Item] = self.items.index("by_code", lambda item: item.code, unique=True)
        self.people: Table[Person] = store.table(
            "people", Person, key=lambda p: p.name, subject=lambda p: p.subject, before=True
        )
        self.by_email: Index[Person] = self.people.index("by_email", lambda p: p.email)
        self.total = store.counter("total")
        self.store = store

    def _forget_after(self, newest: int) -> None:
        """Nothing after this LSN exists any more."""
        require(newest >= self.promised, f"LSN {self.promised} was promised; {newest} is the end")
        self.states = {lsn: state for lsn, state in self.states.items() if lsn <= newest}
        self.done = {key: kept for key, kept in self.done.items() if kept[0] <= newest}

    def _recover(self) -> None:
        self._learn()
        while True:
            if self.rng.random() < 0.3:
                self.disk.faults.crash_after = self.rng.randrange(80)
            if self.rng.random() < 0.1:  # as in a store that was restored: no backup holds them
                self.disk.directories.pop(f"{PATH}/tables/private", None)
            try:
                self._open()
            except Crash:
                self.counts["crashes in recovery"] += 1
                (self.disk.power_cut if self.rng.random() < 0.5 else self.disk.kill)()
                continue
            self.disk.faults.crash_after = None
            self.tried = []
            return

    # -- working --------------------------------------------------------------------------------

    def _work(self) -> None:
        for _ in range(self.rng.randrange(STEPS)):
            step = self.rng.choices(STEP_NAMES, STEP_WEIGHTS)[0]
            self.counts["steps"] += 1
            self._note(f"   {step}")
            try:
                getattr(self, "_" + step)()
            except LogFull:
                self.counts["full"] += 1
            except LogFailed:
                self.counts["failed"] += 1
                self.failed = True
                return
            except (TablesFailed, DiskError):
                self.counts["checkpoint failed"] += 1
            self._learn()

    def _latest(self) -> State:
        return self.states[max(lsn for lsn in self.states if lsn < self.store.log.next_lsn)]

    def _transact(self) -> None:
        """A few random changes in one transaction, with a model of them; sometimes it raises."""
        rng = self.rng
        before = self._latest()
        items, people = dict(before.items), dict(before.people)
        total = before.total
        raises = rng.random() < 0.1
        steps = [self._change() for _ in range(rng.randrange(1, 5))]
        clash = False
        for step in steps:
            if isinstance(step, Item):
                others = {item.code for item in items.values() if item.name != step.name}
                clash = step.code in others
                if clash:
                    break
                items[step.name] = step
            elif isinstance(step, Person):
                people[step.name] = step
            elif isinstance(step, int):
                total += step
            else:
                items.pop(step, None)
                people.pop(step, None)

        def function(tx: Transaction) -> int:
            require(
                self.total.value(tx) == before.total, "a transaction does not see the one before"
            )
            for step in steps:
                if isinstance(step, Item):
                    self.items.put(tx, step)
                elif isinstance(step, Person):
                    self.people.put(tx, step)
                elif isinstance(step, int):
                    self.total.add(tx, step)
                else:
                    self.items.delete(tx, step)
                    self.people.delete(tx, step)
            if raises:
                raise ValueError("on purpose")
            got = {item.name for item in self.by_group.scan(tx)}
            require(got == set(items), "an index in a transaction does not show its own writes")
            living = {name for name, person in people.items() if person is not None}
            for found in (self.people, self.by_email):
                seen = {person.name for person in found.scan(tx)}
                require(seen == living, f"people in a transaction: {seen}, not {living}")
            return self.total.add(tx, 0)

        answer = self.store.submit(function)
        if raises or clash:
            self._expect_error(answer, NotUnique if clash else ValueError)
            return
        self._remember(answer, State(items, people, total))

    def _expect_error(self, answer: Answer[Any], kind: type[Exception]) -> None:
        try:
            answer.wait()
        except kind:
            self.counts["raised"] += 1
        else:
            require(False, f"{kind.__name__} was to be raised")

    def _change(self) -> Item | Person | int | str:
        rng = self.rng
        choice = rng.random()
        if choice < 0.4:
            return Item(rng.choice(NAMES), rng.randrange(4), rng.randrange(40))
        if choice < 0.7:
            return Person(rng.choice(NAMES), rng.choice(SUBJECTS), f"e{rng.randrange(6)}@x")
        if choice < 0.85:
            return rng.randrange(1, 10)
        return rng.choice(NAMES)

    def _remember(self, answer: Answer[Any], state: State) -> None:
        require(answer.ticket is not None, "a transaction that writes has a ticket")
        assert answer.ticket is not None
        lsn = answer.ticket.lsn
        require(lsn > self.promised, f"LSN {lsn} was given twice")
        self.states[lsn] = state
        self.tried.append(Tried(lsn, answer))

    def _await_one(self) -> None:
        if self.tried:
            tried = self.rng.choice(self.tried)
            tried.answer.wait()
            self.promised = max(self.promised, tried.lsn)
            require(self.store.applied_lsn >= tried.lsn, "an answer came before the tables had it")

    def _once(self) -> None:
        """An idempotency key, perhaps used before."""
        key = f"k{self.rng.randrange(6)}"
        caller = self.store.by(Meta(principal="sim", key=key))
        before = self._latest()

        def function(tx: Transaction) -> int:
            return self.total.add(tx, 1)

        answer = caller.submit(function)
        if key in self.done:
            require(answer.wait() == self.done[key][1], "a repeat was not given the first result")
            return
        self._remember(answer, State(before.items, before.people, before.total + 1))
        self.done[key] = self.tried[-1].lsn, before.total + 1

    def _erase(self) -> None:
        subject = self.rng.choice(SUBJECTS)
        before = self._latest()
        answer = self.store.submit(self.store.erase_subject, subject)
        people = {
            name: None if person is None or person.subject == subject else person
            for name, person in before.people.items()
        }
        if answer.ticket is not None and answer.ticket.lsn == self.store.log.next_lsn - 1:
            known = any(p is not None and p.subject == subject for p in before.people.values())
            if answer.ticket.lsn not in self.states:
                self._remember(answer, State(before.items, people, before.total))
            self.counts["erased" if known else "erased, unused"] += 1

    def _checkpoint(self) -> None:
        self.store.checkpoint()
        self.store.log.housekeep()

    def _read(self) -> None:
        """What anybody outside sees is the state after one LSN, and durable."""
        with self.store.snapshot() as seen:
            require(seen.lsn <= self.store.log.durable_lsn, "what is not durable was shown")
            lsn = max(lsn for lsn in self.states if lsn <= seen.lsn)
            rows = {item.name: item for item in self.items.scan(seen)}
            require(
                rows == self.states[lsn].items, f"a snapshot at {seen.lsn} shows something else"
            )

    # -- what the caller was told ---------------------------------------------------------------

    def _learn(self) -> None:
        still = []
        for tried in self.tried:
            ticket = tried.answer.ticket
            assert ticket is not None
            if not ticket.done:
                still.append(tried)
            elif ticket.batch.error is None:
                self.promised = max(self.promised, tried.lsn)
            elif isinstance(ticket.batch.error, LogFull):
                self.states.pop(tried.lsn, None)
                self.done = {key: kept for key, kept in self.done.items() if kept[0] != tried.lsn}
        self.tried = still

    def _check_all(self) -> None:
        """Compare everything with what it is to be after the last LSN that survived."""
        store = self.store
        self._learn()
        require(
            store.log.durable_lsn >= self.promised,
            f"LSN {self.promised} was promised and the log ends at {store.log.durable_lsn}",
        )
        lsn = max(lsn for lsn in self.states if lsn <= store.log.durable_lsn)
        state = self.states[lsn]
        with store.snapshot() as seen:
            require({i.name: i for i in self.items.scan(seen)} == state.items, f"items at {lsn}")
            require(self.total.value(seen) == state.total, f"the counter at {lsn}")
            for name in NAMES:
                try:
                    person = self.people.get(seen, name)
                except Erased:
                    require(state.people.get(name, 0) is None, f"{name} is erased at {lsn}")
                else:
                    wanted = state.people.get(name)
                    require(person == wanted, f"{name} is {person} at {lsn}, not {wanted}")
                    require(not (name in state.people and wanted is None), f"{name} came back")
            living = {p.name for p in state.people.values() if p is not None}
            groups = sorted((item.group, item.name) for item in state.items.values())
            found = [(item.group, item.name) for item in self.by_group.scan(seen)]
            require(found == groups, f"the index by_group at {lsn}")
            codes = [item.code for item in self.by_code.scan(seen)]
            require(codes == sorted(item.code for item in state.items.values()), "by_code")
            emails = sorted(person.name for person in self.by_email.scan(seen))
            require(
                emails == sorted(living), f"by_email at {lsn}: {emails} is not {sorted(living)}"
            )
            prefix = self.by_email.prefix
            entries = sum(1 for _ in store.walk(prefix, after(prefix)))
            require(entries == len(living), "an entry about somebody erased is still there")
        places = self.disk.directories[f"{PATH}/keys"].live
        rings = [unpack_ring(bytes(places[name].cache)) for name in PLACES]
        require(
            all(ring is not None and ring.nodes == rings[0].nodes for ring in rings if rings[0]),
            "a place of the key file holds what was destroyed",
        )
        if store.log.first_lsn > 1:
            return
        checked = verify_tables(
            store, OpenModel(0, 0.0), f"{PATH}/verify{self.rng.getrandbits(40)}"
        )
        require(checked.same, f"the log makes other tables than there are at LSN {checked.lsn}")


STEP_NAMES: Final = ["transact", "await_one", "once", "erase", "checkpoint", "read"]
STEP_WEIGHTS: Final = [12, 4, 1, 1, 1, 2]


def simulate_store(seed: int, *, trace: bool = False) -> Outcome:
    """Run one seed."""
    simulation = Simulation(seed, trace=trace)
    failure: str | None = None
    try:
        simulation.run()
    except Exception as error:
        failure = (
            "".join(traceback.format_exception(error))
            if trace
            else f"{type(error).__name__}: {error}"
        )
    return Outcome(seed, dict(simulation.counts), failure, simulation.disk.trace or [])
