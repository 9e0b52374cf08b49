"""A server with something to show, and a browser to look at it with: one of each for all tests of a
module. Not longer: while Playwright drives a browser, an event loop runs in this thread."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

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


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("console")) as served:
        yield served


@pytest.fixture(scope="module")
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

    def log_in(self, name: str) -> Self:
        self.page.goto(f"{self.served.url}/console/slots")  # the least of pages
        self.page.get_by_label("Token").fill(self.served.tokens[name])
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_selector("#w-main h1, #w-main h2")
        return self

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.served.url}/console/{path}")
        self.page.wait_for_selector("#w-main h1, #w-main h2")
        self.page.wait_for_function("window.socket && window.socket.connected")
        return self.page


class Browsers:
    """A browser for each kind of visitor, who stay logged in from test to test, as people do: a new one
    would load all scripts anew each time."""

    def __init__(self, browser: Browser, served: Served) -> None:
        self._browser = browser
        self._served = served
        self._known: dict[str, BrowserContext] = {}

    def stranger(self) -> Visitor:
        """Somebody who has never been here."""
        context = self._browser.new_context(viewport={"width": 1280, "height": 860})
        return Visitor(context.new_page(), self._served)

    def known(self, name: str) -> Visitor:
        """Somebody who is logged in with the token of this name."""
        if name not in self._known:
            visitor = self.stranger().log_in(name)
            self._known[name] = visitor.page.context
            visitor.page.close()
        return Visitor(self._known[name].new_page(), self._served)


@pytest.fixture(scope="module")
def browsers(browser: Browser, served: Served) -> Browsers:
    return Browsers(browser, served)


@pytest.fixture
def stranger(browsers: Browsers) -> Iterator[Visitor]:
    visitor = browsers.stranger()
    yield visitor
    visitor.page.context.close()
    assert visitor.errors == []


@pytest.fixture
def visitor(browsers: Browsers, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Somebody who may do everything, or what the test's mark says: `@pytest.mark.parametrize(
    "visitor", ["reader"], indirect=True)`."""
    visitor = browsers.known(getattr(request, "param", "operator"))
    yield visitor
    visitor.page.close()
    assert visitor.errors == []
