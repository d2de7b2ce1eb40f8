"""Stores to the last bytes of a slot fill the rest of the word, which is nobody's, as well.

The verifier then knows that what was there before does not matter any more. Of a store to a part of a word it does
not: it would follow all that is behind a key of 4 bytes once for each way on which that was stored, and was not.
"""

from __future__ import annotations

from pybpf.compiler.addresses import address_of
from pybpf.compiler.ir import Function, Instr, Unit
from pybpf.compiler.target import Target

__all__ = ["whole_words"]

_WORD = 8


def whole_words(unit: Unit, target: Target) -> None:
    """Widen such stores; where the first byte is the highest one, the value would not be where it was."""
    if target.arch.endian != "little":
        return
    for function in unit.functions:
        for slot, stores in _last(function).items():
            slot.attrs = {**slot.attrs, "size": -(-slot.attrs["size"] // _WORD) * _WORD}
            for store in stores:
                value = store.args[1]
                if isinstance(value, int):  # as an instruction can hold it
                    sign = 1 << (8 * store.attrs["size"] - 1)
                    store.args[1] = ((value & (2 * sign - 1)) ^ sign) - sign
                store.attrs = {**store.attrs, "size": _WORD}


def _last(function: Function) -> dict[Instr, list[Instr]]:
    """Slot -> the stores of all that it has in its last word, where that is not a whole one."""
    found: dict[Instr, list[Instr]] = {}
    stores = (instr for block in function.blocks for instr in block.instrs if instr.op == "store")
    for store in stores:
        slot, offset = address_of(store.args[0], store.attrs["offset"])
        size: int = store.attrs["size"]
        if not isinstance(slot, Instr) or slot.op != "slot" or offset + size != slot.attrs["size"]:
            continue
        if size < _WORD and not offset % _WORD:
            found.setdefault(slot, []).append(store)
    return found
