"""Group commit: many callers, one flush at a time, one frame per flush.

    submit ─▶ open batch ─▶ queue ─▶ leader takes the head ─▶ write + sync ─▶ wake its waiters

Whoever waits and finds no flush running leads it, in its own thread; what queued up meanwhile is
the next batch, which the flusher thread leads, so that no caller works for others after its own
record is durable. Event loops never lead: a turn's submissions are flushed by the flusher when the
turn ends. Each waiter is woken once, by its own lock or its own future.

What must stay true: LSNs are given in the order of submission and batches are written in that
order; a batch is answered only after the write function returned; after a failure nothing that was
queued is ever written. The lock guards the queue and the numbers, never I/O. Ctrl-C may strike
between any two calls of the main thread: it must leave nobody waiting for a leader who went away,
so who leads is remembered by thread, and what it left half done is a failure for who leads next.
"""

from __future__ import annotations

import asyncio
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec

from walnut.log.errors import (
    BufferFull,
    EndMoved,
    LogClosed,
    LogError,
    LogFailed,
    LogFull,
    WaitTimeout,
)
from walnut.log.metrics import Metrics
from walnut.log.model import LogOptions, Producer
from walnut.log.producers import Note, Producers

_running_loop = asyncio._get_running_loop  # noqa: SLF001  None instead of an exception, ten times faster

_FLUSHER: Final = 0
"""The leader while the flusher thread was chosen and did not yet begin; no thread has this id."""

RECORD_COST: Final = 64
"""What a record costs the buffer beside its bytes: the object that holds them."""


class Batch:
    """The records that will share a frame."""

    __slots__ = (
        "batons", "begun", "cost", "done", "error", "first_lsn", "futures", "group", "notes",
        "pressed", "records", "ripe", "scheduled",
    )  # fmt: skip

    def __init__(self, group: GroupCommit, first_lsn: int) -> None:
        self.group = group
        self.first_lsn = first_lsn
        self.records: list[bytes] = []
        self.notes: list[Note] = []
        self.cost = 0
        self.begun = 0.0  # when someone began to count on it (`time.perf_counter`)
        self.scheduled = False  # a flush of it is on its way
        self.ripe = False  # no event-loop turn is still adding to it
        self.done = False
        self.error: LogError | None = None
        self.batons: list[threading.Lock] = []
        # By event loop: who awaits it there. A loop that is in here ripens it after its turn.
        self.futures: dict[AbstractEventLoop, list[tuple[Future[int], int]]] = {}
        self.pressed = 0  # bytes over the buffer's bound that nobody awaits yet


class Ticket(msgspec.Struct, gc=False, eq=False):
    """A record that was submitted: its LSN, and a way to wait until it is durable.

    `await ticket` in a coroutine, `ticket.wait()` in a thread; both give the LSN, and raise
    LogFull or LogFailed if the record was refused, in which case the LSN means nothing.
    """

    lsn: int
    batch: Batch
    pressed: int = 0

    @property
    def done(self) -> bool:
        """It was answered: durable (as the sync policy has it) or refused."""
        return self.batch.done

    def wait(self, timeout: float | None = None) -> int:
        """Wait, at most `timeout` seconds; returns the LSN.

        Raises:
            WaitTimeout: not yet; it may still become durable.
            LogFull, LogFailed: refused.
        """
        self.batch.group.wait(self.batch, timeout)
        if self.batch.error is not None:
            raise self.batch.error
        return self.lsn

    def __await__(self) -> Generator[object, None, int]:
        """Wait in a coroutine."""
        batch = self.batch
        if self.pressed:
            batch.group.release_pressure(self)
        if not batch.done:
            loop = asyncio.get_running_loop()
            future: Future[int] = loop.create_future()
            waiting = batch.futures.get(loop)
            if waiting is None:
                waiting = batch.group.ripen_after_turn(batch, loop)
            waiting.append((future, self.lsn))
            if not batch.done:  # else it may have been answered just before we were on the list
                return future.__await__()
        return self._answer()

    def _answer(self) -> Generator[object, None, int]:
        """The answer at once, as a generator that never stops on the way."""
        yield from ()
        if self.batch.error is not None:
            raise self.batch.error
        return self.lsn


