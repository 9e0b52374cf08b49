"""One process writes; others read along, and are told so if they want to write too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.log.processes import child
from tests.store.children import ACCOUNTS, OPTIONS, START, Account, Item
from walnut.log.errors import LogLocked
from walnut.store import Store, StoreReader
from walnut.store.errors import TablesLost

CHILDREN = Path(__file__).with_name("children.py")


def test_a_reader_beside_a_live_writer_sees_whole_transactions_only(tmp_path: Path) -> None:
    """Through checkpoints and truncations of the other process, every few dozen transactions."""
    states, anew, last = 0, 0, 0
    with child("transfers", tmp_path, file=CHILDREN) as writer:
        assert writer.hear() == ["ready"]
        with pytest.raises(LogLocked, match=str(writer.process.pid)):
            Store(tmp_path, OPTIONS)
        while last < 600 or states <= 10:
            with StoreReader(tmp_path, OPTIONS) as reader:
                anew += 1
                left = reader.table("left", Account, key=lambda row: row.id)
                right = reader.table("right", Account, key=lambda row: row.id)
                items = reader.table("items", Item, key=lambda row: row.name)
                by_group = reader.index(items, "by_group", lambda row: row.group)
                for _ in range(50):
                    money = [row.cents for table in (left, right) for row in table.scan(reader)]
                    assert sum(money) == 2 * ACCOUNTS * START
                    names = [item.name for item in items.scan(reader)]
                    assert len(names) == sum(1 for _ in by_group.scan(reader)) >= last
                    last = len(names)
                    states += 1
                    try:
                        reader.refresh()
                    except TablesLost:
                        break  # it was slower than the writer's window
        writer.tell()
        assert writer.hear()[0] == "made"
        assert writer.end() == 0
    with StoreReader(tmp_path, OPTIONS) as reader:  # and of a store that nobody has open
        assert reader.tables() == ["items", "left", "right", "visitors"]


def test_the_feed_of_another_process_is_complete_and_in_order(tmp_path: Path) -> None:
    """A slot keeps the log for it, however much faster the writer is."""
    with child("transfers", tmp_path, file=CHILDREN) as writer:
        assert writer.hear() == ["ready"]
        with StoreReader(tmp_path, OPTIONS) as reader:
            slot = reader.log.slot("feed")
            seen: list[str] = []
            for change in reader.follow(slot.lsn - 1, tables=["items"], timeout=30):
                assert isinstance(change.key, str)
                seen.append(change.key)
                slot.advance(change.lsn)
                if len(seen) == 300:
                    break
        writer.kill()
    first = int(seen[0].split(".")[1])
    assert seen == [f"t.{number}" for number in range(first, first + 300)]
