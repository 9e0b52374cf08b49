"""The console's logins: cookies, origins, how they begin and end."""

from __future__ import annotations

from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.server.access.asking import ROOT, Answered, World, ask, scope_of
from walnut.server.access import sessions
from walnut.server.access.sessions import Sessions, name_of
from walnut.web.asgi import Receive, Scope, Send
from walnut.web.caller import caller_of

pytestmark = pytest.mark.anyio
HOST = ("host", "walnut.test:8420")
ORIGIN = ("origin", "http://walnut.test:8420")
HTML = ("accept", "text/html,*/*")


async def console(scope: Scope, receive: Receive, send: Send) -> None:
    body = caller_of(scope).principal.encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, app=console)
    yield made
    made.store.close()


async def log_in(
    world: World,
    token: str,
    *headers: tuple[str, str],
    scheme: str = "http",
    path: str = "/console/login",
) -> Answered:
    body = urlencode({"token": token}).encode()
    return await ask(world.app, "POST", path, HOST, *headers, body=body, scheme=scheme)


async def cookie_of(world: World, token: str) -> tuple[str, str]:
    answer = await log_in(world, token, ORIGIN)
    assert answer.status == 303, answer
    return "cookie", f"theme=dark; {answer.headers['set-cookie'].partition(';')[0]}"


async def test_a_token_begins_a_session_whose_cookie_scripts_and_other_sites_do_not_get(
    world: World,
) -> None:
    answer = await log_in(world, world.operator, ORIGIN)
    assert (answer.status, answer.headers["location"]) == (303, "/console")
    morsel = SimpleCookie(answer.headers["set-cookie"])["walnut_session"]
    assert len(morsel.value) == 43
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Strict", "/console")
    assert not morsel["secure"]
    over_tls = await log_in(
        world, world.operator, ("origin", "https://walnut.test:8420"), scheme="https"
    )
    assert SimpleCookie(over_tls.headers["set-cookie"])["walnut_session"]["secure"]
    assert world.operator not in answer.headers["set-cookie"]


async def test_a_session_shows_the_console_and_opens_nothing_else(world: World) -> None:
    cookie = await cookie_of(world, world.operator)
    shown = await ask(world.app, "GET", "/console/topics", HOST, cookie)
    assert (shown.status, shown.body) == (200, b"token:operator")
    for path in ("/v1/tokens", "/", "/consoleX", "/v1/console/"):
        assert (await ask(world.app, "GET", path, HOST, cookie)).status == 401


async def test_who_looks_without_a_session_is_sent_to_the_login_and_back(world: World) -> None:
    answer = await ask(world.app, "GET", "/console/topics?name=a&b=%20c", HTML)
    assert answer.status == 303
    where = answer.headers["location"]
    assert where == "/console/login?next=/console/topics%3Fname%3Da%26b%3D%2520c"
    back = await log_in(world, world.operator, ORIGIN, path=where)
    assert back.headers["location"] == "/console/topics?name=a&b=%20c"
    assert (await ask(world.app, "GET", "/console/topics")).status == 401  # no browser
    assert (await ask(world.app, "POST", "/console/topics", HTML)).status == 401


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.test/",
        "//evil.test/",
        "/console/../v1",
        "/v1",
        "/console/\\evil",
        "/console/%0d%0aX:y",
    ],
)
async def test_a_login_leads_nowhere_but_into_the_console(world: World, elsewhere: str) -> None:
    path = f"/console/login?next={elsewhere}"
    where = (await log_in(world, world.operator, ORIGIN, path=path)).headers["location"]
    assert where.startswith("/console")
    assert "\r" not in where
    assert "\\" not in where


@pytest.mark.parametrize(
    "token", ["", "nonsense", "walnut_x_y", "walnut_" + "0" * 12 + "_" + "0" * 43]
)
async def test_a_wrong_token_begins_no_session_and_the_page_says_why(
    world: World, token: str
) -> None:
    answer = await log_in(world, token, ORIGIN)
    assert answer.status == 401
    assert b"not good" in answer.body
    assert "set-cookie" not in answer.headers
    assert len(world.gate.sessions) == 0


async def test_the_login_page_takes_no_more_than_a_token(world: World) -> None:
    answer = await log_in(world, "x" * 5000, ORIGIN)
    assert answer.status == 413


