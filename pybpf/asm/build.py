"""Instructions from Python: one function for each operation, checked when called.

Registers say the width: ``add(R1, 1)`` works on 64 bits, ``add(W1, 1)`` on the lower 32 and clears the rest,
as ``r1`` and ``w1`` do in text. A jump's target is the name of a label, or a number of slots from behind the
jump. Every function raises :class:`~pybpf.errors.AsmError` for an operand that the instruction cannot hold.
"""

from __future__ import annotations

from typing import NoReturn, Union

from pybpf.asm.code import check_label
from pybpf.asm.helpers import find_helper
from pybpf.asm.insn import LD_IMM64, Insn, KfuncRef, Label, MapRef
from pybpf.asm.opcodes import (
    ALU,
    ATOMIC_CMPXCHG,
    ATOMIC_FETCH,
    ATOMIC_LOAD_ACQUIRE,
    ATOMIC_OPS,
    ATOMIC_STORE_RELEASE,
    ATOMIC_XCHG,
    JUMPS,
)
from pybpf.asm.operands import DW, B, H, Reg, Reg32, Size, W
from pybpf.asm.text import describe, fault, signed32
from pybpf.errors import AsmError

__all__ = [
    "Operand", "Register", "Target", "add", "addr_space_cast", "and_", "arsh", "atomic_add", "atomic_and",
    "atomic_cmpxchg", "atomic_or", "atomic_xchg", "atomic_xor", "be", "bswap", "call", "call_kfunc", "call_local",
    "div", "exit_", "goto", "gotol", "gotox", "jeq", "jge", "jgt", "jle", "jlt", "jne", "jset", "jsge", "jsgt", "jsle",
    "jslt", "label", "ld_abs", "ld_btf_id", "ld_imm64", "ld_ind", "ld_map", "ld_map_index", "ld_map_value",
    "ld_map_value_index", "ld_subprog", "ldsx", "ldx", "le", "load_acquire", "lsh", "may_goto", "mod", "mov", "movsx",
    "mul", "neg", "or_", "rsh", "sdiv", "smod", "st", "store_release", "stx", "sub", "xor",
]  # fmt: skip

Register = Union[Reg, Reg32]
#: The second operand: a register as wide as the first, or a number.
Operand = Union[Reg, Reg32, int]
#: The name of a label, or a number of slots.
Target = Union[str, int]

_X = 0x08
_ALU64, _ALU32, _JMP, _JMP32 = 0x07, 0x04, 0x05, 0x06


def _made(insn: Insn, what: str) -> Insn:
    reason = fault(insn)
    if reason:
        raise AsmError(f"{what} `{describe(insn)}`: {reason}")
    return insn


def _refuse(what: str, operands: tuple[object, ...], reason: str) -> NoReturn:
    raise AsmError(f"{what}({', '.join(f'{operand!s:.40}' for operand in operands)}): {reason}")


def _reg(what: str, *registers: object) -> None:
    for register in registers:
        if not isinstance(register, Reg):
            _refuse(what, registers, f"{register!s:.40} is not a 64-bit register; use R0 to R10")


def _size(what: str, size: object, allowed: tuple[Size, ...]) -> Size:
    if not isinstance(size, Size) or size not in allowed:
        _refuse(what, (size,), f"the size must be one of {', '.join(one.name for one in allowed)}")
    return size


def _two(what: str, op: int, classes: tuple[int, int], dst: Register, src: Operand, **fields: object) -> Insn:
    """An operation whose class and second operand follow from its registers."""
    if not isinstance(dst, (Reg, Reg32)):
        _refuse(what, (dst, src), "the first operand must be a register, R0 to R10 or W0 to W10")
    if isinstance(src, (Reg, Reg32)):
        if type(src) is not type(dst):
            _refuse(what, (dst, src), "both registers must be of one width: R with R, or W with W")
        insn = Insn(classes[isinstance(dst, Reg32)] | op | _X, int(dst), int(src))
    elif not isinstance(src, int):
        _refuse(what, (dst, src), "the second operand must be a register or an integer")
    else:
        # Half a register holds the same bits for a signed and an unsigned number; a whole one does not.
        fits = isinstance(dst, Reg32) and 0 <= src <= 0xFFFFFFFF
        insn = Insn(classes[isinstance(dst, Reg32)] | op, int(dst), imm=signed32(src) if fits else int(src))
    return insn._replace(**fields)  # type: ignore[arg-type]


