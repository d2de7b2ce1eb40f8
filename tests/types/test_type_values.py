"""Values of the type vocabulary: what is taken, what is refused and how, records as Python objects."""

from __future__ import annotations

import copy
import enum
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.errors import BpfError, PackError
from pybpf.types import Int, Struct, array_of, bool_, char, layout, s8, s16, s32, u8, u16, u32, u64

pytestmark = pytest.mark.pure


class Point(Struct):
    x: s32
    y: s32


class Event(Struct):
    pid: u32
    ok: bool_
    comm: char[8]
    raw: u8[3]
    at: Point
    path: Point[2]
    times: u64[2]


class Later(Event):
    extra: u16


class Color(enum.IntEnum):
    RED = 1


EVENT = Event(7, True, "cat", b"abc", Point(1, -2), (Point(3, 4), Point(5, 6)), (8, 9))


def test_fields_by_name_index_and_unpacking() -> None:
    pid, ok, comm, raw, at, path, times = EVENT
    assert (pid, ok, comm, raw, at, path, times) == (7, True, "cat", b"abc", (1, -2), (Point(3, 4), (5, 6)), (8, 9))
    assert EVENT.pid == EVENT[0] == 7
    assert EVENT[2:4] == ("cat", b"abc")
    assert EVENT[-1] == (8, 9)
    assert len(EVENT) == 7
    assert EVENT.at.y == -2
    assert EVENT.path[1].x == 5
    assert isinstance(EVENT.ok, bool)
    assert repr(EVENT.at) == "Point(x=1, y=-2)"
    assert "comm='cat'" in repr(EVENT)
    with pytest.raises(AttributeError):
        EVENT.pid = 8  # type: ignore[misc]
    with pytest.raises(AttributeError):
        EVENT.other = 8  # type: ignore[attr-defined]
    with pytest.raises(IndexError):
        EVENT[7]


def test_zero_is_the_default_and_replace_copies() -> None:
    assert Event() == Event(0, False, "", bytes(3), Point(), (Point(), Point()), (0, 0))
    assert Event(comm="x").comm == "x"
    changed = EVENT._replace(pid=1, at=Point(9, 9))
    assert (changed.pid, changed.at.x, changed.comm, EVENT.pid) == (1, 9, "cat", 7)
    assert EVENT._asdict()["at"] == Point(1, -2)


def test_inherited_fields_come_first() -> None:
    assert list(Later.__layout__.fields) == [*Event.__layout__.fields, "extra"]
    assert Later(pid=1, extra=2).extra == 2


def test_equality_and_hashing_are_those_of_values() -> None:
    assert Event(1) == Event(1) and hash(Event(1)) == hash(Event(1))
    assert Event(1) != Event(2)
    assert {Point(1, 2): "a"}[Point(1, 2)] == "a"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_records_pickle_and_copy(protocol: int) -> None:
    again = pickle.loads(pickle.dumps(EVENT, protocol))
    assert again == EVENT and type(again) is Event and again.at.x == 1
    assert copy.copy(EVENT) == copy.deepcopy(EVENT) == EVENT
    number = pickle.loads(pickle.dumps(u32(5), protocol))
    assert number == 5 and type(number) is u32


@given(st.integers(-(1 << 70), 1 << 70))
def test_integers_wrap_as_in_c(number: int) -> None:
    assert u8(number) == number % 256
    assert s16(number) == (number + 0x8000) % 0x10000 - 0x8000
    assert isinstance(u64(number), Int) and 0 <= u64(number) < 1 << 64


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (u8, 256), (u8, -1), (s8, 128), (s8, -129), (u32, 1.0), (u32, "1"), (u32, None), (u32, int), (u32, [1]),
        (u64, 1 << 64), (bool_, 2), (bool_, "yes"), (bool_, None), (char[4], "hello"), (char[4], "\u20ac\u20ac"),
        (char[4], 5), (char[4], None), (char[4], "\ud800"), (u8[2], b"abc"), (u8[2], b"a"), (u8[2], 2), (u8[2], "ab"),
        (u8[2], [256, 0]), (u8[2], None), (u16[2], (1,)), (u16[2], (1, 2, 3)), (u16[2], 5), (u16[2], (1, -1)),
        (u16[2], None), (Point, (1,  2, 3)), (Point, 5), (Point, EVENT), (Point, None), (Point, (1, "b")),
        (Point[2], (Point(), 5)), (Event, Point()),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(PackError) as caught:
        layout(kind).pack(value)
    assert isinstance(caught.value, (BpfError, ValueError))
    assert "cannot store" in str(caught.value) or "Point" in str(caught.value)


