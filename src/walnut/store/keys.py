"""Keys: values as bytes, so that comparing the bytes compares the values.

    ("h9", 2)  ─encode─▶  02 68 39 00 | 15 02  ─decode─▶  ("h9", 2)

The encoding is the tuple layer of FoundationDB (its spec: design/tuple.md), with a datetime and a
date added in the codes that it leaves to its users. docs/store-format.md has it to the byte.

What must stay true: a < b as tuples if and only if encode(a) < encode(b) as bytes; encode(a + b) is
encode(a) + encode(b), so that the beginning of a tuple is the beginning of its bytes; and values of
different types never compare equal: they sort by type, in the order
None, bytes, str, tuple, int, float, False, True, UUID, datetime, date.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
import uuid
from collections.abc import Callable
from typing import Final, Union, cast

from walnut.store.errors import InvalidKey

Part = Union[
    None, bytes, str, int, float, bool, uuid.UUID, dt.datetime, dt.date, "tuple[Part, ...]"
]
Key = Part
"""A single value, or a tuple of values; a single value is the same key as a tuple of it alone."""

MAX_KEY_BYTES: Final = 4096

_NONE, _BYTES, _STR, _TUPLE, _ZERO = 0x00, 0x01, 0x02, 0x05, 0x14
_FLOAT, _FALSE, _TRUE, _UUID, _DATETIME, _DATE = 0x21, 0x26, 0x27, 0x30, 0x40, 0x41
_U64: Final = struct.Struct(">Q")
_U32: Final = struct.Struct(">I")
_F64: Final = struct.Struct(">d")
_SIGN64: Final = 1 << 63
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_ALL: Final = (1 << 64) - 1


def encode(key: Key) -> bytes:
    """The bytes of a key. Raises InvalidKey."""
    # Text without zeros and numbers, which is what most keys are made of, take the shortest way.
    try:
        if type(key) is str and "\0" not in key:
            data = b"\x02%b\0" % key.encode()
        else:
            data = b"".join(
                [
                    b"\x02%b\0" % part.encode()
                    if type(part) is str and "\0" not in part
                    else (_integer(part) if type(part) is int else _part(part))
                    for part in (key if type(key) is tuple else (key,))
                ]
            )
    except UnicodeEncodeError as error:
        raise InvalidKey(f"a key holds text that is not Unicode ({error.reason})") from error
    except RecursionError as error:
        raise InvalidKey("the tuples in the key are too deep: use flatter ones") from error
    if len(data) > MAX_KEY_BYTES:
        raise InvalidKey(
            f"the key takes {len(data)} bytes and may take {MAX_KEY_BYTES}: use a shorter one, "
            "or a digest"
        )
    return data


def same(a: object, b: object) -> bool:
    """Whether two keys are the same one, which equal values of different types are not; False where it
    takes encoding them to tell."""
    if type(a) is not type(b) or a != b or type(a) is list:
        return False
    return not isinstance(a, tuple) or all(
        type(one) is type(other) and type(one) is not tuple
        for one, other in zip(a, cast("tuple[object, ...]", b), strict=True)
    )


def _part(value: object) -> bytes:
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        raise InvalidKey(
            f"a key can't hold a {type(value).__name__}: use str, bytes, int, float, bool, UUID, "
            "datetime, date, None, or a tuple of them"
        )
    return encoder(value)


def _text(value: str) -> bytes:
    return b"\x02%b\0" % value.encode().replace(b"\0", b"\0\xff")


def _integer(value: int) -> bytes:
    size = (value.bit_length() + 7) >> 3
    if 0 <= value <= _ALL:
        return _CODES[size] + value.to_bytes(size, "big")
    if size > 8:
        raise InvalidKey(f"{value} in a key: whole numbers there have at most 64 bits and a sign")
    return _CODES[-size] + (value + (1 << 8 * size) - 1).to_bytes(size, "big")


_CODES: Final = {size: bytes((_ZERO + size,)) for size in range(-8, 9)}


def _float(value: float) -> bytes:
    if math.isnan(value):
        raise InvalidKey("NaN in a key has no place in any order: use None or another mark")
    bits = int.from_bytes(_F64.pack(value + 0.0), "big")  # + 0.0: there is one zero
    return b"\x21" + _U64.pack(bits ^ (_ALL if bits & _SIGN64 else _SIGN64))


def _datetime(value: dt.datetime) -> bytes:
    if value.tzinfo is None:
        raise InvalidKey(f"{value!r} in a key has no time zone: use an aware datetime")
    return b"\x40" + _U64.pack((value - _EPOCH) // _MICROSECOND + _SIGN64)


def _nested(value: tuple[Part, ...]) -> bytes:
    parts = (b"\0\xff" if part is None else _part(part) for part in value)
    return b"\x05" + b"".join(parts) + b"\0"


_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    type(None): lambda _: b"\0",
    bytes: lambda value: b"\x01" + value.replace(b"\0", b"\0\xff") + b"\0",
    str: _text,
    tuple: _nested,
    int: _integer,
    float: _float,
    bool: lambda value: b"\x27" if value else b"\x26",
    uuid.UUID: lambda value: b"\x30" + value.bytes,
    dt.datetime: _datetime,
    dt.date: lambda value: b"\x41" + _U32.pack(value.toordinal()),
}


def decode(data: bytes) -> tuple[Part, ...]:
    """The values that `encode` made these bytes of. Raises InvalidKey for any other bytes."""
    parts: list[Part] = []
    at = 0
    try:
        while at < len(data):
            part, at = _read(data, at)
            parts.append(part)
    except (IndexError, ValueError, OverflowError, RecursionError, struct.error) as error:
        raise InvalidKey(f"the bytes {data[:40].hex()} are not a key ({error})") from error
    return tuple(parts)


def plain(parts: tuple[Part, ...]) -> Key:
    """A tuple of one value as that value (unless that is a tuple, which would be another key)."""
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], tuple) else parts


def _read(data: bytes, at: int) -> tuple[Part, int]:
    code = data[at]
    at += 1
    if code in {_BYTES, _STR}:
        raw, at = _terminated(data, at)
        return (raw if code == _BYTES else raw.decode()), at
    if _ZERO - 8 <= code <= _ZERO + 8:
        return _read_integer(data, at, code - _ZERO)
    if code == _TUPLE:
        return _read_nested(data, at)
    size = _SIZES.get(code)
    if size is None or at + size > len(data):
        raise ValueError(f"type code {code:#04x} at byte {at - 1}")
    return _fixed(code, data[at : at + size]), at + size


_SIZES: Final = {_NONE: 0, _FALSE: 0, _TRUE: 0, _FLOAT: 8, _UUID: 16, _DATETIME: 8, _DATE: 4}


def _fixed(code: int, raw: bytes) -> Part:
    number = int.from_bytes(raw, "big")
    if code == _FLOAT:
        bits = number ^ (_SIGN64 if number & _SIGN64 else _ALL)
        value: float = _F64.unpack(_U64.pack(bits))[0]
        return value
    if code == _UUID:
        return uuid.UUID(bytes=raw)
    if code == _DATETIME:
        return _EPOCH + (number - _SIGN64) * _MICROSECOND
    if code == _DATE:
        return dt.date.fromordinal(number)
    return None if code == _NONE else code == _TRUE


def _terminated(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.index(b"\0", at)
    while data[end + 1 : end + 2] == b"\xff":
        end = data.index(b"\0", end + 2)
    return data[at:end].replace(b"\0\xff", b"\0"), end + 1


def _read_integer(data: bytes, at: int, size: int) -> tuple[int, int]:
    end = at + abs(size)
    if end > len(data):
        raise ValueError("it ends inside a number")
    number = int.from_bytes(data[at:end], "big")
    return (number if size >= 0 else number - (1 << -8 * size) + 1), end


def _read_nested(data: bytes, at: int) -> tuple[tuple[Part, ...], int]:
    parts: list[Part] = []
    while data[at] != _NONE or data[at + 1 : at + 2] == b"\xff":
        if data[at] == _NONE:
            parts.append(None)
            at += 2
        else:
            part, at = _read(data, at)
            parts.append(part)
    return tuple(parts), at + 1
