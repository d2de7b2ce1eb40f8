"""Members by path, and bitfields in both encodings against what C compilers lay out."""

from __future__ import annotations

import ctypes
import io
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pybpf.btf import Btf, BtfBuilder, Hop, Member, kinds
from pybpf.btf.member import bit_load
from pybpf.errors import BtfError

pytestmark = pytest.mark.pure

SOURCE = """
struct leaf { int a; struct leaf *next; };
struct outer {
    char tag;
    struct { short s; union { int u; struct leaf deep; }; };
    struct leaf *link;
    struct leaf nodes[4];
    int grid[2][3];
    const volatile struct leaf cv;
    unsigned tail[];
} outer;
struct bits {
    unsigned a:3, b:7; int c:9; long long d:40; unsigned char e:2, f:5; unsigned short g:11; int h; signed char i:1;
} bits;
struct __attribute__((packed)) tight { char c; long l; int x:5; short s; } tight;
struct __attribute__((aligned(64))) wide { int a; } wide;
struct holes { char a; struct wide w; char z; } holes;
typedef int (*handler_t)(struct leaf *, char, ...);
struct fns { handler_t h; int *(*array[3])(void); void (*(*get)(int))(char); const char *const names[2]; } fns;
enum small { S0, S9 = 9 } __attribute__((packed)); enum small small;
"""


def sample() -> Btf:
    """``struct outer`` of SOURCE as the writer makes it."""
    b = BtfBuilder()
    number, char, short = b.int("int", 4, signed=True), b.int("char", 1, signed=True), b.int("short", 2, signed=True)
    leaf_id = 6
    link = b.ptr(leaf_id)
    index = b.int("u32", 4)
    leaf = b.struct("leaf", 16, [("a", number, 0), ("next", link, 64)])
    assert leaf == leaf_id
    inner = b.union("", 16, [("u", number, 0), ("deep", leaf, 0)])
    middle = b.struct("", 24, [("s", short, 0), ("", inner, 64)])
    row = b.put(kinds.Array("", number, index, 3))
    qualified = b.put(kinds.Const("", b.put(kinds.Volatile("", leaf))))
    members = [
        ("tag", char, 0), ("", middle, 64), ("link", link, 256), ("nodes", b.array(leaf, 4), 320),
        ("grid", b.put(kinds.Array("", row, index, 2)), 832), ("cv", qualified, 1024),
        ("tail", b.array(number, 0), 1152),
    ]  # fmt: skip
    b.typedef("outer_t", b.struct("outer", 144, members))
    return Btf.from_bytes(b.bytes())


@pytest.fixture(scope="module")
def outer() -> Btf:
    return sample()


@pytest.mark.parametrize(
    ("path", "offset", "size", "hops"),
    [
        ("tag", 0, 1, []), ("s", 8, 2, []), ("u", 16, 4, []), ("deep", 16, 16, []), ("deep.next", 24, 8, []),
        ("link", 32, 8, []), ("link->a", 0, 4, [32]), ("link.next.next->a", 0, 4, [32, 8, 8]),
        ("nodes[2].next", 80, 8, []), ("nodes[3]", 88, 16, []), ("nodes[1].next[2].a", 32, 4, [64]),
        ("grid[1][2]", 124, 4, []), ("grid[1]", 116, 12, []), ("cv.next", 136, 8, []), ("tail", 144, 0, []),
        ("tail[5]", 164, 4, []),
    ],
)  # fmt: skip
def test_paths(outer: Btf, path: str, offset: int, size: int, hops: list[int]) -> None:
    for start in ("outer", "struct outer", "outer_t", outer.named("outer")):
        member = outer.member(start, path)
        assert (member.offset, member.size, [hop.offset for hop in member.hops]) == (offset, size, hops)
        assert member.offset_bits == 8 * offset and member.bits == 0
    leaf = outer.named("struct leaf")
    assert all(hop == Hop(hop.offset, leaf) for hop in member.hops)


