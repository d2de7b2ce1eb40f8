"""Conditions: comparisons and what ``&&``, ``||`` and ``!`` make of them, as branches and as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pybpf.bt.lower.values import Scalar, Value, converted
from pybpf.bt.syntax import tree
from pybpf.bt.types import BOOL, Integer, Pointer, Type, join
from pybpf.lang.values.flow import Choice

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Block, Operand

__all__ = ["COMPARISONS", "branch", "chosen", "compared", "logical"]

#: operator -> condition, unsigned and signed
COMPARISONS = {
    "==": ("eq", "eq"), "!=": ("ne", "ne"), "<": ("ult", "slt"), "<=": ("ule", "sle"), ">": ("ugt", "sgt"),
    ">=": ("uge", "sge"),
}  # fmt: skip


def branch(gen: Gen, node: tree.Node, yes: Block, no: Block) -> None:
    """End the block: to ``yes`` if an expression is true."""
    known = gen.constant(node)
    if known is not None and not isinstance(known, str):
        gen.b.jump(yes if known else no)
        return
    if isinstance(node, tree.Unary) and node.operator == "!":
        branch(gen, node.operand, no, yes)
        return
    if isinstance(node, tree.Binary):
        if node.operator in ("&&", "||"):
            more = gen.b.new_block("more")
            both = node.operator == "&&"
            branch(gen, node.left, *((more, no) if both else (yes, more)))
            gen.land(more)
            branch(gen, node.right, yes, no)
            return
        if node.operator in COMPARISONS:
            with gen.at(node):
                test = compared(gen, node.operator, gen.read(node.left), gen.read(node.right))
                gen.b.branch(*test, yes, no)
            return
    gen.b.branch("ne", gen.scalar(node), 0, yes, no)


def compared(gen: Gen, operator: str, left: Value, right: Value) -> tuple[str, Operand, Operand]:
    """``left operator right`` as a condition and its operands."""
    if left.type.scalar and right.type.scalar:
        kind = _common(left.type, right.type)
        signed = isinstance(kind, Integer) and kind.signed
        operands = (converted(gen, each, kind).operand(gen) for each in (left, right))
        return (COMPARISONS[operator][signed], *operands)  # type: ignore[return-value]
    from pybpf.bt.lower.memory import differs

    return COMPARISONS[operator][0], differs(gen, left, right), 0


def _common(left: Type, right: Type) -> Type:
    if isinstance(left, Pointer) or isinstance(right, Pointer):
        return Integer(8, False)
    integers = [each if isinstance(each, Integer) else Integer(1, False) for each in (left, right)]
    return join(*integers) or Integer(8, True)


def logical(gen: Gen, node: tree.Node) -> Value:
    """A condition as a value."""
    test = None
    if isinstance(node, tree.Binary) and node.operator in COMPARISONS:
        test = compared(gen, node.operator, gen.read(node.left), gen.read(node.right))
    elif isinstance(node, tree.Unary) and node.operator == "!":
        test = "eq", gen.scalar(node.operand), 0
    if test is not None:
        cond, left, right = test
        return Scalar(BOOL, gen.b.emit("cmp", left, right, cond=cond))
    yes, no, done = (gen.b.new_block(name) for name in ("true", "false", "truth"))
    found = Choice(gen.b, 0)
    branch(gen, node, yes, no)
    gen.land(yes)
    found.set(1)
    gen.b.jump(done)
    gen.land(no)
    gen.b.jump(done)
    gen.land(done)
    return Scalar(BOOL, found.value)


def chosen(gen: Gen, kind: Type, ways: list[tuple[Block, Callable[[], Value | None]]], done: Block) -> Value | None:
    """The value of one of several ways, each in a block of its own; all are sealed and end in ``done`` here."""
    from pybpf.bt.types import Nothing

    gives = not isinstance(kind, Nothing)
    key: Any = object()
    slot = None if not gives or kind.scalar else gen.b.slot(max(kind.size, 1), "chosen")
    for block, compute in ways:
        gen.land(block)
        value = compute()
        if gives and value is not None and gen.b.reachable:
            value = converted(gen, value, kind)
            if slot is None:
                gen.b.write(key, value.operand(gen))
            else:
                _put(gen, value, slot)
        gen.b.jump(done)
    gen.land(done)
    if not gives:
        return None
    from pybpf.bt.lower.values import Own

    return Scalar(kind, gen.b.read(key)) if slot is None else Own(kind, slot, 0)


def _put(gen: Gen, value: Value, slot: Operand) -> None:
    from pybpf.lang.values import raw

    if not value.clean:
        raw.clear(gen, slot, 0, value.type.size)
    value.store(gen, slot, 0)
