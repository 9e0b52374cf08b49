"""Programs that tests start as processes of their own, to kill.

python children.py publisher DIRECTORY LIFE
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.log.children import say
from tests.store.children import OPTIONS
from walnut.store import Store, Transaction
from walnut.topics import TopicOptions, Topics

COROUTINES = 8
TOPICS = 3


async def publisher(directory: str, life: str) -> None:
    """Publish from several coroutines, as a producer, and in transactions with a counter."""
    async with Store(directory, OPTIONS) as store:
        topics, total = Topics(store), store.counter("total")

        def make(tx: Transaction) -> None:
            for number in range(TOPICS):
                if not topics.exists(tx, f"t{number}"):
                    topics.create(tx, f"t{number}")
            if not topics.exists(tx, "counted"):
                topics.create(tx, "counted", TopicOptions(keep_messages=50))

        def count(tx: Transaction, value: bytes) -> None:
            topics.append(tx, "counted", value)
            total.add(tx)

        async def plain(name: int) -> None:
            for number in range(sys.maxsize):
                value = f"{life}.{name}.{number}"
                done = await topics.publish(f"t{number % TOPICS}", value.encode())
                say("ack", number % TOPICS, done.first, value)

        async def counted() -> None:
            for number in range(sys.maxsize):
                await store.run(count, f"{life}.{number}".encode())
                if number % 50 == 49:
                    await asyncio.to_thread(topics.sweep)

        async def sequenced(name: str) -> None:
            rows = store.declared("topics.producers").scan(store)
            last = next((row.sequence for row in rows if row.name == name), 0)
            sequence = max(0, last - 2)  # some are sent again
            while True:
                done = await topics.publish("t0", f"{name}.{sequence}".encode(), (name, sequence))
                say("ack", 0, done.first, f"{name}.{sequence}")
                sequence += 1

        await store.run(make)
        await asyncio.gather(
            *(plain(name) for name in range(COROUTINES)), counted(), sequenced("p"), sequenced("q")
        )


if __name__ == "__main__":
    asyncio.run({"publisher": publisher}[sys.argv[1]](*sys.argv[2:]))
