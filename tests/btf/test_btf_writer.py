"""The writer: what is written reads back equal, and the kernel takes it."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest

from pybpf.btf import (
    Btf,
    BtfBuilder,
    Encoding,
    FuncInfo,
    LineInfo,
    btf_info,
    kinds,
    load_btf,
    pack_func_info,
    pack_line_info,
)
from pybpf.errors import BtfError, KernelError, NotFoundError
from pybpf.types import Struct, bool_, char, s8, s16, s32, s64, u8, u16, u32, u64

#: id 1 is an int, 2 a struct, 3 a prototype, 4 a variable
FIRST: list[kinds.BtfType] = [
    kinds.Int("int", 4, 1, 32),
    kinds.Struct("point", 8, (kinds.Field("x", 1, 0), kinds.Field("y", 1, 32))),
    kinds.FuncProto("", 1, (kinds.Parameter("a", 1), kinds.Parameter("", 0))),
    kinds.Var("counter", 1, 1),
]
#: one of each kind and form; the feature that a kernel needs to take it
EVERY: list[tuple[kinds.BtfType, str]] = [
    (kinds.Int("flag", 1, 4, 8), "btf"),
    (kinds.Int("old_bits", 4, 1, 5), "btf"),
    (kinds.Ptr("", 0), "btf"),
    (kinds.Array("", 2, 1, 7), "btf"),
    (kinds.Struct("bits", 4, (kinds.Field("low", 1, 0, 3), kinds.Field("high", 1, 3, 29))), "btf"),
    (kinds.Struct("empty", 0, ()), "btf"),
    (kinds.Struct("", 4, (kinds.Field("", 1, 0),)), "btf"),
    (kinds.Union("either", 8, (kinds.Field("a", 1, 0), kinds.Field("b", 2, 0))), "btf"),
    (kinds.Enum("color", 4, False, (kinds.Enumerator("RED", 0), kinds.Enumerator("BLUE", 7))), "btf"),
    (kinds.Enum("signed", 4, True, (kinds.Enumerator("MINUS", -2), kinds.Enumerator("PLUS", 2))), "btf_enum64"),
    (kinds.Enum64("wide", 8, True, (kinds.Enumerator("A", -(2**63)), kinds.Enumerator("B", 2**63 - 1))), "btf_enum64"),
    (kinds.Enum64("huge", 8, False, (kinds.Enumerator("ALL", 2**64 - 1),)), "btf_enum64"),
    (kinds.Fwd("later", False), "btf"),
    (kinds.Fwd("later", True), "btf"),
    (kinds.Typedef("number", 1), "btf"),
    (kinds.Volatile("", 1), "btf"),
    (kinds.Const("", 1), "btf"),
    (kinds.Restrict("", 1), "btf"),
    (kinds.Func("work", 3, 0), "btf"),
    (kinds.Func("shared", 3, 1), "btf_func_global"),
    (kinds.FuncProto("", 0, ()), "btf"),
    (kinds.Var("local", 1, 0), "btf"),
    (kinds.DataSec(".bss", 8, (kinds.SectionVar(4, 0, 4),)), "btf"),
    (kinds.Float("double", 8), "btf_float"),
    (kinds.DeclTag("any text: \"quoted\"", 2, -1), "btf_decl_tag"),
    (kinds.DeclTag("on a member", 2, 1), "btf_decl_tag"),
    (kinds.TypeTag("user", 1), "btf_type_tag"),
    (kinds.TypeTag("noderef", 1, True), "attributes"),
    (kinds.DeclTag("aligned(8)", 2, -1, True), "attributes"),
]


def built(types: list[kinds.BtfType]) -> BtfBuilder:
    builder = BtfBuilder()
    for expected, kind in enumerate(types, 1):
        assert builder.put(kind) == expected
    return builder


def test_every_kind_is_covered() -> None:
    assert {type(kind) for kind, _ in EVERY} | {type(kind) for kind in FIRST} == {
        type_ for type_ in vars(kinds).values() if isinstance(type_, type) and hasattr(type_, "_fields")
    } - {kinds.Void, kinds.Field, kinds.Enumerator, kinds.Parameter, kinds.SectionVar}


def test_round_trip() -> None:
    types = FIRST + [kind for kind, _ in EVERY]
    btf = Btf.from_bytes(built(types).bytes())
    assert [btf.type(number) for number in range(1, btf.count)] == types


@pytest.mark.root
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.needs(feature)) for kind, feature in EVERY if feature != "attributes"],
    ids=lambda kind: repr(kind)[:40],
)
def test_kernel_takes_each_kind(kind: kinds.BtfType) -> None:
    takes(kind)


@pytest.mark.root
@pytest.mark.needs("btf_decl_tag", "btf_type_tag")
@pytest.mark.parametrize("kind", [kind for kind, feature in EVERY if feature == "attributes"])
def test_newer_kernels_take_attributes(kind: kinds.BtfType) -> None:
    try:
        takes(kind)
    except KernelError as error:
        # Linux 6.15 allowed the flag; what the refusal must say tells it from a blob that is wrong.
        assert "kind_flag" in str(error)
        pytest.skip("tags that are attributes came with Linux 6.15")


def takes(kind: kinds.BtfType) -> None:
    with load_btf(built([*FIRST, kind]).bytes()) as fd:
        info = btf_info(fd)
        assert (info.name, info.kernel) == ("", False)
        again = Btf.from_id(info.id)
    assert again.type(again.count - 1) == kind


def test_equal_types_are_written_once() -> None:
    builder = BtfBuilder()
    number = builder.int("int", 4, signed=True)
    assert builder.int("int", 4, signed=True) == number
    assert builder.int("int", 4) != number
    const, volatile = builder.put(kinds.Const("", number)), builder.put(kinds.Volatile("", number))
    assert const != volatile  # equal as tuples
    assert builder.put(kinds.Const("", number)) == const
    assert builder.string("text") == builder.string("text") != builder.string("other")


class Inner(Struct):
    kind: u16
    ok: bool_


class Event(Struct):
    pid: u32
    comm: char[16]
    address: u8[6]
    inner: Inner[2]
    delta: s64
    small: s8
    medium: s16
    large: s32
    total: u64


@pytest.mark.root
def test_types_of_the_vocabulary() -> None:
    builder = BtfBuilder()
    added = builder.add(Event)
    assert builder.add(Event) == added
    btf = Btf.from_bytes(builder.bytes())
    load_btf(builder.bytes()).close()
    assert btf.find("struct", "Event") == added
    layout = Event.__layout__
    assert btf.size_of(added) == layout.size
    for name, field in layout.fields.items():
        member = btf.member(added, name)
        assert (member.offset, member.size) == (field.offset, field.layout.size), name
    assert btf.c(btf.member(added, "comm").type) == "char [16]"
    assert btf.c(btf.member(added, "inner").type) == "struct Inner [2]"
    assert [btf.member(added, name).signed for name in ("small", "medium", "large", "delta", "total")] == [
        True, True, True, True, False,
    ]  # fmt: skip
    flag = btf.type(btf.member(added, "inner[1].ok").type)
    assert isinstance(flag, kinds.Int) and flag.encoding == Encoding.BOOL
    # Seen through the view, the values are the same.
    value = Event(pid=7, comm="héllo", address=b"abcdef", inner=((1, True), (2, False)), delta=-5, small=-1, total=9)
    seen = btf.ctype(added).__layout__.unpack(layout.pack(value))
    assert (seen.pid, seen.comm, seen.address, seen.delta, seen.small, seen.total) == (7, "héllo", b"abcdef", -5, -1, 9)
    assert [(each.kind, each.ok) for each in seen.inner] == [(1, True), (2, False)]


def test_add_of_a_view() -> None:
    source = BtfBuilder()
    number = source.int("int", 4)
    point = source.struct("point", 8, [("x", number, 0), ("y", number, 32)])
    view = Btf.from_bytes(source.bytes()).ctype(point)
    builder = BtfBuilder()
    added = Btf.from_bytes(_bytes_with(builder, view))
    assert added.size_of(added.named("struct point")) == 8


def _bytes_with(builder: BtfBuilder, kind: type) -> bytes:
    builder.add(kind)
    return builder.bytes()


def test_split() -> None:
    below = BtfBuilder()
    number = below.int("int", 4, signed=True)
    point = below.struct("point", 8, [("x", number, 0), ("y", number, 32)])
    base = Btf.from_bytes(below.bytes())
    above = BtfBuilder(base)
    line = above.struct("line", 16, [("from", point, 0), ("to", point, 64)])
    own = above.struct("point", 4, [("z", number, 0)])
    assert line == base.count
    split = Btf.from_bytes(above.bytes(), base)
    assert split.type(number) == base.type(number)
    assert split.find("struct", "line") == line and base.find("struct", "line") is None
    assert split.find("struct", "point") == own and base.find("struct", "point") == point
    assert split.find("int", "int") == number
    assert split.member("line", "to.y").offset == 12
    assert split.c(line) == "struct line {\n\tstruct point from;\n\tstruct point to;\n};"
    assert split.names("struct") == [("point", point), ("line", line), ("point", own)]
    with pytest.raises(BtfError):  # the ids of the base are unknown
        Btf.from_bytes(above.bytes()).member(1, "to.y")


def test_big_and_little_endian_read_the_same() -> None:
    types = FIRST + [kind for kind, _ in EVERY]
    data = built(types).bytes()
    swapped = swap(data)
    ours, other = Btf.from_bytes(data), Btf.from_bytes(swapped)
    assert {ours.endian, other.endian} == {"little", "big"}
    assert [other.type(number) for number in range(1, other.count)] == types
    assert other.find("struct", "point") == 2
    with pytest.raises(BtfError, match="endian"):
        other.ctype("point")
    with pytest.raises(BtfError, match="endian"):
        Btf.from_bytes(swapped, ours)


def swap(data: bytes) -> bytes:
    """A blob of the writer in the other byte order."""
    header, types = array("I", data[4:24]), array("I")
    types.frombytes(data[24 : 24 + header[2]])
    header.byteswap()
    types.byteswap()
    return data[1::-1] + data[2:4] + header.tobytes() + types.tobytes() + data[24 + len(types) * 4 :]


BAD: list[Callable[[BtfBuilder], object]] = [
    lambda b: b.typedef("not a name", 1),
    lambda b: b.typedef("", 1),
    lambda b: b.typedef("x" * 128, 1),
    lambda b: b.func("é", 1),
    lambda b: b.struct("<locals>", 1, []),
    lambda b: b.put(kinds.Ptr("name", 1)),
    lambda b: b.put(kinds.Void()),
    lambda b: b.struct("s", -1, []),
    lambda b: b.struct("s", 1 << 32, []),
    lambda b: b.struct("s", 4, [("a b", 1, 0)]),
    lambda b: b.struct("s", 4, [("a", 1, 1 << 24, 3)]),
    lambda b: b.struct("s", 4, [("a", 1, 0)] * 65536),
    lambda b: b.func("f", 1, 3),  # type: ignore[arg-type]
    lambda b: b.enum("e", [("A", -1)]),
    lambda b: b.enum("e", [("A", 1 << 32)]),
    lambda b: b.string("x" * (1 << 24)),
    lambda b: pack_func_info([FuncInfo(1, 1)]),
    lambda b: pack_func_info([FuncInfo(0, 1), FuncInfo(0, 2)]),
    lambda b: pack_line_info([LineInfo(4, 1, 1, 1), LineInfo(3, 1, 1, 2)]),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_cannot_be_written_is_refused(number: int) -> None:
    with pytest.raises(BtfError):
        BAD[number](BtfBuilder())


def test_add_refuses_what_is_no_type() -> None:
    with pytest.raises(TypeError):
        BtfBuilder().add(int)
    with pytest.raises(TypeError):
        BtfBuilder().add([])


def test_strings_cannot_drive_a_terminal() -> None:
    builder = BtfBuilder()
    offset = builder.string("a\x1b[31m\0b\tc")
    assert Btf.from_bytes(builder.bytes()).string(offset) == "a [31m b\tc"


def test_info_records() -> None:
    assert pack_func_info([FuncInfo(0, 4), FuncInfo(9, 5)]) == array("I", [0, 4, 9, 5]).tobytes()
    packed = pack_line_info([LineInfo(0, 1, 2, 30, 4), LineInfo(2, 1, 2, 1 << 30, 5000)])
    assert packed == array("I", [0, 1, 2, 30 << 10 | 4, 2, 1, 2, 0xFFFFFFFF]).tobytes()


@pytest.mark.root
def test_refusal_carries_the_kernels_reason() -> None:
    builder = BtfBuilder()
    builder.typedef("nowhere", 99)
    with pytest.raises(KernelError, match="Invalid type_id"):
        load_btf(builder.bytes())
    with pytest.raises(KernelError):
        load_btf(b"junk")
    with pytest.raises(NotFoundError):
        Btf.from_id(0x7FFFFFFF)
