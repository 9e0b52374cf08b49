"""A child process, as its server holds it: started, spoken to, ended, and its end explained.

    STARTING ── Ready ──▶ IDLE ── Do ──▶ BUSY ── Done ──▶ IDLE ... LEAVING ──▶ it ended, and is reaped
        └───────────────────┴─────────────┴── it crashed, or was killed ─────────┘

It is a fresh interpreter and no fork: the server has threads, a lock on its log and secrets in its
environment. It leads a session of its own, so that Ctrl-C in a terminal is the server's affair and
so that all a task starts can be ended together. What tasks print goes to our stderr.

What must stay true: the group is killed before its leader is reaped, while its number can't be
another's; nothing here waits for the child.
"""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from walnut.jobs.call import Call
from walnut.jobs.executors.wire import (
    OVERHEAD_BYTES,
    READ_BYTES,
    Cancel,
    Frames,
    Said,
    Setup,
    frame,
)
from walnut.jobs.outcome import TRACE_BYTES

INHERITED: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
)  # fmt: skip
"""Of our environment, all that children have unless more is named."""
STANDARD_ERROR: Final = 2
WAITID: Final = hasattr(os, "waitid")
"""Not on macOS before Python 3.13."""

_decode = msgspec.msgpack.Decoder(Said).decode


class State(enum.Enum):
    """What a child is at."""

    STARTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    LEAVING = enum.auto()


class Ending(msgspec.Struct, frozen=True):
    """How a child ended.

    Attributes:
        code: its exit code; a negative one is the signal that ended it. None: somebody else has it.
        trace: what it said of a crash.
    """

    code: int | None
    trace: str

    def __str__(self) -> str:
        if self.code is None:
            return "ended, nobody knows how"
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        try:
            name = signal.Signals(-self.code).name
        except ValueError:
            name = f"signal {-self.code}"
        cause = ": by hand, or the machine had no memory left" if name == "SIGKILL" else ""
        return f"was ended by {name}{cause}"


class Handle:
    """A child. All of it is for the runner's thread, but for what says otherwise.

    Attributes:
        state: its runner's to set, as is `since`: when it became that.
        attempt: its runner's: what it is making.
        killed_at, why: when it was killed by us, and what for.
        deaf_since: its runner's: when its connection ended.
        reaped: it has ended, and its number may be another's.
        calls, exit_fd: to be watched for reading; the latter says that it ended (-1: can't be watched).
    """

    def __init__(self, setup: Setup, environment: Mapping[str, str]) -> None:
        """Start it. Raises OSError."""
        self.state = State.STARTING
        self.since = time.monotonic()
        self.attempt: Any = None
        self.killed_at: float | None = None
        self.why: str | None = None
        self.deaf_since: float | None = None
        self.reaped = False
        self._unsent = b""
        self._frames = Frames(setup.result_bytes + OVERHEAD_BYTES)
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            self.calls, calls = _sockets(ours, theirs)
            self._control, control = _sockets(ours, theirs)
            life, self._life = os.pipe()
            theirs.callback(os.close, life)
            ours.callback(os.close, self._life)
            fds = (calls.fileno(), control.fileno(), life)
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-u", "-m", "walnut.jobs.executors.child", *map(str, fds)],
                stdin=subprocess.DEVNULL,
                stdout=STANDARD_ERROR,
                env=_environment(setup, environment),
                pass_fds=fds,
                start_new_session=True,
            )
            self.pid = self._process.pid
            self.exit_fd = _exit_fd(self._process)
            if self.exit_fd >= 0:
                ours.callback(os.close, self.exit_fd)
            self._descriptors = ours.pop_all()
        with contextlib.suppress(ConnectionError):  # its end will be noticed
            self.send(frame(setup))

    def send(self, data: bytearray) -> bool:
        """Send it a frame; from any thread, but one at a time. False: part of it waits for `flush`.

        Raises OSError if it is gone, and knows nothing of the frame.
        """
        assert not self._unsent, "one attempt at a time"
        try:
            sent = self.calls.send(data)
        except BlockingIOError:
            sent = 0
        self._unsent = bytes(memoryview(data)[sent:]) if sent < len(data) else b""
        return not self._unsent

    @property
    def sending(self) -> bool:
        """Whether part of what it was sent waits for `flush`."""
        return bool(self._unsent)

    def flush(self) -> bool:
        """Send on what is left. True: nothing is."""
        try:
            self._unsent = self._unsent[self.calls.send(self._unsent) :]
        except BlockingIOError:
            return False
        except OSError:  # its end will be noticed
            self._unsent = b""
        return not self._unsent

    def cancel(self, call: Call) -> None:
        """Ask it to end this attempt; from any thread."""
        with contextlib.suppress(OSError):  # it is gone, or so stuck that it won't hear anyway
            self._control.send(frame(Cancel(call.job, call.attempt)))

    def receive(self) -> list[Said] | None:
        """What it said; None: it says no more. Raises BlockingIOError for nothing now, and ValueError
        or msgspec's errors for what can't be understood."""
        try:
            data = self.calls.recv(READ_BYTES)
        except ConnectionError:
            return None
        return [_decode(one) for one in self._frames.feed(data)] if data else None

    def leave(self) -> None:
        """Ask it to end."""
        with contextlib.suppress(OSError):
            self.calls.shutdown(socket.SHUT_WR)

    def kill(self, why: str | None) -> None:
        """End it by force, and all that it started; from any thread that holds off `reap`."""
        if self.killed_at is None:
            self.killed_at, self.why = time.monotonic(), why
        self._kill_group()

    def reap(self) -> Ending | None:
        """How it ended, if it has; whatever it started in its group ends as well."""
        code: int | None = None
        try:
            if WAITID:  # look, without letting go of its number
                options = os.WEXITED | os.WNOHANG | os.WNOWAIT
                if os.waitid(os.P_PID, self.pid, options) is None:
                    return None
                self._kill_group()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == 0:
                return None
            code = os.waitstatus_to_exitcode(status)
            if not WAITID:  # the number is free, but is not given out again so soon
                self._kill_group()
        except ChildProcessError:  # somebody in this process waits for all children
            pass
        self.reaped = True
        self._process.returncode = 0 if code is None else code
        return Ending(code, self._last_words())

    def close(self) -> None:
        """Close our ends."""
        self._descriptors.close()

    def _kill_group(self) -> None:
        if not self.reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return self._control.recv(READ_BYTES)[:TRACE_BYTES].decode(errors="replace")
        return ""


def _sockets(
    ours: contextlib.ExitStack, theirs: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    ours.callback(one.close)
    theirs.callback(other.close)
    one.setblocking(False)
    return one, other


def _exit_fd(process: subprocess.Popen[bytes]) -> int:
    """What becomes readable when it ends; -1 where the system has no such thing."""
    if sys.platform != "linux":
        return -1
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise


def _environment(setup: Setup, more: Mapping[str, str]) -> dict[str, str]:
    """What it starts with. Its path is there until it has started, then it gets `setup`'s."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return kept | dict(more) | {"PYTHONPATH": os.pathsep.join(filter(None, setup.path))}
