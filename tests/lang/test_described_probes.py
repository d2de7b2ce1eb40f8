"""Probes for kernels that are not there: how each architecture and release has parameters, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pybpf import Tracer
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.compiler.text import format_unit
from pybpf.errors import CompileError
from pybpf.lang import (
    cast,
    comm,
    container_of,
    enum,
    has_field,
    kernel_ptr,
    read_kernel,
    read_user_str,
    sizeof,
    user_ptr,
)
from pybpf.lang.front.compile import compile_probe
from pybpf.lang.probes.probe import PROBES, Probe
from pybpf.sys.bpf import AttachType, ProgType
from pybpf.types import Struct, s32, u32, u64
from tests.lang.described import described

pytestmark = pytest.mark.pure

X86, ARM = "x86_64", "aarch64"


def compiled_text(function: Callable[..., Any], probe: Probe, release: str, arch: str) -> str:
    """The IR of a probe as the front end writes it; the rest of the compiler must take it."""
    target = described(release, arch)
    unit = compile_probe(function, probe.chosen(target), target)
    text = format_unit(unit)
    compile_unit(unit, target, check=True)
    return text


def member(sk):
    return sk.__sk_common.skc_dport


def through(sk):
    return sk.sk_next.sk_next.sk_mark if sk.sk_next is not None else 0


def flags(flags):
    return flags


def far(nine):
    return nine


def result(ret):
    return ret


def both(sk, ret):
    return sk.sk_mark + ret


def opened(filename, flags):
    return filename[0] + flags


def named(ret: u64):
    return comm() == "sh"


def test_what_follows_a_name_is_cleared_where_the_kernel_leaves_it() -> None:
    probe = Probe("uretprobe", "test")
    assert "zero" in compiled_text(named, probe, "6.1", X86)
    assert "zero" not in compiled_text(named, probe, "6.2", X86)


def raw(sk, kind):
    return sk.sk_mark + kind


def positions(first: u64, second: s32):
    return first + second


def ninth(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64, i: u32):
    return i


def annotated(other: kernel_ptr("struct sock")):  # type: ignore[valid-type]
    return other.sk_mark


def renamed(sk, flag: u32):  # a kernel that calls them flags
    return flag


def registers(ctx):
    return ctx.reg("sp")


OPENAT = {X86: "__x64_sys_openat", ARM: "__arm64_sys_openat"}

#: kind, name, function, release, and for x86_64 and aarch64: (offset, size) of loads from the context and of peeks
SHAPES = [
    ("kprobe", "tcp_connect", member, "4.18", [(112, 8)], [(0, 8)], [("kernel", 4, 2)]),
    ("kprobe", "tcp_connect", flags, "5.10", [(104, 4)], [(8, 4)], []),
    ("kprobe", "tcp_connect", renamed, "5.10", [(112, 8), (104, 4)], [(0, 8), (8, 4)], []),
    ("kprobe", "tcp_connect", through, "5.10", [(112, 8)], [(0, 8)],
     [("kernel", 24, 8), ("kernel", 24, 8), ("kernel", 24, 8), ("kernel", 16, 4)]),
    ("kprobe", "tcp_connect", annotated, "5.10", [(112, 8)], [(0, 8)], [("kernel", 16, 4)]),
    ("kretprobe", "tcp_connect", result, "5.10", [(80, 4)], [(0, 4)], []),
    ("uprobe", "f", positions, "5.10", [(112, 8), (104, 4)], [(0, 8), (8, 4)], []),
    ("uprobe", "f", registers, "5.10", [(152, 8)], [(248, 8)], []),
    ("raw_tracepoint", "sock_made", raw, "5.4", [(0, 8), (8, 4)], [(0, 8), (8, 4)], [("kernel", 16, 4)]),
]  # fmt: skip


def loads(text: str) -> list[tuple[int, int]]:
    """(offset, size) of the loads from the context."""
    found = [line.split() for line in text.splitlines() if " = load v0 " in line]
    return [(int(words[4].partition("=")[2]), int(words[5].partition("=")[2])) for words in found]


def peeks(text: str) -> list[tuple[str, int, int]]:
    """(space, offset, size) of the reads by helpers."""
    found = [dict(word.split("=") for word in line.split() if "=" in word and word != "=")
             for line in text.splitlines() if " = peek " in line]  # fmt: skip
    return [(each["space"], int(each["offset"]), int(each["size"])) for each in found]


@pytest.mark.parametrize("arch", [X86, ARM])
@pytest.mark.parametrize(("kind", "name", "function", "release", "x86", "arm", "read"), SHAPES)
def test_shapes(
    kind: str, name: str, function: Callable[..., Any], release: str, x86: Any, arm: Any, read: Any, arch: str
) -> None:
    text = compiled_text(function, Probe(kind, name), release, arch)
    assert loads(text) == (x86 if arch == X86 else arm)
    assert peeks(text) == read


def test_parameters_on_the_stack() -> None:
    text = compiled_text(far, Probe("kprobe", "many"), "5.10", X86)
    assert (loads(text), peeks(text)) == ([(152, 8)], [("kernel", 8 + 8 * 2, 8)])
    text = compiled_text(far, Probe("kprobe", "many"), "5.10", ARM)
    assert (loads(text), peeks(text)) == ([(248, 8)], [("kernel", 0, 8)])
    text = compiled_text(ninth, Probe("uprobe", "f"), "5.10", X86)
    assert (loads(text)[-1], peeks(text)[-1]) == ((152, 8), ("user", 24, 4))


@pytest.mark.parametrize(("arch", "inner", "registers"), [(X86, 112, [104, 96, 56]), (ARM, 0, [8, 16, 24])])
def test_syscall_wrappers(arch: str, inner: int, registers: list[int]) -> None:
    """The wrapper's one parameter is a pointer to the registers of the process."""
    text = compiled_text(opened, Probe("kprobe", OPENAT[arch]), "5.10", arch)
    assert loads(text) == [(inner, 8)]
    assert peeks(text) == [("kernel", registers[0], 8), ("kernel", registers[1], 4), ("user", 0, 1)]


