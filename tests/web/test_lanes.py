"""The express lane and the ordinary one: nobody can tell them apart but by a clock."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, RawBody
from litestar.types import Scope

from tests.server.access.asking import World, ask
from walnut.testing.web import ByScopes, client
from walnut.web.access import needs, needs_credential, permit
from walnut.web.answer import Answer
from walnut.web.app import Api
from walnut.web.asgi import Message
from walnut.web.caller import KEY
from walnut.web.errors import ExpressUnsupported, PreconditionFailed, RouteUndeclared
from walnut.web.express import express

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Body(msgspec.Struct):
    n: int
    names: list[str] = []


def both() -> list[Any]:
    async def work(
        name: FromPath[str], number: FromPath[int], data: JSONBody[Body], scope: Scope,
        limit: FromQuery[int] = 3, flag: FromQuery[bool | None] = None,
    ) -> Answer[dict[str, Any]]:  # fmt: skip
        if data.n == 412:
            raise PreconditionFailed("not as you think: ä ☃")
        if data.n == 304:
            return Answer({}, status=304)
        what = {"name": name, "number": number, "body": data, "limit": limit, "flag": flag}
        return Answer(what, status=200 + data.n % 3, headers={"walnut-lsn": str(data.n)})

    async def raw(body: RawBody) -> Answer[bytes]:
        return Answer(body, media_type="application/octet-stream")

    need = needs("things:write", name="name")
    return [
        express(post("/fast/{name:str}/of/{number:int}", opt=need)(work)),
        post("/plain/{name:str}/of/{number:int}", opt=need)(work),
        express(post("/fast/raw", opt=needs_credential())(raw)),
        post("/plain/raw", opt=needs_credential())(raw),
        get("/fast/special/of/{number:int}", opt=needs_credential())(special),
        get("/plain/special/of/{number:int}", opt=needs_credential())(special),
    ]


async def special(number: FromPath[int]) -> str:
    return f"special {number}"


@pytest.fixture(scope="module")
def http() -> Iterator[Any]:
    with client(both(), scopes=("things:write:[a-s]*",)) as made:
        yield made


def same(http: Any, method: str, path: str, **more: Any) -> Any:
    answers = [http.request(method, f"/{lane}{path}", **more) for lane in ("fast", "plain")]
    seen = []
    for lane, answer in zip(("fast", "plain"), answers, strict=True):
        headers = {k: v for k, v in answer.headers.items() if k != "content-length"}
        text = answer.text.replace(f"/{lane}/", "/LANE/")
        seen.append((answer.status_code, headers, text))
    assert seen[0] == seen[1]
    return answers[0]


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("POST", "/a/of/1", {"json": {"n": 0}}, 200),
        ("POST", "/a/of/1", {"json": {"n": 1, "names": ["ä"]}}, 201),
        ("POST", "/a/of/1?limit=5&flag=true", {"json": {"n": 0}}, 200),
        ("POST", "/a/of/1?limit=x", {"json": {"n": 0}}, 400),
        ("POST", "/a/of/1?limit=1&limit=2", {"json": {"n": 0}}, 200),
        ("POST", "/a/of/1?other=1", {"json": {"n": 0}}, 200),
        ("POST", "/a/of/1?flag=maybe", {"json": {"n": 0}}, 400),
        ("POST", "/a/of/1?limit=", {"json": {"n": 0}}, 400),
        ("POST", "/a/of/1", {"json": {"n": "x"}}, 400),
        ("POST", "/a/of/1", {"json": {"n": 0, "names": [1]}}, 400),
        ("POST", "/a/of/1", {"json": {}}, 400),
        ("POST", "/a/of/1", {"json": []}, 400),
        ("POST", "/a/of/1", {"content": b"{"}, 400),
        ("POST", "/a/of/1", {"content": b""}, 400),
        ("POST", "/a/of/1", {"content": b"\xff"}, 400),
        ("POST", "/a/of/1", {"json": {"n": 412}}, 412),
        ("POST", "/zoo/of/1", {"json": {"n": 0}}, 403),
        ("POST", "/zoo/of/1", {"content": b"{"}, 403),
        ("POST", "/a/of/x", {"json": {"n": 0}}, 404),
        ("POST", "/a/of/-1", {"json": {"n": 0}}, 200),
        ("POST", "/a/of/1/", {"json": {"n": 0}}, 200),
        ("POST", "//of/1", {"json": {"n": 0}}, 404),
        ("POST", "/a/of", {"json": {"n": 0}}, 404),
        ("POST", "/a%2Fof/of/1", {"json": {"n": 0}}, 404),
        ("POST", "/a%20b/of/1", {"json": {"n": 0}}, 200),
        ("PUT", "/a/of/1", {"json": {"n": 0}}, 405),
        ("GET", "/a/of/1", {}, 405),
        ("HEAD", "/a/of/1", {}, 405),
        ("OPTIONS", "/a/of/1", {}, 204),
        ("GET", "/special/of/1", {}, 200),
        ("POST", "/special/of/1", {"json": {"n": 0}}, 405),
        ("POST", "/raw", {"content": b"\x00\xff"}, 201),
        ("POST", "/raw", {"content": b""}, 201),
    ],
)
def test_both_lanes_give_the_same_answer(
    http: Any, method: str, path: str, more: dict[str, Any], status: int
) -> None:
    answer = same(http, method, path, **more)
    assert answer.status_code == status, answer.text
    if status >= 400 and method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.text(string.printable + "äöü☃", max_size=8),
    number=st.one_of(st.integers(-5, 10**20).map(str), st.text("0123456789+-_ e٣", max_size=5)),
    query=st.text("limtfag=&%123true+;", max_size=20),
    body=st.one_of(st.binary(max_size=20), st.integers(0, 9).map(lambda n: b'{"n": %d}' % n)),
)
def test_both_lanes_give_the_same_answer_to_anything(
    http: Any, name: str, number: str, query: str, body: bytes
) -> None:
    where = f"/{quote(name, safe='/')}/of/{quote(number)}?{query}"
    same(http, "POST", where, content=body)


async def test_refusals_of_the_access_layer_are_the_same_in_both_lanes(tmp_path: Path) -> None:
    world = World(tmp_path)
    _, text = world.token("small", "topics:read:a*")
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/o", {}),
        ("GET", "/o", {"token": "walnut_x_y"}),
        ("GET", "/o", {"token": text}),
        ("GET", "/a", {"token": text}),
        ("POST", "/a", {"token": text, "body": b'{"n": 1}'}),
        ("POST", "/a", {"token": world.operator, "body": b"x" * (16 * 1024 * 1024 + 1)}),
        ("POST", "/a", {"token": world.operator, "body": b'{"n": "x"}'}),
    ]
    for method, path, more in cases:
        answers = [
            await ask(world.app, method, f"/v1/{lane}{path}", ("request-id", "r"), **more)
            for lane in ("fast", "plain")
        ]
        first, second = (
            (one.status, {**one.headers, "content-length": ""}, one.body.replace(lane, b"LANE"))
            for one, lane in zip(answers, (b"/fast/", b"/plain/"), strict=True)
        )
        assert first == second
    await asyncio.to_thread(world.store.close)


async def test_the_express_lane_serves_without_litestar(monkeypatch: pytest.MonkeyPatch) -> None:
    access = ByScopes("token:x", ("*",))
    api = Api(both(), access)

    async def ordinary(*_: object) -> None:
        raise AssertionError("this went through the ordinary lane")

    monkeypatch.setattr(api, "_ordinary", ordinary)
    scope: dict[str, Any] = {
        "type": "http", "method": "POST", "path": "/fast/a/of/7", "query_string": b"limit=4",
        "headers": [],
    }  # fmt: skip
    scope[KEY] = access.authenticate(scope)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"n": 3}'}

    async def send(message: Message) -> None:
        sent.append(message)

    await api(scope, receive, send)
    assert sent[0]["status"] == 200
    assert msgspec.json.decode(sent[1]["body"])["limit"] == 4


# -- what an app refuses to be made of -----------------------------------------------------------


def api_of(*routes: Any) -> Api:
    return Api(routes, ByScopes("token:x", ("*",)))


def test_an_app_with_a_route_that_declares_no_need_does_not_start() -> None:
    with pytest.raises(RouteUndeclared, match="does not say"):
        api_of(get("/x")(special))


def test_an_app_whose_route_names_what_its_path_has_not_does_not_start() -> None:
    with pytest.raises(RouteUndeclared, match="no such"):
        api_of(get("/x/{number:int}", opt=needs("x:read", name="thing"))(special))


async def takes_a_list(scope: Scope, names: FromQuery[list[str]]) -> None: ...


async def takes_a_query_that_must_be(scope: Scope, name: FromQuery[str]) -> None: ...


def is_no_coroutine(scope: Scope) -> None: ...


@pytest.mark.parametrize(
    "route",
    [
        get("/x", opt=needs_credential())(takes_a_list),
        get("/x", opt=needs_credential())(takes_a_query_that_must_be),
        get("/x", opt=needs_credential(), sync_to_thread=False)(is_no_coroutine),
    ],
)
def test_an_express_route_that_wants_more_than_it_can_have_is_refused(route: Any) -> None:
    with pytest.raises(ExpressUnsupported):
        api_of(express(route))


def test_a_route_that_touches_several_things_asks_for_each() -> None:
    async def transact(names: FromQuery[str], scope: Scope) -> str:
        for name in names.split(","):
            permit(scope, "tables:write", name)
        return "done"

    route = post("/v1/transactions", opt=needs("tables:write", each=True))(transact)
    with client([route], scopes=("tables:write:a*",)) as http:
        assert http.post("/v1/transactions?names=a1,a2").status_code == 201
        refused = http.post("/v1/transactions?names=a1,b")
        assert (refused.status_code, refused.json()["scope"]) == (403, "tables:write:b")
    with client([route], scopes=("tables:read",)) as http:
        assert http.post("/v1/transactions?names=a1").status_code == 403
