"""Write IR: the current block, the current source line, and variables that become SSA values on the fly."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from pybpf.asm import SourceLine
from pybpf.compiler.ir import Block, Function, Instr, Operand, signed64
from pybpf.compiler.ops import INT, NONE, OPS, PTR
from pybpf.compiler.ssa import Variables

__all__ = ["Builder", "result_type"]


#: Operations that become several instructions, and those that become as many as they have bytes for.
_SEVERAL = {"call": 4, "kfunc": 4, "callfunc": 4, "lookup": 6, "update": 8, "tryupdate": 8, "delete": 6, "peek": 6}
_BY_SIZE = frozenset({"copy", "zero"})


def result_type(op: str, args: list[Operand], said: str) -> str:
    """The type of the value of an instruction."""
    result = OPS[op].result
    if result == "said":
        return said
    if result != "same":
        return result
    types = [INT if isinstance(arg, int) else arg.type for arg in args]
    return INT if op == "sub" and types == [PTR, PTR] else types[0]


class Builder:
    """Appends to a function. After a block has ended, what is emitted before :meth:`start` is unreachable and dropped.

    :ivar line: given to every instruction.
    :ivar written: about how many instructions of the machine what has been written is, for a verifier that walks
        through it; whoever knows that it walks there more than once adds the rest.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.line: SourceLine | None = None
        self.written = 0
        self.block: Block | None = None
        self._names: dict[str, int] = {}
        self._variables = Variables()
        entry = self.new_block("entry")
        self.seal(entry)
        self.start(entry)
        self._entry_at = 0

    # blocks

    def new_block(self, name: str) -> Block:
        """A block, not yet part of the function: :meth:`start` puts it there."""
        number = self._names.get(name, 0)
        self._names[name] = number + 1
        return Block(f"{name}{number}" if number else name)

    def start(self, block: Block) -> None:
        """Go on in a block; one that nothing jumps to stays out of the function."""
        first = not self.function.blocks
        if not first and not block.predecessors and self._variables.is_sealed(block):
            self.block = None
            return
        self.function.blocks.append(block)
        self.block = block

    def seal(self, block: Block) -> None:
        """All jumps to the block have been emitted."""
        self._variables.seal(block)

    @property
    def reachable(self) -> bool:
        """Whether what is emitted now can run."""
        return self.block is not None

    # instructions

    def emit(self, op: str, *args: Operand, type: str = INT, **attrs: Any) -> Instr:
        """Append an instruction; ``type`` counts where the operation leaves it open."""
        operands = [signed64(arg) if isinstance(arg, int) else self.resolve(arg) for arg in args]
        instr = Instr(op, operands, result_type(op, operands, type), attrs, self.line)
        if self.block is not None:
            self.block.instrs.append(instr)
            self.written += attrs["size"] // 4 if op in _BY_SIZE else _SEVERAL.get(op, 1)
        return instr

    def slot(self, size: int, name: str = "", align: int = 8) -> Instr:
        """Memory of the function: at least ``size`` bytes, not initialised."""
        return self._at_entry(Instr("slot", [], PTR, {"size": size, "align": align, "name": name}, self.line))

    def zero_at_entry(self, slot: Instr, size: int) -> None:
        """Clear a slot before anything else happens: for memory that may be read where nothing was stored."""
        self._at_entry(Instr("zero", [slot], NONE, {"offset": 0, "size": size}, self.line))

    def param(self, index: int, type: str = PTR) -> Instr:
        """A parameter of the function."""
        return self._at_entry(Instr("param", [], type, {"index": index}, None))

    def _at_entry(self, instr: Instr) -> Instr:
        self.function.blocks[0].instrs.insert(self._entry_at, instr)
        self._entry_at += 1
        return instr

    def jump(self, target: Block) -> None:
        """End the block."""
        self.emit("jump")
        self._to(target)

    def branch(self, cond: str, left: Operand, right: Operand, holds: Block, otherwise: Block) -> None:
        """End the block by a comparison; ``cond`` is one of :data:`~pybpf.compiler.ops.CONDITIONS`."""
        self.emit("branch", left, right, cond=cond)
        self._to(holds, otherwise)

    def ret(self, value: Operand) -> None:
        """End the block and the function."""
        self.emit("ret", value)
        self.block = None

    def _to(self, *targets: Block) -> None:
        if self.block is None:
            return
        for target in targets:
            assert not self._variables.is_sealed(target), f"a jump to {target.name}, which was sealed"
            self.block.successors.append(target)
            target.predecessors.append(self.block)
        self.block = None

    def ways(self, block: Block) -> list[Block]:
        """Put a block on each way to a block that has not been sealed yet, in their order: start each, and jump on."""
        before = list(block.predecessors)
        block.predecessors.clear()
        ways = []
        for each in before:
            way = self.new_block("way")
            each.successors[each.successors.index(block)] = way
            way.predecessors.append(each)
            self.seal(way)
            ways.append(way)
        return ways

    # variables

    def declare(self, variable: Hashable, type: str) -> None:
        """Say the type of a variable to which a constant is assigned first."""
        self._variables.declare(variable, type)

    def write(self, variable: Hashable, value: Operand) -> None:
        """Assign to a variable; all values of a variable have one type."""
        if self.block is not None:
            self._variables.write(variable, self.block, value)

    def read(self, variable: Hashable) -> Operand:
        """The value of a variable here; 0 where no assignment reaches."""
        return 0 if self.block is None else self._variables.read(variable, self.block)

    def resolve(self, value: Operand) -> Operand:
        """The value itself, or what has taken the place of a phi that turned out to be needless."""
        return self._variables.resolve(value)

    def finish(self) -> Function:
        """Make the function complete: its phis are in place, and what cannot be reached is gone."""
        self._variables.finish(self.function)
        return self.function