class Turn(NamedTuple):
    """A thread that asked to be the leader next, and what it sleeps on."""

    thread: int
    baton: threading.Lock


def on_event_loop() -> bool:
    """Whether this thread runs an event loop."""
    return _running_loop() is not None


def refuse_event_loop(call: str, instead: str) -> None:
    """Raise if this thread runs an event loop, which `call` would stop for the time of a sync."""
    if on_event_loop():
        raise LogError(f"{call} would block this event loop while the disk works: use {instead}")


class GroupCommit:
    """The queue of batches and who flushes them.

    Args:
        write: writes a batch and makes it as durable as the policy wants; raises LogFull with
            nothing written, anything else for a failure that ends this log.
        flusher: called to have `lead` run soon in another thread; None where there is none.
        refused: called when all queued records from an LSN on are turned away for lack of room,
            before those who wait for them are told and before their LSNs are given anew; it is
            called under the lock and must not call back.
        stopped: called when nothing more will be accepted, for those who wait elsewhere.
    """

    def __init__(
        self,
        options: LogOptions,
        *,
        next_lsn: int,
        producers: Producers,
        write: Callable[[Batch], None],
        flusher: Callable[[], None] | None,
        metrics: Metrics,
        refused: Callable[[int], None],
        stopped: Callable[[], None],
    ) -> None:
        self.next_lsn = next_lsn
        self.producers = producers
        self.failure: LogError | None = None
        self._options = options
        self._write = write
        self._flusher = flusher
        self._metrics = metrics
        self._refused = refused
        self._stopped = stopped
        self._lock = threading.Lock()
        self._queue: deque[Batch] = deque([Batch(self, next_lsn)])
        self._flying: Batch | None = None
        self._leader: int | None = None
        self._turns: deque[Turn] = deque()
        self._room_seekers: list[threading.Lock] = []
        self._buffered = 0
        self._pressed = 0
        self._granted = self._room = 0
        self._grant()

    # -- submitting -----------------------------------------------------------------------------

    def submit(self, data: bytes, *, at: int | None = None, schedule: bool = True) -> Ticket:
        """Queue one record. The hot path: `python -m bench --only stages` has its cost.

        `at`: only if this is its LSN. `schedule=False`: the caller is about to wait, and will lead
        if nobody does. Raises EndMoved."""
        with self._lock:
            room = self._room - len(data) - RECORD_COST
            if room >= 0 and (at is None or at == self.next_lsn):
                self._room = room
                batch = self._queue[-1]
                lsn = self.next_lsn
                self.next_lsn = lsn + 1
                batch.records.append(data)  # last, as Ctrl-C may strike after a call
                if batch.scheduled or not schedule:
                    return Ticket(lsn, batch)
                batch.scheduled = True
                ticket = Ticket(lsn, batch)
            else:
                ticket = None
        if ticket is None:
            return self.submit_group([data], None, at=at, schedule=schedule)
        self._schedule(ticket.batch)
        return ticket

    def submit_group(
        self,
        records: Sequence[bytes],
        producer: Producer | None,
        *,
        at: int | None = None,
        schedule: bool = True,
    ) -> Ticket:
        """Queue records that share a frame whatever happens; the ticket has the first one's LSN.

        Blocks for room in the buffer, except on an event loop. `at`, `schedule`: as for `submit`."""
        while (ticket := self._admit(records, producer, at=at, schedule=schedule)) is None:
            self._make_room()
        if schedule:
            self._schedule(ticket.batch)
        return ticket

    def _admit(
        self,
        records: Sequence[bytes],
        producer: Producer | None,
        *,
        at: int | None,
        schedule: bool,
    ) -> Ticket | None:
        """Queue records, or None if they have to wait for room."""
        cost = sum(map(len, records)) + RECORD_COST * len(records)
        bound = self._options.buffer_bytes
        with self._lock:
            if self.failure is not None:
                raise self.failure
            if producer is not None and (lsn := self.producers.find(producer)) is not None:
                self._metrics.duplicates += 1
                return Ticket(lsn, self._batch_of(lsn))
            if at is not None and at != self.next_lsn:
                raise EndMoved(
                    f"the record was for LSN {at} and the next one is {self.next_lsn}: others were "
                    "appended or refused meanwhile; look again and try again"
                )
            self._settle()
            pressed = 0
            if self._buffered and self._buffered + cost > bound:
                if _running_loop() is None:
                    return None
                pressed = cost
                if self._pressed + pressed > bound:
                    raise BufferFull(
                        f"{self._buffered} bytes wait to be written, {self._pressed} of them over the "
                        "bound and awaited by nobody: await the tickets before submitting on"
                    )
            return self._enqueue(records, cost, producer, pressed, schedule=schedule)

    def _enqueue(
        self,
        records: Sequence[bytes],
        cost: int,
        producer: Producer | None,
        pressed: int,
        *,
        schedule: bool,
    ) -> Ticket:
        batch = self._queue[-1]
        if batch.records and batch.cost + cost > self._options.frame_bytes:
            batch.ripe = True
            batch = Batch(self, self.next_lsn)
            self._queue.append(batch)
        lsn = self.next_lsn
        if producer is not None:
            batch.notes.append((len(batch.records), *producer))
            self.producers.add(*producer, lsn)
        batch.records.extend(records)
        batch.cost += cost
        batch.pressed += pressed
        self._buffered += cost
        self._pressed += pressed
        batch.scheduled |= schedule
        self.next_lsn = lsn + len(records)
        self._grant()
        return Ticket(lsn, batch, pressed)

    def _settle(self) -> None:
        """Book what the hot path took from its grant, which ends it."""
        spent = self._granted - self._room
        self._granted = self._room = 0
        self._queue[-1].cost += spent
        self._buffered += spent

    def _grant(self) -> None:
        """What the hot path may take without asking: the rest of the open frame, or nothing."""
        if self.failure is None:
            frame = self._options.frame_bytes - self._queue[-1].cost
            buffer = self._options.buffer_bytes - self._buffered
            self._granted = self._room = max(0, min(frame, buffer))

    def _batch_of(self, lsn: int) -> Batch:
        """The batch that holds this LSN, or one that is done if it was written long ago."""
        batches = [*self._queue] if self._flying is None else [self._flying, *self._queue]
        for batch in reversed(batches):
            if batch.first_lsn <= lsn:
                return batch
        done = Batch(self, lsn)
        done.done = True
        return done

    def _make_room(self) -> None:
        """Block until something left the buffer, by leading a flush if nobody does."""
        baton = _baton()
        with self._lock:
            lead = self._claim()
            if not lead:
                self._room_seekers.append(baton)
        if lead:
            self._flush_and_pass_on()
        else:
            baton.acquire()

    def release_pressure(self, ticket: Ticket) -> None:
        """Someone awaits this ticket, so it no longer counts against the bound."""
        with self._lock:
            freed, ticket.pressed = ticket.pressed, 0
            if not ticket.batch.done:
                ticket.batch.pressed -= freed
                self._pressed -= freed

    # -- waiting --------------------------------------------------------------------------------

    def wait(self, batch: Batch, timeout: float | None = None) -> None:
        """Wait until `batch` is answered, leading its flush if no flush is running."""
        if not batch.done:
            refuse_event_loop("waiting for a ticket", "`await ticket`")
            batch.begun = batch.begun or time.perf_counter()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            baton = None
            with self._lock:
                if batch.done:
                    return
                if not self._claim():
                    baton = _baton()
                    batch.batons.append(baton)
            if baton is None:
                self._flush_and_pass_on()
                continue
            left = -1 if deadline is None else max(0.0, deadline - time.monotonic())
            if not baton.acquire(timeout=left) and not batch.done:
                raise WaitTimeout(
                    f"LSN {batch.first_lsn} and those with it were not durable after {timeout} s; "
                    "they may still become so: wait again, or read `durable_lsn`"
                )

    # -- leading --------------------------------------------------------------------------------

    def _claim(self) -> bool:
        """Become the leader if there is none, or if this thread is and was interrupted before it
        could step down. The lock is held."""
        me = threading.get_ident()
        if self._leader is None:
            self._leader = me
        return self._leader == me

    def _schedule(self, batch: Batch) -> None:
        """See that `batch` is flushed: when this event loop's turn ends, or at once."""
        batch.begun = batch.begun or time.perf_counter()
        loop = _running_loop()
        if loop is None:
            self._ripen(batch)
        elif loop not in batch.futures:
            self.ripen_after_turn(batch, loop)

    def ripen_after_turn(
        self, batch: Batch, loop: AbstractEventLoop
    ) -> list[tuple[Future[int], int]]:
        """See that `batch` is flushed when this turn of the loop ends; gives the list of those who
        await it there. Once for each loop: none depends on how long a turn of another one takes."""
        waiting = batch.futures.setdefault(loop, [])
        loop.call_soon(self._ripen, batch)
        return waiting

    def _ripen(self, batch: Batch) -> None:
        def ripen() -> bool:
            batch.ripe = True
            if batch.done or self._flusher is None or self._leader is not None:
                return False
            self._leader = _FLUSHER
            return True

        self._decide(ripen)

    def _decide(self, decision: Callable[[], bool]) -> None:
        """Decide under the lock whether the flusher leads now, and wake it if so."""
        try:
            with self._lock:
                wake = decision()
            if wake and self._flusher is not None:
                self._flusher()
        except BaseException:
            if self._leader == _FLUSHER and self._flusher is not None:
                self._flusher()  # it may have been told, which is no harm
            raise

    def lead(self) -> None:
        """Flush until nothing is due. For the flusher thread, if it was made the leader."""
        with self._lock:
            if self._leader != _FLUSHER:
                return
            self._leader = threading.get_ident()
        while True:
            self._flush_head()
            with self._lock:
                if not self._turns and self._due():
                    continue
                self._pass_on()
                return

    def _flush_and_pass_on(self) -> None:
        """Flush one batch as the leader, and leave the rest to the flusher."""
        try:
            self._flush_head()
        finally:
            self._decide(self._pass_on)

    def _due(self) -> bool:
        head = self._queue[0]
        return bool(head.records) and (head.ripe or bool(head.batons) or bool(self._room_seekers))

    def _pass_on(self) -> bool:
        """Stop leading: for who asked for a turn, or for the flusher, which is then to be woken:
        True. The lock is held."""
        if self._turns:
            turn = self._turns[0]
            self._leader = turn.thread
            del self._turns[0]
            turn.baton.release()
            return False
        if self._flusher is not None and self._due():
            self._leader = _FLUSHER
            return True
        self._leader = None
        # Waiters of a batch that nobody will lead now lead it themselves.
        _release(self._queue[0].batons)
        self._queue[0].batons = []
        self._wake_room_seekers()
        return False

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the leader for the length of a block: nobody else writes."""
        turn = Turn(threading.get_ident(), _baton())

        def leave() -> bool:
            if self._leader == turn.thread:
                return self._pass_on()
            if turn in self._turns:  # interrupted while it waited
                self._turns.remove(turn)
            return False

        try:
            with self._lock:
                lead = self._claim()
                if not lead:
                    self._turns.append(turn)
            if not lead:
                turn.baton.acquire()
            self._fail_if_interrupted()
            yield
        finally:
            self._decide(leave)

    def flush_all(self) -> None:
        """Flush everything that is queued now. Only inside `exclusive`.

        Raises LogFull if some of it was refused; a failure is left in `failure`."""
        last = self.next_lsn
        while self.failure is None and self._queue[0].records and self._queue[0].first_lsn < last:
            if (batch := self._flush_head()) is not None and isinstance(batch.error, LogFull):
                raise batch.error

    def _flush_head(self) -> Batch | None:
        """Flush the batch at the head of the queue; returns it, answered."""
        self._fail_if_interrupted()
        if self._options.linger_seconds and self._room > 0:
            time.sleep(self._options.linger_seconds)
        with self._lock:
            self._settle()
            if self.failure is not None or not self._queue[0].records:
                return None
            batch = self._flying = self._queue[0]
            if len(self._queue) == 1:
                self._queue.append(Batch(self, self.next_lsn))
            del self._queue[0]
            self._grant()
            whole = batch.first_lsn + len(batch.records) == self._queue[0].first_lsn
        if not whole:
            self._fail_if_interrupted()
            return batch
        try:
            self._write(batch)
        except LogFull as error:
            self._refuse(batch, error)
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, Exception):
                raise
        else:
            self._answer([batch], None)
        return batch

    def _fail_if_interrupted(self) -> None:
        """Fail if a batch is in flight though nobody leads but the caller."""
        if self._flying is not None:
            self.fail(KeyboardInterrupt("in the middle of a flush or of queuing a record"))

    # -- answering ------------------------------------------------------------------------------

    def fail(self, cause: BaseException) -> None:
        """Accept nothing more, and fail all that is not yet answered."""
        failure = LogFailed(
            f"the log stopped: {type(cause).__name__}: {cause}. What was not acknowledged may or may "
            "not be on disk; close the log and open it again to recover"
        )
        failure.__cause__ = cause
        self._metrics.failures += 1
        self.stop(failure)

    def stop(self, refusal: LogError) -> None:
        """Answer everything queued, and everything to come, with this error."""
        with self._lock:
            if self.failure is None or isinstance(refusal, LogClosed):
                self.failure = refusal
            dropped = [] if self._flying is None else [self._flying]
            dropped += self._queue
            self._queue = deque([Batch(self, self.next_lsn)])
            self._granted = self._room = 0
        self._answer(dropped, refusal)
        self._stopped()

    def after_fork(self, refusal: LogClosed) -> None:
        """In a forked child, where no other thread lives on: refuse everything, block nobody."""
        for batch in (self._flying, *self._queue):
            if batch is not None:
                batch.error, batch.done = refusal, True
        self._lock = threading.Lock()
        self._queue = deque([Batch(self, self.next_lsn)])
        self._turns.clear()
        self._flying, self._leader, self.failure = None, None, refusal
        self._granted = self._room = 0

    def _refuse(self, batch: Batch, error: LogFull) -> None:
        """The disk is full: turn away this batch and all behind it; their LSNs are given anew."""
        with self._lock:
            self._settle()
            dropped = [batch, *self._queue]
            # First: who reads `next_lsn` after this knows that what had these LSNs is gone.
            self._refused(batch.first_lsn)
            self.next_lsn = batch.first_lsn
            self.producers.forget_from(batch.first_lsn)
            self._queue = deque([Batch(self, self.next_lsn)])
            self._metrics.refused += sum(len(dropped.records) for dropped in dropped)
        self._answer(dropped, error)

    def restart(self, next_lsn: int, producers: Producers) -> None:
        """Go on from another LSN. Only inside `exclusive`, with nothing queued."""
        with self._lock:
            self.next_lsn = next_lsn
            self.producers = producers
            self._queue = deque([Batch(self, next_lsn)])

    def _answer(self, batches: list[Batch], error: LogError | None) -> None:
        try:
            self._mark(batches, error)
            self._tell(batches, error)
        except BaseException:  # Ctrl-C: nobody may be left waiting; being told twice is no harm
            self._tell(batches, error)
            raise

    def _mark(self, batches: list[Batch], error: LogError | None) -> None:
        with self._lock:
            for batch in batches:
                batch.error = error
                batch.done = True
                batch.records = []  # a ticket that is kept for long must not keep these
                self._buffered -= batch.cost
                self._pressed -= batch.pressed
            self._settle()
            self._grant()
            self._wake_room_seekers()
            self._flying = None

    def _tell(self, batches: list[Batch], error: LogError | None) -> None:
        for batch in batches:
            _release(batch.batons)
            for loop, waiting in list(batch.futures.items()):
                if not waiting:
                    continue
                try:
                    loop.call_soon_threadsafe(_resolve, waiting, error)
                except RuntimeError:  # the loop was closed: nobody is left to be told
                    self._metrics.abandoned += len(waiting)

    def _wake_room_seekers(self) -> None:
        _release(self._room_seekers)
        self._room_seekers = []


def _baton() -> threading.Lock:
    """A lock that is taken: who acquires it again sleeps until another thread releases it."""
    baton = threading.Lock()
    baton.acquire()
    return baton


def _release(batons: list[threading.Lock]) -> None:
    """Wake who waits for these, but for those who were woken already."""
    for baton in batons:
        if baton.locked():
            baton.release()


def _resolve(waiting: list[tuple[Future[int], int]], error: LogError | None) -> None:
    for future, lsn in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(lsn)
        else:
            future.set_exception(error)
