"""What the store knows of its tables: names, numbers, schemas, indexes. Itself a table.

    full key:  table or index, 4 bytes | key                        (`keys`)
    index:     entry | key of the row ──▶ key of the row            unique: entry ──▶ key of the row

What must stay true: a number, once given to a table or an index, never means another one, so that old
records can always be applied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from operator import attrgetter, itemgetter, methodcaller
from types import CodeType
from typing import Final

import msgspec

from walnut.store.errors import InvalidSetting
from walnut.store.model import TableStat
from walnut.store.tables import ID_BYTES, PRIVATE

FIRST_ID: Final = 64
"""Smaller numbers are the store's own tables."""

CATALOG_ID: Final = 1
SEQUENCES_ID: Final = 2
DONE_ID: Final = 3
DONE_BY_TIME_ID: Final = 4
SUBJECTS_ID: Final = 5


class IndexInfo(msgspec.Struct, frozen=True):
    """An index: its number, what its function was made of, whether it is unique."""

    id: int
    definition: str
    unique: bool


class TableInfo(msgspec.Struct, frozen=True):
    """A table: its number, the digest of each schema it has had, its indexes, whether its rows are
    about subjects, and whether it keeps before-images."""

    name: str
    id: int
    schemas: dict[int, str]
    indexes: dict[str, IndexInfo] = {}
    subjects: bool = False
    before: bool = False


def table_stat(info: TableInfo) -> TableStat:
    """What people are told of a table."""
    return TableStat(
        info.name,
        max(info.schemas),
        list(info.indexes),
        subjects=info.subjects,
        before=info.before,
    )


class SequenceRow(msgspec.Struct, frozen=True):
    """A sequence or counter, and where it stands. One of each `kind` may have the same name."""

    kind: str
    name: str
    value: int


class Done(msgspec.Struct, frozen=True):
    """What a function that ran under an idempotency key returned."""

    principal: str
    key: str
    function: str
    time: int
    result: bytes


class SubjectRow(msgspec.Struct, frozen=True):
    """Which number, and so which key, a subject has."""

    subject: str
    number: int


def prefix_of(number: int, *, private: bool = False) -> bytes:
    """What the full keys of a table or an index begin with."""
    head = number.to_bytes(ID_BYTES, "big")
    return bytes((head[0] | PRIVATE,)) + head[1:] if private else head


def definition_of(function: Callable[..., object], version: int) -> str:
    """16 hex digits that change with a function's code (not with what it refers to; for that there
    is the version). Raises InvalidSetting for what has no code to tell it by."""
    digest = hashlib.blake2b(digest_size=8)
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType):
        _digest_code(code, digest.update)
    elif isinstance(function, attrgetter | itemgetter | methodcaller):
        digest.update(repr(function).encode())
    else:
        raise InvalidSetting(
            f"{function!r} has no code to tell whether it changed: make it a function or a lambda"
        )
    digest.update(str(version).encode())
    return digest.hexdigest()


def _digest_code(code: CodeType, update: Callable[[bytes], None]) -> None:
    update(code.co_code)
    update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _digest_code(constant, update)
        elif isinstance(constant, frozenset):  # in an order of its own in each process
            update(repr(sorted(map(repr, constant))).encode())
        elif constant is not code.co_name:
            update(repr(constant).encode())
