"""A server with something to show, and a browser to look at it with: one of each for all tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# The second half keeps it from looking for servers of its maker's.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 20_000
"""Milliseconds after which what a test waits for won't come; none waits so long."""


class Served:
    """A server in a process of its own; see `harness`.

    Attributes:
        url: of the server. tokens: their texts, by name.
    """

    def __init__(self, directory: Path) -> None:
        self._log = (directory / "log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.console.harness", str(directory / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        told = self._read()
        self.url: str = told["url"]
        self.tokens: dict[str, str] = told["tokens"]
        self.log = directory / "log"

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, Path(self._log.name).read_text()
        return msgspec.json.decode(line)

    def do(self, what: str) -> None:
        """Have the server do something, and wait until it has: "write 3"."""
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        assert self._read() == "done"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(60) == 0, self.log.read_text()
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._log.close()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("console")) as served:
        yield served


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs Chromium; enable with: sudo apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser window."""

    def __init__(self, page: Page, served: Served) -> None:
        self.page = page
        self.served = served
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def log_in(self, name: str = "operator") -> Self:
        self.page.goto(f"{self.served.url}/console")
        self.page.get_by_label("Token").fill(self.served.tokens[name])
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_selector("main h1, main h2")
        return self

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.served.url}/console/{path}")
        self.page.wait_for_selector("main h1, main h2")
        self.page.wait_for_function("window.socket && window.socket.connected")
        return self.page


@pytest.fixture
def visitor(served: Served, browser: Browser) -> Iterator[Visitor]:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    visitor = Visitor(context.new_page(), served)
    yield visitor
    context.close()
    assert visitor.errors == []