def _alu(name: str, dst: Register, src: Operand, off: int = 0) -> Insn:
    what = f"s{name}" if off else name
    insn = _two(what, ALU[name][0], (_ALU64, _ALU32), dst, src, off=off)
    if not insn.code & _X:
        if name in ("div", "mod") and insn.imm == 0:
            _refuse(what, (dst, src), "the kernel refuses a constant divisor of 0")
        if name in ("lsh", "rsh", "arsh") and not 0 <= insn.imm < (32 if isinstance(dst, Reg32) else 64):
            _refuse(what, (dst, src), "the kernel refuses a constant shift that is not below the width")
    return _made(insn, what)


def mov(dst: Register, src: Operand) -> Insn:
    """``r1 = r2``, ``w1 = 5``. A number is sign-extended from 32 bits; :func:`ld_imm64` takes a larger one."""
    return _alu("mov", dst, src)


def add(dst: Register, src: Operand) -> Insn:
    """``r1 += r2``"""
    return _alu("add", dst, src)


def sub(dst: Register, src: Operand) -> Insn:
    """``r1 -= r2``"""
    return _alu("sub", dst, src)


def mul(dst: Register, src: Operand) -> Insn:
    """``r1 *= r2``"""
    return _alu("mul", dst, src)


def div(dst: Register, src: Operand) -> Insn:
    """``r1 /= r2``, unsigned; by 0 gives 0."""
    return _alu("div", dst, src)


def mod(dst: Register, src: Operand) -> Insn:
    """``r1 %= r2``, unsigned; by 0 leaves r1."""
    return _alu("mod", dst, src)


def sdiv(dst: Register, src: Operand) -> Insn:
    """``r1 s/= r2``, signed, towards 0 (Linux 6.6)."""
    return _alu("div", dst, src, 1)


def smod(dst: Register, src: Operand) -> Insn:
    """``r1 s%= r2``, with the sign of r1 (Linux 6.6)."""
    return _alu("mod", dst, src, 1)


def or_(dst: Register, src: Operand) -> Insn:
    """``r1 |= r2``"""
    return _alu("or", dst, src)


def and_(dst: Register, src: Operand) -> Insn:
    """``r1 &= r2``"""
    return _alu("and", dst, src)


def xor(dst: Register, src: Operand) -> Insn:
    """``r1 ^= r2``"""
    return _alu("xor", dst, src)


def lsh(dst: Register, src: Operand) -> Insn:
    """``r1 <<= r2``; the count is taken modulo the width."""
    return _alu("lsh", dst, src)


def rsh(dst: Register, src: Operand) -> Insn:
    """``r1 >>= r2``, zeros coming in."""
    return _alu("rsh", dst, src)


def arsh(dst: Register, src: Operand) -> Insn:
    """``r1 s>>= r2``, the sign coming in."""
    return _alu("arsh", dst, src)


def neg(dst: Register) -> Insn:
    """``r1 = -r1``"""
    if not isinstance(dst, (Reg, Reg32)):
        _refuse("neg", (dst,), "the operand must be a register")
    return _made(Insn((_ALU32 if isinstance(dst, Reg32) else _ALU64) | 0x80, int(dst)), "neg")


def movsx(dst: Register, src: Register, bits: int) -> Insn:
    """``r1 = (s8)r2``: sign-extend the lower 8, 16 or (64-bit registers) 32 bits (Linux 6.6)."""
    allowed = (8, 16) if isinstance(dst, Reg32) else (8, 16, 32)
    if bits not in allowed or not isinstance(src, (Reg, Reg32)):
        _refuse("movsx", (dst, src, bits), f"it takes two registers and one of {allowed} bits")
    return _made(_two("movsx", ALU["mov"][0], (_ALU64, _ALU32), dst, src, off=bits), "movsx")


def _swap(what: str, code: int, dst: Reg, bits: int) -> Insn:
    _reg(what, dst)
    if bits not in (16, 32, 64):
        _refuse(what, (dst, bits), "bits must be 16, 32 or 64")
    return _made(Insn(code, int(dst), imm=bits), what)


def le(dst: Reg, bits: int) -> Insn:
    """``r1 = le16 r1``: the lower 16, 32 or 64 bits between host and little-endian order; the rest becomes 0."""
    return _swap("le", 0xD4, dst, bits)


def be(dst: Reg, bits: int) -> Insn:
    """``r1 = be16 r1``: the lower 16, 32 or 64 bits between host and big-endian order; the rest becomes 0."""
    return _swap("be", 0xDC, dst, bits)


