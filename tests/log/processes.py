"""Starting, hearing and killing the programs in the files called `children.py`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHILDREN = Path(__file__).with_name("children.py")


class Child:
    """A running program."""

    def __init__(self, file: Path, program: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(file), program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._pending = b""

    def hear(self) -> list[str]:
        """The words of its next line; none when it is over."""
        assert self.process.stdout is not None
        while b"\n" not in self._pending:
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                return []
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode().split()

    def hear_all(self) -> list[list[str]]:
        """The words of each line until it is over."""
        lines = []
        while line := self.hear():
            lines.append(line)
        return lines

    def tell(self, line: str = "") -> None:
        """Send a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


@contextmanager
def child(program: str, *arguments: object, file: Path = CHILDREN) -> Iterator[Child]:
    """A running program, dead and reaped at the end of the block."""
    started = Child(file, program, *arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()
        started.end()
