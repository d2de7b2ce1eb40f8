"""Promote slots to values: memory that is only loaded, stored, cleared and copied, in pieces that do not overlap.

Each piece of such a slot becomes a variable, so a struct that is built and read field by field, or copied from a map
value and read in part, needs no memory; of a copy only the fields that something reads are loaded.
"""

from __future__ import annotations

from collections.abc import Iterable

from pybpf.compiler.addresses import address_of
from pybpf.compiler.flow import replace_values, reverse_postorder
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.ops import INT, PTR
from pybpf.compiler.slots import clashes
from pybpf.compiler.ssa import Variables
from pybpf.compiler.target import Target
from pybpf.record import NamedTuple

__all__ = ["promote"]

#: bytes of a slot beyond which there would be too many values
_LARGEST = 512
#: Values that slots in use at the same time may become: those that get no register have 64 places in the frame. Of
#: memory what does not fit can be elsewhere, of values not.
_MOST_AT_ONCE = 40
#: how often the pieces of slots that are copied to each other are compared
_ROUNDS = 4


def promote(unit: Unit, target: Target) -> None:
    """Promote the slots of all functions that allow it."""
    for function in unit.functions:
        found = _candidates(function, set())
        if sum(len(slot.pieces) for slot in found.values()) > _MOST_AT_ONCE:
            found = _fitting(function, found)
        if found:
            _Promotion(found).run(function)


class _Access(NamedTuple):
    """A range of a slot that an instruction works on; ``piece``: as one value."""

    start: int
    end: int
    piece: bool
    type: str = ""


