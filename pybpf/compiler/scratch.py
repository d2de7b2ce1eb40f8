"""Scratch memory: how the functions of a program come to memory for slots that do not fit on the stack.

It is a value of a per-CPU array, of which a run takes one of several areas where another run of the same program may
begin on its CPU before it ends, and gives it back where it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pybpf.asm import DW, HELPERS, MapRef, W
from pybpf.asm.opcodes import ALU, ATOMIC_XCHG, JUMPS
from pybpf.compiler.frame import FramePlan
from pybpf.compiler.ir import Function, Unit
from pybpf.compiler.machine import (
    FP,
    Copies,
    FrameAddress,
    Imm,
    MBlock,
    MFunction,
    MInsn,
    Wide,
    call,
)
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.maps import MapSpec
from pybpf.record import dataclass, field
from pybpf.sys.bpf import AttachType, MapType, ProgType
from pybpf.types import char, u32

__all__ = ["PLACE", "Scratch", "runs_overlap"]

#: Where in the record that a callback is given the address of the scratch memory is: its second place of 8 bytes.
PLACE = 8
#: bytes that a value of a per-CPU array may have on every kernel, PCPU_MIN_UNIT_SIZE
_LARGEST = 32768
_FLAG = 8
#: Areas of a CPU: a task, a soft interrupt, a hard one and one that cannot be masked can interrupt each other. Tasks
#: that preempt each other can be more, and leave their areas taken while they wait.
_NESTED, _MOST, _ALL_BYTES = 4, 16, 65536
#: Programs that the kernel lets begin on a CPU only while no other of them runs there, since 4.1: ``bpf_prog_active``.
_ONE_BY_ONE = frozenset({ProgType.TRACEPOINT, ProgType.PERF_EVENT})

_JEQ, _JNE, _JLT = (0x05 | JUMPS[name][0] for name in ("jeq", "jne", "jlt"))
_ADD = 0x07 | ALU["add"][0]
_LDX, _ST, _STX, _STX_ATOMIC = 0x61, 0x62, 0x63, 0xC3
_EXIT = 0x95


def runs_overlap(unit: Unit, target: Target) -> bool:
    """Whether a run of the program may begin on a CPU while another one, interrupted or preempted there, has not ended.

    Since Linux 5.11 tasks are preempted while they run programs that nothing guards: uprobes since 6.0, iterators.
    Trampolines run a program once at a time on a CPU since 5.12, as old as atomics that fetch are; raw tracepoints
    since 6.1, which nothing tells.
    """
    if unit.alone or unit.type in _ONE_BY_ONE:
        return False
    if unit.type is ProgType.TRACING and unit.expected_attach_type is not AttachType.TRACE_ITER:
        return not target.has("atomics")
    return True


@dataclass(eq=False)
class Scratch:
    """The scratch memory of a unit.

    :ivar name: the map's name.
    :ivar areas: how a run gets it: one of several areas, or the only one.
    :ivar size: bytes of it that functions have been given.
    :ivar needed_by: names of the functions that must be given its address.
    :ivar callbacks: names of those that are given it in their record.
    """

    unit: Unit
    target: Target
    name: str
    size: int = 0
    needed_by: set[str] = field(default_factory=set)
    overlap: bool = False
    callbacks: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.overlap = runs_overlap(self.unit, self.target)
        every = [instr for each in self.unit.functions for block in each.blocks for instr in block.instrs]
        self.callbacks = frozenset(instr.attrs["func"] for instr in every if instr.op == "func")
        self.tails = any(instr.op == "tail" for instr in every)

    @property
    def areas(self) -> int:
        """How many areas a CPU has."""
        if not self.overlap:
            return 1
        if not self.target.has("atomics"):
            return _NESTED  # runs nest: tasks are not preempted on kernels that have no exchange
        return max(_NESTED, min(_MOST, _ALL_BYTES // self.size))

    def maps(self) -> dict[str, MapSpec]:
        """The maps that it needs, if any."""
        if not self.size:
            return {}
        if self.size + self.overlap * _FLAG > _LARGEST:
            raise CompileError(
                f"program {self.unit.name} has values of {self.size} bytes that are too large for the stack, and the "
                f"kernel gives {_LARGEST - self.overlap * _FLAG}: make them smaller, or keep them in maps of your own"
            )
        byte: Any = char
        spec = MapSpec(MapType.PERCPU_ARRAY, u32, byte[self.size + self.overlap * _FLAG], self.areas, self.name)
        found = {self.name: spec}
        if self.overlap and self.unit.skipped is not None:
            found[self.unit.skipped.name] = self.unit.skipped.spec
        return found

    def is_program(self, function: Function) -> bool:
        """Whether it is the program itself, which finds the memory for all of its functions."""
        return function is self.unit.functions[0]

    # what is selected

    def release(self, base: int) -> list[MInsn]:
        """Give the area back, at an end of the program."""
        return [MInsn(_ST | DW, base, 0, self.size, 0)] if self.overlap else []

    def take(
        self, made: MFunction, plan: FramePlan, base: int, entry: MBlock, returning: Callable[[int], MBlock]
    ) -> list[MBlock]:
        """Blocks in front of a program that put the address of scratch memory into a register.

        :param entry: where the program begins then.
        :param returning: gives a block that returns a number, and shares it.
        """
        if not self.overlap:
            return _Taker(self, made, plan.key_offset, base, entry, returning(0)).only()
        if self.tails:
            raise CompileError(
                f"program {self.unit.name} makes a tail call and has values that are too large for the stack: the next "
                "program could not give their memory back; keep them in a map of your own"
            )
        none = MBlock("no_scratch")
        none.items = [*self._count_skipped(made), Copies([(0, Imm(0))]), MInsn(_EXIT)]
        return [*_Taker(self, made, plan.key_offset, base, entry, none).one_of(self.areas), none]

    def pass_in(self, base: int, function: Function, made: MFunction) -> list[MInsn | Copies]:
        """Instructions at the begin of a function that is given the address."""
        if function.name in self.callbacks:
            record = made.new()
            return [Copies([(record, len(function.params))]), MInsn(_LDX | DW, base, record, PLACE)]
        return [Copies([(base, 1 + len(function.params))])]

    def _count_skipped(self, made: MFunction) -> list[MInsn | Copies]:
        """Count a run that found all areas taken."""
        skipped = self.unit.skipped
        if not self.overlap or skipped is None or not self.target.has("map_value"):
            return []
        address, one = made.new(), made.new()
        return [
            Copies([(address, Wide(2, MapRef(skipped.name, skipped.offset))), (one, Imm(1))]),
            MInsn(_STX_ATOMIC | DW, address, one, 0, 0),
        ]


class _Taker:
    """Makes the blocks; the address is the value under a key, which is in the frame."""

    def __init__(self, scratch: Scratch, made: MFunction, key: int, base: int, entry: MBlock, none: MBlock) -> None:
        self.scratch = scratch
        self.made = made
        self.key = key
        self.base = base
        self.entry = entry
        self.none = none

    def look_up(self) -> list[MInsn | Copies]:
        """Get the value, and branch on whether there is none."""
        return [
            Copies([(1, Wide(1, MapRef(self.scratch.name))), (2, FrameAddress(self.key))]),
            call(HELPERS["map_lookup_elem"].id, args=2),
            Copies([(self.base, 0)]),
            MInsn(_JEQ, self.base, imm=0),
        ]

    def only(self) -> list[MBlock]:
        """Of one area."""
        block = MBlock("scratch")
        block.items = [MInsn(_ST | W, FP, 0, self.key, 0), *self.look_up()]
        block.successors = [self.none, self.entry]
        return [block]

    def one_of(self, areas: int) -> list[MBlock]:
        """Of several areas, the first that is free."""
        if not self.scratch.target.has("bounded_loop"):
            return self._in_a_row(areas)
        number = self.made.new()
        first, look, take, following = (MBlock(f"scratch_{name}") for name in ("first", "look", "take", "next"))
        first.items = [Copies([(number, Imm(0))])]
        first.successors = [look]
        look.items = [MInsn(_STX | W, FP, number, self.key), *self.look_up()]
        look.successors = [self.none, take]
        following.items = [MInsn(_ADD, number, imm=1), MInsn(_JLT, number, imm=areas)]
        following.successors = [look, self.none]
        return [first, look, *self._take(take, following), following]

    def _in_a_row(self, areas: int) -> list[MBlock]:
        """The same without a loop."""
        blocks: list[MBlock] = []
        otherwise = self.none
        for number in range(areas - 1, -1, -1):
            look, take = MBlock(f"scratch_{number}"), MBlock(f"scratch_take{number}")
            look.items = [MInsn(_ST | W, FP, 0, self.key, number), *self.look_up()]
            look.successors = [self.none, take]
            blocks[:0] = [look, *self._take(take, otherwise)]
            otherwise = look
        return blocks

    def _take(self, block: MBlock, otherwise: MBlock) -> list[MBlock]:
        """Set the flag behind an area, if it is not set.

        Without an exchange it is read, then set: what interrupts the program in between has given the area back when
        the program goes on.
        """
        flag, at = self.made.new(), self.scratch.size
        if self.scratch.target.has("atomics"):
            block.items = [
                Copies([(flag, Imm(1))]),
                MInsn(_STX_ATOMIC | DW, self.base, flag, at, ATOMIC_XCHG),
                MInsn(_JNE, flag, imm=0),
            ]
            block.successors = [otherwise, self.entry]
            return [block]
        block.items = [MInsn(_LDX | DW, flag, self.base, at), MInsn(_JNE, flag, imm=0)]
        mine = MBlock(f"{block.name}_free")
        mine.items = [MInsn(_ST | DW, self.base, 0, at, 1)]
        mine.successors = [self.entry]
        block.successors = [otherwise, mine]
        return [block, mine]