@pytest.mark.parametrize(
    "path",
    ["", "nosuch", "tag.x", "tag[0]", "nodes[4]", "grid[0][3]", "nodes.a", "tag.", ".tag", "[0]", "nodes[", "nodes[-1]",
     "nodes[x]", "link->nosuch", "a b", "nodes[99999999999999999999999]", "tag\0", "nodes[1", "link->->a",
     "tail[" + "9" * 10000 + "]", "nodes[\u0661]"],
)  # fmt: skip
def test_wrong_paths(outer: Btf, path: str) -> None:
    with pytest.raises(BtfError):
        outer.member("outer", path)


def test_wrong_start(outer: Btf) -> None:
    for start in ("nosuch", "int", 0, 999, -1, outer.member("outer", "link").type):
        with pytest.raises(BtfError):
            outer.member(start, "a")


def test_messages_say_what_there_is(outer: Btf) -> None:
    with pytest.raises(BtfError, match=r"struct leaf has no member 'b'; its members are a, next"):
        outer.member("outer", "link->b")


# -- bitfields


def random_struct(rng: random.Random) -> tuple[Any, list[tuple[str, Any, int]]]:
    """A ctypes struct of random bitfields; of types of one size, as ctypes lays out others unlike C compilers."""
    pairs = [
        (ctypes.c_uint8, ctypes.c_int8), (ctypes.c_uint16, ctypes.c_int16), (ctypes.c_uint32, ctypes.c_int32),
        (ctypes.c_uint64, ctypes.c_int64),
    ]  # fmt: skip
    kinds_ = rng.choice(pairs)
    fields = []
    for number in range(rng.randint(1, 12)):
        kind = rng.choice(kinds_)
        fields.append((f"f{number}", kind, rng.randint(1, 8 * ctypes.sizeof(kind))))
    return type("S", (ctypes.Structure,), {"_fields_": fields}), fields


def placed(cls: Any, name: str) -> tuple[int, int]:
    """(offset, width) in bits of a bitfield, found by setting it to all ones."""
    value = cls()
    setattr(value, name, -1)
    number = int.from_bytes(bytes(value), "little")
    low = (number & -number).bit_length() - 1
    return low, number.bit_length() - low


@pytest.mark.skipif(sys.byteorder != "little", reason="needs a little-endian machine")
@pytest.mark.parametrize("old", [False, True], ids=["kflag", "int-bits"])
def test_bitfields_like_ctypes(old: bool) -> None:
    rng = random.Random(5)
    for _ in range(60):
        cls, fields = random_struct(rng)
        builder = BtfBuilder()
        members = []
        for name, kind, width in fields:
            size, signed = ctypes.sizeof(kind), kind(-1).value < 0
            offset = placed(cls, name)[0]
            if old:  # the width is the type's, and part of the offset too
                shift = offset % 8 if size > 1 else 0
                type_id = builder.put(kinds.Int("bits", size, int(signed), width, shift))
                members.append((name, type_id, offset - shift))
            else:
                members.append((name, builder.int("number", size, signed), offset, width))
        struct_id = builder.struct("s", ctypes.sizeof(cls), members)
        btf = Btf.from_bytes(builder.bytes())
        view = btf.ctype(struct_id)
        value = cls()
        for name, kind, width in fields:
            setattr(value, name, kind(rng.getrandbits(width)).value)
        seen = view.__layout__.unpack(bytes(value))
        for name, _, width in fields:
            expected = getattr(value, name)
            assert getattr(seen, name) == expected
            member = btf.member(struct_id, name)
            if width == 8 * member.size and old:
                assert member.offset_bits == placed(cls, name)[0]
                continue
            assert (member.offset_bits, member.bits) == placed(cls, name)
            assert load_bits(btf, member, bytes(value)) == expected
        assert bytes(view(**{name: getattr(value, name) for name, _, _ in fields})) == bytes(value)