@pytest.mark.parametrize("arch", [X86, ARM])
def test_typed_programs_follow_pointers_by_themselves(arch: str) -> None:
    for probe in (Probe("fentry", "tcp_connect"), Probe("raw_tracepoint", "sock_made")):
        text = compiled_text(through, probe, "5.10", arch)
        assert not peeks(text)
        assert "= load v1 offset=24 size=8 signed=0 : ptr" in text
    text = compiled_text(both, Probe("fexit", "tcp_connect"), "5.10", arch)
    assert not peeks(text)
    assert "load v0 offset=16 size=4 signed=1" in text  # behind two parameters


def test_the_typed_tracepoint_is_taken_where_there_is_one() -> None:
    raw_one = Probe("raw_tracepoint", "sock_made")
    chosen = raw_one.chosen(described("5.10"))
    assert (chosen.kind, chosen.type, chosen.attach_btf) == ("tp_btf", ProgType.TRACING, "sock_made")
    assert chosen.expected_attach_type == AttachType.TRACE_RAW_TP
    assert raw_one.chosen(described("5.4")) is raw_one
    assert raw_one.chosen(described("5.10", types=False)) is raw_one
    assert Probe("raw_tracepoint", "other").chosen(described("5.10")).kind == "raw_tracepoint"


def test_bitfields() -> None:
    def low(sk):
        return sk.sk_bits

    def high(sk):
        return sk.sk_more

    assert "and v2, 7" in compiled_text(low, Probe("kprobe", "tcp_connect"), "5.10", X86)
    text = compiled_text(high, Probe("kprobe", "tcp_connect"), "5.10", X86)
    assert "shl v2, 56" in text and "lshr v3, 59" in text


def test_what_is_known_while_compiling() -> None:
    def facts(sk):
        if has_field("struct sock", "sk_next.sk_mark") and not has_field("struct sock", "sk_none"):
            return sizeof("struct sock") + enum("TCP_LISTEN")
        return sk.sk_none

    text = compiled_text(facts, Probe("fmod_ret", "tcp_connect"), "5.10", X86)
    assert "ret 90" in text
    assert "branch" not in text


def test_container_and_cast() -> None:
    def address(sk):
        port = container_of(sk, "struct inet_sock", "sk").inet_saddr
        return port + cast("struct inet_sock", sk.sk_next).inet_saddr + cast("struct inet_sock", sk.sk_name).inet_saddr

    text = compiled_text(address, Probe("kprobe", "tcp_connect"), "5.10", X86)
    assert peeks(text) == [("kernel", 80, 4), ("kernel", 24, 8), ("kernel", 80, 4), ("kernel", 48 + 80, 4)]


def test_every_kind_is_of_a_program() -> None:
    assert {row.name for row in PROBES.values() if row.bound} == {"tp_btf", "fentry", "fexit", "fmod_ret", "iterator"}
    assert all((row.type is ProgType.TRACING) == row.typed == row.bound for row in PROBES.values())


# what is refused


class Small(Struct):
    sk_mark: u32


def unknown_member(sk):
    return sk.sk_marc


def nothing_alike(sk):
    return sk.zzz


def number_as_pointer(sk):
    return sk.sk_mark.x


def too_wide(sk):
    return sk.sk_wide


def outside(sk):
    return sk.sk_numbers[4]


def written(sk):
    sk.sk_mark = 1


def written_item(sk):
    sk.sk_numbers[0] = 1


def arithmetic(sk):
    return sk + 1


