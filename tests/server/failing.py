"""`walnut serve` whose log fails for good when a line comes in on stdin.

python -m tests.server.failing serve --data DIR ...
"""

from __future__ import annotations

import errno
import sys
import threading

from walnut import cli
from walnut.server import run as running
from walnut.server.server import Server
from walnut.shutdown.model import Report
from walnut.store.store import Store


class Failing(Server):
    """What the disk does to the log, done to it in a thread as there."""

    async def serve(self) -> Report:
        threading.Thread(target=self._fail, daemon=True).start()
        return await super().serve()

    def _fail(self) -> None:
        sys.stdin.readline()
        store = self.resources.find(Store)
        store.log._commit.fail(OSError(errno.EIO, "the disk is gone"))


if __name__ == "__main__":
    running.Server = Failing  # type: ignore[attr-defined]
    cli.main()