def load_bits(btf: Btf, member: Member, data: bytes, endian: str = "little") -> int:
    """Do what the machine would do by :func:`bit_load`."""
    load = bit_load(member, endian)
    assert load.offset % load.size == 0
    raw = data.ljust(load.offset + load.size, b"\xee")[load.offset : load.offset + load.size]
    value = (int.from_bytes(raw, endian) << load.left & (1 << 64) - 1)  # type: ignore[arg-type]
    if load.signed and value >> 63:
        value -= 1 << 64
    return value >> load.right


def test_big_endian_loads() -> None:
    """There bits count from the most significant one."""
    data = bytes(range(0x11, 0x99, 0x11))
    text = f"{int.from_bytes(data, 'big'):064b}"
    btf = sample()
    for offset in range(60):
        for width in range(1, 64 - offset):
            member = Member("x", 1, offset, width, 1, False, ())
            assert load_bits(btf, member, data, "big") == int(text[offset : offset + width], 2)


def test_bit_load_refuses() -> None:
    with pytest.raises(BtfError, match="not a bitfield"):
        bit_load(Member("x", 1, 0, 0, 4, False, ()), "little")
    with pytest.raises(BtfError, match="across"):
        bit_load(Member("x", 1, 60, 8, 1, False, ()), "little")


# -- against a compiler


def compiled(tmp_path: Path, source: str) -> Btf:
    """The BTF that clang makes."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    if not shutil.which("clang"):
        pytest.skip("clang is not installed")
    result = subprocess.run(
        ["clang", "-g", "-O0", "-target", "bpf", "-x", "c", "-c", "-", "-o", str(tmp_path / "o")],
        input=source, text=True, capture_output=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    section = elffile.ELFFile(io.BytesIO((tmp_path / "o").read_bytes())).get_section_by_name(".BTF")
    return Btf.from_bytes(section.data())


def shape(btf: Btf, name: str) -> list[tuple[str, int, int, int]]:
    kind = btf.type(btf.named(name))
    assert isinstance(kind, (kinds.Struct, kinds.Union))
    found = [btf.member(name, field.name) for field in kind.members if field.name]
    return [("", btf.size_of(btf.named(name)), 0, 0), *((m.path, m.offset_bits, m.bits, m.size) for m in found)]


def test_same_as_clang(tmp_path: Path, outer: Btf) -> None:
    btf = compiled(tmp_path, SOURCE)
    for path in ("s", "u", "deep.next", "nodes[2].next", "link->next->a", "grid[1][2]", "cv.a", "tail[3]"):
        theirs, ours = btf.member("outer", path), outer.member("outer", path)
        assert (theirs.offset_bits, theirs.size, [h.offset for h in theirs.hops]) == (
            ours.offset_bits, ours.size, [h.offset for h in ours.hops],
        ), path  # fmt: skip
    # System V ABI: a bitfield crosses no multiple of its type's size.
    expected = {"a": (0, 3), "b": (3, 7), "c": (10, 9), "d": (19, 40), "e": (59, 2), "f": (64, 5), "g": (69, 11),
                "h": (96, 0), "i": (128, 1)}  # fmt: skip
    for name, place in expected.items():
        member = btf.member("bits", name)
        assert (member.offset_bits, member.bits) == place, name
    assert btf.align_of(btf.named("tight")) == 1
    assert btf.align_of(btf.named("bits")) == 8


def test_rendered_c_compiles_to_the_same_layout(tmp_path: Path) -> None:
    """Padding, packing and bitfields survive the way to C and back."""
    btf = compiled(tmp_path, SOURCE)
    names = ["leaf", "outer", "bits", "tight", "wide", "holes", "handler_t", "fns", "enum small"]
    source = "\n".join(btf.c(name) for name in names)
    source += "".join(f"\nstruct {name} v_{name};" for name in names[:6]) + "\nstruct fns v_fns; enum small v_small;"
    again = compiled(tmp_path, source)
    for name in ["leaf", "outer", "bits", "tight", "wide", "holes", "fns"]:
        mine = shape(btf, name)
        assert [row for row in shape(again, name) if row[0] in dict.fromkeys(r[0] for r in mine)] == mine, source
    assert again.size_of(again.named("enum small")) == 1
    assert again.c("fns") == btf.c("fns")
