"""The keys of subjects, and how one is destroyed without touching the others.

    root ──┬── 0 ──┬── 00 ──▶ key of subject 0        a node derives its two children,
           │       └── 01 ──▶ key of subject 1        nothing derives its parent
           └── 1 ──  ...

The key of subject n is leaf n of a binary tree in which every node is a hash of the one above it
(Goldreich, Goldwasser and Micali: How to construct random functions, 1986). The ring is the set of
nodes that still reach every living leaf: the root alone at first. To destroy leaf n, each node on the
way to it is replaced by its other child, so that n is out of reach and everyone else is not: 32 nodes
of 32 bytes at most for each subject erased, whatever the number of subjects, and no other key has to
be wrapped anew.

The ring lives outside the log, in the file KEYS, so that no copy of the log can bring a key back. It
is written to two places in turn, each with a checksum and a number: the newest valid one counts.

What must stay true: after `destroy` returns, no node from which that leaf can be derived is in either
place of the file; and no crash loses the other keys.
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import msgspec
from crc32c import crc32c
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from walnut.log.disk import Directory, Disk, StrPath, read_file, replace_file
from walnut.store.errors import Erased, InvalidSetting, KeysMissing

DEPTH: Final = 32
"""Height of the tree: room for 2**32 subjects."""
PLACES: Final = ("KEYS.a", "KEYS.b")
NONCE_BYTES: Final = 12
_CACHED: Final = 4096

_MAGIC: Final = b"WLNK\x01"


class Node(msgspec.Struct, frozen=True, array_like=True):
    """A node of the tree: its depth, its position among those of that depth, and its secret."""

    depth: int
    position: int
    secret: bytes


class Ring(msgspec.Struct, frozen=True, array_like=True):
    """What the file holds: whose it is, how often it was written, and the nodes."""

    ring_id: bytes
    number: int
    nodes: list[Node]


class Keyring:
    """The keys of a store's subjects. Entered by one thread at a time for changes; `seal` and `open`
    from any."""

    def __init__(
        self, disk: Disk, directory: Directory, ring: Ring, *, read_only: bool = False
    ) -> None:
        self._read_only = read_only
        self._disk = disk
        self._directory = directory
        self._ring = ring
        self._nodes = {(node.depth, node.position): node.secret for node in ring.nodes}
        self._ciphers: OrderedDict[int, AESGCM] = OrderedDict()
        self._without: frozenset[int] = frozenset()

    @classmethod
    def create(cls, disk: Disk, directory: Directory) -> Keyring:
        """A ring with a new root, saved."""
        ring = Ring(disk.entropy(16), 0, [Node(0, 0, disk.entropy(32))])
        self = cls(disk, directory, ring)
        self._save()
        return self

    @classmethod
    def load(cls, disk: Disk, directory: Directory, *, read_only: bool = False) -> Keyring | None:
        """The ring as it was saved last, or None if there never was one.

        Raises KeysMissing if there are files and none of them is whole."""
        found = [data for name in PLACES if (data := read_file(directory, name)) is not None]
        rings = [ring for data in found if (ring := unpack_ring(data)) is not None]
        if not rings:
            if found:
                raise KeysMissing(
                    f"both {PLACES[0]} and {PLACES[1]} are damaged: put a backup of the keys back. "
                    "Without it, rows about subjects can't be read"
                )
            return None
        return cls(disk, directory, max(rings, key=lambda ring: ring.number), read_only=read_only)

    @property
    def ring_id(self) -> bytes:
        """16 bytes that tell this ring from all others."""
        return self._ring.ring_id

    def entropy(self, size: int) -> bytes:
        """Random bytes."""
        return self._disk.entropy(size)

    def knows(self, number: int) -> bool:
        """The key of subject `number` can still be derived."""
        return self._above(number) is not None

    def seal(self, number: int, body: bytes, bound: bytes) -> bytes:
        """`body` encrypted (AES-256-GCM) with the key of subject `number`, and `bound` to where it
        belongs. Raises Erased."""
        nonce = self._disk.entropy(NONCE_BYTES)
        return nonce + self._cipher(number).encrypt(nonce, body, bound)

    def open(self, number: int, sealed: bytes, bound: bytes) -> bytes:
        """What was sealed. Raises Erased; KeysMissing if this is not the ring it was sealed with."""
        try:
            return self._cipher(number).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except InvalidTag as error:
            raise KeysMissing(
                f"the key of subject number {number} does not fit: the row was moved or changed, or "
                "the key file belongs to another store"
            ) from error

    def destroy(self, numbers: list[int]) -> None:
        """Destroy these keys for good; in a ring to read from, do without them."""
        living = [number for number in numbers if self.knows(number)]
        self.forget(living)
        if living and not self._read_only:
            # Twice, so that no place holds the old nodes any more.
            self._save()
            self._save()

    def forget(self, numbers: list[int]) -> None:
        """Do without these keys here, whatever the file holds: for who reads beside the writer."""
        for number in numbers:
            self._puncture(number)
            self._ciphers.pop(number, None)

    def without(self, numbers: Iterable[int]) -> Keyring:
        """The same keys but these, which are about to be destroyed: for transactions that come after
        the one that erased, and before it is durable."""
        other = copy.copy(self)
        other._without = self._without.union(numbers)  # noqa: SLF001  one of us
        return other

    def mend(self) -> None:
        """Write both places alike, if a crash left them different: one may still hold a key that was
        destroyed, or nothing."""
        datas = [read_file(self._directory, name) for name in PLACES]
        rings = [unpack_ring(data or b"") for data in datas]
        if any(ring is None or ring.nodes != self._ring.nodes for ring in rings):
            self._save()

    def _puncture(self, number: int) -> None:
        above = self._above(number)
        if above is None:
            return
        depth, secret = above
        del self._nodes[depth, number >> (DEPTH - depth)]
        while depth < DEPTH:
            depth += 1
            position = number >> (DEPTH - depth)
            left, right = _children(secret)
            secret, other = (right, left) if position & 1 else (left, right)
            self._nodes[depth, position ^ 1] = other

    def _above(self, number: int) -> tuple[int, bytes] | None:
        """The node of the ring that reaches this leaf: its depth and secret."""
        if not 0 <= number < 1 << DEPTH:
            raise InvalidSetting(f"there is no subject number {number}")
        if number in self._without:
            return None
        for depth in range(DEPTH + 1):
            secret = self._nodes.get((depth, number >> (DEPTH - depth)))
            if secret is not None:
                return depth, secret
        return None

    def _cipher(self, number: int) -> AESGCM:
        cipher = None if number in self._without else self._ciphers.get(number)
        if cipher is None:
            above = self._above(number)
            if above is None:
                raise Erased("the subject of this row has been erased: its key is gone")
            depth, secret = above
            for level in range(depth + 1, DEPTH + 1):
                secret = _children(secret)[number >> (DEPTH - level) & 1]
            cipher = self._ciphers[number] = AESGCM(hashlib.sha256(b"key" + secret).digest())
            if len(self._ciphers) > _CACHED:
                self._ciphers.popitem(last=False)
        return cipher

    def _save(self) -> None:
        nodes = [Node(depth, at, secret) for (depth, at), secret in self._nodes.items()]
        ring = Ring(self._ring.ring_id, self._ring.number + 1, nodes)
        body = msgspec.msgpack.encode(ring)
        data = _MAGIC + crc32c(body).to_bytes(4, "little") + body
        replace_file(self._directory, PLACES[ring.number % 2], data)
        self._ring = ring


def open_keyring(disk: Disk, path: str, *, new: bool) -> Keyring:
    """The keyring in the directory `path`; made if the store is `new`. Raises KeysMissing."""
    directory = disk.directory(path, create=True)
    ring = Keyring.load(disk, directory)
    if ring is not None:
        ring.mend()
        return ring
    if not new:
        raise _no_keys(path)
    return Keyring.create(disk, directory)


def find_keyring(disk: Disk, path: str) -> Keyring:
    """The keyring in the directory `path`, which nothing is changed in. Raises KeysMissing."""
    try:
        ring = Keyring.load(disk, disk.directory(path, create=False), read_only=True)
    except (FileNotFoundError, NotADirectoryError):
        ring = None
    if ring is None:
        raise _no_keys(path)
    return ring


def _no_keys(path: str) -> KeysMissing:
    return KeysMissing(
        f"there are no keys in {path}: it is to have {PLACES[0]} and {PLACES[1]}. Put those of the store "
        "back; without them, rows about subjects can't be read"
    )


def place_keys(disk: Disk, source: StrPath | None, path: str) -> None:
    """Put the keys of another store into the new one at `path`: from its `keys` directory or a copy of
    that; new keys, which open nothing there is, if None."""
    if source is None:
        open_keyring(disk, path, new=True)
        return
    theirs, ours = disk.directory(str(source), create=False), disk.directory(path, create=True)
    for name in PLACES:
        data = read_file(theirs, name)
        if data is not None:
            replace_file(ours, name, data)


def _children(secret: bytes) -> tuple[bytes, bytes]:
    digest = hashlib.sha512(secret).digest()
    return digest[:32], digest[32:]


def unpack_ring(data: bytes) -> Ring | None:
    """The ring in a file; None if it is not whole."""
    start = len(_MAGIC) + 4
    body = data[start:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : start] != crc32c(body).to_bytes(
        4, "little"
    ):
        return None
    try:
        return msgspec.msgpack.decode(body, type=Ring)
    except msgspec.MsgspecError:
        return None
