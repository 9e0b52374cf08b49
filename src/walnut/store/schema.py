"""Rows as bytes: which schema they were written with, and how old ones are read.

    plain     00 | schema, 2 bytes | the row, MessagePack
    sealed    01 | subject, 5 bytes | LSN, 8 bytes | nonce, 12 bytes | encrypted: schema, row | tag

What must stay true: bytes are decoded with the schema they were written with and lifted step by step to
the one of today, or refused by name; never guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from walnut.store.errors import Erased, RowDamaged, UnknownSchema, ValueTooLarge, WrongType
from walnut.store.keyring import Keyring

PLAIN: Final = b"\x00"
SEALED: Final = 0x01
_SEALED_HEADER: Final = 1 + 5 + 8

Row = TypeVar("Row", bound=msgspec.Struct)
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes the fields of a row of schema n those of schema n + 1."""


class Codec(Generic[Row]):
    """Rows of one type to bytes and back.

    Args:
        table: its name, for errors.
        schema: the number of the type's fields as they are today.
        upgrades: from each older number that may be stored.
    """

    def __init__(
        self,
        table: str,
        row: type[Row],
        *,
        schema: int = 1,
        upgrades: Mapping[int, Upgrade] | None = None,
        value_bytes: int = 1 << 20,
    ) -> None:
        if not (isinstance(row, type) and issubclass(row, msgspec.Struct)):
            raise WrongType(f"rows of {table} are to be {row!r}: give a msgspec.Struct")
        if not 1 <= schema < 1 << 16:
            raise UnknownSchema(f"{table} has schema {schema}: a schema number is from 1 to 65535")
        self.table = table
        self.row = row
        self.schema = schema
        self.upgrades = dict(upgrades or {})
        self._value_bytes = value_bytes
        self._number = schema.to_bytes(2, "big")
        self._prefix = PLAIN + self._number
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(row)
        config = row.__struct_config__
        tag = set() if config.tag is None else {config.tag_field}
        self._fields = {*row.__struct_encode_fields__, *tag}

    def encode(self, row: Row) -> tuple[bytes, Row]:
        """The plain bytes of a row, and the row as it will be read from them: a number in a float's
        place has become a float. Raises WrongType, ValueTooLarge.

        Nothing else would keep out what can't be read again: a struct takes fields of any type. It
        costs 0.2 us a row."""
        if type(row) is not self.row:
            raise WrongType(
                f"rows of {self.table} are {self.row.__name__}, and this is a {type(row).__name__}"
            )
        try:
            data = self._prefix + self._encoder.encode(row)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise WrongType(f"a row of {self.table} can't be stored: {error}") from error
        if len(data) > self._value_bytes:
            raise ValueTooLarge(
                f"a row of {self.table} takes {len(data)} bytes and may take {self._value_bytes}: "
                "keep large values in files, and their digests in rows"
            )
        try:
            return data, self._decoder.decode(data[3:])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise WrongType(f"a row of {self.table} is not what its type says: {error}") from error

    def decode(self, key: bytes, data: bytes, keyring: Keyring) -> Row:
        """The row that was stored under the full key `key`.

        Raises Erased, UnknownSchema, RowDamaged, KeysMissing."""
        if data[0] == SEALED:
            data = PLAIN + unseal(key, data, keyring)
        try:
            if data[:3] == self._prefix:
                return self._decoder.decode(data[3:])
            return self._upgraded(int.from_bytes(data[1:3], "big"), data[3:])
        except msgspec.MsgspecError as error:
            raise RowDamaged(
                f"a row of {self.table} is not what its schema says ({error}): its fields were "
                "changed without a new schema number, or it is damaged"
            ) from error

    def is_current(self, data: bytes, key: bytes, keyring: Keyring) -> bool:
        """The bytes are of today's schema (or of someone erased, which nobody can lift)."""
        if data[0] == SEALED:
            try:
                return unseal(key, data, keyring)[:2] == self._number
            except Erased:
                return True
        return data[:3] == self._prefix

    def _upgraded(self, schema: int, body: bytes) -> Row:
        fields = msgspec.msgpack.decode(body)
        for number in range(schema, self.schema):
            upgrade = self.upgrades.get(number)
            if upgrade is None:
                raise self._unknown(schema, number)
            fields = upgrade(fields)
        if schema > self.schema:
            raise self._unknown(schema, schema)
        if unknown := self.unknown(fields):
            raise UnknownSchema(
                f"a row of {self.table} lifted from schema {schema} to {self.schema} has a field that "
                f"{self.row.__name__} has not ({', '.join(unknown)}): have the upgrade take it out or "
                "rename it"
            )
        return msgspec.convert(fields, self.row)

    def unknown(self, fields: object) -> list[str]:
        """The names of fields that the row's type has not; none if they are not named."""
        return sorted(map(str, fields.keys() - self._fields)) if isinstance(fields, dict) else []

    def _unknown(self, schema: int, number: int) -> UnknownSchema:
        what = (
            f"give the table an upgrade for {number}"
            if number < self.schema
            else "run the newer program that wrote it"
        )
        return UnknownSchema(
            f"a row of {self.table} has schema {schema} and this program has {self.schema}: {what}"
        )

    def digest(self) -> str:
        """16 hex digits that change with the names and types of the fields, nested ones included.

        Raises WrongType."""
        try:
            shape = _shape(msgspec.inspect.type_info(self.row), set())
        except TypeError as error:
            raise WrongType(f"rows of {self.table} can't be stored: {error}") from error
        return hashlib.blake2b(msgspec.json.encode(shape), digest_size=8).hexdigest()


_NO_SHAPE: Final = {"title", "description", "examples", "extra_json_schema", "extra", "default",
                    "default_factory", "cls"}  # fmt: skip
"""Of msgspec's description of a type: what does not change the bytes."""


def _shape(node: object, above: set[object]) -> object:
    cls = getattr(node, "cls", None)
    if isinstance(node, msgspec.inspect.EnumType):
        return [member.value for member in node.cls]
    if isinstance(node, msgspec.inspect.CustomType):
        raise TypeError(f"MessagePack has nothing for {node.cls!r}")
    if cls is not None and cls in above:
        return str(cls)  # a type that holds itself
    if isinstance(node, tuple | list):
        return [_shape(child, above) for child in node]
    if isinstance(node, msgspec.Struct):
        inside = above | {cls}
        fields = [name for name in node.__struct_fields__ if name not in _NO_SHAPE]
        return {
            type(node).__name__: [[name, _shape(getattr(node, name), inside)] for name in fields]
        }
    return node


def fields_of(key: bytes, data: bytes, keyring: Keyring) -> dict[str, Any]:
    """A row as the dict of its fields, whatever its schema. Raises Erased."""
    if data[0] == SEALED:
        data = PLAIN + unseal(key, data, keyring)
    fields: dict[str, Any] = msgspec.msgpack.decode(data[3:])
    return fields


def seal(key: bytes, plain: bytes, subject: int, lsn: int, keyring: Keyring) -> bytes:
    """The sealed form of a row's plain bytes, bound to its table, key and LSN. Raises Erased."""
    header = bytes((SEALED,)) + subject.to_bytes(5, "big") + lsn.to_bytes(8, "big")
    return header + keyring.seal(subject, plain[1:], header + key)


def unseal(key: bytes, data: bytes, keyring: Keyring) -> bytes:
    """A sealed row's schema number and body. Raises Erased, KeysMissing."""
    header = data[:_SEALED_HEADER]
    return keyring.open(int.from_bytes(header[1:6], "big"), data[_SEALED_HEADER:], header + key)
