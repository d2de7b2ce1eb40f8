"""Which slots of a function are in use at the same time, and a layout in which the others share memory."""

from __future__ import annotations

from collections.abc import Iterable

from pybpf.compiler.addresses import address_of
from pybpf.compiler.effects import OVERWRITING_HELPERS
from pybpf.compiler.ir import Block, Function, Instr, Operand
from pybpf.compiler.order import postorder

__all__ = ["Layout", "callback_records", "clashes", "lay_out", "padded", "shared_slots"]

#: Operations whose result may point to where an operand points.
_PASS_ON = frozenset({"add", "sub", "phi", "callfunc", "kfunc"})


class Layout:
    """Places of slots.

    :ivar offsets: slot -> its offset, counted from 0.
    :ivar size: bytes that they take together.
    """

    def __init__(self) -> None:
        self.offsets: dict[Instr, int] = {}
        self.size = 0


def lay_out(slots: Iterable[Instr], clashing: dict[Instr, set[Instr]]) -> Layout:
    """Put every slot, the largest first, to the first place that none of those has that it clashes with."""
    made = Layout()
    for slot in sorted(slots, key=padded, reverse=True):
        taken = sorted((made.offsets[each], padded(each)) for each in clashing[slot] if each in made.offsets)
        at = 0
        for start, size in taken:
            if at + padded(slot) <= start:
                break
            at = max(at, start + size)
        made.offsets[slot] = at
        made.size = max(made.size, at + padded(slot))
    return made


def padded(slot: Instr) -> int:
    """Bytes of a slot, so that the next one is aligned as well."""
    size: int = slot.attrs["size"]
    return (size + 7) // 8 * 8


def clashes(function: Function) -> dict[Instr, set[Instr]]:
    """Slot -> the slots that are in use while it is.

    A slot is in use from the first to the last instruction that is given its address, on every way through the
    function, but not before one that writes all of it. One whose address is stored somewhere is always in use. Sets of
    slots are the bits of a number.
    """
    order = postorder(function.blocks[0])
    slots = [instr for instr in function.blocks[0].instrs if instr.op == "slot"]
    points = _pointing(order, slots)
    touched = {block: [_touched(instr, points) for instr in block.instrs] for block in order}
    stored = _stored(order, points)
    numbers = {slot: 1 << index for index, slot in enumerate(slots)}
    written = {block: [_written(instr, numbers) for instr in block.instrs] for block in order}
    before, behind = _ways(order, touched, written)
    found = [0] * len(slots)
    for block in order:
        for mask in _in_use(touched[block], written[block], before[block], behind[block]):
            for index in _bits(mask):
                found[index] |= mask
    everything = (1 << len(slots)) - 1
    return {
        slot: {
            slots[other]
            for other in _bits(everything if stored >> index & 1 else found[index] | stored)
            if other != index
        }
        for index, slot in enumerate(slots)
    }


def shared_slots(function: Function) -> set[Instr]:
    """The slots whose address is stored where a callback finds it."""
    order = postorder(function.blocks[0])
    if not any(instr.op == "func" for block in order for instr in block.instrs):
        return set()
    slots = [instr for instr in function.blocks[0].instrs if instr.op == "slot"]
    return {slots[index] for index in _bits(_stored(order, _pointing(order, slots)))}


def callback_records(function: Function) -> set[Instr]:
    """The slots that callbacks of ``bpf_loop`` are given: they may hold pointers, which only the stack can."""
    return {
        arg
        for block in function.blocks
        for instr in block.instrs
        if instr.op == "call" and any(isinstance(arg, Instr) and arg.op == "func" for arg in instr.args)
        for arg in instr.args
        if isinstance(arg, Instr) and arg.op == "slot"
    }


def _pointing(order: list[Block], slots: list[Instr]) -> dict[Instr, int]:
    """Value -> the slots that it may point into."""
    points = {slot: 1 << index for index, slot in enumerate(slots)}
    changed = True
    while changed:
        changed = False
        for block in reversed(order):
            for instr in block.instrs:
                if instr.op in _PASS_ON:
                    mask = _touched(instr, points)
                    if mask != points.get(instr, 0):
                        points[instr] = mask
                        changed = True
    return points


def _touched(instr: Instr, points: dict[Instr, int]) -> int:
    """The slots that the operands of an instruction point into."""
    return _union(points.get(arg, 0) for arg in instr.args if isinstance(arg, Instr))


def _stored(order: list[Block], points: dict[Instr, int]) -> int:
    """The slots whose address is put into memory."""
    found = 0
    for block in order:
        for instr in block.instrs:
            if instr.op in ("store", "atomic", "fetch", "cmpxchg"):
                found |= _union(points.get(arg, 0) for arg in instr.args[1:] if isinstance(arg, Instr))
    return found


def _written(instr: Instr, numbers: dict[Instr, int]) -> int:
    """The slot of which an instruction writes every byte, and reads none."""
    if instr.op == "store":
        slot, offset = address_of(instr.args[0], instr.attrs["offset"])
        size: Operand = instr.attrs["size"]
        if slot in instr.args[1:]:
            return 0
    elif instr.op == "call" and instr.attrs["helper"] in OVERWRITING_HELPERS:
        slot, offset = address_of(instr.args[0])
        size = instr.args[1]
        if any(address_of(each).base is slot for each in instr.args[2:]):
            return 0
    else:
        return 0
    whole = isinstance(slot, Instr) and slot.op == "slot" and not offset and size == slot.attrs["size"]
    return numbers[slot] if whole and isinstance(slot, Instr) else 0


def _ways(
    order: list[Block], touched: dict[Block, list[int]], written: dict[Block, list[int]]
) -> tuple[dict[Block, int], dict[Block, int]]:
    """The slots that may have been in use before each block, and those whose content may be needed behind it."""
    used = {block: _union(masks) for block, masks in touched.items()}
    anew = {block: _union(masks) for block, masks in written.items()}
    asked = {block: _needed(touched[block], written[block], 0) for block in order}
    before = dict.fromkeys(order, 0)
    behind = dict.fromkeys(order, 0)
    changed = True
    while changed:
        changed = False
        for block in reversed(order):
            mask = before[block] | used[block]
            for successor in block.successors:
                if mask | before[successor] != before[successor]:
                    before[successor] |= mask
                    changed = True
        for block in order:
            mask = _union(asked[each] | behind[each] & ~anew[each] for each in block.successors)
            if mask != behind[block]:
                behind[block] = mask
                changed = True
    return before, behind


def _needed(touched: list[int], written: list[int], behind: int) -> int:
    """The slots whose content may be needed at the begin of a block."""
    for mask, anew in zip(reversed(touched), reversed(written)):
        behind = (behind | mask) & ~anew
    return behind


def _in_use(touched: list[int], written: list[int], before: int, behind: int) -> Iterable[int]:
    """The sets of slots that are in use at each instruction of a block."""
    later = [behind]
    for mask, anew in zip(reversed(touched), reversed(written)):
        later.append((later[-1] | mask) & ~anew)
    later.reverse()
    earlier = before
    seen = -1
    for mask, rest in zip(touched, later[1:]):
        earlier |= mask
        # in use: it is given to this instruction, or has been used by now, and is needed behind it
        now = mask | earlier & rest
        if now != seen:
            seen = now
            yield seen
    if before & behind != seen:
        yield before & behind


def _union(masks: Iterable[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found


def _bits(mask: int) -> Iterable[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
