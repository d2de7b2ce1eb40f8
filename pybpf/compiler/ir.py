"""The intermediate representation: units of functions of blocks of instructions, in SSA form.

An operand is an instruction (its value) or a Python ``int`` (a constant, kept as signed 64 bits). Values are 64 bits
wide. A block ends in one ``jump``, ``branch`` or ``ret``; its successors are :attr:`Block.successors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Union

from pybpf.asm import SourceLine
from pybpf.compiler.ops import OPS, Op
from pybpf.maps import MapSpec
from pybpf.record import dataclass, field
from pybpf.sys.bpf import AttachType, ProgType

__all__ = ["Block", "Counter", "Function", "Instr", "Operand", "Unit", "signed64"]


def signed64(value: int) -> int:
    """The constant as the IR keeps it: in -2**63 to 2**63 - 1, the same bits."""
    return ((value + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)


class Instr:
    """One instruction, which is also the value that it gives.

    :ivar op: a key of :data:`~pybpf.compiler.ops.OPS`.
    :ivar args: the operands.
    :ivar attrs: the attributes that the operation's row names.
    :ivar type: ``"int"``, ``"ptr"`` or ``""``.
    :ivar line: where the source asks for it.
    """

    __slots__ = ("args", "attrs", "line", "op", "type")

    def __init__(
        self,
        op: str,
        args: list[Operand],
        type: str,
        attrs: dict[str, Any] | None = None,
        line: SourceLine | None = None,
    ) -> None:
        self.op = op
        self.args = args
        self.type = type
        self.attrs = attrs or {}
        self.line = line

    @property
    def info(self) -> Op:
        """Its row of the table."""
        return OPS[self.op]

    def __repr__(self) -> str:
        return f"<{self.op}>"


Operand = Union[Instr, int]


class Block:
    """Instructions that run one after the other.

    :ivar instrs: phis first; the last one ends the block.
    :ivar successors: where it goes on: two blocks after ``branch`` (holds, does not hold), one after ``jump``.
    :ivar predecessors: a block per incoming edge, in the order of the operands of phis.
    """

    __slots__ = ("instrs", "name", "predecessors", "successors")

    def __init__(self, name: str) -> None:
        self.name = name
        self.instrs: list[Instr] = []
        self.successors: list[Block] = []
        self.predecessors: list[Block] = []

    @property
    def phis(self) -> Iterator[Instr]:
        for instr in self.instrs:
            if instr.op != "phi":
                return
            yield instr

    @property
    def end(self) -> Instr:
        """The instruction that ends the block."""
        return self.instrs[-1]

    def __repr__(self) -> str:
        return f"<block {self.name}>"


@dataclass(eq=False)
class Function:
    """A program, or a function that it calls. The first block is where it begins; nothing jumps there."""

    name: str
    blocks: list[Block] = field(default_factory=list)
    params: tuple[str, ...] = ("ptr",)
    """Types of the parameters; a program has one, its context."""


@dataclass(frozen=True, eq=False)
class Counter:
    """A number of 8 bytes in the only value of an array map, which the compiler's own code counts up.

    :ivar name: the map's name, as in :attr:`Unit.maps`.
    :ivar spec: the map; it becomes one of the program's when it is needed.
    :ivar offset: where the number is in the value.
    """

    name: str
    spec: MapSpec
    offset: int


@dataclass(eq=False)
class Unit:
    """What is compiled together: a program, its functions, the maps that they name."""

    type: ProgType
    functions: list[Function]
    """The program first."""
    maps: dict[str, MapSpec] = field(default_factory=dict)
    """Map name, as instructions have it in ``attrs["map"]`` -> what it is."""
    expected_attach_type: AttachType = AttachType.NONE
    attach_btf: str | None = None
    owners: dict[str, Any] = field(default_factory=dict)
    """Map name -> the front end's object for it, which knows the map in the kernel; the compiler does not look."""
    alone: bool = False
    """Whether the kernel begins no run of the program on a CPU where one is under way, though it may of other programs
    of the type: true of kprobes, not of uprobes. False is always right, and costs programs whose values do not fit the
    stack a few instructions."""
    skipped: Counter | None = None
    """What counts the runs that ended at once because all memory for large values was taken by others."""

    @property
    def name(self) -> str:
        return self.functions[0].name
