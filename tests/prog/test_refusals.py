"""Programs that the verifier refuses: reason, instruction, source line and advice, on whatever kernel runs."""

from __future__ import annotations

import mmap
import pickle
import re
from typing import Any, NamedTuple

import pytest

from pybpf.asm import (
    DW,
    FP,
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    W1,
    Code,
    Insn,
    SourceLine,
    W,
    add,
    and_,
    call,
    call_local,
    exit_,
    goto,
    jeq,
    jlt,
    label,
    ld_map,
    ldx,
    mov,
    mul,
    st,
    stx,
    sub,
)  # fmt: skip
from pybpf.errors import BpfError, VerifierError
from pybpf.prog import Program, ProgramSpec, load
from pybpf.prog.debug import LineRow, functions, line_rows
from pybpf.sys import privilege
from pybpf.sys.bpf import Cmd, MapType, ProgType, bpf
from pybpf.sys.fd import Fd

pytestmark = pytest.mark.root

#: stands for the instruction that is to be refused: its text is checked against what follows
LOOKUP = [st(W, FP, -4, 0), mov(R2, FP), add(R2, -4), ld_map(R1, "values"), call("map_lookup_elem")]
RESERVE = [ld_map(R1, "ring"), mov(R2, 8), mov(R3, 0), call("ringbuf_reserve")]


class Case(NamedTuple):
    """A wrong program and what is to be said of it."""

    items: list[Any]
    reason: str  #: pattern: kernels differ in their words
    at: int | None  #: which instruction (not slot), None where the verifier does not say
    insn: str  #: pattern of its text
    advice: str = ""  #: pattern
    type: ProgType = ProgType.RAW_TRACEPOINT
    fields: dict[str, Any] = {}  # noqa: RUF012 - never changed