def as_text(sk):
    return sk == "a"


def kept(sk):
    small: Small = sk
    return small.sk_mark


def no_such_type(sk):
    return cast("struct socc", sk).x


def no_such_constant(sk):
    return enum("TCP_NONE")


def no_offset(sk):
    return container_of(sk, "struct sock", "sk_bits").sk_mark


def bare_address(flags):
    return read_kernel(flags)


def text_size(sk, flags):
    return read_user_str(sk, flags) == "a"


def unknown_name(skk):
    return 0


def unnamed(zzz):
    return 0


def arguments_at_return(sk):
    return 0


def result_of_nothing(ret):
    return 0


def not_annotated(size):
    return 0


def not_a_type(size: 5):  # type: ignore[valid-type]
    return 0


def no_such_pointer(p: user_ptr("struct none")):  # type: ignore[valid-type]
    return 0


def unknown_field(args):
    return args.filenam


def no_field_alike(args):
    return args.zzz


def written_field(args):
    args.flags = 1


def two_records(args, more):
    return 0


def register_of_nothing(ctx):
    return ctx.reg("x0")


def context_member(ctx):
    return ctx.di


def any_name(x):
    return 0


CONNECT, CLOSE = Probe("kprobe", "tcp_connect"), Probe("kprobe", "tcp_close")
OPEN, MALLOC = Probe("tracepoint", "syscalls:sys_enter_openat"), Probe("uprobe", "malloc", "libc.so.6")

#: function, probe, what the caret points at, message
REFUSED = [
    (unknown_member, CONNECT, "sk.sk_marc", "struct sock has no member 'sk_marc'; did you mean sk_mark or sk_more?"),
    (nothing_alike, CONNECT, "sk.zzz",
     "struct sock has no member 'zzz'; it has __sk_common, sk_flags, sk_mark, sk_next, sk_numbers, sk_name, sk_bits, "
     "sk_more, sk_wide"),
    (number_as_pointer, CONNECT, "sk.sk_mark.x", "a u32 has no attribute 'x'"
     ": what is at an address is read by read_user(x, u32), say, or cast(\"struct NAME\", x).member"),
    (too_wide, CONNECT, "sk.sk_wide", "'sk_wide' is a __int128 of 16 bytes: a probe cannot read that"),
    (outside, CONNECT, "sk.sk_numbers[4]", "the index 4 is outside of a u32[4], which has elements 0 to 3"),
    (written, CONNECT, "sk.sk_mark", "this is memory of the kernel: a probe can read it, not write it"),
    (written_item, CONNECT, "sk.sk_numbers[0]", "this is memory of the kernel: a probe can read it, not write it"),
    (arithmetic, CONNECT, "sk + 1",
     "a pointer to struct sock does not support '+': write pointer[n] for what is n elements on, or u64(pointer) to "
     "compute with the address"),
    (as_text, CONNECT, 'sk == "a"',
     "a pointer to struct sock is not text; read what is there by read_kernel_str(pointer)"),
    (kept, CONNECT, "small: Small = sk",
     "a pointer to struct sock cannot be kept as Small; what is there is read_kernel(pointer)"),
    (no_such_type, CONNECT, 'cast("struct socc", sk)',
     "the kernel has no type 'struct socc'; did you mean struct sock?"),
    (no_such_constant, CONNECT, 'enum("TCP_NONE")',
     "the kernel has no enum constant 'TCP_NONE'; one that it defines by #define is not in its types"),
    (no_offset, CONNECT, 'container_of(sk, "struct sock", "sk_bits")',
     "'sk_bits' of struct sock is a bitfield: it has no offset"),
    (bare_address, CONNECT, "read_kernel(flags)", "say what is there: read_kernel(address, u32), say"),
    (text_size, CONNECT, "read_user_str(sk, flags)",
     "the size of text is a constant of 1 to 32768 bytes, not an s32"),
    (unknown_name, CONNECT, "skk", "kprobe:tcp_connect has no parameter 'skk'; did you mean sk?"),
    (unnamed, CLOSE, "zzz", "kprobe:tcp_close has no parameter 'zzz'; its parameters are sk"),
    (unnamed, Probe("kprobe", "none"), "zzz",
     "the target's types do not know kprobe:none: annotate its parameters, in their order: zzz: u64"),
    (unnamed, Probe("fentry", "none"), "zzz",
     "the target's types do not know the function none: fentry needs them; use a kprobe"),
    (unnamed, Probe("kprobe", "tcp_connect+0x4"), "zzz",
     "kprobe:tcp_connect+0x4 is inside of a function, where its parameters are no more: only ctx, the registers"),
    (arguments_at_return, Probe("kretprobe", "tcp_connect"), "sk",
     "kretprobe:tcp_connect has no parameter 'sk': only ret, what the function returns, and ctx; the arguments are "
     "gone when it returns: fexit has them, or keep them in a map at the entry"),
    (result_of_nothing, Probe("kretprobe", "tcp_close"), "ret",
     "the function tcp_close returns nothing: there is no 'ret'"),
    (result_of_nothing, Probe("fexit", "tcp_close"), "ret",
     "the function tcp_close returns nothing: there is no 'ret'"),
    (result_of_nothing, Probe("kretprobe", "none"), "ret",
     "annotate 'ret': the target's types do not know the function; write ret: s32, say"),
    (result_of_nothing, Probe("uretprobe", "malloc", "libc.so.6"), "ret",
     "annotate 'ret': nothing says its type; write ret: s32, say"),
    (not_annotated, MALLOC, "size",
     "annotate 'size': nothing says the type of a parameter of uprobe:libc.so.6:malloc; write size: u64, say, or "
     "user_ptr(T) for a pointer"),
    (not_a_type, MALLOC, "size: 5", "5 is no type: write u64, a Struct, user_ptr(T), or the kernel's \"struct NAME\""),
    (no_such_pointer, MALLOC, 'user_ptr("struct none")', "the kernel has no type 'struct none'"
     ": names are as in C, struct sock, pid_t, void *"),
    (unknown_field, OPEN, "args.filenam",
     "tracepoint syscalls:sys_enter_openat has no field 'filenam'; did you mean filename?"),
    (no_field_alike, OPEN, "args.zzz",
     "tracepoint syscalls:sys_enter_openat has no field 'zzz'; it has __syscall_nr, dfd, filename, flags, mode"),
    (written_field, OPEN, "args.flags",
     "the record of tracepoint syscalls:sys_enter_openat can be read, not written: keep what changes in a variable"),
    (two_records, OPEN, "more",
     "tracepoint:syscalls:sys_enter_openat has one parameter: the record, whose fields are its attributes"),
    (unknown_field, Probe("tracepoint", "a:b"), "args",
     "the described kernel has no tracepoint a:b: give its format file as fields="),
    (register_of_nothing, MALLOC, 'ctx.reg("x0")',
     "x86_64 has no register 'x0'; it has r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, "
     "ip, cs, flags, sp, ss"),
    (context_member, MALLOC, "ctx.di", "the context has no attribute 'di'; ctx.reg(\"NAME\") is a register"),
    (any_name, Probe("interval", "1s"), "x", "interval:1s has no parameter 'x': only ctx, the registers"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "probe", "caret", "message"), REFUSED)