def bswap(dst: Reg, bits: int) -> Insn:
    """``r1 = bswap16 r1``: reverse the lower 2, 4 or 8 bytes; the rest becomes 0 (Linux 6.6)."""
    return _swap("bswap", 0xD7, dst, bits)


def addr_space_cast(dst: Reg, src: Reg, to: int, from_: int) -> Insn:
    """``r1 = addr_space_cast(r2, 0, 1)``: an arena pointer from one address space to another (Linux 6.9)."""
    _reg("addr_space_cast", dst, src)
    if not (0 <= to <= 0xFFFF and 0 <= from_ <= 0xFFFF):
        _refuse("addr_space_cast", (dst, src, to, from_), "an address space is a number of 16 bits")
    return _made(Insn(0xBF, int(dst), int(src), 1, signed32(to << 16 | from_)), "addr_space_cast")


# Memory. In each function the size is that of the access, and `off` is in bytes.


def ldx(size: Size, dst: Reg, src: Reg, off: int = 0) -> Insn:
    """``r1 = *(u32 *)(r2 +4)``: load, zeros above."""
    _reg("ldx", dst, src)
    return _made(Insn(0x61 | _size("ldx", size, (B, H, W, DW)), int(dst), int(src), off), "ldx")


def ldsx(size: Size, dst: Reg, src: Reg, off: int = 0) -> Insn:
    """``r1 = *(s32 *)(r2 +4)``: load, the sign above (Linux 6.6). Not ``DW``, which has nothing above."""
    _reg("ldsx", dst, src)
    return _made(Insn(0x81 | _size("ldsx", size, (B, H, W)), int(dst), int(src), off), "ldsx")


def st(size: Size, dst: Reg, off: int, value: int) -> Insn:
    """``*(u32 *)(r1 +4) = 7``: store a number of at most 32 bits, which ``DW`` sign-extends."""
    _reg("st", dst)
    bits = min(_size("st", size, (B, H, W, DW)).bits, 32)
    if not isinstance(value, int):
        _refuse("st", (size, dst, off, value), "the value must be an integer; stx stores a register")
    if not -1 << bits - 1 <= value < 1 << (bits if size is not DW else 31):
        advice = "; put it into a register with ld_imm64 and use stx" if bits == 32 else ""
        _refuse("st", (size, dst, off, value), f"{value} does not fit the store{advice}")
    return _made(Insn(0x62 | size, int(dst), 0, off, signed32(value)), "st")


def stx(size: Size, dst: Reg, off: int, src: Reg) -> Insn:
    """``*(u32 *)(r1 +4) = r2``: store the lower bits of a register."""
    _reg("stx", dst, src)
    return _made(Insn(0x63 | _size("stx", size, (B, H, W, DW)), int(dst), int(src), off), "stx")


def ld_abs(size: Size, offset: int) -> Insn:
    """``r0 = *(u16 *)skb[12]``: packet bytes in host order, r6 being the context; leaves the program beyond the end."""
    return _made(Insn(0x20 | _size("ld_abs", size, (B, H, W)), imm=offset), "ld_abs")


def ld_ind(size: Size, src: Reg, offset: int) -> Insn:
    """``r0 = *(u16 *)skb[r2 + 12]``: :func:`ld_abs` at a register plus a number."""
    _reg("ld_ind", src)
    return _made(Insn(0x40 | _size("ld_ind", size, (B, H, W)), src=int(src), imm=offset), "ld_ind")


def _atomic(what: str, imm: int, size: Size, dst: Reg, off: int, src: Reg, sizes: tuple[Size, ...] = (W, DW)) -> Insn:
    _reg(what, dst, src)
    return _made(Insn(0xC3 | _size(what, size, sizes), int(dst), int(src), off, imm), what)


def atomic_add(size: Size, dst: Reg, off: int, src: Reg, *, fetch: bool = False) -> Insn:
    """``lock *(u64 *)(r1 +0) += r2``; with ``fetch`` r2 gets the old value (Linux 5.12)."""
    return _atomic("atomic_add", ATOMIC_OPS["add"][0] | fetch * ATOMIC_FETCH, size, dst, off, src)


def atomic_or(size: Size, dst: Reg, off: int, src: Reg, *, fetch: bool = False) -> Insn:
    """``lock *(u64 *)(r1 +0) |= r2``; with ``fetch`` r2 gets the old value (both Linux 5.12)."""
    return _atomic("atomic_or", ATOMIC_OPS["or"][0] | fetch * ATOMIC_FETCH, size, dst, off, src)