CASES = {
    "register never set": Case([mov(R0, R3), exit_()], r"R3 !read_ok", 0, r"r0 = r3", "no value on some path"),
    "no result": Case([exit_()], r"R0 !read_ok", 0, "exit", "set it before exit"),
    "register lost by a call": Case(
        [mov(R3, 1), call("ktime_get_ns"), mov(R0, R3), exit_()], r"R3 !read_ok", 2, r"r0 = r3", "survive a call"
    ),
    "no null check": Case(
        [*LOOKUP, ldx(DW, R0, R0, 0), exit_()],
        r"R0 invalid mem access 'map_value_or_null'",
        5, r"r0 = \*\(u64 \*\)\(r0 \+0\)", "may be null",
    ),
    "number as a pointer": Case(
        [mov(R1, 5), ldx(DW, R0, R1, 0), exit_()],
        r"R1 invalid mem access '(inv|scalar)'",
        1, r"r0 = \*\(u64 \*\)\(r1 \+0\)", "bpf_probe_read_kernel",
    ),
    "index without a bound": Case(
        [
            ldx(DW, R6, R1, 0), *LOOKUP, jeq(R0, 0, "out"), and_(R6, 0xFFF), add(R0, R6), ldx(DW, R0, R0, 0),
            label("out"), mov(R0, 0), exit_(),
        ],
        r"R0 (unbounded|max value is outside|.*outside of the)|invalid access to map value",
        9, r"r0 = \*\(u64 \*\)\(r0 \+0\)", "bound the very register",
    ),
    "size without a bound": Case(
        [
            ldx(DW, R2, R1, 0), st(DW, FP, -8, 0), mov(R1, FP), add(R1, -8), mov(R3, 0), call("probe_read_kernel"),
            mov(R0, 0), exit_(),
        ],
        r"R2 (min value is negative|unbounded memory access)",
        5, r"call bpf_probe_read_kernel#113", "`&=`",
    ),
    "below the stack": Case(
        [st(DW, FP, -520, 1), mov(R0, 0), exit_()],
        r"invalid (write to )?stack .*off=-520 size=8",
        0, r"\*\(u64 \*\)\(r10 -520\) = 1", "512 bytes",
    ),
    "misaligned": Case(
        [st(DW, FP, -12, 1), mov(R0, 0), exit_()],
        r"misaligned stack access",
        0, r"\*\(u64 \*\)\(r10 -12\) = 1", "multiple of the size",
    ),
    "unreachable": Case(
        [mov(R0, 0), exit_(), mov(R0, 1), exit_()], r"unreachable insn 2", 2, "r0 = 1", "no path leads"
    ),
    "endless loop": Case(
        [mov(R0, 0), label("top"), jeq(R0, 1, "out"), goto("top"), label("out"), exit_()],
        r"infinite loop detected at insn \d|back-edge|unreachable",
        None, "", "",
    ),
    "too many branches": Case(
        [call("get_prandom_u32"), mov(R6, R0), *[jeq(R6, k, "out") for k in range(9000)], label("out"), exit_()],
        r"The sequence of 8193 jumps is too complex",
        None, r"if r6 == .* goto out", "gave up",
    ),
    "no such helper": Case([Insn(0x85, imm=99999), exit_()], r"invalid func unknown#99999", 0, r"call unknown#99999"),
    "helper of other programs": Case(
        [call("seq_printf"), exit_()],
        r"(unknown func|cannot use helper) bpf_seq_printf#126|invalid func bpf_seq_printf#126",
        0, r"call bpf_seq_printf#126", "bpf_seq_printf",
    ),
    "GPL helper": Case(
        [mov(R1, 0), mov(R2, 1), call("trace_printk"), exit_()],
        r"cannot call GPL.restricted function from non-GPL compatible program",
        2, r"call bpf_trace_printk#6", "license='GPL'", fields={"license": "MIT"},
    ),
    "reserved and not submitted": Case(
        [*RESERVE, mov(R0, 0), exit_()],
        r"[Uu]nreleased reference|reference leak",
        5, "exit", "on every path",
    ),
    "size of a record not constant": Case(
        [ldx(DW, R2, R1, 0), ld_map(R1, "ring"), mov(R3, 0), call("ringbuf_reserve"), mov(R0, 0), exit_()],
        r"R2 (is not a (known constant|const)$|unbounded size)",
        3, r"call bpf_ringbuf_reserve#131", "constant|bound",
    ),
    "context too far": Case(
        [ldx(DW, R0, R1, 800), exit_()],
        r"invalid bpf_context access off=800 size=8", 0, r"r0 = \*\(u64 \*\)\(r1 \+800\)", "constant offsets",
    ),
    "context at a variable offset": Case(
        [ldx(DW, R2, R1, 0), and_(R2, 8), add(R1, R2), ldx(DW, R0, R1, 0), exit_()],
        r"variable ctx access|dereference of modified ctx", 3, r"r0 = \*\(u64 \*\)\(r1 \+0\)", "constant offsets",
    ),
    "frame pointer": Case([mov(FP, 1), exit_()], r"frame pointer is read only", 0, r"r10 = 1", "copy it"),
    "pointer times number": Case(
        [mul(R1, 2), exit_()], r"R1 pointer arithmetic with \*= operator prohibited", 0, r"r1 \*= 2", "64-bit"
    ),
    "pointer in 32 bits": Case(
        [add(W1, 2), exit_()], r"R1 32-bit pointer arithmetic prohibited", 0, r"w1 \+= 2", "64-bit"
    ),
    "pointer plus pointer": Case(
        [add(R1, FP), exit_()], r"R1 pointer \+= pointer prohibited", 0, r"r1 \+= r10", "pointers take"
    ),
    "frame pointer lowered": Case(
        [mov(R2, FP), sub(R2, 8), exit_()], r"R2 subtraction from stack pointer prohibited", 1, r"r2 -= 8", r"only \+="
    ),
    "jump too far": Case([goto(5), exit_()], r"jump out of range from insn 0 to 6", 0, r"goto pc\+5", "same function"),
    "no end": Case([exit_(), mov(R0, 0)], r"last insn is not an exit or jmp", 1, "r0 = 0", "end with exit"),
    "end of a function missing": Case(
        [call_local("f"), mov(R0, 0), label("f"), mov(R0, 1), exit_()],
        r"last insn is not an exit or jmp", 1, "r0 = 0", "end with exit",
    ),
    "recursion": Case(
        [label("f"), call_local("f"), exit_()], r"stack of 9 frames is too deep|recursive call|back-edge", None, ""
    ),
    "wrong map": Case(
        [ld_map(R1, "values"), mov(R2, 8), mov(R3, 0), call("ringbuf_reserve"), mov(R0, 0), exit_()],
        r"cannot pass map_type 1 into func bpf_ringbuf_reserve#131", 3, r"call bpf_ringbuf_reserve#131", "of this type",
    ),
    "size 0": Case(
        [mov(R1, FP), add(R1, -8), mov(R2, 0), call("get_current_comm"), exit_()],
        r"invalid zero-sized read|invalid stack type R1 off=-8 access_size=0|invalid .*access_size=0",
        3, r"call bpf_get_current_comm#16",
    ),
    "tracepoint record is read-only": Case(
        [mov(R0, 0), stx(DW, R1, 8, R0), exit_()],
        r"invalid bpf_context access off=8 size=8", 1, r"\*\(u64 \*\)\(r1 \+8\) = r0", type=ProgType.TRACEPOINT,
    ),
}  # fmt: skip


