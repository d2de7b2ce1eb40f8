"""Where input of others comes in: how a good input is damaged, and everything that pybpf does with it."""

from __future__ import annotations

import ast
import linecache
import os
import random
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

from pybpf.errors import BpfError
from tests.reliability.damage import damaged, damaged_text, exchanged, words

__all__ = ["SURFACES", "Surface"]


class Surface(NamedTuple):
    """One way in."""

    name: str
    make: Callable[[random.Random], Any]
    use: Callable[[Any], object]  #: may raise what :mod:`pybpf.errors` has, and nothing else
    good: Callable[[], Any]  #: an input that is read whole
    cost: int = 1  #: how many times as long as others an input takes: the short form has so many times fewer


@contextmanager
def _in_file(data: bytes) -> Iterator[str]:
    """The path of a file with these bytes."""
    with open(os.memfd_create("input"), "wb", buffering=0) as file:
        file.write(data)
        yield f"/proc/self/fd/{file.fileno()}"


# type information


@cache
def _blob() -> bytes:
    from tests.btf.test_btf_reader import rich_blob

    return rich_blob()


def _use_btf(data: bytes) -> None:
    from pybpf.btf import Btf
    from tests.btf.test_btf_reader import every_use

    btf = Btf.from_bytes(data)
    every_use(btf)
    uses: tuple[Callable[[], object], ...] = (
        lambda: btf.names("struct"), lambda: btf.constant("RED"), lambda: btf.named("s"), lambda: btf.function("f"),
        lambda: btf.tracepoint("t"), lambda: btf.pointer_size, lambda: btf.member("s", "a.x"),
    )  # fmt: skip
    for use in uses:
        with suppress(BpfError):
            use()


# ELF files


@cache
def _programs() -> list[bytes]:
    from tests.symbols.elfmaker import BASE, CODE, DATA, Elf, Sym, usdt_note

    functions = [Sym(f"f{i}", BASE + CODE + 4 * i, 4) for i in range(8)]
    notes = usdt_note("app:start", BASE + CODE, "-4@%edi 8@$5 8@-16(%rbp) 4@8(%rax,%rbx,4)", BASE + DATA)
    notes += usdt_note("app:stop", BASE + CODE + 8, "8@x(%rip)", base=BASE)
    return [
        Elf(symbols=functions).bytes(),
        Elf(symbols=functions, dynamic=functions[:3], versions=["A_1", "A_2"]).bytes(),
        Elf(symbols=functions, notes=notes, base=BASE, data=bytes(64)).bytes(),
    ]


def _use_elf(data: bytes) -> None:
    from pybpf.symbols import ElfFile, usdt_sites
    from pybpf.symbols.image import read_image

    with _in_file(data) as path, ElfFile(path) as elf:
        uses: tuple[Callable[[], object], ...] = (
            lambda: elf.build_id, lambda: elf.functions("f*"), lambda: elf.symbol("f1"), lambda: elf.function("f2"),
            lambda: list(elf.symbols()), lambda: usdt_sites(elf), lambda: elf.file_offset(0x401000),
            lambda: [elf.data(section) for name in (".text", ".note.stapsdt") if (section := elf.section(name))],
            lambda: read_image(elf, "/nowhere/program", ()).find(0x401004),
        )  # fmt: skip
        for use in uses:
            with suppress(BpfError):
                use()


_USDT = (
    "-4@%edi 8@$5 8@-16(%rbp) 4@8(%rax,%rbx,4) -1@%al 8@x(%rip) 2@(%rdx)",
    "4@w1 8@[sp, 16] -4@[x29,#-8] 8@5 8@[x0]",
)


def _use_usdt(text: str) -> None:
    from pybpf.arch import ARCHES
    from pybpf.symbols.usdt_args import parse_args

    for arch in ARCHES.values():
        parse_args(text, arch)


