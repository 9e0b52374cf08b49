"""A store with something to show: a hotel's rooms and guests, notes, topics, and jobs, one of them dead."""

from __future__ import annotations

from typing import Any, Self

import msgspec

from walnut.jobs import Context, Jobs
from walnut.log.model import LogOptions
from walnut.store.document import Document, key_of
from walnut.store.model import StoreOptions
from walnut.store.record import Meta
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.topics import Message, TopicOptions, Topics


class Room(msgspec.Struct):
    id: str
    hotel: str
    floor: int
    beds: int
    price: float
    clean: bool = True
    tags: list[str] = []


class Demo:
    """What there is, for as long as it is looked at."""

    def __init__(self, directory: str) -> None:
        self.store = Store(directory, StoreOptions(log=LogOptions(segment_bytes=4 << 20)))
        self.rooms = self.store.table("rooms", Room, key=lambda room: room.id, before=True)
        self.rooms.index("by_hotel", lambda room: (room.hotel, room.beds))
        self.notes = self.store.table("notes", Document, key=key_of)
        self.topics = Topics(self.store)
        self.jobs = Jobs(self.store)
        self.written = 0

    def things(self) -> list[Any]:
        return [self.store, self.topics, self.jobs]

    def _fill(self, tx: Transaction) -> None:
        hotels = ("h1 Lindenhof", "h2 Seeblick", "h3 Zur Post")
        for number in range(240):
            hotel = hotels[number % 3]
            self.rooms.put(
                tx,
                Room(
                    f"r{number:03}",
                    hotel,
                    number // 40,
                    1 + number % 4,
                    60 + 7.5 * (number % 9),
                    clean=number % 5 != 0,
                    tags=["balcony"] if number % 7 == 0 else [],
                ),
            )

    def _price(self, tx: Transaction, number: int) -> None:
        room = self.rooms.get(tx, f"r{number % 240:03}")
        assert room is not None
        room.price = 60 + number % 80
        room.clean = number % 3 != 0
        self.rooms.put(tx, room)

    async def write(self, number: int) -> None:
        for _ in range(number):
            self.written += 1
            meta = Meta(("ann", "ben", "desk")[self.written % 3], "a new price", f"req-{self.written:06}")
            await self.store.by(meta).run(self._price, self.written)

    async def __aenter__(self) -> Self:
        store = self.store
        await store.by(Meta("setup", "rooms for the season")).run(self._fill)
        for number in range(3):
            note = Document(f"n{number + 1}", {"text": f"Call back guest {number}", "done": number == 0})
            await store.by(Meta("ann", "a note")).run(self.notes.put, note)
        for name, keep in (("orders", 86_400.0), ("audit", None), ("telemetry.rooms", 3600.0)):
            await store.by(Meta("setup", "topics")).run(
                self.topics.create, name, TopicOptions(keep_seconds=keep)
            )
        for number in range(300):
            body = msgspec.json.encode({"order": number, "room": f"r{number % 240:03}", "nights": 1 + number % 5})
            await self.topics.publish("orders", Message(body, f"order-{number}".encode(), {"type": "placed"}))
        await store.run(self.topics.commit, "billing", "orders", 180)
        invoice = self.jobs.task(send_invoice)
        await self.jobs.start()
        for number in range(12):
            await store.by(Meta("desk", "checked out")).run(self.jobs.enqueue, invoice, number)
        await self.write(60)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.jobs.stop()
        self.store.close()


async def send_invoice(context: Context, number: int) -> str:
    if number % 4 == 3:
        raise ValueError(f"invoice {number} has no address")
    return f"sent {number}"


__all__ = ["Demo", "Room"]
