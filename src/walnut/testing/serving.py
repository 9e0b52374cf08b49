"""A real server in a process of its own, for tests of programs that talk to one.

    with serving("data") as server:
        Client(server.data)             over its socket: whoever runs the test is its owner
        Client(server.url, token=...)   over TCP, on a free port

What must stay true: the process is gone when the block ends, however it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from walnut.client.address import parse
from walnut.client.errors import ClientError
from walnut.client.transport import Transport
from walnut.server.directory import OPERATOR_TOKEN, running_in

START_SECONDS: Final = 60.0
"""For a server to be ready on a slow, loaded machine; one or two are usual."""
STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02


class Serving:
    """A server that runs.

    Attributes:
        data: its data directory. log: the file that its log and its first words went to.
    """

    def __init__(self, data: Path, options: Sequence[str]) -> None:
        self.data = data
        self.log = data.parent / f"{data.name}.log"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._successor: int | None = None

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None, "it was started"
        return self._process.pid if self._successor is None else self._successor

    @property
    def token(self) -> str:
        """The operator's, which the first start has written."""
        return (self.data / OPERATOR_TOKEN).read_text().strip()

    def start(self) -> None:
        """Start it, and wait until it answers. Raises AssertionError with its log if it does not."""
        command = [
            sys.executable, "-m", "walnut.cli", "serve", "--data", str(self.data), "--port", "0",
            *self._options,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603, our own program
                command, cwd=self.data.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        probe = Transport(parse(self.data), patience=0.0)
        while True:
            try:
                probe.request("GET", "/readyz")
                break
            except ClientError as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.kill()
                    raise AssertionError(f"no server: {error}\n{self.log.read_text()}") from error
            time.sleep(POLL_SECONDS)
        probe.close()

    def restart(self) -> None:
        """Hand over to a new process without refusing a connection, as `walnut restart` does."""
        assert self._process is not None, "it was started"
        command = [sys.executable, "-m", "walnut.cli", "restart", str(self.data)]
        subprocess.run(command, check=True, cwd=self.data.parent, stdout=subprocess.DEVNULL)  # noqa: S603, our own program
        self._successor = running_in(self.data).pid
        self._process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """Stop it as an operator does; its exit code, which of a successor is not known: 0."""
        assert self._process is not None, "it was started"
        if self._successor is not None:
            self._end_successor(signal.SIGTERM)
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it on the spot, as a crash does."""
        assert self._process is not None, "it was started"
        self._end_successor(signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def _end_successor(self, number: signal.Signals) -> None:
        """End a process that is no child of this one. Raises AssertionError if it does not end."""
        pid, self._successor = self._successor, None
        if pid is None:
            return
        end = time.monotonic() + STOP_SECONDS
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            while time.monotonic() < end:
                if _is_zombie(pid):
                    return
                os.kill(pid, 0)
                time.sleep(POLL_SECONDS)
            raise AssertionError(f"process {pid} goes on after {number.name}: see {self.log}")

    @property
    def running(self) -> bool:
        """A process of it is there."""
        return self._successor is not None or (
            self._process is not None and self._process.poll() is None
        )


def _is_zombie(pid: int) -> bool:
    """It has ended, and nobody has asked for its exit code: in a container nobody may."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


@contextmanager
def serving(data: str | Path, *options: str) -> Iterator[Serving]:
    """A server on a data directory, which is made, on a free port; with more options of `walnut serve`."""
    server = Serving(Path(data).absolute(), options)
    server.start()
    try:
        yield server
    finally:
        if server.running:
            server.kill()
