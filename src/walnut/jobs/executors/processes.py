"""Attempts in child processes: what crashes, hangs or eats all memory takes only itself along.

    start ──▶ an idle child, at once ───────────────────────────▶ child ─┐
       └────▶ waiting ──▶ the runner's thread: starts children,          │ Done, Told, or its end
                          gives them what waits, hears them ◀────────────┘
                             └──▶ futures, notes

Children start on demand and stay for the next attempt. They are replaced when they are old or have
grown, and idle ones end, but for one that is kept warm. A child is not a sandbox: it has our user's
rights, and what an attempt leaves behind in it (modules, the current directory, threads) the next
one finds.

What must stay true: a child has at most one attempt, so its end is the end of that and no other;
while attempts wait, no child is idle; children are started and reaped by the runner's thread alone.
That thread calls `tell` and the futures' callbacks: they are to be quick.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Final

import msgspec

from walnut.jobs.call import Call, Limits, Tell
from walnut.jobs.errors import LimitExceeded
from walnut.jobs.executors.handle import Ending, Handle, State
from walnut.jobs.executors.runner import NOT_BEGUN, died, key_of, unavailable
from walnut.jobs.executors.wire import Do, Done, Ready, Said, Setup, Told, frame
from walnut.jobs.outcome import Failure, Outcome, failure

WARM: Final = 1
"""Idle children that stay: the first call after a quiet hour need not wait for an interpreter."""
TICK_SECONDS: Final = 1.0
"""How often idle and late children are looked after."""
POLL_SECONDS: Final = 0.05
"""The same where the end of a child can't be watched (not Linux)."""
START_SECONDS: Final = 60.0
"""A child that has not started by then never will."""
STARTS: Final = 5
"""So many children in a row end before they have started: it won't get better by itself."""
BACKOFF_SECONDS: Final = 0.05
"""Between them, doubled each time, up to a few seconds."""
LEAVE_SECONDS: Final = 2.0
"""For a child that was asked to end, to run the exit handlers of what it has imported."""
DEATH_SECONDS: Final = 5.0
"""A process that was killed and is still there then hangs in the kernel: nobody waits for it."""


class ProcessOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How child processes are kept.

    Attributes:
        workers: how many there are at most.
        attempts: after so many a child is replaced: against what leaks slowly.
        memory_bytes: a child that has more than this in memory after an attempt is replaced.
        idle: seconds after which a child with nothing to do ends.
        environment: what children have in theirs besides PATH, HOME, the language, the time zone and
            their like.
    """

    workers: int = os.cpu_count() or 1
    attempts: int = 10_000
    memory_bytes: int = 512 * 1024 * 1024
    idle: float = 60.0
    environment: dict[str, str] = {}


class _Attempt:
    __slots__ = ("call", "child", "future", "limits", "tell")

    def __init__(self, call: Call, limits: Limits, tell: Tell) -> None:
        self.call = call
        self.limits = limits
        self.tell = tell
        self.child: Handle | None = None
        self.future: Future[Outcome] = Future()
        self.future.set_running_or_notify_cancel()


class ProcessRunner:
    """A `Runner` over child processes."""

    def __init__(self, options: ProcessOptions, result_bytes: int) -> None:
        """Nothing is started before the first attempt.

        Args:
            result_bytes: a result may have, as it is stored.
        """
        self.slots = options.workers
        self._options = options
        self._result_bytes = result_bytes
        self._lock = threading.Lock()
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._waiting: deque[_Attempt] = deque()
        self._idle: list[Handle] = []
        self._partly_sent: list[Handle] = []
        self._closing_at: float | None = None
        # The runner's thread's own:
        self._children: set[Handle] = set()
        self._thread: threading.Thread | None = None
        self._failed_starts = 0
        self._start_at = 0.0
        self._look = False
        self._woken = False
        self._wake_read, self._wake_write = -1, -1

    # Any thread -----------------------------------------------------------------------------

    def start(self, call: Call, limits: Limits, tell: Tell) -> Future[Outcome]:
        """See `Runner`."""
        made = _Attempt(call, limits, tell)
        with self._lock:
            if self._closing_at is not None:
                made.future.set_result(unavailable("the child processes were closed"))
                return made.future
            assert key_of(call) not in self._attempts, "an attempt is started once"
            self._attempts[key_of(call)] = made
            if self._thread is None:
                self._open()
            if not self._give_to_idle(made):
                self._waiting.append(made)
                self._wake()
        return made.future

    def cancel(self, call: Call) -> None:
        """See `Runner`."""
        with self._lock:
            made = self._attempts.get(key_of(call))
            if made is not None and made.child is not None:
                made.child.cancel(call)
                return
        if made is not None:
            self.kill(call)

    def kill(self, call: Call) -> None:
        """See `Runner`."""
        with self._lock:
            made = self._attempts.get(key_of(call))
            if made is None:
                return
            if made.child is not None:
                made.child.kill("was ended by force, as was asked")
                self._wake()  # to look whether it did die
                return
            self._waiting.remove(made)
            del self._attempts[key_of(call)]
        made.future.set_result(died(call, NOT_BEGUN))

    def close(self, timeout: float) -> None:
        """See `Runner`. No process is left behind."""
        with self._lock:
            if self._closing_at is None:
                self._closing_at = time.monotonic() + timeout
            never = list(self._waiting)
            self._waiting.clear()
            for made in never:
                del self._attempts[key_of(made.call)]
            thread = self._thread
            if thread is not None:
                self._wake()
        for made in never:
            made.future.set_result(unavailable("the child processes were closed"))
        if thread is not None:
            thread.join()

    def pids(self) -> list[int]:
        """The children there are."""
        with self._lock:
            return [child.pid for child in self._children]

    def _wake(self) -> None:
        if not self._woken and self._wake_write >= 0:
            self._woken = True
            os.write(self._wake_write, b"!")

    def _open(self) -> None:
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        self._thread = threading.Thread(target=self._run, name="walnut-jobs-processes", daemon=True)
        self._thread.start()

    def _give_to_idle(self, made: _Attempt) -> bool:
        while self._idle:
            if self._give(self._idle.pop(), made):
                return True
        return False

    def _give(self, child: Handle, made: _Attempt) -> bool:
        """Let a child make an attempt; False: it is gone, which its end will tell."""
        child.state, child.attempt, made.child = State.BUSY, made, child  # first: it may be quick
        try:
            sent = child.send(frame(Do(made.call, made.limits)))
        except OSError:
            child.attempt = made.child = None
            child.kill(None)
            return False
        if not sent:
            self._partly_sent.append(child)
            self._wake()
        return True

    # The runner's thread --------------------------------------------------------------------

    def _run(self) -> None:
        broken = "the child processes were closed"
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._wake_read, selectors.EVENT_READ, self._heed)
                self._selector = selector
                self._loop()
        except BaseException as error:
            broken = f"what keeps the child processes failed: {error!r}"
            raise
        finally:
            with self._lock:
                for child in self._children:  # none, but for our own mistakes
                    child.kill(None)
                    child.close()
                self._children.clear()
                self._idle.clear()
                self._closing_at = self._closing_at or 0.0
                left = list(self._attempts.values())
                self._attempts.clear()
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_write = -1
            for made in left:
                made.future.set_result(unavailable(broken))

    def _loop(self) -> None:
        keep_at = 0.0
        while True:
            for key, events in self._selector.select(max(keep_at - time.monotonic(), 0.0)):
                key.data(events)
            now = time.monotonic()
            if self._look or now >= keep_at:
                self._look = False
                keep_at = self._keep(now)
                if self._closing_at is not None and not self._children:
                    return

    def _heed(self, _events: int) -> None:
        """Somebody wants this thread to look."""
        with self._lock:
            os.read(self._wake_read, 64)
            self._woken = False
        self._look = True

    def _keep(self, now: float) -> float:
        """Look after everything, and say when to do so next."""
        with self._lock:
            partly, self._partly_sent = self._partly_sent, []
            closing_at = self._closing_at
        for child in partly:
            if child.deaf_since is None and not child.reaped:
                self._watch(child, selectors.EVENT_READ | selectors.EVENT_WRITE)
        for child in tuple(self._children):
            self._look_after(child, now, closing_at)
        next_at = now + TICK_SECONDS
        if any(child.exit_fd < 0 or child.deaf_since is not None for child in self._children):
            next_at = now + POLL_SECONDS
        if closing_at is not None:
            return min(next_at, closing_at) if closing_at > now else next_at
        return min(next_at, self._start_missing(now))

    def _look_after(self, child: Handle, now: float, closing_at: float | None) -> None:
        if child.exit_fd < 0:
            self._bury(child)
            if child not in self._children:
                return
        closing = closing_at is not None
        age = now - child.since
        with self._lock:
            if child.killed_at is not None:
                if now - child.killed_at < DEATH_SECONDS:
                    return
            elif child.deaf_since is not None and now - child.deaf_since > POLL_SECONDS:
                child.kill("closed its connection to us")
            elif child.state is State.STARTING and (closing or age > START_SECONDS):
                child.kill("did not start in time")
            elif child.state is State.BUSY and closing_at is not None and now >= closing_at:
                child.kill("was ended by force, for it was time to close")
            elif child.state is State.LEAVING and age > LEAVE_SECONDS:
                child.kill("did not end when asked")
            elif child.state is State.IDLE and (
                closing or (age > self._options.idle and len(self._idle) > WARM)
            ):
                self._idle.remove(child)
                child.state, child.since = State.LEAVING, now
                child.leave()
            if child.killed_at is None or now - child.killed_at < DEATH_SECONDS:
                return
        self._gone(child, Ending(None, ""))

    def _start_missing(self, now: float) -> float:
        """Start children for what waits, if there may be more; when to try again."""
        with self._lock:
            waiting = len(self._waiting)
        states = [child.state for child in self._children]
        serving = len(states) - states.count(State.LEAVING)
        missing = min(waiting - states.count(State.STARTING), self._options.workers - serving)
        if missing <= 0:
            return now + TICK_SECONDS
        if now < self._start_at:
            return self._start_at
        for _ in range(missing):
            try:
                child = Handle(self._setup(), self._options.environment)
            except OSError as error:
                self._not_started(f"can't be started: {error}", "")
                return self._start_at
            with self._lock:
                self._children.add(child)
            self._watch(child, selectors.EVENT_READ)
            if child.exit_fd >= 0:
                bury = partial(self._bury, child)
                self._selector.register(child.exit_fd, selectors.EVENT_READ, bury)
        return now + TICK_SECONDS

    def _setup(self) -> Setup:
        return Setup(
            path=[os.path.abspath(place) for place in sys.path],  # noqa: PTH100 - as Python does
            pythonpath=os.environ.get("PYTHONPATH"),
            result_bytes=self._result_bytes,
            attempts=self._options.attempts,
            memory_bytes=self._options.memory_bytes,
        )

    def _watch(self, child: Handle, events: int) -> None:
        if child.calls in self._selector.get_map():
            self._selector.unregister(child.calls)
        self._selector.register(child.calls, events, partial(self._exchange, child))

    def _exchange(self, child: Handle, events: int) -> None:
        """A child's connection is ready."""
        if child.reaped:  # a moment ago; all it said was heard
            return
        if events & selectors.EVENT_WRITE and child.flush():
            self._watch(child, selectors.EVENT_READ)
        with contextlib.suppress(BlockingIOError):
            if events & selectors.EVENT_READ and not self._hear(child):
                self._selector.unregister(child.calls)
                self._look = True

    def _hear(self, child: Handle) -> bool:
        """Take in what a child says; False: it says no more. Raises BlockingIOError for now."""
        try:
            said = child.receive()
            for one in said or ():
                self._take(child, one)
        except (ValueError, msgspec.MsgspecError) as error:
            with self._lock:
                child.kill(f"sent what can't be understood ({error}), and was ended")
            said = None
        if said is None:
            child.deaf_since = time.monotonic()
        return said is not None

    def _take(self, child: Handle, said: Said) -> None:
        made: _Attempt | None = child.attempt
        match said:
            case Ready():
                if child.state is not State.STARTING:
                    raise ValueError("ready a second time")
                self._failed_starts = 0
                self._free(child, last=False)
            case Told(note):
                if made is not None and (note.job, note.attempt) == key_of(made.call):
                    with contextlib.suppress(Exception):  # it was not to raise
                        made.tell(note)
            case Done(outcome, last):
                if made is None or child.sending:
                    raise ValueError("a result of nothing")
                self._free(child, last=last)
                made.future.set_result(outcome)

    def _free(self, child: Handle, *, last: bool) -> None:
        """A child is done with what it did, and makes the next attempt if one waits."""
        with self._lock:
            if child.attempt is not None:
                del self._attempts[key_of(child.attempt.call)]
            child.attempt, child.since = None, time.monotonic()
            if last or child.killed_at is not None or child.reaped:
                child.state = State.LEAVING
                self._look = True
                return
            child.state = State.IDLE
            if not self._waiting:
                self._idle.append(child)
                self._look |= self._closing_at is not None
            elif self._give(child, self._waiting[0]):
                self._waiting.popleft()

    def _bury(self, child: Handle, _events: int = 0) -> None:
        """A child has ended; or, where that can't be watched, may have."""
        with self._lock:
            ending = child.reap()
            if ending is None:
                return
            if child in self._idle:
                self._idle.remove(child)
        with contextlib.suppress(BlockingIOError):
            while child.deaf_since is None and self._hear(child):
                pass
        self._gone(child, ending)

    def _gone(self, child: Handle, ending: Ending) -> None:
        """A child is no more, nor is what it was at."""
        watched = self._selector.get_map()
        for fd in (child.calls.fileno(), child.exit_fd):
            if fd >= 0 and fd in watched:
                self._selector.unregister(fd)
        with self._lock:
            self._children.remove(child)
            made: _Attempt | None = child.attempt
            if made is not None:
                del self._attempts[key_of(made.call)]
            child.close()
        self._look = True
        if made is not None:
            made.future.set_result(_lost(made, child, ending))
        elif child.state is State.STARTING:
            self._not_started(child.why or str(ending), ending.trace)

    def _not_started(self, how: str, trace: str) -> None:
        """Try again later; but if nothing else serves and this goes on, whoever waits is told."""
        self._start_at = time.monotonic() + BACKOFF_SECONDS * 2 ** min(self._failed_starts, 5)
        self._failed_starts += 1
        if self._failed_starts < STARTS or any(
            child.state is not State.STARTING for child in self._children
        ):
            return
        with self._lock:
            left = list(self._waiting)
            self._waiting.clear()
            for made in left:
                del self._attempts[key_of(made.call)]
        told = unavailable(
            f"child processes do not start: the last one {how}; what it printed is on our stderr"
        )
        for made in left:
            made.future.set_result(msgspec.structs.replace(told, trace=trace or told.trace))


def _lost(made: _Attempt, child: Handle, ending: Ending) -> Failure:
    """The outcome of an attempt whose child has ended."""
    limits = made.limits
    if ending.code == -signal.SIGXCPU and limits.cpu_seconds is not None:
        found = failure(
            LimitExceeded(f"it needed more than {limits.cpu_seconds} s of processor time")
        )
    else:
        how = child.why or str(ending)
        if child.why is None and limits.memory_bytes is not None:
            how += f", with a memory limit of {limits.memory_bytes} bytes"
        found = died(made.call, f"is lost: its process, {child.pid}, {how}")
    return msgspec.structs.replace(found, trace=ending.trace or found.trace)
