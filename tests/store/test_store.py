"""What a newcomer does with a store."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import operator
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.store.helpers import SMALL, Guest, Room, guests_of, rooms_of
from walnut.log.errors import LogClosed, LogError, LogLocked
from walnut.store import Meta, Store, StoreReader, Transaction
from walnut.store.errors import (
    AlreadyDefined,
    AwaitInTransaction,
    InvalidKey,
    InvalidSetting,
    KeyReused,
    NestedTransaction,
    NotReached,
    NotUnique,
    ReadOnly,
    StoreClosed,
    TransactionFinished,
    ValueTooLarge,
    WrongType,
)
from walnut.store.sequence import Counter


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


def test_a_transaction_is_there_when_its_block_ends_and_after_reopening(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        rooms = rooms_of(store)
        by_hotel = rooms.index("by_hotel", lambda room: (room.hotel, room.beds))
        with store.transaction() as tx:
            rooms.put(tx, Room("r1", "h9", 2))
            rooms.put(tx, Room("r2", "h9", 1))
            rooms.put(tx, Room("r3", "h8", 1))
            assert [room.id for room in by_hotel.scan(tx, "h9")] == ["r2", "r1"]
        with store.transaction() as tx:
            assert rooms.delete(tx, "r2")
            assert not rooms.delete(tx, "r2")
            rooms.put(tx, Room("r1", "h9", 4))
        assert rooms.get(store, "r1") == Room("r1", "h9", 4)
    with Store(tmp_path, SMALL) as store:
        assert store.redo.transactions == 0
        rooms = rooms_of(store)
        by_hotel = rooms.index("by_hotel", lambda room: (room.hotel, room.beds))
        assert list(rooms.scan(store)) == [Room("r1", "h9", 4), Room("r3", "h8", 1)]
        assert list(by_hotel.scan(store, reverse=True)) == [
            Room("r1", "h9", 4),
            Room("r3", "h8", 1),
        ]
        assert rooms.get_many(store, ["r3", "r2"]) == [Room("r3", "h8", 1), None]


def test_what_was_not_checkpointed_is_folded_again(tmp_path: Path) -> None:
    with Store(tmp_path / "data", SMALL) as store:
        rooms = rooms_of(store)
        for number in range(20):
            with store.transaction() as tx:
                rooms.put(tx, Room(f"r{number:02}", "h", number))
        before = store.fingerprint()
        shutil.copytree(tmp_path / "data", tmp_path / "killed")  # what a kill leaves behind
    with Store(tmp_path / "killed", SMALL) as store:
        assert store.redo.transactions == 21  # the table's own, and twenty
        assert store.fingerprint() == before
        assert rooms_of(store).count(store) == 20


def test_a_function_that_raises_leaves_nothing_behind(store: Store) -> None:
    rooms = rooms_of(store)

    def failing(tx: Transaction) -> None:
        rooms.put(tx, Room("r1", "h", 1))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.call(failing)
    with pytest.raises(ValueError, match="no"), store.transaction() as tx:
        failing(tx)
    assert rooms.get(store, "r1") is None
    assert store.metrics.raised == 2


def test_coroutines_run_functions_one_after_another(store: Store) -> None:
    rooms = rooms_of(store)

    def more(tx: Transaction, amount: int) -> int:
        room = rooms.get(tx, "r") or Room("r", "h", 0)
        room.beds += amount
        return rooms.put(tx, room).beds

    async def main() -> list[int]:
        return await asyncio.gather(*[store.run(more, 1) for _ in range(200)])

    assert sorted(asyncio.run(main())) == list(range(1, 201))
    assert rooms.get(store, "r") == Room("r", "h", 200)
    assert store.metrics.applies < 200  # many shared a flush


def test_threads_and_an_event_loop_together(store: Store) -> None:
    counter = store.counter("n")

    async def main() -> None:
        await asyncio.gather(*[store.run(counter.add, 1) for _ in range(100)])

    threads = [
        threading.Thread(target=lambda: [store.call(counter.add, 1) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join()
    assert counter.value(store) == 300


def test_answers_can_be_waited_for_later(store: Store) -> None:
    counter = store.counter("n")
    answers = [store.submit(counter.add, 1) for _ in range(50)]
    assert [answer.wait(5) for answer in answers] == list(range(1, 51))


def test_others_may_append_to_the_same_log(store: Store) -> None:
    counter = store.counter("n")
    seen: list[int] = []

    def disturbed(tx: Transaction) -> int:
        if not seen:
            store.log.append(b"\x02a topic's record")
        seen.append(tx.lsn)
        return counter.add(tx)

    assert store.call(disturbed) == 1
    assert len(seen) == 2, "it has to be run again, on what is there now"
    assert store.metrics.reruns == 1


def test_time_ids_and_chance_are_decided_once(store: Store) -> None:
    with store.transaction() as tx:
        assert tx.now.tzinfo is dt.UTC
        first, second = tx.new_id(), tx.new_id()
        assert first != second
        assert first.version == 7
        assert 0 <= tx.random.random() < 1
        seed, time = tx.seed, tx.time
        store.counter("n").add(tx)
    again = Transaction(store._tables, store._execution.overlay, store.keyring, 1, time, Meta())
    again.seed = seed
    assert again.new_id() == first


def test_sequences_have_no_gaps(store: Store) -> None:
    invoices = store.sequence("invoices")
    assert store.call(invoices.next) == 1

    def failing(tx: Transaction) -> None:
        assert invoices.next(tx) == 2
        raise ValueError

    with pytest.raises(ValueError):
        store.call(failing)
    assert store.call(invoices.next) == 2


def test_an_idempotency_key_gives_the_first_result_also_after_reopening(tmp_path: Path) -> None:
    runs = []

    def book(tx: Transaction, room: str) -> Room:
        runs.append(room)
        return Room(room, str(tx.new_id()), 1)

    def other(tx: Transaction) -> None:
        del tx

    with Store(tmp_path, SMALL) as store:
        ann = store.by(Meta(principal="ann", key="k1"))
        first = ann.call(book, "r1")
        assert ann.call(book, "r1") == first
        with pytest.raises(KeyReused, match="k1"):
            ann.call(other)
        assert store.by(Meta(principal="bob", key="k1")).call(book, "r1") != first
        with pytest.raises(InvalidSetting, match="block"):
            ann.transaction()
    with Store(tmp_path, SMALL) as store:
        assert store.by(Meta(principal="ann", key="k1")).call(book, "r1") == first
        assert len(runs) == 2


def test_an_idempotency_key_is_forgotten_in_time(tmp_path: Path) -> None:

    now = [10**18]
    options = msgspec.structs.replace(
        SMALL,
        log=msgspec.structs.replace(SMALL.log, clock=lambda: now[0]),
        idempotency_seconds=60,
    )
    with Store(tmp_path, options) as store:
        counter = store.counter("n")
        caller = store.by(Meta(key="k"))
        assert [caller.call(counter.add), caller.call(counter.add)] == [1, 1]
        now[0] += 61 * 10**9
        assert caller.call(counter.add) == 2
        now[0] += 61 * 10**9
        assert store.call(store._execution._memory.forget) == 1


def test_the_time_of_transactions_never_decreases_though_the_clock_is_set_back(
    tmp_path: Path,
) -> None:
    now = [10**18]
    options = msgspec.structs.replace(
        SMALL, log=msgspec.structs.replace(SMALL.log, clock=lambda: now[0])
    )
    times = []
    for _ in range(3):  # each in a store that was opened again
        with Store(tmp_path, options) as store:
            counter = store.counter("n")

            def work(tx: Transaction, counter: Counter = counter) -> int:
                counter.add(tx)
                return tx.time

            times.append(store.call(work))
        now[0] -= 3600 * 10**9
    assert times == [10**18] * 3


def test_a_snapshot_stays_as_it_is(store: Store) -> None:
    rooms = rooms_of(store)
    with store.transaction() as tx:
        rooms.put(tx, Room("r1", "h", 1))
    with store.snapshot() as then:
        with store.transaction() as tx:
            rooms.put(tx, Room("r1", "h", 2))
            rooms.put(tx, Room("r2", "h", 2))
        assert rooms.get(then, "r1") == Room("r1", "h", 1)
        assert rooms.get(then, "r2") is None
        assert rooms.get_many(then, ["r2", "r1"]) == [None, Room("r1", "h", 1)]
        assert rooms.count(then) == 1
    assert rooms.count(store) == 2


def test_a_snapshot_can_be_asked_for_at_least_an_lsn(store: Store) -> None:
    with pytest.raises(NotReached):
        store.snapshot(at_least=store.log.next_lsn, timeout=0.05)
    answer = store.submit(store.counter("n").add, 1)
    assert answer.ticket is not None
    waiting = threading.Thread(target=answer.wait)
    waiting.start()
    with store.snapshot(at_least=answer.ticket.lsn) as seen:
        assert store.counter("n").value(seen) == 1
    waiting.join()

    async def main() -> None:
        await store.reached(store.log.durable_lsn)
        with pytest.raises(NotReached):
            await store.reached(store.log.next_lsn, timeout=0.05)

    asyncio.run(main())


def test_unique_indexes(store: Store) -> None:
    guests = store.table("people", Guest, key=lambda guest: guest.id)
    by_email = guests.index("by_email", lambda guest: guest.email, unique=True)
    with store.transaction() as tx:
        guests.put(tx, Guest("g1", "a@x"))
    with pytest.raises(NotUnique, match="g1") as caught, store.transaction() as tx:
        guests.put(tx, Guest("g2", "a@x"))
    assert caught.value.other == "g1"
    with store.transaction() as tx:
        guests.put(tx, Guest("g1", "b@x"))
        guests.put(tx, Guest("g2", "a@x"))
    assert by_email.get(store, "a@x") == Guest("g2", "a@x")
    assert by_email.get(store, "c@x") is None


def test_an_index_may_have_several_entries_or_none_for_a_row(store: Store) -> None:
    rooms = rooms_of(store)
    letters = rooms.index("letters", lambda room: list(room.hotel) if room.beds else None)
    with store.transaction() as tx:
        rooms.put(tx, Room("r1", "abc", 1))
        rooms.put(tx, Room("r2", "bcd", 1))
        rooms.put(tx, Room("r3", "bcd", 0))
    assert [room.id for room in letters.scan(store, "b")] == ["r1", "r2"]
    with store.transaction() as tx:
        rooms.put(tx, Room("r1", "ac", 1))
    assert [room.id for room in letters.scan(store, "b")] == ["r2"]
    assert letters.count(store) == 5


def test_an_index_is_built_when_it_is_new_and_again_when_it_changed(tmp_path: Path) -> None:
    def reopened(function: object, version: int = 0) -> tuple[int, list[str]]:
        with Store(tmp_path, SMALL) as store:
            rooms = rooms_of(store)
            index = rooms.index("i", function, version=version)  # type: ignore[arg-type]
            return index.info.id, [room.id for room in index.scan(store)]

    with Store(tmp_path, SMALL) as store:
        rooms = rooms_of(store)
        with store.transaction() as tx:
            for number in range(10):
                rooms.put(tx, Room(f"r{number}", "h", -number))
    by_beds = lambda room: room.beds  # noqa: E731
    first, order = reopened(by_beds)
    assert order == [f"r{number}" for number in reversed(range(10))]
    assert reopened(by_beds)[0] == first
    second, order = reopened(lambda room: room.id)
    assert second != first
    assert order == sorted(order)
    assert reopened(lambda room: room.id, version=1)[0] not in {first, second}


def test_an_index_stays_as_it_is_in_another_process() -> None:
    """Where sets have another order: it would be built again at every start."""
    program = "from walnut.store.catalog import definition_of as d; print(d(lambda r: r.x in {'a', 'b', 'c'}, 0))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(seed)}, check=True, capture_output=True,
        ).stdout
        for seed in range(4)
    }  # fmt: skip
    assert len(found) == 1


def test_an_index_may_be_by_an_attribute_and_not_by_what_has_no_code(store: Store) -> None:
    rooms = rooms_of(store)
    store.call(rooms.put, Room("r1", "h1", 2))
    assert rooms.index("hotel", operator.attrgetter("hotel")).get(store, "h1") is not None
    with pytest.raises(InvalidSetting, match="lambda"):
        rooms.index("partial", functools.partial(getattr, "hotel"))


def test_tables_of_other_processes_can_be_listed(store: Store) -> None:
    rooms_of(store)
    guests_of(store)
    assert store.tables() == ["guests", "rooms"]
    stat = store.stat()
    assert [table.name for table in stat.tables] == ["guests", "rooms"]
    assert stat.applied_lsn == store.log.durable_lsn


def test_slow_functions_are_named(tmp_path: Path) -> None:

    with Store(tmp_path, msgspec.structs.replace(SMALL, slow_seconds=0.0)) as store:

        def sluggish(tx: Transaction) -> None:
            del tx

        store.call(sluggish)
        assert store.metrics.slow_count == 1
        assert "sluggish" in store.metrics.slow[0].function


def test_where_the_time_of_a_transaction_goes_is_told_by_stage(store: Store) -> None:
    counter = store.counter("n")
    before = store.metrics.transactions

    waiting = threading.Thread(target=store.call, args=(counter.add,))

    def held_up(tx: Transaction) -> int:
        waiting.start()
        time.sleep(0.2)
        return counter.add(tx)

    store.call(held_up)
    waiting.join()
    answers = [store.submit(counter.add) for _ in range(20)]
    assert [answer.wait() for answer in answers][-1] == 22
    activity = store.stat().activity
    assert activity is not None
    assert activity.transactions == before + 22
    assert activity.per_second == pytest.approx(activity.transactions / activity.seconds)
    assert activity.group > 1
    stages = activity.stages
    assert list(stages) == ["turn", "function", "durable", "write", "sync", "apply"]
    assert stages["turn"].count == 1
    assert stages["function"].most >= 200_000
    assert stages["durable"].most >= stages["function"].most
    assert stages["durable"].count == stages["apply"].count == store.metrics.applies
    assert all(0 < stage.p50 <= stage.p99 <= stage.most for stage in stages.values())
    assert any("held_up" in slow.function for slow in activity.slow)


# -- bad input ----------------------------------------------------------------------------------


def test_misuse_of_transactions_has_names(store: Store) -> None:
    rooms = rooms_of(store)

    async def coroutine(tx: Transaction) -> None:
        del tx

    with pytest.raises(AwaitInTransaction, match="coroutine"):
        store.call(coroutine)  # type: ignore[unused-coroutine]
    with pytest.raises(NestedTransaction), store.transaction():
        store.call(lambda tx: None)
    with store.transaction() as tx:
        pass
    for use in (
        lambda: rooms.get(tx, "r1"),
        lambda: rooms.put(tx, Room("r", "h", 1)),
        lambda: list(rooms.scan(tx)),
    ):
        with pytest.raises(TransactionFinished):
            use()

    async def blocking() -> None:
        with pytest.raises(LogError, match="event loop"):
            store.call(lambda tx: None)
        with pytest.raises(LogError, match="event loop"), store.transaction():
            pass

    asyncio.run(blocking())

    for begin in (
        lambda: store.submit(lambda tx: None),
        lambda: store.call(lambda tx: None),
        lambda: store.erase("somebody"),
        lambda: store.transaction().__enter__(),
    ):

        def nested(tx: Transaction, begin: Callable[[], object] = begin) -> None:
            del tx
            begin()

        with pytest.raises(NestedTransaction):
            asyncio.run(store.run(nested))
        with pytest.raises(NestedTransaction):
            store.call(nested)


def test_rows_are_changed_through_transactions_alone(store: Store) -> None:
    rooms = rooms_of(store)
    with store.snapshot() as snapshot, StoreReader(store.path, SMALL) as reader:
        for place in (store, snapshot, reader):
            with pytest.raises(ReadOnly, match="rooms"):
                rooms.put(place, Room("r", "h", 1))  # type: ignore[arg-type]
            with pytest.raises(ReadOnly, match="through the transaction"):
                rooms.delete(place, "r")  # type: ignore[arg-type]


def test_coroutines_with_more_than_the_buffer_holds_are_held_back_and_not_refused(
    tmp_path: Path,
) -> None:
    log = msgspec.structs.replace(SMALL.log, record_bytes=40_000, buffer_bytes=100_000)

    async def main() -> None:
        async with Store(tmp_path, msgspec.structs.replace(SMALL, log=log)) as store:
            rooms = rooms_of(store)
            many = [Room(f"r{n}", "h" * 20_000, n) for n in range(100)]
            await asyncio.gather(*(store.run(rooms.put, room) for room in many))
            assert rooms.count(store) == 100

    asyncio.run(main())


def test_a_store_is_opened_and_its_tables_declared_also_in_a_coroutine(tmp_path: Path) -> None:
    async def main() -> None:
        async with Store(tmp_path, SMALL) as store:
            rooms = rooms_of(store)
            by_hotel = rooms.index("by_hotel", lambda room: room.hotel)
            await store.run(rooms.put, Room("r1", "h1", 1))
            assert by_hotel.get(store, "h1") == Room("r1", "h1", 1)

            def declares(tx: Transaction) -> None:
                del tx
                store.table("late", Room, key=lambda room: room.id)

            with pytest.raises(NestedTransaction):
                await store.run(declares)

    asyncio.run(main())


@pytest.mark.parametrize("nobody", [None, 7, b"ann", "\ud800"])
def test_who_and_why_are_text(store: Store, nobody: Any) -> None:
    """Anything else would be in the log, and no store could be opened from it."""
    for meta in (Meta(nobody), Meta(key=nobody), nobody):
        with pytest.raises(InvalidSetting, match="can't be kept"):
            store.by(meta)
    assert store.by(Meta("ann", "\0 Grüße")).call(store.counter("n").add) == 1


def test_bad_rows_and_keys_have_names(store: Store) -> None:
    rooms = rooms_of(store)
    with store.transaction() as tx:
        with pytest.raises(WrongType, match="Guest"):
            rooms.put(tx, Guest("g", "e"))  # type: ignore[arg-type]
        with pytest.raises(InvalidKey, match="list"):
            rooms.get(tx, ["r"])  # type: ignore[arg-type]
        with pytest.raises(InvalidKey, match="4096"):
            rooms.put(tx, Room("r" * 5000, "h", 1))
        with pytest.raises(ValueTooLarge, match="1048576"):
            rooms.put(tx, Room("r", "h" * 2_000_000, 1))
        with pytest.raises(WrongType, match="stored"):
            rooms.put(tx, Room("r", "h", 1 << 70))
        with pytest.raises(InvalidKey, match="cursor"):
            rooms.page(tx, cursor="!")
        with pytest.raises(InvalidKey, match="another scan"):
            rooms.page(tx, "r", cursor="AAAA")
        for limit in (0, -1, "x"):
            with pytest.raises(InvalidSetting, match="limit"):
                rooms.page(tx, limit=limit)  # type: ignore[arg-type]
        with pytest.raises(InvalidSetting, match="limit is -1"):
            rooms.scan(tx, limit=-1)
        assert list(rooms.scan(tx, limit=0)) == []
    with pytest.raises(AlreadyDefined):
        rooms_of(store)
    with pytest.raises(InvalidSetting, match="walnut"):
        store.table("walnut.mine", Room, key=lambda room: room.id)
    with pytest.raises(InvalidSetting, match="7"):
        store.table(7, Room, key=lambda room: room.id)  # type: ignore[arg-type]
    with pytest.raises(WrongType, match="Struct"):
        store.table("dicts", dict, key=lambda row: "")  # type: ignore[type-var]
    with pytest.raises(InvalidSetting, match="always"):
        msgspec.structs.replace(SMALL, log=msgspec.structs.replace(SMALL.log, sync="os"))


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path, SMALL)
    rooms = rooms_of(store)
    store.close()
    store.close()
    for use in (
        lambda: store.call(lambda tx: None),
        lambda: rooms.get(store, "r"),
        store.snapshot,
        store.checkpoint,
        store.changes,
    ):
        with pytest.raises((StoreClosed, LogClosed)):
            use()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL), pytest.raises(LogLocked, match="process"):
        Store(tmp_path, SMALL)


def test_what_waits_for_a_transaction_is_told_when_it_can_be_read(store: Store) -> None:
    rooms = rooms_of(store)
    told: list[Room | None] = []
    with store.transaction() as tx:
        rooms.put(tx, Room("r1", "h9", 2))
        tx.after(lambda key: told.append(rooms.get(store, key)), "r1")
        assert not told
    assert told == [Room("r1", "h9", 2)]


def test_what_waits_for_a_transaction_that_raises_is_not_told(store: Store) -> None:
    rooms = rooms_of(store)
    told: list[int] = []
    with pytest.raises(KeyError), store.transaction() as tx:
        rooms.put(tx, Room("r1", "h9", 2))
        tx.after(told.append, 1)
        raise KeyError
    store.call(rooms.put, Room("r2", "h9", 2))
    assert not told


def test_what_is_called_after_a_transaction_and_raises_harms_nobody(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    counter = store.counter("n")
    told: list[int] = []

    def thoughtless(number: int) -> None:
        raise KeyError(number)

    def add(tx: Transaction, number: int) -> int:
        tx.after(thoughtless, number)
        tx.after(told.append, number)
        return counter.add(tx)

    answers = [store.submit(add, number) for number in range(3)]
    assert [answer.wait() for answer in answers] == [1, 2, 3]
    assert told == [0, 1, 2]
    assert store.metrics.after_raised == 3
    assert store.call(counter.add) == 4, "the log goes on"
    assert [record.name for record in caplog.records] == ["walnut.store"] * 3
    assert "thoughtless" in caplog.messages[0]
    assert "KeyError: 2" in caplog.text


def test_an_index_tells_equal_values_of_different_types_apart(store: Store) -> None:
    class Thing(msgspec.Struct):
        id: str
        value: int | bool

    things = store.table("things", Thing, key=lambda thing: thing.id)
    by_value = things.index("by_value", lambda thing: thing.value)
    store.call(things.put, Thing("a", 1))
    store.call(things.put, Thing("a", True))
    assert by_value.get(store, 1) is None
    assert by_value.get(store, True) == Thing("a", True)
