"""A server as a process of its own, as users start it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from walnut.server.directory import OPERATOR_TOKEN

WALNUT: Final = [sys.executable, "-m", "walnut.cli"]
PATIENCE: Final = 60.0
"""Seconds after which what was waited for won't come; no test is decided by it."""


TOKEN: Final = re.compile(r"walnut_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}")


class Process:
    """`walnut serve` on a free port, killed at the end of the block if it is still there.

    Attributes:
        lines: of its log so far.
    """

    def __init__(
        self,
        data: Path,
        *args: str,
        env: dict[str, str] | None = None,
        program: str = "walnut.cli",
        stdin: int | None = None,
    ) -> None:
        self.data = data
        self.lines: list[dict[str, Any]] = []
        self.others: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        command = [sys.executable, "-m", program, "serve", "--data", str(data), "--port", "0"]
        self.popen = subprocess.Popen(
            [*command, "--log-format", "json", *args],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "WALNUT_CONSOLE__ENABLED": "false", **(env or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            with self._news:
                if line.startswith("{"):
                    self.lines.append(json.loads(line))
                else:
                    self.others.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, message: str, *, times: int = 1) -> dict[str, Any]:
        """The line of its log that begins so, once it is there so often."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if line["message"].startswith(message)]

        with self._news:
            self._news.wait_for(lambda: len(found()) >= times or self._ended, PATIENCE)
            assert len(found()) >= times, f"no {message!r} in {self.lines} {self.others}"
            return found()[times - 1]

    def ready(self) -> Self:
        """Wait until it serves."""
        self.wait_for("ready")
        return self

    @property
    def url(self) -> str:
        url: str = self.wait_for("serving")["url"]
        return url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def end(self) -> int:
        """Its exit code, once it has ended and all it said was read."""
        code = self.popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def stop(self) -> int:
        """Ask it to stop, and wait until it has."""
        self.signal(signal.SIGTERM)
        return self.end()

    @property
    def said(self) -> str:
        """Everything that it wrote."""
        return "".join(self.others) + "\n".join(json.dumps(line) for line in self.lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        self._reader.join(PATIENCE)
        assert self.popen.stderr is not None
        self.popen.stderr.close()


def token_of(server: Process) -> str:
    """The operator's token, which a first start writes there as it has no terminal."""
    return (server.data / OPERATOR_TOKEN).read_text(encoding="utf-8").strip()


def walnut(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [*WALNUT, *args], check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd
    )
