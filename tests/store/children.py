"""Programs that tests start as processes of their own, to kill and starve them.

    python children.py PROGRAM DIRECTORY [ARGUMENT ...]

Each speaks in lines on stdout, written at once.
"""

from __future__ import annotations

import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.log.children import listen, say
from walnut.log import LogOptions
from walnut.log.errors import LogError
from walnut.store import RocksOptions, Store, StoreError, StoreOptions, Transaction

OPTIONS = StoreOptions(
    log=LogOptions(segment_bytes=64 * 1024, record_bytes=64 * 1024, buffer_bytes=256 * 1024),
    engine=RocksOptions(memtable_bytes=64 * 1024, cache_bytes=1 << 20),
    checkpoint_bytes=20_000,
    checkpoint_seconds=0.03,
    window_bytes=200_000,
    window_seconds=None,
)
"""Memtables, checkpoints and truncations every few dozen transactions."""

ACCOUNTS = 5
START = 1000
BLOCK = 20
"""Guests about one subject."""


class Account(msgspec.Struct):
    """A row of two tables, between which money moves."""

    id: int
    cents: int


class Item(msgspec.Struct):
    """A row with an index that is unique and one that is not."""

    name: str
    group: int


class Visitor(msgspec.Struct):
    """A row about a subject."""

    name: str
    subject: str
    email: str


class Shop:
    """What the killed programs keep, and what is checked of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.left = store.table("left", Account, key=lambda row: row.id)
        self.right = store.table("right", Account, key=lambda row: row.id)
        self.items = store.table("items", Item, key=lambda row: row.name, before=True)
        self.by_group = self.items.index("by_group", lambda row: row.group)
        self.by_name = self.items.index("by_name", lambda row: ("n", row.name), unique=True)
        self.visitors = store.table(
            "visitors", Visitor, key=lambda row: row.name, subject=lambda row: row.subject
        )
        self.by_email = self.visitors.index("by_email", lambda row: row.email)
        self.counter = store.counter("items")
        self.sequence = store.sequence("items")

    def work(self, tx: Transaction, name: str, number: int, subject: str) -> int:
        """One of everything, so that half of it would show; its LSN."""
        one = self.left.get(tx, number % ACCOUNTS) or Account(number % ACCOUNTS, START)
        other = self.right.get(tx, number % ACCOUNTS) or Account(number % ACCOUNTS, START)
        self.left.put(tx, Account(one.id, one.cents - number))
        self.right.put(tx, Account(other.id, other.cents + number))
        self.items.put(tx, Item(name, number % 7))
        self.visitors.put(tx, Visitor(name, subject, f"{name}@example.org"))
        self.counter.add(tx)
        self.sequence.next(tx)
        return tx.lsn


def subject_of(life: object, thread: int, number: int) -> str:
    """Whom the visitor that this thread enters is about."""
    return f"{life}.{thread}.{number // BLOCK}"


def shop(path: Path, life: str) -> None:
    """Four threads that work, and now and then erase whom they wrote about before."""
    with Store(path, OPTIONS) as store:
        kept = Shop(store)

        def work(thread: int) -> None:
            for number in range(1 << 30):
                name = f"{life}.{thread}.{number}"
                lsn = store.call(kept.work, name, number, subject_of(life, thread, number))
                say("ack", lsn, name)
                if number % BLOCK == BLOCK - 1 and number > BLOCK:
                    gone = subject_of(life, thread, number - BLOCK)
                    say("erasing", gone)
                    store.erase(gone)
                    say("erased", gone)

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def limited(path: Path) -> None:
    """Works until no file may grow any more; then tells what it is told, and what it sees."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Store(path, OPTIONS) as store:
        kept = Shop(store)
        for number in range(50):
            store.call(kept.work, f"before.{number}", number, "s")
            say("ack", f"before.{number}")
        largest = max(file.stat().st_size for file in path.rglob("*") if file.is_file())
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        failed = 0
        number = 0
        while failed < 5 and number < 100_000:
            name = f"while.{number}"
            number += 1
            try:
                store.call(kept.work, name, number, "s")
            except (LogError, StoreError) as error:
                failed += 1
                say("refused", name, type(error).__name__)
            else:
                say("ack", name)
        say("items", kept.items.count(store), kept.counter.value(store))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        try:
            store.call(kept.work, "after", 1, "s")
        except (LogError, StoreError) as error:
            say("stopped", type(error).__name__)
        else:
            say("ack", "after")


def transfers(path: Path) -> None:
    """Moves money between two tables until it hears something."""
    with Store(path, OPTIONS) as store:
        kept = Shop(store)
        with store.transaction() as tx:
            for number in range(ACCOUNTS):
                kept.left.put(tx, Account(number, START))
                kept.right.put(tx, Account(number, START))
        stop = threading.Event()

        def hear() -> None:
            listen()
            stop.set()

        threading.Thread(target=hear, daemon=True).start()
        say("ready")
        number = 0
        while not stop.is_set():
            store.call(kept.work, f"t.{number}", number, "s")
            number += 1
        say("made", number)


if __name__ == "__main__":
    program: Callable[..., None] = globals()[sys.argv[1]]
    program(Path(sys.argv[2]), *sys.argv[3:])
