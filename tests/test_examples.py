"""The programs in `examples/` do what their pages say, also when many do it at once."""

import asyncio
import random
import subprocess
import sys
import threading
from pathlib import Path

from examples import ledger as example
from examples.ledger import Ledger
from tests.store.helpers import SMALL
from walnut.store import Store

LEDGER = Path(example.__file__)


def test_the_ledger_tells_its_story(tmp_path: Path) -> None:
    story = subprocess.run(
        [sys.executable, LEDGER, tmp_path / "ledger"], check=True, capture_output=True, text=True
    ).stdout
    assert "refused: bob has 3000 and can't give 50000" in story
    assert [line for line in story.splitlines() if line.startswith("audit")] == [
        "audit: 4 entries",
        "audit: 2 entries",
    ]


def test_the_page_shows_the_program_as_it_is() -> None:
    page = (LEDGER.parent.parent / "docs" / "store.md").read_text()
    text = LEDGER.read_text()
    ledger = text[text.index("class Ledger") : text.index("    def audit")].rstrip()
    assert ledger in page


def test_transfers_by_threads_and_coroutines_leave_the_audit_right(tmp_path: Path) -> None:
    names = [f"a{number}" for number in range(6)]
    with Store(tmp_path, SMALL) as store:
        ledger = Ledger(store)
        with store.transaction() as tx:
            for name in names:
                ledger.open(tx, name, floor=-500)
        done: list[int] = []

        def pick(chance: random.Random) -> tuple[str, str, int, str]:
            debit, credit = chance.sample(names, 2)
            return debit, credit, chance.randint(1, 200), "x"

        def teller(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(100):
                try:
                    store.call(lambda tx: ledger.transfer(tx, *pick(chance)))
                    done.append(seed)
                except example.Refused:
                    continue

        async def online(seed: int) -> None:
            chance = random.Random(seed)

            async def one() -> None:
                try:
                    await store.run(lambda tx: ledger.transfer(tx, *pick(chance)))
                    done.append(seed)
                except example.Refused:
                    pass

            await asyncio.gather(*(one() for _ in range(200)))

        threads = [threading.Thread(target=teller, args=(seed,)) for seed in range(4)]
        threads.append(threading.Thread(target=lambda: asyncio.run(online(9))))
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            ledger.audit()
        assert ledger.audit() == len(done)
        assert all(row.balance >= -500 for row in ledger.accounts.scan(store))


def test_taking_back_any_stretch_leaves_the_books_as_they_were(tmp_path: Path) -> None:
    chance = random.Random(3)
    with Store(tmp_path, SMALL) as store:
        ledger = Ledger(store)
        with store.transaction() as tx:
            for name in "abc":
                ledger.open(tx, name, floor=None)
        books = {store.applied_lsn: list(ledger.accounts.scan(store))}
        for _ in range(40):
            debit, credit = chance.sample("abc", 2)
            store.call(ledger.transfer, debit, credit, chance.randint(1, 99), "x")
            books[store.applied_lsn] = list(ledger.accounts.scan(store))
        lsn = chance.choice(list(books))
        store.call(store.rewind(lsn + 1, store.applied_lsn).apply)
        assert list(ledger.accounts.scan(store)) == books[lsn]
        ledger.audit()
