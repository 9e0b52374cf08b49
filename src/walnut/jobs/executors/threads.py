"""Attempts in threads of this process: for work that waits for others, such as calls to the outside.

    start ──▶ queue ──▶ thread ──▶ future
                          └ killed: its future is resolved, a new thread takes its place, and what
                            the old one brings later is dropped, as is the thread

A thread can't be ended by force. One that hangs is abandoned: it holds what it holds until the process
ends, which it doesn't hinder. A task that may hang or crash belongs in a child process.

What must stay true: as many attempts as there are slots can run, however many were abandoned; a future
is resolved by whoever takes its attempt out of `_attempts`, and by nobody else.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from concurrent.futures import Future, wait

from walnut.jobs.call import Call, Limits, Tell, load
from walnut.jobs.context import Note
from walnut.jobs.executors.attempt import Find, attempt
from walnut.jobs.executors.runner import NOT_BEGUN, died, key_of, unavailable
from walnut.jobs.executors.throttle import Throttle
from walnut.jobs.outcome import Outcome


class _Attempt:
    __slots__ = ("begun", "call", "cancelled", "future", "over", "tell")

    def __init__(self, call: Call, tell: Tell) -> None:
        self.call = call
        self.tell = tell
        self.begun = False
        self.cancelled = False
        self.over = False
        self.future: Future[Outcome] = Future()
        self.future.set_running_or_notify_cancel()


class ThreadRunner:
    """A `Runner` over threads. It has no limits of memory and processor time to offer."""

    def __init__(self, slots: int, result_bytes: int, find: Find = load) -> None:
        """Threads start on demand, and stay.

        Args:
            result_bytes: a result may have, as it is stored.
            find: gives the task of a call's target; those that are declared here need no import.
        """
        self.slots = slots
        self._result_bytes = result_bytes
        self._find = find
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._waiting: deque[_Attempt] = deque()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def start(self, call: Call, limits: Limits, tell: Tell) -> Future[Outcome]:  # noqa: ARG002
        """See `Runner`."""
        made = _Attempt(call, tell)
        with self._lock:
            if self._closed:
                made.future.set_result(unavailable("the threads were closed"))
                return made.future
            assert key_of(call) not in self._attempts, "an attempt is started once"
            self._attempts[key_of(call)] = made
            self._waiting.append(made)
            self._man()
        return made.future

    def cancel(self, call: Call) -> None:
        """See `Runner`."""
        with self._lock:
            made = self._attempts.get(key_of(call))
            if made is None:
                return
            made.cancelled = True
            begun = made.begun
        if not begun:
            self.kill(call)

    def kill(self, call: Call) -> None:
        """See `Runner`: the thread is abandoned."""
        with self._lock:
            made = self._attempts.get(key_of(call))
            if made is not None:
                self._abandon(made)
        if made is not None:
            self._resolve_abandoned(made)

    def close(self, timeout: float) -> None:
        """See `Runner`. Threads that are abandoned here end with the process at the latest."""
        with self._lock:
            self._closed = True
            never = list(self._waiting)
            running = [made for made in self._attempts.values() if made.begun]
            for made in never:
                self._abandon(made)
            self._work.notify_all()
        for made in never:
            made.future.set_result(unavailable("the threads were closed"))
        wait([made.future for made in running], timeout)
        for made in running:
            self.kill(made.call)

    def _man(self) -> None:
        """See that somebody does what waits. With the lock."""
        if self._idle >= len(self._waiting):
            self._work.notify()
        elif self._threads < self.slots:
            self._threads += 1
            threading.Thread(target=self._serve, name="walnut-jobs-thread", daemon=True).start()

    def _abandon(self, made: _Attempt) -> None:
        """Take an attempt away from whoever has it. With the lock."""
        made.over = made.cancelled = True
        del self._attempts[key_of(made.call)]
        if not made.begun:
            self._waiting.remove(made)
            return
        self._threads -= 1
        if self._waiting:
            self._man()

    def _resolve_abandoned(self, made: _Attempt) -> None:
        how = (
            "was abandoned: its thread can't be ended by force and may still be at it"
            if made.begun
            else NOT_BEGUN
        )
        made.future.set_result(died(made.call, how))

    def _serve(self) -> None:
        """What a thread does."""
        told: list[_Attempt] = []  # the attempt that notes are of

        def send(note: Note) -> None:
            made = told[0]
            if not made.over and (note.job, note.attempt) == key_of(made.call):
                with contextlib.suppress(Exception):  # it was not to raise
                    made.tell(note)

        notes = Throttle(send)
        while True:
            with self._lock:
                while not self._waiting:
                    if self._closed:
                        self._threads -= 1
                        return
                    self._idle += 1
                    self._work.wait()
                    self._idle -= 1
                made = self._waiting.popleft()
                made.begun = True
            told[:] = [made]
            outcome = self._attempt(made, notes)
            notes.end()
            with self._lock:
                if made.over:
                    return  # it was abandoned, and another is in its place
                made.over = True
                del self._attempts[key_of(made.call)]
            made.future.set_result(outcome)

    def _attempt(self, made: _Attempt, notes: Throttle) -> Outcome:
        return attempt(
            made.call, notes.tell, lambda: made.cancelled, self._result_bytes, self._find
        )
