"""USDT arguments: every operand form of both architectures; the notes that have them; damaged notes."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.arch import ARCHES, arch_named, host_arch
from pybpf.errors import BpfError, NotFoundError
from pybpf.symbols import ElfFile, UsdtArg, UsdtArgKind, find_usdt, parse_args, usdt_sites
from tests.symbols.elfmaker import BASE, CODE, DATA, OBJECT, Elf, Sym, usdt_note

pytestmark = pytest.mark.pure

X86, ARM = arch_named("x86_64"), arch_named("aarch64")
CONST, REG, MEM, UNREADABLE = UsdtArgKind.CONST, UsdtArgKind.REG, UsdtArgKind.MEM, UsdtArgKind.UNREADABLE

#: as compilers write them -> what the facts of the two ABIs say
KNOWN = [
    (X86, "-4@%edi", UsdtArg(4, True, REG, 112)),
    (X86, "8@%rdi", UsdtArg(8, False, REG, 112)),
    (X86, "1@%dil", UsdtArg(1, False, REG, 112)),
    (X86, "-2@%r8w", UsdtArg(2, True, REG, 72)),
    (X86, "-4@%r15d", UsdtArg(4, True, REG, 0)),
    (X86, "8@-16(%rbp)", UsdtArg(8, False, MEM, 32, offset=-16)),
    (X86, "4@(%rsp)", UsdtArg(4, False, MEM, 152)),
    (X86, "4@0x20(%r12)", UsdtArg(4, False, MEM, 24, offset=32)),
    (X86, "8@(%rax,%rbx,8)", UsdtArg(8, False, MEM, 80, 40, 8)),
    (X86, "8@-8(%rax,%rbx)", UsdtArg(8, False, MEM, 80, 40, 1, -8)),
    (X86, "8@(,%rcx,4)", UsdtArg(8, False, MEM, None, 88, 4)),
    (X86, "8@$-9", UsdtArg(8, False, CONST, offset=2**64 - 9)),
    (X86, "-8@$-9", UsdtArg(8, True, CONST, offset=-9)),
    (X86, "-4@$4294967295", UsdtArg(4, True, CONST, offset=-1)),
    (X86, "8@sym+4(%rip)", UsdtArg(8, False, MEM, offset=4, symbol="sym")),
    (X86, "8@sym(%rip)", UsdtArg(8, False, MEM, symbol="sym")),
    (X86, "8@.LC0-8(%rip)", UsdtArg(8, False, MEM, offset=-8, symbol=".LC0")),
    (X86, "4@arr(,%rax,4)", UsdtArg(4, False, MEM, index=80, scale=4, symbol="arr")),
    (X86, "8@arr+8(%rax)", UsdtArg(8, False, MEM, 80, offset=8, symbol="arr")),
    (X86, "-8@arr-8(%rbx,%rcx)", UsdtArg(8, True, MEM, 40, 88, offset=-8, symbol="arr")),
    (X86, "8@$sym+4", UsdtArg(8, False, CONST, offset=4, symbol="sym")),
    (X86, "4f@8(%rsp)", UsdtArg(4, False, MEM, 152, offset=8, floating=True)),
    (ARM, "-8@x4", UsdtArg(8, True, REG, 32)),
    (ARM, "4@w30", UsdtArg(4, False, REG, 240)),
    (ARM, "8@sp", UsdtArg(8, False, REG, 248)),
    (ARM, "8@5", UsdtArg(8, False, CONST, offset=5)),
    (ARM, "-4@-1", UsdtArg(4, True, CONST, offset=-1)),
    (ARM, "8@xzr", UsdtArg(8, False, CONST)),
    (ARM, "4@[sp]", UsdtArg(4, False, MEM, 248)),
    (ARM, "4@[sp, 8]", UsdtArg(4, False, MEM, 248, offset=8)),
    (ARM, "4@[x29, -8]", UsdtArg(4, False, MEM, 232, offset=-8)),
    (ARM, "4@[x29, #-8]", UsdtArg(4, False, MEM, 232, offset=-8)),
    (ARM, "8@[x0, x1]", UsdtArg(8, False, MEM, 0, 8)),
    (ARM, "8@[x0, x1, lsl 3]", UsdtArg(8, False, MEM, 0, 8, 8)),
    (ARM, "8@[x0, w1, sxtw 2]", UsdtArg(8, False, MEM, 0, 8, 4, index_bits=-32)),
    (ARM, "8@[x0, w1, uxtw]", UsdtArg(8, False, MEM, 0, 8, 1, index_bits=32)),
]  # fmt: skip


@pytest.mark.parametrize(("arch", "text", "expected"), KNOWN, ids=[f"{arch.name} {text}" for arch, text, _ in KNOWN])
def test_known_operand(arch: object, text: str, expected: UsdtArg) -> None:
    assert parse_args(text, arch) == [expected]  # type: ignore[arg-type]


@pytest.mark.parametrize("arch", [X86, ARM], ids=["x86_64", "aarch64"])
def test_all_in_one_text(arch: object) -> None:
    mine = [(text, expected) for where, text, expected in KNOWN if where is arch]
    for gap in (" ", "  ", "\t"):
        text = gap.join(text for text, _ in mine)
        assert parse_args(f" {text} ", arch) == [expected for _, expected in mine]  # type: ignore[arg-type]


def test_no_arguments() -> None:
    assert parse_args("") == parse_args("  ") == []


@pytest.mark.parametrize(
    ("arch", "text", "problem"),
    [
        (X86, "8f@%xmm0", "register xmm0 is not saved"),
        (X86, "1@%ah", "register ah is not saved"),
        (X86, "8@%fs:8", "not an operand"),
        (X86, "8@16(%rip)", "not an operand"),
        (X86, "8@(%eax)", "not an operand"),
        (X86, "8@(%rax,%rbx,3)", "not an operand"),
        (X86, "8@(%r99)", "register r99 is not saved"),
        (X86, "8@()", "its address has no register"),
        (X86, "8@", "not an operand"),
        (X86, "3@%rax", "does not begin with a size"),
        (X86, "%rax", "does not begin with a size"),
        (ARM, "8@d0", "register d0 is not saved"),
        (ARM, "8@x31", "register x31 is not saved"),
        (ARM, "8@[x0, 8]!", "not an operand"),
        (ARM, "8@[x0, x1, lsl 9]", "not an operand"),
    ],
)
def test_what_cannot_be_read_says_why_and_hides_no_other(arch: object, text: str, problem: str) -> None:
    good = {X86.name: "4@%eax", ARM.name: "4@w1"}[arch.name]  # type: ignore[attr-defined]
    first, bad, last = parse_args(f"{good} {text} {good}", arch) if "@" in text[:3] else (  # type: ignore[arg-type]
        None, *parse_args(text, arch), None)  # type: ignore[arg-type]  # fmt: skip
    assert bad is not None
    assert bad.kind is UNREADABLE
    assert problem in bad.problem
    assert first == last


NUMBERS = st.integers(-(2**31), 2**31 - 1)
HEADS = st.tuples(st.sampled_from((1, 2, 4, 8)), st.booleans())
X86_BASES = sorted(name for name in X86.operand_registers if name.startswith("r") and name[-1] not in "dwb")
X86_BASES = [name for name in [*X86_BASES, "rdi", "rsi", "rbp", "rsp"] if name != "rip"]


@st.composite
def x86_args(draw: st.DrawFn) -> tuple[str, UsdtArg]:
    size, signed = draw(HEADS)
    head = f"{'-' if signed else ''}{size}@"
    form = draw(st.sampled_from(("const", "reg", "base", "index", "symbol")))
    if form == "const":
        value = draw(st.integers(-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1))
        return f"{head}${value}", UsdtArg(size, signed, CONST, offset=value if signed else value % 2 ** (8 * size))
    if form == "reg":
        name = draw(st.sampled_from(sorted(X86.operand_registers)))
        return f"{head}%{name}", UsdtArg(size, signed, REG, X86.operand_registers[name])
    offset = draw(NUMBERS)
    if form == "symbol":
        symbol = draw(st.sampled_from(("v", "a_b", ".LC0", "x.1", "f$2", "rax", "long_name_of_a_variable")))
        text = f"{offset:+}" if offset else ""
        return f"{head}{symbol}{text}(%rip)", UsdtArg(size, signed, MEM, offset=offset, symbol=symbol)
    base, index = draw(st.sampled_from(X86_BASES)), draw(st.sampled_from(X86_BASES))
    text = str(offset) if offset or draw(st.booleans()) else ""
    registers = X86.operand_registers
    if form == "base":
        return f"{head}{text}(%{base})", UsdtArg(size, signed, MEM, registers[base], offset=offset)
    scale = draw(st.sampled_from((1, 2, 4, 8)))
    expected = UsdtArg(size, signed, MEM, registers[base], registers[index], scale, offset)
    return f"{head}{text}(%{base},%{index},{scale})", expected


@st.composite
def arm_args(draw: st.DrawFn) -> tuple[str, UsdtArg]:
    size, signed = draw(HEADS)
    head = f"{'-' if signed else ''}{size}@"
    form = draw(st.sampled_from(("const", "reg", "base", "index")))
    registers = ARM.operand_registers
    if form == "const":
        value = draw(st.integers(-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1))
        return f"{head}{value}", UsdtArg(size, signed, CONST, offset=value if signed else value % 2 ** (8 * size))
    if form == "reg":
        name = draw(st.sampled_from(sorted(registers)))
        return f"{head}{name}", UsdtArg(size, signed, REG, registers[name])
    base = draw(st.sampled_from([f"x{i}" for i in range(31)] + ["sp"]))
    if form == "base":
        offset = draw(st.integers(-256, 4095))
        text = f"[{base}, {offset}]" if offset else f"[{base}]"
        return head + text, UsdtArg(size, signed, MEM, registers[base], offset=offset)
    index = draw(st.integers(0, 30))
    width, extend, bits = draw(st.sampled_from((("x", "lsl", 64), ("w", "sxtw", -32), ("w", "uxtw", 32))))
    shift = draw(st.integers(0, 3))
    text = f"[{base}, {width}{index}, {extend} {shift}]"
    return head + text, UsdtArg(size, signed, MEM, registers[base], 8 * index, 1 << shift, index_bits=bits)


@given(st.lists(x86_args(), max_size=4))
def test_x86_arguments_are_read_back(args: list[tuple[str, UsdtArg]]) -> None:
    assert parse_args(" ".join(text for text, _ in args), X86) == [arg for _, arg in args]


@given(st.lists(arm_args(), max_size=4))
def test_arm_arguments_are_read_back(args: list[tuple[str, UsdtArg]]) -> None:
    assert parse_args(" ".join(text for text, _ in args), ARM) == [arg for _, arg in args]


LETTERS = st.sampled_from("0123456789@-+$%()[],# .rxwspabcdlfi\t\n\x00é")


@given(st.text(LETTERS, max_size=60), st.sampled_from([X86, ARM]))
def test_any_text_is_taken(text: str, arch: object) -> None:
    for arg in parse_args(text, arch):  # type: ignore[arg-type]
        assert (arg.kind is UNREADABLE) == bool(arg.problem)
        assert len(arg.problem) < 400


@pytest.mark.parametrize("text", [" " * 4000, "8@" + "(" * 4000, "8@$" + "9" * 4000, "8@" + "a." * 2000 + "!"])
def test_long_text_is_quick(text: str) -> None:
    for arch in (X86, ARM):
        for arg in parse_args(text, arch):
            assert len(arg.problem) < 400


def write(tmp_path: Path, notes: bytes, **fields: object) -> str:
    fields.setdefault("data", bytes(16))
    fields.setdefault("machine", "x86_64")
    return Elf(notes=notes, **fields).write(tmp_path / "elf")  # type: ignore[arg-type]


def test_sites_of_a_file(tmp_path: Path) -> None:
    notes = usdt_note("p:one", BASE + CODE + 4, "8@%rax", BASE + DATA + 2) + usdt_note("p:two", BASE + CODE + 8)
    notes += usdt_note("p:one", BASE + CODE + 12, "4@$7")
    with ElfFile(write(tmp_path, notes)) as elf:
        sites = usdt_sites(elf)
        assert [(site.probe, site.offset, site.semaphore) for site in sites] == [
            ("p:one", CODE + 4, DATA + 2), ("p:two", CODE + 8, 0), ("p:one", CODE + 12, 0),
        ]  # fmt: skip
        assert (sites[0].address, sites[0].semaphore_address) == (BASE + CODE + 4, BASE + DATA + 2)
        assert [site.args_text for site in sites] == ["8@%rax", "", "4@$7"]
        assert sites[1].args == ()
        assert find_usdt(elf, "p:one") == [sites[0], sites[2]]
        assert find_usdt(elf, "two") == [sites[1]]
        with pytest.raises(NotFoundError, match=r"no USDT probe p:onne .*did you mean p:one"):
            find_usdt(elf, "p:onne")


def test_name_of_two_providers(tmp_path: Path) -> None:
    notes = usdt_note("p:n", BASE + CODE) + usdt_note("q:n", BASE + CODE)
    with ElfFile(write(tmp_path, notes)) as elf, pytest.raises(BpfError, match=r"several USDT probes .*p:n, q:n"):
        find_usdt(elf, "n")


def test_no_probes(tmp_path: Path) -> None:
    with ElfFile(Elf().write(tmp_path / "elf")) as elf:
        assert usdt_sites(elf) == []
        with pytest.raises(NotFoundError, match="has no USDT probes"):
            find_usdt(elf, "p:n")


def test_addresses_move_with_the_base(tmp_path: Path) -> None:
    """A prelinked file: notes keep the addresses of the link."""
    notes = usdt_note("p:n", 0x1000, semaphore=0x2004, base=0x500) + usdt_note("p:m", 0x1008, base=0x500)
    with ElfFile(write(tmp_path, notes, base=BASE + 0x500)) as elf:
        sites = usdt_sites(elf)
        assert [(site.offset, site.semaphore) for site in sites] == [(CODE, DATA + 4), (CODE + 8, 0)]


def test_symbols_become_displacements_from_the_instruction(tmp_path: Path) -> None:
    notes = usdt_note("p:n", BASE + CODE + 8, "4@v+4(%rip) 8@$v 8@missing(%rip) 8@%rax")
    with ElfFile(write(tmp_path, notes, symbols=[Sym("v", BASE + DATA + 8, 4, OBJECT, 2)])) as elf:
        first, second, third, fourth = usdt_sites(elf)[0].args
    assert first == UsdtArg(4, False, MEM, X86.registers["ip"], offset=DATA + 12 - CODE - 8)
    assert second == UsdtArg(8, False, CONST, offset=BASE + DATA + 8)
    assert third == replace(third, kind=UNREADABLE, problem="the file has no symbol missing")
    assert fourth.kind is REG


def test_second_instruction_of_the_newer_pair(tmp_path: Path) -> None:
    """nop, nop5: the kernel makes a probe on the five bytes cheap."""
    code = b"\xc3" * 8 + b"\x90\x0f\x1f\x44\x00\x00" + b"\xc3"
    notes = usdt_note("p:new", BASE + CODE + 8) + usdt_note("p:old", BASE + CODE)
    with ElfFile(write(tmp_path, notes, code=code)) as elf:
        assert [site.offset for site in usdt_sites(elf)] == [CODE + 9, CODE]
    with ElfFile(write(tmp_path, notes, code=code, machine="aarch64")) as elf:
        assert [site.offset for site in usdt_sites(elf)] == [CODE + 8, CODE]


def test_notes_that_make_no_sense_are_left_out(tmp_path: Path) -> None:
    good = usdt_note("p:good", BASE + CODE)
    outside = usdt_note("p:outside", 0x1234) + usdt_note("p:data", BASE + DATA)
    semaphore = usdt_note("p:semaphore", BASE + CODE, semaphore=0x99999999)
    foreign = usdt_note("p:foreign", BASE + CODE, owner=b"other\0\0\0")
    short = struct.pack("<III", 8, 10, 3) + b"stapsdt\0" + bytes(12)
    unended = struct.pack("<III", 8, 28, 3) + b"stapsdt\0" + struct.pack("<QQQ", BASE + CODE, 0, 0) + b"abcd"
    huge = struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFF0, 3)
    with ElfFile(write(tmp_path, outside + semaphore + foreign + short + unended + good + huge)) as elf:
        assert [site.probe for site in usdt_sites(elf)] == ["p:good"]


@pytest.mark.skipif(ARCHES["x86_64"] is not host_arch(), reason="operands of x86_64")
def test_symbols_with_registers_are_absolute_addresses(tmp_path: Path) -> None:
    """An array of a program that is not position-independent."""
    notes = usdt_note("p:n", BASE + CODE, "4@v(,%rax,4) 8@v+8(%rbx)")
    with ElfFile(write(tmp_path, notes, symbols=[Sym("v", BASE + DATA, 4, OBJECT, 2)])) as elf:
        (site,) = usdt_sites(elf)
    assert site.args == (
        UsdtArg(4, False, MEM, index=80, scale=4, offset=BASE + DATA),
        UsdtArg(8, False, MEM, 40, offset=BASE + DATA + 8),
    )


def test_many_notes_with_symbols_are_quick(tmp_path: Path) -> None:
    notes = b"".join(usdt_note(f"p:n{i}", BASE + CODE, f"8@s{i}(%rip)") for i in range(500))
    symbols = [Sym(f"s{i}", BASE + DATA, 4, OBJECT, 2) for i in range(500)]
    with ElfFile(write(tmp_path, notes, symbols=symbols)) as elf:
        assert all(site.args[0].kind is MEM for site in usdt_sites(elf))


def test_unknown_architecture(tmp_path: Path) -> None:
    with ElfFile(write(tmp_path, usdt_note("p:n", BASE + CODE), machine="mips")) as elf, pytest.raises(
        BpfError, match="cannot read the USDT probes"
    ):
        usdt_sites(elf)


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
@pytest.mark.skipif(not os.path.exists("/usr/bin/python3.11"), reason="needs Debian's python3.11")
def test_python_has_what_readelf_prints() -> None:
    text = subprocess.run(["readelf", "-n", "/usr/bin/python3.11"], capture_output=True, text=True, check=True).stdout
    values = {
        key: [line.split(": ", 1)[1] for line in text.splitlines() if line.strip().startswith(f"{key}: ")]
        for key in ("Provider", "Name", "Arguments")
    }
    with ElfFile("/usr/bin/python3.11") as elf:
        sites = usdt_sites(elf)
        assert sites
        assert [site.provider for site in sites] == values["Provider"]
        assert [site.name for site in sites] == values["Name"]
        assert [site.args_text for site in sites if site.args_text] == values["Arguments"]
        assert all(arg.kind is not UNREADABLE for site in sites for arg in site.args)
        if elf.machine == "EM_X86_64":
            assert all(elf.read(site.offset, 1) == b"\x90" for site in sites)


def test_every_architecture_has_its_tables() -> None:
    for arch in ARCHES.values():
        assert set(arch.operand_registers.values()) >= {arch.registers[name] for name in arch.arguments}
        assert arch.registers[arch.sp] in arch.operand_registers.values()
