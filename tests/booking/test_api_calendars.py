"""Calendars and tables, out and in, over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import icalendar
import pytest

from tests.booking.apis import NINE, Desk, opened
from tests.web.asgi import Call
from walnut.booking.api.feed import Feeds

CSV = """resource,start,end,customer
room,2030-05-02T09:00,2030-05-02T10:00,ann
room,2030-05-02T{},2030-05-02T11:00,bob
"""
ICS = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//x//y//EN
BEGIN:VEVENT
UID:1
DTSTAMP:20300101T000000Z
DTSTART:20300502T090000Z
DTEND:20300502T100000Z
SUMMARY:Standup
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTAMP:20300101T000000Z
DTSTART:20300502T110000Z
DURATION:PT30M
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTAMP:20300101T000000Z
DTSTART:20300502T110000Z
DTEND:20300502T120000Z
STATUS:CANCELLED
END:VEVENT
END:VCALENDAR
"""


def sent(desk: Desk, text: str, query: str = "") -> Any:
    return desk.http.post(f"/v1/booking/import{query}", content=text.encode())


def test_a_table_is_booked_as_a_whole_or_as_far_as_can_be(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        overlapping = CSV.format("09:30")
        assert sent(desk, overlapping).status_code == 409
        assert desk.get("bookings?resource=room")["items"] == []
        some = sent(desk, overlapping, "?as_far_as_can_be=true").json()
        assert [one["customer"] for one in some["booked"]] == ["ann"]
        assert [(one["at"], one["kind"]) for one in some["refused"]] == [("line 3", "taken")]


def test_a_calendar_is_booked_but_for_what_takes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        assert sent(desk, ICS).status_code == 422
        booked = sent(desk, ICS, "?resource=room&customer=ann").json()["booked"]
        assert [(one["start"], one["end"]) for one in booked] == [
            ("2030-05-02T09:00:00Z", "2030-05-02T10:00:00Z"),
            ("2030-05-02T11:00:00Z", "2030-05-02T11:30:00Z"),
        ]
        assert booked[0]["note"] == "Standup"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n1,2\n",
        "resource,start,end\n",
        "resource,start,end\nroom,now,later\n",
        "resource,start,end\nroom,2030-05-02T09:00\n",
        "resource,start,end,units\nroom,2030-05-02T09:00,2030-05-02T10:00,many\n",
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:what\nEND:VEVENT\nEND:VCALENDAR\n",
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTEND:20300502T100000Z\nEND:VEVENT\nEND:VCALENDAR\n",
        ICS.replace("SUMMARY:Standup", "RRULE:FREQ=DAILY"),
    ],
)
def test_what_can_not_be_read_is_refused_and_books_nothing(text: str, tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        refused = sent(desk, text, "?resource=room")
        assert (refused.status_code, refused.json()["title"]) == (
            422,
            "This can't be read as bookings",
        )
        assert desk.get("bookings?resource=room")["items"] == []


def test_a_calendar_goes_out_with_a_tag_and_without_names(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        desk.post("holds", {"want": NINE, "customer": "ann", "confirm": True})
        path = "/v1/booking/resources/room/calendar"
        answer = desk.http.get(path)
        assert answer.headers["content-type"].startswith("text/calendar")
        events = icalendar.Calendar.from_ical(answer.content).walk("VEVENT")
        assert [str(event["summary"]) for event in events] == ["room"]
        assert "ann" not in answer.text
        tag = {"if-none-match": answer.headers["etag"]}
        assert desk.http.get(path, headers=tag).status_code == 304
        mine = desk.http.get("/v1/booking/customers/ann/calendar").content
        assert len(icalendar.Calendar.from_ical(mine).walk("VEVENT")) == 1
        busy = desk.http.get(
            "/v1/booking/resources/room/free-busy?start=2030-05-02T00:00Z&end=2030-05-03T00:00Z"
        )
        assert b"FREEBUSY" in busy.content


async def _status(feeds: Feeds, path: str, method: str = "GET") -> tuple[int, str]:
    async with Call(feeds, path, method=method) as call:
        return await call.head(), await call.rest()


def test_a_feed_shows_its_calendar_to_whoever_has_its_address_until_it_is_revoked(
    tmp_path: Path,
) -> None:
    with opened(tmp_path / "s") as desk:
        desk.post("holds", {"want": NINE})
        feed = desk.post("feeds", {"of": "resource", "name": "room"}, Idempotency_Key="f")
        path = feed["path"]
        assert "path" not in desk.post(
            "feeds", {"of": "resource", "name": "room"}, Idempotency_Key="f"
        )
        feeds = Feeds(desk.resources)

        def asked(path: str, method: str = "GET") -> tuple[int, str]:
            return asyncio.run(_status(feeds, path, method))

        status, text = asked(path)
        assert (status, text[:15]) == (200, "BEGIN:VCALENDAR")
        assert asked(path, "HEAD") == (200, "")
        for wrong in (path[:-1], path.split("?")[0], "/calendars/", "/calendars/x.ics?secret="):
            assert asked(wrong)[0] == 401
        assert asked(path, "POST")[0] == 401
        listed = desk.http.get("/v1/booking/feeds").text
        assert feed["id"] in listed
        assert path.split("=")[1] not in listed
        assert desk.http.delete(f"/v1/booking/feeds/{feed['id']}").status_code == 200
        assert asked(path)[0] == 401
        assert desk.http.delete(f"/v1/booking/feeds/{feed['id']}").status_code == 404
