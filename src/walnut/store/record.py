"""What a transaction is in the log: one record, all that apply needs and nothing it would have to ask.

A record's first byte says whose it is, as other things share the log. A store's record goes on with a
`Commit` in MessagePack. docs/store-format.md has it to the byte.

What must stay true: applying a `Commit` reads nothing but the commit itself and the keyring; so the
same records make the same tables, wherever and whenever.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import msgspec

from walnut.store.errors import InvalidSetting, RowDamaged

COMMIT: Final = b"\x01"
"""First byte of a record that is a `Commit`."""
VERSION: Final = 1

_encoder: Final = msgspec.msgpack.Encoder()

Writes = dict[bytes, bytes | None]
"""Full keys and their new values; None deletes."""


class Meta(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Who did it, why, and as what: kept with each transaction, and the audit trail's content.

    Attributes:
        principal: who, as the caller was authenticated.
        reason: why, in words.
        request_id: of the request that led to it.
        key: idempotency key. A function run again under the same key is not run: its first result
            is returned (`Store.run`).
    """

    principal: str = ""
    reason: str = ""
    request_id: str = ""
    key: str = ""


NOBODY: Final = Meta()


def check_meta(meta: Meta) -> None:
    """Raise InvalidSetting for what could be written and then not be read: a struct takes anything."""
    try:
        msgspec.msgpack.decode(_encoder.encode(meta), type=Meta)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise InvalidSetting(
            f'{meta!r} can\'t be kept with a transaction ({error}): give text, or "" for nothing'
        ) from error


class Hidden(msgspec.Struct, array_like=True):
    """Writes to private tables, encrypted with the key of the subject they are about."""

    subject: int
    sealed: bytes


class Commit(msgspec.Struct, array_like=True, omit_defaults=True):
    """A transaction's effect.

    Attributes:
        version: of this layout.
        time: when it was decided, ns since the Unix epoch; never decreases.
        writes: what it changed.
        meta: who and why.
        seed: what its ids and random numbers were made of; empty if it made none.
        before: what the rows held before, for tables that ask for it.
        hidden: what it changed in private tables.
        ranges: key ranges [from, to) it emptied; only of tables that nobody reads any more.
        erased: numbers of subjects that it erased.
    """

    version: int
    time: int
    writes: Writes
    meta: Meta = NOBODY
    seed: bytes = b""
    before: Writes = {}
    hidden: list[Hidden] = []
    ranges: list[tuple[bytes, bytes]] = []
    erased: list[int] = []


_decoder: Final = msgspec.msgpack.Decoder(Commit)


def pack(commit: Commit) -> bytes:
    """The record of a commit."""
    return COMMIT + _encoder.encode(commit)


def unpack(record: bytes | memoryview, lsn: int) -> Commit | None:
    """The commit in a record, or None if the record is someone else's. Raises RowDamaged."""
    if record[:1] != COMMIT:
        return None
    try:
        commit = _decoder.decode(record[1:])
    except msgspec.MsgspecError as error:
        raise RowDamaged(
            f"the record at LSN {lsn} is not a transaction as this Walnut knows them ({error}): "
            "open the store with the one that wrote it"
        ) from error
    if commit.version != VERSION:
        raise RowDamaged(
            f"the transaction at LSN {lsn} has version {commit.version} and this Walnut knows "
            f"{VERSION}: open the store with the newer one that wrote it"
        )
    return commit


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def utc(time: int) -> dt.datetime:
    """The microsecond that a time in ns since the Unix epoch is in."""
    return _EPOCH + dt.timedelta(microseconds=time // 1000)


def hidden_bound(lsn: int) -> bytes:
    """What `Hidden` writes of the record at `lsn` are bound to."""
    return b"hidden" + lsn.to_bytes(8, "big")


def pack_writes(writes: Writes) -> bytes:
    """The body of `Hidden.sealed`."""
    return _encoder.encode(writes)


def unpack_writes(body: bytes) -> Writes:
    """What `pack_writes` packed."""
    return msgspec.msgpack.decode(body, type=Writes)
