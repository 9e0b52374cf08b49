"""Transactions are strictly serialisable: transfers and audits by many callers, checked by a checker
that knows nothing of the store."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.store.helpers import SMALL
from tests.store.history import Operation, violation
from walnut.store import Reader, Store, Table, Transaction

ACCOUNTS = [f"a{number}" for number in range(8)]
START = 100


@pytest.fixture(autouse=True)
def threads_change_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(20e-6)
    yield
    sys.setswitchinterval(usual)


class Account(msgspec.Struct):
    """What it holds, and who wrote it last."""

    id: str
    balance: int
    writer: str = ""


class Bank:
    """Accounts, and the history of what was done with them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.accounts: Table[Account] = store.table("accounts", Account, key=lambda row: row.id)
        self.history: list[Operation] = []
        self._moments = itertools.count(1)
        with store.transaction() as tx:
            for name in ACCOUNTS:
                self.accounts.put(tx, Account(name, START))

    def moment(self) -> int:
        return next(self._moments)

    def transfer(self, tx: Transaction, name: str, seed: int) -> dict[str, str]:
        """Move something between two accounts; what was read, by whom written."""
        chance = random.Random(seed)
        one, other = (self._account(tx, key) for key in chance.sample(ACCOUNTS, 2))
        amount = chance.randint(1, 50)
        self.accounts.put(tx, Account(one.id, one.balance - amount, name))
        self.accounts.put(tx, Account(other.id, other.balance + amount, name))
        return {one.id: one.writer, other.id: other.writer}

    def audit(self, reader: Reader) -> dict[str, str]:
        """Read all accounts."""
        rows = list(self.accounts.scan(reader))
        assert sum(row.balance for row in rows) == START * len(ACCOUNTS), (
            "money appeared or vanished"
        )
        return {row.id: row.writer for row in rows}

    def _account(self, reader: Reader, key: str) -> Account:
        account = self.accounts.get(reader, key)
        assert account is not None
        return account

    def note(self, name: str, began: int, reads: dict[str, str], *, wrote: bool) -> None:
        keys = frozenset(reads) if wrote else frozenset()
        self.history.append(Operation(name, began, self.moment(), reads, keys))

    def one(self, name: str, seed: int) -> None:
        """A turn of a thread: a transfer, or an audit in one of three ways."""
        began, way = self.moment(), seed % 5
        if way <= 1:
            self.note(name, began, self.store.call(self.transfer, name, seed), wrote=True)
        elif way == 2:
            self.note(name, began, self.store.call(self.audit), wrote=False)
        elif way == 3:
            with self.store.snapshot() as snapshot:
                self.note(name, began, self.audit(snapshot), wrote=False)
        else:
            with self.store.transaction() as tx:
                reads = self.transfer(tx, name, seed)
            self.note(name, began, reads, wrote=True)

    async def aone(self, name: str, seed: int) -> None:
        """The same in a coroutine."""
        began, way = self.moment(), seed % 3
        if way <= 1:
            self.note(name, began, await self.store.run(self.transfer, name, seed), wrote=True)
        else:
            self.note(name, began, await self.store.run(self.audit), wrote=False)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_transfers_and_audits_by_threads(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        bank = Bank(store)

        def work(thread: int) -> None:
            chance = random.Random(thread)
            for turn in range(300):
                bank.one(f"{thread}.{turn}", chance.getrandbits(30))

        in_threads(8, work)
        assert len(bank.history) == 2400
        assert violation(bank.history) is None


def test_transfers_and_audits_by_coroutines(tmp_path: Path) -> None:
    async def main() -> None:
        async def work(task: int) -> None:
            chance = random.Random(task)
            for turn in range(60):
                await bank.aone(f"{task}.{turn}", chance.getrandbits(30))

        async with asyncio.TaskGroup() as group:
            for task in range(50):
                group.create_task(work(task))

    with Store(tmp_path, SMALL) as store:
        bank = Bank(store)
        asyncio.run(main())
        assert len(bank.history) == 3000
        assert violation(bank.history) is None


def test_threads_and_two_event_loops_at_once(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        bank = Bank(store)

        def work(number: int) -> None:
            chance = random.Random(number)
            if number >= 2:
                for turn in range(200):
                    bank.one(f"{number}.{turn}", chance.getrandbits(30))
                return

            async def main() -> None:
                for turn in range(40):
                    await asyncio.gather(
                        *(
                            bank.aone(f"{number}.{turn}.{n}", chance.getrandbits(30))
                            for n in range(10)
                        )
                    )

            asyncio.run(main())

        in_threads(5, work)
        assert len(bank.history) == 1400
        assert violation(bank.history) is None


# -- the checker itself can fail ------------------------------------------------------------------


def op(name: str, began: int, ended: int, reads: dict[str, str], writes: str = "") -> Operation:
    return Operation(name, began, ended, reads, frozenset(writes))


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ([op("a", 1, 2, {"x": ""}, "x"), op("b", 1, 3, {"x": ""}, "x")], "lost update"),
        ([op("a", 1, 2, {"x": "ghost"})], "never wrote"),
        # Write skew: each read what the other overwrote.
        (
            [
                op("a", 1, 4, {"x": "", "y": ""}, "x"),
                op("b", 2, 3, {"x": "", "y": ""}, "y"),
            ],
            "cycle",
        ),
        # A read that began after a write had ended, and did not see it.
        ([op("a", 1, 2, {"x": ""}, "x"), op("b", 3, 4, {"x": ""})], "cycle"),
        # Two audits that saw two writes in different orders.
        (
            [
                op("a", 1, 9, {"x": ""}, "x"),
                op("b", 1, 9, {"y": ""}, "y"),
                op("c", 1, 9, {"x": "a", "y": ""}),
                op("d", 1, 9, {"x": "", "y": "b"}),
            ],
            "cycle",
        ),
    ],
)
def test_the_checker_finds_what_is_wrong(history: list[Operation], why: str) -> None:
    found = violation(history)
    assert found is not None
    assert why in found


def test_the_checker_accepts_what_is_right() -> None:
    history = [
        op("a", 1, 5, {"x": ""}, "x"),
        op("b", 2, 3, {"x": ""}),  # while a was under way, so either is right
        op("c", 6, 7, {"x": "a"}, "x"),
        op("d", 6, 8, {"x": "c"}),
    ]
    assert violation(history) is None
