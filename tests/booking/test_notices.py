"""Whoever asked for them is sent a webhook for each change of a booking, with the change or not at all."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.booking.office import at
from tests.jobs.test_webhook_endpoints import Shop, status
from walnut.booking import Bookings, Exclusive, Resource, Time
from walnut.booking.errors import InvalidWant, Taken
from walnut.booking.notices import MOST_ENDPOINTS, Notices
from walnut.store import Transaction

HORIZON = 10 * 366 * 86_400
WANT = Time("room", at("10:00"), at("11:00"))


class Told(Shop):
    """A shop that rents two rooms, and is told of it."""

    def __init__(self, path: Path, *answers: bytes, **options: Any) -> None:
        super().__init__(path, *answers, **options)
        self.bookings = Bookings(self.store, self.jobs)
        self.notices = Notices(self.bookings, self.webhooks)

    def play(self, scene: Callable[[Told], Awaitable[None]]) -> None:
        async def main(_: Shop) -> None:
            for name in ("room", "loft"):
                resource = Resource(id=name, kind=Exclusive(), horizon=HORIZON)
                await self.store.run(self.bookings.add, resource)
            await scene(self)

        self.run(main)

    async def arrived(self, number: int) -> list[dict[str, Any]]:
        """The bodies of so many messages, once they are here."""
        async with asyncio.timeout(60):
            while len(self.server.received) < number:
                await asyncio.sleep(0.01)
        return [json.loads(one.body) for one in self.server.received]


def test_each_change_is_told_in_order_and_signed(tmp_path: Path) -> None:
    async def scene(shop: Told) -> None:
        secret = await shop.add()
        await shop.store.run(shop.notices.add, "shop")
        held = await shop.bookings.submit(shop.bookings.hold, WANT, customer="ann")
        await shop.bookings.submit(shop.bookings.confirm, held.id)
        await shop.bookings.submit(shop.bookings.cancel, held.id)
        bodies = await shop.arrived(3)
        assert [one["type"] for one in bodies] == [
            "booking.hold", "booking.confirm", "booking.cancel",
        ]  # fmt: skip
        assert [one["data"]["version"] for one in bodies] == [1, 2, 3]
        assert [one["data"]["state"] for one in bodies] == ["held", "confirmed", "cancelled"]
        first = bodies[0]["data"]
        assert first["booking"] == held.id
        assert first["customer"] == "ann"
        assert first["resources"] == ["room"]
        assert dt.datetime.fromisoformat(first["start"]) == at("10:00")
        for one in shop.server.received:
            Webhook(secret).verify(one.body, one.headers)

    Told(tmp_path).play(scene)


def test_one_that_answers_late_is_told_again_and_all_the_rest_after_it(tmp_path: Path) -> None:
    async def scene(shop: Told) -> None:
        await shop.add()
        await shop.store.run(shop.notices.add, "shop")
        held = await shop.bookings.submit(shop.bookings.hold, WANT)
        await shop.bookings.submit(shop.bookings.confirm, held.id)
        bodies = await shop.arrived(3)
        assert [one["data"]["version"] for one in bodies] == [1, 1, 2]
        ids = [one.headers["webhook-id"] for one in shop.server.received]
        assert ids[0] == ids[1] != ids[2]

    Told(tmp_path, status(503)).play(scene)


def test_what_was_refused_or_rolled_back_is_not_told(tmp_path: Path) -> None:
    async def scene(shop: Told) -> None:
        await shop.add()
        await shop.store.run(shop.notices.add, "shop")
        await shop.bookings.submit(shop.bookings.hold, WANT)
        with pytest.raises(Taken):
            await shop.bookings.submit(shop.bookings.hold, WANT)

        def fail(tx: Transaction) -> None:
            shop.bookings.hold(tx, Time("loft", at("10:00"), at("11:00")))
            raise RuntimeError("after all, no")

        with pytest.raises(RuntimeError):
            await shop.store.run(fail)
        await shop.bookings.submit(shop.bookings.hold, Time("room", at("12:00"), at("13:00")))
        bodies = await shop.arrived(2)
        assert [one["data"]["start"][11:16] for one in bodies] == ["10:00", "12:00"]

    Told(tmp_path).play(scene)


def test_one_resource_can_be_told_of_alone(tmp_path: Path) -> None:
    async def scene(shop: Told) -> None:
        await shop.add()
        await shop.store.run(shop.notices.add, "shop", "loft")
        await shop.bookings.submit(shop.bookings.hold, WANT)
        await shop.bookings.submit(shop.bookings.hold, Time("loft", at("10:00"), at("11:00")))
        bodies = await shop.arrived(1)
        assert [one["data"]["resources"] for one in bodies] == [["loft"]]

    Told(tmp_path).play(scene)


def test_bookings_go_on_when_an_endpoint_was_removed(tmp_path: Path) -> None:
    async def scene(shop: Told) -> None:
        await shop.add()
        await shop.store.run(shop.notices.add, "shop")
        await shop.store.run(shop.webhooks.remove, "shop")
        held = await shop.bookings.submit(shop.bookings.hold, WANT)
        assert held.version == 1
        assert await shop.store.run(shop.notices.remove, "shop")

    Told(tmp_path).play(scene)


def test_only_endpoints_that_are_there_are_told_and_not_too_many(tmp_path: Path) -> None:
    async def scene(shop: Told) -> None:
        with pytest.raises(InvalidWant, match="no endpoint 'shop'"):
            await shop.store.run(shop.notices.add, "shop")
        url = f"http://127.0.0.1:{shop.server.port}/"
        for number in range(MOST_ENDPOINTS):
            await shop.store.run(shop.webhooks.add, str(number), url)
            await shop.store.run(shop.notices.add, str(number))
        await shop.add()
        with pytest.raises(InvalidWant, match="remove one first"):
            await shop.store.run(shop.notices.add, "shop")
        again = await shop.store.run(shop.notices.add, "3", "room")
        assert again.resource == "room"

    Told(tmp_path).play(scene)
