"""A visit: what may be done is asked when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from walnut.console import SessionEnded, Visit, link
from walnut.console.app import Console
from walnut.subsystem.model import Resources
from walnut.web.access import ACCESS, Need, require
from walnut.web.caller import KEY, Caller
from walnut.web.errors import Forbidden


class Doorkeeper:
    """An access layer whose mind can be changed."""

    def __init__(self) -> None:
        self.good = True
        self.scopes: tuple[str, ...] = ("tables:write:rooms", "log:read")

    def authenticate(self, scope: Mapping[str, Any]) -> Caller:
        raise NotImplementedError

    def decide(self, caller: Caller, need: Need, resource: str) -> None:
        require(self.scopes, caller, need, resource)

    def still_good(self, caller: Caller) -> bool:
        return self.good


def visit_of(doorkeeper: Doorkeeper, **query: str) -> Visit:
    scope = {KEY: Caller("token:ann", (), "r1"), ACCESS: doorkeeper}
    return Visit(scope, "tables", query, Resources())


def test_what_may_be_done_follows_the_access_layer() -> None:
    doorkeeper = Doorkeeper()
    visit = visit_of(doorkeeper)
    assert visit.may("tables:write", "rooms")
    assert visit.may("tables:read", "rooms")
    assert not visit.may("tables:write", "guests")
    assert not visit.may("tables:write")
    assert visit.may("tables:write", any_=True)
    assert visit.require("tables:write", "rooms").principal == "token:ann"
    doorkeeper.scopes = ("log:read",)
    with pytest.raises(Forbidden, match="tables:write:rooms"):
        visit.require("tables:write", "rooms")


def test_a_session_that_ended_does_nothing_more_even_if_it_is_good_again() -> None:
    doorkeeper = Doorkeeper()
    visit = visit_of(doorkeeper)
    doorkeeper.good = False
    with pytest.raises(SessionEnded, match="log in again"):
        visit.require("log:read")
    doorkeeper.good = True
    with pytest.raises(SessionEnded):
        visit.require("log:read")


def test_numbers_of_an_address_are_read_or_left() -> None:
    visit = visit_of(Doorkeeper(), lsn="12", bad="-3", worse="9" * 40, odd="²")
    assert [visit.number(name, 7) for name in ("lsn", "bad", "worse", "odd", "none")] == [
        12,
        7,
        7,
        7,
        7,
    ]


def test_addresses_are_encoded_and_leave_out_what_is_empty() -> None:
    assert link("tables", table="a&b", key='["x", 1]', cursor=None, index="") == (
        "/console/tables?table=a%26b&key=%5B%22x%22%2C+1%5D"
    )
    assert link("log") == "/console/log"


async def answers_before(kind: str) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    console = Console(list, Resources())
    scope: dict[str, Any] = {
        "type": kind,
        KEY: None,
        ACCESS: None,
        "headers": [],
        "path": "/console/",
    }
    await console(scope, receive, send)
    return sent


def test_before_it_is_loaded_the_console_says_so_and_that_it_goes_on() -> None:
    import asyncio

    start, body = asyncio.run(answers_before("http"))
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert b'http-equiv="refresh"' in body["body"]
    (close,) = asyncio.run(answers_before("websocket"))
    assert close["type"] == "websocket.close"


def test_a_console_is_made_without_loading_nicegui() -> None:
    import subprocess
    import sys

    told = "import sys, walnut.console.app, walnut.console.login; print('nicegui' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
