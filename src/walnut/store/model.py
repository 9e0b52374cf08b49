"""The store's types: how it is opened, and what it tells of itself. No I/O."""

from __future__ import annotations

from typing import Final

import msgspec

from walnut.log.metrics import Histogram
from walnut.log.metrics import Metrics as LogMetrics
from walnut.log.model import LogOptions
from walnut.store.engine import OpenEngine
from walnut.store.errors import InvalidSetting
from walnut.store.rocks import RocksOptions

MIB: Final = 1 << 20
DAY: Final = 86_400.0
_SLOW_KEPT: Final = 20
_SORT_EVERY: Final = 1024


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a store behaves. The defaults are safe.

    Attributes:
        log: of the log beneath; its `sync` must be "always", and its retention is the window here.
        engine: what holds the tables.
        checkpoint_bytes, checkpoint_seconds: the tables are flushed when the log has grown by so
            much since the last time, or so long ago; that is how much a restart has to fold again.
        window_seconds, window_bytes: how much of the log is kept behind the last checkpoint, for
            restoring to any moment in it, for followers and for feeds; None is for ever.
        idempotency_seconds: how long the result of a function that ran under an idempotency key is
            remembered.
        value_bytes: the largest row.
        slow_seconds: a transaction function that takes longer is counted and named.
    """

    log: LogOptions = msgspec.field(default_factory=LogOptions)
    engine: OpenEngine = msgspec.field(default_factory=RocksOptions)
    checkpoint_bytes: int = 256 * MIB
    checkpoint_seconds: float = 300.0
    window_seconds: float | None = 7 * DAY
    window_bytes: int | None = None
    idempotency_seconds: float = DAY
    value_bytes: int = MIB
    slow_seconds: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what can't work, by name."""
        if self.log.sync != "always":
            raise InvalidSetting(
                f"the log's sync is {self.log.sync!r}: a store answers only when its record is "
                "durable, so leave it at 'always'"
            )
        for name, value, low in (
            ("checkpoint_bytes", self.checkpoint_bytes, 1),
            ("checkpoint_seconds", self.checkpoint_seconds, 0.01),
            ("window_seconds", self.window_seconds, 0),
            ("window_bytes", self.window_bytes, 0),
            ("idempotency_seconds", self.idempotency_seconds, 0),
            ("value_bytes", self.value_bytes, 1),
            ("slow_seconds", self.slow_seconds, 0),
        ):
            if value is not None and value < low:
                raise InvalidSetting(f"{name} is {value}: it must be at least {low}")


class Redo(msgspec.Struct, frozen=True, kw_only=True):
    """What opening a store folded from its log into its tables.

    Attributes:
        after: the LSN the tables were at.
        upto: the LSN they are at now.
        transactions: how many were folded.
        seconds: how long it took.
    """

    after: int = 0
    upto: int = 0
    transactions: int = 0
    seconds: float = 0.0


class Slow(msgspec.Struct, frozen=True):
    """A transaction function that took too long: its name, seconds, and the LSN it ran for."""

    function: str
    seconds: float
    lsn: int


class Metrics(msgspec.Struct):
    """Counters since the store was opened, and distributions in microseconds.

    Attributes:
        transactions: committed. `reads`: those that wrote nothing. `raised`: by their function.
        repeats: answered from the memory of idempotency keys.
        reruns: functions run again because the log's end had moved under them.
        refused: transactions turned away because the disk was full.
        after_raised: functions given to `Transaction.after` that raised.
        applies, applied: batches and transactions written to the tables.
        checkpoints: of the tables.
        turn: that those who had to wait for the function before theirs waited.
        durable: from the beginning of a function until its record was durable, of the first one of
            each group, which waits longest; the log's own `write` and `sync` are a part of it.
        apply: to write a group to the tables; then its callers are answered.
        function: in each function.
        slow: the last functions that took too long; `slow_count` is how many did.
    """

    transactions: int = 0
    reads: int = 0
    raised: int = 0
    repeats: int = 0
    reruns: int = 0
    refused: int = 0
    after_raised: int = 0
    applies: int = 0
    applied: int = 0
    checkpoints: int = 0
    slow_count: int = 0
    turn: Histogram = msgspec.field(default_factory=Histogram)
    durable: Histogram = msgspec.field(default_factory=Histogram)
    apply: Histogram = msgspec.field(default_factory=Histogram)
    slow: list[Slow] = []
    _function: Histogram = msgspec.field(default_factory=Histogram)
    _unsorted: list[float] = []

    def observe_function(self, seconds: float) -> None:
        """Remember how long a function took; sorted into the distribution later, many at a time."""
        self._unsorted.append(seconds)
        if len(self._unsorted) >= _SORT_EVERY:
            self._sort()

    def _sort(self) -> None:
        taken, self._unsorted = self._unsorted, []
        for seconds in taken:
            self._function.observe(1e6 * seconds)

    @property
    def function(self) -> Histogram:
        """Microseconds spent in each transaction function."""
        self._sort()
        return self._function

    def note_slow(self, slow: Slow) -> None:
        """Remember a slow function."""
        self.slow_count += 1
        self.slow = [*self.slow[1 - _SLOW_KEPT :], slow]

    def activity(self, seconds: float, log: LogMetrics) -> Activity:
        """What happened in so many seconds on such a log."""
        stages = {
            "turn": self.turn, "function": self.function, "durable": self.durable,
            "write": log.write, "sync": log.sync, "apply": self.apply,
        }  # fmt: skip
        return Activity(
            seconds=seconds,
            transactions=self.transactions,
            per_second=self.transactions / seconds,
            group=log.batch.mean,
            stages={
                name: Stage(times.count, times.quantile(0.5), times.quantile(0.99), times.maximum)
                for name, times in stages.items()
            },
            slow=self.slow,
        )


class Stage(msgspec.Struct, frozen=True):
    """How long a part of a transaction's way took, in microseconds, and how often that was seen."""

    count: int
    p50: float
    p99: float
    most: float


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """What a store has done since it was opened.

    Attributes:
        transactions, per_second: committed.
        group: records that shared a flush of the log, on average.
        stages: from call to answer, by `Metrics`: turn, function, durable (of it the log's write and
            sync), apply.
        slow: the last functions that took too long.
    """

    seconds: float
    transactions: int
    per_second: float
    group: float
    stages: dict[str, Stage]
    slow: list[Slow]


class TableStat(msgspec.Struct, frozen=True):
    """A table: its name, the schema number of new rows, its indexes, and its features."""

    name: str
    schema: int
    indexes: list[str]
    subjects: bool
    before: bool


class StoreStat(msgspec.Struct, frozen=True, kw_only=True):
    """A store at a glance.

    Attributes:
        applied_lsn: what the tables hold. `checkpoint_lsn`: what of it is flushed.
        checkpoint_age: seconds since the last checkpoint of this process, or since it was opened;
            None where another process writes the store.
        window: the oldest LSN that is still in the log, and when it was written (ns; 0 if empty).
        overlay: entries that are not in the tables yet.
        memory_bytes: held by the engines.
        activity: since it was opened; None where another process writes the store.
    """

    path: str
    next_lsn: int
    durable_lsn: int
    applied_lsn: int
    checkpoint_lsn: int
    checkpoint_age: float | None
    window: tuple[int, int]
    log_bytes: int
    overlay: int
    memory_bytes: int
    tables: list[TableStat]
    activity: Activity | None
