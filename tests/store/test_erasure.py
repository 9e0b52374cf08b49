"""Erasing a subject makes every copy unreadable, and nobody else's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.helpers import SMALL, Guest, every_byte, guests_of
from walnut.log.disk import RealDisk
from walnut.store import ERASED, Store, Transaction
from walnut.store.care import verify
from walnut.store.errors import Erased, InvalidSetting, KeysMissing, NotUnique
from walnut.store.keyring import DEPTH, PLACES, Keyring, open_keyring


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return open_keyring(RealDisk(), str(tmp_path / "keys"), new=True)


@settings(max_examples=20, deadline=None)
@given(
    destroyed=st.lists(st.integers(0, 40) | st.integers(0, 2**DEPTH - 1), max_size=8),
    others=st.lists(st.integers(0, 40) | st.integers(0, 2**DEPTH - 1), max_size=8),
)
def test_destroying_keys_leaves_all_others_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, destroyed: list[int], others: list[int]
) -> None:
    disk = RealDisk()
    path = str(tmp_path_factory.mktemp("keys"))
    ring = open_keyring(disk, path, new=True)
    sealed = {number: ring.seal(number, b"body", b"bound") for number in {*destroyed, *others}}
    for number in destroyed:
        ring.destroy([number])
    for keys in (ring, open_keyring(disk, path, new=False)):
        for number, data in sealed.items():
            if number in destroyed:
                assert not keys.knows(number)
                with pytest.raises(Erased):
                    keys.open(number, data, b"bound")
            else:
                assert keys.open(number, data, b"bound") == b"body"


def test_a_sealed_body_is_bound_to_its_place(ring: Keyring) -> None:
    sealed = ring.seal(3, b"body", b"here")
    with pytest.raises(KeysMissing, match="moved or changed"):
        ring.open(3, sealed, b"there")
    with pytest.raises(KeysMissing):
        ring.open(3, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"here")
    with pytest.raises(KeysMissing):
        ring.open(4, sealed, b"here")
    with pytest.raises(InvalidSetting):
        ring.knows(2**DEPTH)


def test_the_key_file_survives_a_damaged_place_and_says_when_both_are(tmp_path: Path) -> None:
    disk, path = RealDisk(), tmp_path / "keys"
    ring = open_keyring(disk, str(path), new=True)
    sealed = ring.seal(1, b"body", b"")
    ring.destroy([2])
    for place in PLACES:
        (path / place).write_bytes(b"damage")
        again = open_keyring(disk, str(path), new=False)  # which mends the place
        assert again.open(1, sealed, b"") == b"body"
        assert (path / place).read_bytes() != b"damage"
    for place in PLACES:
        (path / place).write_bytes(b"damage")
    with pytest.raises(KeysMissing, match="damaged"):
        open_keyring(disk, str(path), new=False)
    for place in PLACES:
        (path / place).unlink()
    with pytest.raises(KeysMissing, match="no keys"):
        open_keyring(disk, str(path), new=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


def test_an_erased_row_answers_erased_everywhere(store: Store, tmp_path: Path) -> None:
    guests = guests_of(store)
    by_email = guests.index("by_email", lambda guest: guest.email, unique=True)
    with store.transaction() as tx:
        guests.put(tx, Guest("g1", "secret-one@x", "Ann Secret"))
        guests.put(tx, Guest("g2", "b@x", "Bob"))
    store.checkpoint()
    store.backup(tmp_path / "backup")
    # The contents are nowhere in clear but in the private index entry, which no backup has.
    assert b"Ann Secret" not in every_byte(tmp_path)
    assert b"secret-one@x" not in every_byte(tmp_path / "backup")
    assert b"secret-one@x" not in every_byte(tmp_path / "data" / "log")
    assert b"secret-one@x" not in every_byte(tmp_path / "data" / "tables" / "public")

    assert store.erase("g1")
    assert not store.erase("g1")
    assert not store.erase("nobody")
    with pytest.raises(Erased):
        guests.get(store, "g1")
    with store.transaction() as tx, pytest.raises(Erased):
        guests.get(tx, "g1")
    assert list(guests.scan(store)) == [Guest("g2", "b@x", "Bob")]
    assert list(by_email.scan(store)) == [Guest("g2", "b@x", "Bob")]
    assert by_email.get(store, "secret-one@x") is None
    assert b"secret-one@x" not in every_byte(tmp_path)
    put = [change.after for change in store.changes(tables=["guests"])]
    assert put == [ERASED, Guest("g2", "b@x", "Bob")]
    assert verify(store).same


def test_a_restore_to_before_it_does_not_bring_it_back(tmp_path: Path) -> None:
    with Store(tmp_path / "data", SMALL) as store:
        guests = guests_of(store)
        guests.index("by_email", lambda guest: guest.email)
        with store.transaction() as tx:
            guests.put(tx, Guest("g1", "a@x"))
            guests.put(tx, Guest("g2", "b@x"))
        before = store.log.durable_lsn
        store.backup(tmp_path / "backup")
        store.erase("g1")
        store.backup(tmp_path / "backup")
    Store.restore(
        tmp_path / "backup",
        tmp_path / "new",
        to=before,
        keys=tmp_path / "data" / "keys",
        options=SMALL,
    )
    with Store(tmp_path / "new", SMALL) as store:
        guests = guests_of(store)
        by_email = guests.index("by_email", lambda guest: guest.email)
        with pytest.raises(Erased):
            guests.get(store, "g1")
        assert list(by_email.scan(store)) == [Guest("g2", "b@x")]
        with store.transaction() as tx:  # the subject may come again, with another key
            guests.put(tx, Guest("g1", "new@x"))
        assert guests.get(store, "g1") == Guest("g1", "new@x")
        assert by_email.get(store, "new@x") == Guest("g1", "new@x")
    Store.restore(tmp_path / "backup", tmp_path / "keyless", options=SMALL)
    with Store(tmp_path / "keyless", SMALL) as store, pytest.raises(KeysMissing, match="fit"):
        guests_of(store).get(store, "g2")


def test_who_comes_again_gets_a_new_key(store: Store) -> None:
    guests = guests_of(store)
    by_email = guests.index("by_email", lambda guest: guest.email, unique=True)
    with store.transaction() as tx:
        guests.put(tx, Guest("g1", "a@x"))
    store.erase("g1")
    with store.transaction() as tx:
        guests.put(tx, Guest("g1", "a@x"))  # over what nobody can read
        with pytest.raises(NotUnique):
            guests.put(tx, Guest("g2", "a@x"))
        guests.put(tx, Guest("g2", "b@x"))
    assert by_email.get(store, "a@x") == Guest("g1", "a@x")
    store.erase("g1")
    with store.transaction() as tx:
        assert guests.delete(tx, "g1")
    assert guests.get(store, "g1") is None
    assert list(by_email.scan(store)) == [Guest("g2", "b@x")]


def test_erasing_as_a_part_of_a_transaction(store: Store) -> None:
    guests = guests_of(store)
    with store.transaction() as tx:
        guests.put(tx, Guest("g1", "a@x"))
    with pytest.raises(ValueError), store.transaction() as tx:
        store.erase_subject(tx, "g1")
        raise ValueError
    assert guests.get(store, "g1") == Guest("g1", "a@x")
    with store.transaction() as tx:
        store.erase_subject(tx, "g1")
        guests.put(tx, Guest("g1", "b@x"))
    assert guests.get(store, "g1") == Guest("g1", "b@x")


def test_who_comes_after_it_does_not_see_them_though_it_is_not_durable(store: Store) -> None:
    guests = guests_of(store)
    by_email = guests.index("by_email", lambda guest: guest.email, unique=True)
    store.call(guests.put, Guest("g1", "a@x"))

    def look(tx: Transaction) -> list[Guest]:
        with pytest.raises(Erased):
            guests.get(tx, "g1")
        guests.put(tx, Guest("g2", "a@x"))
        return [*guests.scan(tx), *by_email.scan(tx, "a@x")]

    erasing = store.submit(store.erase_subject, "g1")
    looking = store.submit(look)
    assert guests.get(store, "g1") == Guest("g1", "a@x"), "outside it is not durable yet"
    assert erasing.wait()
    assert looking.wait() == [Guest("g2", "a@x")] * 2
    assert [guest.id for guest in by_email.scan(store)] == ["g2"]


def test_what_a_transaction_wrote_before_it_erases_goes_too(store: Store, tmp_path: Path) -> None:
    guests = guests_of(store)
    by_email = guests.index("by_email", lambda guest: guest.email)
    store.call(guests.put, Guest("g1", "old@x"))
    with store.transaction() as tx:
        guests.put(tx, Guest("g1", "secret-two@x"))
        store.erase_subject(tx, "g1")
        with pytest.raises(Erased):
            guests.get(tx, "g1")
        assert list(by_email.scan(tx)) == []
    with pytest.raises(Erased):
        guests.get(store, "g1")
    assert by_email.count(store) == 0
    store.checkpoint()
    assert b"secret-two@x" not in every_byte(tmp_path)
    assert verify(store).same


def test_an_entry_that_passed_to_whom_a_transaction_erases_is_gone(store: Store) -> None:
    guests = store.table("g", Guest, key=lambda guest: guest.id, subject=lambda guest: guest.name)
    by_email = guests.index("by_email", lambda guest: guest.email, unique=True)
    store.call(guests.put, Guest("g1", "a@x", "ann"))
    with store.transaction() as tx:
        guests.put(tx, Guest("g1", "a@x", "bob"))
        store.erase_subject(tx, "bob")
        assert by_email.get(tx, "a@x") is None
    assert by_email.count(store) == 0
    assert verify(store).same


def test_a_crash_right_after_it_does_not_undo_it(store: Store, tmp_path: Path) -> None:
    guests = guests_of(store)
    by_email = guests.index("by_email", lambda guest: guest.email)
    with store.transaction() as tx:
        guests.put(tx, Guest("g1", "a@x"))
        guests.put(tx, Guest("g2", "b@x"))
    shutil.copytree(tmp_path / "data" / "keys", tmp_path / "old-keys")
    store.call(store.erase_subject, "g1")
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    # Even a crash before the key was destroyed: folding the log destroys it.
    shutil.rmtree(tmp_path / "killed" / "keys")
    shutil.copytree(tmp_path / "old-keys", tmp_path / "killed" / "keys")
    with Store(tmp_path / "killed", SMALL) as again:
        guests = guests_of(again)
        by_email = guests.index("by_email", lambda guest: guest.email)
        with pytest.raises(Erased):
            guests.get(again, "g1")
        assert list(by_email.scan(again)) == [Guest("g2", "b@x")]


def test_a_subject_is_a_name(store: Store) -> None:
    nameless = store.table("n", Guest, key=lambda guest: guest.id, subject=lambda guest: guest.name)
    with store.transaction() as tx, pytest.raises(InvalidSetting, match="subject"):
        nameless.put(tx, Guest("g1", "a@x", ""))
