"""The lines of `curl` in the documentation work as they are written."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Self

import pytest
import uvicorn

from tests.booking.apis import with_bookings
from tests.store.helpers import SMALL
from tests.topics.apis import ALL_PROBLEMS, routes_of, with_topics
from tests.web.asgi import app_of
from walnut.booking import api as booking_api
from walnut.booking.problems import PROBLEMS as BOOKING_PROBLEMS
from walnut.jobs import Jobs
from walnut.jobs import api as jobs_api
from walnut.jobs.problems import PROBLEMS as JOBS_PROBLEMS
from walnut.store.store import Store

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = {
    page.name: re.findall(r"~~~sh http\n(.*?)~~~", page.read_text(), re.DOTALL)
    for page in sorted(DOCS.glob("*.md"))
}


class Served:
    """An app on a Unix socket, in a thread."""

    def __init__(self, app: Any, path: Path) -> None:
        self.path = path
        config = uvicorn.Config(app, uds=str(path), lifespan="off", log_level="error", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.mark.skipif(
    shutil.which("curl") is None, reason="needs curl; enable with: apt-get install curl"
)
@pytest.mark.parametrize("page", [name for name, blocks in PAGES.items() if blocks])
def test_curl_lines_work_as_written(page: str, tmp_path: Path) -> None:
    socket = tmp_path / "s.sock"
    with Store(tmp_path / "s", SMALL) as store:
        resources = with_topics(store)
        resources.provide(Jobs(store))
        with_bookings(resources, resources.find(Jobs))
        routes = [
            *routes_of(resources), *jobs_api.routes(resources), *booking_api.routes(resources)
        ]  # fmt: skip
        problems = (*ALL_PROBLEMS, JOBS_PROBLEMS, BOOKING_PROBLEMS)
        with Served(app_of(routes, *problems), socket):
            for block in PAGES[page]:
                script = (
                    'set -eu\nw() { curl -sS --fail-with-body --unix-socket "$S" "$@"; echo; }\n'
                )
                done = subprocess.run(
                    ["bash", "-c", script + block],
                    env={"S": str(socket), "PATH": "/usr/bin:/bin"},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_examples_to_run() -> None:
    pages = {name for name, blocks in PAGES.items() if blocks}
    assert pages >= {"store.md", "log.md", "topics.md", "jobs.md", "booking.md"}
