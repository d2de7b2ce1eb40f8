"""Which virtual registers are needed behind each block."""

from __future__ import annotations

from pybpf.compiler.machine import MBlock, MFunction

__all__ = ["live_out"]


def live_out(function: MFunction) -> dict[MBlock, list[int]]:
    """The registers whose values are needed at the end of each block.

    A set of registers is the bits of a number, one for each register that lives in more than one block.
    """
    needs, sets = {}, {}
    for block in function.blocks:
        needs[block], sets[block] = _effects(block)
    across = sorted(set().union(*needs.values()))
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


def _effects(block: MBlock) -> tuple[set[int], set[int]]:
    """The registers that a block reads before it sets them, and those that it sets."""
    reads: set[int] = set()
    writes: set[int] = set()
    for item in block.items:
        for reg in item.reads:
            if reg not in writes:
                reads.add(reg)
        writes.update(item.writes)
    return reads, writes


def _bits(number: int) -> list[int]:
    """The places of the bits that are set."""
    text = bin(number)[:1:-1]
    found, at = [], text.find("1")
    while at >= 0:
        found.append(at)
        at = text.find("1", at + 1)
    return found