def atomic_and(size: Size, dst: Reg, off: int, src: Reg, *, fetch: bool = False) -> Insn:
    """``lock *(u64 *)(r1 +0) &= r2``; with ``fetch`` r2 gets the old value (both Linux 5.12)."""
    return _atomic("atomic_and", ATOMIC_OPS["and"][0] | fetch * ATOMIC_FETCH, size, dst, off, src)


def atomic_xor(size: Size, dst: Reg, off: int, src: Reg, *, fetch: bool = False) -> Insn:
    """``lock *(u64 *)(r1 +0) ^= r2``; with ``fetch`` r2 gets the old value (both Linux 5.12)."""
    return _atomic("atomic_xor", ATOMIC_OPS["xor"][0] | fetch * ATOMIC_FETCH, size, dst, off, src)


def atomic_xchg(size: Size, dst: Reg, off: int, src: Reg) -> Insn:
    """``r2 = atomic64_xchg((u64 *)(r1 +0), r2)`` (Linux 5.12)."""
    return _atomic("atomic_xchg", ATOMIC_XCHG, size, dst, off, src)


def atomic_cmpxchg(size: Size, dst: Reg, off: int, src: Reg) -> Insn:
    """``r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)``: stores r2 if memory equals r0 (Linux 5.12)."""
    return _atomic("atomic_cmpxchg", ATOMIC_CMPXCHG, size, dst, off, src)


def load_acquire(size: Size, dst: Reg, src: Reg, off: int = 0) -> Insn:
    """``r1 = load_acquire((u64 *)(r2 +0))`` (Linux 6.15)."""
    return _atomic("load_acquire", ATOMIC_LOAD_ACQUIRE, size, dst, off, src, (B, H, W, DW))


def store_release(size: Size, dst: Reg, off: int, src: Reg) -> Insn:
    """``store_release((u64 *)(r1 +0), r2)`` (Linux 6.15)."""
    return _atomic("store_release", ATOMIC_STORE_RELEASE, size, dst, off, src, (B, H, W, DW))


# Constants and addresses: two slots each.


def ld_imm64(dst: Reg, value: int) -> Insn:
    """``r1 = 0x1122334455667788``: any number of 64 bits, signed or unsigned."""
    _reg("ld_imm64", dst)
    if not isinstance(value, int) or not -1 << 63 <= value < 1 << 64:
        _refuse("ld_imm64", (dst, value), "the value must be an integer of 64 bits")
    return _made(Insn(LD_IMM64, int(dst), imm=value & 0xFFFFFFFFFFFFFFFF), "ld_imm64")


def _address(what: str, dst: Reg, src: int, low: int, high: int = 0, ref: MapRef | str | None = None) -> Insn:
    _reg(what, dst)
    if not all(isinstance(part, int) and 0 <= part <= 0xFFFFFFFF for part in (low, high)):
        _refuse(what, (dst, low, high), "each number must be an integer of 32 bits, not negative")
    return _made(Insn(LD_IMM64, int(dst), src, imm=high << 32 | low, ref=ref), what)


def ld_map(dst: Reg, target: str | int) -> Insn:
    """``r1 = map[counts]``: a map, for helpers; by the name that it is loaded under, or by file descriptor."""
    if isinstance(target, str):
        return _address("ld_map", dst, 1, 0, ref=MapRef(target))
    return _address("ld_map", dst, 1, target)


def ld_map_value(dst: Reg, target: str | int, offset: int = 0) -> Insn:
    """``r1 = map[counts][0]+8``: the address of a byte of the one value of an array map (Linux 5.2)."""
    if isinstance(target, str):
        return _address("ld_map_value", dst, 2, 0, ref=MapRef(target, offset))
    return _address("ld_map_value", dst, 2, target, offset)


def ld_btf_id(dst: Reg, btf_id: int, btf_fd: int = 0) -> Insn:
    """``r1 = btf[id:7]``: the address of a kernel variable, by its BTF id in vmlinux or in a module's BTF
    (Linux 5.10).
    """
    return _address("ld_btf_id", dst, 3, btf_id, btf_fd)


def ld_subprog(dst: Reg, target: Target) -> Insn:
    """``r1 = subprog[work]``: the address of a function of this program, for a callback (Linux 5.13)."""
    if isinstance(target, int):
        return _address("ld_subprog", dst, 4, target & 0xFFFFFFFF if -1 << 31 <= target < 0 else target)
    return _made(_address("ld_subprog", dst, 4, 0)._replace(ref=_name("ld_subprog", target)), "ld_subprog")


