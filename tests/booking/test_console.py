"""Booking in the console, in a real browser: drag to book, drag to move, seats to click."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import (
    PATIENCE,
    Served,
    Visitor,
    browser,
    browsers,
    served,
    visitor,
)
from walnut.booking.model import Booking
from walnut.booking.pages.calendar import HOUR, Piece, in_lanes
from walnut.booking.states import State

__all__ = ["browser", "browsers", "served", "visitor"]  # fixtures
expect.set_options(timeout=PATIENCE)
TODAY = dt.datetime.now(dt.UTC).date()
MONDAY = TODAY + dt.timedelta(days=14 - TODAY.weekday())


class Api:
    """The server's API, in the operator's name."""

    def __init__(self, served: Served) -> None:
        headers = {"authorization": f"Bearer {served.tokens['operator']}"}
        self._http = httpx.Client(base_url=f"{served.url}/v1/booking/", headers=headers)

    def put(self, id_: str, kind: dict[str, Any]) -> None:
        body = {"id": id_, "kind": kind, "zone": "Europe/Berlin", "grid": 900, "price": 5000}
        self._http.put(f"resources/{id_}", json=body).raise_for_status()

    def bookings(self, id_: str) -> list[Any]:
        items: list[Any] = self._http.get(f"bookings?resource={id_}").json()["items"]
        return items


@pytest.fixture
def api(served: Served) -> Iterator[Api]:
    made = Api(served)
    made.put("room", {"type": "exclusive"})
    made.put("double", {"type": "nightly", "rooms": 3})
    rows = [{"name": name, "zone": "stalls", "seats": list("123456")} for name in "AB"]
    evening = f"{MONDAY}T19:00:00Z"
    made.put(
        "hamlet", {"type": "seats", "start": evening, "end": f"{MONDAY}T22:00:00Z", "rows": rows}
    )
    yield made
    made._http.close()


def _shoot(page: Page, name: str) -> None:
    """Keep a picture, where WALNUT_SHOTS says."""
    if folder := os.environ.get("WALNUT_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_what_is_dragged_over_is_booked_and_what_is_dragged_is_moved(
    visitor: Visitor, api: Api
) -> None:
    page = visitor.open(f"booking?resource=room&week={MONDAY}")
    tuesday = page.locator(f"[data-date='{MONDAY + dt.timedelta(days=1)}']")
    tuesday.hover(position={"x": 60, "y": 12 * HOUR})  # so that all of it is in sight
    tuesday.hover(position={"x": 60, "y": 9 * HOUR})
    page.mouse.down()
    box = tuesday.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 10 * HOUR, steps=4)
    page.mouse.up()
    page.get_by_label("Customer").fill("Ann Lee")
    page.get_by_role("button", name="Book").click()
    block = page.locator("a.w-booking")
    expect(block).to_have_text("Ann Lee")
    (booked,) = api.bookings("room")
    day = MONDAY + dt.timedelta(days=1)
    assert (booked["legs"][0]["wall"], booked["state"]) == (f"{day}T09:00", "confirmed")

    page.wait_for_function("window.socket && window.socket.connected")
    thursday = page.locator(f"[data-date='{MONDAY + dt.timedelta(days=3)}']")
    block.drag_to(
        thursday, source_position={"x": 40, "y": 8}, target_position={"x": 40, "y": 13 * HOUR + 8}
    )
    expect(thursday.locator("a.w-booking")).to_have_text("Ann Lee")
    (moved,) = api.bookings("room")
    assert moved["id"] == booked["id"]
    assert moved["legs"][0]["wall"] == f"{MONDAY + dt.timedelta(days=3)}T13:00"
    assert dt.datetime.fromisoformat(moved["end"]) - dt.datetime.fromisoformat(
        moved["start"]
    ) == dt.timedelta(hours=1)
    _shoot(page, "console-booking-week")

    page.locator("a.w-booking").click()
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()
    expect(page.get_by_text("console: moved a booking")).to_be_visible()
    page.get_by_role("button", name="Cancel booking").click()
    expect(page.get_by_text("cancelled").first).to_be_visible()
    assert api.bookings("room") == []


def test_seats_that_are_clicked_are_booked_together_and_nights_are_shown(
    visitor: Visitor, api: Api
) -> None:
    page = visitor.open("booking?resource=hamlet")
    for seat in ("A/2", "A/3"):
        page.get_by_role("button", name=seat, exact=True).click()
        expect(page.get_by_role("button", name=seat, exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
    page.get_by_label("Customer").fill("Bob")
    page.get_by_role("button", name="Book these").click()
    expect(page.get_by_role("button", name="A/2", exact=True)).to_be_disabled()
    (booked,) = api.bookings("hamlet")
    assert booked["legs"][0]["seats"] == ["A/2", "A/3"]
    page = visitor.open("booking?resource=double")
    expect(page.get_by_text("3 left").first).to_be_visible()
    page = visitor.open("booking")
    expect(page.get_by_text("hamlet")).to_be_visible()


@pytest.mark.parametrize("visitor", ["guest"], indirect=True)
def test_who_may_not_sees_nothing(visitor: Visitor, api: Api) -> None:
    page = visitor.page
    page.goto(f"{visitor.served.url}/console/booking?resource=room")
    expect(page.get_by_text("booking:read").first).to_be_visible()
    expect(page.locator(".w-day")).to_have_count(0)


def test_bookings_at_one_time_stand_side_by_side() -> None:
    booking = Booking("b", State.HELD, [], 0, 0, 0)
    pieces = [Piece(booking, MONDAY, *span) for span in ((0, 60), (30, 90), (60, 120), (90, 100))]
    assert [(one.first, lane) for one, lane, _ in in_lanes(pieces)] == [
        (0, 0), (30, 1), (60, 0), (90, 1)
    ]  # fmt: skip
    assert {lanes for _, _, lanes in in_lanes(pieces)} == {2}
