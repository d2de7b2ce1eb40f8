"""Integers of run time: ``Int``, a register and a type, and the rules of docs/language.md for computing with them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.values import raw
from pybpf.lang.values.constants import Const
from pybpf.lang.values.limits import Limits, limits_of_unary
from pybpf.lang.values.val import Val
from pybpf.types import bool_, s8, s16, s32, s64, u8, u16, u32, u64

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pybpf.compiler.build import Builder
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["KINDS", "Int", "Literal", "Test", "all_of", "any_of", "compare_constant", "convert", "join", "kind_of",
           "result", "truth", "u63"]  # fmt: skip


class u63:
    """The type, of no value in memory, of what a u64 and a s64 both hold, and no narrower type does."""


#: Type -> (bits, signed).
KINDS = MappingProxyType({
    bool_: (8, False), u8: (8, False), u16: (16, False), u32: (32, False), u64: (64, False),
    s8: (8, True), s16: (16, True), s32: (32, True), s64: (64, True), u63: (64, False),
})  # fmt: skip
_BY_WIDTH = {(bits, signed): kind for kind, (bits, signed) in KINDS.items() if kind not in (bool_, u63)}
#: Type -> the least and the greatest of its values.
_RANGES: dict[Any, Limits] = {
    kind: (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    for kind, (bits, signed) in KINDS.items()
}
_RANGES.update({bool_: (0, 1), u63: (0, (1 << 63) - 1)})

#: Python's comparison -> condition, unsigned and signed.
_CONDITIONS = MappingProxyType({
    "==": ("eq", "eq"), "!=": ("ne", "ne"), "is": ("eq", "eq"), "is not": ("ne", "ne"), "<": ("ult", "slt"),
    "<=": ("ule", "sle"), ">": ("ugt", "sgt"), ">=": ("uge", "sge"),
})  # fmt: skip
_MIRRORED = {"==": "==", "!=": "!=", "is": "is", "is not": "is not", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

Kind = Any


def kind_of(value: int) -> Kind:
    """The narrowest type that holds a constant; of -2**63 to 2**64 - 1."""
    if isinstance(value, bool):
        return bool_
    if 1 << 32 <= value < 1 << 63:
        return u63
    signed = value < 0
    need = (~value if signed else value).bit_length() + signed
    return _BY_WIDTH[next(bits for bits in (8, 16, 32, 64) if need <= bits), signed]


def join(one: Kind, other: Kind) -> Kind | None:
    """The narrowest type that holds every value of both, or None when none does."""
    if one is other:
        return one
    if one is u63 or other is u63:
        rest = other if one is u63 else one
        return s64 if rest in KINDS and KINDS[rest][1] else u64 if rest is u64 else u63
    (bits, signed), (other_bits, other_signed) = KINDS[one], KINDS[other]
    if signed == other_signed:
        return _BY_WIDTH[max(bits, other_bits), signed]
    wide = max(bits if signed else 2 * bits, other_bits if other_signed else 2 * other_bits)
    return _BY_WIDTH.get((wide, True))


class Int(Val):
    """An integer in a register, sign- or zero-extended to 64 bits.

    :ivar operand: the register.
    :ivar kind: its type: ``u8`` .. ``s64`` or ``bool_`` of :mod:`pybpf.types`; given :class:`u63` it is ``s64``.
    :ivar limits: the least and the greatest value that it can have: those of its type, or closer ones.
    """

    __slots__ = ("kind", "limits", "operand")

    def __init__(self, operand: Operand, kind: Kind, limits: Limits | None = None) -> None:
        self.operand = operand
        self.kind = s64 if kind is u63 else kind
        self.limits = limits or _RANGES[kind]

    @property
    def what(self) -> str:
        return f"{'an' if KINDS[self.kind][1] else 'a'} {'bool' if self.kind is bool_ else self.kind.__name__}"

    @property
    def signed(self) -> bool:
        """Whether it may be negative."""
        return self.limits[0] < 0

    @property
    def wide(self) -> bool:
        """Whether it may be too large for an s64."""
        return self.limits[1] >= 1 << 63

    @property
    def narrowest(self) -> Kind:
        """What it counts as among values of which a type must hold all, for :func:`join`."""
        return u63 if self.kind in (u64, s64) and not self.signed and not self.wide else self.kind

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        if hasattr(int, name):
            self.refuse(gen, at, f"has no attribute {name!r} in a probe: numbers of run time have operators alone, as "
                        "in x >> 1")  # fmt: skip
        return super().attr(gen, name, at)

    def unary(self, gen: Gen, op: str, at: ast.AST) -> Val:
        operand = self.operand
        if op != "+":
            operand = gen.b.emit("neg", operand) if op == "-" else gen.b.emit("xor", operand, -1)
        return result(operand, limits_of_unary(op, self.limits), self)

    def binary(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        from pybpf.lang.values.arithmetic import binary

        return binary(gen, op, self, other, at)

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        if op in ("is", "is not") and not (isinstance(other, Const) and other.value in (None, True, False)):
            gen.fail(at, f"{op!r} does not compare integers: write '{'==' if op == 'is' else '!='}'")
        if isinstance(other, Const):
            if other.value is None:
                self._refuse_none(gen, at)
                return Const(op in ("is not", "!="))  # an integer is never None
            if not isinstance(other.value, int):
                self.refuse(gen, at, f"cannot be compared with {other.what}: numbers are, with integers")
            return compare_constant(self, op, other.value)
        right = other.number(gen, at)
        return _compare(self, op, right)

    def _refuse_none(self, gen: Gen, at: ast.AST) -> None:
        """Refuse to ask whether an integer is None, unless a function asks it of its parameter."""
        asked = getattr(at, "left", None)
        if isinstance(asked, ast.Attribute):
            self.refuse(gen, at, "is never None: compare it with a number")
        if isinstance(asked, ast.Subscript) or (isinstance(asked, ast.Name) and gen.frame.is_item(asked.id)):
            self.refuse(gen, at, "is never None: an integer that a map does not have reads as 0; take m.get(key) to "
                        "tell whether it is there")  # fmt: skip

    def branch(self, gen: Gen, yes: Block, no: Block, at: ast.AST) -> None:
        Test("ne", self.operand, 0).branch(gen, yes, no, at)

    def scalar(self, gen: Gen, at: ast.AST) -> Operand:
        return self.operand

    def number(self, gen: Gen, at: ast.AST) -> Int:
        return self

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]]:
        return "int", (self.operand,)

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        return Int(operands[0], self.kind)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if kind not in KINDS:
            self.refuse(gen, at, f"cannot be kept as {getattr(kind, '__name__', kind)}")
        operand = self.operand
        if kind is bool_:
            operand = truth(gen, self, at).operand
        raw.store(gen, address, offset, KINDS[kind][0] // 8, operand)


class Literal(Int):
    """A constant that meets an integer of run time: it takes whichever type the other has, as far as it fits."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        super().__init__(int(value), kind_of(value), (int(value), int(value)))
        self.value = value

    @property
    def narrowest(self) -> Kind:
        return kind_of(self.value)