async def test_wrong_tokens_on_the_login_page_count_like_all_others(world: World) -> None:
    statuses = [(await log_in(world, "wrong", ORIGIN)).status for _ in range(25)]
    assert statuses == [401] * 20 + [429] * 5


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("origin", "null"),),
        (("origin", "http://evil.test:8420"),),
        (("origin", "http://walnut.test:9999"),),
        (("origin", "http://walnut.test.evil.test:8420"),),
        (("origin", "http://[::1"),),
        (("sec-fetch-site", "cross-site"),),
        (("sec-fetch-site", "same-site"),),
        (("origin", "http://evil.test"), ("sec-fetch-site", "same-origin")),
    ],
)
async def test_another_sites_page_can_not_use_a_session(
    world: World, headers: tuple[tuple[str, str], ...]
) -> None:
    cookie = await cookie_of(world, world.operator)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = await ask(world.app, method, "/console/x", HOST, cookie, *headers)
        assert (answer.status, answer.slug) == (403, "cross-origin")
    assert (await log_in(world, world.operator, *headers)).status == 403
    out = await ask(world.app, "POST", "/console/logout", HOST, cookie, *headers)
    assert out.status == 403
    socket = scope_of("GET", "/console/ws", [HOST, cookie, *headers], type="websocket")
    assert await world.gate.again(socket) is None


@pytest.mark.parametrize("header", [ORIGIN, ("sec-fetch-site", "same-origin")])
async def test_this_servers_own_pages_can(world: World, header: tuple[str, str]) -> None:
    cookie = await cookie_of(world, world.operator)
    assert (await ask(world.app, "POST", "/console/x", HOST, cookie, header)).status == 200
    socket = scope_of("GET", "/console/ws", [HOST, cookie, header], type="websocket")
    assert await world.gate.again(socket) is not None


async def test_behind_a_proxy_with_tls_the_ports_of_the_scheme_are_meant(world: World) -> None:
    cookie = await cookie_of(world, world.operator)
    host, origin = ("host", "walnut.test"), ("origin", "https://walnut.test")
    assert (await ask(world.app, "POST", "/console/x", host, cookie, origin)).status == 200


async def test_logging_out_ends_the_session_wherever_its_cookie_is(world: World) -> None:
    cookie = await cookie_of(world, world.operator)
    answer = await ask(world.app, "POST", "/console/logout", HOST, ORIGIN, cookie)
    assert (answer.status, answer.headers["location"]) == (303, "/console/login")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert (await ask(world.app, "GET", "/console", HOST, cookie)).status == 401


async def test_a_session_ends_with_its_token_and_what_it_has_open_too(world: World) -> None:
    _, text = world.token("ci", "*")
    cookie = await cookie_of(world, text)
    scope = scope_of("GET", "/console", [HOST, cookie])
    caller = world.gate.authenticate(scope)
    assert world.gate.still_good(caller)
    await world.tokens.revoke("ci", ROOT)
    assert not world.gate.still_good(caller)
    assert (await ask(world.app, "GET", "/console", HOST, cookie)).status == 401


async def test_a_session_ends_when_it_is_quiet_for_too_long_or_too_old(world: World) -> None:
    cookie = await cookie_of(world, world.operator)
    for _ in range(12):
        world.clock.now += sessions.QUIET_SECONDS - 1
        status = (await ask(world.app, "GET", "/console", HOST, cookie)).status
        if world.clock.now - 1_000_000 < sessions.OLDEST_SECONDS:
            assert status == 200
    world.clock.now += 60
    assert (await ask(world.app, "GET", "/console", HOST, cookie)).status == 401
    quiet = await cookie_of(world, world.operator)
    world.clock.now += sessions.QUIET_SECONDS
    assert (await ask(world.app, "GET", "/console", HOST, quiet)).status == 401


@pytest.mark.parametrize(
    "value", ["", "x", "\u00e4", "a" * 10_000, "walnut_session=walnut_session="]
)
async def test_a_made_up_cookie_is_no_session(world: World, value: str) -> None:
    cookie = ("cookie", f"walnut_session={value}")
    assert (await ask(world.app, "GET", "/console", HOST, cookie)).status == 401


async def test_two_session_cookies_are_none(world: World) -> None:
    cookie = await cookie_of(world, world.operator)
    other = ("cookie", "walnut_session=planted")
    assert (await ask(world.app, "GET", "/console", HOST, cookie, other)).status == 401


def test_sessions_are_bounded_and_their_ids_are_not_kept() -> None:
    kept = Sessions(lambda: 0.0)
    ids = [kept.open("token") for _ in range(sessions.MOST_SESSIONS + 5)]
    assert len(kept) == sessions.MOST_SESSIONS
    assert kept.token_id(name_of(ids[0])) is None
    assert kept.token_id(name_of(ids[-1])) == "token"
    assert not set(ids) & set(kept._sessions)
