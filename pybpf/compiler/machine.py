"""Machine instructions over virtual registers: what selection makes, allocation colours and emission writes out.

A register is a number: 0 to 10 are the machine's own, those from :data:`VIRTUAL` on are virtual. All copies between
registers are :class:`Copies`, which happen at once; they become moves when everybody has a place.
"""

from __future__ import annotations

from typing import Union

from pybpf.asm import Insn, Ref, SourceLine
from pybpf.asm.insn import LD_IMM64
from pybpf.asm.opcodes import ATOMIC_CMPXCHG, ATOMIC_FETCH
from pybpf.compiler.ir import signed64
from pybpf.record import dataclass, field

__all__ = [
    "ARGUMENTS", "CLOBBERED", "FP", "REGISTERS", "VIRTUAL", "Copies", "FrameAddress", "Imm", "Item", "MBlock",
    "MFunction", "MInsn", "Place", "Recipe", "SetCond", "Source", "Spill", "Wide", "call", "fits32", "format_machine",
    "load_spill", "materialise", "move", "store_spill",
]  # fmt: skip

#: The frame pointer, which no value is kept in.
FP = 10
#: Registers for values; a call destroys those of :data:`CLOBBERED`, and takes its arguments in :data:`ARGUMENTS`.
REGISTERS = tuple(range(10))
CLOBBERED = (0, 1, 2, 3, 4, 5)
ARGUMENTS = (1, 2, 3, 4, 5)
#: The first virtual register.
VIRTUAL = 16

_LD, _LDX, _ST, _STX, _ALU32, _JMP, _JMP32, _ALU64 = range(8)
_X, _DW = 0x08, 0x18
_ATOMIC = 0xC0
_MOV, _ADD, _NEG, _END = 0xB0, 0x00, 0x80, 0xD0
_CALL, _EXIT = 0x85, 0x95


@dataclass(frozen=True)
class Imm:
    """A constant."""

    value: int


@dataclass(frozen=True)
class FrameAddress:
    """The frame pointer plus a number."""

    offset: int


@dataclass(frozen=True)
class Wide:
    """The address of a map, of a map's value or of a function: fields of a ``ld_imm64``."""

    src: int
    ref: Ref


@dataclass(frozen=True, order=True)
class Spill:
    """A place in the frame for a value that has no register."""

    number: int


#: What can be computed anywhere, from nothing.
Recipe = Union[Imm, FrameAddress, Wide]
#: Where a copy goes to: a register or the frame.
Place = Union[int, Spill]
#: Where a copy comes from.
Source = Union[int, Spill, Imm, FrameAddress, Wide]


def fits32(value: int) -> bool:
    """Whether an instruction's immediate can hold the (signed 64-bit) constant."""
    return -0x80000000 <= value <= 0x7FFFFFFF


class MInsn:
    """An instruction whose registers may be virtual; fields as in :class:`~pybpf.asm.Insn`.

    :ivar reads: registers whose value it needs.
    :ivar writes: registers that it sets; a call also destroys :data:`CLOBBERED`.
    """

    __slots__ = ("code", "dst", "imm", "line", "off", "reads", "ref", "src", "writes")

    def __init__(
        self, code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0, ref: Ref | None = None, args: int = 0
    ) -> None:
        self.code = code
        self.dst = dst
        self.src = src
        self.off = off
        self.imm = imm
        self.ref = ref
        self.line: SourceLine | None = None
        self.reads: tuple[int, ...] = ARGUMENTS[:args]
        self.writes: tuple[int, ...] = (0,)
        if not self.is_call:
            self._find_effects()

    @property
    def is_call(self) -> bool:
        return self.code == _CALL

    def _find_effects(self) -> None:
        code, dst, src = self.code, self.dst, self.src
        kind = code & 7
        reads: tuple[int, ...] = ()
        writes: tuple[int, ...] = ()
        if kind in (_ALU64, _ALU32):
            op = code & 0xF0
            reads = (src,) if code & _X and op != _END else ()
            if op != _MOV:
                reads = (dst, *reads)
            writes = (dst,)
        elif kind == _LDX:
            reads, writes = (src,), (dst,)
        elif kind == _ST:
            reads = (dst,)
        elif kind == _STX:
            reads = (dst, src)
            if code & 0xE0 == _ATOMIC and self.imm == ATOMIC_CMPXCHG:
                reads, writes = (0, dst, src), (0,)
            elif code & 0xE0 == _ATOMIC and self.imm & ATOMIC_FETCH:
                writes = (src,)
        elif kind == _LD:
            writes = (dst,)
        elif code == _EXIT:
            reads = (0,)
        else:
            reads = (dst, src) if code & _X else (dst,)
        self.reads = tuple(reg for reg in reads if reg != FP)
        self.writes = writes

    def rename(self, old: int, new: int) -> None:
        """Put one register in the place of another."""
        if self.dst == old:
            self.dst = new
        if self.src == old:
            self.src = new
        self._find_effects()

    def insns(self, colours: list[int]) -> list[Insn]:
        """The final instructions, given the register of each virtual register."""
        uses_src = self.code & 7 in (_LDX, _STX) or (self.code & 7 not in (_LD, _ST) and self.code & _X)
        src = colours[self.src] if uses_src and not self.is_call else self.src
        return [Insn(self.code, colours[self.dst], src, self.off, self.imm, self.ref, self.line)]


