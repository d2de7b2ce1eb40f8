"""Views: values of BTF types, as keys and values of maps."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest

from pybpf.btf import Btf, BtfBuilder, kinds
from pybpf.errors import BtfError, PackError
from pybpf.types import Struct, layout, sizeof, u8, u16, u32, u64

ORDER: Any = sys.byteorder


def make() -> Btf:
    b = BtfBuilder()
    number, char, byte = b.int("int", 4, signed=True), b.int("char", 1, signed=True), b.int("unsigned char", 1)
    flag, color = b.int("_Bool", 1, encoding=4), b.enum("color", [("RED", 0), ("BLUE", 7), ("AZURE", 7)])
    point = b.struct("point", 8, [("x", number, 0), ("y", number, 32)])
    inner = b.union("", 8, [("whole", b.int("long", 8), 0), ("", b.struct("", 8, [("low", number, 0)]), 0)])
    text, mac = b.array(char, 6), b.array(byte, 6)
    b.typedef("thing_t", b.struct("thing", 80, [
        ("where", point, 0), ("", inner, 64), ("text", text, 128), ("mac", mac, 176), ("flag", flag, 224),
        ("color", color, 256), ("path", b.array(point, 2), 288), ("next", b.ptr(), 448),
        ("lines", b.array(text, 2), 512),
        ("class", char, 608), ("tail", b.array(number, 0), 640), ("rest", b.array(char, 0), 640),
    ]))  # fmt: skip
    b.int("__int128", 16)
    b.put(kinds.Float("double", 8))
    return Btf.from_bytes(b.bytes())


@pytest.fixture(scope="module")
def btf() -> Btf:
    return make()


def test_members(btf: Btf) -> None:
    thing = btf.ctype("thing_t")
    assert thing is btf.ctype("struct thing") and (sizeof(thing), layout(thing).align) == (80, 8)
    data = bytearray(80)
    data[0:8] = (5).to_bytes(4, ORDER) + (-6).to_bytes(4, ORDER, signed=True)
    data[8:16] = (7).to_bytes(4, ORDER) + bytes(4)
    data[16:22] = b"ab\0cde"
    data[22:28] = b"\1\2\3\0\5\6"
    data[28] = 1
    data[32:36] = (7).to_bytes(4, ORDER)
    data[36:52] = b"".join(n.to_bytes(4, ORDER) for n in (1, 2, 3, 4))
    data[56:64] = (0xFFFF888000000000).to_bytes(8, ORDER)
    data[64:76] = b"one\0..twelve"
    data[76] = ord("c")
    value = layout(thing).unpack(data)
    assert (value.where.x, value.where.y, value.low) == (5, -6, 7)
    assert (value.text, value.mac, value.flag) == ("ab", b"\1\2\3\0\5\6", True)
    assert (value.color, value.color.name, repr(value.color)) == (7, "BLUE", "BLUE")
    assert [(p.x, p.y) for p in value.path] == [(1, 2), (3, 4)]
    assert (value.next, value.lines, value["class"]) == (0xFFFF888000000000, ("one", "twelve"), ord("c"))
    assert value.tail == () and value.rest == ()
    assert bytes(value) == bytes(data) and layout(thing).pack(value) == bytes(data)
    assert repr(value).startswith("thing(where=point(x=5, y=-6), text='ab', mac=b'")
    assert "low" in dir(value) and {value: 1}[layout(thing).unpack(data)] == 1
    assert copy.copy(value) == value
    with pytest.raises(AttributeError, match="no member 'nosuch'"):
        _ = value.nosuch
    with pytest.raises(KeyError):
        value["nosuch"]


def test_make(btf: Btf) -> None:
    thing, point = btf.ctype("thing_t"), btf.ctype("point")
    value = thing(where=point(x=1, y=2), path=[point(x=3), {"y": 4}], color="BLUE", text="hi", low=9, flag=True)
    assert (value.where, value.path[1].y, value.color, value.text, value.low) == (point(x=1, y=2), 4, 7, "hi", 9)
    assert value != thing() and value != bytes(value)
    for wrong in (
        {"nosuch": 1}, {"low": 1 << 31}, {"text": "too long"}, {"mac": b"short"}, {"path": [point()]}, {"path": 5},
        {"color": "GREEN"}, {"color": 1 << 32}, {"where": 5}, {"where": {"z": 1}}, {"next": -1}, {"": 1},
    ):  # fmt: skip
        with pytest.raises(PackError):
            thing(**wrong)


def test_scalars(btf: Btf) -> None:
    assert btf.ctype("long") is u64 and btf.ctype("unsigned char") is u8
    color = btf.ctype("enum color")
    assert color(7).name == "BLUE" and color(3).name == "" and repr(color(3)) == "3"
    assert layout(color).pack("BLUE") == layout(color).pack(7)
    assert layout(btf.ctype("__int128")).unpack(bytes(range(16))) == bytes(range(16))
    assert sizeof(btf.ctype("double")) == 8
    with pytest.raises(BtfError):
        btf.ctype(0)
    with pytest.raises(BtfError):
        btf.ctype("nosuch")


def test_in_structs_and_runs(btf: Btf) -> None:
    point, color = btf.ctype("point"), btf.ctype("color")

    class Key(Struct):
        pid: u32
        where: point  # type: ignore[valid-type]
        kind: color  # type: ignore[valid-type]
        pair: point[2]  # type: ignore[valid-type]
        small: u16

    key = Key(pid=1, where=point(x=2, y=3), kind="BLUE", pair=(point(x=4), point(x=5)))
    again = layout(Key).unpack(layout(Key).pack(key))
    assert (again.pid, again.where.y, again.kind.name, again.pair[1].x) == (1, 3, "BLUE", 5)
    run = b"".join(layout(point).pack(point(x=n)) for n in range(5))
    assert [value.x for value in layout(point).iter_unpack(run)] == [0, 1, 2, 3, 4]
    with pytest.raises(PackError):
        layout(point).unpack(b"short")
    with pytest.raises(PackError):
        list(layout(point).iter_unpack(b"short"))


def test_hostile_structs() -> None:
    b = BtfBuilder()
    number = b.int("int", 4)
    beyond = b.struct("beyond", 4, [("x", number, 32), ("y", number, 4), ("z", number, 30, 4), ("w", number, 0, 33)])
    itself = b.struct("itself", 4, [("x", 4, 0), ("y", 4, 0)])
    assert itself == 3
    assert b.struct("loop", 4, [("x", 4, 0), ("y", 5, 0)]) == 4
    assert b.put(kinds.Array("", 4, number, 1)) == 5
    btf = Btf.from_bytes(b.bytes())
    for type_id in (itself, 4, 5):
        with pytest.raises(BtfError, match="itself"):
            btf.ctype(type_id)
    value = layout(btf.ctype(beyond)).unpack(bytes(4))
    for name in "xyzw":
        with pytest.raises(BtfError):
            getattr(value, name)


def test_repr_of_much_is_short() -> None:
    b = BtfBuilder()
    byte = b.int("s", 1, signed=True)
    unit = b.struct("unit", 1, [("x", byte, 0)])
    big = b.struct("big", 1 << 14, [("all", b.array(unit, 1 << 14), 0)])
    value = Btf.from_bytes(b.bytes()).ctype(big)()
    assert 1000 < len(repr(value)) < 20000 and repr(value).endswith("...))")
    many = b.struct("many", 1 << 22, [("all", b.array(b.array(unit, 1 << 11), 1 << 11), 0)])
    huge = Btf.from_bytes(b.bytes()).ctype(many)()
    with pytest.raises(BtfError, match="elements"):
        _ = huge.all
