"""Closed by default: the assembled server, route for route, without a credential."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from litestar.routes import HTTPRoute, WebSocketRoute

from tests.server.access.asking import ask, scope_of
from walnut.server.access.gate import Gate
from walnut.server.access.login import LOGIN, LOGOUT
from walnut.server.access.tokens import Wanted
from walnut.server.config.load import load
from walnut.server.front import STARTING
from walnut.server.server import Server
from walnut.server.site import Site
from walnut.server.subsystems import find, sections
from walnut.web.access import NEED, Need
from walnut.web.asgi import Message
from walnut.web.caller import Caller
from walnut.web.problems import Problems

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
CONSOLE = (
    "/console", "/console/", "/console/topics", "/console/tokens", "/console/_nicegui_ws/socket.io",
    "/console/_nicegui/3.0/static/nicegui.js", "/console/_nicegui/client/x", "/console/login/",
    "/console//login", "/console/login/x", "/console/logout/", "/console/favicon.ico",
)  # fmt: skip


class Assembled:
    """All subsystems started, everything behind the sockets put together."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server, site: Site) -> None:
        self.loop = loop
        self.server = server
        self.app = site.app
        self.routes = site._api.litestar.routes
        self.document = site._api.document

    def ask(self, method: str, path: str, *headers: tuple[str, str], **more: Any) -> Any:
        return self.loop.run_until_complete(ask(self.app, method, path, *headers, **more))

    def open_socket(self, path: str, *headers: tuple[str, str]) -> list[Message]:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = scope_of("GET", path, headers, type="websocket")
        self.loop.run_until_complete(_run(self.app(scope, receive, send)))
        return sent


async def _run(answering: Awaitable[None]) -> None:
    await answering


@contextmanager
def assembled(path: Path) -> Iterator[Assembled]:
    classes = find()
    flags = {"server.data": ("--data", str(path / "data")), "server.port": ("--port", "0")}
    read = load(sections(classes), list(classes), file=None, environ={}, flags=flags)
    loop = asyncio.new_event_loop()
    server = Server(read, classes, reread=lambda: read, command=[])
    started = []
    try:
        for one in server.subsystems:
            loop.run_until_complete(one.start())
            started.append(one)
        site = Site(server)
        loop.run_until_complete(site.start())
        yield Assembled(loop, server, site)
    finally:
        for one in reversed(started):
            loop.run_until_complete(one.stop())
        for listening in server.listening:
            listening.close()
        server._directory.close()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assembled]:
    with assembled(tmp_path_factory.mktemp("closed")) as made:
        yield made


def path_of(route: HTTPRoute | WebSocketRoute) -> str:
    """The route's path with something in place of its parameters."""
    parts = (part if isinstance(part, str) else "7" for part in route.path_components)
    return "/" + "/".join(parts)


def refused(answer: Any) -> bool:
    return bool(
        answer.status == 401
        and answer.slug == "unauthenticated"
        and answer.headers["www-authenticate"].startswith("Bearer")
    )


def test_every_route_refuses_whoever_brings_no_credential(world: Assembled) -> None:
    seen = set()
    for route in world.routes:
        path = path_of(route)  # type: ignore[arg-type]
        if isinstance(route, HTTPRoute):
            for method in {*route.methods, *METHODS}:
                assert refused(world.ask(method, path, body=b"{}")), (method, path)
                seen.add((method, route.path_format))
        else:
            assert [one["type"] for one in world.open_socket(path)] == ["websocket.close"], path
            seen.add(("WEBSOCKET", route.path_format))
    documented = {
        (method.upper(), path)
        for path, item in world.document["paths"].items()
        for method in item
        if method.upper() in METHODS
    }
    assert documented <= seen
    for expected in (
        ("GET", "/metrics"), ("GET", "/schema"), ("GET", "/v1/status"), ("GET", "/v1/tokens"),
        ("GET", "/v1/tables"), ("GET", "/v1/changes"), ("GET", "/v1/topics"),
        ("WEBSOCKET", "/v1/topics/{topic}/socket"),
    ):  # fmt: skip
        assert expected in seen


def test_the_console_refuses_too_and_its_sockets(world: Assembled) -> None:
    for path in CONSOLE:
        for method in METHODS:
            assert refused(world.ask(method, path)), (method, path)
        assert [one["type"] for one in world.open_socket(path)] == ["websocket.close"]
    for path in (LOGIN, LOGOUT):
        sent = world.open_socket(path)
        assert [one["type"] for one in sent] == ["websocket.close"], path


