"""Operands of selected instructions: which values have a register, and which are computed where they are used."""

from __future__ import annotations

from collections.abc import Callable

from pybpf.asm import MapRef, SourceLine
from pybpf.asm.opcodes import ALU
from pybpf.compiler.frame import FramePlan
from pybpf.compiler.ir import Instr, Operand
from pybpf.compiler.machine import (
    FP,
    Copies,
    FrameAddress,
    Imm,
    Item,
    MFunction,
    MInsn,
    Place,
    Recipe,
    Source,
    Wide,
    fits32,
    materialise,
)

__all__ = ["FUNCTION", "MAP", "MAP_VALUE", "Operands"]

#: What the source field of a ``ld_imm64`` says that it is: the address of a map, of a map's value, of a function.
MAP, MAP_VALUE, FUNCTION = 1, 2, 4
_ADD = 0x07 | ALU["add"][0]
#: The most that the offset of a direct value address leaves to the instruction that uses it.
_NEAR = 0x7000


class Operands:
    """The instructions of a block, written from last to first, and the registers of their operands.

    :ivar made: the function that registers belong to.
    :ivar plan: where its slots are.
    :ivar label: function of the unit -> the label that it begins at.
    :ivar regs: the register of each value that was asked for.
    :ivar base: the register that holds the address of the scratch memory; -1 while nothing needs it.
    :ivar out: the items of the block at hand, last first.
    :ivar now: those of the instruction at hand, first first.
    :ivar line: its source line.
    :ivar shared: what is kept in a register up to the next call, that register, and where in ``out`` its first use is.
    :ivar fresh: what of that the instruction at hand uses.
    """

    def __init__(self, made: MFunction, plan: FramePlan, label: Callable[[str], str]) -> None:
        self.made = made
        self.plan = plan
        self.label = label
        self.regs: dict[Instr, int] = {}
        self.base = -1
        self.out: list[Item] = []
        self.now: list[Item] = []
        self.line: SourceLine | None = None
        self.shared: dict[Wide | Imm, tuple[int, int]] = {}
        self.fresh: set[Wide | Imm] = set()

    # writing

    def put(self, *items: Item) -> None:
        """Write items, with the source line at hand."""
        for item in items:
            item.line = self.line
            self.now.append(item)

    def copies(self, pairs: list[tuple[Place, Source]]) -> None:
        """Write copies that happen at once, if there are any."""
        if pairs:
            self.put(Copies(pairs))

    def finish(self) -> None:
        """The instruction at hand is complete."""
        self.now.reverse()
        self.out += self.now
        self.now = []
        for recipe in self.fresh:
            self.shared[recipe] = (self.shared[recipe][0], len(self.out))
        self.fresh.clear()

    def flush(self) -> None:
        """Define what was shared, each in front of its first use."""
        for recipe, (reg, at) in sorted(self.shared.items(), key=lambda each: -each[1][1]):
            made: list[Item] = [*materialise(reg, recipe)]
            for item in made:
                item.line = self.out[at - 1].line
            self.out[at:at] = made
        self.shared = {}

    # operands

    def result(self, instr: Instr) -> int:
        """The register of a value, which it has from now on."""
        if instr not in self.regs:
            self.regs[instr] = self.made.new()
        return self.regs[instr]

    def asked(self, instr: Instr) -> bool:
        """Whether something behind the instruction at hand needs a value in a register."""
        return instr in self.regs

    def place(self, operand: Operand) -> tuple[Operand, int]:
        """An address as a value that is not a sum with a constant, and a constant."""
        offset = 0
        while isinstance(operand, Instr) and operand.op == "add" and isinstance(operand.args[1], int):
            offset += operand.args[1]
            operand = operand.args[0]
        return operand, offset

    def recipe(self, operand: Operand) -> Recipe | None:
        """How to compute a value anywhere, if that is possible."""
        if isinstance(operand, int):
            return Imm(operand)
        base, offset = self.place(operand)
        if not isinstance(base, Instr):
            return None
        if base.op == "slot" and base in self.plan.offsets:
            return FrameAddress(self.plan.offsets[base] + offset)
        if base.op == "mapvalue" and base.attrs["offset"] + offset >= 0:
            return Wide(MAP_VALUE, MapRef(base.attrs["map"], base.attrs["offset"] + offset))
        if offset:
            return None
        if base.op == "map":
            return Wide(MAP, MapRef(base.attrs["map"]))
        if base.op == "func":
            return Wide(FUNCTION, self.label(base.attrs["func"]))
        return None

    def source(self, operand: Operand) -> Source:
        """An operand for a copy."""
        return self.recipe(operand) or self.reg(operand)

    def reg(self, operand: Operand) -> int:
        """A register that holds an operand."""
        recipe = self.recipe(operand)
        if recipe is not None:
            return self.computed(recipe)
        assert isinstance(operand, Instr)
        if operand.op == "slot":  # in scratch memory
            return self.sum(self.scratch(), self.plan.scratch[operand])
        return self.result(operand)

    def sum(self, base: int, offset: int) -> int:
        """A register that holds another one plus a number."""
        if not offset:
            return base
        made = self.made.new()
        self.copies([(made, base)])
        self.put(MInsn(_ADD, made, imm=offset))
        return made

    def scratch(self) -> int:
        """The register that holds the address of the scratch memory."""
        if self.base < 0:
            self.base = self.made.new()
        return self.base

    def computed(self, recipe: Recipe) -> int:
        """A register that holds what a recipe says; what takes two slots is shared by what needs it up to a call."""
        if isinstance(recipe, Wide) or (isinstance(recipe, Imm) and not fits32(recipe.value)):
            if recipe not in self.shared:
                self.shared[recipe] = (self.made.new(), 0)
            self.fresh.add(recipe)
            reg = self.shared[recipe][0]
            self.made.recipes[reg] = recipe
            return reg
        reg = self.made.new()
        self.put(*materialise(reg, recipe))
        return reg

    def memory(self, operand: Operand, offset: int) -> tuple[int, int]:
        """Register and offset of a memory access."""
        base, more = self.place(operand)
        offset += more
        if isinstance(base, Instr) and base.op == "slot":
            if base in self.plan.offsets:
                return FP, self.plan.offsets[base] + offset
            return self.scratch(), self.plan.scratch[base] + offset
        if isinstance(base, Instr) and base.op == "mapvalue":
            offset += base.attrs["offset"]
            near = offset % _NEAR
            return self.computed(Wide(MAP_VALUE, MapRef(base.attrs["map"], offset - near))), near
        if -0x8000 <= offset <= 0x7FFF:
            return self.reg(base), offset
        return self.reg(operand), offset - more