class _Slot:
    """What is known of a slot.

    :ivar accesses: all that is done to it.
    :ivar pieces: offset -> size of each piece.
    :ivar types: offset -> type of the piece.
    """

    def __init__(self) -> None:
        self.accesses: list[_Access] = []
        self.pieces: dict[int, int] = {}
        self.types: dict[int, str] = {}

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The pieces in a range: (offset, size) of each, in order."""
        return sorted((at, size) for at, size in self.pieces.items() if start <= at < end)

    def add(self, start: int, size: int, type: str) -> bool:
        """Enter a piece; whether it agrees with the others."""
        return self.pieces.setdefault(start, size) == size and self.types.setdefault(start, type) == type

    def is_whole(self, size: int) -> bool:
        """Whether no pieces overlap, all are inside, and no range cuts one."""
        end = 0
        for at, width in sorted(self.pieces.items()):
            if at < end:
                return False
            end = at + width
        if end > size or any(access.start < 0 or access.end > size for access in self.accesses):
            return False
        cuts = {at for access in self.accesses if not access.piece for at in (access.start, access.end)}
        inside = {byte for at, width in self.pieces.items() for byte in range(at + 1, at + width)}
        return not cuts & inside


def _fitting(function: Function, found: dict[Instr, _Slot]) -> dict[Instr, _Slot]:
    """Of the slots that can be promoted those that do not become too many values at once: the largest stay memory."""
    clashing = clashes(function)
    dropped: set[Instr] = set()
    while True:
        crowded = {
            slot for slot, mine in found.items()
            if len(mine.pieces) + sum(len(found[each].pieces) for each in clashing[slot] if each in found)
            > _MOST_AT_ONCE
        }  # fmt: skip
        if not crowded:
            return found
        most = max(len(found[slot].pieces) for slot in crowded)
        dropped |= {slot for slot in crowded if len(found[slot].pieces) == most}
        found = _candidates(function, dropped)


def _candidates(function: Function, dropped: set[Instr]) -> dict[Instr, _Slot]:
    """The slots that can be promoted, without some."""
    slots = {
        instr: _Slot() for instr in function.blocks[0].instrs if instr.op == "slot" and instr.attrs["size"] <= _LARGEST
    }
    if not slots:
        return {}
    copies: list[Instr] = []
    lost = set(dropped)
    for block in function.blocks:
        for instr in block.instrs:
            if instr.op == "copy":
                copies.append(instr)
            if not _enter(instr, slots):
                lost |= {arg for arg in map(_base, instr.args) if arg in slots}
    for _ in range(_ROUNDS):
        lost |= {slot for slot, found in slots.items() if slot not in lost and not found.is_whole(slot.attrs["size"])}
        changed = [_match(copy, slots, lost) for copy in copies]
        if not any(changed):
            return {slot: found for slot, found in slots.items() if slot not in lost}
    return {}


def _base(arg: Operand) -> Instr:
    base = address_of(arg).base
    return base if isinstance(base, Instr) else Instr("", [], "")


def _enter(instr: Instr, slots: dict[Instr, _Slot]) -> bool:
    """Note what an instruction does to slots; false if it is something that promotion cannot express."""
    if instr.op in ("add", "sub") and _base(instr) in slots:
        return True  # an address; what uses it counts
    for position, arg in enumerate(instr.args):
        base, offset = address_of(arg)
        if not isinstance(base, Instr) or base not in slots:
            continue
        offset += instr.attrs.get("offset", 0)
        end = offset + instr.attrs.get("size", 0)
        if instr.op in ("load", "store") and position == 0:
            value = instr if instr.op == "load" else instr.args[1]
            type = value.type if isinstance(value, Instr) else INT
            slots[base].accesses.append(_Access(offset, end, True, type))
            if not slots[base].add(offset, end - offset, type):
                return False
        elif (instr.op == "zero" and position == 0) or instr.op == "copy":
            slots[base].accesses.append(_Access(offset, end, False))
        else:
            return False
    return True


def _match(copy: Instr, slots: dict[Instr, _Slot], lost: set[Instr]) -> bool:
    """Give what is copied the same pieces on both sides; whether that changed or lost anything.

    What goes to memory must consist of pieces without gaps; what comes from memory is loaded in pieces.
    """
    (into, _), (source, at) = (address_of(arg) for arg in copy.args)
    size = copy.attrs["size"]
    inside = [base for base in (into, source) if isinstance(base, Instr) and base in slots and base not in lost]
    if len(inside) == 2 and into is not source:
        return _match_slots(copy, slots, lost)
    if source in inside:
        assert isinstance(source, Instr)
        pieces = slots[source].within(at, at + size)
        if into is source or sum(width for _, width in pieces) != size:
            lost.add(source)
            return True
    return False


def _match_slots(copy: Instr, slots: dict[Instr, _Slot], lost: set[Instr]) -> bool:
    (into, to), (source, at) = (address_of(arg) for arg in copy.args)
    assert isinstance(into, Instr) and isinstance(source, Instr)
    changed = False
    for (one, start), (other, there) in (((into, to), (source, at)), ((source, at), (into, to))):
        for offset, width in slots[one].within(start, start + copy.attrs["size"]):
            place = offset - start + there
            if place not in slots[other].pieces:
                changed = True
            if not slots[other].add(place, width, slots[one].types[offset]):
                lost |= {one, other}
                return True
    return changed


class _Promotion:
    """The rewriting of one function."""

    def __init__(self, slots: dict[Instr, _Slot]) -> None:
        self._slots = slots
        self._variables = Variables()
        self._replaced: dict[Instr, Operand] = {}
        self._out: list[Instr] = []
        self._block = Block("")
        for slot, found in slots.items():
            for at, type in found.types.items():
                self._variables.declare((slot, at), type)

    def run(self, function: Function) -> None:
        waiting = {block: len(block.predecessors) for block in function.blocks}
        for block in reverse_postorder(function):
            if waiting[block] == 0:
                self._variables.seal(block)
            self._block, self._out = block, []
            for instr in block.instrs:
                if not self._rewrite(instr) and instr not in self._slots:
                    self._out.append(instr)
            block.instrs = self._out
            for target in block.successors:
                waiting[target] -= 1
        for block in function.blocks:
            if not self._variables.is_sealed(block):
                self._variables.seal(block)
        self._variables.finish(function)
        replace_values(function, {load: self._variables.resolve(value) for load, value in self._replaced.items()})

    def _pieces(self, pointer: Operand, offset: int, size: int) -> Iterable[tuple[Instr, int, int, int]]:
        """Of a range: slot, offset in it, size, and distance from the start of the range, of each piece."""
        base, start = address_of(pointer, offset)
        assert isinstance(base, Instr)
        return [(base, at, width, at - start) for at, width in self._slots[base].within(start, start + size)]

    def _is_promoted(self, pointer: Operand) -> bool:
        return address_of(pointer).base in self._slots

    def _rewrite(self, instr: Instr) -> bool:
        """Replace an access; false if the instruction is none."""
        if instr.op == "copy":
            return self._copy(instr)
        if instr.op in ("add", "sub") and instr.type == PTR and self._is_promoted(instr):
            return True
        if instr.op not in ("load", "store", "zero") or not self._is_promoted(instr.args[0]):
            return False
        for slot, at, width, _ in self._pieces(instr.args[0], instr.attrs["offset"], instr.attrs["size"]):
            if instr.op == "load":
                self._load(instr, self._variables.read((slot, at), self._block), width)
            else:
                value = self._now(instr.args[1]) if instr.op == "store" else 0
                self._variables.write((slot, at), self._block, value)
        return True

    def _now(self, value: Operand) -> Operand:
        while isinstance(value, Instr) and value in self._replaced:
            value = self._replaced[value]
        return value

    def _load(self, instr: Instr, value: Operand, width: int) -> None:
        """Let a load become the extension of what was stored."""
        if width == 8:
            self._replaced[instr] = value
            return
        instr.op, instr.attrs = "sext" if instr.attrs["signed"] else "zext", {"bits": 8 * width}
        instr.args = [value]
        self._out.append(instr)

    def _copy(self, instr: Instr) -> bool:
        into, source = instr.args
        size = instr.attrs["size"]
        if self._is_promoted(into):
            pieces = self._pieces(into, 0, size)
            values = [self._piece_of(instr, source, distance, slot, at, width) for slot, at, width, distance in pieces]
            for (slot, at, _, _), value in zip(pieces, values):
                self._variables.write((slot, at), self._block, value)
            return True
        if not self._is_promoted(source):
            return False
        for slot, at, width, distance in self._pieces(source, 0, size):
            value = self._variables.read((slot, at), self._block)
            self._out.append(Instr("store", [into, value], "", {"offset": distance, "size": width}, instr.line))
        return True

    def _piece_of(self, copy: Instr, source: Operand, distance: int, slot: Instr, at: int, width: int) -> Operand:
        base, start = address_of(source, distance)
        if isinstance(base, Instr) and base in self._slots:
            return self._variables.read((base, start), self._block)
        attrs = {"offset": distance, "size": width, "signed": 0}
        load = Instr("load", [source], self._slots[slot].types[at], attrs, copy.line)
        self._out.append(load)
        return load