def result(operand: Operand, limits: Limits, *operands: Int) -> Int:
    """The register of an operation that computes modulo 2**64, as an integer: what Python gives where 64 bits hold
    that whatever the operands are, otherwise what the register has: a u64 of what may be 2**63 or more, else an s64.

    What an s64 is computed with is no u64, even one that would be exact: a variable of which no more is known than that
    it is not negative is most often a small number, from which more is taken next.
    """
    low, high = limits
    wide = any(each.wide for each in operands)
    most = 64 if wide or not any(each.kind is s64 for each in operands) else 63
    if low >= 0 and high < 1 << most:
        return Int(operand, u64, limits)
    if low >= -(1 << 63) and high < 1 << 63:
        return Int(operand, s64, limits)
    return Int(operand, u64 if wide else s64)


class Test(Val):
    """A comparison that has not been computed yet: comparisons of registers of which all hold, or any.

    A branch uses it as it is; everything else sees a ``bool``.
    """

    __slots__ = ("any", "parts")

    def __init__(self, cond: str, left: Operand, right: Operand, *more: tuple[str, Operand, Operand],
                 any: bool = False) -> None:  # fmt: skip
        self.parts = ((cond, left, right), *more)
        self.any = any

    @property
    def what(self) -> str:
        return "a bool"

    def kept(self, gen: Gen) -> Int:
        """As a register."""
        operands = [gen.b.emit("cmp", left, right, cond=cond) for cond, left, right in self.parts]
        result: Operand = operands[0]
        for each in operands[1:]:
            result = gen.b.emit("or" if self.any else "and", result, each)
        return Int(result, bool_)

    def branch(self, gen: Gen, yes: Block, no: Block, at: ast.AST) -> None:
        self.branch_on(gen.b, yes, no)

    def branch_on(self, b: Builder, yes: Block, no: Block) -> None:
        """End the block: to ``yes`` if it holds."""
        *first, (cond, left, right) = self.parts
        for each_cond, each_left, each_right in first:
            more = b.new_block("also")
            if self.any:
                b.branch(each_cond, each_left, each_right, yes, more)
            else:
                b.branch(each_cond, each_left, each_right, more, no)
            b.seal(more)
            b.start(more)
        b.branch(cond, left, right, yes, no)

    def negated(self) -> Test:
        """What holds exactly when this does not."""
        from pybpf.compiler.ops import NEGATED

        first, *more = [(NEGATED[cond], left, right) for cond, left, right in self.parts]
        return Test(*first, *more, any=not self.any)

    def scalar(self, gen: Gen, at: ast.AST) -> Operand:
        return self.kept(gen).operand

    def number(self, gen: Gen, at: ast.AST) -> Int:
        return self.kept(gen)

    def unary(self, gen: Gen, op: str, at: ast.AST) -> Val:
        return self.kept(gen).unary(gen, op, at)

    def binary(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        return self.kept(gen).binary(gen, op, other, at)

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        return self.kept(gen).compare(gen, op, other, at)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        self.kept(gen).store(gen, address, offset, kind, at)


def truth(gen: Gen, val: Val, at: ast.AST) -> Int:
    """``bool(val)`` as a register."""
    if isinstance(val, Int):
        return val if val.kind is bool_ else Int(gen.b.emit("cmp", val.operand, 0, cond="ne"), bool_)
    if isinstance(val, Test):
        return val.kept(gen)
    yes, no, done = (gen.b.new_block(name) for name in ("true", "false", "bool"))
    key = object()
    val.branch(gen, yes, no, at)
    for block, value in ((yes, 1), (no, 0)):
        gen.b.seal(block)
        gen.b.start(block)
        gen.b.write(key, value)
        gen.b.jump(done)
    gen.b.seal(done)
    gen.b.start(done)
    return Int(gen.b.read(key), bool_)


def convert(gen: Gen, val: Val, kind: Kind, at: ast.AST) -> Int:
    """``u8(val)`` and its like: the low bits of a value in a type."""
    if kind is bool_:
        return truth(gen, val, at)
    if isinstance(val, Const) and isinstance(val.value, int):
        return Int(int(kind(val.value)), kind)
    number = val.number(gen, at)
    return Int(extended(gen, number, kind), kind)


def extended(gen: Gen, number: Int, kind: Kind) -> Operand:
    """The register that keeps the low bits of an integer as a type."""
    bits, signed = KINDS[kind]
    have, have_signed = KINDS[number.kind]
    if isinstance(number.operand, int):
        return int(kind(number.operand))
    if bits == 64 or (have_signed == signed and have <= bits) or (signed and not have_signed and have < bits):
        return number.operand
    return gen.b.emit("sext" if signed else "zext", number.operand, bits=bits)


def compare_constant(left: Int, op: str, value: int) -> Test:
    """With a constant of any size; what is outside of the left type is decided now."""
    signed = left.signed
    low, high = (-(1 << 63), (1 << 63) - 1) if signed else (0, (1 << KINDS[left.kind][0]) - 1)
    if low <= value <= high:
        return Test(_CONDITIONS[op][signed], left.operand, int(value))
    holds = op in ("!=", "is not") or ((op in ("<", "<=")) == (value > high) and op not in ("==", "is"))
    return Test("eq" if holds else "ne", 0, 0)


def _compare(left: Int, op: str, right: Int) -> Test:
    """As Python compares the numbers, whatever their types."""
    wide = [side for side in (left, right) if side.wide]
    signed = [side for side in (left, right) if side.signed]
    if not (wide and signed):
        return Test(_CONDITIONS[op][bool(signed)], left.operand, right.operand)
    if left is wide[0]:
        left, op, right = right, _MIRRORED[op], left
    plain = (_CONDITIONS[op][0], left.operand, right.operand)  # left is signed, right a u64
    if op in ("<", "<=", "!=", "is not"):
        return Test("slt", left.operand, 0, plain, any=True)
    return Test("sge", left.operand, 0, plain)


def any_of(gen: Gen, tests: Sequence[Val], at: ast.AST) -> Val:
    """Whether one of several comparisons holds."""
    return _combined(gen, tests, True, at)


def all_of(gen: Gen, tests: Sequence[Val], at: ast.AST) -> Val:
    """Whether each of several comparisons holds."""
    return _combined(gen, tests, False, at)


def _combined(gen: Gen, tests: Sequence[Val], decides: bool, at: ast.AST) -> Val:
    parts: list[tuple[str, Operand, Operand]] = []
    for each in tests:
        if isinstance(each, Const):
            if bool(each.value) is decides:
                return Const(decides)
        elif isinstance(each, Test) and (each.any is decides or len(each.parts) == 1):
            parts += each.parts
        else:
            parts.append(("ne", truth(gen, each, at).operand, 0))
    return Test(*parts[0], *parts[1:], any=decides) if parts else Const(not decides)
