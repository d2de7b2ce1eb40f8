"""The reader on blobs made here: names, resolving, sizes; and what malformed ones give."""

from __future__ import annotations

import random
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest

from pybpf.btf import Btf, BtfBuilder, Kind, kinds
from pybpf.btf.reader import Types
from pybpf.errors import BtfError, PackError
from pybpf.types import layout, sizeof

pytestmark = pytest.mark.pure

INT = (0, 1 << 24, 4, 1 << 24 | 32)


def blob(types: Iterable[int], strings: bytes = b"\0", **header: int) -> bytes:
    """A blob of raw words, with any field of the header changed."""
    words = list(types)
    data = struct.pack(f"={len(words)}I", *words)
    fields = {
        "magic": 0xEB9F, "version": 1, "flags": 0, "header_size": 24, "type_off": 0, "type_len": len(data),
        "str_off": len(data), "str_len": len(strings), **header,
    }  # fmt: skip
    return struct.pack("=HBB5I", *fields.values()) + data + strings


def info(kind: int, vlen: int = 0, kflag: int = 0) -> int:
    return kflag << 31 | kind << 24 | vlen


def test_smallest() -> None:
    btf = Btf.from_bytes(blob([]))
    assert (btf.count, btf.type(0), btf.kind(0), btf.name(0)) == (1, kinds.Void(), Kind.VOID, "void")
    assert btf.find("struct", "x") is None and btf.names("struct") == [] and btf.constant("X") is None
    assert btf.pointer_size == 8
    assert Btf.from_bytes(memoryview(bytearray(blob(INT)))).count == 2


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x9f", b"\x9f\xeb", bytes(24), b"\xff" * 100, blob([])[:-1], blob([])[:20], blob(INT)[:-1],
        blob(INT, magic=0xEB9E), blob(INT, version=2), blob(INT, header_size=20), blob(INT, header_size=0xFFFFFFFF),
        blob(INT, type_off=2), blob(INT, type_len=15), blob(INT, type_len=0xFFFFFFFC), blob(INT, type_off=0xFFFFFFFC),
        blob(INT, str_off=0), blob(INT, str_off=8, str_len=4), blob(INT, str_len=0), blob(INT, str_len=0xFFFFFFFF),
        blob(INT, b"x\0"), blob(INT, b"\0x"), blob(INT, b""),
    ],
)  # fmt: skip
def test_bad_headers(data: bytes) -> None:
    with pytest.raises(BtfError):
        Btf.from_bytes(data)


@pytest.mark.parametrize(
    "words",
    [
        (0, info(31), 0), (0, info(20), 0), (0, info(0), 0), (0,), (0, info(1)), (0, info(1), 4), (0, info(3), 0, 1, 1),
        (0, info(4, 65535), 4), (0, info(4, 1), 4, 0, 1), (0, info(13, 2), 0, 0, 1, 0), (0, info(19, 1), 8, 0, 1),
        (0, info(1, 1), 4, 32), (0, info(2, kflag=1), 0), (0, info(12, 3), 0), (0, info(2) | 1 << 29, 0),
        (0, info(2) | 1 << 20, 0), (*INT, 0, info(15, 1), 4, 1),
    ],
)  # fmt: skip
def test_bad_type_sections(words: tuple[int, ...]) -> None:
    with pytest.raises(BtfError, match="cannot read type"):
        Btf.from_bytes(blob(words))


def test_longer_header_is_read() -> None:
    """A later kernel's header may have more fields."""
    data = blob(INT, header_size=32)
    assert Btf.from_bytes(data[:24] + bytes(8) + data[24:]).type(1) == kinds.Int("", 4, 1, 32)


