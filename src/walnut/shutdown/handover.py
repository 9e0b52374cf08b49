"""Restart without a refused connection: the next process is given the listening sockets.

      this process                                       the next one
      serves        ── start, sockets as LISTEN_FDS ──▶  imports, reads its configuration
      serves        ◀── "ready" ──────────────────────   waits
      stops accepting   new clients wait in the kernel's backlog
      drains, closes its storage, ends ── end of file ─▶ opens the storage, accepts

The sockets are never closed in between, so nobody is refused; and as storage may have one owner only, the
two never hold it at the same time.

What must stay true: if the next process fails before it has said "ready", this one serves on as if nothing
had happened, and the failure is named; if this one dies after that, the next sees it and begins.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import signal
import socket
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from walnut.shutdown.errors import InvalidActivation, PredecessorStays, SuccessorFailed
from walnut.shutdown.notify import Notifier
from walnut.shutdown.sockets import FIRST_FD, OWNED, Listening

PREDECESSOR: Final = "WALNUT_PREDECESSOR_FD"
"""The file descriptor over which the two talk, and the number of the process before: `3:4711`."""
READY: Final = b"ready\n"
CLOSED: Final = b"closed\n"
FAILED: Final = b"failed "
"""Said in place of READY, with the reason behind it up to the end of the line of bytes."""
REASON_BYTES: Final = 2000
"""Of that reason: some lines for a person."""
LOOK_SECONDS: Final = 0.002
"""Between two looks at whether a process that is ending has ended."""
# LISTEN_PID has to be the number of the process itself, which nobody knows before it is there.
_SHELL: Final = 'LISTEN_PID=$$; export LISTEN_PID; exec "$@"'


class Successor:
    """The process that takes over, as this one sees it.

    Attributes:
        pid: its process id.
    """

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self._line = line
        # A bare descriptor: what is collected when nobody holds it any more would tell the successor that
        # this process is gone.
        self._hold = -1

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        listening: Sequence[Listening],
        *,
        environ: Mapping[str, str] | None = None,
        notify: Notifier | None = None,
    ) -> Successor:
        """Start it, and wait until it is ready to take over. A cancellation ends it again.

        Args:
            command: program and arguments, as for `exec`.
            listening: the sockets it gets; they stay open here too.
            environ: its environment; this process's by default.
            notify: the service manager, which is told that the successor is the main process now.

        Raises:
            SuccessorFailed: it could not be started, or ended without being ready.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            pid = _spawn(command, listening, theirs, os.environ if environ is None else environ)
        except OSError as error:
            ours.close()
            raise SuccessorFailed(
                f"the successor {command[0]!r} can't be started: {error}"
            ) from error
        finally:
            theirs.close()
        successor = cls(pid, ours)
        try:
            await successor._until_ready()
        except BaseException:
            await successor._end()
            raise
        successor._hold = ours.detach()
        if notify is not None:
            notify.main_pid(pid)
        return successor

    async def _until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        said = b""
        while said != READY:
            try:
                more = await loop.sock_recv(self._line, len(READY) - len(said))
            except ConnectionError:
                more = b""
            said += more
            if more and READY.startswith(said):
                continue
            why = await self._reason(said) if more else ""
            raise SuccessorFailed(
                f"the successor (process {self.pid}) ended before it was ready to take over"
                f"{f': {why}' if why else '; see what it printed'}. This process goes on serving"
            )

    async def _reason(self, said: bytes) -> str:
        """What it gives as the reason, of which this was read; empty if it gives none."""
        loop = asyncio.get_running_loop()
        most = len(FAILED) + REASON_BYTES
        while len(said) < most:
            try:
                more = await loop.sock_recv(self._line, most - len(said))
            except ConnectionError:
                break
            if not more:
                break
            said += more
        return (
            said.removeprefix(FAILED).decode("utf-8", "replace") if said.startswith(FAILED) else ""
        )

    async def _end(self) -> None:
        """End it for certain, and take note of its end."""
        self._line.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, _reap, self.pid))

    def release(self) -> None:
        """Tell it that everything here is closed. The end of this process says the same."""
        if self._hold != -1:
            with socket.socket(fileno=self._hold) as line, suppress(ConnectionError):
                line.sendall(CLOSED)
            self._hold = -1


