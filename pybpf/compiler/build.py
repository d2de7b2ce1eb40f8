"""Write IR: the current block, the current source line, and variables that become SSA values on the fly.

The algorithm for variables is that of Braun et al., "Simple and Efficient Construction of Static Single Assignment
Form" (CC 2013): a block whose predecessors are not all known is unsealed and gets operandless phis, which
:meth:`Builder.seal` fills.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from pybpf.asm import SourceLine
from pybpf.compiler.flow import drop_unreachable, replace_values
from pybpf.compiler.ir import Block, Function, Instr, Operand, signed64
from pybpf.compiler.ops import INT, OPS, PTR

__all__ = ["Builder", "result_type"]


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
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.line: SourceLine | None = None
        self.block: Block | None = None
        self._names: dict[str, int] = {}
        self._sealed: set[Block] = set()
        self._defined: dict[Block, dict[Hashable, Operand]] = {}
        self._types: dict[Hashable, str] = {}
        self._incomplete: dict[Block, dict[Hashable, Instr]] = {}
        self._phis: dict[Block, list[Instr]] = {}
        self._replaced: dict[Instr, Operand] = {}
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
        if not first and not block.predecessors and block in self._sealed:
            self.block = None
            return
        self.function.blocks.append(block)
        self.block = block

    def seal(self, block: Block) -> None:
        """All jumps to the block have been emitted."""
        self._sealed.add(block)
        for variable, phi in self._incomplete.pop(block, {}).items():
            self._fill(variable, (phi, block))

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
        return instr

    def slot(self, size: int, name: str = "", align: int = 8) -> Instr:
        """Memory of the function: at least ``size`` bytes, not initialised."""
        return self._at_entry(Instr("slot", [], PTR, {"size": size, "align": align, "name": name}, self.line))

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
            assert target not in self._sealed, f"a jump to {target.name}, which was sealed"
            self.block.successors.append(target)
            target.predecessors.append(self.block)
        self.block = None

    # variables

    def write(self, variable: Hashable, value: Operand) -> None:
        """Assign to a variable; all values of a variable have one type."""
        if self.block is not None:
            self._types.setdefault(variable, INT if isinstance(value, int) else value.type)
            self._defined.setdefault(self.block, {})[variable] = signed64(value) if isinstance(value, int) else value

    def read(self, variable: Hashable) -> Operand:
        """The value of a variable here; 0 where no assignment reaches."""
        return 0 if self.block is None else self._read(variable, self.block)

    def resolve(self, value: Operand) -> Operand:
        """The value itself, or what has taken the place of a phi that turned out to be needless."""
        chain: list[Instr] = []
        while isinstance(value, Instr) and value in self._replaced:
            chain.append(value)
            value = self._replaced[value]
        for each in chain[:-1]:
            self._replaced[each] = value
        return value

    def _read(self, variable: Hashable, block: Block) -> Operand:
        """The value at the end of a block as far as it has been written."""
        value, open_phi = self._reaching(variable, block)
        return self.resolve(self._fill(variable, open_phi)) if open_phi else value

    def _reaching(self, variable: Hashable, block: Block) -> tuple[Operand, tuple[Instr, Block] | None]:
        """The value that reaches the end of a block; with its block when it is a new phi without operands yet."""
        chain: list[Block] = []
        opened = None
        while True:
            known = self._defined.get(block, {}).get(variable)
            if known is not None:
                value = self.resolve(known)
                break
            sealed = block in self._sealed
            if sealed and not block.predecessors:
                value = 0
                break
            if not sealed or len(block.predecessors) > 1:
                phi = value = self._new_phi(variable, block)
                if sealed:
                    opened = phi, block
                else:
                    self._incomplete.setdefault(block, {})[variable] = phi
                break
            chain.append(block)
            block = block.predecessors[0]
        for each in chain:
            self._defined.setdefault(each, {})[variable] = value
        return value, opened

    def _new_phi(self, variable: Hashable, block: Block) -> Instr:
        phi = Instr("phi", [], self._types.get(variable, INT), {}, self.line)
        self._phis.setdefault(block, []).append(phi)
        self._defined.setdefault(block, {})[variable] = phi
        return phi

    def _fill(self, variable: Hashable, opened: tuple[Instr, Block]) -> Instr:
        """Give a phi its operands, and so on for the phis that this opens: by a list of work, not by recursion."""
        filled: list[Instr] = []
        work = [opened]
        while work:
            phi, block = work.pop()
            filled.append(phi)
            for before in block.predecessors:
                value, more = self._reaching(variable, before)
                phi.args.append(value)
                if more:
                    work.append(more)
        for phi in reversed(filled):  # from the far end, so that what needs nothing but needless phis goes too
            self._replace_needless(phi)
        return opened[0]

    def _replace_needless(self, phi: Instr) -> bool:
        """Let the value of a phi of one value and itself take its place."""
        values = {self.resolve(arg) for arg in phi.args} - {phi}
        if len(values) > 1:
            return False
        self._replaced[phi] = values.pop() if values else 0
        return True

    def finish(self) -> Function:
        """Put the phis that are needed into their blocks and drop what cannot be reached; the function is complete."""
        for block, phis in self._phis.items():
            block.instrs[:0] = phis
        drop_unreachable(self.function)
        users: dict[Instr, list[Instr]] = {}
        phis = [phi for block in self.function.blocks for phi in block.phis]
        for phi in phis:
            for arg in phi.args:
                if isinstance(arg, Instr):
                    users.setdefault(arg, []).append(phi)
        while phis:
            phi = phis.pop()
            if phi not in self._replaced and self._replace_needless(phi):
                value = self.resolve(phi)
                phis += users.get(phi, [])
                if isinstance(value, Instr):
                    users.setdefault(value, []).extend(users.get(phi, []))
        replace_values(self.function, self._replaced)
        return self.function