def ld_map_index(dst: Reg, index: int) -> Insn:
    """``r1 = map[idx:0]``: a map by its index in the ``fd_array`` that the program is loaded with (Linux 5.14)."""
    return _address("ld_map_index", dst, 5, index)


def ld_map_value_index(dst: Reg, index: int, offset: int = 0) -> Insn:
    """``r1 = map[idx:0]+8``: :func:`ld_map_value` by index in ``fd_array`` (Linux 5.14)."""
    return _address("ld_map_value_index", dst, 6, index, offset)


# Jumps and calls.


def label(name: str) -> Label:
    """Names the instruction that follows."""
    return Label(_name("label", name))


def _name(what: str, name: object) -> str:
    if not isinstance(name, str):
        _refuse(what, (name,), "the target must be the name of a label or a number of slots")
    reason = check_label(name)
    if reason:
        _refuse(what, (name,), reason)
    return name


def _aimed(what: str, insn: Insn, target: Target, field: str = "off") -> Insn:
    if isinstance(target, int):
        return _made(insn._replace(**{field: int(target)}), what)  # type: ignore[arg-type]
    return _made(insn._replace(ref=_name(what, target)), what)


def _branch(name: str, dst: Register, src: Operand, target: Target) -> Insn:
    return _aimed(name, _two(name, JUMPS[name][0], (_JMP, _JMP32), dst, src), target)


def goto(target: Target) -> Insn:
    """``goto out``"""
    return _aimed("goto", Insn(_JMP), target)


def gotol(target: Target) -> Insn:
    """``gotol out``: a jump of any distance (Linux 6.6)."""
    return _aimed("gotol", Insn(_JMP32), target, "imm")


def gotox(dst: Reg) -> Insn:
    """``gotox r1``: to an address out of an instruction array map (Linux 6.19)."""
    _reg("gotox", dst)
    return _made(Insn(_JMP | _X, int(dst)), "gotox")


def may_goto(target: Target) -> Insn:
    """``may_goto out``: taken when the loop around it has used up its budget (Linux 6.9)."""
    return _aimed("may_goto", Insn(0xE5), target)


def jeq(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 == r2 goto out``"""
    return _branch("jeq", dst, src, target)


def jne(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 != r2 goto out``"""
    return _branch("jne", dst, src, target)


def jgt(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 > r2 goto out``, unsigned"""
    return _branch("jgt", dst, src, target)


def jge(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 >= r2 goto out``, unsigned"""
    return _branch("jge", dst, src, target)


def jlt(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 < r2 goto out``, unsigned"""
    return _branch("jlt", dst, src, target)


def jle(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 <= r2 goto out``, unsigned"""
    return _branch("jle", dst, src, target)


def jsgt(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 s> r2 goto out``, signed"""
    return _branch("jsgt", dst, src, target)


def jsge(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 s>= r2 goto out``, signed"""
    return _branch("jsge", dst, src, target)


def jslt(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 s< r2 goto out``, signed"""
    return _branch("jslt", dst, src, target)


def jsle(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 s<= r2 goto out``, signed"""
    return _branch("jsle", dst, src, target)


def jset(dst: Register, src: Operand, target: Target) -> Insn:
    """``if r1 & r2 goto out``"""
    return _branch("jset", dst, src, target)


def call(helper: str | int) -> Insn:
    """``call bpf_ktime_get_ns#5``: a helper by name, with or without ``bpf_``, or by a number, known here or not."""
    number = find_helper(helper).id if isinstance(helper, str) else helper
    return _made(Insn(_JMP | 0x80, imm=number), "call")


def call_local(target: Target) -> Insn:
    """``call work``: a function of this program (Linux 4.16)."""
    return _aimed("call_local", Insn(_JMP | 0x80, src=1), target, "imm")


def call_kfunc(target: str | int, module: int = 0) -> Insn:
    """``call kfunc[bpf_rcu_read_lock]``: a kernel function by name, found when the program is loaded (Linux 5.13).

    :param target: its name, or its BTF id.
    :param module: with a BTF id of a module's BTF, the index of that BTF in the ``fd_array`` of the load.
    """
    if isinstance(target, str):
        return _made(Insn(_JMP | 0x80, src=2, ref=KfuncRef(target)), "call_kfunc")
    return _made(Insn(_JMP | 0x80, src=2, off=module, imm=target), "call_kfunc")


def exit_() -> Insn:
    """``exit``: return, from the program or from the function that was called."""
    return _made(Insn(_JMP | 0x90), "exit_")
