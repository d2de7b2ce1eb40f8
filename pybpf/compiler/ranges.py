"""What is known of the size of integers, as far as every kernel's verifier knows it too.

So an extension, a mask or a test that these facts make needless can go without the verifier losing a bound. It follows
masks, shifts, additions, narrow loads; it forgets what divisions, remainders and byte swaps give, and so do these.
"""

from __future__ import annotations

from pybpf.compiler.ir import Instr, Operand

__all__ = ["MAX", "is_never_null", "signed_bits", "unsigned_range"]

MAX = (1 << 64) - 1
#: how many operations deep is looked
_DEPTH = 4
_ALL = (0, MAX)


def unsigned_range(value: Operand, depth: int = _DEPTH) -> tuple[int, int]:
    """The least and the greatest value, as unsigned numbers."""
    if isinstance(value, int):
        return value & MAX, value & MAX
    op, attrs = value.op, value.attrs
    if op == "zext":
        low, high = unsigned_range(value.args[0], depth - 1) if depth else _ALL
        most = (1 << attrs["bits"]) - 1
        return (low, high) if high <= most else (0, most)
    if op in ("load", "peek"):
        return _ALL if attrs["signed"] or attrs["size"] == 8 else (0, (1 << 8 * attrs["size"]) - 1)
    if op == "cmp":
        return 0, 1
    return _of_operands(op, value.args, depth - 1) if depth else _ALL


def _of_operands(op: str, args: list[Operand], depth: int) -> tuple[int, int]:
    if op not in ("and", "or", "add", "mul", "shl", "lshr"):
        return _ALL
    (low, high), (least, most) = unsigned_range(args[0], depth), unsigned_range(args[1], depth)
    if op == "and":
        return 0, min(high, most)
    if op == "or":
        return max(low, least), (1 << max(high.bit_length(), most.bit_length())) - 1
    if op == "add":
        return (low + least, high + most) if high + most <= MAX else _ALL
    if op == "mul":
        return (low * least, high * most) if high * most <= MAX else _ALL
    if least != most or most > 63:
        return _ALL
    if op == "lshr":
        return low >> most, high >> most
    return (low << most, high << most) if high << most <= MAX else _ALL


def signed_bits(value: Operand) -> int:
    """The least of 8, 16, 32 and 64 whose sign extension would not change the value."""
    known = 64
    if isinstance(value, int):
        known = max(value, ~value).bit_length() + 1
    elif value.op == "sext":
        known = value.attrs["bits"]
    elif value.op in ("load", "peek") and value.attrs["signed"]:
        known = 8 * value.attrs["size"]
    else:
        known = unsigned_range(value)[1].bit_length() + 1
    return next((bits for bits in (8, 16, 32) if known <= bits), 64)


def is_never_null(value: Operand) -> bool:
    """Whether an address is one that is never 0."""
    while isinstance(value, Instr) and value.op == "add" and value.type == "ptr":
        value = value.args[0]
    return isinstance(value, Instr) and value.op in ("slot", "map", "mapvalue", "func")
