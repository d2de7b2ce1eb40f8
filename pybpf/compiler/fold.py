"""Fold: constants, algebraic identities, cheaper operations, needless extensions, comparisons whose result is known.

Every rule changes an instruction in place or gives the operand that takes its place; none adds instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

from pybpf.compiler.addresses import address_of
from pybpf.compiler.constants import BINARY, COMPARE, compute, extend
from pybpf.compiler.flow import drop_unreachable, remove_edge, replace_values, reverse_postorder
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit, signed64
from pybpf.compiler.ops import NEGATED, PTR, SWAPPED
from pybpf.compiler.ranges import is_never_null, signed_bits, unsigned_range
from pybpf.compiler.target import Target

__all__ = ["fold"]

#: Gives what takes the instruction's place, or ``None``; then it may have changed the instruction.
_Rule = Callable[[Instr], Optional[Operand]]
_COMMUTATIVE = frozenset(("add", "mul", "and", "or", "xor"))
_ASSOCIATIVE = _COMMUTATIVE
_FOLDABLE = frozenset((*BINARY, "neg", "zext", "sext", "bswap", "cmp"))
_ADDRESSED = frozenset(("load", "store", "atomic", "fetch", "cmpxchg", "zero", "peek"))
#: what fits an instruction's offset
_FARTHEST = 1 << 15
#: how often one instruction may change: each change makes it simpler, this is for safety
_MOST_CHANGES = 16


def fold(unit: Unit, target: Target) -> None:
    """Fold all functions of a unit; blocks that can no longer be reached are dropped."""
    for function in unit.functions:
        _fold(function)


def _fold(function: Function) -> None:
    replaced: dict[Instr, Operand] = {}
    order = reverse_postorder(function)
    for block in order:
        for instr in block.instrs:
            for at, arg in enumerate(instr.args):
                while isinstance(arg, Instr) and arg in replaced:
                    arg = replaced[arg]
                instr.args[at] = arg
            value = _simplify(instr)
            if value is not None and value is not instr:
                replaced[instr] = value
    replace_values(function, replaced)
    for block in order:
        if block.end.op == "branch":
            _end(block)
    drop_unreachable(function)


def _simplify(instr: Instr) -> Operand | None:
    for _ in range(_MOST_CHANGES):
        rule = _RULES.get(instr.op)
        if rule is None:
            return None
        before = instr.op, list(instr.args), dict(instr.attrs)
        value = _constant(instr)
        if value is None:
            value = rule(instr)
        if value is not None or before == (instr.op, instr.args, instr.attrs):
            return value
    return None


def _constant(instr: Instr) -> Operand | None:
    if instr.op not in _FOLDABLE:
        return None
    numbers = [arg for arg in instr.args if isinstance(arg, int)]
    if len(numbers) == len(instr.args):
        return compute(instr.op, numbers, instr.attrs)
    left = instr.args[0]
    if instr.op in _COMMUTATIVE and isinstance(left, int):
        instr.args = [instr.args[1], left]
    return None


def _become(instr: Instr, op: str, *args: Operand, **attrs: object) -> None:
    instr.op, instr.args, instr.attrs = op, list(args), attrs


def _op(value: Operand) -> str:
    return value.op if isinstance(value, Instr) else ""


def _power(value: Operand) -> int:
    """The exponent of a power of two of at least 2; 0 of anything else."""
    if not isinstance(value, int) or value < 2 or value & (value - 1):
        return 0
    return value.bit_length() - 1


def _reassociate(instr: Instr) -> None:
    """(x op 1) op 2 -> x op 3"""
    left, right = instr.args
    if isinstance(left, Instr) and left.op == instr.op and isinstance(right, int) and isinstance(left.args[1], int):
        _become(instr, instr.op, left.args[0], signed64(BINARY[instr.op](left.args[1], right)))


# arithmetic


def _add(instr: Instr) -> Operand | None:
    left, right = instr.args
    if right == 0:
        return left
    if isinstance(right, Instr) and right.op == "neg" and instr.type != PTR:  # p - x: not for verifiers
        _become(instr, "sub", left, right.args[0])
    else:
        _reassociate(instr)
    return None


def _sub(instr: Instr) -> Operand | None:
    left, right = instr.args
    if left is right:
        return 0
    if isinstance(right, int):
        _become(instr, "add", left, signed64(-right))
    elif left == 0:
        _become(instr, "neg", right)
    return None


def _mul(instr: Instr) -> Operand | None:
    left, right = instr.args
    if right in (0, 1):
        return left if right == 1 else 0
    if right == -1:
        _become(instr, "neg", left)
    elif _power(right):
        _become(instr, "shl", left, _power(right))
    else:
        _reassociate(instr)
    return None


def _udiv(instr: Instr) -> Operand | None:
    left, right = instr.args
    if right in (0, 1):
        return left if right == 1 else 0
    if _power(right):
        _become(instr, "lshr", left, _power(right))
    return None


def _umod(instr: Instr) -> Operand | None:
    left, right = instr.args
    if right in (0, 1):
        return left if right == 0 else 0
    if _power(right) and isinstance(right, int):
        _become(instr, "and", left, right - 1)
    return None


def _signed_division(instr: Instr) -> Operand | None:
    left, right = instr.args
    if right in (0, 1):
        return left if (right == 1) == (instr.op == "sdiv") else 0
    if all(unsigned_range(arg)[1] >> 63 == 0 for arg in (left, right)):
        _become(instr, {"sdiv": "udiv", "smod": "umod"}[instr.op], left, right)
    return None


def _element(instr: Instr) -> Operand | None:
    array, index = instr.args
    if isinstance(index, int):
        _become(instr, "add", array, index * instr.attrs["size"])
    return None


def _and(instr: Instr) -> Operand | None:
    left, right = instr.args
    if left is right or right == -1:
        return left
    if right == 0:
        return 0
    if isinstance(right, int) and right > 0 and right & (right + 1) == 0:
        if unsigned_range(left)[1] <= right:
            return left
        if right.bit_length() in (8, 16, 32):
            _become(instr, "zext", left, bits=right.bit_length())
            return None
    _reassociate(instr)
    return None


def _or(instr: Instr) -> Operand | None:
    left, right = instr.args
    if left is right or right == 0:
        return left
    if right == -1:
        return -1
    _reassociate(instr)
    return None


def _xor(instr: Instr) -> Operand | None:
    left, right = instr.args
    if left is right:
        return 0
    if right == 0:
        return left
    _reassociate(instr)
    return None


def _shift(instr: Instr) -> Operand | None:
    left, right = instr.args
    if left == 0:
        return 0
    if not isinstance(right, int):
        return None
    count = right & 63
    if count == 0:
        return left
    if count != right:
        _become(instr, instr.op, left, count)
        return None
    if not isinstance(left, Instr) or not isinstance(left.args[1] if len(left.args) > 1 else None, int):
        return None
    first = left.args[1]
    if left.op == "shl" and instr.op != "shl" and first == count and 64 - count in (8, 16, 32):
        _become(instr, "zext" if instr.op == "lshr" else "sext", left.args[0], bits=64 - count)
    elif left.op == instr.op and isinstance(first, int):
        if count + (first & 63) < 64:
            _become(instr, instr.op, left.args[0], count + (first & 63))
        elif instr.op != "ashr":
            return 0
    return None


def _neg(instr: Instr) -> Operand | None:
    [value] = instr.args
    return value.args[0] if isinstance(value, Instr) and value.op == "neg" else None


def _zext(instr: Instr) -> Operand | None:
    [value] = instr.args
    bits = instr.attrs["bits"]
    if unsigned_range(value)[1] < 1 << bits or (_op(value) == "bswap" and _bits(value) <= bits):
        return value
    if _op(value) in ("zext", "sext") and _bits(value) >= bits:
        _become(instr, "zext", _inside(value), bits=bits)
    elif isinstance(value, Instr) and value.op == "and" and isinstance(value.args[1], int):
        mask = value.args[1] & ((1 << bits) - 1)
        if mask != (1 << bits) - 1:
            _become(instr, "and", value.args[0], mask)
        else:
            _become(instr, "zext", value.args[0], bits=bits)
    return None


def _sext(instr: Instr) -> Operand | None:
    [value] = instr.args
    bits = instr.attrs["bits"]
    if signed_bits(value) <= bits:
        return value
    if _op(value) in ("zext", "sext") and _bits(value) >= bits:
        _become(instr, "sext", _inside(value), bits=bits)
    return None


def _bits(value: Operand) -> int:
    return int(value.attrs["bits"]) if isinstance(value, Instr) else 64


def _inside(value: Operand) -> Operand:
    return value.args[0] if isinstance(value, Instr) else value


def _bswap(instr: Instr) -> Operand | None:
    [value] = instr.args
    if isinstance(value, Instr) and value.op == "bswap" and _bits(value) == instr.attrs["bits"]:
        if instr.attrs["bits"] == 64:
            return value.args[0]
        _become(instr, "zext", value.args[0], bits=instr.attrs["bits"])
    return None


def _phi(instr: Instr) -> Operand | None:
    first = next((arg for arg in instr.args if arg is not instr), None)
    if first is None or any(arg is not instr and arg != first for arg in instr.args):
        return None
    return first


# memory


def _addressed(instr: Instr) -> Operand | None:
    base, offset = address_of(instr.args[0], instr.attrs["offset"])
    if base is not instr.args[0] and -_FARTHEST <= offset < _FARTHEST and (instr.op == "peek" or _op(base)):
        instr.args[0] = base
        instr.attrs["offset"] = offset
    return None


def _store(instr: Instr) -> Operand | None:
    _addressed(instr)
    value, bits = instr.args[1], 8 * instr.attrs["size"]
    if isinstance(value, int):
        instr.args[1] = extend(value, bits)
    elif value.op in ("zext", "sext", "and") and _keeps(value, bits):
        instr.args[1] = value.args[0]
    return None


def _keeps(value: Instr, bits: int) -> bool:
    """Whether an extension or a mask leaves the low bits as they are."""
    if value.op != "and":
        return bool(value.attrs["bits"] >= bits)
    mask = value.args[1]
    return isinstance(mask, int) and extend(mask, bits) == -1


# comparisons


def _compare(instr: Instr) -> Operand | None:
    """Rules for ``cmp`` and ``branch``; of a branch, the result is only for :func:`_end`."""
    left, right = instr.args
    cond = instr.attrs["cond"]
    if isinstance(left, int) and not isinstance(right, int):
        instr.args, instr.attrs = [right, left], {"cond": SWAPPED[cond]}
    elif isinstance(left, Instr) and isinstance(right, int):
        _compare_with(instr, left, right, cond)
    if instr.op == "cmp":
        known = _known(instr)
        if known is not None:
            return int(known)
        if instr.attrs["cond"] == "ne" and instr.args[1] == 0 and _op(instr.args[0]) == "cmp":
            return instr.args[0]
    return None


def _compare_with(instr: Instr, left: Instr, right: int, cond: str) -> None:
    """Compare what a value was computed from, where that says the same."""
    if cond not in ("eq", "ne"):
        return
    equal = cond == "eq"
    if left.op == "cmp" and right in (0, 1):
        inner = left.attrs["cond"]
        instr.args, instr.attrs = list(left.args), {"cond": inner if equal == (right == 1) else NEGATED[inner]}
    elif left.op == "and" and right == 0:
        instr.args, instr.attrs = list(left.args), {"cond": "clear" if equal else "set"}
    elif left.op in ("sub", "xor") and right == 0:
        instr.args = list(left.args)
    elif left.op == "add" and isinstance(left.args[1], int) and left.type != PTR:
        instr.args = [left.args[0], signed64(right - left.args[1])]


def _known(instr: Instr) -> bool | None:
    """Whether a comparison holds, if that is known."""
    left, right = instr.args
    cond: str = instr.attrs["cond"]
    if left is right and cond not in ("set", "clear"):
        return COMPARE[cond](0, 0)
    if right == 0 and cond in ("set", "clear"):
        return cond == "clear"
    if isinstance(left, int) and isinstance(right, int):
        return COMPARE[cond](left, right)
    if right == 0 and cond in ("eq", "ne") and is_never_null(left):
        return cond == "ne"
    if cond in ("set", "clear") or PTR in (getattr(left, "type", ""), getattr(right, "type", "")):
        return None
    (low, high), (least, most) = unsigned_range(left), unsigned_range(right)
    if cond[0] == "s" and (high >> 63 or most >> 63):
        if not isinstance(right, int) or right >= 0 or high >> 63:
            return None
        return cond in ("sgt", "sge")  # what is not negative is above what is
    if low > most or high < least:
        return COMPARE[cond.replace("s", "u")](1 if low > most else 0, 0 if low > most else 1)
    if high == least and cond[1:] in ("le", "gt"):
        return cond[1:] == "le"
    if low == most and cond[1:] in ("ge", "lt"):
        return cond[1:] == "ge"
    return None


def _end(block: Block) -> None:
    """Turn a branch that always goes one way into a jump."""
    end = block.end
    taken = _known(end)
    if taken is None and block.successors[0] is not block.successors[1]:
        return
    lost = 1 if taken or taken is None else 0
    remove_edge(block, block.successors[lost], lost)
    _become(end, "jump")


_RULES: dict[str, _Rule] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "udiv": _udiv,
    "umod": _umod,
    "sdiv": _signed_division,
    "smod": _signed_division,
    "and": _and,
    "or": _or,
    "xor": _xor,
    "shl": _shift,
    "lshr": _shift,
    "ashr": _shift,
    "neg": _neg,
    "zext": _zext,
    "sext": _sext,
    "bswap": _bswap,
    "phi": _phi,
    "cmp": _compare,
    "branch": _compare,
    **dict.fromkeys(_ADDRESSED, _addressed),
    "element": _element,
    "store": _store,
}