def test_refused(function: Callable[..., Any], probe: Probe, caret: str, message: str) -> None:
    target = described("5.10")
    with pytest.raises(CompileError) as raised:
        compile_probe(function, probe.chosen(target), target)
    error = raised.value
    assert error.message == message
    assert error.text[error.column - 1 : error.end_column - 1].startswith(caret)


def test_without_types() -> None:
    target = described("4.18", types=False)
    with pytest.raises(CompileError, match=r"the target has no types \(BTF: .*\) that know kprobe:tcp_connect: ann"):
        compile_probe(member, CONNECT, target)
    compile_unit(compile_probe(positions, CONNECT, target), target, check=True)
    with pytest.raises(CompileError, match=r"'struct inet_sock' needs the types of the kernel, and the target has"):
        compile_probe(lambda ctx: cast("struct inet_sock", 5).x, Probe("uprobe", "f"), target)


def test_no_such_kind() -> None:
    with pytest.raises(KeyError):
        Probe("kprob", "f").row  # noqa: B018


def test_patterns_mean_the_tracepoints_of_the_target() -> None:
    """Those of which the description has the format, wherever it is compiled."""
    head = "format:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n"
    both = "\tfield:int shared;\toffset:8;\tsize:4;\tsigned:1;\n"
    fields = {
        "made:up_one": head + both,
        "made:up_two": head + both + "\tfield:int own;\toffset:12;\tsize:4;\tsigned:1;\n",
        "made:other": head,
    }
    target = Target.described("6.1", fields=fields)
    tracer = Tracer()
    seen = tracer.sum()

    @tracer.tracepoint("made:up_*")
    def on_event(args: Any) -> None:
        seen.add(args.shared)

    (built,) = tracer.compile(target)
    assert any("(r1 +8)" in str(insn) or "+8)" in str(insn) for insn in built.compiled.spec.code.insns)

    other = Tracer()
    others = other.sum()

    @other.tracepoint("made:*")
    def on_other(args: Any) -> None:
        others.add(args.shared)

    with pytest.raises(CompileError, match="all tracepoints of made:\\* have the same field 'shared': made:other does"):
        other.compile(target)
    with pytest.raises(CompileError, match="no tracepoint matches 'made:up_\\*'"):
        tracer.compile(Target.described("6.1"))