_MANGLED = (
    "_ZNSt6vectorIiSaIiEE9push_backEOi", "_ZN3foo3barIJiLb1EEEEvDpT_", "_RNvCs1234_7mycrate3foo",
    "_RINvNtC3std3mem8align_ofNtNtC7example3foo3BarE", "_ZN4core3fmt9Formatter9write_str17h0123456789abcdefE",
    "_ZZN1A1bEvENKUlRKT_E_clIiEEDaS1_",
)  # fmt: skip


def _use_name(name: str) -> None:
    from pybpf.symbols.demangle import demangle

    assert len(demangle(name)) <= max(len(name), 100_000)


# instructions


@cache
def _codes() -> list[bytes]:
    from pybpf.asm import assemble, encode

    texts = (
        "r1 = 5\nr0 = *(u32 *)(r1 +4)\nif r1 s> 0x5 goto pc+1\nlock *(u64 *)(r10 -8) += r1\nexit",
        "r1 = 0x1122334455667788 ll\ncall bpf_get_current_pid_tgid\ngotol pc+1\nr0 = bswap64 r0\nexit",
        "r3 = map[id:4]\ncall pc+2\nmay_goto pc+1\nexit\nr0 = (s8)r1\nexit",
    )
    return [encode(assemble(text)) for text in texts]


def _make_instructions(rng: random.Random) -> bytes:
    return damaged(rng, rng.choice(_codes()))


def _use_instructions(data: bytes) -> None:
    from pybpf.asm import decode, disassemble, encode

    for endian in ("little", "big"):
        with suppress(BpfError):
            assert encode(decode(data, endian), endian=endian) == data
        for style in ("plain", "verifier", "bpftool"):
            with suppress(BpfError):
                disassemble(data, style=style, endian=endian)


_ASM = """\
start:
  r1 = *(u64 *)(r10 -8) // a comment
  r2 = 0x1122334455667788 ll
  r3 = map[counts]
  w4 = -5
  if r1 s> 0x5 goto start
  if w1 & w2 goto pc+3
  lock *(u64 *)(r10 -8) += r1
  r0 = atomic64_cmpxchg((u64 *)(r10 -16), r0, r2)
  *(u8 *)(r10 -1) = 7
  call bpf_get_current_pid_tgid
  call pc+2
  r0 = (s8)r1
  r0 = be16 r0
  r0 s/= r1
  goto start
  exit
"""


def _use_asm(text: str) -> None:
    from pybpf.asm import assemble, encode

    with suppress(BpfError):
        encode(assemble(text))  # the map is not given
    assemble(text)


