"""``for ($kv : @map)``: the compiler makes the body a callback that the kernel calls for each entry (Linux 5.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.lower import variables
from pybpf.bt.lower.gen import Loop
from pybpf.bt.lower.percpu import reduced_under
from pybpf.bt.lower.values import Own, Scalar, Value, at
from pybpf.bt.syntax import tree
from pybpf.bt.types import Aggregate, Tuple, Type
from pybpf.compiler.unknown import Unknown
from pybpf.lang.values.flow import Choice
from pybpf.lang.values.reading import KERNEL, Where

if TYPE_CHECKING:
    from pybpf.bt.check.facts import VariableFacts
    from pybpf.bt.lower.gen import Gen
    from pybpf.bt.state.maps import ScriptMap
    from pybpf.compiler.ir import Operand

__all__ = ["count_entries", "each_entry"]

_HELPER = "for_each_map_elem"


def each_entry(gen: Gen, node: tree.For, variable: VariableFacts) -> None:
    """The body, for each entry. :raises CompileError: the target cannot do that."""
    from pybpf.bt.lower.expressions import tuple_value

    assert isinstance(node.iterable, tree.Map)
    if not gen.target.has_helper(gen.unit.type, _HELPER):
        gen.fail(node, f"a loop over a map needs bpf_{_HELPER} (Linux 5.13); print the map instead")
    found = gen.map(node.iterable.name)
    kind = variable.type
    assert isinstance(kind, Tuple) and found.key is not None
    b = gen.b
    top, body, following, leave = (b.new_block(name) for name in ("entries", "entry", "next", "endentries"))
    b.jump(top)
    b.start(top)
    entry = b.emit("entry", map=gen.use_map(found))
    b.branch("ne", entry, 0, body, leave)
    gen.land(body)
    key = b.emit("entrykey", entry)
    value: Value
    if isinstance(found.value, Aggregate):
        value = Scalar(kind.items[1], reduced_under(gen, node, found, key))
    else:
        value = _at(gen, b.emit("entryvalue", entry), found.value)
    pair = tuple_value(gen, kind, [_at(gen, key, found.key), value])
    gen.loops.append(Loop(leave, following))
    variables.write(gen, variable, pair)
    if _leaves(node.body):  # one turn is a turn too: it must look as if there could be another
        more = b.new_block("only")
        b.branch("eq", Unknown(b.emit).zero, 0, more, following)
        gen.land(more)
    gen.block(node.body)
    gen.loops.pop()
    b.jump(following)
    gen.land(following)
    b.jump(top)
    b.seal(top)
    gen.land(leave)


def count_entries(gen: Gen, node: tree.Node, found: ScriptMap) -> Operand:
    """How many entries a map has. :raises CompileError: the target cannot go through a map."""
    if not gen.target.has_helper(gen.unit.type, _HELPER):
        gen.fail(node, f"the length of a map needs bpf_{_HELPER} (Linux 5.13)")
    b = gen.b
    count = Choice(b, 0)
    top, body, leave = (b.new_block(name) for name in ("entries", "entry", "endentries"))
    b.jump(top)
    b.start(top)
    b.branch("ne", b.emit("entry", map=gen.use_map(found)), 0, body, leave)
    gen.land(body)
    count.set(b.emit("add", count.value, 1))
    b.jump(top)
    b.seal(top)
    gen.land(leave)
    return count.value


def _leaves(block: tree.Block) -> bool:
    """Whether a block always leaves the loop around it."""
    for each in block.statements:
        if isinstance(each, (tree.Break, tree.Return)):
            return True
        if isinstance(each, tree.Continue):
            return False
        if isinstance(each, tree.Evaluate) and isinstance(each.value, tree.If):
            arms = [body for _, body in each.value.arms]
            if each.value.otherwise is not None and all(map(_leaves, [*arms, each.value.otherwise])):
                return True
    return False


def _at(gen: Gen, address: Operand, kind: Type) -> Value:
    return at(gen, Where(address, 0, KERNEL, address), kind) if kind.scalar else Own(kind, address, 0)
