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
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from walnut.client.address import parse
from walnut.client.errors import ClientError
from walnut.client.transport import Transport

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

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None, "it was started"
        return self._process.pid

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

    def stop(self) -> int:
        """Stop it as an operator does; its exit code."""
        assert self._process is not None, "it was started"
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
        self._process.kill()
        self._process.wait()


@contextmanager
def serving(data: str | Path, *options: str) -> Iterator[Serving]:
    """A server on a data directory, which is made, on a free port; with more options of `walnut serve`."""
    server = Serving(Path(data).absolute(), options)
    server.start()
    try:
        yield server
    finally:
        if server._process is not None and server._process.poll() is None:
            server.kill()
