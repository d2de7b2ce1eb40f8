"""Lower ``peek`` to probe reads; fields of one object of the kernel that are read close together share a read.

A probe read that fails clears what it was to fill, which is what ``peek`` promises.
"""

from __future__ import annotations

from pybpf.compiler.addresses import address_of
from pybpf.compiler.ir import Block, Instr, Operand, Unit
from pybpf.compiler.lower_memory import probe_read
from pybpf.compiler.ops import PTR
from pybpf.compiler.rewrite import Rewriter, lower
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.record import NamedTuple

__all__ = ["lower_reads"]

#: bytes that one read may cover
_MOST_COVERED = 64
_WRITING_HELPERS = ("probe_write_user",)


class _Read(NamedTuple):
    """A read that serves one peek or several.

    :ivar first: the peek in whose place it is.
    :ivar start: the offset from the base of the first byte that is read.
    :ivar pad: bytes of the slot before it, so that shared fields are aligned there as they are in the object.
    """

    first: Instr
    base: Operand
    start: int
    size: int
    pad: int


def lower_reads(unit: Unit, target: Target) -> None:
    """Leave no ``peek``.

    :raises CompileError: programs of the type cannot read such memory on the target.
    """
    reads: dict[Instr, _Read] = {}
    for function in unit.functions:
        for block in function.blocks:
            _group(block, reads)
    slots: dict[_Read, Instr] = {}

    def peek(to: Rewriter, instr: Instr) -> Operand:
        read = reads[instr]
        if read.first is instr:
            slots[read] = to.slot(read.pad + read.size, "read")
            _emit(to, read, slots[read])
        _, offset = address_of(instr.args[0], instr.attrs["offset"])
        size, signed = instr.attrs["size"], instr.attrs["signed"]
        return to.emit("load", slots[read], offset=read.pad + offset - read.start, size=size, signed=signed)

    lower(unit, target, {"peek": peek})


def _emit(to: Rewriter, read: _Read, slot: Operand) -> None:
    space = read.first.attrs["space"]
    helper = probe_read(to, space)
    if not helper:
        raise CompileError(f"programs of type {to.unit.type.name.lower()} cannot read {space} memory on this kernel")
    into = to.emit("add", slot, read.pad) if read.pad else slot
    if isinstance(read.base, int):
        source: Operand = read.base + read.start
    else:
        source = to.emit("add", read.base, read.start) if read.start else read.base
    to.emit("call", into, read.size, source, helper=helper)


def _group(block: Block, reads: dict[Instr, _Read]) -> None:
    """Decide which peeks of a block share a read.

    Memory of the process may be there in part only, and each read of it fails or succeeds on its own. So may fields
    that are not aligned, which could not be loaded from the stack in one piece anyway: both are read alone.
    """
    open_groups: dict[Operand, list[Instr]] = {}
    groups: list[list[Instr]] = []
    for instr in block.instrs:
        if instr.op == "peek":
            base, offset = address_of(instr.args[0], instr.attrs["offset"])
            if instr.attrs["space"] != "kernel" or offset % instr.attrs["size"]:
                groups.append([instr])
                continue
            group = open_groups.get(base)
            if group is None or _covered(base, [*group, instr]).size > _MOST_COVERED:
                group = open_groups[base] = []
                groups.append(group)
            group.append(instr)
        elif instr.info.effect == "writes":
            _forget(instr, open_groups)
    for group in groups:
        read = _covered(address_of(group[0].args[0]).base, group)
        for each in group:
            reads[each] = read


def _covered(base: Operand, group: list[Instr]) -> _Read:
    places = [(address_of(each.args[0], each.attrs["offset"]).offset, each.attrs["size"]) for each in group]
    start = min(offset for offset, _ in places)
    size = max(offset + size for offset, size in places) - start
    return _Read(group[0], base, start, size, start % 8 if len(group) > 1 else 0)


def _forget(instr: Instr, open_groups: dict[Operand, list[Instr]]) -> None:
    """Close the groups whose memory the instruction may write: addresses that are integers are the kernel's own."""
    if instr.op in ("callfunc", "kfunc") or instr.attrs.get("helper") in _WRITING_HELPERS:
        open_groups.clear()
        return
    for base in [each for each in open_groups if isinstance(each, Instr) and each.type == PTR]:
        del open_groups[base]