@pytest.mark.parametrize("type_id", [-1, 2, 1 << 31, 1 << 40])
def test_ids_out_of_range(type_id: int) -> None:
    btf = Btf.from_bytes(blob(INT))
    uses: list[Callable[[int], Any]] = [
        btf.type, btf.kind, btf.name, btf.resolve, btf.size_of, btf.align_of, btf.c, btf.ctype,
        lambda i: btf.member(i, "x"),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(BtfError, match="no type"):
            use(type_id)


def test_names_out_of_range() -> None:
    btf = Btf.from_bytes(blob([99, info(1), 4, 32, 1 << 31, info(2), 1], b"\0abc\0"))
    for type_id in (1, 2):
        with pytest.raises(BtfError, match="string"):
            btf.type(type_id)
        with pytest.raises(BtfError):
            btf.c(type_id)
    with pytest.raises(BtfError):
        btf.names("int")
    with pytest.raises(BtfError):
        btf.string(-1)


def test_names_that_share_their_end() -> None:
    strings = b"\0unix_sock\0"
    btf = Btf.from_bytes(blob([1, info(4), 0, 6, info(4), 0], strings))
    assert btf.find("struct", "unix_sock") == 1
    assert btf.find("struct", "sock") == 2
    assert btf.find("struct", "ock") is None
    assert btf.names("struct", "*ock") == [("unix_sock", 1), ("sock", 2)]


class Counted(bytes):
    """Bytes that count how often they are searched."""

    searches = 0

    def find(self, *where: Any) -> int:
        Counted.searches += 1
        return super().find(*where)


@pytest.mark.parametrize("text", [b"a\0", b"xa\0"], ids=["whole", "end"])
def test_copies_of_a_name_are_found_in_one_walk(text: bytes) -> None:
    """A search of all names for each copy of a string would take time that grows with its square."""
    count = 500
    offsets = [1 + len(text) * index + len(text) - 2 for index in range(count)]
    words = [word for offset in reversed(offsets) for word in (offset, info(4), 0)]
    btf = Btf.from_bytes(blob([*words, offsets[0], *INT[1:]], b"\0" + text * count))
    btf.__dict__["_names"] = Counted(btf._names)
    Counted.searches = 0
    assert (btf.find("struct", "a"), btf.find("int", "a"), btf.find("union", "a")) == (1, count + 1, None)
    assert Counted.searches <= 3


def made() -> Btf:
    b = BtfBuilder()
    number = b.int("int", 4, signed=True)
    b.struct("thing", 4, [("x", number, 0)])
    b.put(kinds.Fwd("fwd", False))
    b.typedef("thing", number)
    b.enum("colors", [("RED", 0), ("GREEN", 5)])
    b.enum("wide", [("BIG", 1 << 40)], size=8)
    proto = b.func_proto(number, [("a", number), ("b", b.ptr()), ("", 0)])
    for name in ("tcp_connect", "tcp_close", "udp_send"):
        b.func(name, proto)
    trace = b.func_proto(0, [("", b.ptr()), ("prev", number), ("next", number)])
    b.typedef("btf_trace_switch", b.ptr(trace))
    b.typedef("btf_trace_broken", number)
    return Btf.from_bytes(b.bytes())


def test_find_by_kind() -> None:
    btf = made()
    thing, alias = btf.find("struct", "thing"), btf.find(Kind.TYPEDEF, "thing")
    assert thing is not None and alias is not None and thing != alias
    assert btf.named("thing") == alias and btf.named(" struct  thing ") == thing
    assert btf.find("union", "thing") is None and btf.find("struct", "fwd") is None
    assert btf.find("enum", "wide") is not None and btf.find("enum", "colors") is not None
    assert btf.find(Kind.ENUM, "wide") is None
    for name in ("", "thing\0", "\udfff\ud800", "x" * 100000):
        assert btf.find("struct", name) is None
        assert btf.constant(name) is None
    with pytest.raises(BtfError, match="is not a kind"):
        btf.find("class", "thing")
    with pytest.raises(BtfError, match="no type named"):
        btf.named("union thing")


def test_functions_and_tracepoints() -> None:
    btf = made()
    found = btf.function("tcp_connect")
    assert [p.name for p in found.parameters] == ["a", "b"] and found.variadic
    assert found.return_type == btf.named("int") and btf.name(found.id) == "tcp_connect"
    assert [name for name, _ in btf.functions("tcp_*")] == ["tcp_connect", "tcp_close"]
    assert [name for name, _ in btf.functions("*c[lo]*e*")] == ["tcp_connect", "tcp_close"]
    assert dict(btf.functions())["udp_send"] == btf.find("func", "udp_send")
    point = btf.tracepoint("switch")
    assert [p.name for p in point.parameters] == ["prev", "next"] and btf.kind(point.id) is Kind.TYPEDEF
    assert ("switch", point.id) in btf.tracepoints()
    for wrong in (lambda: btf.function("x"), lambda: btf.tracepoint("x"), lambda: btf.tracepoint("broken")):
        with pytest.raises(BtfError):
            wrong()


def test_constants() -> None:
    btf = made()
    assert [btf.constant(name) for name in ("RED", "GREEN", "BIG", "colors", "EEN")] == [0, 5, 1 << 40, None, None]


@pytest.mark.parametrize("kind", [8, 9, 10, 11, 18])
def test_cycles_of_modifiers_end(kind: int) -> None:
    btf = Btf.from_bytes(blob([1, info(kind), 2, 1, info(kind), 1], b"\0x\0"))
    every_use(btf)
    for use in (btf.resolve, btf.size_of, btf.ctype):
        with pytest.raises(BtfError):
            use(1)


def test_cycles_of_arrays_and_structs_end() -> None:
    one = Btf.from_bytes(blob([0, info(3), 0, 1, 1, 2]))
    inside = Btf.from_bytes(blob([1, info(4, 2), 4, 3, 1, 0, 3, 1, 0], b"\0s\0x\0"))
    anonymous = Btf.from_bytes(blob([0, info(4, 2), 4, 0, 1, 0, 0, 1, 0]))
    pointer = Btf.from_bytes(blob([0, info(2), 1]))
    for btf in (one, inside, anonymous, pointer):
        every_use(btf)
    for use in (one.size_of, one.align_of, inside.align_of, anonymous.c, pointer.c):
        with pytest.raises(BtfError):
            use(1)
    with pytest.raises(BtfError, match="no member"):
        anonymous.member(1, "x")


def test_giant_sizes_are_refused() -> None:
    # 4 * (2^32 - 1)^3 bytes; then 2^32 - 1 empty structs
    words = [*INT, *[w for i in range(1, 4) for w in (0, info(3), 0, i, 1, 0xFFFFFFFF)], 0, info(4), 0]
    words += [0, info(3), 0, 5, 1, 0xFFFFFFFF]
    words += [0, info(4), 0xFFFFFFFF, 0, info(4, 1), 8, 0, 4, 0]
    btf = Btf.from_bytes(blob(words))
    every_use(btf)
    for type_id in (3, 4):
        with pytest.raises(BtfError):
            btf.size_of(type_id)
    assert btf.size_of(6) == 0 and layout(btf.ctype(6)).unpack(b"") == ()
    with pytest.raises(BtfError, match="more than"):
        btf.ctype(7)


def test_exponential_types_end() -> None:
    """Each struct has two anonymous members of the next: 2^40 paths; and a prototype in the same way."""
    strings = b"\0x\0"
    structs = [w for i in range(1, 41) for w in (0, info(5, 2), 4, 0, i + 1, 0, 0, i + 1, 0)] + [1, info(1), 4, 32]
    protos = [w for i in range(1, 41) for w in (0, info(13, 2), i + 1, 0, i + 1, 0, i + 1)] + [1, info(1), 4, 32]
    pairs = [w for i in range(1, 41) for w in (1, info(5, 2), 4, 1, i + 1, 0, 1, i + 1, 0)] + [1, info(1), 4, 32]
    for words in (structs, protos, pairs):
        every_use(Btf.from_bytes(blob(words, strings)), step=39)


def test_threads_may_ask_for_an_alignment_at_once() -> None:
    """What one thread is still finding out is no cycle to another."""
    answers: list[Any] = []

    class Asked(Types):
        asked = False

        def ask(self) -> None:
            try:
                answers.append(self.align_of(2))
            except BtfError as error:
                answers.append(error)

        def _find_align(self, *where: Any) -> int:
            if not self.asked:
                self.asked = True
                other = threading.Thread(target=self.ask)
                other.start()
                other.join()
            return super()._find_align(*where)

    types = Asked(blob([*INT, 0, info(4, 1), 4, 0, 1, 0]))
    assert types.align_of(2) == 4
    assert answers == [4]


def test_deep_nesting_ends() -> None:
    deep = 1500
    for extra in ((2,), (10,), (18,)):  # pointers, const, tags
        words = [w for i in range(1, deep) for w in (0, info(*extra), i + 1)] + list(INT)
        every_use(Btf.from_bytes(blob(words)), step=150)
    arrays = [w for i in range(1, deep) for w in (0, info(3), 0, i + 1, deep, 1)] + list(INT)
    structs = [w for i in range(1, deep) for w in (0, info(4, 1), 4, 0, i + 1, 0)] + list(INT)
    for words in (arrays, structs):
        every_use(Btf.from_bytes(blob(words)), step=150)


def test_names_cannot_eat_memory() -> None:
    """Many members whose names overlap in one long string."""
    strings = b"\0" + b"x" * 1_000_000 + b"\0"
    fields = [w for i in range(20000) for w in (1 + i, 2, 0)]
    btf = Btf.from_bytes(blob([1000000, info(4, 20000), 4, *fields, *INT], strings))
    tracemalloc.start()
    try:
        with pytest.raises(BtfError, match="longer"):
            btf.type(1)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def every_use(btf: Btf, step: int = 1) -> int:
    """Use each type in every way: nothing but BtfError comes out. Returns how many uses worked."""
    worked = 0
    for type_id in range(0, btf.count, step):
        uses: list[Callable[[int], Any]] = [
            btf.type, btf.kind, btf.name, btf.resolve, btf.size_of, btf.align_of, btf.c, lambda i: btf.c(i, True),
            lambda i: btf.member(i, "x"), lambda i: btf.member(i, "a.b[1]"), lambda i: look(btf, i),
        ]  # fmt: skip
        for use in uses:
            try:
                use(type_id)
                worked += 1
            except BtfError as error:
                assert str(error)
    return worked


def look(btf: Btf, type_id: int) -> None:
    kind = btf.ctype(type_id)
    if sizeof(kind) > 1 << 16:
        return
    value = layout(kind).unpack(b"\xa5" * sizeof(kind))
    assert len(repr(value)) < 2_000_000
    try:
        layout(kind).pack(value)
    except PackError as error:  # a bool that is neither 0 nor 1 cannot be written back
        assert "bool" in str(error)


def test_every_use_of_a_good_blob() -> None:
    assert every_use(made()) > 100


def test_mutations_raise_nothing_else() -> None:
    """Hundreds of damaged blobs: each is read, or refused by BtfError, soon."""
    good = bytearray(rich_blob())
    rng = random.Random(1)
    read = 0
    start = time.monotonic()
    for _ in range(400):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            where = rng.randrange(24, len(data)) if rng.random() < 0.9 else rng.randrange(24)
            data[where] = rng.choice((0, 1, 2, 3, 4, 8, 10, 0x7F, 0x80, 0xFF, rng.randrange(256), data[where] ^ 1))
        if rng.random() < 0.1:
            del data[rng.randrange(len(data)) :]
        try:
            btf = Btf.from_bytes(bytes(data))
        except BtfError:
            continue
        read += 1
        every_use(btf)
        for use in (lambda b: b.names("struct"), lambda b: b.constant("RED"), lambda b: b.named("s"),
                    lambda b: b.function("f"), lambda b: b.tracepoint("t"), lambda b: b.pointer_size):  # fmt: skip
            with suppress(BtfError):
                use(btf)
        if time.monotonic() - start > 8:  # an emulated processor; natively it takes 2 s
            break
    assert read > 20


def rich_blob() -> bytes:
    b = BtfBuilder()
    number, char, long_ = b.int("int", 4, signed=True), b.int("char", 1, signed=True), b.int("long", 8)
    flag, enum = b.int("bool", 1, encoding=4), b.enum("colors", [("RED", 0), ("GREEN", 5)])
    inner = b.struct("", 8, [("x", number, 0), ("y", number, 32, 5), ("z", number, 37, 3)])
    union = b.union("u", 8, [("a", long_, 0), ("", inner, 0)])
    proto = b.func_proto(number, [("p", b.ptr(union)), ("", 0)])
    b.struct("s", 64, [
        ("a", union, 0), ("b", b.array(number, 3), 64), ("text", b.array(char, 8), 160), ("e", enum, 224),
        ("fn", b.ptr(proto), 256), ("flag", flag, 320), ("w", b.array(b.array(char, 4), 2), 328),
        ("f", b.put(kinds.Float("double", 8)), 448), ("tail", b.array(union, 0), 512),
    ])  # fmt: skip
    b.func("f", proto)
    b.typedef("btf_trace_t", b.ptr(proto))
    b.put(kinds.Const("", b.put(kinds.TypeTag("user", b.put(kinds.Volatile("", number))))))
    b.put(kinds.DataSec(".data", 8, (kinds.SectionVar(b.put(kinds.Var("v", number, 1)), 0, 4),)))
    b.enum("wide", [("BIG", 1 << 40)], size=8)
    b.put(kinds.DeclTag("tag", union, 0))
    b.put(kinds.Fwd("fwd", True))
    return b.bytes()
