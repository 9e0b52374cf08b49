"""The public page: what anonymous visitors may do, and how it works on a phone."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from tests.booking.apis import NINE, Desk, opened
from tests.console.conftest import PATIENCE, browser
from tests.web.asgi import Call
from walnut.booking import Exclusive, Fee, Resource, Terms
from walnut.booking.public.page import HOLDS, WRITES, PublicPage
from walnut.booking.public.visitors import Buckets, Visitors
from walnut.shutdown.sockets import listen
from walnut.store.store import Store
from walnut.subsystem.model import ServerInfo

__all__ = ["browser"]  # a fixture
JSON = {"content-type": "application/json", "host": "here"}
TEN = {"start": "2030-05-02T08:00:00Z", "end": "2030-05-02T09:00:00Z"}


class Visit:
    """A browser without a screen."""

    def __init__(self, page: PublicPage, cookie: str = "") -> None:
        self.page = page
        self.cookie = cookie
        self.headers: dict[str, str] = {}

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        return asyncio.run(self._ask(path, body, headers))

    async def _ask(self, path: str, body: object, headers: dict[str, str]) -> tuple[int, Any]:
        sent = {**JSON, "cookie": self.cookie, **headers}
        method = "GET" if body is None else "POST"
        async with Call(self.page, f"/book/{path}", method=method, headers=sent) as call:
            call.body(b"" if body is None else msgspec.json.encode(body))
            status = await call.head()
            text = await call.rest()
            self.headers = call.headers
            if cookie := call.headers.get("set-cookie"):
                self.cookie = cookie.partition(";")[0]
        return status, text if text.startswith("<") else msgspec.json.decode(text)


def public(desk: Desk, path: Path, pattern: str = "room") -> PublicPage:
    desk.resources.provide(ServerInfo(path, "0", 0))
    return PublicPage(desk.resources, (pattern,))


def test_a_visitor_holds_confirms_and_cancels_what_is_theirs(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        page = public(desk, tmp_path)
        ann, bob = Visit(page), Visit(page)
        for visit in (ann, bob):
            status, text = visit.ask("room")
            assert (status, "<title>" in text) == (200, True)
        assert "HttpOnly; SameSite=Strict" in ann.headers.get(
            "set-cookie", "HttpOnly; SameSite=Strict"
        )
        free = ann.ask("room/free?date=2030-05-02&length=3600")[1]
        assert "10:00" in [item["wall"] for item in free["items"]]
        status, held = ann.ask("room/holds", TEN)
        assert (status, held["state"], held["seconds"]) == (201, "held", 598)
        status, told = bob.ask("room/holds", TEN)
        assert (status, told["type"]) == (409, "urn:walnut:problem:unavailable")
        assert held["id"] not in str(told)
        assert bob.ask(f"room/holds/{held['id']}/confirm", {})[0] == 403
        assert bob.ask(f"room/holds/{held['id']}/cancel", {})[0] == 403
        assert bob.ask("room/mine")[1] == []
        assert ann.ask(f"room/holds/{held['id']}/confirm", {})[1]["state"] == "confirmed"
        assert [one["id"] for one in ann.ask("room/mine")[1]] == [held["id"]]
        assert ann.ask(f"room/holds/{held['id']}/cancel", {})[1]["state"] == "cancelled"
        again = Visit(public(desk, tmp_path), ann.cookie)  # after a restart
        assert again.ask("room/mine")[0] == 200


def test_nothing_is_public_but_what_an_operator_named(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        staff = desk.post("holds", {"want": {**NINE, "start": "2030-05-03T09:00:00",
                                             "end": "2030-05-03T10:00:00"}})  # fmt: skip
        visit = Visit(public(desk, tmp_path, "hall*"))
        for path in ("room", "room/free", "", "hall", "room/mine", "../v1/status", "hall/x/y/z"):
            assert visit.ask(path)[0] == 404, path
        visit = Visit(public(desk, tmp_path))
        visit.ask("room")
        for what in ("confirm", "cancel"):
            assert visit.ask(f"room/holds/{staff['id']}/{what}", {})[0] == 403
        assert visit.ask("room/holds", {"start": "x"})[0] == 400
        assert visit.ask("room/holds", {**TEN, "customer": "ann"})[0] == 400


def test_one_without_a_cookie_or_from_another_site_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        page = public(desk, tmp_path)
        assert Visit(page).ask("room/holds", TEN)[0] == 401
        visit = Visit(page)
        visit.ask("room")
        assert Visit(page, visit.cookie[:-1] + "x").ask("room/holds", TEN)[0] == 401
        assert visit.ask("room/holds", TEN, origin="https://elsewhere")[0] == 403
        assert visit.ask("room/holds", TEN, origin="http://here")[0] == 201
        desk.clock.forward(days=2)
        assert visit.ask("room/mine")[0] == 401


def test_holds_of_a_visitor_and_requests_of_an_address_have_limits(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        visit = Visit(public(desk, tmp_path))
        visit.ask("room")
        answers = []
        for hour in range(int(WRITES[0]) + 1):
            start = dt.datetime(2030, 5, 2, hour, tzinfo=dt.UTC)
            asked = {"start": start, "end": start + dt.timedelta(hours=1)}
            answers.append(visit.ask("room/holds", asked)[0])
        assert answers[:HOLDS] == [201] * HOLDS
        assert set(answers[HOLDS:-1]) == {409}
        assert answers[-1] == 429
        desk.clock.forward(seconds=1 / WRITES[1])
        assert visit.ask("room/holds", TEN)[0] == 409


def test_buckets_fill_again_and_a_household_is_one_address() -> None:
    buckets = Buckets(2, 1)
    assert [buckets.take("2001:db8::1", 0), buckets.take("2001:db8::2", 0)] == [True, True]
    assert not buckets.take("2001:db8::3", 0)
    assert buckets.take("2001:db8:1::3", 0)
    assert buckets.take("2001:db8::3", 1)


def test_a_cookie_is_good_for_its_time_and_its_visitor_alone(tmp_path: Path) -> None:
    visitors = Visitors(tmp_path / "b" / "key")
    assert (tmp_path / "b" / "key").stat().st_mode & 0o777 == 0o600
    id_, cookie = visitors.new(1000)
    assert visitors.read(cookie, 1000) == id_
    assert visitors.read(cookie, 1e9) is None
    other = cookie.replace(id_, "0" * 24)
    for wrong in (
        "",
        "..",
        "a.b.c",
        other,
        cookie + "0",
        cookie.replace(".87400.", ".97400."),
        "é.1.é",
    ):
        assert visitors.read(wrong, 1000) is None


# -- in a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A room that can be booked, served from a thread; the store is of no event loop of this one."""
    path = tmp_path_factory.mktemp("public")
    listening = listen("127.0.0.1", 0)
    with ThreadPoolExecutor(1) as pool:
        store = pool.submit(Store, path / "s").result()
        desk = pool.submit(_furnished, store, path).result()
        started = threading.Event()

        async def serve() -> None:
            task = asyncio.ensure_future(server.serve([listening.socket]))
            while not server.started:
                await asyncio.sleep(0.01)
            started.set()
            await task

        config = uvicorn.Config(desk, lifespan="off", log_level="error", ws="none")
        server = uvicorn.Server(config)
        running = pool.submit(asyncio.run, serve())
        assert started.wait(PATIENCE / 1000)
        yield f"http://127.0.0.1:{listening.port}/book/meeting-room"
        server.should_exit = True
        running.result()
        pool.submit(store.close).result()