@given(st.sampled_from([u32, s8, bool_, char[4], u8[2], u16[2], Point, Event, Point[2]]), st.from_type(type).flatmap(
    lambda kind: st.one_of(st.none(), st.text(), st.binary(), st.floats(), st.lists(st.integers()), st.just(kind))
))  # fmt: skip
def test_nothing_but_pack_error_comes_of_bad_values(kind: Any, value: Any) -> None:
    try:
        packed = layout(kind).pack(value)
    except PackError:
        return
    assert len(packed) == layout(kind).size


def test_what_is_taken() -> None:
    assert layout(u32).pack(Color.RED) == layout(u32).pack(True) == layout(u32).pack(u8(1))
    assert [layout(char[4]).pack(value) for value in (b"ab", "ab", bytearray(b"ab"))] == [b"ab\0\0"] * 3
    assert layout(char[4]).unpack(b"abcd") == "abcd"
    assert layout(char[4]).unpack(b"a\0xy") == "a"
    assert layout(char[4]).unpack(b"\xff\0\0\0") == "\udcff"
    assert layout(char[4]).pack("\udcff") == b"\xff\0\0\0"
    assert layout(u8[2]).pack([1, 2]) == layout(u8[2]).pack(memoryview(b"\1\2")) == b"\1\2"
    assert layout(u16[2]).pack(iter([1, 2])) == layout(u16[2]).pack([1, 2])
    assert layout(Point).pack((1, 2)) == layout(Point).pack([1, 2]) == layout(Point).pack(Point(1, 2))
    assert layout(bool_).pack(1) == b"\1" and layout(bool_).unpack(b"\7") is True


@pytest.mark.parametrize(
    ("arguments", "named", "text"),
    [
        ((1, 2, 3), {}, "Point has 2 fields, but 3 values were given"),
        ((), {"z": 1}, "field 'z' is unknown; the fields are x, y"),
        ((1,), {"x": 1}, "field 'x' is given twice"),
        ((1 << 40,), {}, "Point.x: cannot store 1099511627776 in s32"),
    ],
)
def test_construction_errors(arguments: tuple[int, ...], named: dict[str, int], text: str) -> None:
    with pytest.raises(PackError, match=text):
        Point(*arguments, **named)


def test_too_few_bytes() -> None:
    with pytest.raises(PackError, match="cannot read struct Point at offset 0"):
        layout(Point).unpack(b"1234567")
    with pytest.raises(PackError, match="at offset 4"):
        layout(Point).unpack(bytes(8), 4)
    with pytest.raises(PackError, match="run of struct Point"):
        layout(Point).iter_unpack(bytes(12))
    assert list(layout(Point).iter_unpack(b"")) == []


@pytest.mark.parametrize("kind", [int, "u32", None, Point(1, 2), Int, Struct])
def test_what_is_not_a_type(kind: Any) -> None:
    with pytest.raises(TypeError, match="not a pybpf type"):
        layout(kind)


@pytest.mark.parametrize("length", [0, -1, 1.5, "4", True, None])
def test_bad_array_lengths(length: Any) -> None:
    with pytest.raises(TypeError, match="array's length"):
        u32[length]
    with pytest.raises(TypeError, match="not a pybpf type"):
        array_of(int, 3)


def test_bad_fields_are_named() -> None:
    with pytest.raises(TypeError, match=r"Bad.x: <class 'int'> is not a pybpf type"):

        class Bad(Struct):
            x: int

    with pytest.raises(TypeError, match=r"Worse.x: name 'u33' is not defined"):

        class Worse(Struct):
            x: u33  # noqa: F821

    with pytest.raises(TypeError, match="underscore"):

        class Hidden(Struct):
            _x: u32


def test_types_that_are_known_only_where_the_class_stands() -> None:
    length = 3
    inner = u16[length]

    class Local(Struct):
        a: inner  # type: ignore[valid-type]
        b: char[length]  # type: ignore[valid-type]

    assert layout(Local).size == 6 + 3 + 1
    assert Local(b="xyz").b == "xyz"
