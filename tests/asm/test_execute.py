"""Every arithmetic, jump and atomic form run by the kernel, against what Python computes."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence

import pytest

from pybpf.asm import (
    DW,
    R0,
    R1,
    R2,
    R3,
    W1,
    W2,
    B,
    Code,
    H,
    Insn,
    Item,
    W,
    assemble,
    atomic_add,
    atomic_and,
    atomic_cmpxchg,
    atomic_or,
    atomic_xchg,
    atomic_xor,
    be,
    bswap,
    call_local,
    encode,
    exit_,
    find_form,
    goto,
    gotol,
    jset,
    label,
    ld_imm64,
    ld_map_value,
    ldsx,
    ldx,
    le,
    load_acquire,
    may_goto,
    mov,
    movsx,
    neg,
    st,
    store_release,
    stx,
)  # fmt: skip
from pybpf.errors import AsmError
from tests.asm.built import ARITHMETIC, JUMPS
from tests.asm.machine import U64, Case, array, compute, load, load_log, needs, run, write

pytestmark = pytest.mark.root

_BITS = (0, 1, -1, 33, 0x7FFFFFFF, 0x80000000, 0x123456789ABCDEF0, 1 << 63, (1 << 63) - 1)
VALUES = tuple(value & U64 for value in _BITS)
IMMEDIATES = (0, 1, 31, -1, -3, 0x7FFFFFFF, -0x80000000)


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def _quotient(a: int, b: int) -> int:
    """Towards zero, as processors divide, and 0 for division by 0, as eBPF defines."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if b else 0


#: name -> (operands are signed, result), of numbers as wide as the operation.
_MEANING: dict[str, tuple[bool, Callable[[int, int, int], int]]] = {
    "mov": (False, lambda a, b, bits: b),
    "add": (False, lambda a, b, bits: a + b),
    "sub": (False, lambda a, b, bits: a - b),
    "mul": (False, lambda a, b, bits: a * b),
    "div": (False, lambda a, b, bits: _quotient(a, b)),
    "mod": (False, lambda a, b, bits: a % b if b else a),
    "sdiv": (True, lambda a, b, bits: _quotient(a, b)),
    "smod": (True, lambda a, b, bits: a - b * _quotient(a, b)),
    "or_": (False, lambda a, b, bits: a | b),
    "and_": (False, lambda a, b, bits: a & b),
    "xor": (False, lambda a, b, bits: a ^ b),
    "lsh": (False, lambda a, b, bits: a << b % bits),
    "rsh": (False, lambda a, b, bits: a >> b % bits),
    "arsh": (True, lambda a, b, bits: a >> b % bits),
}

_COMPARE: dict[str, tuple[bool, Callable[[int, int], bool]]] = {
    "jeq": (False, lambda a, b: a == b),
    "jne": (False, lambda a, b: a != b),
    "jgt": (False, lambda a, b: a > b),
    "jge": (False, lambda a, b: a >= b),
    "jlt": (False, lambda a, b: a < b),
    "jle": (False, lambda a, b: a <= b),
    "jsgt": (True, lambda a, b: a > b),
    "jsge": (True, lambda a, b: a >= b),
    "jslt": (True, lambda a, b: a < b),
    "jsle": (True, lambda a, b: a <= b),
    "jset": (False, lambda a, b: bool(a & b)),
}


def _needs_all(insns: Sequence[Insn]) -> None:
    for insn in insns:
        form = find_form(insn)
        assert form is not None
        needs(form.feature)


def _operands(value: int, bits: int, is_signed: bool) -> int:
    return signed(value, bits) if is_signed else value & (1 << bits) - 1


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("name", list(ARITHMETIC))
def test_arithmetic(name: str, bits: int) -> None:
    one, two = (R1, R2) if bits == 64 else (W1, W2)
    is_signed, meaning = _MEANING[name]
    make = ARITHMETIC[name]
    _needs_all([make(one, two)])
    pieces: list[tuple[list[Insn], Case]] = [([make(one, two)], Case(a, b)) for a in VALUES for b in VALUES]
    for immediate in IMMEDIATES:
        if name in ("div", "mod", "sdiv", "smod") and immediate == 0:
            continue  # refused by the kernel, and by the function
        if name in ("lsh", "rsh", "arsh"):
            immediate = immediate % bits
        pieces += [([make(one, immediate)], Case(a, immediate)) for a in VALUES]
    for (insns, case), found in zip(pieces, compute(pieces)):
        a, b = _operands(case.r1, bits, is_signed), _operands(case.r2, bits, is_signed)
        want = meaning(a, b, bits) & (1 << bits) - 1
        assert found.r1 == want, f"{insns[0]} of {case.r1:#x}, {case.r2:#x} gave {found.r1:#x}, not {want:#x}"


def test_negation() -> None:
    pieces = [([neg(register)], Case(value)) for register in (R1, W1) for value in VALUES]
    for (insns, case), found in zip(pieces, compute(pieces)):
        bits = 64 if insns == [neg(R1)] else 32
        assert found.r1 == -case.r1 & (1 << bits) - 1