class Predecessor:
    """The process before this one, as this one sees it."""

    def __init__(self, line: socket.socket, pid: int) -> None:
        line.setblocking(False)
        self.pid = pid
        self._line = line
        self._process = _held(pid)

    @classmethod
    def from_environment(
        cls, environ: MutableMapping[str, str] | None = None
    ) -> Predecessor | None:
        """The one that started this process to hand over to it; None if this is a first start.

        Raises:
            InvalidActivation: the variable names no open socket.
        """
        environ = os.environ if environ is None else environ
        said = environ.pop(PREDECESSOR, "")
        if not said:
            return None
        try:
            fd, pid = map(int, said.split(":"))
            os.set_inheritable(fd, False)
            return cls(socket.socket(fileno=fd), pid)
        except (OSError, ValueError) as error:
            raise InvalidActivation(
                f"{PREDECESSOR} is {said!r}, no socket:pid ({error})"
            ) from error

    async def ready(self) -> None:
        """Say that this process can take over. Call it when all that may fail without the storage has
        been done. Nothing happens if the predecessor is gone already."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._line, READY)
        except ConnectionError:
            return

    async def gone(self, timeout: float) -> None:
        """Wait until it has closed everything, or has ended.

        Args:
            timeout: seconds; its deadline and a little more.

        Raises:
            PredecessorStays: it has not, in that time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                try:
                    closed = await loop.sock_recv(self._line, len(CLOSED))
                except ConnectionError:
                    closed = b""
                while not closed and not self._ended():  # noqa: ASYNC110 -- no event tells it everywhere
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise PredecessorStays(
                f"the process before this one has not ended within {timeout:g} s; "
                "end it, and start this one again"
            ) from None
        self._line.close()
        if self._process != -1:
            os.close(self._process)
            self._process = -1

    def _ended(self) -> bool:
        """Whether nothing of it is left. One that is killed loses the line before, or after, the locks it
        holds; and with several threads it ceases to be the parent when the last of them *begins* to end,
        while that one still holds the files. Linux tells when all have ended by the process's descriptor
        (pidfd_open(2)); elsewhere parenthood has to do."""
        if self._process == -1:
            return os.getppid() != self.pid
        look = select.poll()
        look.register(self._process, select.POLLIN)
        return bool(look.poll(0))


@contextmanager
def telling_predecessor() -> Iterator[None]:
    """Have the process before this one told why this one can't take over, if the block raises before
    `Predecessor.ready`. On a first start this does nothing."""
    fd, _, _ = os.environ.get(PREDECESSOR, "").partition(":")
    try:
        # Of its own: by then `Predecessor` may have taken the line, or lost it by an error.
        line = socket.socket(fileno=os.dup(int(fd))) if fd.isdecimal() else None
    except OSError:
        line = None  # `Predecessor.from_environment` says what is wrong with it
    try:
        yield
    except Exception as error:
        if line is not None:
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            with suppress(OSError):
                line.sendall(FAILED + why.encode()[:REASON_BYTES])
        raise
    finally:
        if line is not None:
            line.close()


def _held(pid: int) -> int:
    """A descriptor of the process before this one, -1 if there can't be one: it has ended, or the system
    has none."""
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return -1
    if os.getppid() != pid:  # it ended before, and the number may be another's by now
        os.close(process)
        return -1
    return process


def _spawn(
    command: Sequence[str],
    listening: Sequence[Listening],
    line: socket.socket,
    environ: Mapping[str, str],
) -> int:
    """Start a process that finds the sockets from descriptor 3 on, and the line behind them."""
    # posix_spawn and not subprocess: the child is to outlive this process, and its handle.
    # Copied to behind the places first, so that putting one in its place runs over no other.
    sockets = [*(one.socket for one in listening), line]
    behind = FIRST_FD + len(sockets)
    sources = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, behind) for one in sockets]
    environment = {
        **environ,
        "LISTEN_FDS": str(len(listening)),
        "LISTEN_FDNAMES": ":".join(one.name for one in listening),
        OWNED: ":".join(one.name for one in listening if one.owned),
        PREDECESSOR: f"{FIRST_FD + len(listening)}:{os.getpid()}",
    }
    environment.pop("WATCHDOG_PID", None)  # it names this process
    try:
        return os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _SHELL, "sh", *command],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, source, FIRST_FD + number)
                for number, source in enumerate(sources)
            ],
            setsigmask=[],
        )
    finally:
        for source in sources:
            os.close(source)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return  # somebody else waits for children here
