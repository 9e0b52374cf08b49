"""kill -9 at any moment, again and again in one directory: what was answered is there, nothing is half
there, and who was erased stays erased."""

import os
import random
import time
from pathlib import Path

import pytest

from tests.log.processes import child
from tests.store.children import ACCOUNTS, BLOCK, OPTIONS, START, Shop, subject_of
from walnut.store import Store
from walnut.store.care import verify
from walnut.store.errors import Erased

CHILDREN = Path(__file__).with_name("children.py")
LIVES = int(os.environ.get("WALNUT_LIVES", "20"))


class Promises:
    """What the children said, over all their lives."""

    def __init__(self) -> None:
        self.answered: dict[str, int] = {}  # name to LSN
        self.erased: set[str] = set()
        self.erasing: set[str] = set()

    def hear(self, line: list[str]) -> None:
        match line:
            case ["ack", lsn, name]:
                self.answered[name] = int(lsn)
            case ["erasing", subject]:
                self.erasing.add(subject)
            case ["erased", subject]:
                self.erased.add(subject)
            case _:
                pytest.fail(f"the child said {line}")

    def check(self, store: Store) -> None:
        """Everything is as it was promised, and together."""
        shop = Shop(store)
        items = {item.name: item for item in shop.items.scan(store)}
        missing = self.answered.keys() - items.keys()
        assert not missing, f"{sorted(missing)[:5]} were answered"
        assert len(items) == shop.counter.value(store) == shop.sequence.value(store)
        assert len(items) == shop.visitors.count(store)
        moved: dict[int, int] = {}
        for name in items:
            number = int(name.rsplit(".", 1)[1])
            moved[number % ACCOUNTS] = moved.get(number % ACCOUNTS, 0) + number
        for account, cents in moved.items():
            one, other = shop.left.get(store, account), shop.right.get(store, account)
            assert one is not None
            assert other is not None
            assert (one.cents, other.cents) == (START - cents, START + cents)
        by_group = sorted(items.values(), key=lambda item: (item.group, item.name))
        assert list(shop.by_group.scan(store)) == by_group
        assert [item.name for item in shop.by_name.scan(store)] == sorted(items)
        self._check_visitors(store, shop, list(items))
        self.answered |= dict.fromkeys(items, 0)  # served, so from now on they have to stay

    def _check_visitors(self, store: Store, shop: Shop, names: list[str]) -> None:
        readable = []
        for name in names:
            life, thread, number = name.split(".")
            subject = subject_of(life, int(thread), int(number))
            try:
                visitor = shop.visitors.get(store, name)
            except Erased:
                assert subject in self.erasing, f"{subject} was not to be erased"
                self.erased.add(subject)  # from now on it has to stay so
            else:
                assert subject not in self.erased, f"{subject} was erased, and {name} can be read"
                assert visitor is not None
                assert visitor.email == f"{name}@example.org"
                readable.append(name)
        assert sorted(v.name for v in shop.by_email.scan(store)) == sorted(readable)


def test_killed_at_any_moment_nothing_answered_is_lost_or_half_there(tmp_path: Path) -> None:
    rng = random.Random(7)
    promises = Promises()
    folded = checked = 0
    for life in range(LIVES):
        with child("shop", tmp_path / "data", life, file=CHILDREN) as writer:
            if life % 5 == 4:  # perhaps before it opened the store, or while it recovers
                time.sleep(rng.uniform(0.2, 0.6))
            else:
                # The first one short, so that the log still reaches back to its beginning.
                for _ in range(rng.randrange(1, 400) if life else BLOCK):
                    promises.hear(writer.hear())
                time.sleep(rng.uniform(0, 0.003))
            writer.kill()
            for line in writer.hear_all():
                promises.hear(line)
        if life and rng.random() < 0.4:
            continue  # the next child recovers it, or dies trying
        with Store(tmp_path / "data", OPTIONS) as store:
            folded += store.redo.transactions
            promises.check(store)
            if store.log.first_lsn == 1:
                assert verify(store).same
                checked += 1
    assert folded, "no life ended with something to fold"
    assert checked
    assert len(promises.answered) > 20 * LIVES
    assert promises.erased
    assert BLOCK * len(promises.erased) < len(promises.answered)
