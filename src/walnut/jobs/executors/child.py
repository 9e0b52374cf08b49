"""The program of a child process: it makes the attempts it is given, one at a time.

    main thread:    read a Do ─▶ attempt ─▶ write Done, until calls closes
    watching:       read Cancel; when control closes, or the parent is another: the server is gone
    the kernel:     when life closes, kill this process and all that it started

What must stay true: it outlives its server by no more than a moment, even if a task holds the
interpreter's lock for ever; and no attempt can make it fail but by ending it.

It imports neither store nor log, so that it starts in some 50 ms.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import resource
import select
import signal
import sys
import threading
from collections import deque
from contextlib import nullcontext, suppress
from typing import Final, NoReturn

import msgspec

from walnut.jobs.call import Limits
from walnut.jobs.context import Note
from walnut.jobs.executors.attempt import attempt
from walnut.jobs.executors.limits import holds_over, named, within
from walnut.jobs.executors.throttle import Throttle
from walnut.jobs.executors.wire import (
    MOST_BYTES,
    READ_BYTES,
    Cancel,
    Do,
    Done,
    Frames,
    Ready,
    Setup,
    Told,
    frame,
)
from walnut.jobs.outcome import Outcome, failure

PARENT_MS: Final = 2000
"""How often it looks whether its parent is still the same: only matters where some other process holds
the server's end of control open."""
NO_LIMITS: Final = Limits()


def main() -> None:
    """Serve the file descriptors that are the arguments: calls, control, life."""
    calls, control, life = (int(argument) for argument in sys.argv[1:4])
    del sys.argv[1:]  # a task's module may look at them
    for fd in (calls, control, life):
        os.set_inheritable(fd, False)
    _die_with(life)
    _crash_visibly(control)
    inbox = _Inbox(calls)
    first = inbox.receive()
    if first is None:
        return
    setup = msgspec.msgpack.decode(first, type=Setup)
    sys.path[:] = setup.path
    os.environ.pop("PYTHONPATH", None)
    if setup.pythonpath is not None:
        os.environ["PYTHONPATH"] = setup.pythonpath
    with contextlib.suppress(BrokenPipeError):  # the server is gone, and needs nothing more
        _Child(setup, inbox, calls, control).serve()


def _die_with(life: int) -> None:
    if sys.platform == "linux":
        fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life, fcntl.F_SETFL, os.O_ASYNC)


def _crash_visibly(control: int) -> None:
    """Say where it was, should it crash or use up its time; but leave no core of every mishap."""
    faulthandler.enable(control, all_threads=False)
    faulthandler.register(signal.SIGXCPU, control, all_threads=False, chain=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


class _Inbox:
    """Messages, as they come."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._frames = Frames(MOST_BYTES)
        self._received: deque[memoryview] = deque()

    def receive(self) -> memoryview | None:
        """The next one; None when there will be none."""
        while not self._received:
            data = os.read(self._fd, READ_BYTES)
            if not data:
                return None
            self._received.extend(self._frames.feed(data))
        return self._received.popleft()


class _Outbox:
    """Writes messages, from any thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def send(self, data: bytearray) -> None:
        """Wait until it is out."""
        with self._lock:
            self._write(data)

    def offer(self, data: bytearray) -> None:
        """Send it if that needs no waiting."""
        if self._lock.acquire(blocking=False):
            try:
                if self._poll.poll(0):
                    self._write(data)
            finally:
                self._lock.release()

    def _write(self, data: bytearray) -> None:
        written = os.write(self._fd, data)
        while written < len(data):
            written += os.write(self._fd, memoryview(data)[written:])


class _Child:
    def __init__(self, setup: Setup, inbox: _Inbox, calls: int, control: int) -> None:
        self._setup = setup
        self._inbox = inbox
        self._outbox = _Outbox(calls)
        self._notes = Throttle(self._note)
        self._cancelled: tuple[str, int] | None = None
        threading.Thread(
            target=self._watch, args=(control,), name="walnut-jobs-watch", daemon=True
        ).start()

    def serve(self) -> None:
        """Until the server wants no more, or this process is old."""
        decode = msgspec.msgpack.Decoder(Do).decode
        setup = self._setup
        self._outbox.send(frame(Ready()))
        for number in range(1, setup.attempts + 1):
            data = self._inbox.receive()
            if data is None:
                return
            outcome = self._attempt(decode(data))
            self._notes.end()
            last = number == setup.attempts or holds_over(setup.memory_bytes)
            try:
                message = frame(Done(outcome, last))
            except Exception as error:
                message = frame(Done(failure(error), last))
            self._outbox.send(message)
            if last:
                return

    def _attempt(self, do: Do) -> Outcome:
        call, limits = do.call, do.limits
        key = (call.job, call.attempt)
        outcome = attempt(
            call,
            self._notes.tell,
            lambda: self._cancelled == key,
            self._setup.result_bytes,
            within=nullcontext() if limits == NO_LIMITS else within(limits),
        )
        return named(outcome, limits)

    def _note(self, note: Note) -> None:
        with suppress(Exception):  # what it says can't be encoded, or nobody is there to hear it
            self._outbox.offer(frame(Told(note)))

    def _watch(self, control: int) -> NoReturn:
        """Hear what the server wants, and that it is gone."""
        parent = os.getppid()
        poll = select.poll()
        poll.register(control, select.POLLIN)
        frames = Frames(MOST_BYTES)
        decode = msgspec.msgpack.Decoder(Cancel).decode
        with suppress(OSError):  # the connection was broken
            while os.getppid() == parent:
                if not poll.poll(PARENT_MS):
                    continue
                data = os.read(control, READ_BYTES)
                if not data:
                    break
                for message in map(decode, frames.feed(data)):
                    self._cancelled = (message.job, message.attempt)
        os.killpg(0, signal.SIGKILL)
        raise AssertionError("it was killed")


if __name__ == "__main__":
    main()
