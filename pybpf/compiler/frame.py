"""The stack frame of a function: where its slots are, which of them are in scratch memory, and where spills go."""

from __future__ import annotations

from pybpf.compiler.ir import Function, Instr
from pybpf.compiler.machine import Spill
from pybpf.compiler.order import postorder
from pybpf.compiler.slots import Layout, callback_records, clashes, lay_out, padded, shared_slots
from pybpf.record import dataclass, field

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
    :ivar scratch_end: where in the scratch memory that of the function ends.
    :ivar needs_scratch: whether the function needs the address of the scratch memory, to use it or to pass it on.
    :ivar key_offset: offset from the frame pointer of the key that a program looks scratch memory up by.
    :ivar least: bytes of the frame that cannot be in scratch memory.
    """

    offsets: dict[Instr, int] = field(default_factory=dict)
    scratch: dict[Instr, int] = field(default_factory=dict)
    size: int = 0
    scratch_end: int = 0
    needs_scratch: bool = False
    key_offset: int = 0
    least: int = 0


def plan_frame(function: Function, room: int, scratch_start: int, passes_on: bool, looks_up: bool) -> FramePlan:
    """Lay out the slots of a function; where they are too large together, those share memory that can.

    :param room: bytes of the frame that slots may take; the largest slots give way to scratch memory, and so do those
        that a callback is given: of the stack the verifier would remember what is there before the first call.
    :param scratch_start: the first byte in the scratch memory that is free.
    :param passes_on: whether a function that it calls needs the scratch memory.
    :param looks_up: whether it is the one that looks the scratch memory up, the program.
    """
    slots = [instr for instr in function.blocks[0].instrs if instr.op == "slot"]
    shared = shared_slots(function)
    plan = FramePlan(scratch_end=scratch_start, needs_scratch=passes_on)
    if not shared and not passes_on and not _has_loop(function) and sum(map(padded, slots)) <= room:
        for slot in slots:
            plan.size += padded(slot)
            plan.offsets[slot] = -plan.size
        return plan
    clashing = clashes(function)
    kept, large = lay_out(slots, clashing), lay_out((), clashing)
    if shared or passes_on or kept.size > room:
        plan.needs_scratch = True
        if looks_up:
            plan.key_offset = -_KEY
            plan.size = 8
        fixed = callback_records(function)
        by_size = sorted(set(slots) - shared - fixed, key=padded)
        kept = _as_many(fixed, by_size, clashing, room - plan.size)
        large = lay_out([slot for slot in slots if slot not in kept.offsets], clashing)
        plan.least = plan.size + lay_out(fixed, clashing).size
    plan.size += kept.size
    plan.offsets = {slot: at - plan.size for slot, at in kept.offsets.items()}
    plan.scratch = {slot: scratch_start + at for slot, at in large.offsets.items()}
    plan.scratch_end += large.size
    return plan


def _has_loop(function: Function) -> bool:
    """Whether it has a loop: of those that the verifier follows until nothing is new, it finds each content of slots
    new that ways through the loop leave in them, which are fewer if slots share memory."""
    place = {block: index for index, block in enumerate(postorder(function.blocks[0]))}
    return any(place[each] >= index for block, index in place.items() for each in block.successors)


def _as_many(fixed: set[Instr], by_size: list[Instr], clashing: dict[Instr, set[Instr]], room: int) -> Layout:
    """The layout of some slots and of as many of others, the smallest first, as have room."""
    fitting, beyond = 0, len(by_size) + 1
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        if lay_out([*fixed, *by_size[:middle]], clashing).size <= room:
            fitting = middle
        else:
            beyond = middle
    return lay_out([*fixed, *by_size[:fitting]], clashing)


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