class RawMap:
    """A map as the kernel makes it."""

    def __init__(self, kind: MapType, key_size: int, value_size: int, entries: int) -> None:
        fields = {"map_type": kind, "key_size": key_size, "value_size": value_size, "max_entries": entries}
        self.fd = Fd(bpf(Cmd.MAP_CREATE, **fields), "map")

    def __enter__(self) -> RawMap:
        return self

    def __exit__(self, *_: object) -> None:
        self.fd.close()


def with_lines(items: list[Any]) -> list[Any]:
    """The same with instruction n on line n + 1 of ``wrong.py``."""
    lines, number = [], 0
    for item in items:
        if isinstance(item, Insn):
            number += 1
            item = item.at(SourceLine("src/wrong.py", number, 5, f"    statement {number}"))
        lines.append(item)
    return lines


def refused(spec: ProgramSpec) -> VerifierError:
    try:
        with RawMap(MapType.HASH, 4, 8, 1) as values, RawMap(MapType.RINGBUF, 0, 0, mmap.PAGESIZE) as ring:
            Program.load(spec, {"values": values, "ring": ring}).close()
    except VerifierError as error:
        return error
    pytest.fail("the program was taken")


@pytest.mark.parametrize("name", CASES)
def test_refusal(name: str) -> None:
    case = CASES[name]
    code = Code(with_lines(case.items))
    error = refused(ProgramSpec(case.type, code, "wrong", **case.fields))
    assert re.search(case.reason, error.cause), error.log[-600:]
    assert re.fullmatch(case.insn, error.insn) or not case.insn
    assert re.search(case.advice, error.advice)
    if case.at is not None:
        assert error.insn_index == code.slot(case.at)
        assert error.source == f"src/wrong.py:{case.at + 1}: statement {case.at + 1}"
    text = str(error)
    assert text.startswith(f"cannot load {case.type.name.lower()} program 'wrong': {error.cause}")
    assert "\n\n" not in text


def test_everything_is_in_the_message() -> None:
    code = Code(with_lines([mov(R0, 0), ldx(DW, R0, R5, 0), exit_()]))
    error = refused(ProgramSpec(ProgType.SOCKET_FILTER, code, "wrong"))
    assert str(error).splitlines()[:3] == [
        "cannot load socket_filter program 'wrong': R5 !read_ok",
        "  at instruction 1: r0 = *(u64 *)(r5 +0)",
        "  from src/wrong.py:2: statement 2",
    ]
    assert "1: (79) r0 = *(u64 *)(r5 +0)" in error.log
    assert error.errno == 13
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.log, again.source) == (str(error), error.log, error.source)


def test_source_line_of_a_generated_instruction() -> None:
    """An instruction that a compiler adds without a line belongs to the line before it, or to the first one."""
    line = SourceLine("a.py", 3, 1, "x = y")
    error = refused(ProgramSpec(ProgType.SOCKET_FILTER, Code([mov(R0, 0).at(line), mov(R0, R4), exit_()])))
    assert error.source == "a.py:3: x = y"
    error = refused(ProgramSpec(ProgType.SOCKET_FILTER, Code([mov(R0, R4), exit_().at(line)])))
    assert error.source == "a.py:3: x = y"


FIRST, LAST = SourceLine("a.py", 3, 1, "x = y"), SourceLine("a.py", 9, 1, "return x")


@pytest.mark.parametrize(
    ("helper", "source"),
    [
        ([mov(R0, R4), exit_()], ""),
        ([mov(R0, R4), exit_().at(LAST)], "a.py:9: return x"),
        ([mov(R0, R4).at(LAST), exit_()], "a.py:9: return x"),
    ],
    ids=["no lines", "a later line", "a line"],
)
def test_source_line_of_a_called_function(helper: list[Insn], source: str) -> None:
    """It is never that of the function in front of it; what comes behind counts neither."""
    main = [call_local("helper").at(FIRST), exit_().at(FIRST)]
    behind = [label("behind"), mov(R0, 0).at(FIRST), exit_().at(FIRST)]
    items = [*main[:1], call_local("behind").at(FIRST), *main[1:], label("helper"), *helper, *behind]
    error = refused(ProgramSpec(ProgType.SOCKET_FILTER, Code(items)))
    assert "R4 !read_ok" in error.cause
    assert error.source == source


def test_lines_of_functions() -> None:
    """Each function starts with a line of its own, or with an empty one."""
    none = SourceLine("", 0, 0, "")
    code = Code([
        mov(R0, 0), *[call_local(f"helper{n}").at(FIRST) for n in range(3)], exit_(),
        label("helper0"), mov(R0, 0), exit_(),
        label("helper1"), mov(R0, 1), exit_().at(LAST),
        label("helper2"), mov(R0, 2), exit_(),
    ])  # fmt: skip
    rows = list(line_rows(code, functions(code, "main")))
    assert rows == [LineRow(0, FIRST), LineRow(5, none), LineRow(7, LAST), LineRow(9, none)]
    with Program.load(ProgramSpec(ProgType.SOCKET_FILTER, code)):
        pass


