"""Arguments of USDT probes: from the assembler operands in a note to what a program must read.

A note has one text per site, such as ``-4@%edi 8@-16(%rbp) 8@$-9``: for each argument its size in bytes, negative when
it is signed, and where it is. How an operand looks is in the tables of :mod:`pybpf.arch`: regular expressions whose
groups mean

- ``const``: a number, the argument itself,
- ``register``: the argument is in that register,
- ``base``, ``index``, ``scale`` or ``shift``, ``extend``, ``offset``: the argument is in memory at
  ``base + index * scale + offset``,
- ``symbol`` (with ``offset``): it is in memory at the symbol, or, with the group ``address``, is the symbol's address.

Source: the kernel's and SystemTap's ``<sys/sdt.h>``, and what GCC and LLVM emit for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache

from pybpf.arch import ARCHES, Arch, host_arch
from pybpf.lazy import regex
from pybpf.record import dataclass, replace

__all__ = ["UsdtArg", "UsdtArgKind", "parse_args"]

_SIZES = (1, 2, 4, 8)
# Operands contain spaces ("[sp, 8]"): a new argument begins where a size does.
_NEXT = regex(r"\s(?=-?[0-9]+f?@)")
_ARG = regex(r"(-?)([0-9]{1,2})(f?)@(.*)", re.DOTALL)
#: how a 32-bit index register of an address is widened; others are used whole
_INDEX_BITS = {"uxtw": 32, "sxtw": -32}
_MOST_TEXT = 80  # of an argument in a message


class UsdtArgKind(Enum):
    """Where an argument is."""

    CONST = "const"  #: it is ``offset``
    REG = "reg"  #: in ``register``
    MEM = "mem"  #: in user memory at ``register + index * scale + offset``
    UNREADABLE = "unreadable"  #: nowhere that a program can read; ``problem`` says why


@dataclass(frozen=True)
class UsdtArg:
    """One argument of one site of a USDT probe. Registers are byte offsets into ``struct pt_regs``.

    A value is ``size`` bytes; with 8 bytes read into a 64-bit register, shift it left and then right (arithmetically
    if ``signed``) by ``64 - 8 * size`` bits. Constants have been brought into the range of their type.
    """

    size: int  #: bytes: 1, 2, 4 or 8
    signed: bool
    kind: UsdtArgKind
    register: int | None = None  #: the register, or the base of the address; None: no base
    index: int | None = None
    scale: int = 1
    offset: int = 0  #: displacement, or the constant
    symbol: str | None = None  #: its address is added too; resolved, so None, in :mod:`pybpf.symbols.usdt`
    index_bits: int = 64  #: of the index register: 64, 32 (zero-extended) or -32 (sign-extended)
    floating: bool = False  #: the bits of a float or double
    problem: str = ""  #: why it is unreadable


@dataclass(frozen=True)
class _Operand:
    """The groups of an operand, None where absent."""

    const: str | None = None
    register: str | None = None
    base: str | None = None
    index: str | None = None
    scale: str | None = None
    shift: str | None = None
    extend: str | None = None
    offset: str | None = None
    symbol: str | None = None
    address: str | None = None


@lru_cache(maxsize=8)
def _patterns(name: str) -> list[re.Pattern[str]]:
    return [re.compile(pattern) for pattern in ARCHES[name].operand_syntax]


def parse_args(text: str, arch: Arch | None = None) -> list[UsdtArg]:
    """The arguments of one site.

    What cannot be understood or read (a floating-point register, say) is of kind ``UNREADABLE`` and hides no other.

    :param text: as in the note; ``""`` for none.
    :param arch: the architecture of the binary; this machine's when None.
    """
    arch = arch or host_arch()
    return [_argument(part, arch) for part in map(str.strip, _NEXT.split(text)) if part]


def _argument(text: str, arch: Arch) -> UsdtArg:
    match = _ARG.fullmatch(text)
    if match is None or int(match[2]) not in _SIZES:
        return _unreadable(text, "it does not begin with a size of 1, 2, 4 or 8 bytes")
    size, signed, floating = int(match[2]), bool(match[1]), bool(match[3])
    for pattern in _patterns(arch.name):
        found = pattern.fullmatch(match[4])
        if found is not None:
            operand = _Operand(**found.groupdict())
            return replace(_decode(operand, text, size, signed, arch.operand_registers), floating=floating)
    return _unreadable(text, f"it is not an operand of {arch.name} that pybpf knows", size, signed)


def _decode(operand: _Operand, text: str, size: int, signed: bool, registers: Mapping[str, int]) -> UsdtArg:
    if operand.const is not None:
        return UsdtArg(size, signed, UsdtArgKind.CONST, offset=_wrap(_number(operand.const), size, signed))
    if operand.register in ("xzr", "wzr"):
        return UsdtArg(size, signed, UsdtArgKind.CONST)
    named = [name for name in (operand.register, operand.base, operand.index) if name is not None]
    unknown = [name for name in named if name not in registers]
    if unknown:
        return _unreadable(text, f"register {unknown[0]} is not saved for probes", size, signed)
    offset = _number(operand.offset or "0")
    if operand.address is not None:
        return UsdtArg(size, signed, UsdtArgKind.CONST, offset=offset, symbol=operand.symbol)
    if operand.register is not None:
        return UsdtArg(size, signed, UsdtArgKind.REG, registers[operand.register])
    if operand.base is None and operand.index is None and operand.symbol is None:
        return _unreadable(text, "its address has no register", size, signed)
    return UsdtArg(
        size,
        signed,
        UsdtArgKind.MEM,
        # relative to the instruction pointer and to a symbol means: at the symbol
        register=registers[operand.base] if operand.base and operand.base != "rip" else None,
        index=registers[operand.index] if operand.index else None,
        scale=int(operand.scale) if operand.scale else 1 << int(operand.shift or 0),
        offset=offset,
        symbol=operand.symbol,
        index_bits=_INDEX_BITS.get(operand.extend or "", 64),
    )


def _unreadable(text: str, problem: str, size: int = 8, signed: bool = False) -> UsdtArg:
    shown = text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "..."
    return UsdtArg(size, signed, UsdtArgKind.UNREADABLE, problem=f"argument {shown!r}: {problem}")


def _number(text: str) -> int:
    """``-9``, ``+4``, ``0x10``, cut to 64 bits."""
    return _wrap(int(text, 16 if "x" in text.lower() else 10), 8, True)


def _wrap(value: int, size: int, signed: bool) -> int:
    """``value`` cut to ``size`` bytes."""
    value &= (1 << 8 * size) - 1
    return value - (1 << 8 * size) if signed and value >> (8 * size - 1) else value
