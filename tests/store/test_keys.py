"""Keys: the order of the bytes is the order of the values."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walnut.store.errors import InvalidKey
from walnut.store.keys import Part, decode, encode, plain, same

RANK = [type(None), bytes, str, tuple, int, float, bool, uuid.UUID, dt.datetime, dt.date]

scalars = st.one_of(
    st.none(),
    st.binary(max_size=8),
    st.text(max_size=8),
    st.integers(-(2**64) + 1, 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.uuids(),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.dates(),
)
parts = st.recursive(
    scalars, lambda inner: st.tuples(inner) | st.tuples(inner, inner), max_leaves=4
)
tuples = st.lists(parts, max_size=4).map(tuple)


def before(a: tuple[Part, ...], b: tuple[Part, ...]) -> bool:
    """a < b, as the docs order values."""
    for x, y in zip(a, b, strict=False):
        if type(x) is not type(y):
            return RANK.index(type(x)) < RANK.index(type(y))
        if isinstance(x, tuple) and isinstance(y, tuple):
            if x != y:
                return before(x, y)
        elif isinstance(x, str) and isinstance(y, str):
            if x != y:
                return x.encode() < y.encode()
        elif x != y:
            return bool(x < y)  # type: ignore[operator]
    return len(a) < len(b)


@given(tuples)
def test_decode_gives_back_what_was_encoded(key: tuple[Part, ...]) -> None:
    assert decode(encode(key)) == key


@given(tuples, tuples)
def test_keys_that_are_the_same_have_the_same_bytes(
    a: tuple[Part, ...], b: tuple[Part, ...]
) -> None:
    assert not same(a, b) or encode(a) == encode(b)
    assert same(a, a) or any(isinstance(part, tuple) for part in a)


@pytest.mark.parametrize(("a", "b"), [(1, True), (1, 1.0), (("a", 0), ("a", False)), ([1], [1])])
def test_equal_values_of_different_types_are_different_keys(a: Part, b: Part) -> None:
    assert not same(a, b)


@given(tuples, tuples)
def test_bytes_sort_as_values_do(a: tuple[Part, ...], b: tuple[Part, ...]) -> None:
    assert (encode(a) < encode(b)) == before(a, b)


@given(tuples, tuples)
def test_a_prefix_of_a_key_is_a_prefix_of_its_bytes(
    a: tuple[Part, ...], b: tuple[Part, ...]
) -> None:
    assert encode((*a, *b)) == encode(a) + encode(b)


@given(st.binary(max_size=40))
def test_no_bytes_crash_the_decoder(data: bytes) -> None:
    with contextlib.suppress(InvalidKey):
        assert isinstance(decode(data), tuple)


@given(scalars)
def test_a_single_value_is_the_tuple_of_it(value: Part) -> None:
    assert encode(value) == encode((value,))
    assert plain(decode(encode(value))) == value


@pytest.mark.parametrize(
    ("key", "encoded"),
    [  # from the specification of FoundationDB's tuple layer, and two of our own
        (b"foo\x00bar", "01666f6f00ff62617200"),
        ("FÔO\x00bar", "0246c3944f00ff62617200"),
        ((("foo\x00bar", None, ()),), "0502666f6f00ff6261720000ff050000"),
        (-5551212, "11ab4b93"),
        (0, "14"),
        (-42.0, "213fbaffffffffffff"),
        (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), "408000000000000000"),
        (dt.date(2026, 11, 24), "41000b4a68"),
    ],
)
def test_vectors(key: Part, encoded: str) -> None:
    assert encode(key).hex() == encoded


@pytest.mark.parametrize(
    "key",
    [
        2**64, float("nan"), dt.datetime(2026, 1, 1), object(), [1], "x" * 5000, ({},), "\ud800",  # noqa: DTZ001
    ],
)  # fmt: skip
def test_what_keys_can_not_hold_is_refused_by_name(key: Part) -> None:
    with pytest.raises(InvalidKey):
        encode(key)


def test_keys_that_are_too_deep_are_refused_by_name() -> None:
    key: Part = ()
    for _ in range(5000):
        key = (key,)
    with pytest.raises(InvalidKey, match="deep"):
        encode(key)
    with pytest.raises(InvalidKey):
        decode(b"\x05" * 4000)
