"""Guests and sensors at work: threads that use the API as any client would.

    guests      book a room for a night in a transaction: refused if somebody was faster
    sensors     append readings, some at a time
    clerks      read a floor's worth of bookings

What must stay true: whoever waits for an answer waits alone; a server that restarts is waited for; what
is counted was answered.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from walnut.client.client import Client, Operations
from walnut.client.errors import Changed, ClientError, Conflict
from walnut.log.metrics import Histogram
from walnut.server.demo.hotel import (
    BOOKED,
    BOOKINGS,
    NIGHTS,
    SENSORS,
    booking,
    reading,
    rooms,
)

READINGS: Final = 20
"""Of the sensors, appended at a time."""
PAGE: Final = 40
"""Bookings that a clerk looks at."""
LEAVE_SECONDS: Final = 10.0
"""For those at work to come to their end."""


class Tally(msgspec.Struct):
    """What one kind of them has done.

    Attributes:
        done: answered as wished. refused: answered otherwise, as a room that is taken.
        lost: of which nothing is known, or that found no server in time.
        times: of the answers, in microseconds.
    """

    done: int = 0
    refused: int = 0
    lost: int = 0
    times: Histogram = msgspec.field(default_factory=Histogram)


class Traffic:
    """Runs while the block does.

    Args:
        connect: makes a client; each thread has its own.
        rate: requests per second of all guests together; sensors and clerks in proportion.
        seed: of what they choose.
    """

    def __init__(self, connect: Callable[[], Client], *, rate: float, seed: int = 1) -> None:
        self.guests, self.sensors, self.clerks = Tally(), Tally(), Tally()
        self._keys = [room["key"] for room in rooms()]
        self._enough = threading.Event()
        crowd: Sequence[tuple[Callable[[Client, random.Random], None], Tally, float]] = [
            *[(self._book, self.guests, rate / 4)] * 4,
            (self._measure, self.sensors, rate / 10),
            (self._look, self.clerks, rate / 20),
        ]
        self._threads = [
            threading.Thread(
                target=self._work, args=(work, tally, 1 / pace, connect, seed + number), daemon=True
            )
            for number, (work, tally, pace) in enumerate(crowd)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(LEAVE_SECONDS)

    def _work(
        self,
        work: Callable[[Client, random.Random], None],
        tally: Tally,
        pause: float,
        connect: Callable[[], Client],
        seed: int,
    ) -> None:
        chance = random.Random(seed)  # noqa: S311 -- guests, not keys
        with connect() as client:
            while not self._enough.wait(chance.expovariate(1 / pause)):
                began = time.perf_counter()
                try:
                    work(client, chance)
                except (Changed, Conflict):
                    tally.refused += 1
                except ClientError:
                    tally.lost += 1
                    continue
                else:
                    tally.done += 1
                tally.times.observe(1e6 * (time.perf_counter() - began))

    def _book(self, client: Client, chance: random.Random) -> None:
        room, night = chance.choice(self._keys), chance.randrange(NIGHTS)
        row, told = booking(room, night, f"guest-{chance.randrange(1000)}")
        client.transaction(Operations().put(BOOKINGS, row, new=True).append(BOOKED, [told]))

    def _measure(self, client: Client, chance: random.Random) -> None:
        number = chance.randrange(1_000_000)
        told = [reading(chance.choice(self._keys), number + each) for each in range(READINGS)]
        client.topic(SENSORS).append(told)

    def _look(self, client: Client, chance: random.Random) -> None:
        client.transport.request(
            "GET",
            f"/v1/tables/{BOOKINGS}/rows",
            query={"prefix": chance.choice(self._keys), "limit": PAGE},
        )
