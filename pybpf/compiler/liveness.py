"""Which virtual registers, or places in the frame, are needed behind each block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from pybpf.compiler.machine import Item, MBlock, MFunction, Spill

__all__ = ["live_out", "registers"]

P = TypeVar("P", int, Spill)


def registers(item: Item) -> tuple[Iterable[int], Iterable[int]]:
    """The registers that an item reads, and those that it then writes."""
    return item.reads, item.writes


def live_out(function: MFunction, effects: Callable[[Item], tuple[Iterable[P], Iterable[P]]]) -> dict[MBlock, list[P]]:
    """What is needed at the end of each block.

    A set is the bits of a number, one for each register or place that is needed by another block.

    :param effects: what an item reads, and what it then writes.
    """
    needs: dict[MBlock, set[P]] = {}
    sets: dict[MBlock, set[P]] = {}
    for block in function.blocks:
        needs[block], sets[block] = _effects(block, effects)
    across: list[P] = sorted(set().union(*needs.values()))
    bit = {reg: 1 << index for index, reg in enumerate(across)}
    gen = {block: sum(bit[reg] for reg in regs) for block, regs in needs.items()}
    keep = {block: ~sum(bit[reg] for reg in regs if reg in bit) for block, regs in sets.items()}
    before = dict.fromkeys(function.blocks, 0)
    behind = dict.fromkeys(function.blocks, 0)
    changed = True
    while changed:  # as often as loops are nested, plus two
        changed = False
        for block in reversed(function.blocks):
            out = 0
            for successor in block.successors:
                out |= before[successor]
            behind[block] = out
            new = gen[block] | (out & keep[block])
            if new != before[block]:
                before[block] = new
                changed = True
    return {block: [across[index] for index in _bits(out)] for block, out in behind.items()}


def _effects(block: MBlock, effects: Callable[[Item], tuple[Iterable[P], Iterable[P]]]) -> tuple[set[P], set[P]]:
    """What a block reads before it writes it, and what it writes."""
    needed: set[P] = set()
    written: set[P] = set()
    for item in block.items:
        reads, writes = effects(item)
        needed.update(each for each in reads if each not in written)
        written.update(writes)
    return needed, written


def _bits(number: int) -> list[int]:
    """The places of the bits that are set."""
    text = bin(number)[:1:-1]
    found, at = [], text.find("1")
    while at >= 0:
        found.append(at)
        at = text.find("1", at + 1)
    return found
