"""The simulator of topics: random appends on a store that is crashed again and again, held against lists.

Transactions are run and answered in a seeded order, so that several are under way when a fault comes.
For every LSN the model remembers what was to be after it: the messages of each topic, what each producer
sent, and a counter that every append also adds to. What a producer was not answered it sends again, as
they do. What must stay true of the simulator itself: it knows only what a caller was told, and a seed
replays exactly.

    round: work ── fault ── reopen (may crash, is repeated) ── check everything ── next round
"""

from __future__ import annotations

import random
import traceback
from collections import Counter
from itertools import pairwise
from typing import Any, Final

import msgspec

from walnut.log.errors import DiskError, LogFailed, LogFull
from walnut.log.model import LogOptions
from walnut.store.errors import TablesFailed
from walnut.store.execution import Answer
from walnut.store.model import StoreOptions
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.testing.disk import Crash, SimClock, SimDisk
from walnut.testing.engine import OpenModel
from walnut.testing.simulator import Outcome, require
from walnut.topics.columns import sizes_of
from walnut.topics.errors import OffsetTruncated
from walnut.topics.model import Appended, Message, TopicOptions, TopicsOptions
from walnut.topics.producers import WINDOW
from walnut.topics.rows import Chunk, Dropped, Topic
from walnut.topics.topics import Topics

PATH: Final = "sim/topics"
ROUNDS: Final = 6
STEPS: Final = 40
SHORT: Final = "short"
KEPT: Final = 7
"""Messages that the topic `short` keeps."""
NAMES: Final = ["a", "b", SHORT]
PRODUCERS: Final = ["p", "q"]


class Held(msgspec.Struct, frozen=True):
    """What a topic holds: values from the offset `first` on."""

    first: int = 0
    values: tuple[bytes, ...] = ()

    @property
    def next(self) -> int:
        """The offset of the next one."""
        return self.first + len(self.values)

    def without(self, before: int) -> Held:
        """The same without offsets below `before`."""
        return Held(before, self.values[before - self.first :]) if before > self.first else self


class State(msgspec.Struct, frozen=True):
    """What there is after an LSN. `sent`: by topic and producer, where each of its appends went, and
    what they were."""

    topics: dict[str, Held]
    sent: dict[tuple[str, str], tuple[tuple[int, int, list[bytes]], ...]]
    total: int


