"""The type vocabulary against the C compiler's rules, as ctypes knows them: sizes, offsets, bytes, values."""

from __future__ import annotations

import ctypes
import string
import types
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.types import Array, Struct, bool_, char, layout, s8, s16, s32, s64, sizeof, u8, u16, u32, u64

pytestmark = pytest.mark.pure


class Pair(NamedTuple):
    """A type here, the same in ctypes, and the values it takes."""

    ours: Any
    theirs: Any
    values: st.SearchStrategy[Any]


def _integer(ours: Any, theirs: Any) -> Pair:
    made = layout(ours)
    return Pair(ours, theirs, st.integers(made.minimum, made.maximum))  # type: ignore[attr-defined]


_INTEGERS = [
    _integer(u8, ctypes.c_uint8), _integer(u16, ctypes.c_uint16), _integer(u32, ctypes.c_uint32),
    _integer(u64, ctypes.c_uint64), _integer(s8, ctypes.c_int8), _integer(s16, ctypes.c_int16),
    _integer(s32, ctypes.c_int32), _integer(s64, ctypes.c_int64),
]  # fmt: skip
_SCALARS = [*_INTEGERS, Pair(bool_, ctypes.c_bool, st.booleans())]


def _text(length: int) -> Pair:
    # what os.fsdecode gives for any bytes without NUL, trailing NULs being what fills the array
    values = st.binary(max_size=length).map(lambda raw: raw.split(b"\0")[0].decode("utf-8", "surrogateescape"))
    return Pair(char[length], ctypes.c_char * length, values)


def _blob(length: int) -> Pair:
    return Pair(u8[length], ctypes.c_uint8 * length, st.binary(min_size=length, max_size=length))


def _array(pair: Pair, length: int) -> Pair:
    if pair.ours is u8:
        return _blob(length)
    values = st.lists(pair.values, min_size=length, max_size=length).map(tuple)
    return Pair(pair.ours[length], pair.theirs * length, values)


def _struct(pairs: list[Pair], packed: bool) -> Pair:
    names = list(string.ascii_lowercase[: len(pairs)])
    fields = {name: pair.ours for name, pair in zip(names, pairs)}
    made = types.new_class("Made", (Struct,), {"packed": packed}, lambda space: space.update(__annotations__=fields))
    members: dict[str, Any] = {"_fields_": [(name, pair.theirs) for name, pair in zip(names, pairs)]}
    if packed:
        members = {"_pack_": 1, "_layout_": "ms", **members}
    other = type("Other", (ctypes.Structure,), members)
    return Pair(made, other, st.tuples(*(pair.values for pair in pairs)).map(lambda values: made(*values)))


_lengths = st.integers(1, 5)
_leaves = st.one_of(st.sampled_from(_SCALARS), _lengths.map(_text), _lengths.map(_blob))
_types = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(_array, inner, st.integers(1, 3)),
        st.builds(_struct, st.lists(inner, min_size=1, max_size=5), st.booleans()),
    ),
    max_leaves=12,
)


def _same(ours: Any, theirs: Any) -> bool:
    """Whether a value and what ctypes reads at the same place agree."""
    if isinstance(ours, Struct):
        names = layout(type(ours)).fields  # type: ignore[attr-defined]
        return all(_same(getattr(ours, name), getattr(theirs, name)) for name in names)
    if isinstance(ours, str):
        theirs = getattr(theirs, "value", theirs)  # ctypes cuts it at the NUL too
        return bool(ours.encode("utf-8", "surrogateescape") == theirs)
    if isinstance(ours, (bytes, tuple)):
        return len(ours) == len(theirs) and all(_same(one, other) for one, other in zip(ours, theirs))
    return bool(ours == theirs)


@given(st.data(), _types)
def test_layout_is_that_of_c(data: st.DataObject, pair: Pair) -> None:
    made = layout(pair.ours)
    assert (made.size, made.align) == (ctypes.sizeof(pair.theirs), ctypes.alignment(pair.theirs))
    assert sizeof(pair.ours) == made.size == made.code.size
    value = data.draw(pair.values)
    packed = made.pack(value)
    assert len(packed) == made.size
    assert len(made.code.unpack(packed)) == made.width
    assert made.unpack(packed) == value
    other = pair.theirs.from_buffer_copy(packed)
    assert _same(made.unpack(packed), getattr(other, "value", other))
    if issubclass(pair.ours, Struct):
        for name, field in made.fields.items():  # type: ignore[attr-defined]
            assert field.offset == getattr(pair.theirs, name).offset


@given(st.data(), _types)
def test_runs_and_offsets(data: st.DataObject, pair: Pair) -> None:
    made = layout(pair.ours)
    values = data.draw(st.lists(pair.values, min_size=1, max_size=4))
    run = b"".join(map(made.pack, values))
    assert list(made.iter_unpack(run)) == values
    assert list(made.iter_unpack(memoryview(run))) == values
    for index, value in enumerate(values):
        assert made.unpack(b"?" + run, 1 + index * made.size) == value


@given(_types, st.data())
def test_any_bytes_decode_and_pack_again(pair: Pair, data: st.DataObject) -> None:
    """Whatever memory holds can be read; what was read can be stored and reads the same."""
    made = layout(pair.ours)
    raw = data.draw(st.binary(min_size=made.size, max_size=made.size))
    value = made.unpack(raw)
    assert made.unpack(made.pack(value)) == value


def test_padding_is_zeroed() -> None:
    class Padded(Struct):
        a: u8
        b: u32
        c: u16

    assert Padded(1, 2, 3) == Padded(a=1, b=2, c=3)
    other = type("Other", (ctypes.Structure,), {
        "_fields_": [("a", ctypes.c_uint8), ("b", ctypes.c_uint32), ("c", ctypes.c_uint16)],
    })  # fmt: skip
    assert layout(Padded).pack(Padded(255, 0, 0)) == bytes(other(255, 0, 0))
    assert sizeof(Padded) == 12


def test_array_types_are_the_same_each_time() -> None:
    assert u32[4] is u32[4]
    assert u32[4] is not u32[5]
    assert issubclass(u32[4], Array)
    assert (u32[4].element, u32[4].length, u32[4].__name__) == (u32, 4, "u32[4]")
    assert u8[2][3].__layout__.unpack(b"abcdef") == (b"ab", b"cd", b"ef")