_LOG = """\
0: R1=ctx() R10=fp0
; x = m[k] @ probe.py:5
0: (79) r1 = *(u64 *)(r1 +8)          ; R1_w=scalar()
; from /tmp/a.py:186: for index in range(number):
1: (71) r0 = *(u8 *)(r1 +0)
R1 invalid mem access 'scalar'
verification time 52 usec
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


def _use_log(text: str) -> None:
    from pybpf.prog.verifier import advice_for, read_log

    found = read_log(text)
    advice_for(found.reason)


# rings


def _make_ring(rng: random.Random) -> tuple[bytes, int]:
    data = b""
    for _ in range(rng.randrange(1, 30)):
        size = rng.choice((0, 1, 7, 8, 16, 16, 16, 64, 200))
        flags = rng.choice((0, 0, 0, 0, 1 << 30, 1 << 31))
        record = struct.pack("=II", size | flags, rng.getrandbits(32)) + bytes(size)
        data += record.ljust((size + 15) & ~7, b"\0") * rng.choice((1, 1, 1, 2, 40))
    data = data[:4096].ljust(4096, b"\xee")
    return damaged(rng, data)[:4096].ljust(4096, b"\0"), rng.randrange(512) * 8


def _use_ring(made: tuple[bytes, int]) -> None:
    from pybpf.maps.decode import Decoder
    from pybpf.maps.runs import RING_SKIP, ring_runs
    from pybpf.types import Struct, u32, u64

    class Sixteen(Struct):
        a: u64
        b: u32

    data, start = made
    words = memoryview(data * 2).cast("I")
    runs, end = ring_runs(words, start, start + 4096, 1 << 20)
    assert start <= end <= start + 4096
    chunk = bytes(memoryview(data * 2)[start : end])
    for kind in (None, Sixteen):
        _each(Decoder(kind, RING_SKIP)(chunk, runs).events)


def _each(events: Any) -> None:
    """All events; one that cannot be read does not end it."""
    for _ in range(5000):
        try:
            next(events)
        except StopIteration:
            return
        except BpfError:
            continue


def _make_perf(rng: random.Random) -> tuple[bytes, bool]:
    data = b""
    for _ in range(rng.randrange(1, 30)):
        kind = rng.choice((9, 9, 9, 9, 2, 5, 77))
        body = bytes(rng.choice((4, 12, 20, 20, 60)))
        record = struct.pack("=I", len(body)) + body if kind == 9 else struct.pack("=QQ", 1, rng.getrandbits(8))
        data += (struct.pack("=IHH", kind, 0, 8 + len(record)) + record) * rng.choice((1, 1, 1, 2, 40))
    return damaged(rng, data), rng.random() < 0.5


def _use_perf(made: tuple[bytes, bool]) -> None:
    from pybpf.maps.decode import Decoder
    from pybpf.maps.runs import PERF_SKIP, perf_runs
    from pybpf.types import Struct, u32

    class Twelve(Struct):
        a: u32[3]

    data, whole = made
    scan = perf_runs(data, whole)
    assert 0 <= scan.end <= len(data)
    for kind in (None, Twelve):
        _each(Decoder(kind, PERF_SKIP, 8)(data, scan.runs).events)


# texts of the kernel and of the system

_KALLSYMS = b"""\
ffffffff81000000 T _stext
ffffffff81000040 t do_one_initcall
ffffffff81000100 T tcp_connect
ffffffff81000200 W weak_one
ffffffff81000300 D some_data
ffffffffc0000000 t tun_open\t[tun]
ffffffffc0000100 t tun_close\t[tun]
ffffffffc0001000 t bpf_prog_6deef7357e7b4530_probe\t[bpf]
"""


def _use_kallsyms(data: bytes) -> None:
    from pybpf.symbols.kallsyms import functions_named, kernel_functions
    from pybpf.symbols.kernel import KernelSymbols

    with _in_file(data) as path:
        list(kernel_functions("*", path))
        list(kernel_functions("t*:tun_*", path))
        functions_named(["tcp_connect", "tun_open"], path)
        functions_named([f"f{i}" for i in range(100)], path)
        symbols = KernelSymbols(path)
        for address in (0, 0xFFFFFFFF81000050, 0xFFFFFFFFC0000001, (1 << 64) - 1):
            symbols.resolve(address)


_MAPS = b"""\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
00e03000-00e24000 rw-p 00000000 00:00 0           [heap]
35b1800000-35b1820000 r-xp 00000000 08:02 135522  /usr/lib64/ld-2.15.so (deleted)
7f1234500000-7f1234600000 r-xp 00001000 fd:01 99  /tmp/a\\012b c
7ffd1f5f6000-7ffd1f5f8000 r-xp 00000000 00:00 0   [vdso]
"""


#: a reply of a name server: www.example.org, an alias, an address of each version
_REPLY = (
    b"\0\7\x81\x80\0\1\0\3\0\0\0\0\3www\7example\3org\0\0\1\0\1"
    b"\xc0\x0c\0\5\0\1\0\0\0<\0\7\4real\xc0\x10"
    b"\xc0\x2d\0\1\0\1\0\0\0<\0\4\x7f\0\0\1"
    b"\xc0\x2d\0\x1c\0\1\0\0\0<\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
)


def _use_reply(data: bytes) -> None:
    from pybpf.tool.dns import parse_reply

    parse_reply(data)


def _use_maps(data: bytes) -> None:
    from pybpf.symbols.library import parse_maps
    from pybpf.symbols.process import _Map

    found = list(parse_maps(data))
    layout = _Map(found)
    for address in (0, 0x400010, 0x7F1234500001, (1 << 64) - 1):
        index = layout.at(address)
        if index is not None:
            layout.file(index)


_PERF_MAP = b"""\
7f0010000000 40 JIT_function
7f0010000040 20 Lcom/example/Main;::run
0x7f0010000060 10 py::<module>:/tmp/x y.py
7f0010000000 80 replaced
"""


def _use_perf_map(data: bytes) -> None:
    from pybpf.symbols.perfmap import PerfMap

    with _in_file(data) as path:
        read = PerfMap(path, "perf.map", frozenset([os.getuid()]))
        read.refresh()
    for address in (0, 0x7F0010000001, 0x7F0010000061, (1 << 64) - 1):
        read.find(address)


@cache
def _loader_cache() -> bytes:
    names = (b"libc.so.6", b"/lib/x86_64-linux-gnu/libc.so.6", b"libm.so.6", b"/lib/x86_64-linux-gnu/libm.so.6")
    strings, offsets = b"", []
    start = 48 + 24 * 2
    for name in names:
        offsets.append(start + len(strings))
        strings += name + b"\0"
    head = b"glibc-ld.so.cache1.1" + struct.pack("<II", 2, len(strings)) + bytes(20)
    entries = b"".join(struct.pack("<iIIIQ", 0x0303, offsets[i], offsets[i + 1], 0, 0) for i in (0, 2))
    return head + entries + strings


def _use_loader_cache(data: bytes) -> None:
    from pybpf.symbols.library import _parse_cache

    _parse_cache.__wrapped__(data, 0x0303)


_FORMAT = """\
name: sys_enter_openat
ID: 656
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;
\tfield:char prev_comm[16];\toffset:32;\tsize:16;\tsigned:0;
\tfield:__data_loc char[] name;\toffset:48;\tsize:4;\tsigned:0;
\tfield:unsigned long args[6];\toffset:52;\tsize:48;\tsigned:0;
\tfield:__data_loc unsigned long[] cpus;\toffset:100;\tsize:4;\tsigned:0;

