"""The worked examples in docs/store-format.md are what the code writes and reads, bit for bit."""

import datetime as dt
import hashlib
import re
import uuid
from pathlib import Path

import msgspec
import pytest

from tests.store.helpers import SMALL, Guest, Room, guests_of, rooms_of
from walnut.log.disk import RealDisk
from walnut.store import Meta, Store, keyring
from walnut.store.catalog import FIRST_ID, prefix_of
from walnut.store.keyring import Keyring, Node, Ring, unpack_ring
from walnut.store.keys import decode, encode
from walnut.store.record import COMMIT, VERSION, Commit, pack, unpack
from walnut.store.schema import Codec, unseal
from walnut.testing import SimDisk

SPEC = (Path(__file__).parents[2] / "docs" / "store-format.md").read_text()
RECORD, PLAIN, SEALED, LEAF = (bytes.fromhex(block) for block in SPEC.split("```")[1::2])
KEYS = re.findall(r"^\| `(.+)` \| `((?:[0-9a-f]{2} ?)+)` \|$", SPEC, re.MULTILINE)
ROOM = Room("r1", "h9", 2)
FULL = prefix_of(FIRST_ID + 1) + encode("r1")


def ring() -> Keyring:
    disk = SimDisk()
    nodes = [Node(0, 0, bytes(32))]
    return Keyring(disk, disk.directory("keys", create=True), Ring(bytes(16), 0, nodes))


@pytest.mark.parametrize(("text", "data"), KEYS, ids=[text for text, _ in KEYS])
def test_a_key(text: str, data: str) -> None:
    key = eval(text, {"uuid": uuid, "dt": dt})
    assert encode(key) == bytes.fromhex(data)
    assert decode(bytes.fromhex(data)) == (key if isinstance(key, tuple) else (key,))


def test_all_keys_of_the_page_are_tried() -> None:
    assert len(KEYS) == 16


def test_a_record() -> None:
    commit = Commit(VERSION, 10**18, {FULL: PLAIN}, Meta("ann", "new wing"), b"", {FULL: None})
    assert pack(commit) == RECORD
    assert unpack(RECORD, 7) == commit
    short = COMMIT + msgspec.msgpack.encode([VERSION, 1, {FULL: PLAIN}])
    assert unpack(short, 7) == Commit(VERSION, 1, {FULL: PLAIN}), "what is missing is empty"


def test_a_plain_row_and_a_sealed_one() -> None:
    codec = Codec("rooms", Room)
    assert codec.encode(ROOM) == (PLAIN, ROOM)
    assert codec.decode(FULL, PLAIN, ring()) == ROOM == codec.decode(FULL, SEALED, ring())
    assert unseal(FULL, SEALED, ring()) == PLAIN[1:]


def test_the_keys_of_subjects() -> None:
    secret = bytes(32)
    for level in range(1, 33):
        left, right = keyring._children(secret)
        secret = (left, right)[5 >> (32 - level) & 1]
    assert secret + hashlib.sha256(b"key" + secret).digest() == LEAF


def test_what_a_store_writes_is_where_the_page_says(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        rooms, guests = rooms_of(store), guests_of(store)
        rooms.index("by_hotel", lambda room: room.hotel)
        rooms.index("by_beds", lambda room: room.beds, unique=True)
        guests.index("by_email", lambda guest: guest.email)
        with store.transaction() as tx:
            rooms.put(tx, ROOM)
            guests.put(tx, Guest("g1", "e"))
        public = dict(store._tables.public.walk(b"\0", b"\xff" * 9))
        private = dict(store._tables.private.walk(b"\0", b"\xff" * 9))
        applied = store.applied_lsn
    first = FIRST_ID + 1
    row, email = encode("r1"), encode("e") + encode("g1")
    assert public[prefix_of(first) + row] == PLAIN
    assert public[prefix_of(first + 2) + encode("h9") + row] == row
    assert public[prefix_of(first + 3) + encode(2)] == row
    assert public[prefix_of(first + 1) + encode("g1")][:6] == bytes.fromhex("01 00 00 00 00 01")
    assert public[b"\0\0\0\0applied"] == applied.to_bytes(8, "big")
    entry = bytes.fromhex("80 00 00 45") + email
    assert private[entry] == bytes.fromhex("00 00 00 00 01") + encode("g1")
    assert private[bytes.fromhex("80 00 00 00 00 00 00 00 00 00 00 01") + entry] == b"\1"
    assert len(private[bytes.fromhex("80 00 00 01 00 00 00 45")]) == 8
    directory = RealDisk().directory(str(tmp_path / "keys"), create=False)
    for name in keyring.PLACES[-1:]:
        saved = unpack_ring(directory.open(name).read(10_000, 0))
        assert saved is not None
        assert [(node.depth, node.position) for node in saved.nodes] == [(0, 0)]