def test_sign_extending_moves() -> None:
    needs("cpu_v4")
    for one, two, widths, width in (R1, R2, (8, 16, 32), 64), (W1, W2, (8, 16), 32):
        for bits in widths:
            values = [*VALUES, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF]
            pieces = [([movsx(one, two, bits)], Case(U64, value)) for value in values]
            for (_, case), found in zip(pieces, compute(pieces)):
                assert found.r1 == signed(case.r2, bits) & (1 << width) - 1


def test_byte_swaps() -> None:
    for swap in (le, be, bswap):
        _needs_all([swap(R1, 16)])
        for bits in (16, 32, 64):
            pieces = [([swap(R1, bits)], Case(value)) for value in VALUES]
            swapped = swap is bswap or swap is (be if sys.byteorder == "little" else le)
            for (_, case), found in zip(pieces, compute(pieces)):
                data = (case.r1 & (1 << bits) - 1).to_bytes(bits // 8, "little")
                assert found.r1 == int.from_bytes(data, "big" if swapped else "little")


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("name", list(JUMPS))
def test_jump(name: str, bits: int) -> None:
    one, two = (R1, R2) if bits == 64 else (W1, W2)
    is_signed, meaning = _COMPARE[name]
    make = JUMPS[name]
    _needs_all([make(one, two, 1)])
    pieces = [([mov(R0, 1), make(one, two, 1), mov(R0, 0)], Case(a, b)) for a in VALUES for b in VALUES]
    for immediate in IMMEDIATES:
        pieces += [([mov(R0, 1), make(one, immediate, 1), mov(R0, 0)], Case(a, immediate)) for a in VALUES]
    for (insns, case), found in zip(pieces, compute(pieces)):
        taken = meaning(_operands(case.r1, bits, is_signed), _operands(case.r2, bits, is_signed))
        assert found.r0 == taken, f"{insns[1]} of {case.r1:#x}, {case.r2:#x}"


_RMW: dict[str, tuple[Callable[..., Insn], Callable[[int, int], int]]] = {
    "add": (atomic_add, lambda old, operand: old + operand),
    "or": (atomic_or, lambda old, operand: old | operand),
    "and": (atomic_and, lambda old, operand: old & operand),
    "xor": (atomic_xor, lambda old, operand: old ^ operand),
}


@pytest.mark.parametrize("size", [DW, W], ids=["64", "32"])
@pytest.mark.parametrize("fetch", [False, True], ids=["", "fetch"])
@pytest.mark.parametrize("name", list(_RMW))
def test_atomic(name: str, fetch: bool, size: object) -> None:
    make, meaning = _RMW[name]
    insn = make(size, R3, 0, R2, fetch=fetch)
    _needs_all([insn])
    pieces = [([insn], Case(r2=operand, memory=old)) for old in VALUES for operand in VALUES]
    for (_, case), found in zip(pieces, compute(pieces)):
        old, new = _memory(case.memory, meaning, case.r2, size)
        assert found.memory == new
        assert found.r2 == (old if fetch else case.r2)


def _memory(value: int, meaning: Callable[[int, int], int], operand: int, size: object) -> tuple[int, int]:
    """What the cell held, and what the eight bytes around it hold after the operation."""
    if size is DW:
        return value, meaning(value, operand) & U64
    data = value.to_bytes(8, sys.byteorder)
    old = int.from_bytes(data[:4], sys.byteorder)
    new = meaning(old, operand & 0xFFFFFFFF) & 0xFFFFFFFF
    return old, int.from_bytes(new.to_bytes(4, sys.byteorder) + data[4:], sys.byteorder)


@pytest.mark.parametrize("size", [DW, W], ids=["64", "32"])
def test_atomic_exchange(size: object) -> None:
    needs("atomics")
    insn = atomic_xchg(size, R3, 0, R2)  # type: ignore[arg-type]
    pieces = [([insn], Case(r2=operand, memory=old)) for old in VALUES for operand in VALUES]
    for (_, case), found in zip(pieces, compute(pieces)):
        old, new = _memory(case.memory, lambda old, operand: operand, case.r2, size)
        assert (found.r2, found.memory) == (old, new)


@pytest.mark.parametrize("size", [DW, W], ids=["64", "32"])
def test_atomic_compare_and_exchange(size: object) -> None:
    needs("atomics")
    insn = atomic_cmpxchg(size, R3, 0, R2)  # type: ignore[arg-type]
    pieces = [([insn], Case(r2=0x55AA, r0=expected, memory=old)) for old in VALUES for expected in VALUES]
    for (_, case), found in zip(pieces, compute(pieces)):
        old, new = _memory(case.memory, lambda old, operand: operand, case.r2, size)
        equal = old == (case.r0 if size is DW else case.r0 & 0xFFFFFFFF)
        assert (found.r0, found.memory) == (old, new if equal else case.memory)


def test_loads_and_stores() -> None:
    value = 0x8182838485868788
    for size in (B, H, W, DW):
        bits, data = size.bits, value.to_bytes(8, sys.byteorder)
        first = int.from_bytes(data[: bits // 8], sys.byteorder)
        (loaded,) = compute([([ldx(size, R1, R3)], Case(memory=value))])
        assert loaded.r1 == first
        (stored,) = compute([([stx(size, R3, 0, R2)], Case(r2=0x1112131415161718, memory=value))])
        piece = (0x1112131415161718 & (1 << bits) - 1).to_bytes(bits // 8, sys.byteorder)
        assert stored.memory.to_bytes(8, sys.byteorder) == piece + data[bits // 8 :]
        (constant,) = compute([([st(size, R3, 0, -2)], Case(memory=0))])
        assert constant.memory.to_bytes(8, sys.byteorder) == b"".join(
            [(-2 & (1 << bits) - 1).to_bytes(bits // 8, sys.byteorder), bytes(8 - bits // 8)]
        )


def test_sign_extending_loads() -> None:
    needs("cpu_v4")
    for size in (B, H, W):
        for value in (0x7172737475767778, 0x8182838485868788):
            (found,) = compute([([ldsx(size, R1, R3)], Case(memory=value))])
            data = value.to_bytes(8, sys.byteorder)[: size.bits // 8]
            assert found.r1 == int.from_bytes(data, sys.byteorder, signed=True) & U64


def test_load_acquire_and_store_release() -> None:
    needs("acquire_release")
    value = 0x8182838485868788
    for size in (B, H, W, DW):
        data = value.to_bytes(8, sys.byteorder)
        (loaded,) = compute([([load_acquire(size, R1, R3)], Case(memory=value))])
        assert loaded.r1 == int.from_bytes(data[: size.bits // 8], sys.byteorder)
        (stored,) = compute([([store_release(size, R3, 0, R2)], Case(r2=0, memory=value))])
        assert stored.memory.to_bytes(8, sys.byteorder) == bytes(size.bits // 8) + data[size.bits // 8 :]


def test_constants_of_64_bits() -> None:
    pieces = [([ld_imm64(R1, value)], Case()) for value in (*VALUES, -5, -(1 << 63))]
    for (insns, _), found in zip(pieces, compute(pieces)):
        assert found.r1 == insns[0].imm


def _result(code: Code) -> int:
    with load(code.items()) as program:
        return run(program)


def test_labels_and_local_calls() -> None:
    twice = assemble("r0 = r1\nr0 += r1\nexit").insns
    items: list[Item] = [
        mov(R1, 5),
        call_local("twice"),
        goto("out"),
        mov(R0, 1),
        label("out"),
        exit_(),
        label("twice"),
    ]
    code = Code([*items, *twice])
    with pytest.raises(OSError):  # the instruction that is jumped over cannot be reached
        _result(code)
    items.remove(mov(R0, 1))
    code = Code([*items, *twice])
    assert _result(code) == 10
    assert _result(assemble(str(code))) == 10


def test_callback_by_address() -> None:
    """``ld_imm64`` of a function, for bpf_loop: the verifier takes it as one, and then misses the BTF of callbacks."""
    needs("helper_loop")
    code = assemble("r1 = 3\nr2 = subprog[work]\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nwork:\nr0 = 0\nexit")
    _, log = load_log(code)
    assert "missing btf func_info" in log


def test_gotol_and_may_goto() -> None:
    needs("gotol")
    taken = JUMPS["jeq"](R0, 2, "skipped")
    code: list[Item] = [mov(R0, 1), taken, gotol("out"), label("skipped"), mov(R0, 2), label("out"), exit_()]
    assert _result(Code(code)) == 1
    needs("may_goto")
    assert _result(Code([mov(R0, 1), may_goto("out"), mov(R0, 2), label("out"), exit_()])) == 2


def test_relaxed_jumps_run() -> None:
    """Each kind of jump over more code than 16 bits reach: taken and not taken end in the right place."""
    needs("gotol")
    far = [JUMPS["jeq"](R1, 7, "far"), jset(R1, 8, "far"), JUMPS["jsgt"](W1, 100, "far")]
    code = Code(
        [
            ld_map_value(R1, "in"),
            ldx(DW, R1, R1),
            *far,
            *[ld_imm64(R2, 0)] * 16500,
            goto("end"),
            label("far"),
            mov(R0, 1),
            exit_(),
            label("end"),
            mov(R0, 2),
            exit_(),
        ]
    )
    with pytest.raises(AsmError, match="gotol"):
        encode(code, maps={"in": 1})
    relaxed = code.relax()
    assert relaxed.slots == code.slots + 1 + 2 + 1
    with array(8) as values, load(relaxed, {"in": values.fileno()}) as program:
        for value, want in (7, 1), (8, 1), (101, 1), (1, 2):
            write(values, struct.pack("=Q", value))
            assert run(program) == want