print fmt: "%s", __get_str(name)
"""


def _reads_every_field(args: Any) -> None:
    print(args.filename, args.prev_comm, args.name, args.args[2])


def _use_format(text: str) -> None:
    from pybpf import Tracer
    from pybpf.attach.fields import parse_format
    from pybpf.compiler.target import Target

    for field in parse_format(text):
        assert field.declaration
    tracer = Tracer()
    tracer.tracepoint("some:event")(_reads_every_field)
    tracer.compile(Target.described("6.8", "x86_64", fields={"some:event": text}))


# programs of users


@cache
def _scripts() -> list[list[str]]:
    from tests.bt.test_bt_parse import EVERYTHING

    small = (
        'tracepoint:syscalls:sys_enter_openat /pid == 5/ { printf("%s %d\\n", str(args.filename), args.flags); }',
        "kprobe:tcp_connect { @[comm, ((struct sock *)arg0)->__sk_common.skc_dport] = count(); }",
        "interval:s:1 { print(@x, 5); clear(@x); } END { delete(@x[1]); }",
        "begin { for ($i : 1..10) { @a[$i] = hist($i * 3); if $i > 5 { break; } } while ($x < 5) { $x++; } }",
        'uprobe:/bin/sh:main { $t = (1, "a", nsecs); @s = $t.1; @b = buf(arg0, 8); @k[kstack] = lhist(3, 0, 9, 1); }',
        "#define N 4\nstruct a { int x; char s[N]; struct a *n; };\nbegin { $p = (struct a *)0; print($p->n->x); }",
    )
    return [words(text) for text in (EVERYTHING, *small)]


@cache
def _script_words() -> list[str]:
    return sorted({word for script in _scripts() for word in script})


def _make_script(rng: random.Random) -> str:
    scripts = _scripts()
    return damaged_text(rng, scripts[0] if rng.random() < 0.3 else rng.choice(scripts), _script_words())


def _use_script(text: str) -> None:
    from pybpf.bt.syntax.parse import parse
    from pybpf.bt.syntax.printer import script_text

    script_text(parse(text))


_PROGRAMS = (
    "tracepoint:syscalls:sys_enter_openat /args.flags & 3/ { @[comm, args.dfd] = count(); @b = hist(args.mode); }",
    'kprobe:tcp_connect { $sk = (struct sock *)arg0; @p[$sk->sk_flags] = $sk->__sk_common.skc_daddr; print(@p, 3); }',
    "interval:s:1 { print(@x, 5); clear(@x); @x[1, 2] = 3; zero(@x); delete(@x, (1, 2)); exit(); }",
    'begin { $i = 0; while ($i < 5) { @a[$i] = $i * 3 - 1; $i++; if ($i == 3) { break; } else { continue; } } }',
    'begin { $t = (1, "abc", nsecs); @s = $t.1; @u = $t.0 + (int8)300; $x = $t.2 > 5 ? 1 : 2; print(($x, @s)); }',
    "profile:hz:99 { @[kstack(3), ustack, pid, tid] = lhist(cpu, 0, 9, 1); @m = max(nsecs); @n = avg(elapsed); }",
    "struct a { int x; char s[4]; struct a *n; unsigned b:3; }; "
    "begin { $p = (struct a *)0; print($p->n->x); print($p->b); @c = $p->s; }",
    "kretprobe:inet_release /@start[tid]/ { @us = stats((nsecs - @start[tid]) / 1000); delete(@start[tid]); } "
    "kprobe:inet_release { @start[tid] = nsecs; @f[func, probe] = sum(arg1); }",
)


def _make_program(rng: random.Random) -> str:
    """A script of which most pieces are as they were: it parses more often than not, and so reaches the checks."""
    good = words(rng.choice(_PROGRAMS))
    others = words(rng.choice(_PROGRAMS))
    return exchanged(rng, good, others) if rng.random() < 0.8 else damaged_text(rng, good, others)


def _use_program(text: str) -> None:
    from pybpf.bt.compile import compile_script
    from tests.lang.wrong import TARGET

    compile_script(text, target=TARGET)


@cache
def _functions() -> list[list[str]]:
    """Probes: those that are refused, and random good ones, in pieces."""
    from tests.lang.generate import function_text
    from tests.lang.wrong import CASES, read_cases

    texts = [case.source for path in sorted(CASES.glob("*.txt")) for case in read_cases(path)]
    texts += [function_text(seed)[0] for seed in range(40)]
    return [words(text) for text in texts]


def _make_function(rng: random.Random) -> str:
    """The text of functions alone: what else is in the module would run here, before pybpf sees anything of it."""
    functions = _functions()
    for _ in range(20):
        good, others = rng.choice(functions), rng.choice(functions)
        made = exchanged(rng, good, others) if rng.random() < 0.5 else damaged_text(rng, good, others)
        try:
            tree = ast.parse(made)
            tree.body = [_undecorated(node) for node in tree.body if isinstance(node, ast.FunctionDef)]
            made = ast.unparse(tree)
            compile(made, "probe.py", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # Python itself refuses it: no function reaches pybpf
        if tree.body:
            return f"from __future__ import annotations\n{made}\n"
    return "def probe(args):\n    return\n"


def _undecorated(node: ast.FunctionDef) -> ast.FunctionDef:
    node.decorator_list = []
    node.args.defaults = [each for each in node.args.defaults if isinstance(each, ast.Constant)]
    node.args.kw_defaults = [each if isinstance(each, ast.Constant) else None for each in node.args.kw_defaults]
    return node


def _use_function(text: str) -> None:
    from tests.lang.wrong import TARGET, names

    file = "probe of a test"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    space = names()
    before, tracer = set(space), space["tracer"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        exec(compile(text, file, "exec", dont_inherit=True), space)
    made = [value for name, value in space.items() if name not in before and isinstance(value, FunctionType)]
    if made:
        tracer.tracepoint("syscalls:sys_enter_openat")(made[-1])
        tracer.compile(TARGET)


def _make_near_function(rng: random.Random) -> str:
    """The text of a random good function in which one or two pieces are others of its own: it reaches all passes."""
    from tests.lang.generate import function_text

    seed = rng.randrange(1 << 20)
    good = words(function_text(seed, memory=bool(seed % 4))[0])
    for _ in range(20):
        made = exchanged(rng, good, good) if rng.random() < 0.8 else damaged_text(rng, good)
        try:
            body = ast.parse(made).body
            if len(body) == 1 and isinstance(body[0], ast.FunctionDef) and body[0].name == "probe":
                compile(made, "probe.py", "exec", dont_inherit=True)
                return made
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return _NEAR


_NEAR = "def probe(p0: u32):\n    return p0\n"


def _use_near_function(text: str) -> None:
    from pybpf.compiler.pipeline import compile_unit
    from pybpf.lang.front.compile import compile_probe
    from pybpf.lang.probes.probe import Probe
    from tests.lang.world import NAMES
    from tests.lang.wrong import TARGET

    file, text = "probe of a test", f"from __future__ import annotations\n{text}"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    space = dict(NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        exec(compile(text, file, "exec", dont_inherit=True), space)
    probe = Probe("uprobe", "f", "/bin/sh").chosen(TARGET)
    compile_unit(compile_probe(space["probe"], probe, TARGET), TARGET)


def _bytes(good: bytes) -> Callable[[random.Random], bytes]:
    return lambda rng: damaged(rng, good)


def _texts(*good: str) -> Callable[[random.Random], str]:
    pieces = [words(each) for each in good]
    every = sorted({word for each in pieces for word in each})
    return lambda rng: damaged_text(rng, rng.choice(pieces), every)


SURFACES = {
    surface.name: surface
    for surface in (
        Surface("btf", lambda rng: damaged(rng, _blob()), _use_btf, _blob),
        Surface("elf", lambda rng: damaged(rng, rng.choice(_programs())), _use_elf, lambda: _programs()[-1]),
        Surface("usdt", _texts(*_USDT), _use_usdt, lambda: _USDT[0]),
        Surface("demangle", _texts(*_MANGLED), _use_name, lambda: _MANGLED[0]),
        Surface("instructions", _make_instructions, _use_instructions, lambda: _codes()[0]),
        Surface("asm", _texts(_ASM), _use_asm, lambda: _ASM),
        Surface("verifier-log", _texts(_LOG), _use_log, lambda: _LOG),
        Surface("ring", _make_ring, _use_ring, lambda: (bytes(4096), 0)),
        Surface("perf", _make_perf, _use_perf, lambda: (b"", True)),
        Surface("kallsyms", _bytes(_KALLSYMS), _use_kallsyms, lambda: _KALLSYMS),
        Surface("maps", _bytes(_MAPS), _use_maps, lambda: _MAPS),
        Surface("dns", _bytes(_REPLY), _use_reply, lambda: _REPLY),
        Surface("perf-map", _bytes(_PERF_MAP), _use_perf_map, lambda: _PERF_MAP),
        Surface("loader-cache", lambda rng: damaged(rng, _loader_cache()), _use_loader_cache, _loader_cache),
        Surface("format", _texts(_FORMAT), _use_format, lambda: _FORMAT),
        Surface("bt", _make_script, _use_script, lambda: "begin { }"),
        Surface("bt-compile", _make_program, _use_program, lambda: "begin { @ = count(); }"),
        Surface("dsl", _make_function, _use_function, lambda: "def probe(args):\n    return\n"),
        Surface("dsl-near", _make_near_function, _use_near_function, lambda: _NEAR, 8),
    )
}
