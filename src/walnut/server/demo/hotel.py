"""The data of a small hotel, always the same.

What must stay true: filling it in twice gives what filling it in once does.
"""

from __future__ import annotations

from typing import Any, Final

from walnut.client.client import Client, Operations
from walnut.client.errors import Conflict
from walnut.client.topic import Keeping, Message

ROOMS: Final = "rooms"
BOOKINGS: Final = "bookings"
BOOKED: Final = "booked"
"""The topic that tells of each booking."""
SENSORS: Final = "sensors"
"""The topic of what the rooms' thermometers say."""

HOTELS: Final = ("lisbon", "naples", "riga")
ROOMS_OF_ONE: Final = 40
NIGHTS: Final = 365
FIRST_BOOKINGS: Final = 200
FIRST_READINGS: Final = 1000
_BATCH: Final = 100
"""Rows of a transaction, messages of an append."""
KEEP_SENSORS: Final = 3600.0
"""Seconds: nobody asks how warm it was an hour ago."""


def rooms() -> list[dict[str, Any]]:
    """Every room, as a document."""
    return [
        {
            "key": f"{hotel}-{number:03}",
            "value": {
                "hotel": hotel,
                "floor": 1 + number // 10,
                "beds": 1 + number % 3,
                "rate": 60 + 15 * (number % 3) + 5 * (number // 10),
            },
        }
        for hotel in HOTELS
        for number in range(ROOMS_OF_ONE)
    ]


def booking(room: str, night: int, guest: str) -> tuple[dict[str, Any], Message]:
    """A room for a night: the row whose key nobody else can have, and what the topic tells of it."""
    row = {"key": f"{room}/{night:03}", "value": {"room": room, "night": night, "guest": guest}}
    told = b'{"room":"%b","night":%d,"guest":"%b"}' % (room.encode(), night, guest.encode())
    return row, Message(told, key=room.encode())


def reading(room: str, number: int) -> Message:
    """What the thermometer of a room says."""
    tenths = 195 + (number * 7919) % 40
    return Message(b'{"celsius":%d.%d}' % divmod(tenths, 10), key=room.encode())


def fill(client: Client) -> None:
    """Make the tables and topics and put the first rows and messages in, unless that was done before.

    Raises ClientError."""
    for name in (ROOMS, BOOKINGS):
        client.create_table(name, before=True)
    if client.table(ROOMS).get(rooms()[-1]["key"]) is not None:
        return
    for name, keeping in ((BOOKED, None), (SENSORS, Keeping(keep_seconds=KEEP_SENSORS))):
        try:
            client.create_topic(name, keeping)
        except Conflict:
            continue  # an earlier filling came so far
    keys = [room["key"] for room in rooms()]
    for start in range(0, FIRST_BOOKINGS, _BATCH):
        operations = Operations()
        for number in range(start, start + _BATCH):
            room = keys[number * 7 % len(keys)]
            row, told = booking(room, number % NIGHTS, f"guest-{number % 50}")
            operations.put(BOOKINGS, row).append(BOOKED, [told])
        client.transaction(operations, key=f"demo-bookings-{start}")
    for start in range(0, FIRST_READINGS, _BATCH):
        numbers = range(start, start + _BATCH)
        client.topic(SENSORS).append(
            [reading(keys[number % len(keys)], number) for number in numbers],
            key=f"demo-readings-{start}",
        )
    # Last, as they tell that all is there.
    client.transaction([{"op": "put", "table": ROOMS, "row": room} for room in rooms()])
