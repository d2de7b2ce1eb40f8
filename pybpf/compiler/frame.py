"""The stack frame of a function: where its slots are, which of them are in scratch memory, and where spills go."""

from __future__ import annotations

from dataclasses import dataclass, field

from pybpf.compiler.ir import Function, Instr
from pybpf.compiler.machine import Spill
from pybpf.compiler.slots import clashes, lay_out, padded, shared_slots

__all__ = ["STACK", "FramePlan", "SpillFrame", "plan_frame"]

#: bytes of stack that a program may use, together with the functions that it calls
STACK = 512
_KEY = 4


@dataclass(eq=False)
class FramePlan:
    """Where the slots of a function are.

    :ivar offsets: slot -> its offset from the frame pointer.
    :ivar scratch: slot -> its offset in the scratch memory.
    :ivar size: bytes of the frame that are taken.
    :ivar scratch_map: the map that holds the scratch memory.
    :ivar scratch_end: where in the scratch memory that of the function ends.
    :ivar key_offset: offset from the frame pointer of the key that scratch memory is looked up by.
    """

    offsets: dict[Instr, int] = field(default_factory=dict)
    scratch: dict[Instr, int] = field(default_factory=dict)
    size: int = 0
    scratch_map: str = ""
    scratch_end: int = 0
    key_offset: int = 0


def plan_frame(function: Function, room: int, scratch_map: str, scratch_start: int) -> FramePlan:
    """Lay out the slots of a function; where they are too large together, those share memory that can.

    :param room: bytes of the frame that slots may take; the largest slots give way to scratch memory, and so do those
        that a callback is given: of the stack the verifier would remember what is there before the first call.
    :param scratch_map: the map that holds the scratch memory.
    :param scratch_start: the first byte in it that is free.
    """
    slots = [instr for instr in function.blocks[0].instrs if instr.op == "slot"]
    shared = shared_slots(function)
    plan = FramePlan(scratch_map=scratch_map, scratch_end=scratch_start)
    if not shared and sum(map(padded, slots)) <= room:
        for slot in slots:
            plan.size += padded(slot)
            plan.offsets[slot] = -plan.size
        return plan
    clashing = clashes(function)
    kept, large = lay_out(slots, clashing), lay_out((), clashing)
    if shared or kept.size > room:
        plan.key_offset = -_KEY
        plan.size = 8
        by_size = sorted(set(slots) - shared, key=padded)
        kept = lay_out(by_size, clashing)
        while by_size and kept.size > room - plan.size:
            by_size.pop()
            kept = lay_out(by_size, clashing)
        large = lay_out([slot for slot in slots if slot not in kept.offsets], clashing)
    plan.size += kept.size
    plan.offsets = {slot: at - plan.size for slot, at in kept.offsets.items()}
    plan.scratch = {slot: scratch_start + at for slot, at in large.offsets.items()}
    plan.scratch_end += large.size
    return plan


class SpillFrame:
    """The part of a frame below the slots: places for spilled values, and behind them spare ones."""

    def __init__(self, size: int, places: int) -> None:
        """
        :param size: bytes that slots take.
        :param places: how many places are needed for spilled values.
        """
        self._slots = size
        self._places = places
        self._spares = 0

    @property
    def size(self) -> int:
        """Bytes of the whole frame so far."""
        return self._slots + 8 * (self._places + self._spares)

    def offset(self, spill: Spill) -> int:
        """Offset from the frame pointer."""
        return -self._slots - 8 * (spill.number + 1)

    def spare(self, number: int) -> Spill:
        """A place where no value is kept, but for a moment; they are counted from 0."""
        self._spares = max(self._spares, number + 1)
        return Spill(self._places + number)
