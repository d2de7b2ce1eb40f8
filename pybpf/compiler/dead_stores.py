"""Drop stores to slots of bytes that are written again, or left behind by the function, before anything reads them."""

from __future__ import annotations

from pybpf.asm import HELPERS
from pybpf.compiler.addresses import address_of
from pybpf.compiler.effects import OVERWRITING_HELPERS, reads_only
from pybpf.compiler.flow import reverse_postorder
from pybpf.compiler.ir import Block, Function, Instr, Unit
from pybpf.compiler.memory import Memory
from pybpf.compiler.target import Target

__all__ = ["dead_stores"]

#: slot -> a bit for each of its bytes that nothing will read
_Dead = dict[Instr, int]
#: slots beyond which the rest is left alone, so that the work stays linear
_MOST_SLOTS = 64


def dead_stores(unit: Unit, target: Target) -> None:
    """Drop dead stores in all functions of a unit; what is cleared is narrowed to what is read."""
    for function in unit.functions:
        private = Memory(function).private
        slots = [instr for instr in function.blocks[0].instrs if instr in private][:_MOST_SLOTS]
        if slots:
            _drop(function, {slot: _bits(0, slot.attrs["size"]) for slot in slots})


def _bits(start: int, end: int) -> int:
    start = max(start, 0)
    return ((1 << end) - 1) >> start << start if end > start else 0


def _drop(function: Function, whole: _Dead) -> None:
    before: dict[Block, _Dead] = {}
    for block in reversed(reverse_postorder(function)):
        dead = dict(whole)
        for target in block.successors:
            there = before.get(target)  # unknown at the end of a loop: then everything is read
            dead = {slot: bits & there[slot] for slot, bits in dead.items()} if there else dict.fromkeys(whole, 0)
        kept: list[Instr] = []
        for instr in reversed(block.instrs):
            kept += reversed(_visit(instr, dead))
        kept.reverse()
        block.instrs = kept
        before[block] = dead


def _visit(instr: Instr, dead: _Dead) -> list[Instr]:
    """Go back over an instruction; gives what is left of it."""
    if instr.op in ("store", "zero", "copy"):
        base, start = address_of(instr.args[0], instr.attrs.get("offset", 0))
        if isinstance(base, Instr) and base in dead:
            written = _bits(start, start + instr.attrs["size"])
            needed = written & ~dead[base]
            if not needed:
                return []
            dead[base] |= written
            left = _narrowed(instr, needed, start) if instr.op == "zero" else [instr]
        else:
            left = [instr]
        for arg in instr.args[1:]:
            _read(instr, arg, instr.attrs["size"], dead)
        return left
    if instr.op == "load":
        _read(instr, instr.args[0], instr.attrs["size"], dead)
    elif instr.op not in ("add", "sub"):
        _call(instr, dead)
    return [instr]


def _read(instr: Instr, pointer: object, size: int | None, dead: _Dead) -> None:
    if not isinstance(pointer, Instr):
        return
    base, start = address_of(pointer, instr.attrs["offset"] if instr.op == "load" else 0)
    if isinstance(base, Instr) and base in dead:
        end = base.attrs["size"] if size is None else start + size
        dead[base] &= ~_bits(start, end)


def _call(instr: Instr, dead: _Dead) -> None:
    """What takes addresses reads what they point to, but for helpers that overwrite it."""
    fills = instr.op == "call" and instr.attrs["helper"] in OVERWRITING_HELPERS
    if fills and isinstance(instr.args[1], int):
        base, start = address_of(instr.args[0])
        if isinstance(base, Instr) and base in dead:
            dead[base] |= _bits(start, min(start + instr.args[1], base.attrs["size"]))
    for at, arg in enumerate(instr.args):
        if not (fills and at == 0):
            _read(instr, arg, _size_of(instr, at), dead)


def _size_of(instr: Instr, at: int) -> int | None:
    """How many bytes a helper reads through an argument, if that is known."""
    if instr.op != "call" or at + 1 >= len(instr.args) or not reads_only(instr, at):
        return None
    kinds = HELPERS[instr.attrs["helper"]].args
    size = instr.args[at + 1]
    return size if at + 1 < len(kinds) and kinds[at + 1].startswith("CONST_SIZE") and isinstance(size, int) else None


def _narrowed(zero: Instr, needed: int, start: int) -> list[Instr]:
    """Clear the needed bytes only: one instruction for each run of them."""
    found = []
    shift = zero.attrs["offset"] - start
    while needed:
        first = (needed & -needed).bit_length() - 1
        run = needed >> first
        size = (~run & (run + 1)).bit_length() - 1
        needed &= ~_bits(first, first + size)
        attrs = {"offset": first + shift, "size": size}
        found.append(Instr("zero", list(zero.args), "", attrs, zero.line))
    return found