class Tried(msgspec.Struct):
    """A transaction under way: its answer and its LSN."""

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
        self.outbox: dict[tuple[str, str, int], list[bytes]] = {}
        """What producers sent, by sequence: what they were not answered they send again."""
        self.number = 0
        self.failed = False
        self.topics: Topics
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
            window_bytes=self.rng.choice([None, 40_000]),
        )

    def run(self) -> None:
        """Live it."""
        self._recover()
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
                self.topics.store.close()
                self._learn()
                self._open()
            self.failed = False
            self._check_all()
        self._settle()
        self.topics.store.close()

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
        newest = store.log.durable_lsn
        require(newest >= self.promised, f"LSN {self.promised} was promised; {newest} is the end")
        self.states = {lsn: state for lsn, state in self.states.items() if lsn <= newest}
        self.topics = Topics(store, TopicsOptions(topics=len(NAMES)))
        self.total = store.counter("total")

    def _recover(self) -> None:
        self._learn()
        while True:
            if self.rng.random() < 0.3:
                self.disk.faults.crash_after = self.rng.randrange(80)
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
        end = self.topics.store.log.next_lsn if hasattr(self, "topics") else 1
        return self.states[max(lsn for lsn in self.states if lsn < end)]

    def _values(self) -> list[bytes]:
        self.number += 1
        return [b"%d.%d" % (self.number, each) for each in range(self.rng.randrange(1, 6))]

    def _submit(self, function: Any, after: State) -> Answer[Any]:
        """Run a transaction that is to leave this behind."""
        answer = self.topics.store.submit(function)
        ticket = answer.ticket
        assert ticket is not None
        require(ticket.lsn > self.promised, f"LSN {ticket.lsn} was given twice")
        self.states[ticket.lsn] = after
        self.tried.append(Tried(ticket.lsn, answer))
        return answer

    def _append(self) -> None:
        """Appends to several topics, which are made if they are not there, and a counter, at once."""
        before, rng = self._latest(), self.rng
        wanted: list[tuple[str, list[bytes]]] = [
            (rng.choice(NAMES), self._values()) for _ in range(rng.randrange(1, 4))
        ]
        keyed = rng.random() < 0.2
        held = dict(before.topics)
        expected = []
        for name, values in wanted:
            was = held.get(name, Held())
            held[name] = Held(was.first, was.values + tuple(values))
            expected.append((was.next, held[name].next))
        total = before.total + sum(len(values) for _, values in wanted)

        def function(tx: Transaction) -> None:
            for (name, values), place in zip(wanted, expected, strict=True):
                if not self.topics.exists(tx, name):
                    self._make(tx, name)
                messages = [Message(value, value) if keyed else value for value in values]
                done = self.topics.append(tx, name, messages)
                require((done.first, done.next) == place, f"{name} gave {done}, not {place}")
                self.total.add(tx, len(values))

        self._submit(function, State(held, before.sent, total))

    def _make(self, tx: Transaction, name: str) -> None:
        options = TopicOptions(keep_messages=KEPT) if name == SHORT else None
        self.topics.create(tx, name, options)

    def _send(self) -> None:
        """A producer sends what is next, or again what it sent before."""
        before, rng = self._latest(), self.rng
        name, producer = key = rng.choice(NAMES), rng.choice(PRODUCERS)
        if name not in before.topics:
            return
        sent = before.sent.get(key, ())
        sequence = len(sent) if rng.random() < 0.6 else rng.randrange(len(sent) + 1)
        if sequence < len(sent) - WINDOW:
            return
        new = sequence == len(sent)
        values = (
            self.outbox.setdefault((*key, sequence), self._values()) if new else sent[sequence][2]
        )

        def function(tx: Transaction) -> Appended:
            done = self.topics.append(tx, name, values, (producer, sequence))
            if not done.repeated:
                self.total.add(tx, len(values))
            return done

        if not new:
            self.counts["repeats"] += 1
            done = self.topics.store.submit(function).wait()
            require(done.repeated, f"{key} sent {sequence} again and it was appended again")
            require(
                (done.first, done.next) == sent[sequence][:2], "a repeat was told another place"
            )
            return
        was = before.topics[name]
        after = Held(was.first, was.values + tuple(values))
        place = was.next, after.next, values
        state = State(
            {**before.topics, name: after},
            {**before.sent, key: (*sent, place)},
            before.total + len(values),
        )
        self._submit(function, state)

    def _truncate(self) -> None:
        before = self._latest()
        name = self.rng.choice(NAMES)
        held = before.topics.get(name)
        if held is None or not held.values or name == SHORT:  # which begins where sweeps left it
            return
        at = self.rng.randrange(held.first + 1, held.next + 1)
        topics = {**before.topics, name: held.without(at)}
        self._submit(
            lambda tx: self.topics.truncate(tx, name, at), State(topics, before.sent, before.total)
        )

    def _delete(self) -> None:
        before = self._latest()
        name = self.rng.choice(NAMES)
        if name not in before.topics:
            return
        topics = {other: held for other, held in before.topics.items() if other != name}
        sent = {key: places for key, places in before.sent.items() if key[0] != name}
        self._submit(lambda tx: self.topics.delete(tx, name), State(topics, sent, before.total))

    def _sweep(self) -> None:
        """Retention moves the beginning of `short`, as `_compare` allows; nothing else is seen of it."""
        self.topics.sweep()

    def _await_one(self) -> None:
        if self.tried:
            tried = self.rng.choice(self.tried)
            tried.answer.wait()
            self.promised = max(self.promised, tried.lsn)

    def _checkpoint(self) -> None:
        self.topics.store.checkpoint()
        self.topics.store.log.housekeep()

    def _read(self) -> None:
        """What anybody outside sees is durable, and the state after one LSN."""
        store = self.topics.store
        with store.snapshot() as seen:
            require(seen.lsn <= store.log.durable_lsn, "what is not durable was shown")
            self._compare(seen, self.states[max(lsn for lsn in self.states if lsn <= seen.lsn)])

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
        self.tried = still

    # -- checking -------------------------------------------------------------------------------

    def _check_all(self) -> None:
        """Compare everything with what it is to be after the last LSN that survived."""
        self._learn()
        store = self.topics.store
        lsn = max(lsn for lsn in self.states if lsn <= store.log.durable_lsn)
        with store.snapshot() as seen:
            self._compare(seen, self.states[lsn])

    def _compare(self, seen: Any, state: State) -> None:
        names = [info.name for info in self.topics.page(seen).topics]
        require(names == sorted(state.topics), f"topics are {names}, not {sorted(state.topics)}")
        require(self.total.value(seen) == state.total, "appends and the counter are not together")
        for name, held in state.topics.items():
            info = self.topics.info(seen, name)
            require(info.next == held.next, f"{name} ends at {info.next}, not {held.next}")
            swept = max(held.first, held.next - KEPT) if name == SHORT else held.first
            require(
                held.first <= info.first <= swept,
                f"{name} begins at {info.first}, not {held.first}",
            )
            self._compare_messages(seen, name, held.without(info.first))
        self._check_rows(seen)

    def _compare_messages(self, seen: Any, name: str, held: Held) -> None:
        offset = held.first
        found: list[bytes] = []
        while part := self.topics.read(seen, name, offset, limit=self.rng.randrange(1, 9)).messages:
            require(
                [message.offset for message in part] == list(range(offset, offset + len(part))),
                f"offsets of {name} are not dense",
            )
            found += [message.value for message in part]
            offset += len(part)
        require(tuple(found) == held.values, f"{name} holds {found}, not {held.values}")
        if held.first:
            try:
                self.topics.read(seen, name, held.first - 1)
            except OffsetTruncated as error:
                require(error.first == held.first, "an error names another first offset")
            else:
                require(False, f"{name} gave a message that it let go of")

    def _check_rows(self, seen: Any) -> None:
        """Chunks are those that topics hold and those to be deleted, without a gap or a stray one."""
        declared = self.topics.store.declared
        topics: dict[int, Topic] = {topic.id: topic for topic in declared("topics").scan(seen)}
        dropped: dict[int, Dropped] = {
            row.topic: row for row in declared("topics.dropped").scan(seen)
        }
        chunks: dict[int, list[Chunk]] = {}
        for chunk in declared("topics.chunks").scan(seen):
            chunks.setdefault(chunk.topic, []).append(chunk)
        strays = chunks.keys() - topics.keys() - dropped.keys()
        require(not strays, f"chunks are left of topics {strays}, which are gone")
        for number, topic in topics.items():
            have = chunks.get(number, [])
            for one, other in pairwise(have):
                require(one.next == other.first, f"chunks of {topic.name} have a gap")
            first = dropped[number].first if number in dropped else topic.first
            if first < topic.next:
                require(bool(have) and have[0].first <= first < have[0].next, "the first chunk")
                require(have[-1].next == topic.next, f"the last chunk of {topic.name}")
            size = sum(sum(sizes_of(c.values, c.keys, c.headers)) for c in have)
            require(topic.bytes == size, f"{topic.name} says {topic.bytes} bytes and has {size}")

    def _settle(self) -> None:
        """After a last sweep nothing is left of what was let go of."""
        require(not self.topics.sweep().more, "there is more to sweep than was written")
        self._check_all()
        store = self.topics.store
        require(store.declared("topics.dropped").count(store) == 0, "a sweep left something")
        held = self._latest().topics.get(SHORT)
        if held is not None:
            kept = self.topics.info(store, SHORT).messages
            require(kept == min(KEPT, len(held.values)), f"{SHORT} keeps {kept} messages")


STEP_NAMES: Final = [
    "append", "send", "await_one", "truncate", "delete", "sweep", "checkpoint", "read",
]  # fmt: skip
STEP_WEIGHTS: Final = [10, 10, 5, 1, 1, 2, 1, 2]


def simulate_topics(seed: int, *, trace: bool = False) -> Outcome:
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