def test_no_source_lines() -> None:
    error = refused(ProgramSpec(ProgType.SOCKET_FILTER, Code([mov(R0, R4), exit_()])))
    assert error.source == ""
    assert "\n  from" not in str(error)


def test_hostile_source_lines() -> None:
    """No line of a script can make a program unloadable."""
    lines = [
        SourceLine("a\0b\n.py", 1 << 30, 5000, "x\0y\n\x1b[31m"),
        SourceLine("", 1, 0, ""),
        SourceLine("\udcff.py", 0, 0, "é" * 10_000),
    ]
    for line in lines:
        with Program.load(ProgramSpec(ProgType.SOCKET_FILTER, Code([mov(R0, 0).at(line), exit_()]))) as program:
            assert program.info().btf_id or not _has_btf()


def _has_btf() -> bool:
    from pybpf.sys.features import has

    return has("btf")


@pytest.mark.parametrize("asks", [True, False], ids=["kernel says what it needs", "sizes tried in turn"])
def test_log_grows(asks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of a long program is whole, whatever size is tried first."""
    monkeypatch.setattr(load, "_LOG_SIZES", (128, 4096, 1 << 24, 1 << 26))
    original, sizes = load._next_size, []

    def next_size(size: int, wanted: int) -> int:
        sizes.append(size)
        return original(size, wanted if asks else 0)

    monkeypatch.setattr(load, "_next_size", next_size)
    error = refused(ProgramSpec(ProgType.SOCKET_FILTER, Code([*[mov(R0, 0)] * 4000, mov(R0, R4), exit_()])))
    assert sizes[0] == 128
    assert len(sizes) <= 2
    assert "\n0: (b7) r0 = 0" in error.log
    assert "4000: (bf) r0 = r4" in error.log
    assert error.cause == "R4 !read_ok"
    assert error.insn_index == 4000


def test_log_larger_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel keeps the end of the log since 6.4; before, there may be no reason, but there is an error."""
    monkeypatch.setattr(load, "_LOG_SIZES", (1 << 12,))
    monkeypatch.setattr(load, "LOG_LIMIT", 1 << 12)
    spec = ProgramSpec(ProgType.SOCKET_FILTER, Code([*[mov(R0, 0)] * 4000, mov(R0, R4), exit_()]))
    with pytest.raises(BpfError) as caught:
        Program.load(spec)
    log = getattr(caught.value, "log", "")
    assert len(log) <= 1 << 12
    if "4000: " in log:
        assert "R4 !read_ok" in str(caught.value)


def test_bounded_loop_that_is_too_long() -> None:
    """A long path has a long log."""
    turns = 10_000
    code = Code([mov(R0, 0), label("top"), add(R0, 1), jlt(R0, turns, "top"), mov(R0, R4), exit_()])
    error = refused(ProgramSpec(ProgType.SOCKET_FILTER, code))
    if "back-edge" in error.cause:
        pytest.skip("kernel takes no loops (Linux 5.3)")
    assert error.cause == "R4 !read_ok"
    assert len(error.log) > 25 * turns


def test_helper_that_the_kernel_does_not_know_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an old kernel says of a newer helper."""
    reason, advice = load._about_helper(ProgType.KPROBE, "invalid func unknown#131") or ("", "")
    assert reason == "invalid func bpf_ringbuf_reserve#131"
    assert advice == "this kernel has no helper bpf_ringbuf_reserve; it came with Linux 5.8"
    reason, advice = load._about_helper(ProgType.KPROBE, "unknown func bpf_d_path#147") or ("", "")
    assert reason == "unknown func bpf_d_path#147"
    assert advice.startswith("kprobe programs cannot call bpf_d_path on this kernel")


def test_unknown_program_type() -> None:
    spec = ProgramSpec(9999, Code([mov(R0, 0), exit_()]))  # type: ignore[arg-type]
    with pytest.raises(BpfError, match="cannot load type 9999 program"):
        Program.load(spec)


def test_a_helper_that_lockdown_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """bpf_seq_printf, which no kprobe program may call, stands for one that a lockdown takes from them."""
    state = privilege.privileges()._replace(lockdown="integrity")
    monkeypatch.setitem(privilege._LOCKED_HELPERS, "seq_printf", "integrity")
    monkeypatch.setattr(privilege, "privileges", lambda: state)
    code = Code([mov(R1, FP), mov(R2, FP), mov(R3, 0), mov(R4, FP), mov(R5, 0), call("seq_printf"), exit_()])
    with pytest.raises(VerifierError) as caught:
        Program.load(ProgramSpec(ProgType.KPROBE, code, "locked"))
    assert "the kernel is locked down (integrity), which forbids programs to call bpf_seq_printf" in str(caught.value)