@settings(deadline=None, max_examples=300)
@given(
    method=st.sampled_from(METHODS),
    path=st.one_of(
        st.text(max_size=30).map(lambda text: "/" + text),
        st.lists(
            st.sampled_from(["console", "login", "logout", "v1", "", ".", "..", "livez", "schema"]),
            max_size=6,
        ).map(lambda parts: "/" + "/".join(parts)),
    ),
)
@example(method="GET", path="/")
@example(method="GET", path="*")
@example(method="POST", path="/console/LOGIN")
@example(method="POST", path="/console/login;x")
def test_nothing_at_all_is_open_but_the_login_page(
    world: Assembled, method: str, path: str
) -> None:
    path = path.replace("?", "")
    if path not in {LOGIN, LOGOUT}:
        assert refused(world.ask(method, path)), (method, path)


def test_a_browser_at_the_root_is_sent_to_the_console_which_asks_for_the_login(
    world: Assembled,
) -> None:
    """What all the others here ask for is refused to browsers too, by the same tests of the console."""
    browser = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
    tokens = world.server.resources.find(Gate).tokens
    known = tokens.create_now(Wanted(name="root", scopes=("*",)), Caller("test", ("*",), "")).text
    for token in ("", known):
        answer = world.ask("GET", "/", browser, token=token)
        assert (answer.status, answer.headers["location"]) == (303, "/console/")
        assert "set-cookie" not in answer.headers
    asked = world.ask("GET", "/console/", browser)
    assert (asked.status, asked.headers["location"]) == (303, f"{LOGIN}?next=/console/")
    for method in set(METHODS) - {"GET", "HEAD"}:
        assert refused(world.ask(method, "/", browser)), method
    for path in ("/v1/status", "/metrics", "/schema", "/v1/tables", "//", "/index.html"):
        assert refused(world.ask("GET", path, browser)), path
    assert refused(world.ask("GET", "/", ("accept", "application/json")))


def test_the_doors_are_these_and_ask_for_a_secret_of_their_own(world: Assembled) -> None:
    doors = {first for one in world.server.subsystems for first in one.doors()}
    assert doors == {"calendars"}
    for path in ("/calendars", "/calendars/", "/calendars/x.ics", "/calendars/../v1/status"):
        for method in METHODS:
            answer = world.ask(method, path)
            assert answer.status == 401, (method, path)
    assert refused(world.ask("GET", "/book/room")), "public only once an operator says so"


def test_the_login_page_tells_nothing_and_does_nothing(world: Assembled) -> None:
    for method in METHODS:
        answer = world.ask(method, LOGIN, ("host", "a"), ("origin", "http://a"))
        assert answer.status == (401 if method == "POST" else 200)
        assert "set-cookie" not in answer.headers
        away = world.ask(method, LOGOUT, ("host", "a"), ("origin", "http://a"))
        assert (away.status, away.headers["location"]) == (303, LOGIN)


def test_every_route_refuses_a_token_without_its_scope_and_says_which(world: Assembled) -> None:
    tokens = world.server.resources.find(Gate).tokens
    wanted = Wanted(name="nothing", scopes=("nothing:read",))
    text = tokens.create_now(wanted, Caller("test", ("*",), "")).text
    asked = 0
    for route in world.routes:
        path = path_of(route)  # type: ignore[arg-type]
        if not isinstance(route, HTTPRoute):
            bearer = ("authorization", f"Bearer {text}")
            assert "websocket.accept" not in [
                one["type"] for one in world.open_socket(path, bearer)
            ]
            continue
        for handler in route.route_handlers:
            need: Need | None = handler.opt.get(NEED)
            if need is None or not need.area:
                continue
            for method in handler.http_methods:
                answer = world.ask(str(method), path, body=b"{}", token=text)
                assert (answer.status, answer.slug) == (403, "forbidden"), (method, path)
                assert answer.document["scope"].startswith(f"{need.area}:{need.verb}")
                asked += 1
    assert asked > 40


def test_the_table_of_problems_in_the_docs_has_all_there_are(world: Assembled) -> None:
    """Written anew with WALNUT_REWRITE=1 in the environment."""
    page = Path(__file__).parents[2] / "docs" / "http.md"
    head = "| type (`urn:walnut:problem:...`) | status | title |\n| --- | --- | --- |\n"
    rows = "".join(
        f"| `{kind.slug}` | {kind.status} | {kind.title} |\n"
        for kind in [*world.server.resources.find(Problems).kinds, STARTING]
    )
    before, found, after = page.read_text().partition(head)
    assert found
    table = "".join(takewhile(lambda line: line.startswith("|"), after.splitlines(keepends=True)))
    if "WALNUT_REWRITE" in os.environ:
        page.write_text(before + head + rows + after.removeprefix(table))
    else:
        assert table == rows, "run it with WALNUT_REWRITE=1, and look at the difference"
