"""Something to show: a hotel's rooms, notes, topics, and jobs, some of them dead."""

from __future__ import annotations

from typing import Any

import msgspec

from walnut.jobs import Context, Jobs
from walnut.store.document import Document, key_of
from walnut.store.record import Meta
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.topics import Message, TopicOptions, Topics

HOTELS = ("h1 Lindenhof", "h2 Seeblick", "h3 Zur Post")
ROOMS = 240


class Room(msgspec.Struct):
    id: str
    hotel: str
    floor: int
    beds: int
    price: float
    clean: bool = True
    tags: list[str] = []


class Demo:
    """What there is, and what changes it."""

    def __init__(self, store: Store, topics: Topics, jobs: Jobs) -> None:
        self.store = store
        self.topics = topics
        self.jobs = jobs
        self.written = 0
        self.appended = 0

    async def fill(self) -> None:
        store = self.store
        self.rooms = store.table("rooms", Room, key=lambda room: room.id, before=True)
        self.rooms.index("by_hotel", lambda room: (room.hotel, room.beds))
        self.notes = store.table("notes", Document, key=key_of, before=True)
        await store.by(Meta("setup", "rooms for the season")).run(self._rooms)
        for number, text in enumerate(
            ("Call back Mrs Smith", "Order towels", "Fix the lamp in r012")
        ):
            note = Document(f"n{number + 1}", {"text": text, "done": number == 1})
            await store.by(Meta("ann", "a note")).run(self.notes.put, note)
        for name, keep in (("orders", 86_400.0), ("audit", None), ("telemetry.rooms", 3600.0)):
            await store.by(Meta("setup", "topics")).run(
                self.topics.create, name, TopicOptions(keep_seconds=keep)
            )
        await self.append(250)
        await store.run(self.topics.commit, "billing", "orders", 180)
        invoice: Any = self.jobs.task(send_invoice)
        for number in range(12):
            await store.by(Meta("desk", "checked out")).run(self.jobs.enqueue, invoice, number)
        await self.write(40)

    def _rooms(self, tx: Transaction) -> None:
        for number in range(ROOMS):
            room = Room(
                f"r{number:03}",
                HOTELS[number % 3],
                number // 40,
                1 + number % 4,
                60 + 7.5 * (number % 9),
                clean=number % 5 != 0,
                tags=["balcony"] if number % 7 == 0 else [],
            )
            self.rooms.put(tx, room)

    def _price(self, tx: Transaction, number: int) -> None:
        room = self.rooms.get(tx, f"r{number % ROOMS:03}")
        assert room is not None
        room.price = 60 + number % 80
        room.clean = number % 3 != 0
        self.rooms.put(tx, room)

    async def write(self, number: int) -> None:
        for _ in range(number):
            self.written += 1
            who = ("ann", "ben", "desk")[self.written % 3]
            meta = Meta(who, "a new price", f"req-{self.written:06}")
            await self.store.by(meta).run(self._price, self.written)

    async def append(self, number: int) -> None:
        for _ in range(number):
            place = self.appended
            self.appended += 1
            body = {"order": place, "room": f"r{place % ROOMS:03}", "nights": 1 + place % 5}
            message = Message(
                msgspec.json.encode(body), f"order-{place}".encode(), {"type": "placed"}
            )
            await self.topics.publish("orders", message)

    async def edit(self, room: str) -> None:
        """Somebody else changes a room."""
        await self.store.by(Meta("ben", "meanwhile")).run(self._edit, room)

    def _edit(self, tx: Transaction, name: str) -> None:
        room = self.rooms.get(tx, name)
        assert room is not None
        room.tags = ["changed by ben"]
        self.rooms.put(tx, room)


async def send_invoice(context: Context, number: int) -> str:
    if number % 4 == 3:
        raise ValueError(f"invoice {number} has no address")
    return f"sent {number}"