class SetCond(MInsn):
    """A comparison into a register: 1, a conditional jump over the next instruction, 0; or the other way round.

    The register is written before the operands are read, so that it must not be one of them.

    :ivar result: the register.
    :ivar taken: what it becomes when the jump is taken.
    """

    __slots__ = ("result", "taken")

    def __init__(self, jump: MInsn, result: int, taken: int) -> None:
        self.result = result
        self.taken = taken
        super().__init__(jump.code, jump.dst, jump.src, 1, jump.imm)

    def _find_effects(self) -> None:
        super()._find_effects()
        self.writes = (self.result,)

    def rename(self, old: int, new: int) -> None:
        if self.result == old:
            self.result = new
        super().rename(old, new)

    def insns(self, colours: list[int]) -> list[Insn]:
        result = colours[self.result]
        first = Insn(_ALU64 | _MOV, result, imm=self.taken, line=self.line)
        last = Insn(_ALU64 | _MOV, result, imm=1 - self.taken, line=self.line)
        return [first, *super().insns(colours), last]


class Copies:
    """Copies that happen at once: every source is read before any place is written.

    :ivar live: the virtual and own registers whose values are needed afterwards; allocation fills it in.
    """

    __slots__ = ("line", "live", "pairs", "reads", "writes")

    def __init__(self, pairs: list[tuple[Place, Source]]) -> None:
        self.line: SourceLine | None = None
        self.live: tuple[int, ...] = ()
        self.set(pairs)

    is_call = False

    def set(self, pairs: list[tuple[Place, Source]]) -> None:
        """Make it other copies; what is copied onto itself is left out."""
        self.pairs = [(place, source) for place, source in pairs if place != source]
        self.reads = tuple(source for _, source in self.pairs if isinstance(source, int) and source != FP)
        self.writes = tuple(place for place, _ in self.pairs if isinstance(place, int))


Item = Union[MInsn, Copies]


class MBlock:
    """A block: it ends in a conditional jump when it has two successors (taken, not taken), in ``exit`` when none."""

    __slots__ = ("depth", "items", "name", "successors")

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: list[Item] = []
        self.successors: list[MBlock] = []
        self.depth = 0

    def __repr__(self) -> str:
        return f"<block {self.name}>"


@dataclass(eq=False)
class MFunction:
    """A function over virtual registers.

    :ivar blocks: in an order in which a block comes behind those that dominate it; the first is the entry.
    :ivar registers: the number after the last virtual register.
    :ivar recipes: virtual registers that hold what can be computed anywhere.
    :ivar spills: how many places :class:`Spill` has.
    """

    name: str
    blocks: list[MBlock] = field(default_factory=list)
    registers: int = VIRTUAL
    recipes: dict[int, Recipe] = field(default_factory=dict)
    spills: int = 0

    def new(self) -> int:
        """Another virtual register."""
        self.registers += 1
        return self.registers - 1


def materialise(dst: int, recipe: Recipe) -> list[MInsn]:
    """Compute what a recipe says into a register."""
    if isinstance(recipe, FrameAddress):
        return [MInsn(_ALU64 | _MOV | _X, dst, FP), MInsn(_ALU64 | _ADD, dst, imm=recipe.offset)]
    if isinstance(recipe, Wide):
        return [MInsn(LD_IMM64, dst, recipe.src, ref=recipe.ref)]
    value = signed64(recipe.value)
    if fits32(value):
        return [MInsn(_ALU64 | _MOV, dst, imm=value)]
    if 0 <= value <= 0xFFFFFFFF:
        return [MInsn(_ALU32 | _MOV, dst, imm=value - (1 << 32))]
    return [MInsn(LD_IMM64, dst, imm=value & 0xFFFFFFFFFFFFFFFF)]


def move(dst: int, src: int) -> MInsn:
    """``dst = src``"""
    return MInsn(_ALU64 | _MOV | _X, dst, src)


def load_spill(dst: int, offset: int) -> MInsn:
    """A value from the frame."""
    return MInsn(_LDX | 0x60 | _DW, dst, FP, offset)


def store_spill(offset: int, src: int) -> MInsn:
    """A value to the frame; always whole, so that the verifier goes on to know what it is."""
    return MInsn(_STX | 0x60 | _DW, FP, src, offset)


def call(imm: int = 0, src: int = 0, ref: Ref | None = None, args: int = 0) -> MInsn:
    """A call that takes its first ``args`` arguments from registers."""
    return MInsn(_CALL, 0, src, 0, imm, ref, args)


def format_machine(function: MFunction) -> str:
    """A function as text: virtual registers have numbers from :data:`VIRTUAL` on."""
    lines = [f"{function.name}:"]
    same = list(range(function.registers))
    for block in function.blocks:
        lines.append(f"{block.name}: -> {', '.join(each.name for each in block.successors)}".rstrip(" ->"))
        for item in block.items:
            if isinstance(item, Copies):
                lines.append("\t" + ", ".join(f"{_shown(place)} <- {_shown(source)}" for place, source in item.pairs))
            else:
                lines += [f"\t{insn}" for insn in item.insns(same)]
    return "\n".join(lines)


def _shown(each: Source) -> str:
    return f"r{each}" if isinstance(each, int) else str(each)
