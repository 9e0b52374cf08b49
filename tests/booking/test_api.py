"""Booking over HTTP: the life of a booking, what is free, and every refusal with what would work."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from tests.booking.apis import NINE, ROOM, opened

DAY = "start=2030-05-02T00:00&end=2030-05-03T00:00"
TEN = {**NINE, "start": "2030-05-02T10:00:00", "end": "2030-05-02T11:00:00"}


def slug(answer: Any) -> str:
    return str(answer["type"]).removeprefix("urn:walnut:problem:")


def test_a_hold_is_confirmed_changed_and_cancelled(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        held = desk.post("holds", {"want": NINE, "customer": "ann"})
        assert (held["state"], held["price"], held["version"]) == ("held", 5000, 1)
        assert held["expires"] == "2030-05-01T08:10:00Z"
        assert held["legs"][0]["wall"] == "2030-05-02T09:00"
        later = desk.post(f"holds/{held['id']}/extend", {"seconds": 1200}, 200)
        assert later["expires"] == "2030-05-01T08:20:00Z"
        done = desk.post(f"holds/{held['id']}/confirm", {"customer": "ann"}, 200)
        assert (done["state"], "expires" in done) == ("confirmed", False)
        path = f"/v1/booking/bookings/{held['id']}"
        tag = desk.http.get(path).headers["etag"]
        assert desk.http.get(path, headers={"if-none-match": tag}).status_code == 304
        moved = desk.http.put(path, json={"want": TEN}, headers={"if-match": tag})
        assert moved.json()["start"] == "2030-05-02T08:00:00Z"
        stale = desk.http.put(path, json={"want": NINE}, headers={"if-match": tag})
        assert (stale.status_code, stale.json()["current"]) == (412, 4)
        desk.post("holds", {"want": NINE})
        assert desk.post(f"bookings/{held['id']}/cancel", {}, 200)["state"] == "cancelled"
        history = desk.get(f"bookings/{held['id']}/history")
        assert history["whole"]
        assert [one["what"] for one in history["items"]] == [
            "held", "extended", "confirmed", "changed", "cancelled"
        ]  # fmt: skip
        assert {one["by"] for one in history["items"]} == {"token:test"}


def test_of_two_the_second_is_told_what_is_in_the_way_and_what_is_free(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        free = desk.get(f"availability?resource=room&{DAY}&length=3600&step=3600")
        first = desk.post("holds", {"want": NINE})
        refused = desk.post("holds", {"want": NINE, "seen": free["lsn"]}, 409)
        assert slug(refused) == "taken"
        assert refused["blockers"][0]["booking"] == first["id"]
        assert refused["blockers"][0]["since"] is True
        start = refused["instead"][0]["start"]
        want = {**NINE, "start": start, "end": refused["instead"][0]["end"]}
        assert desk.post("holds", {"want": want})["legs"][0]["wall"] == "2030-05-02T10:00"


def test_a_hold_that_expired_is_gone_and_says_whether_it_is_still_free(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        held = desk.post("holds", {"want": NINE, "seconds": 60})
        desk.clock.forward(seconds=60)
        refused = desk.post(f"holds/{held['id']}/confirm", {}, 410)
        assert (slug(refused), refused["still_free"]) == ("hold-expired", True)
        desk.post("holds", {"want": NINE})
        refused = desk.post(f"holds/{held['id']}/confirm", {}, 410)
        assert refused["still_free"] is False


def test_under_one_idempotency_key_it_is_held_once(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        one = desk.post("holds", {"want": NINE}, Idempotency_Key="k")
        two = desk.http.post(
            "/v1/booking/holds", json={"want": NINE}, headers={"idempotency-key": "k"}
        )
        assert two.headers["idempotency-replayed"] == "true"
        assert two.json() == one
        other = desk.post("holds", {"want": TEN}, 422, Idempotency_Key="k")
        assert slug(other) == "key-reused"
        confirmed = [
            desk.post(f"holds/{one['id']}/confirm", {}, 200, Idempotency_Key="c") for _ in "ab"
        ]
        assert confirmed[0] == confirmed[1]


@pytest.mark.parametrize(
    ("change", "status", "expected"),
    [
        ({"end": "2030-05-02T09:00:00"}, 422, "invalid-want"),
        ({"start": "2030-04-01T09:00:00", "end": "2030-04-01T10:00:00"}, 409, "too-soon"),
        ({"start": "2045-04-02T09:00:00", "end": "2045-04-02T10:00:00"}, 409, "too-far"),
        ({"resource": "nowhere"}, 404, "unknown-resource"),
        ({"start": "2031-03-30T02:30:00", "end": "2031-03-30T04:00:00"}, 422, "nonexistent-time"),
        ({"start": "2030-10-27T02:30:00", "end": "2030-10-27T04:00:00"}, 422, "ambiguous-time"),
        ({"start": "2030-05-05T09:00:00", "end": "2030-05-05T10:00:00"}, 409, "not-open"),
        ({"units": 2}, 422, "invalid-want"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    change: dict[str, Any], status: int, expected: str, tmp_path: Path
) -> None:
    with opened(tmp_path / "s") as desk:
        hours = {"hours": "Mo-Sa 00:00-24:00; Su 00:00-06:00"}
        assert desk.http.patch("/v1/booking/resources/room", json=hours).status_code == 200
        refused = desk.post("holds", {"want": {**NINE, **change}}, status)
        assert slug(refused) == expected
        if expected in {"nonexistent-time", "ambiguous-time", "not-open"}:
            assert refused["instead"]


def test_a_quote_is_held_at_its_price(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        quote = desk.post("quotes", {"want": NINE, "customer": "ann"})
        desk.http.patch("/v1/booking/resources/room", json={"price": 9000})
        held = desk.post("holds", {"want": NINE, "quote": quote["id"]})
        assert (held["state"], held["price"]) == ("held", 5000)
        assert desk.post("holds", {"want": TEN, "confirm": True})["price"] == 9000


def test_a_resource_is_altered_by_whoever_saw_it_last(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        path = "/v1/booking/resources/room"
        answer = desk.http.get(path)
        tag = {"if-match": answer.headers["etag"]}
        assert desk.http.patch(path, json={"price": 1}, headers=tag).json()["price"] == 1
        assert desk.http.patch(path, json={"price": 2}, headers=tag).status_code == 412
        assert desk.http.put(path, json=ROOM, headers=tag).status_code == 412
        assert desk.http.patch(path, json={"price": "x"}).status_code == 400
        assert desk.http.patch(path, json={"zone": "Mars/Base"}).status_code == 422
        assert desk.http.put("/v1/booking/resources/hall", json=ROOM).status_code == 400
        assert [one["id"] for one in desk.get("resources")["items"]] == ["room"]


def test_nights_seats_and_blackouts(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        kind: dict[str, Any] = {"type": "nightly", "rooms": 2}
        desk.put("resources/double", {"id": "double", "kind": kind, "price": 10000})
        desk.put(
            "resources/double/nights",
            [{"resource": "double", "date": "2030-06-02", "price": 15000}],
        )
        desk.post("resources/double/blackouts", {"dates": ["2030-06-04"]}, 200)
        nights = desk.get("resources/double/nights?start=2030-06-01&end=2030-06-05")["items"]
        assert [night["price"] for night in nights] == [10000, 15000, 10000, 10000]
        assert [night["stop"] for night in nights] == [False, False, False, True]
        stay = {
            "type": "nights",
            "resource": "double",
            "arrive": "2030-06-01",
            "depart": "2030-06-03",
        }
        assert desk.post("holds", {"want": stay})["price"] == 25000
        assert (
            desk.http.put(
                "/v1/booking/resources/double", json={"id": "double", "kind": {**kind, "rooms": 0}}
            )
            .json()["type"]
            .endswith("capacity-in-use")
        )
        desk.post("resources/room/blackouts", {"dates": ["2030-05-02"]}, 200)
        assert slug(desk.post("holds", {"want": NINE}, 409)) == "not-open"
        desk.post("resources/room/blackouts", {"dates": ["2030-05-02"], "open": True}, 200)
        desk.post("holds", {"want": NINE})

        rows = [{"name": "A", "zone": "stalls", "seats": list("12345678")}]
        evening = {"type": "seats", "start": "2030-07-01T19:00:00Z", "end": "2030-07-01T22:00:00Z",
                   "rows": rows, "prices": {"stalls": 4000}}  # fmt: skip
        desk.put("resources/hamlet", {"id": "hamlet", "kind": evening})
        best = desk.post("holds", {"want": {"type": "seats", "resource": "hamlet", "best": 3}})
        assert best["price"] == 12000
        left = desk.get("resources/hamlet/seats")["items"][0]["seats"]
        assert set(left) | set(best["legs"][0]["seats"]) == {f"A/{seat}" for seat in "12345678"}
        assert len(left) == 5


def test_several_things_are_had_together_or_not_at_all(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        desk.put("resources/doctor", {**ROOM, "id": "doctor"})
        desk.post("holds", {"want": {**NINE, "resource": "doctor"}})
        both = [NINE, {**NINE, "resource": "doctor"}]
        assert desk.post("holds", {"want": both}, 409)["resource"] == "doctor"
        any_of = {**NINE, "resource": ["doctor", "room"]}
        assert desk.post("holds", {"want": any_of})["legs"][0]["resource"] == "room"


def test_busy_times_are_told_as_others_ask_for_them(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        desk.post("holds", {"want": NINE})
        asked = {"timeMin": "2030-05-02T00:00:00Z", "timeMax": "2030-05-03T00:00:00Z",
                 "items": [{"id": "room"}, {"id": "nowhere"}]}  # fmt: skip
        told = desk.post("free-busy", asked, 200)["calendars"]
        assert told["room"]["busy"] == [
            {"start": "2030-05-02T07:00:00Z", "end": "2030-05-02T08:00:00Z"}
        ]
        assert told["nowhere"]["errors"][0]["reason"] == "unknown-resource"
        desk.post("free-busy", {**asked, "items": [{"id": "room"}] * 51}, 400)


def test_bookings_are_listed_page_by_page(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        ids = []
        for hour in range(8, 13):
            want = {
                **NINE,
                "start": f"2030-05-02T{hour:02}:00:00",
                "end": f"2030-05-02T{hour + 1:02}:00:00",
            }
            ids.append(desk.post("holds", {"want": want, "customer": "ann", "confirm": True})["id"])
        for query in ("resource=room", "customer=ann"):
            found, cursor = [], ""
            while True:
                page = desk.get(f"bookings?{query}&limit=2{cursor}")
                found += [one["id"] for one in page["items"]]
                if "next" not in page:
                    break
                cursor = f"&cursor={page['next']}"
            assert found == ids
        window = desk.get("bookings?resource=room&start=2030-05-02T09:00&end=2030-05-02T11:00")
        assert [one["id"] for one in window["items"]] == ids[1:3]
        desk.get("bookings", 400)


def test_check_in_and_no_show_have_their_time(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        id_ = desk.post("holds", {"want": NINE, "confirm": True})["id"]
        assert slug(desk.post(f"bookings/{id_}/no-show", status=409)) == "not-possible-now"
        desk.clock.now = dt.datetime(2030, 5, 2, 7, 5, tzinfo=dt.UTC)
        assert desk.post(f"bookings/{id_}/check-in", status=200)["state"] == "checked in"


def test_a_token_for_some_resources_reaches_no_others(tmp_path: Path) -> None:
    with opened(tmp_path / "s", scopes=("booking:write:room", "booking:read:room")) as desk:
        held = desk.post("holds", {"want": NINE})
        desk.get(f"bookings/{held['id']}")
        desk.post("holds", {"want": {**NINE, "resource": ["room", "doctor"]}}, 403)
        desk.get("bookings?customer=ann", 403)
        assert [one["id"] for one in desk.get("resources")["items"]] == ["room"]
    with opened(tmp_path / "t", scopes=("booking:write:hall",)) as desk:
        desk.post("holds", {"want": NINE}, 403)
        desk.get("resources/room", 403)


def test_one_who_waits_is_offered_what_becomes_free(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        id_ = desk.post("holds", {"want": NINE, "confirm": True})["id"]
        ann, bob = (
            desk.post("waitlist", {"want": NINE, "customer": who})["id"] for who in ("ann", "bob")
        )
        assert desk.get(f"waitlist/{bob}")["ahead"] == 1
        desk.post(f"bookings/{id_}/cancel", {}, 200)
        offer = desk.get(f"waitlist/{ann}")["offer"]
        assert desk.http.delete(f"/v1/booking/waitlist/{ann}?customer=bob").status_code == 403
        assert desk.http.delete(f"/v1/booking/waitlist/{ann}").status_code == 200
        passed_on = desk.get(f"waitlist/{bob}")["offer"]
        assert passed_on not in {"", offer}
        desk.post(f"holds/{passed_on}/confirm", {"customer": "bob"}, 200)
        desk.get(f"waitlist/{bob}", 404)


def test_a_place_in_a_queue_holds_when_it_is_its_turn(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        sale = {"id": "tour", "opens": "2030-05-01T08:00:00Z", "per_minute": 1, "at_once": 1}
        assert len(desk.post("sales", sale)["commitment"]) == 64
        ann, bob = (desk.post("sales/tour/queue", {"who": who}) for who in ("ann", "bob"))
        assert (ann["number"], ann["admitted"], bob["admitted"]) == (1, True, False)
        refused = desk.post("holds", {"want": NINE, "position": bob["token"]}, 403)
        assert slug(refused) == "not-your-turn"
        held = desk.post("holds", {"want": NINE, "position": ann["token"]})
        assert held["customer"] == "ann"
        desk.clock.forward(minutes=1)
        assert desk.get("sales/tour/queue/bob")["admitted"] is True
        assert desk.get("sales/tour")["seed"]


def test_a_series_is_booked_as_a_whole_or_as_far_as_can_be(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as desk:
        desk.post(
            "holds",
            {"want": {**NINE, "start": "2030-05-09T09:00:00", "end": "2030-05-09T10:00:00"}},
        )
        weekly = {"want": NINE, "rule": "FREQ=WEEKLY;COUNT=3"}
        assert slug(desk.post("series", weekly, 409)) == "taken"
        booked = desk.post("series", {**weekly, "as_far_as_can_be": True})
        assert [one["kind"] for one in booked["refused"]] == ["taken"]
        id_ = booked["series"]["id"]
        assert len(desk.get(f"series/{id_}")["bookings"]) == 2
        assert len(desk.post(f"series/{id_}/cancel", status=200)["cancelled"]) == 2


NIGHTS = {"resource": "room", "arrive": "2030-06-01", "depart": "2030-06-03", "type": "nights"}


@pytest.mark.parametrize("path", ["holds", "quotes", "waitlist"])
def test_extremes_are_refused_and_nothing_breaks(path: str, tmp_path: Path) -> None:
    wants: list[Any] = [
        [], [NINE] * 101, NIGHTS, {"type": "seats", "resource": "room"},
        {**NINE, "start": "0001-01-01T00:00:00+12:00"},
        {**NINE, "start": "9999-12-31T23:59:59-12:00", "end": "9999-12-31T23:59:59-12:00"},
        {**NINE, "resource": []}, {**NINE, "resource": "\0"}, {**NINE, "resource": "x" * 3000},
        {**NINE, "units": 0}, {**NINE, "units": 10**18}, {**NINE, "units": 10**30},
    ]  # fmt: skip
    with opened(tmp_path / "s") as desk:
        for want in wants:
            answer = desk.http.post(f"/v1/booking/{path}", json={"want": want})
            assert 400 <= answer.status_code < 500, (want, answer.text)
        if path == "holds":
            for change in (
                {"hold": 10**18, "hold_most": 10**18}, {"offer": 10**18}, {"quota": {"holds": -1}},
            ):  # fmt: skip
                answer = desk.http.patch("/v1/booking/resources/room", json=change)
                assert slug(answer.json()) == "invalid-resource"
            late = {"id": "a", "opens": "9999-12-31T23:59:59-12:00", "per_minute": 1}
            desk.post("sales", late, 422)