def _furnished(store: Store, path: Path) -> PublicPage:
    from tests.booking.apis import with_bookings
    from tests.store.apis import resources_of
    from walnut.booking.bookings import Bookings
    from walnut.jobs import Jobs

    resources = with_bookings(resources_of(store), Jobs(store))
    terms = Terms(fees=[Fee(hours=24, percent=50)])
    room = Resource(
        id="meeting-room", kind=Exclusive(), zone="Europe/Berlin", hours="Mo-Su 09:00-17:00",
        grid=1800, price=2500, terms=terms, hold=120,
    )  # fmt: skip
    store.call(resources.find(Bookings).add, room)
    resources.provide(ServerInfo(path, "0", 0))
    return PublicPage(resources, ("meeting-*",))


def _shoot(page: Page, name: str) -> None:
    """Keep a picture, where WALNUT_SHOTS says."""
    if folder := os.environ.get("WALNUT_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_a_time_is_held_with_a_countdown_and_booked_on_a_phone(browser: Browser, url: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 760}, has_touch=True, is_mobile=True, locale="en-GB"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if "Security" in line.text else None)
    page.goto(url)
    day = (dt.datetime.now(dt.UTC) + dt.timedelta(days=3)).date().isoformat()
    page.get_by_label("Day").fill(day)
    expect(page.get_by_role("button", name="10:00")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="10:00").tap()
    clock = page.get_by_role("timer")
    expect(clock).to_have_text(re.compile(r"1:5\d"))
    before = clock.inner_text()
    expect(clock).not_to_have_text(before)  # it runs
    _shoot(page, "booking-public-phone")
    expect(page.get_by_role("button", name="10:00")).to_have_count(0)
    page.get_by_role("button", name="Confirm").tap()
    expect(page.get_by_text("Booked")).to_be_visible()
    page.emulate_media(color_scheme="dark")
    _shoot(page, "booking-public-dark")
    page.get_by_role("button", name="Cancel booking").tap()
    expect(page.get_by_text("Booked")).to_have_count(0)
    expect(page.get_by_role("button", name="10:00")).to_be_visible()
    assert errors == []
    context.close()
