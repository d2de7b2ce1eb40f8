"""Variables to SSA values on the fly, while control flow is written or when it is complete.

The algorithm is that of Braun et al., "Simple and Efficient Construction of Static Single Assignment Form" (CC 2013):
a block whose predecessors are not all known is unsealed and gets operandless phis, which :meth:`Variables.seal` fills.
Lists of work take the place of its recursion, and :class:`~pybpf.compiler.regions.Regions` of its walk through blocks
that do not write the variable: without it, each read would leave a phi in every block between, to be found needless.
"""

from __future__ import annotations

from collections.abc import Hashable

from pybpf.compiler.flow import drop_unreachable, replace_values
from pybpf.compiler.ir import Block, Function, Instr, Operand, signed64
from pybpf.compiler.ops import INT
from pybpf.compiler.regions import Regions

__all__ = ["Variables"]


class Variables:
    """The variables of a function: what each holds at the end of each block, as far as that has been written."""

    def __init__(self) -> None:
        self._sealed: set[Block] = set()
        self._regions = Regions()
        self._defined: dict[Block, dict[Hashable, Operand]] = {}
        self._types: dict[Hashable, str] = {}
        self._incomplete: dict[Block, dict[Hashable, Instr]] = {}
        self._phis: dict[Block, list[Instr]] = {}
        self._replaced: dict[Instr, Operand] = {}

    def is_sealed(self, block: Block) -> bool:
        """Whether all predecessors of the block are known."""
        return block in self._sealed

    def seal(self, block: Block) -> None:
        """All predecessors of the block are known, and written as far as they ever will be before they are read."""
        self._sealed.add(block)
        self._regions.close(block)
        for variable, phi in self._incomplete.pop(block, {}).items():
            self._fill(variable, (phi, block))

    def declare(self, variable: Hashable, type: str) -> None:
        """Give a variable its type, unless it has one."""
        self._types.setdefault(variable, type)

    def write(self, variable: Hashable, block: Block, value: Operand) -> None:
        """Assign to a variable; all values of a variable have one type."""
        self.declare(variable, INT if isinstance(value, int) else value.type)
        self._regions.write(variable, block)
        self._defined.setdefault(block, {})[variable] = signed64(value) if isinstance(value, int) else value

    def read(self, variable: Hashable, block: Block) -> Operand:
        """The value at the end of a block; 0 where no assignment reaches."""
        value, opened = self._reaching(variable, block)
        return self.resolve(self._fill(variable, opened)) if opened else value

    def resolve(self, value: Operand) -> Operand:
        """The value itself, or what has taken the place of a phi that turned out to be needless."""
        chain: list[Instr] = []
        while isinstance(value, Instr) and value in self._replaced:
            chain.append(value)
            value = self._replaced[value]
        for each in chain[:-1]:
            self._replaced[each] = value
        return value

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
            above = self._regions.unwritten_since(variable, block)
            if above is not block:
                chain.append(block)
                block = above
                continue
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
        phi = Instr("phi", [], self._types.get(variable, INT))
        self._phis.setdefault(block, []).append(phi)
        self._defined.setdefault(block, {})[variable] = phi
        return phi

    def _fill(self, variable: Hashable, opened: tuple[Instr, Block]) -> Instr:
        """Give a phi its operands, and so on for the phis that this opens."""
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

    def finish(self, function: Function) -> None:
        """Put the phis that are needed into their blocks, and drop the blocks that cannot be reached."""
        for block, phis in self._phis.items():
            block.instrs[:0] = phis
        drop_unreachable(function)
        users: dict[Instr, list[Instr]] = {}
        phis = [phi for block in function.blocks for phi in block.phis]
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
        replace_values(function, self._replaced)
